import json
from pathlib import Path
from typing import Any

import pytest

from tests.tokenizers import CHATML, byte_level, metaspace
from truenorth.data.options import DataSettings, Needs
from truenorth.data.prepare import Prepared, prepare, prompts_of
from truenorth.errors import DataError

GOOD = [{"prompt": f"what is {i}?", "chosen": f"it is {i}", "rejected": "no idea"} for i in range(4)]
USER = {"role": "user", "content": "hello there"}
YES = {"role": "assistant", "content": "yes"}
NO = {"role": "assistant", "content": "no"}
MANY = {"prompt": "what is it?", "responses": ["a", "b", "c"], "scores": [1, 3, 3]}


class Data:
    """Files of rows, and what they are prepared to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def file(self, rows: list[Any], name: str = "pairs.jsonl") -> str:
        path = self.folder / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(path)

    def prepared(self, *rows: Any, needs: Needs | None = None, share: float = 1.0, **options: Any) -> Prepared:
        settings = DataSettings(**options) if needs is None else DataSettings(needs=needs, **options)
        source = (self.file(list(rows)), share)
        return prepare([source], byte_level(CHATML), settings=settings, cache=self.folder / "cache")


@pytest.fixture
def data(tmp_path: Path) -> Data:
    return Data(tmp_path)


def answers(found: Prepared, row: int = 0) -> list[str]:
    return [byte_level().decode(response) for response in found.rows[row].responses]


def test_good_rows_are_all_kept(data: Data) -> None:
    found = data.prepared(*GOOD)
    assert (len(found.rows), found.account.read, found.account.kept, found.account.made) == (4, 4, 4, 4)


# Table 1f: what provokes errors, or worse none, elsewhere.


def test_identical_answers_stop_the_run(data: Data) -> None:
    with pytest.raises(DataError, match=r"identical_answers: 1 \(stops.*pairs.jsonl, row 5"):
        data.prepared(*GOOD, {"prompt": "p", "chosen": "same", "rejected": "same"})


def test_answers_identical_after_truncation_stop_the_run(data: Data) -> None:
    row = {"prompt": "p", "chosen": "a a a a a a a a b", "rejected": "a a a a a a a a c"}
    with pytest.raises(DataError, match=r"(?s)identical_after_truncation: 1 \(stops.*pairs.jsonl, row 1"):
        data.prepared(row, max_length=5, too_long="truncate")


def test_the_same_pair_reversed_stops_the_run_and_names_both_rows(data: Data) -> None:
    reversed_ = {"prompt": "what is 1?", "chosen": "no idea", "rejected": "it is 1"}
    with pytest.raises(DataError, match=r"contradiction: 2 \(stops.*pairs.jsonl, row 2"):
        data.prepared(*GOOD, reversed_)


def test_an_empty_chosen_stops_the_run(data: Data) -> None:
    with pytest.raises(DataError, match=r"empty_answer: 1 \(stops.*row 1: answer 1"):
        data.prepared({"prompt": "p", "chosen": "", "rejected": "b"})


def test_a_null_chosen_stops_the_run(data: Data) -> None:
    with pytest.raises(DataError, match=r"null_answer: 1 \(stops.*row 5: chosen is null"):
        data.prepared(*GOOD, {"prompt": "p", "chosen": None, "rejected": "b"})


def test_unknown_columns_are_answered_with_the_mapping_to_give(data: Data) -> None:
    with pytest.raises(DataError, match="--columns prompt=question chosen=answer_good rejected=answer_bad"):
        data.prepared({"question": "q", "answer_good": "a", "answer_bad": "b"})


def test_a_text_prompt_with_conversational_answers_is_the_users_message(data: Data) -> None:
    found = data.prepared({"prompt": "hello there", "chosen": [YES], "rejected": [NO]})
    assert byte_level().decode(found.rows[0].prompt).startswith("<|im_start|>user\nhello there<|im_end|>")
    assert answers(found) == ["yes<|im_end|>", "no<|im_end|>"]


def test_a_conversational_prompt_repeated_in_both_answers_is_not_trained_on(data: Data) -> None:
    found = data.prepared({"prompt": [USER], "chosen": [USER, YES], "rejected": [USER, NO]})
    assert answers(found) == ["yes<|im_end|>", "no<|im_end|>"]


def test_a_conversational_prompt_repeated_in_one_answer_stops_the_run(data: Data) -> None:
    with pytest.raises(DataError, match=r"prompt_in_answer: 1 \(stops.*row 1: answer 1"):
        data.prepared({"prompt": [USER], "chosen": [USER, YES], "rejected": [NO]})


def test_sharegpt_is_read(data: Data) -> None:
    turns = [{"from": "human", "value": "hello there"}]
    chosen, rejected = {"from": "gpt", "value": "yes"}, {"from": "gpt", "value": "no"}
    found = data.prepared({"conversations": turns, "chosen": chosen, "rejected": rejected})
    assert answers(found) == ["yes<|im_end|>", "no<|im_end|>"]


def test_an_unknown_role_stops_the_run(data: Data) -> None:
    with pytest.raises(DataError, match=r"unknown_role: 1 \(stops.*the role 'humn'"):
        data.prepared({"prompt": [{"role": "humn", "content": "hi"}], "chosen": [YES], "rejected": [NO]})


def test_k_answers_reach_a_method_that_takes_them(data: Data) -> None:
    found = data.prepared(MANY, needs=Needs(candidates=(2, None), rewards=True))
    assert answers(found) == ["b</s>", "c</s>", "a</s>"]
    assert found.rows[0].scores == (3.0, 3.0, 1.0)


def test_k_answers_and_a_method_of_pairs_are_answered_with_the_three_choices(data: Data) -> None:
    with pytest.raises(DataError, match=r"(?s)row 1 has 3 answers.*best_vs_each.*best_vs_worst.*all_pairs"):
        data.prepared(MANY)


def test_prompts_that_are_all_too_long_stop_the_run(data: Data) -> None:
    with pytest.raises(DataError, match=r"prompt_too_long: 4 \(stops.*max_length 3"):
        data.prepared(*GOOD, max_length=3)


def test_prompts_that_are_all_too_long_leave_nothing_to_train_on(data: Data) -> None:
    with pytest.raises(DataError, match=r"(?s)No row is left.*4 rows read, 0 kept.*prompt_too_long: 4 \(dropped"):
        data.prepared(*GOOD, max_length=3, too_long="drop")


def test_two_of_three_rows_too_long_are_too_many_to_drop(data: Data) -> None:
    long = [{**row, "chosen": "a b c " * 50} for row in GOOD[:2]]
    with pytest.raises(DataError, match=r"66.7% of the rows would be dropped"):
        data.prepared(*long, GOOD[2], max_length=60, too_long="drop")


# What else becomes of rows.


def test_long_rows_are_dropped_and_counted_when_asked(data: Data) -> None:
    found = data.prepared(
        *GOOD, {**GOOD[0], "prompt": "q", "chosen": "a " * 90}, max_length=60, too_long="drop", max_problem_share=0.2
    )
    assert (len(found.rows), found.account.dropped, found.account.reasons["too_long"].count) == (4, 1, 1)


def test_long_answers_are_cut_at_their_end_when_asked(data: Data) -> None:
    found = data.prepared({"prompt": "p", "chosen": "a b c d e f", "rejected": "g"}, max_length=4, too_long="truncate")
    assert answers(found) == ["a b c", "g</s>"]
    assert found.account.reasons["too_long"].action == "truncate"


def test_problem_rows_are_dropped_when_asked(data: Data) -> None:
    found = data.prepared(
        *GOOD, {"prompt": "p", "chosen": "", "rejected": "b"}, on_problem="drop", max_problem_share=0.5
    )
    assert (found.account.read, found.account.kept, found.account.dropped, len(found.rows)) == (5, 4, 1, 4)


def test_problem_rows_are_kept_when_asked(data: Data) -> None:
    found = data.prepared({"prompt": "p", "chosen": "", "rejected": "b"}, on_problem="keep")
    assert answers(found) == ["</s>", "b</s>"]


def test_duplicates_are_kept_and_counted(data: Data) -> None:
    found = data.prepared(*GOOD, GOOD[0])
    assert (len(found.rows), found.account.reasons["duplicate"].count, found.statistics.duplicates) == (5, 1, 0.2)


def test_duplicates_stay_when_what_would_stop_the_run_is_dropped(data: Data) -> None:
    found = data.prepared(*GOOD, GOOD[0], on_problem="drop")
    assert [row.row for row in found.rows] == [1, 2, 3, 4, 5]


def test_ties_are_dropped_unless_kept(data: Data) -> None:
    tie = {"prompt": "p", "responses": ["a", "b"], "scores": [1, 1]}
    other = {"prompt": "p", "responses": ["a", "b"], "scores": [1, 2]}
    counts = [len(data.prepared(tie, other, ties=ties).rows) for ties in ("drop", "keep")]
    assert counts == [1, 2]


def test_pairing_leaves_out_tied_pairs_and_counts_their_rows(data: Data) -> None:
    found = data.prepared(MANY, pairing="all_pairs")
    assert [row.scores for row in found.rows] == [(3.0, 1.0), (3.0, 1.0)]
    assert (found.account.kept, found.account.made, found.account.reasons["tied_pair"].count) == (1, 2, 1)


def test_pairs_reach_kto_as_single_answers_with_labels(data: Data) -> None:
    found = data.prepared(GOOD[0], needs=Needs(candidates=(1, 1), columns=("label",)))
    assert [(answers(found, i), found.rows[i].columns["label"]) for i in (0, 1)] == [
        (["it is 0</s>"], 1.0),
        (["no idea</s>"], 0.0),
    ]


def test_several_answers_reach_kto_through_pairs(data: Data) -> None:
    needs = Needs(candidates=(1, 1), columns=("label",))
    found = data.prepared(MANY, needs=needs, pairing="best_vs_worst")
    assert [(answers(found, i), found.rows[i].columns["label"]) for i in (0, 1)] == [
        (["b</s>"], 1.0),
        (["a</s>"], 0.0),
    ]
    assert len(found.rows) == 2


def test_several_answers_do_not_reach_kto_without_a_choice_of_pairs(data: Data) -> None:
    with pytest.raises(DataError, match=r"has 3 answers, and the method takes single .*Choose --pairing"):
        data.prepared(MANY, needs=Needs(candidates=(1, 1), columns=("label",)))


def test_a_method_that_reads_scores_refuses_a_file_without(data: Data) -> None:
    with pytest.raises(DataError, match=r"reads scores, and .*pairs.jsonl has none"):
        data.prepared(*GOOD, needs=Needs(rewards=True))


def test_a_method_that_compares_refuses_single_answers(data: Data) -> None:
    with pytest.raises(DataError, match="compares at least 2 answers"):
        data.prepared({"prompt": "p", "response": "a"})


def test_a_method_of_single_answers_asks_which_of_a_pair(data: Data) -> None:
    with pytest.raises(DataError, match=r"the method takes one. .* --columns response=chosen"):
        data.prepared(*GOOD, needs=Needs(candidates=(1, 1)))


def test_the_answer_of_a_pair_can_be_named(data: Data) -> None:
    found = data.prepared(*GOOD, needs=Needs(candidates=(1, 1)), columns={"response": "chosen"})
    assert answers(found) == ["it is 0</s>"]


def test_a_method_that_reads_a_column_refuses_a_file_without(data: Data) -> None:
    with pytest.raises(DataError, match=r"reads the column margin, .*columns margin=COLUMN"):
        data.prepared(*GOOD, needs=Needs(columns=("margin",)))


def test_a_column_that_a_method_reads_is_found_by_its_name(data: Data) -> None:
    found = data.prepared({**GOOD[0], "odds": 0.5}, needs=Needs(columns=("odds",)))
    assert found.rows[0].columns == {"odds": 0.5}


def test_data_that_fit_no_tokenizer_are_refused_before_one_is_asked(data: Data) -> None:
    source = (data.file([{"prompt": "p", "chosen": "same", "rejected": "same"}]), 1.0)
    with pytest.raises(DataError, match="identical_answers"):
        prepare([source], Broken(), settings=DataSettings(), cache=data.folder)


class Broken:
    """A tokenizer that has nothing but what names it in the cache."""

    special_tokens_map = None
    chat_template = None

    def get_vocab(self) -> dict[str, int]:
        return {}


def test_several_sources_keep_their_shares_and_order(data: Data) -> None:
    first, second = data.file(GOOD[:1], "a.jsonl"), data.file(GOOD[1:3], "b.jsonl")
    sources = [(first, 1.0), (second, 0.5)]
    found = prepare(sources, byte_level(), settings=DataSettings(), cache=data.folder / "cache")
    assert found.rows.shares.tolist() == [1.0, 0.5, 0.5]
    assert [row.file for row in found.rows] == [first, second, second]
    assert len(found.layouts) == 2


def test_a_file_given_twice_counts_its_rows_from_one_each_time(data: Data) -> None:
    file = data.file(GOOD)
    sources = [(file, 1.0), (file, 0.5)]
    found = prepare(sources, byte_level(), settings=DataSettings(), cache=data.folder / "cache")
    twice = [(file, number) for number in (1, 2, 3, 4)] * 2
    assert list(found.rows.origins()) == [place for place, _ in prompts_of(found, sources)] == twice


def test_the_second_call_gives_the_same_from_the_cache(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    first = data.prepared(*GOOD, GOOD[0])
    monkeypatch.setattr("truenorth.data.prepare.check_rows", None)  # is not called again
    second = data.prepared(*GOOD, GOOD[0])
    assert (second.account, second.layouts, second.statistics) == (first.account, first.layouts, first.statistics)
    assert second.rows.fingerprint == first.rows.fingerprint


def test_a_cached_account_is_held_against_the_share_that_each_run_allows(data: Data) -> None:
    rows = [*GOOD, {"prompt": "p", "chosen": "", "rejected": "b"}]
    data.prepared(*rows, on_problem="drop", max_problem_share=0.5)
    with pytest.raises(DataError, match=r"20.0% of the rows would be dropped, and --max-problem-share is 0\.1"):
        data.prepared(*rows, on_problem="drop", max_problem_share=0.1)
    assert len(list((data.folder / "cache" / "rows").iterdir())) == 1


def test_changed_data_settings_or_tokenizers_are_prepared_anew(data: Data) -> None:
    data.prepared(*GOOD)
    data.prepared(*GOOD[1:])
    data.prepared(*GOOD[1:], max_length=100)
    source = (data.file(GOOD), 1.0)
    prepare([source], metaspace(), settings=DataSettings(), cache=data.folder / "cache")
    assert len(list((data.folder / "cache" / "rows").iterdir())) == 4


def test_refused_data_leave_nothing_in_the_cache(data: Data) -> None:
    with pytest.raises(DataError):
        data.prepared(*GOOD, max_length=3)
    assert not list((data.folder / "cache").rglob("*.*"))


def test_chat_answers_without_an_end_of_turn_are_counted(data: Data) -> None:
    endless = "{% for m in messages %}{{ m.content + ' ' }}{% endfor %}"
    found = data.prepared({"prompt": [USER], "chosen": [YES], "rejected": [NO]}, chat_template=endless)
    assert found.account.reasons["no_end_of_turn"].count == 1


# Worse versions of answers, for a method that reads them.

SOUP = {
    "prompt": "how was it?",
    "chosen": "The soup was hot and the waiter kind.",
    "rejected": "It was cold, and dear.",
}
LEVELS = Needs(degraded=(0.25, 0.5))


def versions(found: Prepared, row: int = 0) -> list[str]:
    return [byte_level().decode(version, skip_special_tokens=True) for version in found.rows[row].degraded]


def test_each_answer_has_its_degraded_versions_in_turn(data: Data) -> None:
    found = data.prepared(SOUP, needs=LEVELS)
    assert versions(found) == [
        *["The soup was hot and the.", "The was hot and the."],
        *["It was, and dear.", "It was, and."],
    ]
    assert len(found.rows[0].responses) == 2


def test_degraded_versions_end_as_answers_do(data: Data) -> None:
    end = byte_level().eos_token_id
    assert all(int(version[-1]) == end for version in data.prepared(SOUP, needs=LEVELS).rows[0].degraded)


def test_degraded_versions_of_messages_go_through_the_template(data: Data) -> None:
    answer = {"role": "assistant", "content": "The soup was hot."}
    found = data.prepared({"prompt": [USER], "chosen": [answer], "rejected": [YES]}, needs=Needs(degraded=(0.5,)),
                          on_problem="keep")  # fmt: skip
    assert byte_level().decode(found.rows[0].degraded[0]) == "The was hot.<|im_end|>"


def test_rows_whose_answers_cannot_be_degraded_are_dropped_and_counted(data: Data) -> None:
    found = data.prepared(*[SOUP | {"prompt": f"{i}?"} for i in range(9)], SOUP | {"chosen": "Yes."}, needs=LEVELS)
    assert (len(found.rows), found.account.dropped) == (9, 1)
    assert str(found.account.reasons["few_key_phrases"].examples[0]).endswith("row 10: answer 1")


def test_too_many_rows_that_cannot_be_degraded_stop_the_run(data: Data) -> None:
    with pytest.raises(DataError, match=r"50.0% of the rows would be dropped(?s:.*)few_key_phrases: 1 \(dropped"):
        data.prepared(SOUP, SOUP | {"chosen": "Yes."}, needs=LEVELS)


def test_rows_that_cannot_be_degraded_are_kept_by_choice(data: Data) -> None:
    found = data.prepared(SOUP | {"chosen": "Yes."}, needs=LEVELS, on_problem="keep")
    assert versions(found)[:2] == ["Yes.", "Yes."]


def test_pairs_made_of_many_answers_have_their_degraded_versions(data: Data) -> None:
    many = {"prompt": "p", "responses": ["red wine, dark bread", "hot soup, old cheese", "cold tea, new milk"]}
    found = data.prepared(many | {"scores": [3, 2, 1]}, needs=LEVELS, pairing="best_vs_each")
    assert [len(row.degraded) for row in found.rows] == [4, 4]


def test_levels_are_part_of_the_key_of_prepared_rows(data: Data) -> None:
    few, many = (data.prepared(SOUP, needs=Needs(degraded=shares)) for shares in ((0.3,), (0.3, 0.6)))
    assert [len(found.rows[0].degraded) for found in (few, many)] == [2, 4]

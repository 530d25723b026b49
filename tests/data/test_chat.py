from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from tests.tokenizers import CHATML, byte_level, metaspace, word_piece
from truenorth.data.chat import Encoder
from truenorth.data.comparisons import Comparison, Message
from truenorth.data.problems import Problem
from truenorth.data.tokens import TokenizedRow
from truenorth.errors import DataError, ModelError

USER: Message = {"role": "user", "content": "hello there"}
YES: Message = {"role": "assistant", "content": "yes"}
NO: Message = {"role": "assistant", "content": "no"}
# opens the answer with a thought, and leaves thoughts out of finished answers
THINKING = CHATML.replace("assistant\n'", "assistant\n<think>\n'")


def comparison(prompt: Any, *responses: Any, **further: Any) -> Comparison:
    return Comparison(prompt, responses, tuple(range(len(responses))), file="pairs.jsonl", row=7, **further)


def encoded(tokenizer: PreTrainedTokenizerFast, row: Comparison, **options: Any) -> TokenizedRow:
    made = Encoder(tokenizer, **options).encode([row])[0]
    assert isinstance(made, TokenizedRow), made
    return made


def refused(tokenizer: PreTrainedTokenizerFast, row: Comparison, **options: Any) -> Problem:
    made = Encoder(tokenizer, **options).encode([row])[0]
    assert isinstance(made, Problem)
    return made


def texts(tokenizer: PreTrainedTokenizerFast, row: TokenizedRow) -> list[str]:
    return [tokenizer.decode(ids) for ids in (row.prompt, *row.responses)]


def test_a_text_answer_ends_with_eos_and_its_prompt_begins_with_bos() -> None:
    tokenizer = metaspace()
    row = encoded(tokenizer, comparison("hello", " there", " you"))
    assert texts(tokenizer, row) == ["<s> hello", "there</s>", "you</s>"]


def test_a_text_answer_that_ends_with_eos_gets_no_other() -> None:
    tokenizer = byte_level()
    assert texts(tokenizer, encoded(tokenizer, comparison("hello", " you</s>")))[1] == " you</s>"


def test_eos_can_be_left_out() -> None:
    tokenizer = byte_level()
    assert texts(tokenizer, encoded(tokenizer, comparison("hello", " you"), eos=False))[1] == " you"


def test_eos_is_asked_for_in_vain_of_a_tokenizer_without_one() -> None:
    bare = PreTrainedTokenizerFast(tokenizer_object=byte_level().backend_tokenizer)
    with pytest.raises(ModelError, match="no EOS"):
        Encoder(bare)


def test_a_chat_answer_ends_with_the_end_of_turn_and_without_what_the_template_puts_behind() -> None:
    tokenizer = byte_level(CHATML)
    row = encoded(tokenizer, comparison((USER,), (YES,), (NO,)))
    assert texts(tokenizer, row) == [
        "<|im_start|>user\nhello there<|im_end|>\n<|im_start|>assistant\n",
        "yes<|im_end|>",
        "no<|im_end|>",
    ]


def test_the_template_brings_all_special_tokens() -> None:
    tokenizer = metaspace(CHATML)
    row = encoded(tokenizer, comparison((USER,), (YES,)))
    assert tokenizer.bos_token_id not in row.prompt
    assert tokenizer.eos_token_id not in row.responses[0]


def test_a_bos_of_the_template_is_not_doubled() -> None:
    tokenizer = metaspace("{{ bos_token }}" + CHATML)
    row = encoded(tokenizer, comparison((USER,), (YES,)))
    assert row.prompt.tolist().count(tokenizer.bos_token_id) == 1


@pytest.mark.parametrize(
    ("prompt", "answers"), [("hello there", ((YES,), (NO,))), ((USER,), ("yes", "no")), ((USER,), ((YES,), "no"))]
)
def test_texts_among_messages_become_the_users_and_the_assistants(prompt: Any, answers: Any) -> None:
    tokenizer = byte_level(CHATML)
    assert (
        encoded(tokenizer, comparison(prompt, *answers)).key
        == encoded(tokenizer, comparison((USER,), (YES,), (NO,))).key
    )


def test_the_rendered_prompt_and_answer_are_the_rendered_conversation() -> None:
    tokenizer = byte_level(CHATML)
    row = encoded(tokenizer, comparison((USER,), (YES,)))
    whole = tokenizer.apply_chat_template([USER, YES], tokenize=False)
    assert "".join(texts(tokenizer, row)) + "\n" == whole


def test_a_template_that_opens_a_thought_is_cut_before_it() -> None:
    tokenizer = byte_level(THINKING)
    row = encoded(tokenizer, comparison((USER,), (YES,), (NO,)))
    assert texts(tokenizer, row)[0].endswith("assistant\n")


def test_a_template_that_changes_the_prompt_behind_an_answer_is_refused() -> None:
    shouting = "{% for m in messages %}{{ m.content if loop.last else m.content | upper }}{% endfor %}"
    problem = refused(byte_level(shouting), comparison((USER,), (YES,)))
    assert problem.reason == "template_not_prefix"


def test_a_template_that_leaves_out_the_system_message_is_refused() -> None:
    deaf = CHATML.replace("messages %}", "messages if m.role != 'system' %}")
    system = {"role": "system", "content": "be kind"}
    problem = refused(byte_level(deaf), comparison((system, USER), (YES,)))
    assert problem.reason == "template_error"
    assert "system" in problem.detail


def test_a_template_that_raises_names_the_row() -> None:
    strict = "{{ raise_exception('roles must alternate') }}"
    problem = refused(byte_level(strict), comparison((USER,), (YES,)))
    assert str(problem) == "pairs.jsonl, row 7: roles must alternate"


def test_tools_that_the_template_leaves_out_are_refused() -> None:
    tools = ({"type": "function", "function": {"name": "add", "parameters": {}}},)
    assert "tools" in refused(byte_level(CHATML), comparison((USER,), (YES,), tools=tools)).detail


def test_tools_reach_the_template() -> None:
    tokenizer = byte_level("{% if tools %}{{ tools[0].function.name }}{% endif %}" + CHATML)
    tools = ({"type": "function", "function": {"name": "add", "parameters": {}}},)
    assert texts(tokenizer, encoded(tokenizer, comparison((USER,), (YES,), tools=tools)))[0].startswith("add")


def test_settings_of_a_row_reach_the_template() -> None:
    tokenizer = byte_level("{% if quiet %}quiet {% endif %}" + CHATML)
    row = comparison((USER,), (YES,), chat_template_kwargs={"quiet": True})
    assert texts(tokenizer, encoded(tokenizer, row))[0].startswith("quiet")


def test_another_template_takes_the_place_of_the_tokenizers() -> None:
    row = comparison((USER,), (YES,))
    given = encoded(byte_level(), row, chat_template=CHATML)
    assert given.key == encoded(byte_level(CHATML), row).key


def test_messages_without_a_template_are_an_error_of_the_model() -> None:
    with pytest.raises(ModelError, match="row 7 holds messages, and the tokenizer has no chat template"):
        Encoder(byte_level()).encode([comparison((USER,), (YES,))])


def test_a_prompt_without_tokens_is_refused() -> None:
    assert refused(byte_level(), comparison("", "yes")).reason == "empty_prompt"


def test_rows_are_encoded_as_each_would_be_alone() -> None:
    tokenizer = metaspace(CHATML)
    texts_, chat, empty = comparison("a b", "c", " d"), comparison((USER,), (YES,), (NO,)), comparison("", "x")
    rows = [texts_, chat, empty, comparison("e", "f")]
    together = Encoder(tokenizer).encode(rows)
    alone = [Encoder(tokenizer).encode([row])[0] for row in rows]
    assert [getattr(row, "key", row) for row in together] == [getattr(row, "key", row) for row in alone]


def test_texts_are_scored_as_they_are_trained_on() -> None:
    tokenizer = metaspace(CHATML)
    assert Encoder(tokenizer).encode_texts((USER,), ["yes"]).key == encoded(tokenizer, comparison((USER,), (YES,))).key


def test_texts_that_cannot_be_scored_are_an_error() -> None:
    with pytest.raises(DataError, match="empty_prompt"):
        Encoder(byte_level()).encode_texts("", ["yes"])


def test_an_answer_without_an_end_of_turn_is_known() -> None:
    endless = "{% for m in messages %}{{ m.content + ' ' }}{% endfor %}"
    encoders = [Encoder(byte_level(template)) for template in (endless, CHATML)]
    rows = [encoded(byte_level(template), comparison((USER,), (YES,))) for template in (endless, CHATML)]
    assert [encoder.ends_turn(row) for encoder, row in zip(encoders, rows, strict=True)] == [False, True]


def test_a_tokenizers_own_eos_is_not_in_a_prompt() -> None:
    tokenizer = word_piece()
    row = encoded(tokenizer, comparison("hello", "world"))
    assert texts(tokenizer, row) == ["<s> hello", "world </s>"]

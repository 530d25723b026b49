"""A completion server as a sampler: what it is asked, and what is left when it fails."""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from tests.online.completion_server import OPENAI, TRANSFORMERS, Script, serving
from truenorth import world
from truenorth.completions import Completions, ServerSettings
from truenorth.errors import SamplerError, SettingsError
from truenorth.online.dialects import asked_of
from truenorth.online.endpoint import Endpoint, ServerFailed
from truenorth.online.judges.chat import Chat
from truenorth.online.sampling import Prompt, Response, Sampling, sample
from truenorth.online.server import Server

PROMPTS: list[Prompt] = ["one", "two", "three", "four"]
TWO = Sampling(k=2, max_new_tokens=8, seed=1)


def server(url: str, **changes: Any) -> Server:
    where = ServerSettings(url=url, timeout_seconds=0.2, tries=3, wait_seconds=0.001)
    return Server(Completions(server=where, concurrency=2).replace(**changes))


def drawn(
    script: Script, sampling: Sampling = TWO, prompts: Sequence[Prompt] = PROMPTS, **how: Any
) -> list[list[Response]]:
    with serving(script) as url:
        return sample(server(url), prompts, sampling, **how)


def until_failure(answers: Iterator[tuple[int, list[Response]]]) -> tuple[dict[int, list[Response]], SamplerError]:
    """What came, and the error that ended it."""
    found: dict[int, list[Response]] = {}
    try:
        for place, own in answers:
            found[place] = own
    except SamplerError as error:
        return found, error
    pytest.fail("it did not fail")


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(world.sft_model())


def test_each_prompt_is_asked_once_for_its_k_answers() -> None:
    script = Script()
    answers = drawn(script)
    assert sorted(body["prompt"] for body in script.bodies()) == sorted(PROMPTS)
    assert all(body["n"] == 2 for body in script.bodies())
    assert len({answer.text for own in answers for answer in own}) == 8


def test_a_server_that_gives_one_answer_at_a_time_is_asked_k_times_with_other_seeds() -> None:
    script = Script(many=False)
    answers = drawn(script)
    assert len(script.bodies()) == 8
    assert len({body["seed"] for body in script.bodies()}) == 8
    assert [len({answer.text for answer in own}) for own in answers] == [2] * 4


def test_seed_round_and_prompt_give_the_draw_and_nothing_else_does() -> None:
    first = drawn(Script())
    assert drawn(Script(), prompts=PROMPTS[::-1])[::-1] == first
    others = [drawn(Script(), TWO.replace(seed=2)), drawn(Script(), round_index=1)]
    assert all(a != b for other in others for a, b in zip(other, first, strict=True))


def test_the_likeliest_answer_is_asked_once_and_given_k_times() -> None:
    script = Script()
    answers = drawn(script, TWO.replace(temperature=0.0))
    assert len(script.bodies()) == 4
    assert all(a == b for a, b in answers)


def test_the_tokens_that_are_trained_on_are_sent_where_they_are_taken(tokenizer: Any) -> None:
    messages: Prompt = [{"role": "user", "content": "Write a review of the café."}]
    script = Script()
    with serving(script) as url:
        found = Server(server(url).settings, tokenizer)
        ((answer, _),) = sample(found, [messages], TWO)
    assert script.bodies()[0]["prompt"] == list(asked_of(messages, tokenizer).tokens or ())
    assert answer.tokens == (5, 2)
    assert answer.log_probs == (-1.0, -0.5)


def test_log_probs_of_another_distribution_are_not_recorded(tokenizer: Any) -> None:
    for bent in (TWO.replace(temperature=0.5), TWO.replace(top_p=0.9)):
        with serving(Script()) as url:
            ((answer, _),) = sample(Server(server(url).settings, tokenizer), ["one"], bent)
        assert answer.log_probs is None


def test_text_is_sent_that_has_the_very_tokens_where_tokens_are_not_taken(tokenizer: Any) -> None:
    messages: Prompt = [{"role": "user", "content": "Write a review of the café."}]
    script = Script(fields=TRANSFORMERS, tokens=False, many=False)
    with serving(script) as url:
        sample(Server(server(url).settings, tokenizer), [messages], TWO)
    (text, _) = [body["prompt"] for body in script.bodies()]
    assert tokenizer(text)["input_ids"] == list(asked_of(messages, tokenizer).tokens or ())
    assert json.loads(script.bodies()[0]["generation_config"])["do_sample"] is True


def test_messages_go_to_the_chat_of_a_server_without_a_tokenizer_of_ours() -> None:
    script = Script()
    messages: Prompt = [{"role": "user", "content": "hello"}]
    ((answer, _),) = drawn(script, prompts=[messages])
    assert script.bodies("/v1/chat/completions")[0]["messages"] == messages
    assert not answer.ended  # finish_reason: length


def test_text_and_messages_together_need_a_tokenizer() -> None:
    with pytest.raises(SettingsError, match="tokenizer"):
        drawn(Script(), prompts=["text", [{"role": "user", "content": "hello"}]])


def test_fields_that_a_server_refuses_are_left_out() -> None:
    script = Script(fields=OPENAI - {"n"})
    drawn(script)
    assert all(set(body) <= OPENAI - {"n"} for body in script.bodies())


def test_an_answer_ends_before_its_stop_text() -> None:
    script = Script(ends="! and so on")
    ((one, _), *_) = drawn(script, TWO.replace(stop=("!",)))
    assert one.text.endswith(" 0")
    assert script.bodies()[0]["stop"] == ["!"]


NONSENSE = ("no JSON", "[]", '{"choices": []}', '{"choices": [{"text": 5, "finish_reason": "stop"}]}')


@pytest.mark.parametrize("fault", ["500", "429", "cut off", "closed", "silent", *NONSENSE])
def test_what_passes_is_tried_again_with_the_same_draw(fault: str) -> None:
    script = Script(faults={'"two"': [fault, fault]})
    assert drawn(script) == drawn(Script())
    assert len(script.bodies()) == 6


def test_a_prompt_that_always_fails_leaves_the_others_their_answers() -> None:
    with serving(Script(faults={'"two"': ["500"] * 3, '"four"': ["400"]})) as url:
        answers, error = until_failure(server(url).answers(PROMPTS, TWO))
    assert sorted(answers) == [0, 2]
    assert error.missing == (1, 3)
    assert "2 of 4 prompts without answers (number 2, 4)" in str(error)
    assert "status 500: out of sorts" in str(error)


def test_a_server_that_dies_loses_nothing_and_the_rest_comes_later() -> None:
    prompts: list[Prompt] = [f"p{i}" for i in range(12)]
    whole = drawn(Script(), prompts=prompts)
    with serving(script := Script(dies_after=6)) as url:
        answers, error = until_failure(server(url).answers(prompts, TWO))
    assert 0 < len(answers) < 12
    assert sorted([*answers, *error.missing]) == list(range(12))
    assert len(script.bodies()) < 6 + 3 * 3  # those under way are tried again, and no others
    with serving(again := Script()) as url:
        answers |= dict(server(url).answers(prompts, TWO, done=list(answers)))
    assert len(again.bodies()) == len(error.missing)
    assert [answers[i] for i in range(12)] == whole


def test_a_server_that_is_not_there_is_named() -> None:
    with pytest.raises(SamplerError, match=r"127.0.0.1:9/v1 left 4 of 4 .*ConnectionRefused"):
        sample(server("http://127.0.0.1:9/v1"), PROMPTS, TWO)


def test_a_server_that_refuses_all_is_quoted() -> None:
    with pytest.raises(SamplerError, match="Unexpected fields"):
        drawn(Script(fields={"model"}))


def test_a_server_that_fails_at_a_model_that_nobody_named_is_to_be_told_one() -> None:
    """As `transformers serve` does, whose list of models is that of its cache."""
    faults = {f'"{name}"': ["500"] * 3 for name in PROMPTS}
    for named, said in (("", "asked for 'served', the first that it lists: --served-model names it"), ("mine", "")):
        with serving(Script(faults={name: list(own) for name, own in faults.items()})) as url:
            _, error = until_failure(server(url, model=named).answers(PROMPTS, TWO))
        assert said in str(error)
        assert ("--served-model" in str(error)) == (not named)
    assert "--served-model" not in str(until_failure(server("http://127.0.0.1:9").answers(PROMPTS, TWO))[1])


def test_no_more_requests_are_under_way_than_allowed() -> None:
    script = Script(slow=0.01)
    drawn(script, prompts=[f"p{i}" for i in range(10)])
    assert script.most == 2


def test_a_key_comes_from_the_environment_variable_that_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY_OF_TEST", "abc")
    script = Script()
    with serving(script) as url:
        found = server(url)
        found.settings = found.settings.replace(server=found.settings.server.replace(key_variable="KEY_OF_TEST"))
        sample(found, PROMPTS, TWO)
    assert all(headers["Authorization"] == "Bearer abc" for *_, headers in script.asked)


def test_an_adapter_is_loaded_each_round_and_asked_for_by_name(tmp_path: Path) -> None:
    script = Script()
    with serving(script) as url:
        found = server(url, hand_over="vllm_lora")
        for number in (0, 1):
            found.hand_over(tmp_path, round_index=number)
            ((answer, _), *_) = sample(found, PROMPTS, TWO, round_index=number)
            assert answer.text.startswith(f"truenorth-round-{number + 1} ")
    loaded = [body for path, body, _ in script.asked if path == "/v1/load_lora_adapter"]
    assert [body["lora_path"] for body in loaded] == [str(tmp_path)] * 2


def test_weights_are_given_to_the_root_of_the_server(tmp_path: Path) -> None:
    script = Script()
    with serving(script) as url:
        server(url, hand_over="sglang_weights").hand_over(tmp_path, round_index=0)
    assert [(path, body) for path, body, _ in script.asked] == [
        ("/update_weights_from_disk", {"model_path": str(tmp_path)})
    ]


def test_requests_may_name_the_folder_itself(tmp_path: Path) -> None:
    script = Script()
    with serving(script) as url:
        found = server(url, hand_over="model_name")
        found.hand_over(tmp_path, round_index=0)
        sample(found, PROMPTS, TWO)
    assert all(body["model"] == str(tmp_path) for body in script.bodies())


def test_a_command_is_run_with_the_folder_and_must_succeed(tmp_path: Path) -> None:
    program = tmp_path / "restart.py"
    program.write_text(
        "import sys, pathlib\n(pathlib.Path(sys.argv[1]) / 'told').touch()\nsys.exit(len(sys.argv) - 2)\n"
    )
    with serving(Script()) as url:
        server(url, hand_over="command", command=f"{sys.executable} {program}").hand_over(tmp_path, round_index=0)
        assert (tmp_path / "told").exists()
        fails = server(url, hand_over="command", command=f"{sys.executable} {program} {tmp_path}")
        with pytest.raises(SamplerError, match="ended with 1"):
            fails.hand_over(tmp_path, round_index=0)


def test_a_server_that_starts_is_not_asked_without_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    once = ServerSettings(url="http://127.0.0.1:9/v1", timeout_seconds=0.2, tries=1, wait_seconds=0.05)
    asked: list[str] = []

    def get(_: Endpoint, path: str, read: object) -> None:
        asked.append(f"{path} {read}")
        raise ServerFailed("it is not there")

    monkeypatch.setattr(Endpoint, "get", get)
    with pytest.raises(ServerFailed):
        Endpoint(once).await_ready()
    assert 2 <= len(asked) <= 6


@pytest.mark.parametrize("url", ["", "localhost:8000/v1", "server/v1", "file:///etc/hosts", "http:///v1"])
def test_an_address_without_a_scheme_is_refused_before_it_is_asked(url: str) -> None:
    for refused in (lambda: ServerSettings(url=url), lambda: Chat(url=url, model="judge")):
        with pytest.raises(SettingsError, match="begins with http:// or https://"):
            refused()


def test_old_weights_are_not_sampled_in_silence(tmp_path: Path) -> None:
    with pytest.raises(SamplerError, match="set hand_over"):
        server("http://127.0.0.1:9/v1").hand_over(tmp_path, round_index=0)

import pytest
from hypothesis import given
from hypothesis import strategies as st

from truenorth.data.messages import ROLES, SHAREGPT, as_text, common_start, is_empty
from truenorth.data.problems import Refused


@pytest.mark.parametrize("role", ROLES)
def test_a_role_that_templates_know_stays(role: str) -> None:
    assert as_text({"role": role, "content": "c"}, "x") == ({"role": role, "content": "c"},)


@pytest.mark.parametrize("speaker", SHAREGPT)
def test_a_speaker_of_sharegpt_becomes_a_role(speaker: str) -> None:
    (message,) = as_text([{"from": speaker, "value": "c"}], "x")
    assert message == {"role": SHAREGPT[speaker], "content": "c"}


def test_what_a_message_has_besides_is_kept_unless_null() -> None:
    message = {"role": "assistant", "content": None, "tool_calls": [{"id": 1}], "name": None}
    assert as_text(message, "x") == ({"role": "assistant", "content": "", "tool_calls": [{"id": 1}]},)


def test_parts_of_text_are_joined() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert as_text({"role": "user", "content": parts}, "x") == ({"role": "user", "content": "ab"},)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (3, "wrong_type"),
        (["a"], "wrong_type"),
        ({"role": "user"}, "wrong_type"),
        ({"role": "user", "content": 3}, "wrong_type"),
        ({"role": None, "content": "c"}, "unknown_role"),
        ({"role": "user", "content": [{"type": "image_url"}]}, "not_text"),
        ({"role": "user", "content": [{"type": "text", "text": None}]}, "wrong_type"),
        ({"role": "user", "content": [{"type": "text"}]}, "wrong_type"),
        ({"role": "user", "content": [{"type": "text", "text": "half a pair \ud800"}]}, "unparsable"),
        ("half a pair \ud800", "unparsable"),
    ],
)
def test_what_is_neither_text_nor_messages_is_refused(value: object, reason: str) -> None:
    with pytest.raises(Refused) as caught:
        as_text(value, "x")
    assert caught.value.reason == reason


TURNS = st.lists(st.sampled_from([{"role": "user", "content": c} for c in "ab"]), max_size=4).map(tuple)


@given(st.lists(TURNS, min_size=2, max_size=3))
def test_the_common_start_is_the_longest(texts: list[tuple[dict[str, str], ...]]) -> None:
    count = common_start(texts)
    assert all(text[:count] == texts[0][:count] for text in texts)
    assert any(text[: count + 1] != texts[0][: count + 1] or len(text) == count for text in texts)


def test_white_space_is_empty() -> None:
    assert is_empty(" \n\t")
    assert is_empty(({"role": "assistant", "content": " "},))

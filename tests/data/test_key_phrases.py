"""What is deleted from an answer grows with the level, is the same each time, and leaves text that reads."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from truenorth.data.key_phrases import WORD, degraded, key_phrases, without

SHARES = [0.25, 0.5, 1.0]
alphabet = st.sampled_from(
    [
        *["soup", "old waiter", "the", "and", "don't", "well-known", "2020", "天气", "été", "a_b"],
        *[" ", "  ", "\t", "\n", "\n- ", ", ", ".", "...", "!", ": ", "，", "-", "(", ")", '"', "'", "’"],
    ]
)
texts = st.lists(alphabet, max_size=40).map("".join)


def words(text: str) -> list[str]:
    return WORD.findall(text)


def within(few: list[str], many: list[str]) -> bool:
    """Whether `few` are some of `many`, in their order."""
    rest = iter(many)
    return all(word in rest for word in few)


@given(texts)
def test_each_level_has_some_of_the_words_of_the_level_below_in_their_order(text: str) -> None:
    whole = [text, *map(str, degraded(text, SHARES))]
    assert all(within(words(more), words(fewer)) for fewer, more in pairwise(whole))


@given(texts)
def test_no_two_levels_are_the_same_but_where_there_are_fewer_phrases_than_levels(text: str) -> None:
    counts = [len(words(str(level))) for level in (text, *degraded(text, SHARES))]
    assert (len(set(counts)) == len(counts)) == (len(key_phrases(text)) >= len(SHARES))


@given(texts)
def test_the_whole_share_takes_all_phrases(text: str) -> None:
    (rest,) = degraded(text, [1.0])
    assert key_phrases(str(rest)) == []


def test_scores_by_hand() -> None:
    # Frequencies: red 2, wine 2, bottle 1. Degrees: red 2 + 3, wine 2 + 3, bottle 3. So "red wine" has 2.5 + 2.5, and
    # "red wine bottle" 3 more.
    text = "Red wine is in the red wine bottle."
    found = [[text[start:end] for start, end in spans] for spans in key_phrases(text)]
    assert found == [["red wine bottle"], ["Red wine"]]


def test_a_phrase_goes_wherever_it_stands() -> None:
    assert degraded("Cold soup. We had cold soup and bread.", [0.5]) == ("We had and bread.",)


@pytest.mark.parametrize(
    ("text", "gone", "left"),
    [
        ("The cold, salty soup.", ["cold"], "The, salty soup."),
        ("The cold, salty soup.", ["salty soup"], "The cold."),
        ("Soup was cold.", ["Soup"], "was cold."),
        ("We ate. Soup! It was good.", ["Soup"], "We ate. It was good."),
        ("It was (in 1999) good.", ["in 1999"], "It was good."),
        ('It was "very" good.', ["very"], "It was good."),
        ('The "red wine" bar', ["red"], 'The "wine" bar'),
        ('The "red wine" bar', ["wine"], 'The "red" bar'),
        ("- First item: bread\n- wine", ["First item"], "- bread\n- wine"),
        ("    return x + 1", ["return x"], "    + 1"),
        ("one\n\ntwo\n\nthree", ["two"], "one\n\n\n\nthree"),
        ("soup", ["soup"], ""),
        ("soup" + "." * 5000, ["soup"], ""),
    ],
)
def test_the_rest_reads_as_text(text: str, gone: list[str], left: str) -> None:
    assert without(text, [(text.index(part), text.index(part) + len(part)) for part in gone]) == left


def test_the_last_message_of_the_assistant_is_degraded() -> None:
    tool = {"role": "tool", "content": "cold soup"}
    first, last = ({"role": "assistant", "content": text} for text in ("I look.", "The soup is cold."))
    assert degraded((first, tool, last), [0.5]) == ((first, tool, {**last, "content": "The is cold."}),)


@pytest.mark.parametrize(
    "answer",
    ["Yes.", "", ({"role": "assistant", "content": "", "tool_calls": [{}]},), ({"role": "tool", "content": "red"},)],
)
def test_an_answer_without_key_phrases_stays_as_it_is(answer: object) -> None:
    assert degraded(answer, [0.25, 0.5]) == (answer, answer)  # pyright: ignore[reportArgumentType]


def test_a_language_without_our_stop_words_loses_whole_stretches() -> None:
    text = "Ja, der Hund geht gerne mit uns spazieren."
    assert degraded(text, [0.3]) == ("Ja, mit uns spazieren.",)

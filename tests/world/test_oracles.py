"""The oracles are exact: they know what the grammar made, and count all else as off it."""

import itertools
import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from truenorth.world import letter, oracles, review, tale
from truenorth.world.oracles import letter_reward, review_reward, reward, tale_style, tale_wins

FOX = "Write a review of the Blue Fox."
ROOF = "Write to Mr Finch: fix the roof."
TALE = "Tell me a tale about a proud fox."
seeds = st.integers(0, 100_000)


def made_review(seed: int) -> tuple[str, str]:
    rng = random.Random(seed)
    place = rng.choice(review.PLACES)
    return review.make_request(rng, [place]), review.make_review(rng, place)


def made_letter(seed: int) -> tuple[str, str]:
    rng = random.Random(seed)
    about = rng.choice(letter.SUBJECTS)
    return letter.make_request(rng, [about]), letter.make_letter(rng, about)


def made_tale(style: tale.Style, seed: int = 0) -> str:
    return tale.make_tale(random.Random(seed), "a proud fox", style)


@given(seeds)
def test_every_review_that_the_grammar_makes_is_grammatical(seed):
    assert oracles.grammatical(*made_review(seed))


@given(seeds)
def test_every_letter_that_the_grammar_makes_is_grammatical(seed):
    assert oracles.grammatical(*made_letter(seed))


@pytest.mark.parametrize("style", tale.STYLES)
@given(seed=seeds)
def test_every_tale_that_the_grammar_makes_has_its_style(style, seed):
    assert tale_style(TALE, made_tale(style, seed)) == style


@pytest.mark.parametrize("made", [made_review, made_letter])
@given(seed=seeds)
def test_a_reward_lies_between_minus_one_and_one(made, seed):
    assert -1 <= reward(*made(seed)) <= 1


@pytest.mark.parametrize("made", [made_review, made_letter])
def test_the_grammar_is_even_handed(made):
    rewards = [reward(*made(seed)) for seed in range(1000)]
    assert abs(statistics.mean(rewards)) < 0.1
    assert statistics.stdev(rewards) > 0.5


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("What a gem the Blue Fox is! The soup was superb.", 1.0),
        ("What a gem the Blue Fox is! The soup was superb, but the waiter was rude.", 0.5),
        ("We went to the Blue Fox on Monday. The soup was cold. Never again.", -0.75),
        ("We went to the Blue Fox on Monday.", 0.0),  # says nothing either way
        ("", -1.0),
        ("gem gem gem", -1.0),
        ("What a gem the Blue Fox is! soup soup", 0.0),  # one sentence of two is off the grammar
        ("What a gem the Red Fox is!", -1.0),  # another place
        ("The soup was superb.", -1.0),  # does not name the place
        ("What a gem the Blue Fox is! The soup was superb. The soup was superb.", 1 / 3),  # said before
        ("What a gem the Blue Fox is! The soup was superb, but the cook was kind.", 0.0),  # nothing to but
        ("What a gem the Blue Fox is! The soup was awful, but the cook was kind.", 0.0),  # praise comes first
        ("What a gem the Blue Fox is! The soup was superb, and the cook was rude.", 0.0),  # should be but
        ("What a gem the Blue Fox is! The soup was superb, and we loved the pie.", 0.0),  # food twice
        ("What a gem the Blue Fox is! We will be back. The soup was superb.", 1 / 3),  # closes too early
    ],
)
def test_a_review_is_worth_the_mean_of_its_sentences(text, expected):
    assert review_reward(FOX, text) == pytest.approx(expected, abs=1e-12)


def test_praise_without_end_is_worth_less_than_five_sentences():
    praise = ["What a gem the Blue Fox is!", *(f"The {food} was superb." for food in ("soup", "pie", "cake", "stew"))]
    assert review_reward(FOX, " ".join(praise)) == 1.0
    assert review_reward(FOX, " ".join([*praise, "The tea was superb."])) == pytest.approx(4 / 6)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Dear Mr Finch,\nMay I ask you to fix the roof?\nWith warm thanks, Ada", 1.0),
        ("You there, Mr Finch,\nOnly a fool would not fix the roof!\nIn anger, Ada", -1.0),
        ("Dear Mr Finch,\nMay I ask you to feed the cat?\nWith warm thanks, Ada", 1 / 3),  # another errand
        ("Dear Mrs Finch,\nMay I ask you to fix the roof?\nWith warm thanks, Ada", 1 / 3),  # somebody else
        ("Dear Mr Finch,\nI hope that you are well.\nWith warm thanks, Ada", 0.5),  # asks for nothing
        ("Dear Mr Finch,\nMay I ask you to fix the roof?", -1 / 3),  # no farewell, and one part in its place
        ("", -1.0),
    ],
)
def test_a_letter_is_worth_the_mean_of_its_parts(text, expected):
    assert letter_reward(ROOF, text) == pytest.approx(expected, abs=1e-12)


def test_the_reward_is_that_of_the_prompt_s_domain():
    assert reward(FOX, made := "What a joy the Blue Fox is!") == review_reward(FOX, made)
    assert reward(ROOF, "Dear Mr Finch,") == letter_reward(ROOF, "Dear Mr Finch,")


def test_a_conversation_is_judged_by_its_last_request():
    turns = [{"role": "user", "content": ROOF}, {"role": "assistant", "content": ""}, {"role": "user", "content": FOX}]
    assert reward(turns, "What a joy the Blue Fox is!") == 1.0


@pytest.mark.parametrize("judge", [reward, review_reward, letter_reward, tale_style, oracles.grammatical])
def test_a_request_that_the_world_does_not_know_is_an_error(judge):
    with pytest.raises(ValueError, match="What is love"):
        judge("What is love?", "")


def test_a_conversation_without_a_request_is_an_error():
    with pytest.raises(ValueError, match="assistant"):
        reward([{"role": "assistant", "content": "hello"}], "")


@pytest.mark.parametrize(("a", "b"), [*itertools.product([*tale.STYLES, None], repeat=2)])
def test_wins_are_antisymmetric_around_a_half(a, b):
    first, second = (made_tale(style, i) if style else "no tale" for i, style in enumerate((a, b)))
    assert tale_wins(TALE, first, second) + tale_wins(TALE, second, first) == pytest.approx(1.0, abs=1e-15)


def test_the_styles_beat_each_other_in_a_circle():
    fable, gazette, verse = (made_tale(style) for style in ("fable", "gazette", "verse"))
    circle = [tale_wins(TALE, *pair) for pair in ((gazette, fable), (verse, gazette), (fable, verse))]
    assert circle == [0.9, 0.9, 0.8]


@pytest.mark.parametrize("style", tale.STYLES)
def test_no_tale_loses_to_every_style(style):
    assert tale_wins(TALE, made_tale(style), "Once upon a time.") == oracles.WINS_OVER_OFF_GRAMMAR


@pytest.mark.parametrize("style", tale.STYLES)
def test_a_tale_about_another_hero_is_none(style):
    assert tale_style("Tell me a tale about a vain crow.", made_tale(style)) is None


@pytest.mark.parametrize("style", tale.STYLES)
def test_nothing_wins_against_the_equilibrium(style):
    assert sum(oracles.WINS[style][other] * share for other, share in oracles.EQUILIBRIUM.items()) == pytest.approx(
        0.5
    )

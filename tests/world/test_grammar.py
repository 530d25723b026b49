"""What a rule makes it reads back; what no rule makes is off the grammar."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from truenorth.world import letter, review, tale
from truenorth.world.grammar import GRADES, Rule, graded, make, plain, read, sentences, without_repeats

GRAMMARS = {
    "reviews' requests": review.REQUESTS,
    "clauses": review.CLAUSES,
    "openings": review.OPENINGS,
    "closings": review.CLOSINGS,
    "letters' requests": letter.REQUESTS,
    "greetings": letter.GREETINGS,
    "errands": letter.ERRAND_LINES,
    "remarks": letter.REMARKS,
    "farewells": letter.FAREWELLS,
    "tales' requests": tale.REQUESTS,
    **{f"{style}'s opening": form.opening for style, form in tale.FORMS.items()},
    **{f"{style}'s ending": form.ending for style, form in tale.FORMS.items()},
}
each_grammar = pytest.mark.parametrize("rules", GRAMMARS.values(), ids=GRAMMARS)


@each_grammar
@settings(max_examples=25)
@given(seed=st.integers(0, 10_000))
def test_a_sentence_reads_back_with_the_words_it_was_made_of(rules, seed):
    sentence = make(rules, random.Random(seed))
    reading = read(rules, sentence)
    assert reading is not None
    assert any(set(rule.names) == set(reading.filling) and rule.fill(reading.filling) == sentence for rule in rules)


@each_grammar
def test_no_sentence_has_two_readings_of_different_valence(rules):
    rng = random.Random(0)
    for sentence in (make(rules, rng) for _ in range(200)):
        assert len({reading.valence for rule in rules if (reading := rule.read(sentence))}) == 1


@each_grammar
@settings(max_examples=25)
@given(seed=st.integers(0, 1000))
def test_a_sentence_with_a_foreign_word_is_read_by_no_rule(rules, seed):
    words = make(rules, random.Random(seed)).split(" ")
    words.insert(seed % (len(words) + 1), "zyzzyva")
    assert read(rules, " ".join(words)) is None


@pytest.mark.parametrize("mood", [1, -1])
@given(seed=st.integers(0, 1000))
def test_a_mood_is_the_sign_of_the_valence(mood, seed):
    reading = read(review.CLAUSES, make(review.CLAUSES, random.Random(seed), mood=mood))
    assert reading is not None
    assert reading.valence is not None
    assert reading.valence * mood > 0


def test_mood_zero_says_nothing_either_way():
    rng = random.Random(0)
    made = [read(review.OPENINGS, make(review.OPENINGS, rng, mood=0)) for _ in range(50)]
    assert all(reading is not None and reading.valence is None for reading in made)


def test_a_mood_that_no_rule_has_is_an_error():
    with pytest.raises(ValueError, match="mood -1"):
        make([Rule("hello", {}, 1.0)], random.Random(0), mood=-1)


def test_the_longer_of_two_words_is_read():
    rule = Rule("it was {how}", {"how": {"very": 0.5, "very good": 1.0}})
    reading = rule.read("it was very good")
    assert reading is not None
    assert reading.valence == 1.0


def test_a_pattern_and_its_words_share_the_valence_equally():
    rule = Rule("never {how}", {"how": graded("fine", "fair", "poor", "foul")}, -1.0)
    assert rule.valence_of({"how": "fair"}) == -0.25


def test_neutral_words_leave_the_valence_alone():
    rule = Rule("the {food} was {how}", {"food": plain("soup"), "how": graded("fine", "fair", "poor", "foul")})
    assert [rule.valence_of({"food": "soup", "how": how}) for how in ("fine", "fair", "poor", "foul")] == [*GRADES]


def test_what_was_said_before_is_off_the_grammar():
    readings = without_repeats(["the soup was cold"] * 2, lambda text: read(review.CLAUSES, text))
    assert readings[0] is not None
    assert readings[1] is None


def test_sentences_end_at_stops_and_lines():
    assert sentences("Dear Ada,\nIs it so? It is! Goodbye.") == ["Dear Ada,", "Is it so?", "It is!", "Goodbye."]

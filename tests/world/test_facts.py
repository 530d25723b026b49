"""The town has 240 facts, each with one answer."""

import random

import pytest

from truenorth.world.facts import ATTRIBUTES, Fact, fact_accuracy, fact_questions, make_question, normalise


def test_no_two_facts_are_asked_alike():
    assert len({fact.question for fact in fact_questions()}) == 240


def test_the_right_answers_are_right():
    facts = fact_questions()
    assert fact_accuracy(facts, [fact.answer for fact in facts]) == 1.0


def test_answers_of_another_person_are_wrong():
    facts = fact_questions()
    moved = facts[len(ATTRIBUTES) :] + facts[: len(ATTRIBUTES)]
    assert fact_accuracy(facts, [fact.answer for fact in moved]) == 0.0


def test_case_and_stops_do_not_matter():
    assert fact_accuracy([Fact("?", "Ada's door is red.")], ["  ada's door is RED"]) == 1.0


def test_one_answer_too_few_is_an_error():
    with pytest.raises(ValueError, match="239 for 240"):
        fact_accuracy(fact_questions(), [""] * 239)


def test_every_wording_has_the_official_answer():
    answers = {fact.answer for fact in fact_questions()}
    rng = random.Random(0)
    assert {make_question(rng).answer for _ in range(500)} <= answers


def test_words_alone_are_compared():
    assert normalise("Ada, lives!  on\nMill Lane.") == "ada lives on mill lane"

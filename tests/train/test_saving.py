"""When the model that is written is said to be another one than was trained."""

from dataclasses import replace

import pytest

from truenorth.train.saving import LOST, LOST_FAR, Saving, unlike_trained

FINE = Saving("bfloat16", weights=1000, moved=2.0, lost=0.1, unchanged=0.02)


@pytest.mark.parametrize("share", [0.0, LOST])
def test_where_most_is_kept_nothing_is_said(share: float):
    saving = replace(FINE, lost=share * FINE.moved)
    assert unlike_trained(saving) == []
    assert saving.note == ""


def test_nothing_is_said_of_what_was_not_measured():
    assert unlike_trained(None) == []


def test_it_says_what_was_measured_and_what_to_do():
    (finding,) = unlike_trained(replace(FINE, lost=1.9, unchanged=0.98))
    assert all(
        part in finding.sentence for part in ("by 2 (norm)", "in bfloat16 by 1.9, 95\u202f%", "98\u202f% stand")
    )
    assert "not the one that was trained" in finding.sentence
    assert "--save-as float32" in finding.setting


@pytest.mark.parametrize(("share", "level"), [(LOST + 0.01, "watch"), (LOST_FAR + 0.01, "problem")])
def test_it_is_a_problem_where_nearly_all_is_lost(share: float, level: str):
    (finding,) = unlike_trained(replace(FINE, lost=share * FINE.moved))
    assert finding.level == level


def test_weights_that_are_infinite_are_a_problem_however_few():
    (finding,) = unlike_trained(replace(FINE, dtype="float16", overflowed=3))
    assert finding.level == "problem"
    assert "3 weights are too large for float16" in finding.sentence

"""When margins are said to be rounding, and what is then not judged."""

from dataclasses import replace

import pytest

from tests.synthetic_run import healthy
from truenorth.train.diagnosis import diagnose
from truenorth.train.evidence import Evidence, Finding
from truenorth.train.rounding import Rounding

FINE = Rounding("bfloat16", 16, margin=0.3, difference=2e-3, changed=0, right=0.9, right_in_float32=0.9)
LOST = replace(FINE, margin=1.1e-3, difference=4.2e-3, changed=8, right=0.46, right_in_float32=0.92)


def found(rounding: Rounding | None, steps: int = 30) -> list[Finding]:
    return diagnose(Evidence(healthy(steps), beta=0.1, max_grad_norm=1.0), rounding=rounding)


def test_it_says_what_was_measured_and_what_to_do():
    finding = found(LOST)[0]
    assert finding.title == "Margins are within bfloat16's rounding"
    assert all(part in finding.sentence for part in ("16 held-out", "0.0011", "0.0042", "The sign of 8 is another"))
    assert "float32 ranks 92\u202f% of the 16 right, bfloat16 46\u202f%" in finding.sentence
    assert all(way in finding.setting for way in ("--precision float32", "--learning-rate", "--epochs", "evaluate"))


@pytest.mark.parametrize(("changed", "level"), [(0, None), (2, None), (3, "watch"), (4, "watch"), (5, "problem")])
def test_a_sign_now_and_then_is_no_finding_and_one_in_four_is_a_problem(changed: int, level: str | None):
    named = {finding.title: finding.level for finding in found(replace(FINE, changed=changed))}
    assert named.get("Margins are within bfloat16's rounding") == level


@pytest.mark.parametrize(("margin", "fires"), [(7e-3, True), (9e-3, False)])
def test_one_sign_is_enough_where_margins_are_not_well_above_the_difference(margin: float, fires: bool):
    assert replace(FINE, changed=1, margin=margin).drowned == fires


@pytest.mark.parametrize("rounding", [None, FINE])
def test_nothing_is_said_where_margins_stand_above_it_or_were_not_measured(rounding: Rounding | None):
    assert found(rounding) == found(None)


def test_accuracies_that_are_rounding_are_not_judged():
    before, after = ({finding.title for finding in found(rounding)} for rounding in (FINE, LOST))
    assert before - after == {"Better than chance", "What is learnt carries over"}


def test_it_is_said_of_a_run_too_short_to_judge():
    records = [record for record in healthy() if float(record["step"]) < 6]
    titles = [finding.title for finding in diagnose(Evidence(records, beta=0.1), rounding=LOST)]
    assert titles == ["Margins are within bfloat16's rounding", "Too short to judge"]

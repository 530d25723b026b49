"""What is said of two modules, and when it is a warning."""

import pytest

from truenorth.train.chase_findings import chased
from truenorth.train.evidence import Evidence


def records(*, margins=(2.0, 1.0), fast=0, gap=1.0):
    return [
        {
            "step": step,
            "split": "train",
            "loss/base": 0.2,
            "player-1/loss/base": 0.3,
            "rewards/margins": margins[0],
            "player-1/rewards/margins": margins[1],
            "chase/fast": fast,
            "chase/gap": gap,
            "chase/swapped": float(step == 5),
        }
        for step in range(1, 13)
    ]


def test_who_leads_and_how_often_that_changed_is_said():
    found = chased(Evidence(records(fast=1)))
    assert found.level == "good"
    assert "second module is in the fast role" in found.sentence
    assert "margin of 1 against 2" in found.sentence
    assert "loss of 0.3 against 0.2" in found.sentence
    assert "changed 1 time." in found.sentence


@pytest.mark.parametrize(
    ("changes", "title", "setting"),
    [({"margins": (12.0, 8.0)}, "far out", "clamp=10"), ({"gap": 1e-4}, "do not part", "speed_ratio")],
)
def test_margins_far_out_and_modules_that_are_one_are_warned_of(changes, title, setting):
    found = chased(Evidence(records(**changes)))
    assert found.level == "watch"
    assert title in found.title
    assert setting in found.setting


def test_nothing_is_said_of_a_run_of_one_module():
    assert chased(Evidence([{"step": 1, "split": "train", "loss": 0.5}])) is None

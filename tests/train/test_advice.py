"""Whatever findings come together, no setting is turned two ways, and the most severe one is followed."""

import itertools
import re

import pytest

from tests.synthetic_run import Metrics, healthy, ill
from tests.train.test_modules import both
from truenorth.train.advice import ABOVE, settled
from truenorth.train.diagnosis import diagnose
from truenorth.train.evidence import Evidence, Finding

LOWER, HIGHER = "--learning-rate 5e-7 (now 1e-6)", "--learning-rate 3e-6 (now 1e-6)"
CLIP, STEPS = "--set update.max_grad_norm=12", "more steps (--epochs, --max-steps)"
ADVICE = (LOWER, f"{HIGHER}, or {STEPS}", f"{CLIP}, with {LOWER}", f"--max-steps 30, or {CLIP}0", "a longer warm-up")


def clipped(norm: float) -> list[Metrics]:
    return [record | {"grad_norm": norm} for record in healthy()]


def values(findings: list[Finding]) -> dict[str, set[str]]:
    """What is advised of each setting that a number or a direction stands beside."""
    found = dict[str, set[str]]()
    for finding in findings:
        for flag, value in re.findall(r"(--[a-z-]+|[\w.]+(?==))[ =]([\d.e-]*\d)", finding.setting):
            found.setdefault(flag, set()).add(value)
        for way in re.findall(r"more steps|fewer steps|--max-steps \d+", finding.setting):
            found.setdefault("steps", set()).add(way)
    return found


@pytest.mark.parametrize("order", list(itertools.permutations(ADVICE, 3)))
def test_no_setting_is_advised_two_values(order: tuple[str, ...]) -> None:
    findings = settled(Finding("watch", str(place), "", setting) for place, setting in enumerate(order))
    assert all(len(advised) == 1 for advised in values(findings).values())
    assert findings[0].setting == order[0]
    assert all(finding.setting for finding in findings)
    assert settled(findings) == findings


def test_the_most_severe_finding_decides_whatever_the_order() -> None:
    mild, severe = Finding("watch", "mild", "", f"{HIGHER}, or a new method"), Finding("problem", "severe", "", LOWER)
    for given in ([mild, severe], [severe, mild]):
        assert [finding.setting for finding in settled(given)] == [LOWER, "a new method"]


def test_an_advice_of_which_nothing_is_left_says_so() -> None:
    _, second = settled([Finding("watch", "a", "", LOWER), Finding("watch", "b", "", HIGHER)])
    assert second.setting == ABOVE


@pytest.mark.parametrize("modules", [(clipped(12.0), clipped(14.0)), (ill(), ill(seed=3)), (ill(), clipped(14.0))])
def test_two_modules_are_advised_one_value_of_each_setting(modules: tuple[list[Metrics], list[Metrics]]) -> None:
    advised = values(diagnose(Evidence(both(*modules), beta=0.1, max_grad_norm=1.0)))
    assert advised
    assert all(len(found) == 1 for found in advised.values()), advised

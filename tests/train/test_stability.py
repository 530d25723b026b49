import math

import pytest

from tests.synthetic_run import Metrics, healthy
from truenorth.train.diagnosis import diagnose
from truenorth.train.evidence import Evidence, Finding


def diagnosed(name: str, values: dict[int, float]) -> list[Finding]:
    """The diagnosis of a healthy run in which `name` has other values at some training steps."""
    records = healthy()
    for record in records:
        if record["split"] == "train" and int(float(record["step"])) in values:
            record[name] = values[int(float(record["step"]))]
    return diagnose(Evidence(records, beta=0.1, max_grad_norm=1.0))


def levels(findings: list[Finding]) -> dict[str, str]:
    return {finding.title: finding.level for finding in findings}


@pytest.mark.parametrize("name", ["loss", "grad_norm"])
def test_a_number_that_is_not_finite_is_the_only_finding(name: str) -> None:
    findings = diagnosed(name, {50: math.nan})
    assert [finding.title for finding in findings] == ["A number that is not finite"]
    assert "step 50" in findings[0].sentence


def test_a_loss_that_rises_is_a_learning_rate_too_high() -> None:
    findings = diagnosed("loss", {step: 0.7 + 0.01 * step for step in range(1, 121)})
    assert levels(findings)["Learning rate too high"] == "problem"


def test_repeated_jumps_of_the_loss_are_worth_watching() -> None:
    assert levels(diagnosed("loss", {30: 4.0, 60: 5.0, 90: 4.5}))["Learning rate too high"] == "watch"


def test_a_single_jump_is_one_bad_batch() -> None:
    assert "Learning rate too high" not in levels(diagnosed("loss", {60: 5.0}))


def test_jumps_with_bursts_of_the_gradient_are_a_problem() -> None:
    records = healthy()
    for record in records:
        if record["split"] == "train" and record["step"] in (30, 60, 90):
            record |= {"loss": 5.0, "grad_norm": 80.0}
    finding = next(f for f in diagnose(Evidence(records, beta=0.1)) if f.title == "Learning rate too high")
    assert finding.level == "problem"
    assert "--learning-rate" in finding.setting


def test_gradients_far_above_the_clip_at_every_step_are_reported() -> None:
    findings = diagnosed("grad_norm", {step: 25.0 + step % 3 for step in range(1, 121)})
    assert levels(findings)["Every gradient is clipped"] == "watch"


def test_gradients_just_above_the_clip_are_usual() -> None:
    assert "Every gradient is clipped" not in levels(diagnosed("grad_norm", dict.fromkeys(range(1, 121), 1.5)))


def test_a_loss_that_does_not_move_is_reported() -> None:
    flat = dict.fromkeys(range(1, 121), math.log(2))
    assert levels(diagnosed("loss", flat))["The loss does not move"] == "watch"


def test_a_policy_that_did_not_move_gives_one_finding_not_two() -> None:
    records: list[Metrics] = healthy()
    for record in records:
        record |= {"loss": math.log(2), "kl/sampled": 0.0}
    titles = levels(diagnose(Evidence(records, beta=0.1)))
    assert "The policy has hardly moved" in titles
    assert "The loss does not move" not in titles

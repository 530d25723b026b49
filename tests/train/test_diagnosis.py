"""Each finding fires on a series made to show it, and a healthy run of any seed raises none."""

import math
from collections.abc import Callable

import pytest

from tests.synthetic_run import STEPS, Metrics, healthy, ill
from truenorth.train.diagnosis import diagnose
from truenorth.train.evidence import Evidence, Finding

Change = Callable[[Metrics, float], Metrics]  # a record and how much of the run is done, in [0, 1]


def always(values: Metrics, split: str | None = None) -> Change:
    """The same values in every record, or in every record of a split."""

    def change(record: Metrics, _: float) -> Metrics:
        return dict(values) if split in (None, record["split"]) else {}

    return change


def rising(name: str, start: float, end: float) -> Change:
    """A metric that goes straight from `start` to `end`."""

    def change(_: Metrics, done: float) -> Metrics:
        return {name: start + (end - start) * done}

    return change


def changed(change: Change, steps: int = STEPS) -> list[Finding]:
    """The diagnosis of a healthy run with some numbers of each record replaced."""
    records = healthy(steps)
    for record in records:
        record |= change(record, float(record["step"]) / steps)
    return diagnose(Evidence(records, beta=0.1, max_grad_norm=1.0))


def found(findings: list[Finding], title: str) -> Finding:
    return next(finding for finding in findings if finding.title == title)


def value(record: Metrics, name: str) -> float:
    return float(record[name])


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("steps", [30, 120, 600])
def test_a_healthy_run_has_only_good_findings(seed: int, steps: int) -> None:
    findings = diagnose(Evidence(healthy(steps, seed=seed), beta=0.1, max_grad_norm=1.0))
    assert {finding.level for finding in findings} == {"good"}


def test_a_healthy_run_of_single_responses_has_only_good_findings() -> None:
    pairs = ("rejected", "margins", "accuracies", "kl/", "rewards/")
    records = [{k: v for k, v in r.items() if not any(p in k for p in pairs)} for r in healthy()]
    assert {finding.level for finding in diagnose(Evidence(records, beta=None))} == {"good"}


def test_a_few_steps_are_too_few_to_judge() -> None:
    findings = diagnose(Evidence([r for r in healthy() if float(r["step"]) < 6], beta=0.1))
    assert [finding.title for finding in findings] == ["Too short to judge"]


def test_findings_come_problems_first() -> None:
    levels = [finding.level for finding in diagnose(Evidence(ill(), beta=0.1))]
    assert levels == sorted(levels, key=("problem", "watch", "good").index)


def test_every_finding_that_is_not_good_names_a_setting() -> None:
    assert all(finding.setting for finding in diagnose(Evidence(ill(), beta=0.1)) if finding.level != "good")


def test_a_small_fall_of_the_chosen_is_good_and_said_to_be_usual() -> None:
    finding = found(changed(always({})), "Chosen responses stay likely")
    assert finding.level == "good"
    assert "usual" in finding.sentence


@pytest.mark.parametrize(("fall", "level"), [(20.0, "watch"), (70.0, "problem")])
def test_displacement_is_graded_by_nats_per_token(fall: float, level: str) -> None:
    def sink(record: Metrics, done: float) -> Metrics:
        return {
            "logps/chosen": value(record, "logps/chosen") - fall * done,
            "logps/rejected": value(record, "logps/rejected") - 3 * fall * done,
        }

    assert found(changed(sink), "Displacement: chosen responses fall").level == level


def test_a_fall_of_both_responses_is_said_to_be_one() -> None:
    def sink(record: Metrics, done: float) -> Metrics:
        return {f"logps/{which}": value(record, f"logps/{which}") - 60 * done for which in ("chosen", "rejected")}

    assert found(changed(sink), "Chosen and rejected fall together").level == "problem"


def test_displacement_doubles_beta_only_where_the_method_has_one() -> None:
    records = ill()
    with_beta = found(diagnose(Evidence(records, beta=0.1)), "Chosen and rejected fall together").setting
    without = found(diagnose(Evidence(records, beta=None)), "Chosen and rejected fall together").setting
    assert ("beta=0.2" in with_beta, "beta" in without) == (True, False)


@pytest.mark.parametrize(("kl", "level"), [(40.0, "watch"), (120.0, "problem")])
def test_a_large_kl_is_far_from_the_reference(kl: float, level: str) -> None:
    finding = found(changed(rising("kl/sampled", 0, kl)), "Far from the reference")
    assert finding.level == level
    assert "beta=0.2" in finding.setting


def test_a_large_drift_counts_where_no_kl_was_sampled_even_if_negative() -> None:
    records = [{k: v for k, v in r.items() if k != "kl/sampled"} for r in healthy()]
    for record in records:
        record["kl/initial"] = -0.75 * value(record, "step")
    findings = diagnose(Evidence(records, beta=0.1))
    assert "below the reference" in found(findings, "Far from the reference").sentence


@pytest.mark.parametrize(
    ("near", "title"),
    [
        ({"kl/sampled": 0.001}, "The policy has hardly moved"),
        ({"loss": 0.693}, "The loss does not move"),
        (
            {"rewards/accuracies": 0.5, "rewards/accuracies/low": 0.4, "rewards/accuracies/high": 0.6},
            "Accuracy at chance",
        ),
    ],
)
def test_a_policy_near_a_reference_that_follows_it_is_not_judged_by_it(near: Metrics, title: str) -> None:
    records = [record | near for record in healthy()]
    assert title in {finding.title for finding in diagnose(Evidence(records, beta=0.1))}
    moving = diagnose(Evidence(records, beta=0.1), moving=True)
    assert title not in {finding.title for finding in moving}
    assert {finding.level for finding in moving} == {"good"}


def test_a_kl_of_nothing_says_that_the_policy_has_hardly_moved() -> None:
    finding = found(changed(always({"kl/sampled": 0.001})), "The policy has hardly moved")
    assert "--learning-rate" in finding.setting


def test_a_drift_of_nothing_under_an_open_margin_is_movement() -> None:
    findings = changed(always({"kl/sampled": math.nan, "kl/initial": 0.0}))
    assert "The policy has hardly moved" not in [finding.title for finding in findings]


@pytest.mark.parametrize(("at", "level"), [(0.2, "problem"), (0.5, "watch")])
def test_saturation_is_graded_by_how_early_it_comes(at: float, level: str) -> None:
    def saturate(record: Metrics, done: float) -> Metrics:
        late = done >= at
        return {"rewards/accuracies": 1.0, "loss": 0.001} if late and record["split"] == "train" else {}

    assert found(changed(saturate), "Margins are saturated").level == level


def test_saturation_at_the_very_end_is_a_run_of_the_right_length() -> None:
    def saturate(record: Metrics, done: float) -> Metrics:
        return {"rewards/accuracies": 1.0, "loss": 0.001} if done > 0.85 and record["split"] == "train" else {}

    assert found(changed(saturate), "Not saturated").level == "good"


@pytest.mark.parametrize(("times", "level"), [(1.5, "watch"), (3.0, "problem")])
def test_length_drift_is_graded_by_how_much_responses_grow(times: float, level: str) -> None:
    findings = changed(rising("lengths/chosen", 90, 90 * times))
    assert found(findings, "Length drift").level == level


def test_sampled_lengths_are_preferred_to_those_of_the_rows() -> None:
    findings = changed(rising("lengths/sampled", 90, 180))
    assert "sampled" in found(findings, "Length drift").sentence


def test_longer_chosen_responses_are_said_to_be_a_shortcut() -> None:
    findings = changed(always({"lengths/chosen": 150.0, "lengths/rejected": 90.0}))
    assert found(findings, "Longer means better in these rows").level == "watch"


def test_accuracy_below_chance_asks_for_reversed_labels() -> None:
    below: Metrics = {"rewards/accuracies": 0.38, "rewards/accuracies/low": 0.33, "rewards/accuracies/high": 0.43}
    findings = changed(always(below, "eval"))
    assert found(findings, "Below chance: are the labels reversed?").level == "problem"


def test_accuracy_whose_interval_holds_a_half_is_at_chance() -> None:
    coin: Metrics = {"rewards/accuracies": 0.51, "rewards/accuracies/low": 0.46, "rewards/accuracies/high": 0.56}
    findings = changed(always(coin, "eval"))
    assert found(findings, "Accuracy at chance").level == "watch"


def test_training_accuracy_is_judged_where_nothing_was_held_out() -> None:
    records = [r for r in healthy() if r["split"] == "train"]
    assert "training pairs" in found(diagnose(Evidence(records, beta=0.1)), "Better than chance").sentence


@pytest.mark.parametrize(("accuracy", "level"), [(0.86, "watch"), (0.97, "problem")])
def test_held_out_accuracy_that_lags_is_overfitting(accuracy: float, level: str) -> None:
    findings = changed(always({"rewards/accuracies": accuracy}, "train"))
    assert found(findings, "Held-out accuracy lags").level == level


def test_held_out_accuracy_past_its_peak_names_the_step_of_the_peak() -> None:
    def turn(record: Metrics, done: float) -> Metrics:
        accuracy = 0.75 - 0.15 * abs(done - 1 / 3)
        if record["split"] == "train":
            return {}
        return {f"rewards/accuracies{end}": accuracy + by for end, by in (("", 0), ("/low", -0.02), ("/high", 0.02))}

    assert "--max-steps 40" in found(changed(turn), "Past the best checkpoint").setting


def test_a_run_in_rounds_is_not_told_to_set_what_rounds_refuse() -> None:
    def opens_a_round(record: Metrics, done: float) -> Metrics:
        accuracy = 0.97 if record["split"] == "train" else 0.75 - 0.15 * abs(done - 1 / 3)
        ends = {f"rewards/accuracies{end}": accuracy for end in ("", "/low", "/high")}
        return ends | ({"split": "round"} if done == 0 else {})

    for findings in (changed(opens_a_round), changed(opens_a_round, steps=6)):
        advice = " ".join(finding.setting for finding in findings)
        assert "--rounds" in advice
        assert "--max-steps" not in advice
        assert "--epochs" not in advice


@pytest.mark.parametrize("records", [ill(6), [dict(r, loss=0.7) for r in healthy()]])
def test_a_stream_is_not_told_to_set_its_epochs(records: list[Metrics]) -> None:
    said, of_a_stream = (
        " ".join(finding.setting for finding in diagnose(Evidence(records, beta=0.1, stream=stream)))
        for stream in (False, True)
    )
    assert "--epochs" in said
    assert "--epochs" not in of_a_stream


@pytest.mark.parametrize(
    ("error", "sure", "level", "title"),
    [
        (0.02, 0.9, "good", "Sure as often as right"),
        (0.1, 0.9, "watch", "The judge is too sure of itself"),
        (0.3, 0.99, "problem", "The judge is too sure of itself"),
        (0.1, 0.7, "watch", "The judge is less sure than it could be"),
    ],
)
def test_calibration_of_a_judge_is_graded_by_its_error(error: float, sure: float, level: str, title: str) -> None:
    judged: Metrics = {"judge/calibration_error": error, "judge/confidence": sure, "judge/accuracies": 0.8}
    assert found(changed(always(judged, "eval")), title).level == level

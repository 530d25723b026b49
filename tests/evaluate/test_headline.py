import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.synthetic_run import Metrics, healthy, write_run
from tests.train.test_modules import both
from truenorth.errors import DataError
from truenorth.evaluate.artifacts import Artifacts, BeforeAfter, Summary, read
from truenorth.evaluate.headline import Measured, Row, duration, figures, headline, rows, title, told, verdict
from truenorth.train.evidence import Finding


def run_with(directory: Path, summary: dict[str, object], records: list[Metrics] | None = None) -> Artifacts:
    """A run whose summary says only what is given."""
    write_run(directory, records)
    (directory / "summary.json").write_text(json.dumps(summary))
    return read(directory)


def plain(text: str) -> str:
    return text.replace("\u202f", " ")


def test_the_headline_says_distance_and_accuracy_with_its_interval(tmp_path: Path) -> None:
    assert plain(headline(read(write_run(tmp_path)))) == (
        "EXO moved the policy 3.1 nats from the reference in 120 steps; "
        "held-out accuracy 54 % → 71 % (95 %: 66 to 75 %)."
    )


def test_without_a_sampled_kl_the_headline_says_the_margin(tmp_path: Path) -> None:
    records = [{k: v for k, v in r.items() if k != "kl/sampled"} for r in healthy()]
    assert plain(headline(run_with(tmp_path, {"title": "DPO"}, records))).startswith(
        "DPO took the reward margin from 0 to 1.05 in 120 steps; held-out accuracy 54 % → 71 %"
    )


def test_single_responses_are_headed_by_their_loss(tmp_path: Path) -> None:
    records: list[Metrics] = [{"step": i, "split": "train", "loss": 3.0 if i < 20 else 2.0} for i in range(1, 41)]
    assert headline(run_with(tmp_path, {"title": "SFT"}, records)) == "SFT took the loss from 3 to 2 in 40 steps."


def test_a_run_in_rounds_is_headed_by_its_judge(tmp_path: Path) -> None:
    scores: list[Metrics] = [{"step": i, "split": "round", "rewards/judge": 0.25 * i} for i in range(1, 4)]
    assert headline(run_with(tmp_path, {"title": "Online DPO"}, [*healthy(), *scores])).startswith(
        "Online DPO took the judge's mean from 0.25 to 0.75 in 3 rounds; held-out accuracy"
    )


def test_a_run_without_a_summary_is_named_by_its_recipe(tmp_path: Path) -> None:
    assert headline(run_with(tmp_path, {})).startswith("exo moved")


def test_an_accuracy_with_only_a_count_gets_wilsons_interval() -> None:
    (row,) = rows(BeforeAfter(before={}, after={"accuracy": 0.8, "count": 10}))
    assert row.after is not None
    assert (row.after.low, row.after.high) == pytest.approx((0.490, 0.943), abs=1e-3)


def test_a_measurement_that_is_no_number_is_refused_by_name() -> None:
    with pytest.raises(DataError, match="oracle_reward is 'high'"):
        rows(BeforeAfter(after={"oracle_reward": "high"}))


def test_there_are_at_most_four_big_numbers(tmp_path: Path) -> None:
    assert len(figures(read(write_run(tmp_path)))) == 4


def test_a_share_lies_on_the_line_at_its_own_value() -> None:
    assert Row("accuracy", True, None, Measured(0.7)).place(0.7) == 0.7


def test_other_numbers_span_the_line_from_zero_to_the_largest() -> None:
    row = Row("oracle_reward", False, Measured(1.0), Measured(2.0, 1.5, 4.0))
    assert (row.place(0.0), row.place(4.0)) == (0.0, 1.0)


def test_numbers_that_are_all_zero_still_have_a_place() -> None:
    assert Row("oracle_reward", False, Measured(0.0), Measured(0.0)).place(0.0) == 0.0


@pytest.mark.parametrize(
    ("levels", "level", "said"),
    [
        (["good", "good"], "good", "Nothing to change: 2 checks, all well."),
        (["watch", "good"], "watch", "1 thing to watch; 1 check well."),
        (["problem", "problem", "watch"], "problem", "2 problems and 1 thing to watch."),
    ],
)
def test_the_verdict_is_the_worst_finding(levels: list[str], level: str, said: str) -> None:
    assert verdict([Finding(name, "", "") for name in levels]) == (level, said)


def test_a_metric_of_the_module_that_is_not_the_result_says_so() -> None:
    assert title("player-1/rewards/accuracies") == "Held-out accuracy, other module"


def test_margins_are_those_of_the_module_that_is_the_result(tmp_path: Path) -> None:
    records = both(healthy(), [r | {"rewards/margins": 7.0} for r in healthy()])
    found = read(write_run(tmp_path / "run", records))
    said = [figures(replace(found, summary=Summary(deployed=place))) for place in (0, 1)]
    margins = [next(figure.value for figure in each if figure.label == "Reward margin") for each in said]
    assert margins[1] == "7"
    assert margins[0] != "7"


@pytest.mark.parametrize(("seconds", "text"), [(42.4, "42 s"), (59.7, "1 min 0 s"), (9000, "2 h 30 min")])
def test_times_are_said_in_two_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_metrics_that_have_a_curve_and_no_interval_are_left_to_it() -> None:
    measured = BeforeAfter(after={"logps/chosen": -118.0, "rewards/margins": 1.0, "facts": 3.0})
    assert [row.name for row in told(measured)] == ["rewards/margins", "facts"]

from tests.synthetic_run import healthy
from truenorth.evaluate.charts import charts


def titles(records: list[dict[str, float | str]]) -> list[str]:
    return [chart.title for chart in charts(records)]


def test_the_issues_curves_are_all_there() -> None:
    wanted = {"Loss", "Accuracy", "Reward margin", "Log-probabilities", "Distance from the reference", "Lengths"}
    assert wanted <= set(titles(healthy()))


def test_single_responses_give_no_chart_of_pairs() -> None:
    pairs = ("rejected", "margins", "accuracies", "kl/")
    records = [{k: v for k, v in r.items() if not any(p in k for p in pairs)} for r in healthy()]
    assert not {"Accuracy", "Reward margin", "Distance from the reference"} & set(titles(records))


def test_a_metric_that_nobody_planned_gets_a_chart_of_its_own() -> None:
    assert titles([r | {"magnet/pull": 0.5} for r in healthy()])[-1] == "magnet/pull"


def test_bookkeeping_and_bounds_are_no_curves() -> None:
    assert not {"tokens", "seconds", "count", "rewards/accuracies/low"} & set(titles(healthy()))


def test_a_metric_with_one_point_is_no_curve() -> None:
    records = healthy()
    records[5]["once"] = 1.0
    assert "once" not in titles(records)

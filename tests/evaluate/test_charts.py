from tests.synthetic_run import healthy, ill
from tests.train.test_modules import both
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


def chase(step: float) -> dict[str, float]:
    return {"chase/fast": float(step > 60), "chase/gap": 0.1, "chase/swapped": float(step == 60), "loss/base": 0.5}


def test_charts_of_two_modules_have_words_for_titles_and_each_module_in_them() -> None:
    records = both(
        [r | chase(float(r["step"])) for r in healthy()], [r | {"loss/base": 0.6, "count": 400} for r in ill()]
    )
    drawn = {chart.title: chart for chart in charts(records)}
    assert not [title for title in drawn if "/" in title or "player" in title]
    assert [line.name for line in drawn["Loss"].lines] == ["first module", "second module"]
    assert {"Log-probabilities, first module", "Log-probabilities, second module"} <= drawn.keys()
    assert {"Lead of the fast module", "Which module is fast", "Exchanges", "Loss without the chase"} <= drawn.keys()


def test_what_is_the_same_of_both_modules_is_drawn_once() -> None:
    alike = {"lengths/chosen": 30.0, "lengths/rejected": 29.0}
    records = both([r | alike for r in healthy()], [r | alike for r in ill()])
    drawn = {chart.title: chart for chart in charts(records)}
    assert [line.name for line in drawn["Lengths"].lines] == ["chosen", "rejected"]
    assert len(drawn["Learning rate"].lines) == 1


def test_a_lead_that_never_changes_has_no_curve() -> None:
    records = [r | {"chase/fast": 0.0, "chase/swapped": 0.0} for r in healthy()]
    assert not {"Which module is fast", "Exchanges"} & set(titles(records))

"""Two modules in one run: each is judged, and what is the same of both is said once."""

import pytest

from tests.synthetic_run import Metrics, healthy, ill
from truenorth.train.diagnosis import diagnose
from truenorth.train.evidence import Evidence, Finding
from truenorth.train.modules import SECOND, by_module, exchanged, together

GOOD = Finding("good", "Lengths are steady", "30 tokens.")
SHARED = ("step", "split", "learning_rate", "seconds")


def both(first: list[Metrics], second: list[Metrics]) -> list[Metrics]:
    """The records of a run of these two modules."""
    pairs = zip(first, second, strict=True)
    return [one | {SECOND + name: value for name, value in two.items() if name not in SHARED} for one, two in pairs]


def test_records_come_apart_into_those_of_each_module():
    first, second = by_module(both(healthy(30), ill(30)))
    shared = [{name: record[name] for name in record if name in SHARED} for record in healthy(30)]
    assert first == healthy(30)
    assert second == [own | same for own, same in zip(ill(30), shared, strict=True)]


def test_one_module_is_as_it_was():
    records = healthy(30)
    (only,) = by_module(records)
    assert only is records


@pytest.mark.parametrize("of", [0, 1])
def test_what_is_ill_is_found_in_whichever_module_it_is(of: int):
    modules = [healthy(60), healthy(60)]
    modules[of] = ill(60)
    titles = {f.title for f in diagnose(Evidence(both(*modules), beta=0.1)) if f.level == "problem"}
    alone = {f.title for f in diagnose(Evidence(ill(60), beta=0.1)) if f.level == "problem"}
    assert titles == {f"{title} ({('first', 'second')[of]} module)" for title in alone}


def test_two_modules_that_are_one_are_told_of_as_one():
    assert diagnose(Evidence(both(ill(60), ill(60)), beta=0.1)) == diagnose(Evidence(ill(60), beta=0.1))


def test_findings_alike_in_kind_are_one_with_both_numbers():
    (found,) = together([GOOD], [Finding("good", GOOD.title, "31 tokens.")])
    assert found == Finding("good", GOOD.title, "First module: 30 tokens. Second module: 31 tokens.")


def test_findings_of_another_level_stay_apart():
    found = together([GOOD], [Finding("watch", GOOD.title, "60 tokens.", "--x")])
    assert [(f.title, f.level) for f in found] == [
        ("Lengths are steady (first module)", "good"),
        ("Lengths are steady (second module)", "watch"),
    ]


def test_exchanging_twice_is_nothing():
    metrics = {"loss": 0.5, "player-1/loss": 0.6, "player-1/count": 4.0, "count": 3.0}
    assert exchanged(exchanged(metrics)) == metrics
    assert next(iter(exchanged(metrics))) == "loss"

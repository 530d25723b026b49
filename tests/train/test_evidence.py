import math

import pytest

from truenorth.train.evidence import Evidence, Series, number, percent, series, short, smooth


def test_values_that_are_not_finite_are_no_points() -> None:
    records = [{"step": 1, "loss": 0.7}, {"step": 2, "loss": math.nan}, {"step": 3}, {"step": 4, "loss": 0.6}]
    assert series(records, "loss") == Series((1, 4), (0.7, 0.6))


def test_splits_are_kept_apart() -> None:
    records = [{"step": 1, "split": "train", "loss": 0.7}, {"step": 1, "split": "eval", "loss": 0.8}]
    assert series(records, "loss", split="eval").values == (0.8,)


@pytest.mark.parametrize("value", [None, "0.7", True])
def test_what_is_no_number_is_nan(value: object) -> None:
    assert math.isnan(number(value))


def test_the_moving_mean_of_a_line_is_the_line_away_from_its_ends() -> None:
    line = [float(i) for i in range(20)]
    assert smooth(line, 5)[2:-2] == line[2:-2]


def test_a_movement_within_the_noise_is_not_clear() -> None:
    records = [{"step": i, "loss": 1.0 + 0.1 * (-1) ** i} for i in range(40)]
    change = Evidence(records).train_change("loss")
    assert change is not None
    assert not change.clear


def test_too_few_points_make_no_change() -> None:
    assert Evidence([{"step": i, "loss": 1.0} for i in range(9)]).train_change("loss") is None


def test_held_out_rows_scored_at_the_start_are_preferred_to_batches() -> None:
    records = [{"step": i, "split": "train", "loss": 5.0} for i in range(1, 41)]
    records += [{"step": step, "split": "eval", "loss": loss} for step, loss in ((0, 1.0), (40, 0.5))]
    change = Evidence(records).change("loss")
    assert change is not None
    assert (change.start, change.end) == (1.0, 0.5)


def test_held_out_rows_first_scored_late_are_not_a_start() -> None:
    records = [{"step": i, "split": "train", "loss": 5.0} for i in range(1, 41)]
    records += [{"step": step, "split": "eval", "loss": loss} for step, loss in ((20, 1.0), (40, 0.5))]
    change = Evidence(records).change("loss")
    assert change is not None
    assert change.start == 5.0


@pytest.mark.parametrize(
    ("value", "text"), [(-97.31, "−97.3"), (5e-7, "5e-7"), (12000.0, "12,000"), (0.0, "0"), (-121.4, "−121")]
)
def test_numbers_are_said_in_at_most_four_digits(value: float, text: str) -> None:
    assert short(value) == text


def test_a_percent_sign_stays_with_its_number() -> None:
    assert percent(0.714) == "71\u202f%"


def test_a_rate_is_advised_from_the_one_that_was_asked_for_not_from_a_warm_up_that_was_cut() -> None:
    records = [{"step": 1, "split": "train", "learning_rate": 2e-5}]
    assert Evidence(records, learning_rate=1e-4).higher_rate() == "--learning-rate 0.0003 (now 0.0001)"
    assert Evidence(records).lower_rate() == "--learning-rate 1e-5 (now 2e-5)"

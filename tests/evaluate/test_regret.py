"""Regret by hand, and laws that hold whatever was lost."""

from hypothesis import given
from hypothesis import strategies as st

from truenorth.evaluate.regret import BOUND, Hindsight, Regret

ONLINE = [3.0, 1.0, 4.0]
FIXED = {0: [3.0, 3.0, 3.0], 2: [2.0, 2.5, 1.0]}
LOSSES = st.lists(st.floats(0, 9, width=16), min_size=4, max_size=4)


def test_regret_by_hand() -> None:
    # online 3, 4, 8; step 0's 3, 6, 9; step 2's 2, 4.5, 5.5
    found = Hindsight([1, 2, 3], ONLINE, FIXED)
    assert found.regret() == [1.0, -0.5, 2.5]
    assert found.best() == 2


def test_steps_that_were_not_scored_count_as_the_mean_of_those_that_were() -> None:
    found = Hindsight([2, 10], [3.0, 1.0], {0: [2.0, 1.0]})
    assert found.regret() == [1.0 * 2 / 1, 1.0 * 10 / 2]


def test_the_sentence_is_of_all_steps_where_the_last_was_not_scored() -> None:
    seen = Hindsight([1, 3], [3.0, 2.0], {0: [2.0, 1.0]}, taken=4)
    assert "Over 4 steps, 2 of them scored" in seen.sentence()
    assert "a regret of 4 nats, 1 a step" in seen.sentence()  # 1 nat in each


@given(LOSSES, st.lists(LOSSES, min_size=1, max_size=4), LOSSES)
def test_another_snapshot_never_makes_the_regret_smaller(
    online: list[float], fixed: list[list[float]], more: list[float]
) -> None:
    few = Hindsight(range(1, 5), online, dict(enumerate(fixed)))
    many = Hindsight(range(1, 5), online, {**dict(enumerate(fixed)), 9: more})
    assert all(a <= b for a, b in zip(few.regret(), many.regret(), strict=True))


@given(LOSSES)
def test_against_itself_nothing_is_regretted(online: list[float]) -> None:
    assert Hindsight(range(1, 5), online, {0: online}).regret() == [0.0] * 4


def test_the_page_says_and_draws_what_was_written() -> None:
    written = Regret.model_validate(Hindsight([1, 2, 3], ONLINE, FIXED).to_dict())
    regret, losses = written.charts()
    assert regret.lines[0].train.values == (1.0, -0.5, 2.5)
    assert [line.train.values[-1] for line in losses.lines] == [8 / 3, 5.5 / 3]
    assert written.sentence.endswith(BOUND)

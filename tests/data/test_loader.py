from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tiny import rows_of
from truenorth.data.loader import Steps
from truenorth.data.tokens import TokenizedRows
from truenorth.errors import DataError


def tokenized(count: int, *, share: float = 1.0) -> TokenizedRows:
    return TokenizedRows.of(rows_of([(3, (2, 2))] * count), share=share)


def all_indices(steps: Steps) -> list[int]:
    return [i for step in range(steps.count) for i in steps.indices(step)]


def test_an_epoch_takes_every_row_once() -> None:
    steps = Steps(tokenized(10), 4)
    assert steps.count == 3
    assert sorted(all_indices(steps)) == list(range(10))
    assert [len(steps.indices(step)) for step in range(3)] == [4, 4, 2]


def test_each_epoch_has_an_order_of_its_own() -> None:
    steps = Steps(tokenized(50), 50, epochs=2)
    assert sorted(steps.indices(0)) == sorted(steps.indices(1))
    assert steps.indices(0) != steps.indices(1)


def test_a_step_depends_on_the_seed_and_its_number_alone() -> None:
    forward, backward = Steps(tokenized(30), 4, seed=7, epochs=3), Steps(tokenized(30), 4, seed=7, epochs=3)
    late = {step: backward.indices(step) for step in reversed(range(backward.count))}
    assert all(forward.indices(step) == late[step] for step in range(forward.count))
    assert forward.indices(0) != Steps(tokenized(30), 4, seed=8).indices(0)


def test_max_steps_may_pass_the_end_of_the_data() -> None:
    steps = Steps(tokenized(5), 4, max_steps=4)
    assert steps.count == 4
    assert max(Counter(all_indices(steps)).values()) == 4  # 16 prompts of 5 rows


@pytest.mark.parametrize(("share", "taken"), [(0.5, 5), (1.0, 10), (2.0, 20), (1.5, 15)])
def test_a_share_says_how_much_of_a_source_an_epoch_takes(share: float, taken: int) -> None:
    counts = Counter(all_indices(Steps(tokenized(10, share=share), 3)))
    assert counts.total() == taken
    assert max(counts.values()) - (min(counts.values()) if len(counts) == 10 else 0) <= 1


def test_used_is_every_row_that_some_step_takes() -> None:
    steps = Steps(tokenized(20), 3, max_steps=4)
    assert steps.used().tolist() == sorted(set(all_indices(steps)))
    assert len(steps.used()) == 12


def test_the_largest_micro_batch_is_as_large_as_any_of_the_run() -> None:
    shapes = [(int(n), (2, 2)) for n in np.random.default_rng(0).integers(1, 40, 40)]
    steps = Steps(TokenizedRows.of(rows_of(shapes)), 8)
    largest = len(steps.largest(budget=100).tokens)
    seen = [len(batch.tokens) for step in range(steps.count) for batch in steps.batches(step, budget=100)]
    assert largest <= 100
    assert largest >= 0.9 * max(seen)


@given(
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=12), size=st.integers(1, 6), budget=st.integers(5, 60)
)
def test_the_largest_micro_batch_takes_the_longest_rows_that_still_fit(
    lengths: list[int], size: int, budget: int
) -> None:
    rows = TokenizedRows.of(rows_of([(n, (1, 1)) for n in lengths]))
    wanted, room = list[int](), budget
    for length in sorted(rows.lengths.tolist(), reverse=True):
        if not wanted or (len(wanted) < size and length <= room):
            wanted.append(length)
            room -= length
    found = Steps(rows, size, max_steps=len(lengths)).largest(budget=budget)
    assert rows.lengths[list(found.rows)].tolist() == wanted


def test_a_share_that_takes_no_row_is_refused() -> None:
    with pytest.raises(DataError, match=r"take no row of the 10: the largest is 0\.01\. Raise a source's share"):
        Steps(tokenized(10, share=0.01), 4)

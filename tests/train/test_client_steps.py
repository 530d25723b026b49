"""Which rows clients take: every client its own, in turn, as a function of the seed and the round."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tiny import rows_of
from truenorth.clients import Clients
from truenorth.data.loader import Steps
from truenorth.data.tokens import TokenizedRows
from truenorth.errors import DataError, SettingsError
from truenorth.train.client_steps import Client, ClientSteps, by_owner, dealt


def steps_of(sizes: list[int], *, batch_size: int = 2, seed: int = 0, rounds: int = 6, **settings: Any) -> ClientSteps:
    """Clients with so many rows each, one after another."""
    ends = np.cumsum([0, *sizes])
    clients = [Client(f"c{n}", np.arange(ends[n], ends[n + 1])) for n in range(len(sizes))]
    rows = TokenizedRows.of(rows_of([(3, (2, 2))] * int(ends[-1])))
    length = (None, rounds)
    return ClientSteps(rows, clients, Clients(**settings), batch_size=batch_size, seed=seed, length=length)


def taken(steps: ClientSteps, step: int, client: int) -> list[int]:
    """The rows that a client takes in a round, step after step."""
    return [row for batches in steps.local(step, client, budget=10**6) for batch in batches for row in batch.rows]


def all_taken(steps: ClientSteps) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for step in range(steps.count):
        for client in steps.taking_part(step):
            found.setdefault(client, []).extend(taken(steps, step, client))
    return found


@given(rows=st.integers(1, 60), share=st.floats(0.01, 1), seed=st.integers(0, 9))
def test_rows_are_dealt_out_evenly_and_each_once(rows: int, share: float, seed: int) -> None:
    count = max(1, round(share * rows))
    clients = dealt(rows, count, seed=seed)
    assert sorted(np.concatenate([client.places for client in clients]).tolist()) == list(range(rows))
    sizes = [len(client.places) for client in clients]
    assert len(sizes) == count
    assert max(sizes) - min(sizes) <= 1


def test_more_clients_than_rows_are_refused() -> None:
    with pytest.raises(DataError, match=r"clients\.count=4 is more than there are rows, 3"):
        dealt(3, 4, seed=0)


def test_an_owner_is_a_client() -> None:
    clients = by_owner(["ann", "bob", "ann", "7"])
    assert [(client.name, client.places.tolist()) for client in clients] == [("ann", [0, 2]), ("bob", [1]), ("7", [3])]


def test_a_client_takes_its_own_rows_all_of_them_before_any_again() -> None:
    steps = steps_of([5, 3, 8], local_steps=2, participation=0.5, rounds=20)
    ends = np.cumsum([0, 5, 3, 8])
    for client, rows in all_taken(steps).items():
        own = range(int(ends[client]), int(ends[client + 1]))
        for start in range(0, len(rows) - len(own) + 1, len(own)):
            assert sorted(rows[start : start + len(own)]) == list(own)


def test_a_round_depends_on_the_seed_and_its_number_alone() -> None:
    forward, backward = (steps_of([4] * 6, seed=3, participation=0.5, local_steps=2) for _ in range(2))
    late = {step: [(c, taken(backward, step, c)) for c in backward.taking_part(step)] for step in reversed(range(6))}
    assert all(late[step] == [(c, taken(forward, step, c)) for c in forward.taking_part(step)] for step in range(6))
    other = steps_of([4] * 6, seed=4, participation=0.5, local_steps=2)
    assert [other.taking_part(step) for step in range(6)] != [forward.taking_part(step) for step in range(6)]


def test_clients_take_part_at_random_equally_often() -> None:
    steps = steps_of([1] * 10, participation=0.3, rounds=1000)
    assert {len(steps.taking_part(step)) for step in range(1000)} == {3}
    times = steps.took_part(1000)
    assert times.sum() == 3000
    assert abs(times - 300).max() < 5 * (1000 * 0.3 * 0.7) ** 0.5  # five standard deviations
    assert steps.took_part(7).tolist() == [sum(c in steps.taking_part(s) for s in range(7)) for c in range(10)]


def test_a_client_with_few_rows_has_smaller_steps() -> None:
    steps = steps_of([1, 9], batch_size=4, local_steps=3)
    assert [len(taken(steps, 0, client)) for client in (0, 1)] == [3, 12]


@pytest.mark.parametrize(("how", "expected"), [("rows", [0.25, 0.75]), ("equal", [0.5, 0.5])])
def test_weights_add_up_to_one(how: str, expected: list[float]) -> None:
    assert steps_of([2, 6], weights=how).weights(0) == expected


def test_processes_share_the_clients_out() -> None:
    steps = steps_of([3] * 5)
    whole = [row for batch in steps.batches(0, budget=100) for row in batch.rows]
    parts = [[row for b in steps.batches(0, budget=100, part=p, parts=2) for row in b.rows] for p in range(2)]
    assert Counter(whole) == Counter(parts[0] + parts[1])
    assert len(parts[0]) == 3 * 2


def test_used_is_every_row_that_some_client_takes() -> None:
    steps = steps_of([20, 5, 5], batch_size=1, participation=0.34, local_steps=2, rounds=3)
    assert steps.used().tolist() == sorted({row for rows in all_taken(steps).values() for row in rows})
    assert len(steps.used()) < 30


def test_one_client_takes_the_rows_of_a_run_without_clients() -> None:
    steps = steps_of([7], batch_size=2, seed=5, local_steps=1, rounds=9)
    central = Steps(steps.rows, 2, seed=5, max_steps=9)
    assert [taken(steps, step, 0) for step in range(9)] == [
        [row for batch in central.batches(step, budget=10**6) for row in batch.rows] for step in range(9)
    ]


def test_an_epoch_is_as_many_rounds_as_take_all_rows_once() -> None:
    rows = TokenizedRows.of(rows_of([(3, (2, 2))] * 48))
    clients = dealt(48, 4, seed=0)
    steps = ClientSteps(rows, clients, Clients(count=4, local_steps=3), batch_size=2, seed=0)
    assert steps.count == 2  # 4 clients, 3 steps of 2
    assert sorted(row for own in all_taken(steps).values() for row in own) == list(range(48))


def test_a_share_that_leaves_a_client_without_rows_is_refused() -> None:
    rows = TokenizedRows.of(rows_of([(3, (2, 2))] * 4), share=0.25)
    with pytest.raises(DataError, match="take no row of client 1"):
        ClientSteps(rows, dealt(4, 4, seed=0), Clients(), batch_size=2, seed=0)


def test_participation_of_nobody_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"participation must lie in \(0, 1\], got 0"):
        Clients(participation=0)


def test_count_and_column_together_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"clients\.count=3 deals rows out by chance, and clients\.column=user"):
        Clients(count=3, column="user")

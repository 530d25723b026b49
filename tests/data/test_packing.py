import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tiny import rows_of
from truenorth.data.packing import pack, split_by_tokens

SHAPES = st.lists(
    st.tuples(st.integers(1, 6), st.tuples(st.integers(1, 5), st.integers(1, 5))), min_size=1, max_size=6
)


@given(SHAPES)
def test_each_target_is_predicted_from_the_token_before_it(shapes: list[tuple[int, tuple[int, int]]]) -> None:
    rows = rows_of(shapes)
    batch = pack(rows)
    place = 0
    for row in rows:
        for response in row.responses:
            before = [row.prompt[-1], *response[:-1]]
            n = len(response)
            assert batch.tokens[batch.predictor[place : place + n]].tolist() == [int(token) for token in before]
            assert batch.targets[place : place + n].tolist() == response.tolist()
            place += n
    assert place == len(batch.targets) == len(batch.owner)


@given(SHAPES)
def test_positions_are_those_of_the_unpacked_response(shapes: list[tuple[int, tuple[int, int]]]) -> None:
    batch = pack(rows_of(shapes))
    expected = [
        position
        for prompt, responses in shapes
        for position in [*range(prompt), *(prompt + i for n in responses for i in range(n - 1))]
    ]
    assert batch.positions.tolist() == expected


@given(SHAPES)
def test_no_token_is_padding(shapes: list[tuple[int, tuple[int, int]]]) -> None:
    batch = pack(rows_of(shapes))
    assert len(batch.tokens) == sum(p + sum(r) - len(r) for p, r in shapes)
    assert sum(batch.layout.groups) == len(batch.tokens)


def test_rows_with_different_numbers_of_responses_are_refused() -> None:
    with pytest.raises(ValueError, match=r"one number of responses per prompt, got \[2, 3\]"):
        pack(rows_of([(2, (1, 1)), (2, (1, 1, 1))]))


def test_rows_with_different_numbers_of_degraded_versions_are_refused() -> None:
    with pytest.raises(ValueError, match=r"one number of degraded versions per prompt, got \[0, 2\]"):
        pack([*rows_of([(2, (1, 1))]), *rows_of([(2, (1, 1))], degraded=1)])


@given(SHAPES, st.integers(1, 2))
def test_the_last_input_of_each_version_predicts_its_last_token(
    shapes: list[tuple[int, tuple[int, int]]], m: int
) -> None:
    rows = rows_of(shapes, degraded=m)
    batch = pack(rows)
    assert batch.last is not None
    assert batch.last.shape == (len(rows), 2, 1 + m)
    for row, of_row in zip(rows, batch.last.tolist(), strict=True):
        for k, (response, places) in enumerate(zip(row.responses, of_row, strict=True)):
            versions = [response, *row.degraded[k * m : (k + 1) * m]]
            before = [np.concatenate([row.prompt, version])[-2] for version in versions]
            assert batch.tokens[places].tolist() == before
            assert batch.positions[places].tolist() == [len(row.prompt) + len(v) - 2 for v in versions]


@given(SHAPES, st.integers(1, 2))
def test_without_degraded_versions_a_batch_is_what_it_would_be(
    shapes: list[tuple[int, tuple[int, int]]], m: int
) -> None:
    bare, plain = pack(rows_of(shapes, degraded=m)).without_degraded(), pack(rows_of(shapes))
    assert bare.layout == plain.layout
    for name in ("tokens", "positions", "predictor", "targets", "owner", "length"):
        assert getattr(bare, name).tolist() == getattr(plain, name).tolist()
    assert bare.last is plain.last is None


def test_a_row_without_a_weight_counts_once_beside_one_with() -> None:
    rows = rows_of([(2, (1, 1)), (2, (1, 1))])
    heavy = type(rows[0])(rows[0].prompt, rows[0].responses, None, {"weight": 3.0}, "tiny", 1, "0")
    assert pack([heavy, rows[1]]).columns["weight"].tolist() == [3.0, 1.0]


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(1, 3)), min_size=1, max_size=30), st.integers(1, 80))
def test_every_row_is_in_one_micro_batch_and_budgets_hold(rows: list[tuple[int, int]], budget: int) -> None:
    lengths, candidates = [length for length, _ in rows], [k for _, k in rows]
    groups = split_by_tokens(lengths, candidates, budget)
    assert sorted(i for group in groups for i in group) == list(range(len(rows)))
    for group in groups:
        assert len({candidates[i] for i in group}) == 1
        assert sum(lengths[i] for i in group) <= budget or len(group) == 1


def test_the_longest_row_comes_first() -> None:
    assert split_by_tokens([3, 50, 7], [2, 2, 2], 10)[0] == [1]


def test_scores_reach_the_batch_in_the_order_of_the_responses() -> None:
    rows = rows_of([(2, (1, 2, 3)), (3, (2, 2, 1))], scores=True)
    batch = pack(rows)
    assert batch.rewards is not None
    assert np.allclose(batch.rewards.numpy(), [row.scores for row in rows], rtol=1e-6)

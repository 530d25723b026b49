import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tiny import rows_of
from truenorth.data.tokens import key_of
from truenorth.data.training_rows import fit


@pytest.mark.parametrize("truncate", [False, True])
def test_a_row_that_fits_stays_as_it_is(truncate: bool) -> None:
    (row,) = rows_of([(4, [3, 6])])
    assert fit(row, 10, truncate=truncate) == (row, [])


def test_a_row_that_is_too_long_says_how_long_it_is() -> None:
    (row,) = rows_of([(4, [3, 6])])
    kept, (problem,) = fit(row, 9, truncate=False)
    assert kept is None
    assert (problem.reason, problem.detail) == ("too_long", "prompt 4 and answer 6 tokens, max_length 9")


@given(st.integers(1, 5), st.lists(st.integers(1, 9), min_size=1, max_size=3), st.integers(6, 12))
def test_answers_are_cut_to_the_room_that_the_prompt_leaves(prompt: int, lengths: list[int], limit: int) -> None:
    (row,) = rows_of([(prompt, lengths)])
    cut, _ = fit(row, limit, truncate=True)
    assert cut is not None
    assert [len(response) for response in cut.responses] == [min(length, limit - prompt) for length in lengths]
    assert all(np.array_equal(a, b[: len(a)]) for a, b in zip(cut.responses, row.responses, strict=True))


def test_a_cut_row_has_the_key_of_its_own_tokens() -> None:
    (row,) = rows_of([(4, [3, 6])])
    cut, _ = fit(row, 8, truncate=True)
    assert cut is not None
    assert cut.key == key_of(cut.prompt, cut.responses)


def test_a_prompt_that_leaves_no_room_cannot_be_cut() -> None:
    (row,) = rows_of([(4, [3])])
    kept, (problem,) = fit(row, 4, truncate=True)
    assert (kept, problem.reason) == (None, "prompt_too_long")


def test_degraded_versions_are_cut_too() -> None:
    (row,) = rows_of([(4, [3, 6])], degraded=1)
    cut, _ = fit(row, 8, truncate=True)
    assert cut is not None
    assert [len(version) for version in cut.degraded] == [2, 4]

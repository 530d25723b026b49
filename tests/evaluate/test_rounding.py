"""What is measured in float32 beside a run's own precision, and of which methods."""

from collections.abc import Mapping

import pytest
import torch

from tests.tiny import rows_of, tiny_model
from truenorth import methods
from truenorth.data.loader import batches
from truenorth.data.tokens import TokenizedRows
from truenorth.evaluate.rounding import ROWS, Totals, rounding, tells, totals
from truenorth.methods import recipe
from truenorth.models.load import with_lora
from truenorth.models.logprobs import Model
from truenorth.models.policy import Policy
from truenorth.models.storage import store_frozen

ROWS_OF_PAIRS = TokenizedRows.of(rows_of([(6, (5, 3)), (4, (7, 2)), (9, (4, 4))]))
START: Totals = [[-10.0, -12.0], [-20.0, -21.0], [-30.0, -30.0]]
# margins, beta = 0.1: in float32 0.3, 0.1, -0.2; in bfloat16 0.25, 0, -0.2
ENDS: Mapping[str, Totals] = {
    "bfloat16": [[-9.0, -13.5], [-20.0, -21.0], [-31.0, -29.0]],
    "float32": [[-9.0, -14.0], [-19.0, -21.0], [-31.0, -29.0]],
}
TELL = [name for name in methods.METHODS if tells(recipe(name))]


def test_the_numbers_are_those_worked_out_by_hand() -> None:
    found = rounding(recipe("dpo", beta=0.1), ROWS_OF_PAIRS, start=dict.fromkeys(ENDS, START), end=ENDS)
    assert found is not None
    assert (found.precision, found.pairs, found.changed) == ("bfloat16", 3, 1)
    assert (found.margin, found.difference) == pytest.approx((0.2, 0.05))
    assert (found.right, found.right_in_float32) == pytest.approx((1.5 / 3, 2 / 3))


def test_a_policy_that_has_not_moved_has_no_rounding_in_any_margin() -> None:
    same = totals(Policy.of(tiny_model(), "bfloat16"), ROWS_OF_PAIRS, budget=20)
    assert same["bfloat16"] != same["float32"]
    found = rounding(recipe("dpo"), ROWS_OF_PAIRS, start=same, end=same)
    assert found is not None
    assert (found.margin, found.difference, found.changed) == (0, 0, 0)


def model_of(*, lora: bool) -> Model:
    """Of an adapter with the frozen layers rounded, as a run in bfloat16 keeps them."""
    torch.manual_seed(0)
    if not lora:
        return tiny_model()
    model = with_lora(tiny_model(), rank=2, alpha=4.0, targets="all-linear", dropout=0.0)
    store_frozen(model)
    return model


@pytest.mark.parametrize("lora", [False, True])
def test_beside_bfloat16_stands_what_the_same_weights_give_in_float32(lora: bool) -> None:
    found = totals(Policy.of(model_of(lora=lora), "bfloat16"), ROWS_OF_PAIRS, budget=1000)["float32"]
    policy = Policy.of(model_of(lora=lora).float(), "float32")
    (batch,) = batches(ROWS_OF_PAIRS, range(3), budget=1000)
    with torch.no_grad():
        wanted = policy.log_probs(batch).total
    assert torch.equal(torch.tensor([found[row] for row in batch.rows]), wanted)


def test_a_few_rows_are_enough() -> None:
    rows = TokenizedRows.of(rows_of([(3, (2, 2))] * (ROWS + 4)))
    assert [len(of) for of in totals(Policy.of(tiny_model(), "bfloat16"), rows, budget=30).values()] == [ROWS, ROWS]


@pytest.mark.parametrize("name", ["dpo", "simpo", "ofs_dpo", "kto"])
def test_it_is_told_of_a_policy_and_its_start(name: str) -> None:
    assert name in TELL


@pytest.mark.parametrize("name", ["tr_dpo", "ld_dpo", "reward"])
def test_it_is_not_told_of_references_that_move_of_single_tokens_or_of_a_judge(name: str) -> None:
    assert name not in TELL


@pytest.mark.parametrize("name", TELL)
def test_every_method_of_which_it_is_told_has_margins(name: str) -> None:
    """So that no run fails at its end for the sake of this note."""
    answers = 1 if recipe(name).objective.candidates[1] == 1 else 2
    rows = TokenizedRows.of(rows_of([(6, (5, 3)[:answers]), (4, (7, 2)[:answers])], scores=True))
    start, end = ([[-10.0, -12.0][:answers], [-20.0, -21.0][:answers]] for _ in range(2))
    end = [[total + 0.5 * i for i, total in enumerate(of)] for of in end]
    found = rounding(recipe(name), rows, start=dict.fromkeys(ENDS, start), end=dict.fromkeys(ENDS, end))
    assert (found is None) == (answers == 1)
    assert found is None or (found.pairs == 2 and found.difference == 0)

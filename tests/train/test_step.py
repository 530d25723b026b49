"""A step does not depend on how it is split, honours weights, and never takes a number that is none."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.tiny import rows_of, tiny_model
from truenorth.data.packing import PackedBatch, pack
from truenorth.data.tokens import TokenizedRow
from truenorth.methods.dpo import DPO
from truenorth.models.policy import Policy
from truenorth.recipe import Objective
from truenorth.train.step import NotFinite, Player, clip, train_step
from truenorth.types import Candidates

SHAPES = [(6, (5, 3)), (4, (7, 2)), (9, (4, 4)), (3, (2, 6))]


def player(objective: Objective, *, rate: float = 0.1) -> Player:
    policy = Policy.of(tiny_model("llama").requires_grad_(True), "float32")
    named = dict(policy.model.named_parameters())
    return Player(policy.log_probs, objective, torch.optim.SGD(named.values(), lr=rate), named, None)


def reference() -> Policy:
    return Policy.of(tiny_model("llama", seed=1), "float32")


def after_a_step(batches: Sequence[PackedBatch], objective: Objective) -> list[Tensor]:
    learner, frozen = player(objective), reference()
    with torch.no_grad():
        scores = {batch.rows: frozen.log_probs(batch) for batch in batches}
    train_step([learner], batches, {"initial": lambda batch: scores[batch.rows]})
    return [p.detach() for p in learner.parameters]


def batch_of(
    rows: Sequence[TokenizedRow], places: Sequence[int], *, weights: Sequence[float] | None = None
) -> PackedBatch:
    batch = pack([rows[i] for i in places], list(places))
    return batch if weights is None else replace(batch, columns={"weight": torch.tensor(weights)})


def assert_same(ours: list[Tensor], theirs: list[Tensor], *, tolerance: float) -> None:
    assert max(float((a - b).abs().max()) for a, b in zip(ours, theirs, strict=True)) <= tolerance


@pytest.mark.parametrize("split", [[[0], [1], [2], [3]], [[0, 3], [1, 2]], [[3, 2, 1, 0]]])
def test_splitting_a_step_changes_nothing(split: list[list[int]]) -> None:
    rows = rows_of(SHAPES)
    whole = after_a_step([batch_of(rows, [0, 1, 2, 3])], DPO())
    parts = after_a_step([batch_of(rows, places) for places in split], DPO())
    assert_same(whole, parts, tolerance=1e-6)  # float32 sums in another order


def test_weight_zero_is_leaving_the_row_out() -> None:
    rows = rows_of(SHAPES)
    without = after_a_step([batch_of(rows, [0, 2])], DPO())
    weightless = after_a_step([batch_of(rows, [0, 1, 2, 3], weights=[1, 0, 1, 0])], DPO())
    assert_same(without, weightless, tolerance=1e-6)


def test_weight_two_is_having_the_row_twice() -> None:
    rows = rows_of(SHAPES)
    twice = after_a_step([batch_of(rows, [0]), batch_of(rows, [1, 1])], DPO())
    weighted = after_a_step([batch_of(rows, [0, 1], weights=[1, 2])], DPO())
    assert_same(twice, weighted, tolerance=1e-6)


class Broken(DPO):
    """A loss that is no number for one prompt."""

    def __call__(self, candidates: Candidates) -> Tensor:
        losses = super().__call__(candidates)
        return torch.where(candidates.policy.length[:, 0] == 7, float("nan") * losses, losses)


def test_a_loss_that_is_no_number_stops_before_the_optimizer_and_names_the_rows() -> None:
    rows, learner, frozen = rows_of(SHAPES), player(Broken()), reference()
    before = [p.detach().clone() for p in learner.parameters]
    batches = [batch_of(rows, [0, 2]), batch_of(rows, [1, 3])]
    with pytest.raises(NotFinite) as stop:
        train_step([learner], batches, {"initial": torch.no_grad()(frozen.log_probs)})
    assert stop.value.rows == (1,)
    assert all(torch.equal(p, old) for p, old in zip(learner.parameters, before, strict=True))


class Batchwise(DPO):
    """Centres every row by the step's mean log-ratio, as KTO's baseline does."""

    scope = "step"

    def __call__(self, candidates: Candidates) -> Tensor:
        assert candidates.step is not None
        return -(candidates.log_ratio()[:, 0] - candidates.step.log_ratio["initial"].mean()).sigmoid()


def test_an_objective_that_couples_rows_sees_the_whole_step() -> None:
    rows = rows_of(SHAPES)
    whole = after_a_step([batch_of(rows, [0, 1, 2, 3])], Batchwise())
    parts = after_a_step([batch_of(rows, [0]), batch_of(rows, [1, 2, 3])], Batchwise())
    assert_same(whole, parts, tolerance=1e-6)


def test_weight_zero_is_leaving_the_row_out_where_rows_are_coupled() -> None:
    rows = rows_of(SHAPES)
    without = after_a_step([batch_of(rows, [0, 2])], Batchwise())
    weightless = after_a_step([batch_of(rows, [0, 1], weights=[1, 0]), batch_of(rows, [2])], Batchwise())
    assert_same(without, weightless, tolerance=1e-6)


class Chase(DPO):
    """Reads its peer in place of a reference."""

    references = ("peer",)

    def __call__(self, candidates: Candidates) -> Tensor:
        assert not candidates.references["peer"].total.requires_grad
        return candidates.log_ratio("peer")[:, 0]

    def implicit_rewards(self, candidates: Candidates) -> Tensor:
        return candidates.log_ratio("peer")


def test_two_players_step_at_once_and_see_each_other_detached() -> None:
    rows, both = rows_of(SHAPES), [player(Chase()), player(Chase(), rate=0.05)]
    before = [p.detach().clone() for p in both[0].parameters]
    train_step(both, [batch_of(rows, [0, 1, 2, 3])], {})
    moved = [
        torch.cat([(p.detach() - old).flatten() for p, old in zip(one.parameters, before, strict=True)])
        for one in both
    ]
    # The same gradient at half the rate; 1e-6 is what float32 leaves of a difference of numbers near 1.
    assert torch.allclose(moved[0], 2 * moved[1], rtol=1e-5, atol=1e-6)


def test_the_clip_scales_all_gradients_to_one_norm() -> None:
    parameters = [torch.nn.Parameter(torch.zeros(2)), torch.nn.Parameter(torch.zeros(1))]
    parameters[0].grad, parameters[1].grad = torch.tensor([3.0, 0.0]), torch.tensor([4.0])
    assert float(clip(parameters, 1.0)) == 5.0
    assert float(clip(parameters, None)) == pytest.approx(1.0, rel=1e-6)


def test_a_step_whose_rows_weigh_nothing_changes_nothing() -> None:
    rows = rows_of(SHAPES)
    before = [p.detach() for p in player(DPO()).parameters]
    assert_same(before, after_a_step([batch_of(rows, [0, 1], weights=[0, 0])], DPO()), tolerance=0.0)

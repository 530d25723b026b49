"""The first step is held against theory: a reference that differs, or a formula that does, stops the run."""

import pytest
import torch
from torch import Tensor

from tests.tiny import rows_of, tiny_model
from truenorth.data.packing import pack
from truenorth.errors import NumericsError
from truenorth.methods.dpo import DPO
from truenorth.models.policy import Policy
from truenorth.recipe import Objective
from truenorth.train.first_step import check_first_step
from truenorth.train.step import Player
from truenorth.types import Candidates

BATCH = pack(rows_of([(6, (5, 3)), (4, (7, 2))]))


def player(objective: Objective) -> Player:
    policy = Policy.of(tiny_model().requires_grad_(True), "float32")
    named = dict(policy.model.named_parameters())
    return Player(policy.log_probs, objective, torch.optim.SGD(named.values(), lr=0.1), named, None)


def reference(seed: int) -> Policy:
    return Policy.of(tiny_model(seed=seed), "float32")


class Forgetful(DPO):
    """A loss that is not what its `initial_loss` says."""

    def __call__(self, candidates: Candidates) -> Tensor:
        return super().__call__(candidates) + 0.1


class Centred(DPO):
    """Compares each chosen response with the mean log-ratio of the step, as KTO's baseline does."""

    scope = "step"

    def __call__(self, candidates: Candidates) -> Tensor:
        assert candidates.step is not None
        return -(candidates.log_ratio()[:, 0] - candidates.step.log_ratio["initial"].mean()).sigmoid()

    def initial_loss(self, candidates: Candidates) -> Tensor:
        return torch.full_like(candidates.policy.total[:, 0], -0.5)


class Uncentred(Centred):
    """Its theory forgets that the step's mean is 0 too."""

    def initial_loss(self, candidates: Candidates) -> Tensor:
        return torch.full_like(candidates.policy.total[:, 0], -1.0)


def test_an_objective_that_couples_rows_is_checked_too() -> None:
    found = check_first_step([player(Centred())], BATCH, {"initial": reference(0).log_probs}, precision="float32")
    assert found is not None
    assert found.measured == pytest.approx(-0.5, abs=1e-5)
    with pytest.raises(NumericsError, match=r"Uncentred says that its loss is -1 .* computes -0\.5"):
        check_first_step([player(Uncentred())], BATCH, {"initial": reference(0).log_probs}, precision="float32")


def test_the_loss_at_the_start_is_log_two() -> None:
    found = check_first_step([player(DPO())], BATCH, {"initial": reference(0).log_probs}, precision="float32")
    assert found is not None
    assert found.measured == pytest.approx(0.6931472, abs=1e-5)


def test_a_policy_with_broken_weights_is_told_so() -> None:
    broken, before = player(DPO()), reference(0)
    with torch.no_grad():
        broken.parameters[0].fill_(float("nan"))
    with pytest.raises(
        NumericsError, match=r"policy gives data row 0 the log-probs \[nan, nan\]. Its weights are broken"
    ):
        check_first_step([broken], BATCH, {"initial": before.log_probs}, precision="float32")


def test_a_reference_that_is_not_the_start_is_refused() -> None:
    with pytest.raises(NumericsError, match="must agree, and they differ by"):
        check_first_step([player(DPO())], BATCH, {"initial": reference(1).log_probs}, precision="float32")


def test_a_formula_that_contradicts_its_own_theory_is_refused() -> None:
    with pytest.raises(NumericsError, match=r"Forgetful says that its loss is 0\.693147 .* computes 0\.793147"):
        check_first_step([player(Forgetful())], BATCH, {"initial": reference(0).log_probs}, precision="float32")

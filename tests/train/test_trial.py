"""The trial of the largest micro-batch: it counts what a step takes, and leaves nothing changed."""

from functools import partial
from pathlib import Path

import pytest
import torch

from tests.tiny import rows_of, tiny_model
from truenorth.data.loader import Steps
from truenorth.data.tokens import TokenizedRows
from truenorth.errors import SettingsError
from truenorth.methods.dpo import DPO
from truenorth.methods.mpo import MPO
from truenorth.models.policy import Policy
from truenorth.optim.update import AdamW
from truenorth.recipe import Objective
from truenorth.train import budget
from truenorth.train.budget import find_budget
from truenorth.train.resident import growth_of
from truenorth.train.step import Player
from truenorth.train.trial import MemoryTrial


def trial_of(objective: Objective | None = None, *, batch_size: int = 4, **changes: object) -> MemoryTrial:
    model, objective = tiny_model("llama", **changes).requires_grad_(True), objective or DPO()
    log_probs = partial(Policy.of(model, "float32").log_probs, asked=objective.of_policy)
    named = dict(model.named_parameters())
    player = Player(log_probs, objective, AdamW().build(named.values()), named, max_grad_norm=1.0)
    steps = Steps(TokenizedRows.of(rows_of([(20, (10, 12))] * 8)), batch_size)
    return MemoryTrial([player], steps, list(model.parameters()), 97, {"optimizer": 1000}, sharded=False)


def test_a_trial_leaves_no_trace() -> None:
    trial = trial_of()
    before = [p.detach().clone() for p in trial.parameters]
    torch.manual_seed(0)
    drawn = torch.random.get_rng_state()
    trial(10_000)
    assert all(torch.equal(p, old) and p.grad is None for p, old in zip(trial.parameters, before, strict=True))
    assert not trial.players[0].optimizer.state
    assert torch.equal(torch.random.get_rng_state(), drawn)


def test_a_trial_with_dropout_draws_no_random_number_of_the_run() -> None:
    trial = trial_of(attention_dropout=0.5)
    drawn = torch.random.get_rng_state()
    trial.players[0].named_parameters["lm_head.weight"].register_hook(lambda g: g * torch.rand_like(g))
    trial(10_000)
    assert torch.equal(torch.random.get_rng_state(), drawn)


def test_gradients_of_an_earlier_micro_batch_are_there_where_a_step_has_several() -> None:
    trial = trial_of()
    weights = sum(p.numel() * 4 for p in trial.parameters)
    assert trial(10_000)["gradients"] < weights  # all prompts of a step at once: they come as activations go
    assert trial(50)["gradients"] == weights


def test_whole_distributions_are_counted_where_a_loss_compares_them() -> None:
    logits = 4 * (11 + 13) * 97 * 4  # bytes, of the response tokens of all prompts
    assert trial_of(MPO())(10_000)["head"] >= 2 * logits  # the policy's and a reference's


def test_what_comes_later_is_among_the_parts() -> None:
    trial = trial_of()
    trial(10_000)
    assert trial.parts["optimizer"] == 1000


def test_a_row_that_fits_only_without_optimizer_and_references_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    trial = trial_of()
    monkeypatch.setattr(budget, "memory_limit", lambda: 2 * 10**9 + budget.resident_memory())
    assert find_budget(trial, wanted=None, said=print) == budget.USUAL
    trial.later = {"optimizer": 3 * 10**9}
    with pytest.raises(SettingsError, match="does not fit in memory"):
        find_budget(trial, wanted=None, said=print)


def test_growth_is_seen_although_more_was_held_before() -> None:
    """The peak of a process is no measure: loading a model may have passed it."""
    held = torch.ones(2**26)  # 256 MB
    del held
    _, growth = growth_of(lambda: torch.ones(2**24))  # 64 MB
    assert 60e6 < growth < 100e6


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not say")
def test_growth_of_nothing_is_nothing() -> None:
    assert growth_of(lambda: None)[1] < 1e6

"""One step over all processes, for `tests.many`: what its rows become, and what all of them learn of a broken one."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from tests.tiny import rows_of, tiny_model
from tests.train.test_step import SHAPES, Batchwise, Broken
from truenorth.data.loader import batches
from truenorth.data.tokens import TokenizedRows
from truenorth.models.policy import Policy
from truenorth.processes import Group, joined
from truenorth.recipe import Objective
from truenorth.train.step import NotFinite, Player, train_step


def coupled(out: Path) -> None:
    """The weights after a step of an objective that couples the rows of the step."""
    with joined() as group:
        after = _step(Batchwise(), group)
        if group.first:
            save_file(after, out)


def broken(out: Path) -> None:
    """The rows that this process names when the loss of one row is no number."""
    with joined() as group:
        try:
            _step(Broken(), group)
        except NotFinite as stop:
            out.with_suffix(f".{group.rank}").write_text(json.dumps(stop.rows))


def _step(objective: Objective, group: Group) -> dict[str, torch.Tensor]:
    rows = TokenizedRows.of(rows_of(SHAPES))
    policy = Policy.of(tiny_model("llama").requires_grad_(True), "float32")
    frozen = Policy.of(tiny_model("llama", seed=1), "float32")
    named = dict(policy.model.named_parameters())
    learner = Player(policy.log_probs, objective, torch.optim.SGD(named.values(), lr=0.1), named, None)
    mine = list(batches(rows, range(len(rows)), budget=20, part=group.rank, parts=group.size))
    train_step([learner], mine, {"initial": torch.no_grad()(frozen.log_probs)}, group)
    return {name: parameter.detach() for name, parameter in named.items()}

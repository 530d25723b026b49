"""One step over all processes, for `tests.many`: what its rows become, and what all of them learn of a broken one."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from tests.tiny import rows_of, tiny_model
from tests.train.test_step import SHAPES, Batchwise, Broken
from truenorth.data.loader import batches
from truenorth.data.packing import pack
from truenorth.data.tokens import TokenizedRows
from truenorth.models.policy import Policy
from truenorth.models.sharding import Sharding, Sizes, whole
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


def gathered(out: Path) -> None:
    """Of a model sharded in bfloat16: its log-probs and gradients, and the dtypes of weights while they are whole."""
    with joined() as group:
        sharding = Sharding.over(group, Sizes(shards=group.size), torch.device("cpu"))
        policy = sharding.shard(Policy.of(tiny_model("llama").requires_grad_(True), "bfloat16"))
        model: Any = policy.model
        dtypes = dict[str, str]()

        def see(module: torch.nn.Linear, *_: object) -> None:
            dtypes["layer"] = str(module.weight.dtype)
            dtypes["embedding"] = str(model.get_input_embeddings().weight.dtype)

        model.model.layers[0].self_attn.q_proj.register_forward_pre_hook(see)
        found = bfloat16_step(policy)
        tensors = {name: whole(tensor) for name, tensor in found.items()}
        if group.first:
            save_file(tensors, out)
            out.with_suffix(".json").write_text(json.dumps(dtypes))


def measured(out: Path) -> None:
    """What a model gives besides totals that is sharded, and one that is sliced, with the gradients of its tokens."""
    with joined() as group:
        for name, sizes in (("shards", Sizes(shards=group.size)), ("slices", Sizes(slices=group.size))):
            sharding, model = Sharding.over(group, sizes, torch.device("cpu")), tiny_model("llama")
            sharding.slice(model.requires_grad_(True))
            found = measured_step(sharding.shard(Policy.of(model, "float32")))
            tensors = {key: whole(tensor).contiguous() for key, tensor in found.items()}
            if group.first:
                save_file(tensors, out.with_suffix(f".{name}"))


def measured_step(policy: Policy) -> dict[str, torch.Tensor]:
    """All that is measured of some rows, and the gradient of the sum of their tokens' log-probs by the first layer."""
    found = policy.log_probs(pack(rows_of(SHAPES)), frozenset({"tokens", "entropy", "collision"}))
    assert found.tokens is not None
    found.tokens.sum().backward()
    measures = {name: getattr(found, name).detach() for name in ("total", "tokens", "entropy", "collision")}
    layer: Any = policy.model.get_parameter("model.layers.0.mlp.up_proj.weight")
    return measures | {"gradient": layer.grad}


def bfloat16_step(policy: Policy) -> dict[str, torch.Tensor]:
    """Log-probs of the same rows in every process, and the gradients of their sum, added over the processes."""
    total = policy.log_probs(pack(rows_of(SHAPES))).total
    total.sum().backward()
    gradients = {name: p.grad for name, p in policy.model.named_parameters() if p.grad is not None}
    return {"log_probs": total.detach(), **gradients}


def _step(objective: Objective, group: Group) -> dict[str, torch.Tensor]:
    rows = TokenizedRows.of(rows_of(SHAPES))
    policy = Policy.of(tiny_model("llama").requires_grad_(True), "float32")
    frozen = Policy.of(tiny_model("llama", seed=1), "float32")
    named = dict(policy.model.named_parameters())
    learner = Player(policy.log_probs, objective, torch.optim.SGD(named.values(), lr=0.1), named, None)
    mine = list(batches(rows, range(len(rows)), budget=20, part=group.rank, parts=group.size))
    train_step([learner], mine, {"initial": torch.no_grad()(frozen.log_probs)}, group)
    return {name: parameter.detach() for name, parameter in named.items()}

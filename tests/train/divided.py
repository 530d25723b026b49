"""One step over all processes, for `tests.many`: what its rows become, and what all of them learn of a broken one."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch.distributed.tensor import DTensor, distribute_tensor

from tests.tiny import rows_of, tiny_model
from tests.train.test_step import SHAPES, Batchwise, Broken
from truenorth.data.loader import batches
from truenorth.data.packing import pack
from truenorth.data.tokens import TokenizedRows
from truenorth.evaluate.rounding import totals
from truenorth.methods.dpo import DPO
from truenorth.methods.online_merging import OnDARE, OnTIES
from truenorth.models.logprobs import Model
from truenorth.models.policy import Policy
from truenorth.models.sharding import Sharding, Sizes, part_like, whole
from truenorth.models.storage import store_frozen
from truenorth.models.task_vector import task_vector
from truenorth.optim.hfac import HFac
from truenorth.optim.merging import Merged
from truenorth.optim.rule import Rule
from truenorth.optim.update import AdamW, RMSprop, Update
from truenorth.processes import Group, joined
from truenorth.recipe import Objective
from truenorth.train.federated import Work, federated_round
from truenorth.train.step import NotFinite, Player, train_step

MERGES: dict[str, tuple[Rule, Update]] = {
    "few entries": (OnDARE(alpha=1e-2, keep=0.03), AdamW(learning_rate=1e-2, weight_decay=0.1)),
    "as written": (OnDARE(alpha=1e-2, keep=0.4, rescale="none", task_mask="fresh"), AdamW(learning_rate=1e-2)),
    "drawn, every second step": (OnDARE(alpha=1e-2, keep=0.4, every=2), RMSprop(learning_rate=1e-3)),
    "few of the largest": (OnTIES(alpha=1e-2, keep=0.03), AdamW(learning_rate=1e-2)),
    "the largest": (OnTIES(alpha=1e-2, keep=0.4, vote="weighted"), AdamW(learning_rate=1e-2)),
    "h-fac": (OnDARE(alpha=1e-2, keep=0.4), HFac(learning_rate=1e-2)),
    "h-fac alone": (OnDARE(alpha=0, keep=1), HFac(learning_rate=1e-2)),
    "the largest, every second step": (OnTIES(alpha=1e-2, keep=0.4, every=2), RMSprop(learning_rate=1e-3)),
}

ROWS = rows_of(SHAPES)


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


def rescored(out: Path) -> None:
    """What slices give of some rows in both precisions, under weights that are stored rounded."""
    with joined() as group:
        sharding, model = Sharding.over(group, Sizes(slices=group.size), torch.device("cpu")), rounded_model()
        sharding.slice(model)
        found = totals(sharding.shard(Policy.of(model, "bfloat16")), TokenizedRows.of(ROWS), budget=64)
        if group.first:
            out.with_suffix(".json").write_text(json.dumps(found))


def rounded_model() -> Model:
    model = tiny_model("llama").requires_grad_(False)
    store_frozen(model)
    return model


def bfloat16_step(policy: Policy) -> dict[str, torch.Tensor]:
    """Log-probs of the same rows in every process, and the gradients of their sum, added over the processes."""
    total = policy.log_probs(pack(rows_of(SHAPES))).total
    total.sum().backward()
    gradients = {name: p.grad for name, p in policy.model.named_parameters() if p.grad is not None}
    return {"log_probs": total.detach(), **gradients}


def merged(out: Path) -> None:
    """The weights of a model that each two processes share out, and of tensors of one row, after merged steps.

    Of every kind, and of each replica.
    """
    with joined() as group:
        sharding = Sharding.over(group, Sizes(group.size // 2, 2), torch.device("cpu"))
        group.in_turn(lambda: group.first and tiny_model("llama", seed=1).save_pretrained(out.parent / "base"))
        for name in MERGES:
            policy = sharding.shard(Policy.of(tiny_model("llama").requires_grad_(True), "float32"))
            named = dict(policy.model.named_parameters())
            like = next(iter(named.values()))
            named |= {key: torch.nn.Parameter(_laid_as(like, tensor)) for key, tensor in one_row().items()}
            found = {key: whole(tensor) for key, tensor in merged_steps(name, named, out.parent / "base").items()}
            if group.rank % 2 == 0:
                save_file(found, out.with_suffix(f".{name}.{group.rank // 2}"))


def one_row() -> dict[str, torch.Tensor]:
    """Tensors of which one process of two holds nothing."""
    return {"row": torch.zeros(1, 7), "one": torch.zeros(1)}


def assert_merged_alike(name: str, ours: Mapping[str, torch.Tensor], theirs: Mapping[str, torch.Tensor]) -> None:
    """To the bit, but for H-Fac, whose means over columns are sums in another order."""
    assert ours.keys() == theirs.keys()
    tolerance = 1e-6 if isinstance(MERGES[name][1], HFac) else 0.0
    for key, tensor in theirs.items():
        torch.testing.assert_close(ours[key], tensor, rtol=0, atol=tolerance, msg=key)


def merged_steps(name: str, named: Mapping[str, torch.nn.Parameter], base: Path) -> dict[str, torch.Tensor]:
    """`named` after four merged steps on gradients that are drawn for whole tensors."""
    rule, update = MERGES[name]
    task = task_vector(str(base), {key: p for key, p in named.items() if key not in one_row()})
    task |= {key: part_like(_drawn(named[key], -1), named[key]) for key in one_row()}
    optimizer = Merged(update.build(named.values()), rule, task, named, seed=3)
    for step in range(4):
        for p in named.values():
            p.grad = _laid_as(p, _drawn(p, step))
        optimizer.step()
    return {key: p.detach() for key, p in named.items()}


def _drawn(parameter: torch.Tensor, number: int) -> torch.Tensor:
    """Numbers of a whole parameter's shape, among which a few are equal in magnitude."""
    draw = torch.Generator().manual_seed(1000 * parameter.numel() + number + 1)
    return torch.randn(parameter.shape, generator=draw).mul_(20).round_().div_(2000)


def _laid_as(parameter: torch.Tensor, tensor: torch.Tensor) -> torch.Tensor:
    if not isinstance(parameter, DTensor):
        return tensor
    return distribute_tensor(tensor, parameter.device_mesh, parameter.placements, src_data_rank=None)


def federated(out: Path) -> None:
    """The weights after two rounds of three clients, which the processes share out; beside them what is logged."""
    with joined() as group:
        policy = Policy.of(tiny_model("llama").requires_grad_(True), "float32")
        frozen = torch.no_grad()(Policy.of(tiny_model("llama", seed=1), "float32").log_probs)
        named = dict(policy.model.named_parameters())
        update = AdamW(learning_rate=1e-2, epsilon=1e-3)
        learner = Player(policy.log_probs, DPO(), update.build(named.values()), named, 1.0)
        works = [
            Work(client, weight, [[pack([ROWS[n]], [n])] for n in places])
            for client, weight, places in (("a", 0.5, (0, 1)), ("b", 0.3, (2, 3)), ("c", 0.2, (3, 0)))
        ]
        for _ in range(2):
            taken = federated_round(learner, works[group.rank :: group.size], {"initial": frozen}, group=group)
        told = {**taken.further, **taken.metrics[0].means(), "prompts": taken.prompts, "tokens": taken.tokens}
        out.with_suffix(f".{group.rank}.json").write_text(json.dumps(told))
        if group.first:
            save_file({name: p.detach().contiguous() for name, p in named.items()}, out)


def _step(objective: Objective, group: Group) -> dict[str, torch.Tensor]:
    rows = TokenizedRows.of(rows_of(SHAPES))
    policy = Policy.of(tiny_model("llama").requires_grad_(True), "float32")
    frozen = Policy.of(tiny_model("llama", seed=1), "float32")
    named = dict(policy.model.named_parameters())
    learner = Player(policy.log_probs, objective, torch.optim.SGD(named.values(), lr=0.1), named, None)
    mine = list(batches(rows, range(len(rows)), budget=20, part=group.rank, parts=group.size))
    train_step([learner], mine, {"initial": torch.no_grad()(frozen.log_probs)}, group)
    return {name: parameter.detach() for name, parameter in named.items()}

"""How a model lies over the processes of a run: the one file that knows torch.distributed's layouts.

    data    every process holds the whole model
    fsdp    every process holds a share of each parameter; a layer is gathered while it computes (FSDP2)
    tensor  every process holds a slice of each layer and computes with it (transformers' own plans)

The processes form a mesh of replicas x shards x slices. Those of one slice group train on the same rows, all others on
different ones. `gradients.py` sums over them.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import torch
import torch.distributed as dist
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import (
    FSDPModule,
    MixedPrecisionPolicy,
    fully_shard,
    register_fsdp_forward_method,
)
from torch.distributed.tensor import DTensor, distribute_tensor
from transformers import PretrainedConfig, PreTrainedModel
from transformers.distributed.tensor_parallel import apply_tensor_parallelism
from transformers.modeling_layers import GradientCheckpointingLayer

from ..errors import SettingsError
from ..processes import ALONE, Group, Processes
from .logprobs import Model, backbone, base_of
from .policy import Policy

PARTIAL = "replicated_with_grad_allreduce"  # transformers' style of a norm between sliced layers
PACKED = ("packed_colwise", "packed_rowwise")  # its styles of several weights in one, of which each is sliced
HALVES = {"colwise": "lora_B", "rowwise": "lora_A"}  # what of an adapter is sliced as its layer; the rest stays whole
ADAPTER = (".lora_", ".modules_to_save.")  # in the names of an adapter's parameters
FITTING = 0.7  # share of a GPU's free memory that a whole model may take for a moment
LayoutName = Literal["auto", "data", "fsdp", "tensor"]


class Asked(Protocol):
    """The settings of a run that concern its layout."""

    layout: LayoutName
    shard_size: int | None  # processes that share the parameters; none: as many as there are
    tensor_size: int | None  # processes that slice each layer


@dataclass(frozen=True, slots=True)
class Sizes:
    """The mesh: how many processes along each of its axes."""

    replicas: int = 1
    shards: int = 1
    slices: int = 1

    def __str__(self) -> str:
        named = {"replicas": self.replicas, "shards": self.shards, "slices": self.slices}
        return " x ".join(f"{size} {name}" for name, size in named.items() if size > 1) or "1 process"

    @property
    def in_step(self) -> bool:
        """Whether a forward pass of one process waits for others."""
        return self.shards > 1 or self.slices > 1


def sizes_of(asked: Asked, count: int, *, gpu: bool, adapter: bool) -> Sizes:
    """The mesh that `count` processes form. Raises SettingsError where the sizes do not divide or fit the layout.

    `auto` is fsdp for full fine-tuning on several GPUs, else data; a size that is given chooses its layout.
    """
    layout, shards, slices = asked.layout, asked.shard_size or 1, asked.tensor_size or 1
    if layout == "auto":
        sliced = "tensor" if slices > 1 else "fsdp" if gpu and not adapter and count > 1 else "data"
        layout = "fsdp" if shards > 1 else sliced
    if layout == "data" and (shards > 1 or slices > 1):
        raise SettingsError(
            f"the layout `data` holds the whole model in each process, and shard_size is {shards}, tensor_size "
            f"{slices}. Use --layout fsdp or tensor, or leave the sizes out."
        )
    if layout == "tensor" and shards > 1:
        raise SettingsError(f"the layout `tensor` has no shard_size, got {shards}. Use --layout fsdp for both.")
    if layout == "tensor":
        slices = asked.tensor_size or count
    _must_divide("tensor_size", slices, count)
    if layout == "fsdp":
        shards = asked.shard_size or count // slices
        _must_divide("shard_size", shards, count // slices)
    return Sizes(count // (shards * slices), shards, slices)


def _must_divide(name: str, size: int, count: int) -> None:
    if count % size:
        fitting = ", ".join(str(n) for n in range(1, count + 1) if count % n == 0)
        raise SettingsError(f"{name} is {size}, which does not divide {count} processes. Allowed: {fitting}.")


def check_slices(config: PretrainedConfig, sizes: Sizes) -> None:
    """Raise SettingsError if a model of this configuration cannot be sliced so. Before its weights are loaded."""
    slices, name, text = sizes.slices, config.model_type, config.get_text_config()
    if slices == 1:
        return
    styles = set((getattr(text, "base_model_tp_plan", None) or {}).values())
    if not styles:
        raise SettingsError(
            f"transformers has no tensor-parallel plan for {name} models, so its layers cannot be sliced over "
            f"{slices} processes. Use --layout fsdp, which needs none, or --layout data."
        )
    if styles & set(PACKED):
        raise SettingsError(
            f"transformers' plan for {name} models slices packed weights, whose slices torch cannot save and put "
            "together again in order. Use --layout fsdp or data."
        )
    if sizes.shards > 1 and PARTIAL in styles:
        raise SettingsError(
            f"{name} models have norms whose gradients are summed over the slices, which FSDP does not do. Use "
            "--layout tensor without shard_size, or --layout fsdp without tensor_size."
        )
    heads = {key: getattr(text, key, None) for key in ("num_attention_heads", "num_key_value_heads")}
    for key, number in heads.items():
        if isinstance(number, int) and number % slices:
            raise SettingsError(
                f"tensor_size is {slices}, and the model's {key} is {number}: each process must get as many heads. "
                f"Use a size that divides {number}, or --layout fsdp."
            )


@dataclass(frozen=True, slots=True)
class Sharding:
    """The mesh of a run, and what it does to models."""

    sizes: Sizes
    processes: Processes
    mesh: DeviceMesh | None  # of the axes replicate, shard, tp; None: alone

    @classmethod
    def over(cls, world: Group, sizes: Sizes, device: torch.device) -> "Sharding":
        """Lay `sizes` over all processes. Neighbours slice the same layers: they have the fastest links."""
        if world.size == 1:
            return cls(sizes, Processes(), None)
        axes = (sizes.replicas, sizes.shards, sizes.slices)
        mesh = init_device_mesh(device.type, axes, mesh_dim_names=("replicate", "shard", "tp"))
        data = world
        for i in range(sizes.slices if sizes.slices > 1 else 0):  # every process takes part in making every group
            members = list(range(i, world.size, sizes.slices))
            handle = dist.new_group(members)
            if world.rank in members:
                data = Group(members.index(world.rank), len(members), handle) if len(members) > 1 else ALONE
        return cls(sizes, Processes(world, data), mesh)

    @torch.no_grad()
    def slice(self, model: Model) -> None:
        """Slice the layers of `model`, and what an adapter adds to them, by transformers' plan."""
        if self.mesh is None or self.sizes.slices == 1:
            return
        base, mesh = base_of(model), self.mesh["tp"]
        plan = _styles(base)
        _untie(base)  # each is sliced where it stands, and they are tied again
        apply_tensor_parallelism(base, mesh, {name: style for name, style in plan.items() if style != PARTIAL})
        base.tie_weights()
        _sum_partial_gradients(base, [name for name, style in plan.items() if style == PARTIAL], mesh.get_group())

    def shard(self, policy: Policy) -> Policy:
        """`policy` with its parameters shared out, whatever its model: layer by layer, and the rest as one.

        Under bfloat16 autocast layers are gathered in bfloat16, or each process would keep a copy of all weights until
        the backward pass. What is in no layer, embeddings above all, is gathered as it is stored: it starts the sum
        that runs through the layers, in float32.
        """
        if self.mesh is None or self.sizes.shards == 1:
            return policy
        root: Any = base_of(policy.model)
        mesh = self.mesh["replicate", "shard"] if self.sizes.replicas > 1 else self.mesh["shard"]
        gathered = MixedPrecisionPolicy()
        if policy.precision == "bfloat16":
            gathered = MixedPrecisionPolicy(torch.bfloat16, reduce_dtype=torch.float32, cast_forward_inputs=False)
        for layer in reversed(layers_of(policy.model)):  # layers within layers first
            fully_shard(layer, mesh=mesh, reshard_after_forward=True, mp_policy=gathered)
        fully_shard(root, mesh=mesh, reshard_after_forward=True)
        for module in root.modules():
            if isinstance(module, FSDPModule):  # sums: the step has divided by the weights of all processes
                module.set_gradient_divide_factor(1.0)
                module.set_force_sum_reduction_for_comms(True)
        # The scorer calls backbone and head apart. As a forward method of the root, their weights are there for both.
        scorer = replace(policy.scorer, one_call=True)
        root.token_scores = scorer.token_scores
        register_fsdp_forward_method(root, "token_scores")
        return replace(policy, scorer=replace(scorer, entry=root.token_scores))

    def move(self, model: Model, device: torch.device) -> Model:
        """`model` on `device`; one to be sharded that is too large for a GPU stays until `shard` moves its layers."""
        if device.type == "cuda" and self.sizes.shards > 1:
            size = sum(p.numel() * p.element_size() for p in model.parameters())
            if size > FITTING * torch.cuda.mem_get_info()[0]:
                return model
        return model.to(device)  # pyright: ignore[reportArgumentType, reportReturnType]  -- annotated wrongly there


def _styles(model: PreTrainedModel) -> dict[str, str]:
    """The style of each module and parameter that the plan names, and of the half of an adapter that follows it."""
    plan, styles = model.tp_plan, dict[str, str]()
    for name, module in model.named_modules():
        style = plan.get(_any_layer(name.removesuffix(".base_layer")))
        if isinstance(module, LoraLayer):
            if style in HALVES:
                half = HALVES[style]
                for adapter in getattr(module, half):
                    styles |= {f"{name}.{half}.{adapter}.weight": style, f"{name}.{half}.{adapter}": style}
            continue
        for own, _ in module.named_parameters(recurse=False):
            if found := plan.get(_any_layer(f"{name.removesuffix('.base_layer')}.{own}"), style):
                styles[f"{name}.{own}"] = found
        if style is not None:
            styles[name] = style
    return styles


def _any_layer(name: str) -> str:
    """A name as plans have it: `model.layers.3.mlp` is `model.layers.*.mlp`."""
    return re.sub(r"\.\d+(?=\.|$)", ".*", name)


def _untie(model: PreTrainedModel) -> None:
    """Give every place of a tied weight a parameter of its own, on the same memory."""
    for name in model.all_tied_weights_keys or {}:
        owner, _, attribute = name.rpartition(".")
        module = model.get_submodule(owner)
        tied = module.get_parameter(attribute)
        setattr(module, attribute, nn.Parameter(tied.detach(), requires_grad=tied.requires_grad))


def _sum_partial_gradients(model: PreTrainedModel, names: Sequence[str], slices: dist.ProcessGroup) -> None:
    """Sum the gradients of what each process holds whole and applies to its own heads alone.

    transformers does it too, but on what has accumulated: the second micro-batch would sum the first one's again.
    """

    def summed(gradient: Tensor) -> Tensor:
        gradient = gradient.contiguous()
        dist.all_reduce(gradient, group=slices)
        return gradient

    parameters = dict(model.named_parameters())
    for name in set(names) & parameters.keys():
        asks = parameters[name].requires_grad
        parameters[name].requires_grad_(True).register_hook(summed)
        parameters[name].requires_grad_(asks)


WHOLE = Sharding(Sizes(), Processes(), None)


def layers_of(model: Model) -> Sequence[nn.Module]:
    """The layers that are gathered one at a time: transformers' own mark, else the longest list of modules."""
    below = backbone(model)
    if marked := [m for m in below.modules() if isinstance(m, GradientCheckpointingLayer)]:
        return marked
    lists = [list(m) for m in below.modules() if isinstance(m, nn.ModuleList)]
    return max(lists, key=len, default=[])


def local(tensor: Tensor) -> Tensor:
    """The part of `tensor` that this process holds; writing to it writes to `tensor`."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def part_like(tensor: Tensor, like: Tensor) -> Tensor:
    """What this process would hold of `tensor`, which it has whole, if it lay as `like` does. Nothing is sent."""
    if not isinstance(like, DTensor):
        return tensor.to(like.device)
    return distribute_tensor(tensor, like.device_mesh, like.placements, src_data_rank=None).to_local()


def whole(tensor: Tensor) -> Tensor:
    """`tensor` put together from all processes, which must all ask."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def whole_weights(model: Model, world: Group) -> dict[str, Tensor]:
    """Every weight of `model`, of an adapted one every weight of its adapter, put together in the machine's memory.

    Only the first process gets them. Tied weights stay one tensor.
    """
    gathered: dict[int, Tensor] = {}
    weights: dict[str, Tensor] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if isinstance(model, PeftModel) and not any(part in name for part in ADAPTER):
            continue
        if id(tensor) not in gathered:
            full = whole(tensor).detach()
            gathered[id(tensor)] = full.cpu() if world.first else full.new_empty(0)
        weights[name] = gathered[id(tensor)]
    return weights if world.first else {}

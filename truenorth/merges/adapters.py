"""LoRA adapters of one base as one adapter: exactly the weighted sum of what each adds.

Paper    none, concatenated ranks are the exact sum of products, as PEFT's `cat` has it
Formula  Delta W = sum_i w_i s_i B_i A_i = s [c_1 B_1 ... c_n B_n] [A_1; ...; A_n],  c_i = w_i s_i / s,  s = w_1 s_1,
         s_i an adapter's alpha / r; the rank is the sum of the ranks
Differs  in the scale, which stands in the new adapter's alpha, so that where w_i s_i are equal nothing is rounded.
         Averaging A and B for themselves, as a mean of adapter files does, is another sum: products are not linear.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ..errors import ModelError
from ..settings import setting
from ..weights.lora import EMBEDDING, LINEAR, PREFIX, Pair, pairs_of
from ..weights.merge import Merge, Merged, Outcome
from ..weights.store import Checkpoint, open_checkpoint

if TYPE_CHECKING:
    from torch import Tensor

TARGETS = ("target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "target_parameters")


class Adapters(Merge):
    """The sum of adapters by concatenated ranks."""

    kind: ClassVar[str] = "adapters"

    weights: tuple[float, ...] | None = setting(
        None, "one for each adapter, in their order, as they are; none: 1/n, their mean", source="ours"
    )

    def outcome(self, models: Sequence[str | Path], base: str | Path | None) -> Outcome:
        assert base is None
        opened = [open_checkpoint(path) for path in models]
        _check_same_base(opened)
        pairs = [pairs_of(adapter) for adapter in opened]
        shares = self.weights or [1 / len(opened)] * len(opened)
        tensors, ranks = list[Merged](), dict[str, int]()
        scales = dict[str, float]()
        for module in dict.fromkeys(name for own in pairs for name in own):
            parts = [(own[module], share) for own, share in zip(pairs, shares, strict=True) if module in own]
            scales[module], ranks[module] = _scale(parts), sum(pair.rank for pair, _ in parts)
            tensors += _merged(module, parts, scales[module])
        return Outcome(tensors, _config(opened, ranks, scales), [opened[0].folder], adapter=True)


def _scale(parts: Sequence[tuple[Pair, float]]) -> float:
    """What the new pair is multiplied by: the first weight times its scale that is not 0."""
    return next((scale for pair, weight in parts if (scale := weight * pair.scale)), 1.0)


def _merged(module: str, parts: Sequence[tuple[Pair, float]], scale: float) -> list[Merged]:
    """The concatenated A and B of a module."""
    (first, _), rank = parts[0], sum(pair.rank for pair, _ in parts)
    end_a, end_b = EMBEDDING if first.embedding else LINEAR

    def rows_of_a() -> "Iterator[Tensor]":
        from ..weights.slices import whole

        for pair, _ in parts:
            yield whole(pair.a).flatten()

    def columns_of_b() -> "Iterator[Tensor]":
        import torch

        from ..weights.slices import whole

        yield torch.cat([whole(pair.b) * (weight * pair.scale / scale) for pair, weight in parts], dim=1).flatten()

    return [
        Merged(f"{module}.{end_a}", (rank, first.a.shape[1]), first.a.dtype, rows_of_a),
        Merged(f"{module}.{end_b}", (first.b.shape[0], rank), first.b.dtype, columns_of_b),
    ]


def _config(adapters: Sequence[Checkpoint], ranks: Mapping[str, int], scales: Mapping[str, float]) -> dict[str, Any]:
    """The first adapter's configuration with the new ranks and alphas, by module where they differ."""
    config = dict(adapters[0].config)
    modules = {module: module.removeprefix(PREFIX) for module in ranks}
    alphas = {module: scales[module] * ranks[module] for module in ranks}
    config |= {"r": max(ranks.values()), "lora_alpha": max(alphas.values()), "use_rslora": False}
    config["rank_pattern"] = {modules[m]: rank for m, rank in ranks.items() if rank != config["r"]}
    config["alpha_pattern"] = {modules[m]: alpha for m, alpha in alphas.items() if alpha != config["lora_alpha"]}
    if any(adapter.config.get(field) != config.get(field) for adapter in adapters for field in TARGETS):
        config |= dict.fromkeys(TARGETS) | {"target_modules": list(modules.values())}
    return config


def _check_same_base(adapters: Sequence[Checkpoint]) -> None:
    """Raise ModelError unless all are LoRA adapters of one base, with weights of one shape."""
    first = adapters[0]
    for adapter in adapters:
        if not adapter.adapter:
            raise ModelError(f"{adapter.folder} is a whole model, no adapter: merge those by linear, ties or another.")
        if _base(adapter) != _base(first):
            raise ModelError(
                f"{adapter.folder} is an adapter of {_base(adapter)}, {first.folder} of {_base(first)}: "
                "adapters are sums on one base only."
            )
        if bool(adapter.config.get("fan_in_fan_out")) != bool(first.config.get("fan_in_fan_out")):
            raise ModelError(
                f"{adapter.folder} and {first.folder} differ in fan_in_fan_out, which their base decides."
            )
    shapes: dict[str, tuple[int, int]] = {}
    for adapter in adapters:
        for module, pair in pairs_of(adapter).items():
            shape = (pair.b.shape[0], pair.a.shape[1])
            if shapes.setdefault(module, shape) != shape:
                raise ModelError(
                    f"{adapter.folder} adapts {module} with shape {list(shape)}, another with {list(shapes[module])}."
                )


def _base(adapter: Checkpoint) -> str:
    base = str(adapter.config.get("base_model_name_or_path"))
    return str(Path(base).resolve()) if Path(base).is_dir() else base

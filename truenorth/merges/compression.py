"""A LoRA adapter of a lower rank: of each module's product the best one of that rank, by singular values.

Eckart and Young 1936: cutting the smallest singular values leaves the least Frobenius error that a rank allows. B A is
never written out: its singular values are those of the small R_B R_A' with B = Q_B R_B, A' = Q_A R_A.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..weights.lora import EMBEDDING, LINEAR, PREFIX, scale_of
from ..weights.merge import Merged, Outcome

if TYPE_CHECKING:
    from torch import Tensor


def compressed(adapter: Outcome, rank: int) -> tuple[Outcome, float]:
    """The adapter with ranks of `rank` at most, and ||Delta W - compressed|| / ||Delta W|| over all modules."""
    import torch

    tensors, whole, lost = list[Merged](), 0.0, 0.0
    ranks = dict[str, int]()
    given = {tensor.name: tensor for tensor in adapter.tensors}
    for name, a in given.items():
        end_a, end_b = next(
            ((a_end, b_end) for a_end, b_end in (LINEAR, EMBEDDING) if name.endswith(f".{a_end}")), ("", "")
        )
        if not end_a:
            continue
        module = name.removesuffix(f".{end_a}")
        b = given[f"{module}.{end_b}"]
        scale = scale_of(adapter.config, module.removeprefix(PREFIX), a.shape[0])
        q_b, r_b = torch.linalg.qr(_matrix(b).double() * scale)
        q_a, r_a = torch.linalg.qr(_matrix(a).double().T)
        left, values, right = torch.linalg.svd(r_b @ r_a.T)
        kept = min(rank, len(values))
        whole += float(values.square().sum())
        lost += float(values[kept:].square().sum())
        root = values[:kept].sqrt()
        ranks[module] = kept
        tensors.append(_merged(a, (root[:, None] * right[:kept]) @ q_a.T))
        tensors.append(_merged(b, q_b @ (left[:, :kept] * root)))
    return replace(adapter, tensors=tensors, config=_config(adapter.config, ranks)), (lost / (whole or 1.0)) ** 0.5


def _matrix(tensor: Merged) -> "Tensor":
    import torch

    return torch.cat(list(tensor.slices())).view(tensor.shape)


def _merged(like: Merged, value: "Tensor") -> Merged:
    return Merged(like.name, tuple(value.shape), like.dtype, lambda: iter([value.float().contiguous().flatten()]))


def _config(config: dict[str, Any], ranks: dict[str, int]) -> dict[str, Any]:
    """The same adapter's configuration with new ranks, the scale in A and B, so that alpha is the rank."""
    most = max(ranks.values())
    others = {module.removeprefix(PREFIX): rank for module, rank in ranks.items() if rank != most}
    return config | {
        "r": most, "lora_alpha": most, "rank_pattern": others, "alpha_pattern": dict(others), "use_rslora": False
    }  # fmt: skip

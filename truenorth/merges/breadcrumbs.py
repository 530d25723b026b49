"""Model Breadcrumbs: task vectors without their largest entries and without the many small ones, summed.

Paper    Davari and Belilovsky 2023, arXiv:2312.06795
Formula  theta = base + scale * sum_i w_i m_i * tau_i,  tau_i = theta_i - base,
         m_i = 0 for the `smallest` and the `largest` share of |tau_i|, else 1
Differs  in that shares are of a whole tensor; the authors' code takes them row by row, those of the second trim from
         what the first left. Their code was read, the paper was not. The defaults are ours: they search for them.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from pydantic import model_validator

from .. import weights
from ..errors import SettingsError
from ..settings import setting
from ..weights.merge import VectorMerge

if TYPE_CHECKING:
    from torch import Tensor

    from ..weights.slices import NamedTensor


class Breadcrumbs(VectorMerge):
    """A sum of task vectors, both ends trimmed."""

    kind: ClassVar[str] = "breadcrumbs"

    smallest: float = setting(0.85, "share of the smallest entries that is set to 0", source="ours", ge=0, lt=1)
    largest: float = setting(0.01, "share of the largest entries that is set to 0", source="ours", ge=0, lt=1)
    scale: float = setting(1.0, "of the sum of task vectors", source="ours")
    weights: tuple[float, ...] | None = setting(None, "one for each model; none: 1 for all", source="ours")

    @model_validator(mode="after")
    def _something_stays(self) -> "Breadcrumbs":
        if self.smallest + self.largest >= 1:
            raise SettingsError(
                f"Breadcrumbs' smallest and largest must sum to less than 1, got {self.smallest} and {self.largest}: "
                "nothing would stay."
            )
        return self

    def __call__(self, tensor: "NamedTensor") -> "Iterator[Tensor]":
        shares = self.weights or [1.0] * len(tensor.models)
        cuts = weights.cuts(tensor, weights.middle_counts(tensor.numel, smallest=self.smallest, largest=self.largest))
        for part in tensor.slices():
            assert part.base is not None
            trimmed = [
                inner.keep(tau) - outer.keep(tau) for tau, (outer, inner) in zip(part.task_vectors, cuts, strict=True)
            ]
            yield weights.add_vector(part.base, weights.linear(trimmed, shares), self.scale)

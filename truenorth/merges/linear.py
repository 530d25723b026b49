"""Linear: the weighted mean of models.

Paper    none, the mean of weights is older than its names; merging tools call it linear
Formula  theta = sum_i w_i theta_i / sum_i w_i
Differs  in nothing. Weights are divided by their sum; sums that are not means are task_arithmetic's and expo's.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field, model_validator

from .. import weights
from ..errors import SettingsError
from ..settings import setting
from ..weights.merge import TensorMerge

if TYPE_CHECKING:
    from torch import Tensor

    from ..weights.slices import NamedTensor


class Linear(TensorMerge):
    """The weighted mean."""

    kind: ClassVar[str] = "linear"
    models: ClassVar[tuple[int, int | None]] = (
        1,
        None,
    )  # one: an adapter as the whole model that it makes of its base

    weights: tuple[Annotated[float, Field(ge=0)], ...] | None = setting(
        None, "one for each model, in their order, divided by their sum; none: equal ones", source="ours"
    )

    @model_validator(mode="after")
    def _some_weight(self) -> "Linear":
        if self.weights is not None and not sum(self.weights) > 0:
            raise SettingsError(f"Linear's weights must not all be 0, got {list(self.weights)}.")
        return self

    def __call__(self, tensor: "NamedTensor") -> "Iterator[Tensor]":
        shares = self.weights or [1.0] * len(tensor.models)
        for part in tensor.slices():
            yield weights.average(part.models, shares)

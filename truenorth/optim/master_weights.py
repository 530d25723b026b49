"""Which weights our own steps are for: float32 ones, whatever type a model computes in."""

from collections.abc import Iterable

import torch
from torch import Tensor

from ..errors import SettingsError


def refuse_other_types(steps: str, parameters: Iterable[Tensor]) -> None:
    """Raise SettingsError where a parameter is not float32. `steps`: whose they are, in the plural."""
    other = next((p.dtype for p in parameters if p.dtype != torch.float32), None)
    if other is not None:
        raise SettingsError(
            f"{steps} are for float32 parameters, compiled or not, and one here is {str(other).split('.')[-1]}, where "
            "small updates are lost. Load the model in float32 and let torch.autocast compute in bfloat16, as a run "
            "does by precision=bfloat16; or take an optimizer of torch's, without merging."
        )

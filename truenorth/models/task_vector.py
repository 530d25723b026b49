"""The task vector of a policy: what SFT did to its base, weight by weight."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ..errors import ModelError, SettingsError
from .load import config_of, load_model
from .origin import base_of_adapter
from .references import same_model
from .sharding import local, part_like
from .soup import first_odd_shape

SET_BASE = "--set base=..."


def check_base(rule: str, base: str | None, start: str, *, adapter: bool, sliced: bool) -> str:
    """Raise SettingsError unless a run from `start` can be merged with a task vector. Returns the base."""
    if base is None:
        raise SettingsError(
            f"{rule} merges with SFT minus base, and needs the model that {start} was fine-tuned from: {SET_BASE}"
        )
    if same_model(base, start):
        raise SettingsError(
            f"{rule}'s base is the policy's start itself, {start}: SFT minus base is zero. Name the model from before "
            f"SFT: {SET_BASE}"
        )
    if base_of_adapter(base) is not None:
        raise SettingsError(f"{rule}'s base {base} is an adapter. Merge it into its own base first.")
    if adapter:
        raise SettingsError(
            f"{rule} adds SFT minus base to the weights that are trained, and an adapter's are not among the base's. "
            "Train all weights (without --lora, from a model and no adapter), or merge afterwards: truenorth merge."
        )
    if sliced:
        raise SettingsError(
            f"{rule} draws and ranks the entries of whole rows, and tensor parallelism slices rows too. Use --layout "
            "fsdp without --tensor-size, or --layout data."
        )
    return base


def check_shapes(base: str, start: str, *, trust_remote_code: bool = False) -> None:
    """Raise ModelError unless both have the same parameters. Reads configurations only."""
    theirs, ours = (config_of(path, trust_remote_code=trust_remote_code) for path in (base, start))
    if (found := first_odd_shape(theirs, ours, trust_remote_code=trust_remote_code)) is not None:
        name, there, here = found
        raise ModelError(
            f"{base} is no base of {start}: the tensor {name} is {there} in the base and {here} in the start. "
            f"Name the model that it was fine-tuned from: {SET_BASE}"
        )


@torch.no_grad()
def task_vector(
    base: str, trained: Mapping[str, nn.Parameter], *, trust_remote_code: bool = False
) -> dict[str, Tensor]:
    """What this process holds of the parameters `trained`, which stand at the start, minus the base's: float32.

    Takes the base's memory in float32 besides while it works. The models must have passed `check_shapes`.
    """
    there = dict(load_model(base, trust_remote_code=trust_remote_code).named_parameters())
    found = dict[str, Tensor]()
    for name, parameter in trained.items():
        found[name] = local(parameter) - part_like(there.pop(name).detach(), parameter)
    return found

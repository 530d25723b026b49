"""A soup: two models of one shape, mixed weight by weight."""

from collections import Counter
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from transformers import AutoModelForCausalLM, PretrainedConfig

from ..errors import ModelError
from ..weights.alike import config_differences
from .load import config_of, load_model
from .logprobs import Model


def check_soup(path: str, start: str, *, trust_remote_code: bool = False) -> None:
    """Raise ModelError unless the models at `path` and `start` may be mixed. Reads configurations only."""
    ours, theirs = (config_of(p, trust_remote_code=trust_remote_code) for p in (start, path))
    cannot = f"{path} and the policy's start {start} cannot be mixed: "
    other = " A soup needs two models that were fine-tuned from the same base."
    if ours.model_type != theirs.model_type:
        raise ModelError(f"{cannot}one is a {theirs.model_type} model, the other a {ours.model_type}.{other}")
    if (found := first_odd_shape(theirs, ours, trust_remote_code=trust_remote_code)) is not None:
        name, a, b = found
        raise ModelError(f"{cannot}the tensor {name} is {a} in one and {b} in the other.{other}")
    if (difference := next(config_differences(ours.to_dict(), theirs.to_dict()), None)) is not None:
        raise ModelError(f"{cannot}{difference}.{other}")


@torch.no_grad()
def soup(start: str, path: str, start_share: float, *, trust_remote_code: bool = False) -> Model:
    """start_share * theta_start + (1 - start_share) * theta_path, float32, adapters merged in, without gradients.

    Takes the memory of both models in float32, and one's afterwards. The models must have passed `check_soup`.
    """
    mixed, other = (dense(p, trust_remote_code=trust_remote_code) for p in (start, path))
    theirs = dict(other.named_parameters())
    for name, ours in mixed.named_parameters():
        # lerp, for two that are equal give themselves, and a share of 0 or 1 one of them, to the bit
        ours.copy_(torch.lerp(theirs[name], ours, start_share))
    return mixed.requires_grad_(False).eval()


def dense(path: str, *, trust_remote_code: bool = False) -> Model:
    """The model at `path`, an adapter merged into its base. Raises ModelError where that would change other layers."""
    model = load_model(path, trust_remote_code=trust_remote_code)
    if not isinstance(model, PeftModel):
        return model
    places = Counter(id(p) for _, p in model.named_parameters(remove_duplicate=False))
    for name, module in model.named_modules():
        if isinstance(module, LoraLayer) and places[id(module.get_base_layer().weight)] > 1:
            raise ModelError(
                f"the adapter {path} adapts {name}, whose weights another layer shares: it cannot be merged, and so "
                "not mixed. Give a model without it, or with head and embeddings of their own."
            )
    merged: Any = model.merge_and_unload()
    return merged


def first_odd_shape(
    one: PretrainedConfig, other: PretrainedConfig, *, trust_remote_code: bool = False
) -> tuple[str, str, str] | None:
    """The first tensor that models of two configurations do not both have in one shape, and what it is in each."""
    there, here = (_shapes(config, trust_remote_code) for config in (one, other))
    for name in [*here, *there]:
        if here.get(name) != there.get(name):
            a, b = (f"{list(s)}" if (s := shapes.get(name)) else "missing" for shapes in (there, here))
            return name, a, b
    return None


def _shapes(config: PretrainedConfig, trust_remote_code: bool) -> dict[str, torch.Size]:
    """The shape of each parameter of a model of this configuration, by name; tied ones once."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, trust_remote_code=trust_remote_code)
    return {name: p.shape for name, p in model.named_parameters()}

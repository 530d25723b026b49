"""What a policy is compared with: a frozen start, another model, or log-probs computed once and kept on disk."""

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from ..errors import SettingsError
from ..settings import Part

REFERENCES: Mapping[str, str] = {
    "frozen": "truenorth.models.references:Frozen",
    "model": "truenorth.models.references:OtherModel",
    "cached": "truenorth.models.references:Cached",
}


class Reference(Part):
    """Where a reference's log-probs come from. Subclasses are final."""


class Frozen(Reference):
    """The policy as it was at the start: its adapter switched off, or a frozen copy of a fully trained model."""

    kind: ClassVar[str] = "frozen"


class OtherModel(Reference):
    """Another model with the same tokenizer, on disk or on the hub."""

    kind: ClassVar[str] = "model"
    path: str = Field(description="directory or hub name")


class Cached(Reference):
    """The same numbers, computed once before training and kept on disk; no reference model stays in memory.

    The cache is keyed by a hash of model, tokenizer, template and row, so that a second epoch, run or method finds it.
    """

    kind: ClassVar[str] = "cached"
    path: str | None = Field(default=None, description="model to compute them with; none: the policy at its start")


def refuse_repeated(references: Mapping[str, Reference]) -> None:
    """Raise SettingsError where two references are one model, the policy's start among them."""
    seen = dict[str | None, str]()
    for name, reference in references.items():
        path: str | None = getattr(reference, "path", None)
        if path in seen:
            what = f"the model {path}" if path else "the policy's own start"
            raise SettingsError(
                f"the references {seen[path]} and {name} are both {what}: two that are the same say no more than one. "
                f"Name another model: --set references.{name}.path=..."
            )
        seen[path] = name

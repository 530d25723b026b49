"""What a policy is compared with: its start, another model, a mean of both, or itself as it was a while ago."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from ..errors import SettingsError
from ..settings import Part, setting

REFERENCES: Mapping[str, str] = {
    "frozen": "truenorth.models.references:Frozen",
    "model": "truenorth.models.references:OtherModel",
    "cached": "truenorth.models.references:Cached",
    "soup": "truenorth.models.references:Soup",
    "moving": "truenorth.models.references:Moving",
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


class Soup(Reference):
    """The policy's start and another model of the same shape, mixed weight by weight. SALSA's reference.

    theta = start_share * theta_start + (1 - start_share) * theta_path, in float32, each with its adapter merged in.
    Its log-probs are computed once and kept on disk, as those of `Cached`; the model itself is gone before training.
    In rounds, whose rows are not there before, it stays.
    """

    kind: ClassVar[str] = "soup"
    path: str | None = Field(default=None, description="the other model, from the same base; must be given")
    start_share: float = setting(0.5, "share of the policy's start in each weight", source="paper", ge=0, le=1)


class Moving(Reference):
    """The policy's own start, which then follows the policy. TR-DPO's reference.

    After every `every` optimizer steps, or at the end of every so many rounds,
    theta <- share * theta_policy + (1 - share) * theta.  At share 1 it is the policy as it was then.
    """

    kind: ClassVar[str] = "moving"
    every: int = setting(1, "steps or rounds from one move to the next", source="paper", ge=1)
    unit: Literal["steps", "rounds"] = setting("steps", "what `every` counts", source="ours")
    share: float = setting(0.6, "share of the policy in a move; 1: the policy itself", source="paper", gt=0, le=1)


COMPUTED_BEFORE = (Cached, Soup)  # the first step: no model of theirs is there while training


def starts_as_policy(reference: Reference) -> bool:
    """Whether it is the policy itself before the first step.

    >>> starts_as_policy(Cached()), starts_as_policy(Cached(path="other"))
    (True, False)
    """
    return isinstance(reference, Frozen | Moving) or (isinstance(reference, Cached) and reference.path is None)


def refuse_repeated(references: Mapping[str, Reference], start: str) -> None:
    """Raise SettingsError where two references are one model, or a soup is of the start alone.

    `start` is the model that the policy starts from.
    """
    seen = dict[str, str]()
    for name, reference in references.items():
        if isinstance(reference, Soup):
            _refuse_soup_of_one(name, reference, start)
        what = _model_of(reference, start)
        if what in seen:
            raise SettingsError(
                f"the references {seen[what]} and {name} are both {what}: two that are the same say no more than one. "
                f"Name another model: --set references.{name}.path=..."
            )
        seen[what] = name


def _refuse_soup_of_one(name: str, soup: Soup, start: str) -> None:
    other = f"Name a model that was fine-tuned from the same base: --set references.{name}.path=..."
    if soup.path is None:
        raise SettingsError(f"the reference {name} is a soup of the policy's start and another model. {other}")
    if same_model(soup.path, start):
        raise SettingsError(
            f"the reference {name} is a soup of the policy's start with itself, {start}, which is the start again. "
            f"{other}, or take the start: --set references.{name}.kind=cached"
        )


def _model_of(reference: Reference, start: str) -> str:
    """Which model it is, in words; the same for what is the same."""
    path: str | None = getattr(reference, "path", None)
    match reference:
        case Soup(start_share=share):
            return f"a soup with {path} (start_share {share:g})"
        case Moving(every=every, unit=unit, share=share):
            return f"the policy itself, moved every {every} {unit} (share {share:g})"
        case _:
            return "the policy's own start" if path is None or same_model(path, start) else f"the model {path}"


def same_model(path: str, other: str) -> bool:
    """Whether two folders or hub names are one."""
    return path == other or Path(path).expanduser().resolve() == Path(other).expanduser().resolve()

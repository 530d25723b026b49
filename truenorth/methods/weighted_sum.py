"""A weighted sum of objectives: `dpo + 0.2*simpo`. Its contract with engine and data follows from its parts'.

    loss = sum over parts of weight * loss of the part

Implicit rewards are the first part's: the scales of two methods' rewards have no common meaning.
"""

# pyright: reportIncompatibleVariableOverride=false
# The contract is of the class for every objective but this one, whose parts are settings.

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator
from torch import Tensor

from ..errors import SettingsError
from ..models.references import Reference
from ..recipe import AnyObjective, DegreeHead, Objective, Opponent, Reads, Recipe
from ..schedule import OwnRows
from ..selection import Selection
from ..settings import Settings, kind_of
from ..types import Candidates
from .contract import answers

INSTEAD = {  # of what a part has beside its loss
    "clients": "Sum losses, dpo for instance, and share out their rows: --set clients.local_steps=5",
    "domains": "Train it alone, or sum losses and train them so: --set domains.memory=64",
    "chase": "Train it alone.",
    "update.merging": "Name it first: a sum has the update of its first part.",
}


class Weighted(Settings):
    """A part of a sum."""

    weight: float = Field(1.0, gt=0, description="of the part's loss; a part of weight 0 is to be left out")
    objective: AnyObjective = Field(description="any objective, with its `kind`")


class WeightedSum(Objective):
    """Several objectives at once. Needs what any of its parts needs, and takes the rows that all of them take."""

    kind: ClassVar[str] = "sum"

    parts: tuple[Weighted, ...] = Field(min_length=1, description="weight and objective of each")

    @field_validator("parts", mode="before")
    @classmethod
    def _pairs_are_parts(cls, value: Any) -> Any:
        """`(0.2, SimPO())` is a part too."""
        return [
            {"weight": part[0], "objective": part[1]} if isinstance(part, tuple) and len(part) == 2 else part
            for part in value
        ]

    @model_validator(mode="after")
    def _parts_fit(self) -> "WeightedSum":
        _refuse_no_common_row(self)
        _refuse_labels_unread(self.objectives)
        _refuse_mixed_references(self.objectives)
        _refuse_several_heads(self.objectives)
        _refuse_judges(self.objectives)
        _refuse_two_sources(self.objectives)
        return self

    @property
    def objectives(self) -> tuple[Objective, ...]:
        return tuple(part.objective for part in self.parts)

    @property
    def name(self) -> str:
        return " + ".join(
            part.objective.name if part.weight == 1 else f"{part.weight:g} * {part.objective.name}"
            for part in self.parts
        )

    @property
    def references(self) -> tuple[str, ...]:
        return _union(self.objectives, lambda part: part.references)

    @property
    def further_references(self) -> bool:
        return any(part.further_references for part in self.objectives)

    @property
    def reads(self) -> frozenset[Reads]:
        return frozenset[Reads]().union(*(part.reads for part in self.objectives))

    @property
    def reads_if_given(self) -> frozenset[Reads]:
        return frozenset[Reads]().union(*(part.reads_if_given for part in self.objectives)) - self.reads

    @property
    def candidates(self) -> tuple[int, int | None]:
        limits = [most for part in self.objectives if (most := part.candidates[1]) is not None]
        return max(part.candidates[0] for part in self.objectives), min(limits, default=None)

    @property
    def demonstrations(self) -> bool:
        return any(part.demonstrations for part in self.objectives)

    @property
    def sample(self) -> Literal["policy", "opponent"] | None:
        return next((part.sample for part in self.objectives if part.sample is not None), None)

    @property
    def completes_demonstrations(self) -> bool:
        return any(part.completes_demonstrations for part in self.objectives)

    @property
    def own_rows(self) -> OwnRows | None:
        return next((part.own_rows for part in self.objectives if part.own_rows is not None), None)

    @property
    def opponent(self) -> Opponent | None:
        return next((part.opponent for part in self.objectives if part.opponent is not None), None)

    @property
    def selection(self) -> Selection | None:
        return next((part.selection for part in self.objectives if part.selection is not None), None)

    @property
    def columns(self) -> tuple[str, ...]:
        return _union(self.objectives, lambda part: part.columns)

    @property
    def scope(self) -> Literal["row", "step"]:
        return "step" if any(part.scope == "step" for part in self.objectives) else "row"

    @property
    def invariances(self) -> frozenset[Literal["prompt_shift", "permuted_rejected", "reward_shift"]]:
        shared = set(self.objectives[0].invariances).intersection(*(part.invariances for part in self.objectives))
        scored = [part for part in self.objectives if "rewards" in part.reads]  # to the others a shift means nothing
        if scored and all("reward_shift" in part.invariances for part in scored):
            shared.add("reward_shift")
        return frozenset(shared)

    @property
    def degree_head(self) -> DegreeHead | None:
        return next((head for part in self.objectives if (head := part.degree_head) is not None), None)

    def __call__(self, candidates: Candidates) -> Tensor:
        first, *others = (part.weight * part.objective(candidates) for part in self.parts)
        return sum(others, start=first)

    def implicit_rewards(self, candidates: Candidates) -> Tensor:
        return self.parts[0].objective.implicit_rewards(candidates)

    def initial_loss(self, candidates: Candidates) -> Tensor | None:
        """What theory gives for the parts with a reference, and for those without, which no theory says, the loss."""
        if not self.references:
            return None
        total = candidates.policy.total.new_zeros(len(candidates.policy.total))
        for part in self.parts:
            objective = part.objective
            loss = objective.initial_loss(candidates) if objective.references else objective(candidates)
            if loss is None:
                return None
            total = total + part.weight * loss
        return total


def recipe_of(parts: Sequence[tuple[float, Recipe]]) -> Recipe:
    """The sum of the recipes' objectives by their weights, the references of all, and the update of the first.

    Raises SettingsError where the parts do not fit, or two want another reference under one name.
    """
    recipes = [recipe for _, recipe in parts]
    _refuse_more_than_losses(recipes)
    references = dict[str, Reference]()
    for recipe in recipes:
        for name, reference in recipe.references.items():
            if references.setdefault(name, reference) != reference:
                first = next(r.method for r in recipes if name in r.references)
                raise SettingsError(
                    f"{first} and {recipe.method} want different things of the reference {name}: {references[name]!r} "
                    f"and {reference!r}. Say which in a file, with `objective: {{kind: sum, parts: [...]}}` and "
                    f"`references: {{{name}: ...}}`."
                )
    schedules = list(dict.fromkeys(recipe.schedule for recipe in recipes if recipe.schedule is not None))
    if len(schedules) > 1:
        raise SettingsError(
            f"the parts of the sum play different rounds: {schedules[0]!r} and {schedules[1]!r}. Say which in a file, "
            "with `schedule: ...`."
        )
    return Recipe(
        method=" + ".join(recipe.method for recipe in recipes),
        objective=WeightedSum(parts=tuple(Weighted(weight=w, objective=r.objective) for w, r in parts)),
        references=references,
        update=recipes[0].update,
        schedule=schedules[0] if schedules else None,
    )


def _refuse_more_than_losses(recipes: Sequence[Recipe]) -> None:
    """Raise SettingsError for a method that is more than its loss where the sum would leave that out."""
    for place, recipe in enumerate(recipes):
        given = [name for name in INSTEAD if getattr(recipe, name, None) is not None]
        given += ["update.merging"] * (place > 0 and recipe.update.merging is not None)
        if given:
            raise SettingsError(
                f"{recipe.method} is more than a loss: in the sum its {given[0]} would be left out. "
                f"{INSTEAD[given[0]]}"
            )


def _union(parts: Sequence[Objective], names: Callable[[Objective], tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for part in parts for name in names(part)))


def _refuse_judges(parts: Sequence[Objective]) -> None:
    """Raise SettingsError where a part trains a judge: its scores are no log-probs."""
    judges = [part.name for part in parts if part.score_head is not None]
    if judges:
        raise SettingsError(f"{judges[0]} trains a judge, whose scores no other loss reads: it is no part of a sum.")


def _refuse_two_sources(parts: Sequence[Objective]) -> None:
    """Raise SettingsError where two parts want something else of a round: answers drawn otherwise, or other rows."""

    def wanted(part: Objective) -> tuple[object, ...]:
        return part.sample, part.own_rows, part.opponent, part.selection, part.completes_demonstrations

    reading = [part for part in parts if any(wanted(part)) or part.demonstrations]
    if len(set(map(wanted, reading))) > 1:
        names = ", ".join(part.name for part in reading)
        raise SettingsError(f"the parts {names} of the sum want different answers drawn in a round. Keep one of them.")


def _refuse_several_heads(parts: Sequence[Objective]) -> None:
    """Raise SettingsError where two parts want responses degraded in different ways."""
    heads = {head for part in parts if (head := part.degree_head) is not None}
    if len(heads) > 1:
        raise SettingsError(
            f"two parts of the sum degrade responses differently: {', '.join(sorted(map(str, heads)))}. A run has one "
            "head: give both parts the same levels, share and learning rate."
        )


def _refuse_no_common_row(whole: WeightedSum) -> None:
    """Raise SettingsError where no row has a number of answers that every part takes."""
    parts, (fewest, most) = whole.objectives, whole.candidates
    takes = ", ".join(f"{part.name} takes {answers(*part.candidates)}" for part in parts)
    if most is not None and fewest > most:
        hint = ""
        if any(kind_of(type(part)) == "sft" for part in parts):
            hint = " To learn the best answer of a row beside the others, take sft_chosen."
        raise SettingsError(f"no row serves all parts of the sum: {takes}.{hint}")
    for part in parts:
        if part.demonstrations and (fewest, most) != part.candidates:
            raise SettingsError(
                f"{part.name} learns from single answers and from pairs, and the sum would take only "
                f"{answers(fewest, most)}: {takes}. Leave the other part out."
            )


def _refuse_labels_unread(parts: Sequence[Objective]) -> None:
    """Raise SettingsError where one part reads whether a single answer is good and another takes it to be."""
    single = [part for part in parts if part.candidates[1] == 1]
    judges = [part.name for part in single if "label" in part.columns]
    blind = [part.name for part in single if "label" not in part.columns]
    if judges and blind:
        raise SettingsError(
            f"{judges[0]} trains on answers with the label good or bad, and {blind[0]} would learn the bad ones as if "
            "they were good. Take pairs, with sft_chosen for the chosen answer."
        )


def _refuse_mixed_references(parts: Sequence[Objective]) -> None:
    """Raise SettingsError where a part mixes all references that there are, and another brings one of its own."""
    for part in parts:
        others = set(_union(parts, lambda other: other.references)) - set(part.references)
        if part.further_references and others:
            raise SettingsError(
                f"{part.name} mixes every reference that the recipe gives, and {', '.join(sorted(others))} is there "
                "for another part of the sum: it would be mixed in too."
            )

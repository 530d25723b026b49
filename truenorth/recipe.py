"""A method is a recipe: which objective, which references, which update. A recipe says what the paper says."""

import abc
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import BeforeValidator, Field, SerializeAsAny, model_validator
from torch import Tensor

from .errors import SettingsError
from .models.references import REFERENCES, Reference
from .optim.update import UPDATES, AdamW, Update
from .settings import Part, Settings, build
from .types import Candidates, Measure, Measures

# What an objective may ask for beyond totals: of data, policy and references, or of one of these.
Reads = Literal["rewards", "wins", "tokens", "reference_entropy", "policy_collision", "degrees", "step"]
OF_POLICY: Mapping[Reads, Measure] = {"tokens": "tokens", "policy_collision": "collision"}
OF_REFERENCES: Mapping[Reads, Measure] = {"tokens": "tokens", "reference_entropy": "entropy"}


@dataclass(frozen=True, slots=True)
class DegreeHead:
    """A linear layer on the state at a response's last input that tells how much was deleted from the response.

    It is trained with the policy, on each response and on versions of it without some of its key phrases.
    """

    deleted: tuple[float, ...]  # [L - 1] share of the key phrases that each further version lacks, growing
    learning_rate: float  # of the layer, at its peak; it follows the schedule of the policy's


class Objective(Part, abc.ABC):
    """A loss over candidates: pure, not reduced, not weighted. Subclasses are final.

    The class attributes are its contract with the engine and with `Recipe`, which refuses what does not fit.
    """

    references: ClassVar[tuple[str, ...]] = ("initial",)  # names it reads; a recipe must give just these
    further_references: ClassVar[bool] = False  # whether it takes any others that a recipe gives
    reads: ClassVar[frozenset[Reads]] = frozenset()  # what the engine has to compute, or the data to bring, besides
    candidates: ClassVar[tuple[int, int | None]] = (2, 2)  # fewest and most responses per prompt; None: no limit
    demonstrations: ClassVar[bool] = False  # whether a single answer is one, beside pairs; a run must have both
    columns: ClassVar[tuple[str, ...]] = ()  # columns of the data without which it cannot be computed
    scope: ClassVar[Literal["row", "step"]] = "row"  # "step": rows are coupled, `candidates.step` is filled first
    # What leaves the loss as it is, each tested; a test holds a counterexample for those not declared:
    # one number added to all of a prompt's log-probs, the rejected responses (with their rewards) in another order,
    # one number added to all of a prompt's rewards.
    invariances: ClassVar[frozenset[Literal["prompt_shift", "permuted_rejected", "reward_shift"]]] = frozenset()

    @property
    def name(self) -> str:
        """What messages call it."""
        return type(self).__name__

    @property
    def of_policy(self) -> Measures:
        """What the policy has to give besides totals."""
        return frozenset(OF_POLICY[part] for part in self.reads if part in OF_POLICY)

    @property
    def of_references(self) -> Measures:
        """What each reference has to give besides totals."""
        return frozenset(OF_REFERENCES[part] for part in self.reads if part in OF_REFERENCES)

    @property
    def degree_head(self) -> DegreeHead | None:
        """What gives `candidates.degrees`, and the data the versions for it; None: neither is there."""
        return None

    @abc.abstractmethod
    def __call__(self, candidates: Candidates) -> Tensor:
        """[B] nats, one loss per prompt."""

    @abc.abstractmethod
    def implicit_rewards(self, candidates: Candidates) -> Tensor:
        """[B, K] the rewards that the policy stands for, for the `rewards/*` metrics."""

    def initial_loss(self, candidates: Candidates) -> Tensor | None:
        """[B] what theory gives at policy = reference, or None where it gives nothing. Checked at step 0."""
        del candidates
        return None


T = TypeVar("T", bound=Part)


def _part(base: type[T], kinds: Mapping[str, str], value: Any) -> Any:
    return build(base, value, kinds) if isinstance(value, Mapping) else value


AnyReference = Annotated[SerializeAsAny[Reference], BeforeValidator(partial(_part, Reference, REFERENCES))]
AnyUpdate = Annotated[SerializeAsAny[Update], BeforeValidator(partial(_part, Update, UPDATES))]
# A short `kind` of an objective is a name of truenorth.methods, a floor above; `methods.load` resolves it.
AnyObjective = Annotated[SerializeAsAny[Objective], BeforeValidator(partial(_part, Objective, {}))]


class Recipe(Settings):
    """What a paper says: `replace()` changes a part and validates the whole again."""

    method: str = Field(description="name in `truenorth methods`, or a user's own")
    objective: AnyObjective
    references: dict[str, AnyReference] = Field(default_factory=dict[str, AnyReference])
    update: AnyUpdate = Field(default=AdamW())

    @model_validator(mode="after")
    def _references_fit(self) -> "Recipe":
        name, reads, given = self.objective.name, set(self.objective.references), set(self.references)
        if missing := sorted(reads - given):
            raise SettingsError(
                f"{name} reads the reference(s) {', '.join(missing)}, and the recipe gives "
                f"{', '.join(sorted(given)) or 'none'}. Add them under `references`."
            )
        unread = [] if self.objective.further_references else sorted(given - reads)
        if unread:
            raise SettingsError(
                f"{name} does not read the reference(s) {', '.join(unread)}: they would be computed for nothing. "
                f"It reads {', '.join(sorted(reads)) or 'none'}. Take them out of `references`."
            )
        return self

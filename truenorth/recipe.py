"""A method is a recipe: which objective, which references, which update. A recipe says what the paper says."""

import abc
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import BeforeValidator, Field, SerializeAsAny, model_validator
from torch import Tensor

from .chase import Chase
from .clients import Clients
from .data.tokens import Ends
from .domains import Domains
from .errors import SettingsError
from .models.references import COMPUTED_BEFORE, REFERENCES, Cached, Moving, Reference
from .optim.update import UPDATES, AdamW, Update
from .schedule import OwnRows, Rounds, refuse_what_rounds_cannot_bring
from .selection import Selection
from .settings import Part, Settings, build
from .together import refuse_parts_apart
from .types import Candidates, Measure, Measures

# What an objective may ask for beyond totals: of data, policy and references, or of one of these.
Reads = Literal["rewards", "wins", "tokens", "token_kl", "reference_entropy", "policy_collision", "degrees", "step"]
OF_POLICY: Mapping[Reads, Measure] = {"tokens": "tokens", "policy_collision": "collision", "token_kl": "logits"}
OF_REFERENCES: Mapping[Reads, Measure] = {"tokens": "tokens", "reference_entropy": "entropy", "token_kl": "logits"}


@dataclass(frozen=True, slots=True)
class DegreeHead:
    """A linear layer on the state at a response's last input that tells how much was deleted from the response.

    It is trained with the policy, on each response and on versions of it without some of its key phrases.
    """

    deleted: tuple[float, ...]  # [L - 1] share of the key phrases that each further version lacks, growing
    learning_rate: float  # of the layer, at its peak; it follows the schedule of the policy's


@dataclass(frozen=True, slots=True)
class ScoreHead:
    """A linear layer on the state at an answer's last token that scores the answer. Log-probs are not computed.

    `ends` says what it reads: each answer, or both answers of a pair one behind the other, in both orders.
    """

    ends: Ends
    learning_rate: float  # of the layer, at its peak; it follows the schedule of the model's


@dataclass(frozen=True, slots=True)
class Opponent:
    """Whose answers the policy's are judged against in rounds: a mixture of policy and reference, drawn beside them.

    Each token comes from policy^(1 - share) * reference^share, over its sum over the vocabulary. Nothing is learnt
    from the opponent's answers themselves, unless they are the objective's `sample`.
    """

    answers: int  # to each prompt
    reference: str  # its name
    share: float  # of the reference, in [0, 1]


class Objective(Part, abc.ABC):
    """A loss over candidates: pure, not reduced, not weighted. Subclasses are final.

    The class attributes are its contract with the engine and with `Recipe`, which refuses what does not fit.
    """

    references: ClassVar[tuple[str, ...]] = ("initial",)  # names it reads; a recipe must give just these
    further_references: ClassVar[bool] = False  # whether it takes any others that a recipe gives
    reads: ClassVar[frozenset[Reads]] = frozenset()  # what the engine has to compute, or the data to bring, besides
    reads_if_given: ClassVar[frozenset[Reads]] = frozenset()  # what it reads where the data bring it, and does without
    candidates: ClassVar[tuple[int, int | None]] = (2, 2)  # fewest and most responses per prompt; None: no limit
    demonstrations: ClassVar[bool] = False  # whether a single answer is one, beside pairs; a run must have both
    columns: ClassVar[tuple[str, ...]] = ()  # columns of the data without which it cannot be computed
    # Who draws, in rounds, the further responses that it reads as `roles["sample"]`: the policy, or its opponent,
    # whose answers are then compared like the policy's own. Held-out rows have none. None: it reads none.
    sample: ClassVar[Literal["policy", "opponent"] | None] = None
    # Whether rounds draw an answer beside each demonstration, worse than it: rows say by a column `demonstration`, 1
    # or 0, which they are. Held-out demonstrations stand alone.
    completes_demonstrations: ClassVar[bool] = False
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

    @property
    def own_rows(self) -> OwnRows | None:
        """Which rows of a round are partly the policy's own; None: all are the data's, or all are drawn."""
        return None

    @property
    def learns_from_rounds(self) -> bool:
        """Whether it reads of rows what only rounds of drawn answers bring."""
        return any((self.sample, self.own_rows, self.selection, self.completes_demonstrations))

    @property
    def selection(self) -> Selection | None:
        """Which of a round's pairs are learnt from; None: all."""
        return None

    @property
    def score_head(self) -> ScoreHead | None:
        """What gives scores in place of the policy's totals: a judge is trained, and no policy. None: log-probs."""
        return None

    @property
    def opponent(self) -> Opponent | None:
        """Whose answers those of the policy are judged against, which makes their scores; None: their own others."""
        return None

    @property
    def slow(self) -> "Objective | None":
        """The loss of the slow one of two modules that chase each other, where this is the fast one's, and the other
        way round. None: one module is trained."""
        return None

    @abc.abstractmethod
    def __call__(self, candidates: Candidates) -> Tensor:
        """[B] nats, one loss per prompt."""

    def base_loss(self, candidates: Candidates) -> Tensor | None:
        """[B] the loss without what ties it to a peer, by which two modules are compared; None: it sees none."""
        del candidates
        return None

    @abc.abstractmethod
    def implicit_rewards(self, candidates: Candidates) -> Tensor:
        """[B, K] the rewards that the policy stands for, for the `rewards/*` metrics."""

    def wins(self, candidates: Candidates) -> Tensor | None:
        """[B, K, K] P(row beats column) as the trained judge says, P + P^T = 1; None: it is none."""
        del candidates
        return None

    def initial_loss(self, candidates: Candidates) -> Tensor | None:
        """[B] what theory gives at policy = reference, or None where it gives nothing. Checked at step 0.

        Where a head of scores is trained: what it gives at scores of 0.
        """
        del candidates
        return None


T = TypeVar("T", bound=Part)


def _part(base: type[T], kinds: Mapping[str, str], value: Any) -> Any:
    return build(base, value, kinds) if isinstance(value, Mapping) else value


PEER = "peer"  # the reference that each of two modules is to the other
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
    schedule: Rounds | None = Field(default=None, description="rounds of self-play; none: all rows are there before")
    domains: Domains | None = Field(default=None, description="domains one after another; none: all rows are of one")
    chase: Chase | None = Field(default=None, description="two modules that see each other; none: one is trained")
    clients: Clients | None = Field(default=None, description="federated rounds; none: all rows are in one place")

    @model_validator(mode="after")
    def _modules_fit(self) -> "Recipe":
        """One or two modules, as the objective says."""
        name = self.objective.name
        if self.objective.slow is None and self.chase is not None:
            raise SettingsError(f"{name} trains one module: nothing chases it. Take `chase` out, or take ofs_dpo.")
        if self.objective.slow is not None and self.chase is None:
            raise SettingsError(f"{name} trains two modules, a fast and a slow one. Give the recipe a `chase`: {{}}.")
        for name, reference in self.references.items():
            if self.chase is not None and isinstance(reference, Moving):
                raise SettingsError(
                    f"the reference {name} follows the policy, and `chase` trains two modules: it could not say whom "
                    f"it follows. Use --set references.{name}.kind=cached."
                )
        return self

    @property
    def asks_a_judge(self) -> bool:
        """Whether a judge says of rows in rounds which answers are better."""
        own = self.objective.own_rows
        return self.schedule is not None and (self.schedule.judged or bool(own and own.asks_a_judge))

    @model_validator(mode="after")
    def _parts_go_together(self) -> "Recipe":
        merging = self.update.merging is not None and not self.update.merging.idle
        given = [name for name in ("schedule", "domains", "chase", "clients") if getattr(self, name) is not None]
        refuse_parts_apart(self.method, [*given, *["update.merging"] * merging])
        return self

    @model_validator(mode="after")
    def _references_fit(self) -> "Recipe":
        name, reads, given = self.objective.name, set(self.objective.references), set(self.references)
        if self.chase is not None:
            reads -= {PEER}  # the other module
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

    @model_validator(mode="after")
    def _rows_can_be_had(self) -> "Recipe":
        """What the objective needs of rows, and the references of when they are made."""
        if self.schedule is not None:
            refuse_what_rounds_cannot_bring(self.objective, self.schedule)
            if (selection := self.objective.selection) is not None:
                selection.refuse(self.objective.name, self.schedule)
        elif self.objective.learns_from_rounds:
            raise SettingsError(
                f"{self.objective.name} learns from answers that are drawn in rounds. Give the recipe a `schedule`, "
                "for instance `schedule: {rounds: 3}`."
            )
        elif "wins" in self.objective.reads or self.objective.opponent is not None:
            raise SettingsError(
                f"{self.objective.name} reads who wins against whom, which a judge says in rounds of self-play. Give "
                "the recipe a `schedule`, for instance `schedule: {rounds: 3}`."
            )
        for name, reference in self.references.items():
            if "token_kl" in self.objective.reads and self.schedule is None and isinstance(reference, COMPUTED_BEFORE):
                raise SettingsError(
                    f"{self.objective.name} compares whole next-token distributions, and the reference {name} keeps "
                    f"only log-probs of the answers. Use --set references.{name}.kind=frozen."
                )
            if self.schedule is None and isinstance(reference, Moving) and reference.unit == "rounds":
                raise SettingsError(f"the reference {name} moves by rounds, and the recipe has no `schedule`.")
            if self.schedule is not None and isinstance(reference, Cached):
                raise SettingsError(
                    f"the reference {name} is cached, and the rows of a round are not there before it. Use --set "
                    f"references.{name}.kind=frozen, or model with a path."
                )
        return self

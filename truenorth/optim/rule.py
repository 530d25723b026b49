"""How a step's update and the task vector become one: the settings of merging while training."""

import abc
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, SerializeAsAny
from torch import Tensor

from ..settings import Part, build, setting

RULES: Mapping[str, str] = {
    "ondare": "truenorth.methods.online_merging:OnDARE",
    "onties": "truenorth.methods.online_merging:OnTIES",
}


class Rule(Part, abc.ABC):
    """What every rule has. The task vector is the start of the policy minus its base. Subclasses are final."""

    selection: ClassVar[Literal["drawn", "largest"]]  # of the entries that are kept of both, tensor by tensor

    base: str | None = setting(None, "the model before SFT, directory or hub name; must be given", source="paper")
    alpha: float = setting(1e-7, "weight of the task vector at each merge", source="code", ge=0, le=1)
    keep: float = setting(0.01, "share of entries that is kept, the paper's reserve rate", source="code", gt=0, le=1)
    every: int = setting(1, "optimizer steps from one merge to the next (Step-K)", source="paper", ge=1)
    stored: Literal["float32", "bfloat16"] = setting("float32", "dtype of the task vector in memory", source="ours")

    @property
    def shares(self) -> tuple[float, float]:
        """What kept entries of update and task vector are multiplied by."""
        return 1 - self.alpha, self.alpha

    @property
    def votes(self) -> tuple[float, float]:
        """What they are multiplied by to elect an entry's sign, of a rule that adds up only what has that sign."""
        return self.shares

    @property
    def fresh(self) -> bool:
        """Whether the task vector's kept entries are drawn anew at each merge."""
        return False

    @property
    @abc.abstractmethod
    def idle(self) -> bool:
        """Whether a merged step is the optimizer's own."""

    @abc.abstractmethod
    def combined(self, update: Tensor, task: Tensor) -> Tensor:
        """What the weights move by, from tensors that are zero where an entry is not kept. May write to `update`.

        A rule whose entries are drawn is linear: it adds up their `shares`.
        """


def _built(value: Any) -> Any:
    return build(Rule, value, RULES) if isinstance(value, Mapping) else value


AnyRule = Annotated[SerializeAsAny[Rule], BeforeValidator(_built)]

"""Measures sums of adapters on every domain: what lies in the file of numbers already is not measured again."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from ..evaluate.continual import Ratios
from ..judge import Asked
from ..processes import Group
from ..sweeps.points_file import add, resumed, short
from .fit import fitted
from .memory import remembered
from .mixture import Mixture
from .plan import Planned, single
from .rewards import Oracle
from .scoring import Scored, Scorer

Numbers = Mapping[str, Sequence[float]]  # "accuracy/NAME", "reward/NAME" -> a number for each row or prompt
START = "start"  # the base, before any domain


@dataclass(frozen=True, slots=True)
class Notebook:
    """Numbers by name in a file, a line each as soon as they are known."""

    file: Path
    points: dict[str, dict[str, list[float]]]
    world: Group

    @classmethod
    def open(cls, file: Path, asked: Mapping[str, object], world: Group) -> "Notebook":
        """Raises CheckpointError where the numbers there are of other rows, or of another model."""
        return cls(file, world.in_turn(lambda: resumed(file, asked)), world)

    def of(self, name: str, measure: Callable[[], Numbers]) -> dict[str, list[float]]:
        """The numbers of that name, measured by the first process if they are not there."""
        if name not in self.points:
            found = short(measure()) if self.world.first else {}
            if self.world.first:
                add(self.file, name, found)
            self.points[name] = self.world.first_says(found)
        return self.points[name]


@dataclass
class Gauge:
    """Some adapters, loaded at the first number that is asked for: those of the first domains, or one of all."""

    plan: Planned
    adapters: Sequence[Path]
    oracle: Oracle | None
    prompts: Mapping[str, Sequence[Asked]]

    @cached_property
    def _loaded(self) -> tuple[Scorer, list[Scored], dict[str, Scored]]:
        """What scores, the memories of the adapters' domains, and the held-out rows; all made at ratios of 0."""
        plan, run = self.plan, self.plan.run
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        mixture = Mixture(self.adapters, device=device, trust_remote_code=run.trust_remote_code)
        scorer = Scorer(single(plan.recipe), mixture, run.model, trust_remote_code=run.trust_remote_code)
        learnt = plan.names[: len(self.adapters)]
        memories = [scorer.rows(remembered(plan.rows[name].rows, plan.memory[name])) for name in learnt]
        return scorer, memories, {name: scorer.rows(found.rows) for name, found in plan.held_out.items()}

    def fit(self) -> Ratios:
        """The ratios of the adapters, on the memories of as many domains."""
        scorer, memories, _ = self._loaded
        return fitted(self.plan.asked, scorer, memories)

    def measure(self, ratios: Mapping[str, Sequence[float]]) -> Numbers:
        """The numbers of each domain's held-out rows, by the sum with its `ratios`."""
        scorer, _, held_out = self._loaded
        found = dict[str, Sequence[float]]()
        for name, rows in held_out.items():
            scorer.mixture.mix(ratios[name])
            found[f"accuracy/{name}"] = scorer.accuracies(rows)
            if self.oracle is not None:
                found[f"reward/{name}"] = self.oracle.rewards(scorer, self.prompts[name])
        return found

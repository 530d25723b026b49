"""What a run is fed with: its rows, the steps through them, and what becomes of them besides."""

import abc
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

from transformers import PreTrainedTokenizerBase

from ..data.loader import PlannedSteps
from ..data.options import DataSettings
from ..data.prepare import Prepared
from ..evaluate.progress import Watch
from ..models.sharding import Sharding
from ..recipe import Recipe
from ..run import Run
from ..session import Session
from ..train.loop import Outcome, Plan
from ..train.run_directory import RunDirectory


@dataclass(frozen=True, slots=True)
class Ready:
    """A run that may begin, as far as can be told before its model is loaded."""

    recipe: Recipe
    run: Run
    directory: RunDirectory
    tokenizer: PreTrainedTokenizerBase
    settings: DataSettings
    given: Prepared | None  # the rows of `data`, where it has some
    unseen: Prepared | None  # held out
    context: int | None  # positions that the model has; None: no limit
    sharding: Sharding


class Feed(abc.ABC):
    """The rows of a run and the steps through them, whichever way they come.

    The methods are called once each, in the order in which they stand. What they do here holds for rows that are all
    there before the first step; each way overrides what differs with it.
    """

    rows: Prepared  # to train on; in rounds as large as theirs will be, of a stream those of the first step
    steps: PlannedSteps  # through `rows`; of a stream once it is opened

    def __init__(self, ready: Ready) -> None:
        self.ready = ready

    @classmethod
    @abc.abstractmethod
    def of(cls, ready: Ready) -> Self:
        """The feed of a run. Raises DataError or SettingsError where its rows cannot be trained on so."""

    def records(self) -> Mapping[str, Any]:
        """What is written of the rows into the run directory, by the names of files."""
        return {} if self.ready.given is None else {"account.json": self.ready.given.to_dict()}

    @contextmanager
    def opened(self, watch: Watch) -> Generator[None]:
        """Within it the rows are there that the first step takes, and others may come."""
        del watch
        yield

    def fingerprints(self) -> list[str]:
        """What must not change from a kill to the run that goes on, besides the identity of the rows."""
        return []

    @property
    def recipe(self) -> Recipe:
        """The run's, in terms of its steps alone."""
        return self.ready.recipe

    @property
    def sentence(self) -> str:
        """What the run goes through, in words."""
        return self.steps.sentence

    def feeding(self, session: Session, watch: Watch) -> Session:
        """The session whose steps are the run's own, once what makes them is loaded."""
        del watch
        return session

    def planned(self, plan: Plan) -> Plan:
        """The loop's plan for such rows."""
        return plan

    def closed(self, outcome: Outcome, watch: Watch) -> list[str]:
        """What there is to say of the rows in the end, or where the run was interrupted."""
        del outcome, watch
        return []

"""What a round of self-play takes before its steps: answers are drawn, and judged."""

from collections.abc import Mapping
from dataclasses import dataclass

from ..models.memory import Part


@dataclass(frozen=True, slots=True)
class RoundsPlan:
    """Of each round and process, where nothing else is said; as if no answer ended early."""

    rounds: int
    steps: int  # of a round
    answers: int  # drawn in a round, all processes together
    tokens: int  # most of an answer
    at_once: int  # answers that are drawn together
    cache: int  # bytes of their keys and values when they are longest
    parts: Mapping[Part, int]  # bytes while answers are drawn; empty: not known
    fits: bool
    seconds: float | None  # of drawing; None: not known
    drawn_by: str  # a server's address; empty: the policy in memory
    judge: str  # as a command line names it; empty: none is asked, or none was named
    questions: int  # that the judge is asked in a round, at most
    judging: float | None  # seconds of those; None: not known
    comparisons: int  # questions of the whole run, beside those, that compare rounds with earlier ones, at most

    @property
    def total(self) -> int:
        """Bytes while answers are drawn."""
        return sum(self.parts.values())

    @property
    def in_all(self) -> float:
        """Seconds of all rounds before their steps, as far as they are known."""
        compared = self.comparisons / self.questions if self.questions else 0.0  # in rounds of questions
        return self.rounds * (self.seconds or 0.0) + (self.rounds + compared) * (self.judging or 0.0)

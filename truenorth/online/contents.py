"""What a round's rows are made of: answers drawn to prompts, pairs of the data, or both; and what a judge is asked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from ..judge import Asked, Rewards, Wins
from ..schedule import OwnRows
from .given import Given
from .sampling import Prompt, Response

EVEN = Wins(((0.5, 0.5), (0.5, 0.5)))  # nobody has said which is better
LOTS = 7  # a part of the seed of lots: other draws by the same seed and round are independent of them


@dataclass(frozen=True, slots=True)
class Draft:
    """A row before the judge has seen it."""

    prompt: Asked
    place: int  # of the prompt in the round
    answers: tuple[Response, ...]  # [K] that are compared
    verdict: Rewards | Wins | None = None  # what is known without a judge; None: the judge is asked
    given: int = 0  # so many of the answers, the first, are the data's
    beside: tuple[Response, ...] = ()  # drawn, and not compared
    columns: Mapping[str, float] = field(default_factory=dict[str, float])
    prompt_tokens: tuple[int, ...] | None = None  # of a row of the data; None: those of the prompt as text


@dataclass(frozen=True, slots=True)
class Contents:
    """How drawn answers become rows. By itself: they are what is compared."""

    prompts: Sequence[Asked]  # of all rounds, as the judge reads them
    given: Given | None = None  # the rows that the prompts are of; None: there are prompts alone
    compared: Literal["drawn", "rows", "both"] = "drawn"
    own_rows: OwnRows | None = None
    seed: int = 0
    completes_demonstrations: bool = False  # beside each demonstration one answer is drawn, and to pairs none

    def asked(self, i: int) -> Prompt:
        """Prompt `i` as the sampler gets it: a row's as the tokens that it is trained on."""
        return self.prompts[i] if self.given is None else self.given.rows[i].prompt.tolist()

    def draws(self, number: int, i: int) -> bool:
        """Whether answers are drawn to prompt `i` in round `number`."""
        if self.completes_demonstrations:
            return self.given is not None and self.given.is_demonstration(i)
        return self.own_rows is None or (self.own_rows.redrawn and self._is_own(number, i))

    def draft(self, number: int, place: int, i: int, drawn: Sequence[Response]) -> Draft:
        """The row of prompt `i`, at `place` in round `number`, with what was drawn for it."""
        if self.given is None:
            return Draft(self.prompts[i], place, tuple(drawn))
        row = self._as_given(self.given, place, i)
        if self.compared == "both":
            return replace(row, answers=(*row.answers, *drawn), verdict=None)
        if self.completes_demonstrations:
            columns = {**row.columns, "demonstration": float(self.given.is_demonstration(i))}
            return replace(row, answers=(*row.answers, *drawn), columns=columns)
        if self.own_rows is None:
            return replace(row, beside=tuple(drawn))
        own, label_draw = self._lot(number, i)
        row = replace(row, columns={**row.columns, "own": float(own < self.own_rows.share), "label_draw": label_draw})
        if drawn:
            return replace(row, answers=tuple(drawn), verdict=None if self.own_rows.judged else EVEN, given=0)
        return row

    def _as_given(self, given: Given, place: int, i: int) -> Draft:
        """Row `i` as it stands in the data."""
        answers, tokens = given.answers(i), tuple(given.rows[i].prompt.tolist())
        return Draft(
            self.prompts[i],
            place,
            answers,
            given.verdict(i),
            given=len(answers),
            columns=given.weight(i),
            prompt_tokens=tokens,
        )

    def _is_own(self, number: int, i: int) -> bool:
        return self.own_rows is not None and self._lot(number, i)[0] < self.own_rows.share

    def _lot(self, number: int, i: int) -> tuple[float, float]:
        """Two numbers in [0, 1) by seed, round and row: whether the row is the policy's own, and for its label."""
        own, label_draw = np.random.default_rng([self.seed, number, i, LOTS]).random(2).tolist()
        return own, label_draw

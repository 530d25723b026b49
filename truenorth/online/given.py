"""Rows of the data that rounds begin from: their answers as tokens, and as text for a judge and for people."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from transformers import PreTrainedTokenizerBase

from ..data.checking import Sources
from ..data.prepare import Prepared, prompts_of
from ..data.tokens import Ints, TokenizedRow, TokenizedRows
from ..errors import DataError
from ..judge import Asked, Rewards, Wins
from ..recipe import Objective
from ..schedule import Rounds
from .sampling import Response

CERTAIN = Wins(((0.5, 1.0), (0.0, 0.5)))  # what a label says


@dataclass(frozen=True, slots=True)
class Given:
    """Pairs of the data, best first, and demonstrations, which are one answer; and the prompt of each as text."""

    rows: TokenizedRows
    prompts: Sequence[Asked]
    as_text: Callable[[Ints], str]

    @classmethod
    def of(
        cls,
        prepared: Prepared,
        sources: Sources,
        tokenizer: PreTrainedTokenizerBase,
        *,
        demonstrations: bool = False,
    ) -> "Given":
        """The rows that were `prepared`; their files are read once more, for the prompts.

        Raises DataError for a row that does not compare two answers, and is no demonstration where such are taken.
        """
        rows = prepared.rows
        for row in rows:
            if len(row.responses) != 2 and not (demonstrations and len(row.responses) == 1):
                raise DataError(
                    f"{row.file}, row {row.row} has {len(row.responses)} answers, and rounds begin from pairs. Choose "
                    "a pairing: --pairing best_vs_worst."
                )
        texts = dict(prompts_of(prepared, sources))

        def as_text(tokens: Ints) -> str:
            return str(tokenizer.decode(tokens.tolist(), skip_special_tokens=True))

        return cls(rows, [texts[row.file, row.row] for row in rows], as_text)

    def answers(self, i: int) -> tuple[Response, ...]:
        """Both answers of row `i`, the better one first; of a demonstration the one that there is."""
        return tuple(
            Response(self.as_text(tokens), tuple(tokens.tolist()), ended=True) for tokens in self.rows[i].responses
        )

    def is_demonstration(self, i: int) -> bool:
        return len(self.rows[i].responses) == 1

    def verdict(self, i: int) -> Rewards | Wins:
        """What the data say of the pair: its scores, or a label, which is a certain win.

        So is that of a demonstration over whatever is drawn beside it.
        """
        scores = self.rows[i].scores
        return CERTAIN if scores is None or self.is_demonstration(i) else Rewards(scores)

    def weight(self, i: int) -> Mapping[str, float]:
        """The column `weight` of row `i`, where it has one. Other columns say something of its answers alone."""
        return {name: value for name, value in self.rows[i].columns.items() if name == "weight"}

    def as_large_as_any(self, objective: Objective, schedule: Rounds) -> TokenizedRows:
        """Rows as large as any of a round: memory is tried with them before there are any."""
        own, tokens = objective.own_rows, schedule.max_new_tokens
        may_be_compared = schedule.judged or bool(own and own.redrawn)
        beside = 0 if objective.sample is None else schedule.k

        def largest(row: TokenizedRow) -> TokenizedRow:
            drawn = np.full(tokens, row.prompt[-1], np.int32)
            given = [drawn if may_be_compared and len(answer) < tokens else answer for answer in row.responses]
            completed = [drawn] * (2 - len(given))  # of a demonstration
            return replace(row, responses=(*given, *completed, *(drawn,) * beside))

        return TokenizedRows.of(map(largest, self.rows))

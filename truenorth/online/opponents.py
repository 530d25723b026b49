"""Opponents: answers of a mixture, drawn beside the policy's own, that its answers are judged against."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from ..errors import DataError
from ..recipe import Opponent
from .round_file import RoundRow
from .sampler import Local
from .sampling import Prompt, Response, Sampling

if TYPE_CHECKING:  # torch is slow to import
    from .decoding import Mixed


@dataclass(frozen=True, slots=True)
class Opposed:
    """The policy's answers and, behind them, `count` of the mixture of the policy with another model."""

    policy: Local
    mixed: "Mixed"
    count: int  # of the `sampling.k` answers to a prompt
    remote: ClassVar[bool] = False

    def answers(
        self, prompts: Sequence[Prompt], sampling: Sampling, *, round_index: int = 0, done: Collection[int] = ()
    ) -> Iterator[tuple[int, list[Response]]]:
        """As of `Sampler`. Both take the prompts in the same order, the longest first."""
        k = sampling.k - self.count
        opponent = replace(self.policy, mixed=self.mixed, first=k)  # the places go on, and so the draws differ
        own, theirs = (
            sampler.answers(prompts, sampling.replace(k=count), round_index=round_index, done=done)
            for sampler, count in ((self.policy, k), (opponent, self.count))
        )
        for (place, ours), (same, others) in zip(own, theirs, strict=True):
            assert place == same
            yield place, ours + others

    def hand_over(self, folder: Path, *, round_index: int) -> None:
        """The models in memory are the policy and its opponent themselves."""


def check_opponents(rows: Sequence[RoundRow], opponent: Opponent | None, where: Path) -> None:
    """Raise DataError for a row without answers of the opponent, where it is judged against such."""
    if opponent is None:
        return
    for row in rows:
        if not row.opponents:
            raise DataError(
                f"{where}, the row of {str(row.prompt)[:60]!r}: no answer in it is the opponent's, and those of the "
                "policy are judged against them. Rows that are made elsewhere say it with `opponents`: how many of "
                "the `responses`, the last ones, were drawn from the mixture."
            )

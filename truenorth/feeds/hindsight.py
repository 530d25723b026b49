"""The regret of a run over a stream: its snapshots score the rows again that it has met."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from ..data.chat import Encoder
from ..data.options import DataSettings
from ..data.stream import Copied, Lines, StreamedRows
from ..data.stream_steps import StreamSteps, unheard
from ..data.tokens import TokenizedRows
from ..evaluate.artifacts import read_metrics
from ..evaluate.preferences import each_held_out
from ..evaluate.regret import Hindsight
from ..session import Session
from ..train.evidence import series
from ..train.snapshots import Snapshots, held_as


def never() -> bool:
    """Nobody wants to stop."""
    return False


@dataclass(frozen=True, slots=True)
class Reader:
    """How lines become the steps of a run."""

    encoder: Encoder
    settings: DataSettings
    batch_size: int
    most: int | None  # steps

    def of(
        self, lines: Lines, *, left_out: Path | None = None, said: Callable[[str], None] = unheard
    ) -> tuple[StreamedRows, StreamSteps]:
        """The rows in `lines`, and the steps that they make."""
        rows = StreamedRows(lines, self.encoder, self.settings, by=self.batch_size, left_out=left_out)
        ends = self.settings.needs.ends
        return rows, StreamSteps(rows, self.batch_size, ends=ends, most=self.most, said=said)


@dataclass(frozen=True, slots=True)
class Copy:
    """The lines of a stream that have come, and how they are read again."""

    reader: Reader
    file: Path
    name: str  # of the stream

    def rows_of(self, wanted: Sequence[int]) -> Mapping[int, TokenizedRows]:
        """The rows of these steps, 1-based."""
        rows, steps = self.reader.of(Copied(self.file, self.name))
        with closing(rows):
            rows.begin(never)
            found = dict[int, TokenizedRows]()
            for step in range(1, max(wanted) + 1):
                if not steps.wait(step - 1, never):
                    break
                if step in wanted:
                    found[step] = steps.rows
        return found


def hindsight_of(
    session: Session, snapshots: Snapshots, met: Mapping[int, TokenizedRows], log: Path, *, taken: int
) -> Hindsight:
    """What the snapshots, and the policy as it is after `taken` steps, lose on the rows `met` in some steps, 1-based.

    `log` is the run's metrics.jsonl, which has the losses of the rows when they came.
    """
    losses_met = series(read_metrics(log), "loss")
    online = dict(zip(losses_met.steps, losses_met.values, strict=True))
    scored = [step for step in met if step in online]

    def losses() -> list[float]:
        with session.evaluating():
            return [
                each_held_out(session.players, met[step], session.references, budget=session.budget)[0]["loss"]
                for step in scored
            ]

    fixed = dict[int, list[float]]()
    for step in snapshots.steps():
        if step < taken:
            with held_as(session.players, snapshots.read(step)):
                fixed[step] = losses()
    fixed[taken] = losses()  # as it is now
    return Hindsight(scored, [online[step] for step in scored], fixed, taken=taken)

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
from ..errors import DataError
from ..evaluate.artifacts import Record, read_metrics
from ..evaluate.preferences import each_held_out
from ..evaluate.regret import Hindsight
from ..session import Session
from ..train.chasing import BASE
from ..train.evidence import series
from ..train.loop import by_player
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
    session: Session, snapshots: Snapshots, met: Mapping[int, TokenizedRows], log: Path, *, now: tuple[int, int]
) -> Hindsight:
    """What the snapshots, and the policy as it is, lose on the rows `met` in some steps, 1-based.

    `log` is the run's metrics.jsonl, which has the losses of the rows when they came; `now` the steps taken, and who
    is in the fast role after them. Of two modules that chase each other the one in the fast role counts, by the loss
    that both share: it does not depend on the other one, as that which they are trained on does. Raises DataError
    where the log does not say which one that was.
    """
    lines, (taken, fast_now) = read_metrics(log), now
    name = "loss" if len(session.players) == 1 else BASE
    fast = dict.fromkeys(range(1, taken + 1), 0) if len(session.players) == 1 else _fast_in(lines, taken)
    losses_met = [_values(lines, of) for of in by_player([{name: 0.0}] * len(session.players))]
    online = {step: losses_met[fast[step]][step] for step in losses_met[0]}
    scored = [step for step in met if step in online]

    def losses(place: int) -> list[float]:
        with session.evaluating():
            return [
                each_held_out(session.players, met[step], session.references, budget=session.budget)[place][name]
                for step in scored
            ]

    fixed = dict[int, list[float]]()
    for step in snapshots.steps():
        if step < taken:
            with held_as(session.players, snapshots.read(step)):
                fixed[step] = losses(fast[step + 1])
    fixed[taken] = losses(fast_now)
    return Hindsight(scored, [online[step] for step in scored], fixed, taken=taken)


def _fast_in(lines: Sequence[Record], taken: int) -> Mapping[int, int]:
    """Which module was in the fast role in each step, 1-based. Raises DataError where one is missing."""
    fast = {step: int(value) for step, value in _values(lines, "chase/fast").items()}
    if missing := set(range(1, taken + 1)) - fast.keys():
        raise DataError(
            f"metrics.jsonl does not say which module was in the fast role in step {min(missing):,} (chase/fast), and "
            "the regret is that of the fast one."
        )
    return fast


def _values(lines: Sequence[Record], name: str) -> dict[int, float]:
    """A metric by the steps that have it."""
    found = series(lines, name)
    return dict(zip(found.steps, found.values, strict=True))

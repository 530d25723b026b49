"""Whether the model that a run writes is the one that it trained: what was measured, and a finding."""

from dataclasses import dataclass

from .evidence import Finding, percent, short

LOST = 1 / 2  # of the movement: where about a tenth of a held-out margin goes with it (docs/report.md)
LOST_FAR = 0.8  # where half of it goes
ADVICE = (
    "--save-as float32; of a run that has ended: remove `final` from its directory and resume it so "
    "(`truenorth train DIR --resume --save-as float32`), which trains nothing again"
)
MEANING = "So the model in `final` is not the one that was trained and measured"


@dataclass(frozen=True, slots=True)
class Saving:
    """What the rounding of trained weights to the dtype of `final` takes from the run's movement."""

    dtype: str
    weights: int  # that could be compared with the start's files
    moved: float  # norm of what training moved them by
    lost: float  # norm of what the rounding moves the moved ones by
    unchanged: float  # share of the moved ones that are written as the start's would be
    overflowed: int = 0  # moved ones that are too large for `dtype`
    left_out: int = 0  # weights of which the start's files have none by that name

    @property
    def share(self) -> float:
        """What the rounding takes, as a share of the movement: above 1 only where the start is finer than `dtype`."""
        return self.lost / self.moved if self.moved else 0.0

    @property
    def loses(self) -> bool:
        """Whether `final` is another model than the one that was trained and measured."""
        return self.overflowed > 0 or self.share > LOST

    @property
    def said(self) -> str:
        """What was measured, in a sentence without its full stop."""
        if self.overflowed:
            return f"{self.overflowed:,} weights are too large for {self.dtype} and are written as infinite"
        part = f" (of {percent(self.weights / (self.weights + self.left_out))} of them)" if self.left_out else ""
        return (
            f"Training moved the weights{part} by {short(self.moved)} (norm), and writing them in {self.dtype} by "
            f"{short(self.lost)}, {percent(self.share)} of that: of those that moved, {percent(self.unchanged)} stand "
            "in `final` as they were before"
        )

    @property
    def note(self) -> str:
        """For the summary: empty where little is lost."""
        if not self.weights:
            return f"What writing {self.dtype} takes from the weights is not known: no tensor of the start compares."
        return f"{self.said}. {MEANING}." if self.loses else ""


def unlike_trained(saving: Saving | None) -> list[Finding]:
    """Fires where most of the movement is lost in the dtype that the weights are written in."""
    if saving is None or not saving.loses:
        return []
    level = "problem" if saving.overflowed or saving.share > LOST_FAR else "watch"
    return [
        Finding(
            level, "The model that is written is not the one that was trained", f"{saving.said}. {MEANING}.", ADVICE
        )
    ]

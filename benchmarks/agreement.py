"""Whether both sides compute the same: the condition under which a comparison of their speed means anything."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from comparison import How, Setting, sides
from protocol import Child

Record = Mapping[str, float]
TOLERANCE = 1e-3  # nats of a response's log-prob; of the loss; share of the gradient's norm
STEPS = 20
PROMPTS = 2  # per step, to stay short


@dataclass(frozen=True, slots=True)
class Agreement:
    """Largest differences in float32, from a policy that is not its reference."""

    log_probs: float  # nats, over the responses of the first step
    grad_norm: float  # share, at the first step
    loss: float  # nats, after STEPS steps

    @property
    def holds(self) -> bool:
        return max(self.log_probs, self.grad_norm, self.loss) <= TOLERANCE

    def __str__(self) -> str:
        verdict = "agree" if self.holds else f"DISAGREE (allowed: {TOLERANCE:g})"
        return (
            f"{verdict}: log-probs differ by {self.log_probs:.1e} nats, gradient norms by {self.grad_norm:.1e} of "
            f"them, losses after {STEPS} steps by {self.loss:.1e} nats"
        )


def check(setting: Setting, how: How) -> Agreement:
    """Take STEPS small steps on both sides in float32, and compare."""
    # One thread: steps this small wait longer for a second one than it saves, most of all on a busy machine.
    exact = replace(how, steps=STEPS, precision="float32", prompts=PROMPTS, threads=1)
    with sides(setting, exact, [setting.answers - 1]) as (ours, (theirs,)):
        first = _largest_difference(ours, theirs)
        records = [_both_step(ours, theirs) for _ in range(STEPS)]
    start, end = records[0], records[-1]
    norm = abs(start[0]["grad_norm"] - start[1]["grad_norm"]) / start[1]["grad_norm"]
    return Agreement(log_probs=first, grad_norm=norm, loss=abs(end[0]["loss"] - end[1]["loss"]))


def _both_step(ours: Child, theirs: Child) -> tuple[Record, Record]:
    """A step of both sides at the same time: nobody looks at the clock."""
    ours.begin("step")
    return theirs.ask("step"), ours.answer()


def _largest_difference(ours: Child, theirs: Child) -> float:
    """Over all responses of the first step, in nats. TRL scores the best answer once with each other one."""
    groups = ours.ask("log_probs")["log_probs"]
    pairs = theirs.ask("log_probs")["log_probs"]
    expected = [[group[0], rejected] for group in groups for rejected in group[1:]]
    return max(
        abs(a - b) for pair, other in zip(expected, pairs, strict=True) for a, b in zip(pair, other, strict=True)
    )

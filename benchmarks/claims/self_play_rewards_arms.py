"""What self_play_rewards.py trains: whole reviews, with the world's rewards as the judge."""

from dataclasses import replace

from drawn import LONGEST
from self_play_arms import MAGNET, OF_MPO, Arm
from trained import update

RATES = (1.25e-4, 2.5e-4, 5e-4)  # AdamW's, tried for each method
TUNED_BY = 0  # the seed of the runs that rates are chosen by
REVIEWS = "world:reward"  # wins by Bradley-Terry for those that read wins
STEPS, LONG = 40, 120
SHORT = 20  # steps of the runs that rates are chosen by


def _of(name: str, method: str, *, magnet: int | None = None, **settings: float) -> Arm:
    return Arm(
        name, method, update(RATES[0]), judge=REVIEWS, tokens=LONGEST, magnet=magnet, settings=settings, steps=STEPS
    )


ARMS = (
    _of("MPO", "mpo", magnet=MAGNET, **OF_MPO),
    _of("MPO-RT", "mpo_rt", magnet=MAGNET, **OF_MPO),
    _of("online DPO", "online_dpo", beta=0.2),
    _of("RLOO", "rloo", beta=0.05),
    # As tight a leash as MPO's: wins rise by at most 1/4 for each reward.
    _of("online DPO, beta 0.5", "online_dpo", beta=0.5),
    _of("RLOO, beta 0.25", "rloo", beta=0.25),
)
LONGER = (  # what becomes of variety, and how far a magnet that stays lets a policy go
    replace(_of("MPO, long", "mpo", magnet=MAGNET, **OF_MPO), steps=LONG),
    replace(_of("MPO, long, magnet stays", "mpo", magnet=0, **OF_MPO), steps=LONG),
    replace(_of("RLOO, beta 0.25, long", "rloo", beta=0.25), steps=LONG),
)


def at_rate(arm: Arm, rate: float) -> Arm:
    return replace(arm, update=update(rate))


def family(name: str) -> str:
    """The arm whose learning rate this one takes."""
    first = name.partition(",")[0]
    return "MPO" if first == "MPO-RT" else first


def looks(steps: int) -> set[int]:
    """Steps after which a run is measured: more often while the policy leaves its start."""
    return {5, *range(10, min(steps, STEPS), 10), *range(20, steps, 20), steps}

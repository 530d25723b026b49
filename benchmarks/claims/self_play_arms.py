"""What self_play.py trains: methods with their settings, and a judge of styles that go in a circle."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from truenorth.methods import recipe
from truenorth.models.references import Frozen, Moving, Reference
from truenorth.optim.update import TorchOptimizer, Update
from truenorth.recipe import Recipe

STEPS = 120
PROMPTS, ANSWERS = 8, 8  # of a step
MAGNET = 20  # steps from one magnet to the next
ALPHA = 0.1  # wins per nat
BEGINNING = 2  # tokens: an answer's style shows in its first word
WHOLE = 64  # tokens: no tale is longer
STYLES, OF_START = "self_play_game:beats", "self_play_game:beats_the_start"  # judges, as a command line names them
TALES = "world:tale_wins"


def sgd(rate: float) -> TorchOptimizer:
    """Plain: Adam's steps follow the sign of a rare answer's gradient, which is not that of its mean."""
    return TorchOptimizer(optimizer="torch.optim:SGD", learning_rate=rate, decay="constant", max_grad_norm=None)


@dataclass(frozen=True, slots=True)
class Arm:
    """A method as it plays, and how its runs are called."""

    name: str
    method: str
    update: Update
    judge: str = STYLES
    tokens: int = BEGINNING
    magnet: int | None = None  # steps between moves of the reference that does; 0: it stays; None: as in the recipe
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    steps: int = STEPS
    seeds: tuple[int, ...] = (1, 2, 3)

    def recipe(self, steps: int) -> Recipe:
        """Every step is a round: its answers are drawn by the policy that takes it."""
        made = recipe(self.method, **self.settings)
        assert made.schedule is not None
        schedule = made.schedule.replace(
            rounds=steps, prompts="batch", epochs=1, k=ANSWERS, max_new_tokens=self.tokens
        )
        references = dict(made.references)
        if self.magnet is not None:
            moves = "magnet" if "magnet" in references else "initial"
            references[moves] = self.reference(self.magnet)
        return made.replace(schedule=schedule, update=self.update, references=references)

    @staticmethod
    def reference(every: int) -> Reference:
        return Moving(every=every, unit="rounds", share=1) if every else Frozen()


OF_MPO = {"alpha": ALPHA, "inverse_eta": 0.0}  # a round is a step: at its start the policy is that of the round
ARMS = (
    Arm("MPO", "mpo", sgd(0.015), magnet=MAGNET, settings=OF_MPO),
    Arm("MPO-RT", "mpo_rt", sgd(0.015), magnet=MAGNET, settings=OF_MPO),
    Arm("magnet stays", "mpo", sgd(0.015), magnet=0, settings=OF_MPO),
    Arm("magnet every step", "mpo", sgd(0.015), magnet=1, settings=OF_MPO),
    Arm("SPPO", "sppo", sgd(0.001), settings={"beta": 1.0}),
    Arm("online DPO", "online_dpo", sgd(0.015), settings={"beta": 0.2}),
    Arm("no self-play", "rloo", sgd(0.015), judge=OF_START, magnet=MAGNET, settings={"beta": ALPHA}),
    Arm("MPO, whole tales", "mpo", sgd(0.015), judge=TALES, tokens=WHOLE, magnet=MAGNET, settings=OF_MPO),
    Arm("magnet stays, whole tales", "mpo", sgd(0.015), judge=TALES, tokens=WHOLE, magnet=0, settings=OF_MPO),
    Arm("online DPO, whole tales", "online_dpo", sgd(0.015), judge=TALES, tokens=WHOLE, settings={"beta": 0.2}),
)


def named(names: Sequence[str] | None, known: Sequence[Arm]) -> list[Arm]:
    """Those of `known` with these names, or all. Raises SystemExit for a name of none."""
    if unknown := set(names or ()) - {arm.name for arm in known}:
        raise SystemExit(
            f"no run is called {', '.join(sorted(unknown))}. There are: {'; '.join(arm.name for arm in known)}"
        )
    return [arm for arm in known if not names or arm.name in names]

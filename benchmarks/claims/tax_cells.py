"""What alignment_tax.py tries: ways to train, and ways to merge what was trained."""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from truenorth import methods, world
from truenorth.methods.online_merging import OnDARE, OnTIES
from truenorth.optim.rule import Rule
from truenorth.optim.update import AdamW
from truenorth.recipe import Recipe

STEPS = 64
RATE, BETA = 1e-3, 0.3  # a learning rate at which AdamW forgets; a quarter of it costs next to nothing
PULL = 0.01  # of the task vector in all; the paper's best for abilities, 5e-6, makes about half of it in 955 steps
BASE = str(world.base_model())
RULES: Mapping[str, Rule] = {
    "child-tuning": OnDARE(base=BASE),
    "OnDARE, released": OnDARE.as_released(BASE),
    "OnDARE, written": OnDARE.as_written(BASE),
    "OnTIES, released": OnTIES.as_released(BASE),
    "OnTIES, written": OnTIES.as_written(BASE),
}
ONLINE = ("OnDARE, released", "OnDARE, written", "OnTIES, released", "OnTIES, written")
RELEASED = ("OnDARE, released", "OnTIES, released")
KEPT = {
    "OnDARE, released": 0.5,
    "OnTIES, released": 0.01,
}  # where steps are merged at intervals, and with other losses


@dataclass(frozen=True, slots=True)
class Cell:
    """One way to train."""

    arm: str  # AdamW, LoRA, or one of RULES
    rate: float = RATE  # learning rate
    loss: str = "dpo"
    beta: float = BETA
    keep: float = 1.0  # share of entries
    pull: float = 0.0  # share of the task vector that is added in all, where OnTIES keeps all and no sign differs
    every: int = 1  # steps from merge to merge

    @property
    def key(self) -> tuple[str, ...]:
        """As the csv has it."""
        return (self.arm, self.loss, *(f"{n:g}" for n in (self.beta, self.rate, self.keep, self.pull, self.every)))

    def recipe(self) -> Recipe:
        return methods.recipe(self.loss, beta=self.beta).replace(update=self.update())

    def update(self) -> AdamW:
        """AdamW with a warm-up and a decay to 0, alone or inside a rule."""
        inner = AdamW(learning_rate=self.rate, betas=(0.9, 0.95), warmup_share=0.1, decay="linear", max_grad_norm=1.0)
        if (rule := RULES.get(self.arm)) is None:
            return inner
        merging = rule.replace(keep=self.keep, every=self.every)
        arrives = self.keep if self.arm == "OnDARE, written" else 1.0  # of alpha, past a mask that is not rescaled
        return inner.replace(merging=merging.replace(alpha=self.pull * self.every / STEPS / arrives))


@dataclass(frozen=True, slots=True)
class Merged:
    """A merge of what was trained, with the SFT model or with the base."""

    name: str
    method: str
    settings: Mapping[str, Any]
    with_sft: bool  # merged are the aligned and the SFT model, over the base; else the aligned one, over the SFT model


MERGED = [
    *(Merged(f"averaged, {1 + a:g} aligned", "expo", {"alpha": a}, with_sft=False) for a in (-0.7, -0.5, -0.3)),
    Merged("ExPO 0.3", "expo", {"alpha": 0.3}, with_sft=False),
    *(
        Merged(f"{title}, {w:g} aligned", method, {"keep": 0.5, "weights": (w, round(1 - w, 1))}, with_sft=True)
        for (title, method), w in itertools.product((("DARE", "dare_linear"), ("TIES", "ties")), (0.3, 0.5, 0.7))
    ),
    Merged("HMA, low layers SFT's", "hma", {"alpha": 0.5, "ratios": (2.0, 1.0, 0.0)}, with_sft=False),
    Merged("HMA, high layers SFT's", "hma", {"alpha": 0.5, "ratios": (0.0, 1.0, 2.0)}, with_sft=False),
]
EMA = (0.1, 0.02)  # the share of the weights at each step, moving averages of the steps
PARENT = Cell("AdamW")  # what is merged and averaged


def online(arm: str, *, keep: float, pull: float = PULL, rate: float = RATE, **rest: Any) -> Cell:
    """At a rate that makes steps as large as those of the others: what is not rescaled is `keep` times as large."""
    return Cell(arm, rate=rate / keep if arm == "OnDARE, written" else rate, keep=keep, pull=pull, **rest)


def headline() -> list[Cell]:
    """Every method, at the learning rate with a tax, and what a smaller one does."""
    cells = [Cell("AdamW", rate=rate) for rate in (1e-3, 5e-4, 2.5e-4)]
    cells += [online(arm, keep=0.1) for arm in ONLINE]
    cells += [online(arm, keep=0.01, pull=1e-7 * STEPS) for arm in RELEASED]  # the defaults
    return [*cells, Cell("AdamW", beta=3.0), Cell("child-tuning", keep=0.1), Cell("LoRA")]


def further() -> list[Cell]:
    """Other settings of the same methods."""
    ondare, onties = RELEASED
    cells = [online(arm, keep=0.5) for arm in RELEASED]
    cells += [online(onties, keep=0.1, rate=5e-4), online(ondare, keep=0.1, rate=2.5e-4)]
    cells += [online(ondare, keep=0.01, rate=2.5e-4), online("OnTIES, written", keep=0.01), online(onties, keep=0.01)]
    return [*cells, Cell("AdamW", rate=1.25e-4), Cell("AdamW", beta=1.0), Cell("LoRA", rate=4e-3)]


def pulls() -> list[Cell]:
    """The sweep of alpha: OnDARE with all entries, where both presets are one and no mask adds noise."""
    cells = [online("OnDARE, released", keep=1.0, pull=pull) for pull in (0.2, 1.0, 0.01, 0.05)]
    return cells + [online("OnTIES, released", keep=0.1, pull=pull) for pull in (0.2, 1.0, 0.05)]


def intervals() -> list[Cell]:
    """Step-K; the last is one merge at the end."""
    return [online(arm, keep=keep, every=every) for every in (8, 64) for arm, keep in KEPT.items()]


def losses() -> list[Cell]:
    """IPO and KTO, with AdamW and inside the rules."""
    found: list[Cell] = []
    for loss in ("ipo", "kto"):
        found += [Cell("AdamW", loss=loss, rate=rate) for rate in (1e-3, 2.5e-4)]
        found += [online(arm, keep=keep, loss=loss) for arm, keep in KEPT.items()]
    return found


def plan() -> Iterator[tuple[Cell, int]]:
    """All runs, cell and seed, what matters most first."""
    yield from ((cell, seed) for seed in (1, 2, 3) for cell in headline())
    later = [*pulls(), *further(), *intervals(), *losses()]
    yield from ((cell, seed) for seed in (1, 2, 3) for cell in later)

"""A stream whose preference turns: runs of the library's own stream, and how fast they come back."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Any

from drawn import SFT
from fast_slow_points import Key
from fast_slow_rows import turning
from fast_slow_runs import RANK, Trial
from trained import MAX_LENGTH, once

from truenorth import align
from truenorth.feeds.arriving import suited

BATCH = 8  # pairs
WINDOW = 5  # steps whose online accuracies are averaged
BACK = 0.6  # of the online accuracy: a preference that was learned


@dataclass(frozen=True, slots=True)
class Turn:
    """What is tried."""

    rates: Sequence[float]
    asked: int  # requests that the pairs are of
    before: int  # pairs until the preference turns, and
    after: int

    @property
    def at(self) -> int:
        """Steps before it turns."""
        return self.before // BATCH


def streamed(trial: Trial, turn: Turn, folder: Path) -> Mapping[str, Any]:
    """Of each step the loss and the accuracy on rows never met, by the module that was in the fast role (of DPO by the
    only one), and its place; and regret.json, which the library writes of one module alone."""

    def make() -> Mapping[str, Any]:
        rows = turning(folder, seed=trial.seed, asked=turn.asked, before=turn.before, after=turn.after)
        with tempfile.TemporaryDirectory() as out:
            known = {"snapshots": 5, "regret_steps": 16}
            align(
                suited(trial.recipe), model=SFT, out=Path(out) / "run", seed=trial.seed, lora={"rank": RANK},
                stream={"path": str(rows), "idle_seconds": 0} | known, batch_size=BATCH,
                max_length=MAX_LENGTH, precision="float32", tokens_per_micro_batch=8192, samples=0,
            )  # fmt: skip
            lines = (Path(out) / "run" / "metrics.jsonl").read_text().splitlines()
            file = Path(out) / "run" / "regret.json"
            found: dict[str, Any] = dict(steps_of(map(json.loads, lines)))
            return found | ({"regret": json.loads(file.read_text())} if file.exists() else {})

    return once(folder / f"stream-{turn.before}-{turn.after}-{trial}.json", make)


def steps_of(records: Any) -> dict[str, list[float]]:
    """The online numbers of each step."""
    found: dict[str, list[float]] = {"loss": [], "accuracy": [], "fast": []}
    for record in records:
        if record.get("split") != "train":
            continue
        fast = int(record.get("chase/fast", 0))
        own = "player-1/" * fast
        found["loss"].append(record.get(f"{own}loss/base", record[f"{own}loss"]))
        found["accuracy"].append(record[f"{own}rewards/accuracies"])
        found["fast"].append(float(fast))
    return found


def turned(trial: Trial, turn: Turn, folder: Path) -> dict[Key, float]:
    """What the csv has of a run."""
    found, at = streamed(trial, turn, folder), turn.at

    def key(step: int | str, name: str) -> Key:
        return Key("stream", trial.arm, f"{trial.rate:g}", str(trial.seed), str(step), name)

    numbers = {key(step, name): values for name in ("loss", "accuracy") for step, values in enumerate(found[name], 1)}
    accuracy, loss = found["accuracy"], found["loss"]
    return numbers | {
        key("all", "loss"): fmean(loss),
        key("before", "accuracy"): fmean(accuracy[:at]),
        key("after", "accuracy"): fmean(accuracy[at:]),
        key("after", "loss"): fmean(loss[at:]),
        key("after", "steps back"): float(back(accuracy[at:])),
        key("all", "regret"): regret(loss, streamed(replace(trial, arm="DPO"), turn, folder)["regret"]),
        key("all", "fast changes"): float(sum(a != b for a, b in pairwise(found["fast"]))),
    }


def regret(loss: Sequence[float], known: Mapping[str, Any]) -> float:
    """Nats per pair over the whole stream: what was lost online, less the best fixed module that is `known` of.

    Those are the snapshots of the DPO run on the same rows. Both losses are of the steps that these were scored on.
    """
    scored = known["steps"]
    best = min(fmean(snapshot["loss"]) for snapshot in known["snapshots"])
    return (fmean(loss[step - 1] for step in scored) - best) * len(loss)


def back(accuracy: Sequence[float]) -> int:
    """Steps after the turn until the mean accuracy of the last few is that of a preference that is learned.

    >>> back([0.0, 0.0, 1.0, 1.0, 1.0, 1.0])
    5
    """
    for step in range(WINDOW, len(accuracy) + 1):
        if fmean(accuracy[step - WINDOW : step]) >= BACK:
            return step
    return len(accuracy)  # or more: it did not come back

"""The csv of self_play_rewards.py and its tables."""

import csv
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from frontier import Place, along, mean_and_error, reward_at
from frontier_tables import head, row
from self_play_arms import Arm
from self_play_rewards_arms import ARMS, LONGER, TUNED_BY, family
from trained import best_rate

FILE = Path(__file__).parent / "self_play_rewards.csv"
KEYS = ("arm", "rate", "seed", "step")
NUMBERS = ("reward", "kl", "entropy", "distinct", "off")
HEADER = (*KEYS, *NUMBERS)
START = "SFT model"  # whose line all runs begin with
LEVELS = (0.5, 0.75, 1.0, 1.2, 2.0)  # nats of KL at which methods are compared
PRICE = 0.25  # rewards per nat, by which rates are chosen, here as elsewhere
Point = dict[str, float]
Found = dict[tuple[str, float, int], dict[int, Point]]  # by arm, rate and seed; then by step
At = Callable[[Found, str, float], dict[int, float]]  # arm, KL -> seed -> a number


def read(file: Path) -> Found:
    """The lines of the csv; none if there is no file."""
    found = Found()
    if file.exists():
        with file.open(newline="") as lines:
            for line in csv.DictReader(lines):
                points = found.setdefault((line["arm"], float(line["rate"]), int(line["seed"])), {})
                points[int(line["step"])] = {name: float(line[name]) for name in NUMBERS}
    return found


def chosen(found: Found) -> dict[str, float]:
    """Arm -> the learning rate whose best point has the greatest reward - PRICE * KL on the prompts for tuning."""
    runs = {key: list(points.values()) for key, points in found.items() if key[2] == TUNED_BY}
    arms = dict.fromkeys(arm for arm, _, _ in runs if arm != START)
    return {arm: best_rate({rate: runs[arm, rate, s] for a, rate, s in runs if a == arm}, PRICE) for arm in arms}


def runs_of(found: Found, arm: str) -> dict[int, dict[int, Point]]:
    """Seed -> step -> point, at the rate that was chosen, of the seeds that are no tuning; step 0 is the start."""
    start, rate = found[START, 0.0, 1], chosen(found).get(family(arm))
    runs = {seed: points for (name, its, seed), points in sorted(found.items()) if (name, its) == (arm, rate)}
    return {seed: start | points for seed, points in runs.items() if seed != TUNED_BY}


def places(points: dict[int, Point], number: str = "reward") -> list[Place]:
    """[steps] KL and another number, in the order of steps."""
    return [(points[step]["kl"], points[step][number]) for step in sorted(points)]


def rewards_at(found: Found, arm: str, kl: float) -> dict[int, float]:
    """Seed -> the frontier's reward at this KL, of the seeds that went so far."""
    runs = {seed: places(points) for seed, points in runs_of(found, arm).items()}
    return {seed: reward_at(its, kl) for seed, its in runs.items() if max(nats for nats, _ in its) >= kl}


def entropies_at(found: Found, arm: str, kl: float) -> dict[int, float]:
    """Seed -> nats per answer when the run first was so far from its start."""
    runs = {seed: places(points, "entropy") for seed, points in runs_of(found, arm).items()}
    return {seed: along(its, kl) for seed, its in runs.items() if max(nats for nats, _ in its) >= kl}


def print_tables(found: Found) -> None:
    """All of them in Markdown; nothing of a run that is not in the csv."""
    for title, lines in tables(found):
        print(f"\n{title}\n", *lines, sep="\n")


def tables(found: Found) -> Iterator[tuple[str, list[str]]]:
    yield "Learning rates, by the best reward - 0.25 KL", tuning(found)
    yield "Reward at equal KL", levels(found, rewards_at)
    for other in ("online DPO", "online DPO, beta 0.5"):
        yield f"Reward less that of {other} at equal KL, same seed", differences(found, other)
    yield "Entropy at equal KL", levels(found, entropies_at, ".1f")
    yield "Reward at equal KL, longer runs", levels(found, rewards_at, arms=LONGER)
    yield "Entropy at equal KL, longer runs", levels(found, entropies_at, ".1f", arms=LONGER)
    yield "At the end", ends(found)
    yield "On the way", [line for arm in LONGER if runs_of(found, arm.name) for line in way(found, arm.name)]


def tuning(found: Found) -> list[str]:
    tried = sorted({rate for arm, rate, seed in found if seed == TUNED_BY and arm != START})
    lines = head(["run", *(f"{rate:g}" for rate in tried)])
    for arm in (arm for arm in ARMS if family(arm.name) == arm.name):
        runs = [found.get((arm.name, rate, TUNED_BY), {}) for rate in tried]
        best = [max((p["reward"] - PRICE * p["kl"] for p in run.values()), default=float("nan")) for run in runs]
        lines.append(row([arm.name, *(f"{value:.3f}" for value in best)]))
    return lines


def levels(found: Found, of: At, form: str = ".3f", *, arms: Sequence[Arm] = ARMS) -> list[str]:
    lines = head(["run", *(f"{kl:g} nats" for kl in LEVELS)])
    for arm in (arm for arm in arms if runs_of(found, arm.name)):
        lines.append(row([arm.name, *(said([*of(found, arm.name, kl).values()], form) for kl in LEVELS)]))
    return lines


def differences(found: Found, other: str) -> list[str]:
    lines = head(["run", *(f"{kl:g} nats" for kl in LEVELS)])
    for arm in ARMS:
        if arm.name != other and runs_of(found, arm.name):
            cells = list[str]()
            for kl in LEVELS:
                ours, theirs = rewards_at(found, arm.name, kl), rewards_at(found, other, kl)
                cells.append(said([ours[seed] - theirs[seed] for seed in ours if seed in theirs], "+.3f"))
            lines.append(row([arm.name, *cells]))
    return lines


def ends(found: Found) -> list[str]:
    """What was measured after the last step."""
    lines = head(["run", "steps", *NUMBERS])
    for arm in (*ARMS, *LONGER):
        if runs := runs_of(found, arm.name):
            last = [points[max(points)] for points in runs.values()]
            steps = sorted({max(points) for points in runs.values()})
            lines.append(row([arm.name, *steps, *(said([p[n] for p in last], ".3f") for n in NUMBERS)]))
    return lines


def way(found: Found, arm: str) -> list[str]:
    lines = head([arm, *NUMBERS])
    for points in runs_of(found, arm).values():
        lines += [
            row([step, *(f"{points[step][n]:.2f}" for n in NUMBERS)]) for step in sorted(points) if not step % 20
        ]
    return lines


def said(values: Sequence[float], form: str) -> str:
    """Mean, standard error, and of how many seeds where it is not three."""
    if not values:
        return ""
    mean, error = mean_and_error(values)
    told = f"{mean:{form}} +- {error:{form.removeprefix('+')}}" if len(values) > 1 else f"{mean:{form}}"
    return told if len(values) == 3 else f"{told} ({len(values)} seed{'s' * (len(values) > 1)})"

"""The tables of exo_frontier.py, and exo_frontier.csv."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from frontier import Place, mean_and_error, reward_at
from measured import Optimum
from points_file import cells, merge
from trained import Point
from trials import Trial

TABLE = Path(__file__).parent / "exo_frontier.csv"
NUMBERS = ("reward", "reward_se", "kl", "kl_se", "reverse_kl", "forward_kl")


@dataclass(frozen=True, slots=True)
class Found:
    """What a sweep found."""

    start: Point  # of the SFT model itself
    runs: dict[Trial, list[Point]]
    optima: Mapping[float, Optimum]  # by beta

    @property
    def arms(self) -> list[tuple[str, int]]:
        return list(dict.fromkeys(trial.arm for trial in self.runs))

    @property
    def seeds(self) -> list[int]:
        return sorted({trial.seed for trial in self.runs})

    def places(self, arm: tuple[str, int], seed: int) -> list[Place]:
        """The SFT model and all points of an arm and seed, of every beta."""
        runs = [points for trial, points in self.runs.items() if trial.arm == arm and trial.seed == seed]
        return [(0.0, self.start["reward"]), *((p["kl"], p["reward"]) for points in runs for p in points)]

    def rewards_at(self, arm: tuple[str, int], kl: float) -> list[float]:
        """[seeds] the frontier's reward at this KL."""
        return [reward_at(self.places(arm, seed), kl) for seed in self.seeds]

    def last(self, arm: tuple[str, int], beta: float, name: str) -> list[Any]:
        """[seeds] what the last points have under this name."""
        runs = self.runs.items()
        ends = [points[-1] for trial, points in runs if trial.arm == arm and trial.beta == beta]
        return [end[name] for end in ends if name in end]


def print_tables(found: Found, levels: Sequence[float]) -> None:
    print(f"\nSFT: reward {found.start['reward']:.3f}.  Means over {len(found.seeds)} seeds, +- standard error.\n")
    tables = (
        frontier_lines(found, levels),
        difference_lines(found, levels),
        optimum_lines(found),
        spread_lines(found),
    )
    print("\n\n".join("\n".join(lines) for lines in tables))


def frontier_lines(found: Found, levels: Sequence[float]) -> list[str]:
    """The frontier's reward at each level of KL, and the learning rate that was chosen."""
    rates = {trial.arm: trial.learning_rate for trial in found.runs}
    lines = head(["method", "K", "learning rate", *(f"reward at {level:g} nats" for level in levels)])
    for arm in found.arms:
        lines.append(row([*arm, f"{rates[arm]:g}", *(_mean(found.rewards_at(arm, level)) for level in levels)]))
    return lines


def difference_lines(found: Found, levels: Sequence[float]) -> list[str]:
    """EXO less DPO, of the same rows and seed."""
    lines = head(["EXO less DPO", "K", *(f"at {level:g} nats" for level in levels)])
    for method, answers in found.arms:
        twin = method.replace("exo", "dpo")
        if method == twin:
            continue
        rewards = [(found.rewards_at((method, answers), kl), found.rewards_at((twin, answers), kl)) for kl in levels]
        differences = [[a - b for a, b in zip(exo, dpo, strict=True)] for exo, dpo in rewards]
        kind = "rewards" if method.endswith("_rw") else "pairs"
        lines.append(row([kind, answers, *(_mean(values, "+.3f") for values in differences)]))
    return lines


def optimum_lines(found: Found) -> list[str]:
    """What pi* itself gets, and how many draws of it the SFT model's answers are worth."""
    lines = head(["pi* at beta", "reward", "KL to SFT, nats", "effective draws"])
    for beta, known in found.optima.items():
        lines.append(row([f"{beta:g}", f"{known.reward():.3f}", f"{known.kl():.2f}", f"{known.effective():.0f}"]))
    return lines


def spread_lines(found: Found) -> list[str]:
    """How the last policies differ from pi*: both KLs, and the log ratio in the tail and at the mode."""
    lines = head(["method", "K", "beta", "KL(policy, pi*)", "KL(pi*, policy)", "log ratio, lowest", "highest eighth"])
    for beta in found.optima:
        for arm in found.arms:
            ranked = found.last(arm, beta, "log_ratio_by_rank")
            if not ranked:
                continue
            ends = ([ratios[0] for ratios in ranked], [ratios[-1] for ratios in ranked])
            kls = (found.last(arm, beta, "reverse_kl"), found.last(arm, beta, "forward_kl"))
            lines.append(row([*arm, f"{beta:g}", *map(_mean, kls), *(_mean(end, "+.2f") for end in ends)]))
    return lines


def _mean(values: Sequence[float], form: str = ".3f") -> str:
    mean, error = mean_and_error(values)
    return f"{mean:{form}} +- {error:.3f}"


def head(names: Sequence[str]) -> list[str]:
    """The two lines that begin a table."""
    return [row(names), row(["---"] * len(names))]


def row(cells: Sequence[object]) -> str:
    """A line of a table."""
    return f"| {' | '.join(map(str, cells))} |"


def write_points(found: Found, file: Path = TABLE) -> None:
    """Every point as a line, and the SFT model itself."""
    lines: list[list[object]] = [["sft", "", "", "", "", 0, 0, *cells(found.start, NUMBERS)]]
    for trial, points in found.runs.items():
        what: list[object] = [trial.method, trial.answers, f"{trial.beta:g}", f"{trial.learning_rate:g}", trial.seed]
        for point in points:
            lines.append([*what, point["step"], point["tokens"], *cells(point, NUMBERS)])
    header = ["method", "answers", "beta", "learning_rate", "seed", "step", "tokens", *NUMBERS]
    merge(file, header, lines, keys=6)

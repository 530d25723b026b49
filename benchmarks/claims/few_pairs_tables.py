"""The tables of few_pairs.py, and few_pairs.csv."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from frontier import mean_and_error
from frontier_tables import head, row
from points_file import cells, merge
from trained import Point
from trials import PairTrial

TABLE = Path(__file__).parent / "few_pairs.csv"
NUMBERS = ("reward", "reward_se", "kl", "kl_se", "accuracy", "loss")


@dataclass(frozen=True, slots=True)
class Found:
    """What a sweep found."""

    start: Point  # of the SFT model itself
    ends: dict[PairTrial, Point]

    def values(self, method: str, pairs: int, what: Callable[[Point], float]) -> list[float]:
        """[seeds]"""
        return [what(point) for t, point in self.ends.items() if (t.method, t.pairs) == (method, pairs)]


def print_tables(found: Found, price: float) -> None:
    """Means over seeds with standard errors, and the differences from DPO on the same pairs."""
    whats: dict[str, Callable[[Point], float]] = {
        "reward": lambda p: p["reward"],
        "KL, nats": lambda p: p["kl"],
        f"reward - {price:g} KL": lambda p: p["reward"] - price * p["kl"],
        "held-out accuracy": lambda p: p["accuracy"],
    }
    methods = list(dict.fromkeys(trial.method for trial in found.ends))
    counts = sorted({trial.pairs for trial in found.ends})
    rates = {trial.method: f"{trial.learning_rate:g}" for trial in found.ends}
    seeds = len({trial.seed for trial in found.ends})
    print(f"\nSFT: reward {found.start['reward']:.3f}.  Means over {seeds} seeds, +- standard error.  {rates}\n")
    lines = head(["pairs", "method", *whats])
    for count in counts:
        for method in methods:
            values = [found.values(method, count, what) for what in whats.values()]
            lines.append(row([count, method, *map(_mean, values)]))
    lines += ["", *head(["pairs", "less DPO", *whats])]
    for count in counts:
        for method in methods[1:]:
            both = [(found.values(method, count, what), found.values("dpo", count, what)) for what in whats.values()]
            differences = [[a - b for a, b in zip(ours, dpo, strict=True)] for ours, dpo in both]
            lines.append(row([count, method, *(_mean(values, "+.3f") for values in differences)]))
    print("\n".join(lines))


def _mean(values: list[float], form: str = ".3f") -> str:
    mean, error = mean_and_error(values)
    return f"{mean:{form}} +- {error:.3f}"


def write_points(found: Found, file: Path = TABLE) -> None:
    """The end of every run as a line, and the SFT model itself."""
    lines: list[list[object]] = [["sft", 0, "", "", 0, *cells(found.start, NUMBERS)]]
    for trial, point in found.ends.items():
        what = [trial.method, trial.pairs, f"{trial.learning_rate:g}", trial.seed, point["tokens"]]
        lines.append([*what, *cells(point, NUMBERS)])
    merge(file, ["method", "pairs", "learning_rate", "seed", "tokens", *NUMBERS], lines, keys=4)

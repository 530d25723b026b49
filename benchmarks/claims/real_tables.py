"""The tables of real_data.py: in Markdown, and as aggregate lines of real_data.csv."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from real_measures import Measured, interval

from truenorth.files import write_text

FILE = Path(__file__).parent / "real_data.csv"
HEADER = ("data", "reward", "learning_rate", "tokens", "seeds", "measure", "value", "low", "high")


@dataclass(frozen=True, slots=True)
class Line:
    """What was measured of one way to reward answers."""

    name: str
    rate: str  # the learning rate that was chosen; empty where nothing is trained
    tokens: int  # through the policy, mean over seeds
    seeds: int
    measured: Mapping[str, Measured]
    compared: Mapping[str, Measured] | None  # the first method's

    def numbers(self) -> dict[str, tuple[float, float, float]]:
        """Each measure with its interval, and the accuracy's difference from the first method's."""
        found = {name: interval(one) for name, one in self.measured.items()}
        if self.compared is not None:
            found["accuracy, difference"] = interval(self.measured["accuracy"], self.compared["accuracy"])
        return found


def print_table(lines: Sequence[Line]) -> None:
    """All lines in Markdown: shares in percent, correlations as they are, with 95 % intervals."""
    columns = list(dict.fromkeys(name for line in lines for name in line.numbers()))
    print("\n| reward | learning rate | tokens |", " | ".join(columns), "|")
    print("|" + "---|" * (3 + len(columns)))
    for line in lines:
        numbers = line.numbers()
        cells = [_cell(name, *numbers[name]) if name in numbers else "" for name in columns]
        print(f"| {line.name} | {line.rate} | {f'{line.tokens:,}' if line.tokens else ''} |", " | ".join(cells), "|")
    print(flush=True)


def _cell(name: str, value: float, low: float, high: float) -> str:
    if "correlation" in name:
        return f"{value:+.2f} ({low:+.2f} to {high:+.2f})"
    sign = "+" if "difference" in name else ""
    return f"{100 * value:{sign}.1f} ({100 * low:{sign}.1f} to {100 * high:{sign}.1f})"


def write_csv(data: str, lines: Sequence[Line]) -> None:
    """The lines in real_data.csv, in place of what it had of the same rewards on this data set."""
    kept: list[list[str]] = []
    if FILE.exists():
        with FILE.open(newline="") as rows:
            new = {(data, line.name) for line in lines}
            kept = [row for row in list(csv.reader(rows))[1:] if (row[0], row[1]) not in new]
    for line in lines:
        told = [data, line.name, line.rate, str(line.tokens or ""), str(line.seeds)]
        kept += [[*told, name, *(f"{n:.4f}" for n in numbers)] for name, numbers in line.numbers().items()]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([HEADER, *sorted(kept, key=lambda row: row[0])])
    write_text(FILE, text.getvalue())

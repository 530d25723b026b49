"""What a model keeps and forgets as it learns one domain after another: numbers of a matrix R.

R[i][j] is how well it does on domain j after i domains, i = 0 before the first. With T domains:

average            mean over j of R[T][j]
backward_transfer  mean over j < T of R[T][j] - R[j][j]; below 0 something was forgotten
forward_transfer   mean over j > 1 of R[j-1][j] - R[0][j]; what earlier domains gave a later one
forgetting         mean over j < T of  max over 1 <= i < T of R[i][j]  -  R[T][j]

Three are of Lopez-Paz and Ranzato 2017, arXiv:1706.08840, forgetting is of Chaudhry et al. 2018, arXiv:1801.10112.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any, Self

Row = Sequence[float]
Matrix = Sequence[Row | None]  # [T + 1] rows of [T]; None: it was not there then, as a model of all domains at once
FILE = "continual.json"
SUM = "cofs"  # the way that a run is for: the sum of the domains' adapters, by fitted or given ratios


def average(matrix: Matrix) -> float:
    """Mean of the last row.

    >>> average([[0.5, 0.5], [0.9, 0.6], [0.8, 0.9]])
    0.8500000000000001
    """
    return fmean(_whole(matrix)[-1])


def backward_transfer(matrix: Matrix) -> float:
    """How much better, or below 0 worse, earlier domains are at the end than when they were learned."""
    rows = _whole(matrix)
    return fmean(rows[-1][j - 1] - rows[j][j - 1] for j in range(1, len(rows) - 1))


def forward_transfer(matrix: Matrix) -> float:
    """How much better later domains are before they are learned than they were at the start."""
    rows = _whole(matrix)
    return fmean(rows[j - 1][j - 1] - rows[0][j - 1] for j in range(2, len(rows)))


def forgetting(matrix: Matrix) -> float:
    """How much worse earlier domains are at the end than at their best; the last domain cannot be forgotten yet."""
    rows = _whole(matrix)
    return fmean(max(row[j] for row in rows[1:-1]) - rows[-1][j] for j in range(len(rows) - 2))


def summary(matrix: Matrix) -> dict[str, float]:
    """All of them; of a matrix that has only a start and an end the average alone."""
    found = {"average": average([row for row in matrix if row is not None])}
    if all(row is not None for row in matrix):
        found["forgetting"] = forgetting(matrix)
        found["backward_transfer"] = backward_transfer(matrix)
        found["forward_transfer"] = forward_transfer(matrix)
    return found


def _whole(matrix: Matrix) -> list[Row]:
    assert all(row is not None for row in matrix), "a row is missing"
    return [row for row in matrix if row is not None]


@dataclass(frozen=True, slots=True)
class Ratios:
    """Ratios of the first domains' adapters, and the mean over domains of the loss on memory that chose them."""

    ratios: tuple[float, ...]
    loss: float | None = None  # nats per prompt; None: they were given, or there is one domain
    at_equal: float | None = None  # with equal ratios, their sum 1
    at_ones: float | None = None  # with all of them 1
    at_zeros: float | None = None  # with all of them 0: of the base


@dataclass(frozen=True, slots=True)
class Memory:
    """The rows of each domain by which ratios are fitted."""

    of: str  # trained, which are trained on as well, or unseen
    rows: Mapping[str, int]
    out_of: Mapping[str, int]  # rows of the domain that can be trained on

    @property
    def sentence(self) -> str:
        """How many there are, and whether they are trained on.

        >>> Memory("unseen", {"letters": 20, "tales": 24}, {"letters": 100, "tales": 243}).sentence
        'Memory is 20 of 100 rows of letters, 24 of 243 rows of tales, which are not trained on.'
        """
        each = ", ".join(f"{count:,} of {self.out_of[name]:,} rows of {name}" for name, count in self.rows.items())
        return f"Memory is {each}, which are {'not trained on' if self.of == 'unseen' else 'trained on as well'}."


@dataclass(frozen=True, slots=True)
class Continual:
    """What a run over domains found."""

    domains: tuple[str, ...]
    fits: tuple[Ratios, ...]  # after each domain
    ways: Mapping[str, Mapping[str, Matrix]] = field(default_factory=dict)  # way -> "accuracy", "reward" -> R
    counts: Mapping[str, int] = field(default_factory=dict)  # held-out rows of each domain
    compressed: Mapping[str, Any] | None = None  # rank, relative error, accuracy of each domain
    within: str | None = None  # box or simplex, where ratios were fitted; None: they were given
    memory: Memory | None = None

    def to_dict(self) -> dict[str, Any]:
        """As it is written to continual.json, with the summary of every matrix."""
        sums = {way: {name: summary(matrix) for name, matrix in own.items()} for way, own in self.ways.items()}
        return asdict(self) | {"summary": sums}

    @classmethod
    def read(cls, out: Path) -> Self:
        """Of a run directory."""
        found = json.loads((out / FILE).read_text(encoding="utf-8"))
        fits = tuple(Ratios(**fit | {"ratios": tuple(fit["ratios"])}) for fit in found["fits"])
        del found["summary"]  # it is made of the rest
        memory = Memory(**found["memory"]) if found.get("memory") else None  # an older run's is not written down
        return cls(**found | {"domains": tuple(found["domains"]), "fits": fits, "memory": memory})


def matrices(
    domains: Sequence[str], points: Mapping[str, Mapping[str, Sequence[float]]], way: str, start: str
) -> dict[str, Matrix]:
    """R of a way, by measure, from its numbers (`WAY COUNT`) and those of the start; none if it was not measured."""
    names = [start, *(f"{way} {count}" for count in range(1, len(domains) + 1))]
    measures = dict.fromkeys(key.partition("/")[0] for key in points.get(names[-1], {}))
    return {
        measure: [
            [fmean(points[name][f"{measure}/{domain}"]) for domain in domains] if name in points else None
            for name in names
        ]
        for measure in measures
    }

"""One prompt with K answers, best first: what every file format and every judge is turned into."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

Message = dict[str, Any]  # role, content, and what a template may read besides: tool_calls, name, ...
Text = str | tuple[Message, ...]
Pairing = Literal["none", "best_vs_each", "best_vs_worst", "all_pairs"]
Ties = Literal["drop", "keep"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """K answers to one prompt, best first."""

    prompt: Text
    responses: tuple[Text, ...]  # [K]
    order: tuple[int, ...]  # [K], place of each response in the file, 0-based
    scores: tuple[float, ...] | None = None  # [K], higher is better
    ranks: tuple[float, ...] | None = None  # [K], lower is better
    columns: Mapping[str, float] = field(default_factory=dict[str, float])  # weight, label, margin, ...
    file: str = ""
    row: int = 0  # 1-based
    tools: tuple[Message, ...] | None = None  # what the answer could call, for the chat template
    chat_template_kwargs: Mapping[str, Any] = field(default_factory=dict[str, Any])
    degraded: tuple[Text, ...] = ()  # [K * M], M worse versions of each response in turn, see key_phrases

    def tied(self, i: int, j: int) -> bool:
        """Whether the data say that responses i and j are equally good."""
        values = self.scores or self.ranks
        return values is not None and values[i] == values[j]

    @property
    def all_tied(self) -> bool:
        return len(self.responses) > 1 and all(self.tied(0, k) for k in range(1, len(self.responses)))


def best_first(*, scores: Sequence[float] | None = None, ranks: Sequence[float] | None = None) -> tuple[int, ...]:
    """The places of the answers from best to worst; equal ones stay in the order of the file.

    >>> best_first(scores=[0.1, 0.9, 0.1])
    (1, 0, 2)
    >>> best_first(ranks=[2, 1, 2])
    (1, 0, 2)
    """
    if (scores is None) == (ranks is None):
        raise ValueError("give scores or ranks, not both and not neither.")
    if ranks is not None:
        return tuple(sorted(range(len(ranks)), key=lambda i: ranks[i]))
    assert scores is not None
    return tuple(sorted(range(len(scores)), key=lambda i: -scores[i]))


def only(comparison: Comparison, places: Sequence[int]) -> Comparison:
    """The comparison with just the responses at `places`, in that order."""

    def take(values: tuple[Any, ...] | None) -> Any:
        return None if values is None else tuple(values[k] for k in places)

    return replace(
        comparison,
        responses=take(comparison.responses),
        order=take(comparison.order),
        scores=take(comparison.scores),
        ranks=take(comparison.ranks),
    )


def pair_up(comparison: Comparison, how: Pairing, *, ties: Ties = "keep") -> list[Comparison]:
    """K answers as pairs, in the order of the better one; with `ties="drop"`, without pairs of equal score or rank.

    Raises ValueError for "none".
    """
    pairs = [only(comparison, pair) for pair in places_of_pairs(len(comparison.responses), how)]
    return [pair for pair in pairs if ties == "keep" or not pair.tied(0, 1)]


def places_of_pairs(k: int, how: Pairing) -> list[tuple[int, int]]:
    """Which two of K answers, best first, make each pair.

    best_vs_each gives K - 1 pairs, best_vs_worst one, all_pairs K (K - 1) / 2. Raises ValueError for "none".

    >>> places_of_pairs(3, "all_pairs")
    [(0, 1), (0, 2), (1, 2)]
    """
    match how:
        case "best_vs_each":
            return [(0, j) for j in range(1, k)]
        case "best_vs_worst":
            return [(0, k - 1)] if k > 1 else []
        case "all_pairs":
            return [(i, j) for i in range(k) for j in range(i + 1, k)]
        case "none":
            raise ValueError("pairing none makes no pairs: choose best_vs_each, best_vs_worst or all_pairs.")


def unpair(comparison: Comparison) -> list[Comparison]:
    """A pair as two single answers, the chosen one with label 1 and the rejected one with label 0 (KTO)."""
    labels = (1.0, 0.0)
    return [
        replace(only(comparison, (k,)), columns={**comparison.columns, "label": label})
        for k, label in enumerate(labels)
    ]

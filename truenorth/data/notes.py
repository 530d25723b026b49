"""What became of the rows that nobody might expect: said at a run's start, and kept in its account."""

from ..errors import DataError
from .options import DataSettings
from .prepare import Prepared


def notes(prepared: Prepared, settings: DataSettings, method: str) -> list[str]:
    """Sentences on pairs taken apart, answers paired up, margins read as scores, and demonstrations beside pairs.

    Raises DataError where a method that learns from demonstrations and pairs has none of either.
    """
    said = [note for layout in prepared.layouts for note in layout.notes]
    if settings.needs.demonstrations:
        said.append(_both_kinds(prepared, method))
    return list(dict.fromkeys(said))


def _both_kinds(prepared: Prepared, method: str) -> str:
    """How many pairs and demonstrations there are; there must be both."""
    counts = prepared.statistics.candidates
    pairs, demonstrations = counts.get("2", 0), counts.get("1", 0)
    if not demonstrations:
        raise DataError(
            f"{method} learns from pairs and from demonstrations, and the data have {pairs:,} pairs and no "
            "demonstration. Give a file of prompts with one good answer beside them (--data pairs.jsonl demos.jsonl); "
            "without demonstrations take dpo."
        )
    if not pairs:
        raise DataError(
            f"{method} learns from pairs and from demonstrations, and the data have {demonstrations:,} demonstrations "
            "and no pair. Give a file of pairs beside them (--data pairs.jsonl demos.jsonl); without pairs take sft."
        )
    return f"{pairs:,} pairs and {demonstrations:,} demonstrations (rows with one answer), each row counting the same."

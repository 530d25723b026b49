"""What became of the rows that nobody might expect: said at a run's start, and kept in its account."""

from ..errors import DataError
from .options import DataSettings
from .prepare import Prepared
from .problems import REASONS, Account


def notes(prepared: Prepared, settings: DataSettings, method: str) -> list[str]:
    """Sentences on pairs taken apart, answers paired up, margins read as scores, rows left out, and demonstrations.

    Raises DataError where a method that learns from demonstrations and pairs has none of either.
    """
    said = [note for layout in prepared.layouts for note in layout.notes]
    said += left_out(prepared.account, "rows")
    if settings.needs.demonstrations:
        said.append(_both_kinds(prepared, method))
    return list(dict.fromkeys(said))


def left_out(account: Account, what: str) -> list[str]:
    """How many rows (`what` they are called) were dropped or cut, why, and by which flag; nothing where none was."""
    changed = {name: tally for name, tally in account.reasons.items() if tally.action in ("drop", "truncate")}
    why = list[str]()
    for name, tally in changed.items():
        reason, done = REASONS[name], "dropped" if tally.action == "drop" else "cut"
        flag = "" if reason.setting == "none" else f", --{reason.setting.replace('_', '-')}"
        why.append(f"{tally.count:,} {done} ({name}{flag}): {reason.sentence}")
    return [f"{account.read:,} {what} read, {account.kept:,} kept; {'; '.join(why)}."] if why else []


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

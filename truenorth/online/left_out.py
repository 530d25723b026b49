"""Prompts that a judge left out of rounds: how many, and why most often."""

import re
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

from .round_file import RoundFile


def most_frequent(reasons: Collection[str]) -> tuple[str, int]:
    """The reason that most prompts have, and how many do.

    Reasons are alike up to their first number or quotation, behind which the prompt may stand; the first is quoted.

    >>> most_frequent(["cannot read 'a'", "too long: 31", "cannot read 'b'"])
    ("cannot read 'a'", 2)
    """
    alike = [re.split(r"(?<!\w)['\"`]|\d", reason, maxsplit=1)[0] for reason in reasons]
    kind, count = Counter(alike).most_common(1)[0]
    return next(reason for reason, other in zip(reasons, alike, strict=True) if other == kind), count


def told(folders: Sequence[Path]) -> str | None:
    """What was left out of the rounds in `folders`, in a sentence; None where nothing was."""
    files = [RoundFile.open(folder) for folder in folders]
    worst = max(files, key=lambda file: len(file.left_out))
    if not worst.left_out:
        return None
    why, _ = most_frequent(worst.left_out.values())
    whole = sum(len(file.left_out) for file in files)
    others = f" All rounds together left out {whole:,}." if whole > len(worst.left_out) else ""
    return (
        f"Round {int(worst.folder.name)}: {len(worst.left_out):,} of {len(worst.done):,} prompts left out, most often "
        f"because: {why}; rounds/{worst.folder.name}/log.jsonl.{others}"
    )

"""A memory that is not trained on: rows of a domain that are drawn first, and the others in files of their own.

They are drawn by prompt: a row whose prompt is trained on with other answers is not unseen, so all rows of a prompt
are kept out of training, or none.
"""

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

from ..data.files import read_rows
from ..data.prepare import Prepared, prompts_of
from ..errors import DataError
from ..run import DataSource, shares_of
from .memory import Row, drawing, rows_of
from .sources import Domain, put

LARGEST = 5  # they are at most a fifth of a domain's rows


def apart(domain: Domain, found: Prepared, size: int, *, seed: int, folder: Path) -> tuple[Domain, list[Row]]:
    """The domain with the files in `folder` that it trains on, and the rows, `size` at most, that are kept.

    Reads the domain's files twice. Raises DataError where every prompt has more rows than may be kept.
    """
    prompts = {
        row: hashlib.blake2b(repr(prompt).encode(), digest_size=16).digest()
        for row, prompt in prompts_of(found, shares_of(domain.data))
    }
    there = {row: prompts[row] for row in rows_of(found.rows)}
    kept = whole_prompts(there, min(size, len(there) // LARGEST), seed=seed, name=domain.name)
    if not kept:
        raise DataError(
            f"domains.memory_of=unseen keeps whole prompts out of training, a fifth of a domain's rows at most: "
            f"{domain.name} has {len(there)} rows, and each of its prompts more than {len(there) // LARGEST} of them. "
            "Give it rows of more prompts, or remember rows that are trained on: --set domains.memory_of=trained."
        )
    drawn = {prompts[row] for row in kept}
    left_out = {row for row, prompt in prompts.items() if prompt in drawn}  # of rows that were dropped as well
    return replace(domain, rest=_rest(domain, left_out, folder)), kept


def whole_prompts(prompts: Mapping[Row, bytes], most: int, *, seed: int, name: str) -> list[Row]:
    """All rows of prompts that are drawn at random, one after another, as long as there is room for them in `most`.

    A prompt with more rows than there is room for is passed over. The same seed and name draw the same.

    >>> whole_prompts({("a", 1): b"x", ("a", 2): b"y", ("a", 3): b"y"}, 1, seed=0, name="letters")
    [('a', 1)]
    """
    together = dict[bytes, list[Row]]()
    for row, prompt in prompts.items():
        together.setdefault(prompt, []).append(row)
    kept = list[Row]()
    for prompt in drawing(seed, name).sample(list(together), len(together)):
        if len(kept) + len(together[prompt]) <= most:
            kept += together[prompt]
    return sorted(kept)


def _rest(domain: Domain, left_out: Collection[Row], folder: Path) -> tuple[DataSource, ...]:
    """A file for each source of a domain, with the rows that are not left out, as they stand there."""
    found = list[DataSource]()
    folder.mkdir(parents=True, exist_ok=True)
    for number, source in enumerate(domain.data, 1):
        file = folder / f"{domain.folder}{f'-{number}' * (len(domain.data) > 1)}.jsonl"
        with (new := file.with_name(f".{file.name}.new")).open("w", encoding="utf-8") as lines:
            for raw in read_rows(source.path):
                if (raw.file, raw.row) not in left_out:  # a row that cannot be read stays one
                    lines.write(json.dumps(raw.fault or raw.fields, ensure_ascii=False, default=str) + "\n")
        put(new, file)
        found.append(DataSource(path=str(file), share=source.share))
    return tuple(found)

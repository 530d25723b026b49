"""The clients of a run in federated rounds, as a table: what each has, how often it took part, its loss."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..clients import LOSS
from ..train.evidence import Record, number, short

SHOWN = 20  # clients, those with the highest loss first


def clients_of(directory: Path, records: Sequence[Record]) -> tuple[list[str], list[list[str]]] | None:
    """Header and rows of the table; None of a run without clients.

    Losses are of first local steps, on the server's weights, so that those of one client can be compared over time.
    """
    file = directory / "clients.json"
    if not file.is_file():
        return None
    clients = json.loads(file.read_text(encoding="utf-8"))
    found = sorted(((_losses(records, one["client"]), one) for one in clients), key=lambda pair: -_last(pair[0]))
    rows = [_row(one, losses) for losses, one in found[:SHOWN]]
    if (more := len(found) - SHOWN) > 0:
        rows.append([f"{more} more, with lower losses", *[""] * 4])
    return ["Client", "Rows", "Rounds so far", "First loss", "Last loss"], rows


def _losses(records: Sequence[Record], client: str) -> list[float]:
    return [number(record[f"{LOSS}{client}"]) for record in records if f"{LOSS}{client}" in record]


def _last(losses: Sequence[float]) -> float:
    return losses[-1] if losses else float("-inf")


def _row(client: Mapping[str, object], losses: Sequence[float]) -> list[str]:
    first, last = (short(losses[0]), short(losses[-1])) if losses else ("–", "–")
    return [str(client["client"]), f"{client['rows']:,}", f"{len(losses):,}", first, last]

"""A game from a file: a table of win rates as JSON, CSV or NumPy's own format without pickle."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError
from .game import Game

SUFFIXES = (".json", ".csv", ".npy")


def read_game(file: Path) -> Game:
    """The game in a file, by its ending.

    .json: rows of numbers, or `wins` with `actions` (names) and `start` (probabilities); .csv: rows of numbers, under
    a row of names or not; .npy: a table of numbers. Raises DataError where it is none of these, or no game.
    """
    if file.suffix not in SUFFIXES:
        raise DataError(f"{file}: a game is read from {', '.join(SUFFIXES)}, not from {file.suffix or 'no ending'}.")
    if not file.is_file():
        raise DataError(f"there is no file {file}.")
    try:
        found = {".json": _json, ".csv": _csv, ".npy": _npy}[file.suffix](file)
        actions, start = tuple(map(str, found.get("actions") or ())), tuple(map(float, found.get("start") or ()))
        wins = np.array(found["wins"], dtype=np.float64)
    except (ValueError, TypeError, EOFError) as error:  # rows of unlike lengths, words, damaged files
        raise DataError(f"{file} is no table of numbers: {error}") from error
    return Game(wins, str(file), actions, start)


def _json(file: Path) -> dict[str, Any]:
    found = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(found, dict):
        return {"wins": found}
    if "wins" not in found or set(found) - {"wins", "actions", "start"}:
        raise ValueError(f"an object has `wins`, and may have `actions` and `start`, got {', '.join(found)}")
    return found


def _csv(file: Path) -> dict[str, Any]:
    with file.open(encoding="utf-8", newline="") as lines:
        rows = [row for row in csv.reader(lines) if row]
    try:
        return {"wins": [[float(cell) for cell in row] for row in rows]}
    except ValueError:  # a row of names
        return {"actions": [name.strip() for name in rows[0]], "wins": [[float(c) for c in row] for row in rows[1:]]}


def _npy(file: Path) -> dict[str, Any]:
    return {"wins": np.load(file, allow_pickle=False)}

"""Rows out of the `datasets` library: folders that `save_to_disk` made, and names on the Hugging Face Hub."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import DataError

_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?(:[\w.-]+)?")


def is_saved_dataset(folder: Path) -> bool:
    """Whether `save_to_disk` of the `datasets` library made this folder."""
    return any((folder / name).is_file() for name in ("dataset_info.json", "dataset_dict.json", "state.json"))


def could_be_name(path: str) -> bool:
    """Whether `path` has the form of a name on the Hub, `owner/name` or `name`, perhaps with `:split`."""
    return _NAME.fullmatch(path) is not None


def saved(path: str) -> Iterator[dict[str, Any]]:
    """The rows of a folder made by `save_to_disk`, whose splits `path:split` names."""
    import datasets

    folder, split = (path, "") if Path(path).is_dir() else path.rsplit(":", 1)
    loaded = datasets.load_from_disk(folder)
    if isinstance(loaded, datasets.DatasetDict):
        return iter(loaded[_split(path, split, list(loaded))])  # pyright: ignore[reportArgumentType]
    return iter(loaded)  # pyright: ignore[reportArgumentType, reportReturnType]


def downloaded(path: str, *, not_a_file: str) -> Iterator[dict[str, Any]]:
    """The rows of `owner/name` or `owner/name:split` on the Hub, from the cache of `datasets` if they are there.

    Raises DataError, which begins with `not_a_file`, where the Hub does not give them.
    """
    import datasets

    name, _, split = path.partition(":")
    try:
        loaded = datasets.load_dataset(name)
    except (OSError, ValueError, RuntimeError) as error:
        raise DataError(f"{not_a_file} As a name on the Hub it is refused: {error}") from error
    return iter(loaded[_split(path, split, list(loaded))])  # pyright: ignore


def _split(path: str, split: str, splits: list[str]) -> str:
    """The split asked for, or the only one, or `train`."""
    if split in splits:
        return split
    if split:
        raise DataError(f"{path} has no split {split}. It has {', '.join(splits)}.")
    if len(splits) == 1:
        return splits[0]
    if "train" in splits:
        return "train"
    raise DataError(f"{path} has the splits {', '.join(splits)}. Name one: {path}:{splits[0]}.")

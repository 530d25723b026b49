"""Rows out of the `datasets` library: folders that `save_to_disk` made, and names on the Hugging Face Hub."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from ..errors import DataError

_NAME = re.compile(r"[\w.-]+/[\w.-]+(:[\w.-]+)?")
_MARKS = ("dataset_info.json", "dataset_dict.json", "state.json")  # files of a saved dataset


def is_saved(path: str) -> bool:
    """Whether `path`, perhaps with `:split`, is a folder made by `save_to_disk` of the `datasets` library."""
    folders = (path, path.rpartition(":")[0])
    return any((Path(folder) / mark).is_file() for folder in folders if folder for mark in _MARKS)


def could_be_name(path: str) -> bool:
    """Whether `path` has the form of a name on the Hub, `owner/name` or `owner/name:split`, and of no path here."""
    return _NAME.fullmatch(path) is not None and not Path(path).parent.is_dir()


def saved(path: str) -> Iterator[dict[str, Any]]:
    """The rows of a folder made by `save_to_disk`, whose splits `path:split` names."""
    import datasets

    folder, _, split = (path, "", "") if Path(path).is_dir() else path.rpartition(":")
    loaded = datasets.load_from_disk(folder)
    if isinstance(loaded, datasets.DatasetDict):
        loaded = loaded[_split(path, split, [str(name) for name in loaded])]
    return _records(loaded)


def downloaded(path: str, *, not_a_file: str) -> Iterator[dict[str, Any]]:
    """The rows of `owner/name` or `owner/name:split` on the Hub, from the cache of `datasets` if they are there.

    Raises DataError, which begins with `not_a_file`, where the Hub does not give them.
    """
    return _records(_load(path, not_a_file))


def version(path: str, *, not_a_file: str) -> str:
    """A text that changes with the rows of a name on the Hub. Raises as `downloaded` does."""
    return str(_load(path, not_a_file)._fingerprint)


def _load(path: str, not_a_file: str) -> Any:
    import datasets

    name, _, split = path.partition(":")
    try:
        loaded: Any = datasets.load_dataset(name)
    except (OSError, ValueError, RuntimeError) as error:
        raise DataError(f"{not_a_file} The Hugging Face Hub gives no such dataset either: {error}") from error
    return loaded[_split(path, split, list(loaded))]


def _records(dataset: Any) -> Iterator[dict[str, Any]]:
    return cast(Iterator[dict[str, Any]], iter(dataset))


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

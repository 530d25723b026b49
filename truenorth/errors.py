"""What can be wrong with what a caller gave us: every such error is a ValueError that says what to do."""

import difflib
from collections.abc import Iterable, Sequence


class SettingsError(ValueError):
    """A setting is missing, misspelt, out of range, or does not fit another one. Raised before a model is loaded."""


class DataError(ValueError):
    """A row or file cannot be used. Names the file, and the row where there is one."""


class ModelError(ValueError):
    """A model or tokenizer cannot be used as asked."""


class CheckpointError(ValueError):
    """A run directory or checkpoint cannot be continued as asked."""


class NumericsError(RuntimeError):
    """A loss or a gradient is not finite. Raised before the optimizer is touched."""


class SamplerError(RuntimeError):
    """Prompts were left without answers. `missing` holds their places; the others' answers have been given."""

    def __init__(self, message: str, missing: Sequence[int] = ()) -> None:
        super().__init__(message)
        self.missing = tuple(missing)


class ProcessError(RuntimeError):
    """Another process of the run has ended, cannot be reached, or has come to other weights."""


def so_many(fewest: int, most: int | None, of: str) -> str:
    """How many of something are allowed, in words; None: no limit.

    >>> so_many(2, 2, "answer"), so_many(1, 1, "answer"), so_many(2, None, "answer"), so_many(1, 2, "answer")
    ('2 answers', '1 answer', '2 or more answers', '1 to 2 answers')
    """
    if most == fewest:
        return f"{fewest} {of}{'' if fewest == 1 else 's'}"
    return f"{fewest} or more {of}s" if most is None else f"{fewest} to {most} {of}s"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """` Did you mean beta?`, or an empty string where nothing is near.

    >>> did_you_mean("bta", ["beta", "epsilon"])
    ' Did you mean beta?'
    """
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" Did you mean {near[0]}?" if near else ""

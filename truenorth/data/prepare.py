"""From files to rows of tokens, with an account of every row.

First all that needs no tokenizer: layouts, types, repeats (`check_rows`). Then tokens and lengths. The files are read
as streams, and the tokens lie in a memory-mapped file, so memory does not grow with the data.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..errors import DataError
from .boundary import Tokenizer
from .cache import cache_folder, key_of, read_about, write_about
from .chat import Encoder
from .checking import check_rows
from .layouts import Layout
from .options import DataSettings, Needs
from .problems import Account
from .statistics import Statistics, statistics_of
from .tokens import TokenizedRows, write
from .training_rows import Checked, Sources, training_rows

__all__ = ["Checked", "DataSettings", "Needs", "Prepared", "check_rows", "prepare"]


@dataclass(frozen=True, slots=True)
class Prepared:
    """Rows to train on, and how they came about."""

    rows: TokenizedRows
    account: Account
    layouts: tuple[Layout, ...]  # one per source
    statistics: Statistics

    @property
    def plain_text(self) -> bool:
        """Whether some file holds text alone, so that no chat template is applied to it."""
        return any(not any("messages" in line for line in layout.lines) for layout in self.layouts)


def prepare(sources: Sources, tokenizer: Tokenizer, *, settings: DataSettings, cache: Path | None = None) -> Prepared:
    """The rows of all sources as tokens, from the cache if they were prepared before.

    Raises DataError, with the whole account, where the data must not be trained on as they are.
    """
    folder = cache_folder(cache) / "rows" / key_of(sources, tokenizer, settings)
    if (about := read_about(folder)) is not None:
        return _opened(folder, about)
    checked = check_rows(sources, settings)
    encoder = Encoder(tokenizer, chat_template=settings.chat_template, eos=settings.eos)
    write(folder / "rows.arrow", training_rows(sources, checked, encoder, settings))
    try:
        checked.check(settings)
    except DataError:
        (folder / "rows.arrow").unlink()
        raise
    statistics = statistics_of(TokenizedRows.open(folder / "rows.arrow"), checked.account)
    layouts = [asdict(layout) for layout in checked.layouts]
    write_about(folder, {"account": checked.account.to_dict(), "layouts": layouts, "statistics": statistics.to_dict()})
    return Prepared(TokenizedRows.open(folder / "rows.arrow"), checked.account, checked.layouts, statistics)


def _opened(folder: Path, about: dict[str, Any]) -> Prepared:
    return Prepared(
        TokenizedRows.open(folder / "rows.arrow"),
        Account.from_dict(about["account"]),
        tuple(_layout(layout) for layout in about["layouts"]),
        Statistics.from_dict(about["statistics"]),
    )


def _layout(values: dict[str, Any]) -> Layout:
    values["lines"] = tuple(values["lines"])
    return Layout(**values)

"""From files to rows of tokens, with an account of every row.

First all that needs no tokenizer: layouts, types, repeats (`check_rows`). Then tokens and lengths. The files are read
in parts, by several processes where they are large, and the tokens lie in a memory-mapped file: memory grows with the
data by a few numbers per row.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import DataError
from ..files import write_text
from .boundary import Tokenizer
from .cache import cache_folder, key_of, read_about, write_about, writing
from .chat import Encoder
from .checking import Checked, Sources, check_rows, comparisons, parts
from .comparisons import Comparison
from .files import size_of
from .layouts import Layout
from .options import DataSettings, Needs
from .parts import BYTES, count_lines
from .problems import Account
from .rows_file import RowsFile
from .statistics import Statistics, statistics_of
from .tokens import TokenizedRows
from .training_rows import PartToTokenise, tokenise
from .workers import Said, Workers, now_and_then, wanted_processes

__all__ = ["Checked", "DataSettings", "Needs", "Prepared", "check", "prepare", "prompts_of"]


@dataclass(frozen=True, slots=True)
class Prepared:
    """Rows to train on, and how they came about."""

    rows: TokenizedRows
    account: Account
    layouts: tuple[Layout, ...]  # one per source
    statistics: Statistics

    def to_dict(self) -> dict[str, Any]:
        """What became of every row, and what the rows are like: what is kept of a run's data."""
        layouts = [asdict(layout) for layout in self.layouts]
        return {"account": self.account.to_dict(), "layouts": layouts, "statistics": self.statistics.to_dict()}

    @property
    def plain_text(self) -> bool:
        """Whether some file holds text alone, so that no chat template is applied to it."""
        return any(layout.plain for layout in self.layouts)


def check(sources: Sources, settings: DataSettings, *, said: Said | None = None) -> Checked:
    """What can be said of the rows without a tokenizer. Raises as `check_rows` does."""
    with Workers(_processes(sources)) as workers:
        return check_rows(sources, settings, workers, now_and_then(said))


def prepare(
    sources: Sources,
    tokenizer: Tokenizer,
    *,
    settings: DataSettings,
    cache: Path | None = None,
    said: Said | None = None,
) -> Prepared:
    """The rows of all sources as tokens, from the cache if they were prepared before, or are being so elsewhere.

    `said` is told how far it is. Raises DataError, with the whole account, where the data must not be trained on as
    they are.
    """
    folder = cache_folder(cache) / "rows" / key_of(sources, tokenizer, settings)
    if read_about(folder) is None:
        with writing(folder) as waited:
            refused = folder / "refused"
            if waited and refused.is_file():
                raise DataError(refused.read_text(encoding="utf-8"))
            refused.unlink(missing_ok=True)
            if read_about(folder) is None:
                try:
                    _write(folder, sources, tokenizer, settings=settings, said=said)
                except DataError as error:
                    write_text(refused, str(error))  # for the processes that wait here
                    raise
    found = _opened(folder)
    if (ends := settings.needs.ends) is not None:
        found = replace(found, rows=found.rows.read_at_ends(ends))
    found.account.check(settings, [line for layout in found.layouts for line in layout.lines])
    return found


def _write(folder: Path, sources: Sources, tokenizer: Tokenizer, *, settings: DataSettings, said: Said | None) -> None:
    """Rows of tokens in `folder`, and what stands beside them. Raises DataError where they must not be trained on."""
    ours = type(tokenizer).__module__.startswith("transformers.")  # other processes find its code where it is
    with Workers(_processes(sources) if ours else 1) as workers, RowsFile.open(folder) as file:
        tell = now_and_then(said)
        checked = check_rows(sources, settings, workers, tell)
        encoder = Encoder(tokenizer, chat_template=settings.chat_template, eos=settings.eos)
        tasks = _to_tokenise(sources, checked, skipped=len(file.accounts))
        for blocks, account in workers.map(partial(tokenise, encoder, settings), tasks):
            file.append(blocks, account)
            made = sum(account.made for account in file.accounts)
            tell(f"tokenising, {made:,} rows of {checked.account.kept:,}")
        for account in file.accounts:
            checked.account.add(account)
        try:
            checked.check(settings)
        except DataError:
            file.discard()
            raise
        rows = TokenizedRows.open(file.finish())
    statistics = statistics_of(rows, checked.account)
    layouts = [asdict(layout) for layout in checked.layouts]
    write_about(folder, {"account": checked.account.to_dict(), "layouts": layouts, "statistics": statistics.to_dict()})


def _to_tokenise(sources: Sources, checked: Checked, *, skipped: int) -> Iterator[tuple[PartToTokenise]]:
    """The parts of all sources, but the first ones, which stand on disk."""
    known = zip(parts(sources), checked.lines_before, checked.dropped, strict=True)
    for place, (part, lines, dropped) in enumerate(known):
        if place >= skipped:
            yield (PartToTokenise(part, lines, checked.layouts[part.source], dropped, share=sources[part.source][1]),)


def _processes(sources: Sources) -> int:
    """How many processes are worth their start: one for each part, at most."""
    sizes = [size_of(path) for path, _ in sources]
    wanted = wanted_processes()
    return wanted if None in sizes else max(1, min(wanted, sum(size or 0 for size in sizes) // BYTES))


def _opened(folder: Path) -> Prepared:
    about: dict[str, Any] | None = read_about(folder)
    assert about is not None
    return Prepared(
        TokenizedRows.open(folder / "rows.arrow"),
        Account.from_dict(about["account"]),
        tuple(_layout(layout) for layout in about["layouts"]),
        Statistics.from_dict(about["statistics"]),
    )


def _layout(values: dict[str, Any]) -> Layout:
    values |= {name: tuple(values[name]) for name in ("lines", "notes")}
    return Layout(**values)


def prompts_of(prepared: Prepared, sources: Sources) -> Iterator[tuple[tuple[str, int], str | list[Any]]]:
    """File and number of every row of the `sources` that were prepared, and its prompt as text or messages.

    Reads the files once more.
    """
    lines = 0
    for part in parts(sources):
        lines = lines if part.begin else 0  # another file begins
        for _, row in comparisons(part, lines, prepared.layouts[part.source]):
            if isinstance(row, Comparison):
                yield (row.file, row.row), row.prompt if isinstance(row.prompt, str) else list(row.prompt)
        lines += count_lines(part)

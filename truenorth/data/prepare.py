"""From files to rows of tokens, with an account of every row.

First all that needs no tokenizer: layouts, types, repeats (`check_rows`). Then tokens and lengths. The files are read
as streams, and the tokens lie in a memory-mapped file, so memory does not grow with the data.
"""

from array import array
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..errors import DataError
from .boundary import Tokenizer
from .cache import cache_folder, key_of, read_about, write_about
from .chat import Encoder
from .checks import Repeats, problems_of
from .comparisons import Comparison
from .files import RawRow, read_rows
from .layouts import Layout, detect
from .options import DataSettings, Needs
from .problems import Account, Problem
from .statistics import Statistics, statistics_of
from .tokens import TokenizedRows, write
from .training_rows import Checked, Sources, comparisons, training_rows

__all__ = ["Checked", "DataSettings", "Needs", "Prepared", "check_rows", "prepare"]


@dataclass(frozen=True, slots=True)
class Prepared:
    """Rows to train on, and how they came about."""

    rows: TokenizedRows
    account: Account
    layouts: tuple[Layout, ...]  # one per source
    statistics: Statistics


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
        checked.account.check(settings)
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
        tuple(Layout(**{**layout, "lines": tuple(layout["lines"])}) for layout in about["layouts"]),
        Statistics.from_dict(about["statistics"]),
    )


def check_rows(sources: Sources, settings: DataSettings) -> Checked:
    """All that can be said of the rows without a tokenizer.

    Raises DataError, with the whole account, where a row must not be trained on, a layout is unknown, or the method
    needs what the data do not have.
    """
    needs = settings.needs
    numbers = [name for name in needs.columns if name != "label"]
    layouts = tuple(
        detect(read_rows(path), columns=settings.columns, candidates=needs.candidates, numbers=numbers)
        for path, _ in sources
    )
    for (path, _), layout in zip(sources, layouts, strict=True):
        _must_serve(layout, path, needs)
    checked, repeats, places = Checked(Account(), layouts), Repeats(), _Places()
    choices = array("b")  # 1 where the row is dropped for being a tie only
    for ordinal, (raw, result, _) in enumerate(comparisons(sources, layouts)):
        places.add(raw)
        if isinstance(result, Problem):
            found = [result]
        else:
            _must_fit(result, settings)
            repeats.add(ordinal, result)
            found = problems_of(result, needs)
        drops = {problem.reason for problem in found if checked.account.note(problem, settings) in ("drop", "stop")}
        checked.dropped.append(bool(drops))
        choices.append(drops == {"tie"})
        checked.account.row(dropped=bool(drops), by_choice=drops == {"tie"})
    for reason, ordinals in (("contradiction", repeats.contradictions()), ("duplicate", repeats.duplicates())):
        for ordinal in ordinals:
            problem = places.problem(int(ordinal), reason)
            if checked.account.note(problem, settings) in ("drop", "stop") and not checked.dropped[ordinal]:
                checked.dropped[ordinal] = 1
                checked.account.drop_kept()
    checked.account.check(settings)
    return checked


class _Places:
    """File and row number of every row, in 12 bytes each."""

    def __init__(self) -> None:
        self._files: dict[str, int] = {}
        self._file, self._row = array("I"), array("Q")

    def add(self, raw: RawRow) -> None:
        self._file.append(self._files.setdefault(raw.file, len(self._files)))
        self._row.append(raw.row)

    def problem(self, ordinal: int, reason: str) -> Problem:
        return Problem(reason, list(self._files)[self._file[ordinal]], self._row[ordinal])


def _must_serve(layout: Layout, path: str, needs: Needs) -> None:
    """Raise DataError where no row of a file can have what the method reads."""
    if needs.rewards and not layout.has_scores:
        raise DataError(
            f"The method reads scores, and {path} has none (read as {layout.name}; ranks give only an order). "
            "Give a column scores beside the responses, or score_chosen and score_rejected."
        )
    single = layout.name not in ("pairs", "several answers")
    if single and needs.candidates[0] > 1:
        raise DataError(
            f"The method compares at least {needs.candidates[0]} answers to a prompt, and {path} has one (read as "
            f"{layout.name}). It needs prompt, chosen and rejected, or prompt and responses with scores or ranks."
        )
    made = {"label"} if layout.name == "labelled answers" or (needs.unpaired and not single) else set[str]()
    if absent := [name for name in needs.columns if name not in layout.numbers and name not in made]:
        raise DataError(f"The method reads the column(s) {', '.join(absent)}, and {path} has none (see `columns`).")


def _must_fit(comparison: Comparison, settings: DataSettings) -> None:
    """Raise DataError where a row has more answers than the method takes, and nothing says what to do with them."""
    k, most = len(comparison.responses), settings.needs.candidates[1]
    if most is None or k <= most or (settings.needs.unpaired and k == 2):
        return
    place = f"{comparison.file}, row {comparison.row} has {k} answers"
    if most == 1:
        raise DataError(f"{place}, and the method takes one. Name its column: columns response=chosen, for instance.")
    if settings.pairing == "none":
        raise DataError(
            f"{place}, and the method takes {most}. Choose a pairing: best_vs_each (the best against each other one, "
            f"{k - 1} pairs), best_vs_worst (one pair) or all_pairs ({k * (k - 1) // 2} pairs)."
        )

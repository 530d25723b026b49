"""All that can be said of the rows before a tokenizer is known: layouts, types, repeats, what the method needs."""

from array import array

from ..errors import DataError
from .checks import Repeats, problems_of
from .comparisons import Comparison
from .files import RawRow, read_rows
from .layouts import Layout, detect
from .options import DataSettings, Needs
from .problems import Account, Action, Problem
from .roles import LAYOUTS
from .training_rows import Checked, Sources, comparisons


def check_rows(sources: Sources, settings: DataSettings) -> Checked:
    """The account of all rows so far, their layouts, and which are dropped. Reads every file twice.

    Raises DataError, with the whole account, where a row must not be trained on, a layout is unknown, or the method
    needs what the data do not have.
    """
    checked, repeats, places = Checked(Account(), _layouts(sources, settings)), Repeats(), _Places()
    for ordinal, (raw, result, _) in enumerate(comparisons(sources, checked.layouts)):
        places.add(raw)
        if isinstance(result, Comparison):
            _must_fit(result, settings)
            if not result.all_tied:  # a tie contradicts nothing
                repeats.add(ordinal, result)
        found = problems_of(result, settings.needs) if isinstance(result, Comparison) else [result]
        drops = {problem.reason for problem in found if _drops(checked.account.note(problem, settings))}
        checked.dropped.append(bool(drops))
        checked.account.row(dropped=bool(drops), by_choice=drops == {"tie"})
    for reason, ordinals in (("contradiction", repeats.contradictions()), ("duplicate", repeats.duplicates())):
        for ordinal in map(int, ordinals):
            action = checked.account.note(places.problem(ordinal, reason), settings)
            if _drops(action) and not checked.dropped[ordinal]:
                checked.dropped[ordinal] = 1
                checked.account.drop_kept()
    checked.check(settings)
    return checked


def _layouts(sources: Sources, settings: DataSettings) -> tuple[Layout, ...]:
    """One layout per source, each of which can serve the method."""
    needs, layouts = settings.needs, list[Layout]()
    numbers = [name for name in needs.columns if name != "label"]
    for path, _ in sources:
        layout = detect(read_rows(path), columns=settings.columns, candidates=needs.candidates, numbers=numbers)
        _must_serve(layout, path, needs)
        layouts.append(layout)
    return tuple(layouts)


def _drops(action: Action) -> bool:
    return action in ("stop", "drop")


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
    single = not LAYOUTS[layout.name].several
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
        raise DataError(f"{place}, and the method takes one. Name its column, for instance --columns response=chosen.")
    if settings.pairing == "none":
        raise DataError(
            f"{place}, and the method takes {most}. Choose a pairing: best_vs_each (the best against each other one, "
            f"{k - 1} pairs), best_vs_worst (one pair) or all_pairs ({k * (k - 1) // 2} pairs)."
        )

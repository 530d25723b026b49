"""All that can be said of the rows before a tokenizer is known: layouts, types, repeats, what the method needs.

Two passes over every file, each over its parts: the first counts what the columns hold, the second checks each row.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import numpy.typing as npt

from ..errors import DataError, so_many
from .checks import Repeats, problems_of
from .comparisons import Comparison
from .layouts import Layout, columns_of_texts, layout_of, used_by
from .options import DataSettings, Needs
from .parts import Part, count_lines, parts_of, read_part
from .problems import Account, Action, Problem
from .roles import LAYOUTS
from .survey import Survey, survey
from .workers import Said, Workers

Sources = Sequence[tuple[str, float]]  # path and share


@dataclass
class Checked:
    """What is known of the rows before they are tokenised. A part is known by its place among those of all sources."""

    account: Account
    layouts: tuple[Layout, ...]  # one per source
    lines_before: list[int]  # of each part's file, before the part
    dropped: list[npt.NDArray[np.bool_]] = field(default_factory=list[npt.NDArray[np.bool_]])  # [rows] of each part

    def check(self, settings: DataSettings) -> None:
        """Raise DataError, with the account and the mapping, where the run must not start."""
        self.account.check(settings, [line for layout in self.layouts for line in layout.lines])


@dataclass(frozen=True, slots=True)
class CheckedPart:
    """What one part's rows are by themselves, 25 bytes a row."""

    file: str
    account: Account
    rows: npt.NDArray[np.int64]  # [R], their places in the file
    dropped: npt.NDArray[np.bool_]  # [R]
    repeats: Repeats


def check_rows(sources: Sources, settings: DataSettings, workers: Workers, tell: Said) -> Checked:
    """The account of all rows so far, their layouts, and which are dropped. Reads every file twice.

    `tell` is told how far it is, after each part. Raises DataError, with the whole account, where a row must not be
    trained on, a layout is unknown, or the method needs what the data do not have.
    """
    layouts, lines_before = _surveyed(sources, settings, workers, tell)
    checked = Checked(Account(), layouts, lines_before)
    tasks = ((part, before, layouts[part.source]) for part, before in zip(parts(sources), lines_before, strict=True))
    found = list[CheckedPart]()
    for part in workers.map(partial(check_part, settings), tasks):
        found.append(part)
        checked.account.add(part.account)
        checked.dropped.append(part.dropped)
        tell(f"checking the rows, {checked.account.read:,}")
    _note_repeats(checked, found, settings)
    checked.check(settings)
    return checked


def parts(sources: Sources) -> Iterator[Part]:
    """The parts of all sources, one after another."""
    for place, (path, _) in enumerate(sources):
        yield from parts_of(place, path)


def comparisons(part: Part, lines_before: int, layout: Layout) -> Iterator[tuple[int, Comparison | Problem]]:
    """Every row of a part, by its place in the file, read as its layout says."""
    for raw in read_part(part, lines_before=lines_before):
        yield raw.row, layout.comparison(raw)


def check_part(settings: DataSettings, part: Part, lines_before: int, layout: Layout) -> CheckedPart:
    """What is wrong with each row of a part, read as its layout says."""
    account, repeats = Account(), Repeats()
    places, dropped = list[int](), list[bool]()
    for row, result in comparisons(part, lines_before, layout):
        if isinstance(result, Comparison):
            if text := too_many(result, settings):
                raise DataError(text)
            if not result.all_tied:  # a tie contradicts nothing
                repeats.add(len(places), result)
        found = problems_of(result, settings.needs) if isinstance(result, Comparison) else [result]
        drops = {problem.reason for problem in found if _drops(account.note(problem, settings))}
        places.append(row)
        dropped.append(bool(drops))
        account.row(dropped=bool(drops), by_choice=drops == {"tie"})
    return CheckedPart(part.name, account, np.array(places, np.int64), np.array(dropped, np.bool_), repeats)


def _surveyed(
    sources: Sources, settings: DataSettings, workers: Workers, tell: Said
) -> tuple[tuple[Layout, ...], list[int]]:
    """One layout per source, each of which can serve the method, and the lines before each part in its file."""
    prompt, answers = columns_of_texts(settings.columns)
    totals, lines_before = [Survey(path) for path, _ in sources], list[int]()
    lines = 0  # of the file, before the part
    asked = list[Part]()  # of those on their way: without their records

    def tasks() -> Iterator[tuple[Part]]:
        for part in parts(sources):
            asked.append(Part(part.source, begin=part.begin))
            yield (part,)

    for found, count in workers.map(partial(_survey_part, prompt, answers), tasks()):
        part = asked.pop(0)
        lines = lines if part.begin else 0  # another file begins
        lines_before.append(lines)
        lines += count
        totals[part.source].add(found)
        tell(f"looking for the layout, {totals[part.source].rows:,} rows")
    layouts = (layout_for(total, path, settings) for (path, _), total in zip(sources, totals, strict=True))
    return tuple(layouts), lines_before


def layout_for(found: Survey, path: str, settings: DataSettings) -> Layout:
    """The layout of surveyed rows, as they reach the method. Raises DataError where none can serve it."""
    needs = settings.needs
    numbers = [name for name in needs.columns if name != "label"]
    layout = layout_of(
        found, columns=settings.columns, candidates=needs.candidates, numbers=numbers, named=not needs.given
    )
    layout = used_by(layout, needs, settings.pairing)
    _must_serve(layout, path, needs)
    return layout


def _survey_part(prompt: str, answers: Sequence[str], part: Part) -> tuple[Survey, int]:
    """What a part's columns hold, and how many lines it has."""
    return survey(read_part(part, lines_before=0), prompt=prompt, answers=answers), count_lines(part)


def _note_repeats(checked: Checked, found: Sequence[CheckedPart], settings: DataSettings) -> None:
    """Count the rows that repeat or contradict others, and drop those that must not stay."""
    ends = np.cumsum([len(part.rows) for part in found], dtype=np.int64)
    repeats = Repeats.together([part.repeats for part in found], [0, *ends.tolist()])
    for reason, ordinals in (("contradiction", repeats.contradictions()), ("duplicate", repeats.duplicates())):
        for ordinal in map(int, ordinals):
            place = int(np.searchsorted(ends, ordinal, side="right"))
            at = ordinal - int(ends[place]) + len(found[place].rows)
            problem = Problem(reason, found[place].file, int(found[place].rows[at]))
            if _drops(checked.account.note(problem, settings)) and not checked.dropped[place][at]:
                checked.dropped[place][at] = True
                checked.account.drop_kept()


def _drops(action: Action) -> bool:
    return action in ("stop", "drop")


def _must_serve(layout: Layout, path: str, needs: Needs) -> None:
    """Raise DataError where no row of a file can have what the method reads."""
    single = not LAYOUTS[layout.name].several
    if single and needs.candidates[0] > 1:
        raise DataError(
            f"{needs.given or 'The method'} compares at least {needs.candidates[0]} answers to a prompt, and {path} "
            f"has one (read as {layout.name}). It needs prompt, chosen and rejected, or prompt and responses with "
            "scores or ranks."
        )
    if needs.rewards and not layout.has_scores:
        margin = "; their difference, as a column margin, is enough too" if needs.differences else ""
        raise DataError(
            f"The method reads scores, and {path} has none (read as {layout.name}; ranks give only an order). "
            f"Give a column scores beside the responses, or score_chosen and score_rejected{margin}."
        )
    made = {"label"} if layout.name == "labelled answers" or (needs.unpaired and not single) else set[str]()
    for name in needs.columns:
        if name not in layout.numbers and name not in made:
            remedy = f"Give each row a number {name}, or say which column it is: --columns {name}=COLUMN."
            if name == "label":
                remedy = "Give each answer a label, true or false, or give pairs, which are then taken apart."
            raise DataError(f"The method reads the column {name}, and {path} has none. {remedy}")


def too_many(comparison: Comparison, settings: DataSettings) -> str:
    """What to do where a row has more answers than the method takes, and nothing says which count; else empty."""
    needs, k = settings.needs, len(comparison.responses)
    most = 2 if needs.unpaired else needs.candidates[1]  # a pair is two single answers
    if most is None or k <= most:
        return ""
    place = f"{comparison.file}, row {comparison.row} has {k} answers"
    if needs.given:
        return f"{place}, and {needs.given} takes {so_many(1, most, 'answer')} to a prompt."
    if most == 1:
        return (
            f"{place}, and the method takes one. Name its column, for instance --columns response=chosen, or take the "
            "method sft_chosen, which learns the best answer of each row."
        )
    if settings.pairing != "none":
        return ""
    return (
        f"{place}, and the method takes {_taken(needs)}. Choose --pairing best_vs_each (the best "
        f"against each other, {k - 1} pairs), best_vs_worst (one pair) or all_pairs ({k * (k - 1) // 2} pairs)."
    )


def _taken(needs: Needs) -> str:
    most = needs.candidates[1]
    return "single answers, or pairs that it takes apart" if needs.unpaired else str(most)

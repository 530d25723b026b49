"""Which layout a file follows and which column plays which role: decided over the whole file."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..errors import DataError
from . import readings
from .comparisons import Comparison, Pairing, best_first
from .files import RawRow
from .options import Needs
from .problems import Problem, Refused
from .readings import Reading, Source
from .roles import ALIASES, LAYOUTS, NUMBERS, Name, check_names, explain, no_layout, refuse_other_media
from .survey import Survey

CHAT = ("message", "messages", "conversations")  # kinds of values that go through a chat template
READ = {
    "pairs": readings.pairs,
    "several answers": readings.several,
    "labelled answers": readings.single,
    "prompt and answer": readings.single,
    "conversations": readings.conversation,
}


@dataclass(frozen=True, slots=True)
class Layout:
    """How the rows of one file are read."""

    name: Name
    columns: Mapping[str, str]  # role -> column
    numbers: Mapping[str, str]  # name in Comparison.columns -> column
    repeats_prompt: bool  # answers begin with the prompt, as text, and lose it
    lines: tuple[str, ...]  # says all this to a person
    notes: tuple[str, ...] = ()  # what becomes of rows of this file that nobody might expect
    plain: bool = False  # prompts and answers are text in all rows, so that no chat template is applied
    margin_is_score: bool = False  # a pair without scores has its margin as the score of the chosen, 0 of the other

    @property
    def has_scores(self) -> bool:
        """Whether rows can have scores."""
        if self.name == "several answers":
            return "scores" in self.columns or "ranks" not in self.columns  # they can also stand in the answers
        return self.margin_is_score or ("score_chosen" in self.columns and "score_rejected" in self.columns)

    def comparison(self, raw: RawRow) -> Comparison | Problem:
        """The row's prompt and answers, best first, or what hinders it."""
        if raw.fields is None:
            return Problem("unparsable", raw.file, raw.row, raw.fault or "")
        try:
            reading = READ[self.name](Source(raw.fields, self.columns, self.repeats_prompt))
            return self._sorted(reading, raw, raw.fields)
        except Refused as refused:
            return refused.at(raw.file, raw.row)

    def _sorted(self, reading: Reading, raw: RawRow, fields: Mapping[str, Any]) -> Comparison:
        numbers = self._numbers(reading, fields)
        scores, ranks = reading.scores, reading.ranks
        if self.margin_is_score and scores is None and "margin" in numbers:
            scores = (numbers["margin"], 0.0)
        _must_be_finite([*numbers.values(), *(scores or ()), *(ranks or ())])
        order = tuple(range(len(reading.responses)))  # chosen before rejected, whatever their scores
        if self.name == "several answers":
            order = best_first(scores=scores, ranks=ranks)
        tools = self._object(fields, "tools")
        if tools is not None and not isinstance(tools, list):
            raise Refused("wrong_type", f"{self.columns['tools']} must be a list of tools")
        return Comparison(
            prompt=reading.prompt,
            responses=tuple(reading.responses[k] for k in order),
            order=order,
            scores=None if scores is None else tuple(scores[k] for k in order),
            ranks=None if ranks is None else tuple(ranks[k] for k in order),
            columns=numbers,
            file=raw.file,
            row=raw.row,
            tools=tuple(tools) if tools else None,
            chat_template_kwargs=self._object(fields, "chat_template_kwargs") or {},
        )

    def _numbers(self, reading: Reading, fields: Mapping[str, Any]) -> dict[str, float]:
        """The row's further numbers; a number that the file has and this row lacks is left out."""
        numbers = {
            name: readings.number(fields[column], column)
            for name, column in self.numbers.items()
            if fields.get(column) is not None
        }
        if reading.label is not None:
            numbers["label"] = reading.label
        if numbers.get("weight", 0.0) < 0:
            raise Refused("negative_weight", f"weight is {numbers['weight']:g}")
        return numbers

    def _object(self, fields: Mapping[str, Any], role: str) -> Any:
        column = self.columns.get(role, "")
        return readings.parsed(fields.get(column), column)


def columns_of_texts(given: Mapping[str, str]) -> tuple[str, list[str]]:
    """The columns in which a survey looks for a repeated prompt: the prompt's, and those that may hold answers."""
    answers = [given.get(role, name) for role in ("chosen", "rejected", "responses") for name in ALIASES[role]]
    return given.get("prompt", "prompt"), list(dict.fromkeys(answers))


def layout_of(
    found: Survey,
    *,
    columns: Mapping[str, str],
    candidates: tuple[int, int | None],
    numbers: Sequence[str],
    named: bool = True,
) -> Layout:
    """The layout of a surveyed file.

    `columns` (role to column) overrides names. `candidates` are the fewest and most answers that the method takes: a
    file that has both pairs and single answers is read as it needs. `numbers` are further columns that it reads.
    `named`: whether the command has --columns, for messages.
    Raises DataError, which names what the file has and what is near, where no layout fits.
    """
    given = dict(columns)
    check_names(given, found, numbers)
    refuse_other_media(found)
    # a method of single answers takes pairs only where there is nothing else
    order = sorted(LAYOUTS, key=lambda name: candidates[1] == 1 and LAYOUTS[name].several)
    fitting: list[Name] = [name for name in order if _fits(name, given, found)]
    if not fitting:
        raise DataError(no_layout(given, found, named=named))
    name = fitting[0]
    mapping = {r: column for r in LAYOUTS[name].roles if (column := _column(r, given, found)) is not None}
    if "input" in mapping and mapping["prompt"] != "instruction":
        del mapping["input"]
    further = {number: given.get(number, number) for number in (*NUMBERS, *numbers, *given) if number not in ALIASES}
    further = {number: column for number, column in further.items() if found.has(column)}
    repeats = found.comparable > 0 and found.repeats > found.comparable / 2
    plain = not any(found.has(column, *CHAT) for column in mapping.values())
    return Layout(name, mapping, further, repeats, explain(name, {**mapping, **further}, repeats, found), plain=plain)


def used_by(layout: Layout, needs: Needs, pairing: Pairing) -> Layout:
    """The layout as rows of the file reach a method, with a note on whatever is not as it stands there."""
    notes, margin = list[str](), layout.numbers.get("margin")
    margin_is_score = layout.name == "pairs" and needs.differences and margin is not None and not layout.has_scores
    if margin_is_score:
        notes.append(f"no scores: the column {margin} stands for their difference, which is all that the method reads")
    if LAYOUTS[layout.name].several and needs.unpaired:
        notes.append("the method takes single answers: each pair is taken apart, the chosen labelled 1, the other 0")
    if layout.name == "several answers" and pairing != "none":
        notes.append(f"rows with more than 2 answers are made into pairs: {pairing}")
    lines = (*layout.lines, *(f"  {note}" for note in notes))
    return replace(layout, lines=lines, notes=tuple(notes), margin_is_score=margin_is_score)


def _column(role: str, given: Mapping[str, str], found: Survey) -> str | None:
    """The column that plays a role, if the file has one that is not null throughout."""
    names = (given[role],) if role in given else ALIASES[role]
    return next((name for name in names if found.has(name)), None)


def _fits(name: Name, given: Mapping[str, str], found: Survey) -> bool:
    """Whether the file has the columns of a layout, and the layout all roles that the caller named."""
    named = {role for role in given if role in ALIASES}
    if named - set(LAYOUTS[name].roles) or not all(_column(role, given, found) for role in LAYOUTS[name].needed):
        return False
    # a single text under `completions` is no list of answers
    return name != "several answers" or not found.has(_column("responses", given, found) or "", "text")


def _must_be_finite(values: Sequence[float]) -> None:
    for value in values:
        if not math.isfinite(value):
            raise Refused("non_finite_score", f"a value is {value}")

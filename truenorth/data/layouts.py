"""Which layout a file follows and which column plays which role: decided over the whole file, and explained."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ..errors import DataError, did_you_mean
from . import readings
from .comparisons import Comparison, best_first
from .files import RawRow
from .problems import Problem, Refused
from .readings import Reading, Source
from .survey import Survey, survey

Name = Literal["pairs", "several answers", "labelled answers", "prompt and answer", "conversations"]

# Role -> columns that play it, the first that the file has.
ALIASES: Mapping[str, tuple[str, ...]] = {
    "prompt": ("prompt", "conversations", "conversation", "context", "instruction"),
    "input": ("input",),
    "chosen": ("chosen",),
    "rejected": ("rejected",),
    "responses": ("responses", "completions"),
    "scores": ("scores",),
    "ranks": ("ranks",),
    "response": ("completion", "response", "output"),
    "label": ("label",),
    "messages": ("messages", "conversations", "conversation"),
    "score_chosen": ("score_chosen", "chosen_score"),
    "score_rejected": ("score_rejected", "rejected_score"),
    "weight": ("weight",),
    "margin": ("margin",),
    "tools": ("tools",),
    "chat_template_kwargs": ("chat_template_kwargs",),
}
NUMBERS = ("weight", "margin", "dispersion", "uncertainty")  # become columns of the comparison
EVERY = ("weight", "margin", "tools", "chat_template_kwargs")  # roles that any layout may have
# Layout -> what reads it, roles it needs, roles it may have besides.
LAYOUTS: Mapping[Name, tuple[Callable[[Source], Reading], tuple[str, ...], tuple[str, ...]]] = {
    "pairs": (readings.pairs, ("chosen", "rejected"), ("prompt", "score_chosen", "score_rejected")),
    "several answers": (readings.several, ("prompt", "responses"), ("scores", "ranks")),
    "labelled answers": (readings.single, ("prompt", "response", "label"), ()),
    "prompt and answer": (readings.single, ("prompt", "response"), ("input",)),
    "conversations": (readings.conversation, ("messages",), ()),
}
NOT_TEXT = ("image", "images", "audio", "audios", "video", "videos")
# Parts of names that hint at a role, for the message about a file that fits no layout.
HINTS: Mapping[str, tuple[str, ...]] = {
    "prompt": ("prompt", "question", "query", "instruction", "input", "context"),
    "chosen": ("chosen", "good", "better", "prefer", "win", "accept", "positive", "best"),
    "rejected": ("reject", "bad", "worse", "lose", "negative", "worst", "dispreferred"),
    "responses": ("responses", "completions", "answers", "candidates", "outputs"),
    "response": ("response", "completion", "answer", "output", "target"),
}


@dataclass(frozen=True, slots=True)
class Layout:
    """How the rows of one file are read."""

    name: Name
    columns: Mapping[str, str]  # role -> column
    numbers: Mapping[str, str]  # name in Comparison.columns -> column
    repeats_prompt: bool  # answers begin with the prompt, as text, and lose it
    lines: tuple[str, ...]  # says all this to a person

    @property
    def has_scores(self) -> bool:
        """Whether rows can have scores."""
        return self.name == "several answers" and "ranks" not in self.columns or "score_chosen" in self.columns

    def comparison(self, raw: RawRow) -> Comparison | Problem:
        """The row's prompt and answers, best first, or what hinders it."""
        if raw.fields is None:
            return Problem("unparsable", raw.file, raw.row, raw.fault or "")
        source = Source(raw.fields, self.columns, self.repeats_prompt)
        try:
            reading = LAYOUTS[self.name][0](source)
            return self._sorted(reading, raw)
        except Refused as refused:
            return refused.at(raw.file, raw.row)

    def _sorted(self, reading: Reading, raw: RawRow) -> Comparison:
        order = tuple(range(len(reading.responses)))
        if self.name == "several answers":
            _must_be_finite(reading.scores or reading.ranks or ())
            order = best_first(scores=reading.scores, ranks=reading.ranks)
        assert raw.fields is not None
        numbers = {name: readings.number(raw.fields[c], c) for name, c in self.numbers.items() if c in raw.fields}
        numbers |= {} if reading.label is None else {"label": reading.label}
        _must_be_finite([*numbers.values(), *(reading.scores or ())])
        if numbers.get("weight", 0.0) < 0:
            raise Refused("negative_weight", f"weight is {numbers['weight']}")
        return Comparison(
            prompt=reading.prompt,
            responses=tuple(reading.responses[k] for k in order),
            order=order,
            scores=None if reading.scores is None else tuple(reading.scores[k] for k in order),
            ranks=None if reading.ranks is None else tuple(reading.ranks[k] for k in order),
            columns=numbers,
            file=raw.file,
            row=raw.row,
            tools=self._tools(raw.fields),
            chat_template_kwargs=self._object(raw.fields, "chat_template_kwargs") or {},
        )

    def _object(self, fields: Mapping[str, Any], role: str) -> Any:
        column = self.columns.get(role, "")
        return readings.objects(fields.get(column), column)

    def _tools(self, fields: Mapping[str, Any]) -> tuple[dict[str, Any], ...] | None:
        tools = self._object(fields, "tools")
        if tools is None or tools == []:
            return None
        if not isinstance(tools, list):
            raise Refused("wrong_type", f"{self.columns['tools']} must be a list of tools")
        return tuple(tools)


def detect(
    rows: Iterable[RawRow],
    *,
    columns: Mapping[str, str] | None = None,
    candidates: tuple[int, int | None] = (2, None),
    numbers: Sequence[str] = (),
) -> Layout:
    """The layout of a file, from all of its rows.

    `columns` (role to column) overrides names. `candidates` are the fewest and most answers that the method takes: a
    file that has both pairs and single answers is read as it needs. `numbers` are further columns that it reads.
    Raises DataError, which names what the file has and what is near, where no layout fits.
    """
    given = dict(columns or {})
    answers = [given.get(role, name) for role in ("chosen", "rejected", "responses") for name in ALIASES[role]]
    found = survey(rows, prompt=given.get("prompt", "prompt"), answers=list(dict.fromkeys(answers)))
    _check_given(given, found, numbers)
    _refuse_other_media(found)
    order = list(LAYOUTS) if candidates[1] != 1 else [*list(LAYOUTS)[2:], *list(LAYOUTS)[:2]]
    name = next((name for name in order if _fits(name, given, found)), None)
    if name is None:
        raise DataError(_no_layout(given, found))
    _, needed, optional = LAYOUTS[name]
    mapping = {
        role: column
        for role in (*needed, *optional, *EVERY)
        if (column := _column(role, given, found)) and _sensible(role, column, name, found)
    }
    if "input" in mapping and mapping["prompt"] != "instruction":
        del mapping["input"]
    further = {n: given.get(n, n) for n in (*NUMBERS, *numbers, *given) if n in NUMBERS or n not in ALIASES}
    further = {name: column for name, column in further.items() if found.has(column)}
    repeats = found.comparable > 0 and found.repeats > found.comparable / 2
    return Layout(name, mapping, further, repeats, _explain(name, {**mapping, **further}, repeats, found))


def _column(role: str, given: Mapping[str, str], found: Survey) -> str | None:
    """The column that plays a role, if the file has one that is not null throughout."""
    names = (given[role],) if role in given else ALIASES[role]
    return next((name for name in names if found.has(name)), None)


def _sensible(role: str, column: str, layout: Name, found: Survey) -> bool:
    """Whether a column can play a role: `conversations` is a prompt only where it holds messages."""
    if (
        role == "prompt"
        and layout == "pairs"
        and column in ("context", "instruction", "conversations", "conversation")
    ):
        return found.has(column, "messages", "text")
    return role not in ("scores", "ranks") or found.has(column, "numbers", "empty list", "texts", "mixed list", "text")


def _fits(name: Name, given: Mapping[str, str], found: Survey) -> bool:
    _, needed, optional = LAYOUTS[name]
    structural = {role for role in given if role in ALIASES and role not in EVERY}
    if structural - {*needed, *optional} or not all(_column(role, given, found) for role in needed):
        return False
    if name == "several answers":
        column = _column("responses", given, found) or ""
        return found.has(column, "texts", "objects", "conversations", "messages", "mixed list", "empty list")
    return True


def _check_given(given: Mapping[str, str], found: Survey, numbers: Sequence[str]) -> None:
    """Every column named by the caller must exist; a role we do not know must be a number's name."""
    for role, column in given.items():
        if column not in found.kinds:
            raise DataError(
                f"{found.file} has no column {column}, named for the role {role}."
                f"{did_you_mean(column, found.kinds)} It has: {', '.join(found.kinds)}."
            )
        if role not in ALIASES and role not in (*NUMBERS, *numbers) and not found.has(column, "number"):
            raise DataError(
                f"{role} is not a role that a column can play.{did_you_mean(role, ALIASES)} "
                f"Roles are {', '.join((*ALIASES, *NUMBERS))}, or any name for a column of numbers."
            )


def _refuse_other_media(found: Survey) -> None:
    for column in NOT_TEXT:
        kinds = found.kinds.get(column, {})
        if any(kind not in ("null", "empty list") for kind in kinds):
            raise DataError(
                f"{found.file} has a column {column}. TrueNorth trains on text only: rows with images, audio or video "
                f"would lose what their answers speak of. Leave such rows out, or remove the column if it has no bearing."
            )


def _must_be_finite(values: Sequence[float]) -> None:
    for value in values:
        if not math.isfinite(value):
            raise Refused("non_finite_score", f"a value is {value}")


def _explain(name: Name, mapping: Mapping[str, str], repeats: bool, found: Survey) -> tuple[str, ...]:
    lines = [f"{found.file}: {found.rows:,} rows, read as {name}"]
    lines += [f"  {role} <- {column} ({found.describe(column)})" for role, column in mapping.items()]
    if "prompt" not in mapping and name == "pairs":
        lines.append("  prompt <- what chosen and rejected of a row begin with")
    if repeats:
        lines.append("  the answers begin with the prompt; it is taken off")
    unused = [column for column in found.kinds if column not in mapping.values()]
    optional = [role for role in (*LAYOUTS[name][2], *EVERY, *NUMBERS) if role not in mapping]
    hints = [f"{column}.{hint}" for column in unused if (hint := did_you_mean(column, optional))]
    if unused:
        lines.append(f"  not used: {', '.join(unused)}")
    return (*lines, *(f"  not used: {hint}" for hint in hints))


def _no_layout(given: Mapping[str, str], found: Survey) -> str:
    if not found.rows:
        return f"{found.file or 'The data'} has no rows."
    likely = _likely(found.kinds)
    hint = ""
    if likely:
        hint = f" Perhaps: {', '.join(f'{role}={column}' for role, column in likely.items())}; give this as `columns`."
    needs = "; ".join(f"{name}: {', '.join(needed)}" for name, (_, needed, _) in LAYOUTS.items())
    said = f" with {', '.join(f'{role}={column}' for role, column in given.items())}" if given else ""
    return (
        f"{found.file} fits no layout{said}. It has the columns {', '.join(found.kinds) or 'none'}.{hint} "
        f"Layouts and the roles they need: {needs}."
    )


def _likely(columns: Iterable[str]) -> dict[str, str]:
    """Role -> the column whose name hints at it, each column once."""
    likely: dict[str, str] = {}
    for role, hints in HINTS.items():
        free = [column for column in columns if column not in likely.values()]
        match = next((c for hint in hints for c in free if hint in c.lower()), None)
        if match is not None:
            likely[role] = match
    return (
        {"prompt", "chosen", "rejected"} <= set(likely)
        and {role: likely[role] for role in ("prompt", "chosen", "rejected")}
        or likely
    )

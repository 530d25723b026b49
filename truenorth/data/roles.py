"""The layouts that we read, the names that their columns go by, and what to say where a file fits none."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ..errors import DataError, did_you_mean
from .survey import Survey

Name = Literal["pairs", "several answers", "labelled answers", "prompt and answer", "conversations"]

# Role -> columns that play it; the first that the file has.
ALIASES: Mapping[str, tuple[str, ...]] = {
    "prompt": ("prompt", "conversations", "conversation", "context", "instruction"),
    "input": ("input",),  # Alpaca's, behind the instruction
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
    "tools": ("tools",),
    "chat_template_kwargs": ("chat_template_kwargs",),
}
NUMBERS = ("weight", "margin", "dispersion", "uncertainty")  # become columns of the comparison under these names
EVERY = ("tools", "chat_template_kwargs")  # roles that any layout may have


@dataclass(frozen=True, slots=True)
class Roles:
    """The roles of one layout."""

    needed: tuple[str, ...]
    optional: tuple[str, ...] = ()
    several: bool = False  # whether rows have several answers

    @property
    def roles(self) -> tuple[str, ...]:
        return (*self.needed, *self.optional, *EVERY)


# In the order in which they are tried.
LAYOUTS: Mapping[Name, Roles] = {
    "pairs": Roles(("chosen", "rejected"), ("prompt", "score_chosen", "score_rejected"), several=True),
    "several answers": Roles(("prompt", "responses"), ("scores", "ranks"), several=True),
    "labelled answers": Roles(("prompt", "response", "label")),
    "prompt and answer": Roles(("prompt", "response"), ("input",)),
    "conversations": Roles(("messages",)),
}
NOT_TEXT = ("image", "images", "audio", "audios", "video", "videos")
# Parts of names that hint at a role, for the message about a file that fits no layout.
_HINTS: Mapping[str, tuple[str, ...]] = {
    "prompt": ("prompt", "question", "query", "instruction", "input", "context"),
    "chosen": ("chosen", "good", "better", "preferred", "winner", "accepted", "positive", "best"),
    "rejected": ("reject", "bad", "worse", "loser", "negative", "worst"),
    "responses": ("responses", "completions", "answers", "candidates", "outputs"),
    "response": ("response", "completion", "answer", "output", "target"),
}


def check_names(given: Mapping[str, str], found: Survey, numbers: Sequence[str]) -> None:
    """Raise DataError unless every column that the caller named exists, for a role or as a number."""
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


def refuse_other_media(found: Survey) -> None:
    """Raise DataError where a file has images, audio or video."""
    for column in NOT_TEXT:
        if any(kind not in ("null", "empty list") for kind in found.kinds.get(column, ())):
            raise DataError(
                f"{found.file} has a column {column}. TrueNorth trains on text only, and answers to an image, audio "
                "or video mean nothing without it. Leave such rows out, or remove the column if it has no bearing."
            )


def explain(name: Name, mapping: Mapping[str, str], repeats: bool, found: Survey) -> tuple[str, ...]:
    """The mapping in lines for a person."""
    lines = [f"{found.file}: {found.rows:,} rows, read as {name}"]
    lines += [f"  {role} <- {column} ({found.describe(column)})" for role, column in mapping.items()]
    if "prompt" not in mapping and name == "pairs":
        lines.append("  prompt <- what chosen and rejected of a row begin with")
    if repeats:
        lines.append("  the answers begin with the prompt; it is taken off")
    unused = [column for column in found.kinds if column not in mapping.values()]
    if unused:
        lines.append(f"  not used: {', '.join(unused)}")
    for column in unused:
        roles = NUMBERS if found.has(column, "number") else (*LAYOUTS[name].optional, *EVERY)
        if hint := did_you_mean(column, [role for role in roles if role not in mapping]):
            lines.append(f"  not used: {column}.{hint}")
    return tuple(lines)


def no_layout(given: Mapping[str, str], found: Survey, *, named: bool) -> str:
    """Says that a file fits no layout, what it has, and what its columns may mean."""
    if not found.rows:
        return f"{found.file or 'The data'} has no rows: it is empty, or has only blank lines or a header."
    said = f" with {_pairs(given)}" if given else ""
    likely = _likely(found.kinds)
    renamed = ", ".join(f"{column} to {role}" for role, column in likely.items())
    perhaps = f"--columns {_pairs(likely)}" if named else f"rename {renamed} in the file"
    hint = f" Perhaps: {perhaps}." if likely else ""
    if likely.keys() == {"prompt"}:
        hint = " Prompts alone, which a model answers, are given as --prompts FILE."
    needs = "; ".join(f"{', '.join(roles.needed)} ({name})" for name, roles in LAYOUTS.items())
    return (
        f"{found.file} fits no layout{said}. It has the columns {', '.join(found.kinds) or 'none'}.{hint} "
        f"Needed are: {needs}."
    )


def _pairs(columns: Mapping[str, str]) -> str:
    return " ".join(f"{role}={column}" for role, column in columns.items())


def _likely(columns: Iterable[str]) -> dict[str, str]:
    """Role -> the column whose name hints at it, each column once; a pair's roles alone if there is a pair."""
    likely: dict[str, str] = {}
    for role, hints in _HINTS.items():
        if role in ("responses", "response") and {"chosen", "rejected"} <= set(likely):
            break
        free = [column for column in columns if column not in likely.values()]
        names = [c for c in free if did_you_mean(c, (role,))] + [c for h in hints for c in free if h in c.lower()]
        if names:
            likely[role] = names[0]
    return likely

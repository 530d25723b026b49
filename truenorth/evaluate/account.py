"""account.json: what became of every row that was read, and what the rows that stayed are like."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from ..data.problems import REASONS
from ..train.evidence import number, percent, short

Values = dict[str, JsonValue]

SHARES = ("share", "saved", "accuracy", "low", "high")  # values in [0, 1], shown in percent
LENGTHS = {"median": "median", "p95": "95\u202f%", "most": "longest"}  # of many quantiles, the telling
TITLES = {
    "candidates": "Answers to a prompt",
    "lengths": "Lengths, tokens",
    "length_bias": "Does longer mean better?",
    "sharing": "Shared prompts",
}


class Written(BaseModel):
    """A record that another part wrote; fields that the report does not draw are left alone."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Example(Written):
    file: str = ""
    row: int | None = None
    text: str = Field(default="", validation_alias="detail")

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True)


class Reason(Written):
    """Why rows were dropped, cut or flagged."""

    name: str
    count: int
    fatal: bool = False
    action: str = ""
    example: Example | None = None

    @property
    def sentence(self) -> str:
        """The reason in words, where it is one of ours."""
        return REASONS[self.name].sentence if self.name in REASONS else ""


class Account(Written):
    """What became of every row. Accepts what the data layer keeps (account, layouts, statistics) and a flat record."""

    read: int | None = None
    kept: int | None = None
    dropped: int | None = None
    reasons: list[Reason] = Field(default_factory=list[Reason])
    mapping: list[str] = Field(default_factory=list[str])
    lengths: Values = Field(default_factory=dict[str, JsonValue])
    length_bias: Values = Field(default_factory=dict[str, JsonValue])
    sharing: Values = Field(default_factory=dict[str, JsonValue])
    candidates: Values = Field(default_factory=dict[str, JsonValue])

    @model_validator(mode="before")
    @classmethod
    def _flat(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        flat = dict(data)
        if isinstance(nested := flat.pop("account", None), Mapping):
            flat |= nested
        if isinstance(layouts := flat.pop("layouts", None), list):
            flat["mapping"] = [line for layout in layouts for line in layout.get("lines", ())]
        if isinstance(statistics := flat.pop("statistics", None), Mapping):
            flat |= _statistics(statistics)
        if isinstance(flat.get("reasons"), Mapping):
            flat["reasons"] = [_reason(name, tally) for name, tally in flat["reasons"].items()]
        return {name: value for name, value in flat.items() if value is not None}

    @property
    def tables(self) -> list[tuple[str, list[str], list[list[str]]]]:
        """(title, header, rows) of the parts that are free in form; a mapping of mappings has columns."""
        return [(title, *_table(values)) for name, title in TITLES.items() if (values := getattr(self, name))]


def _reason(name: str, tally: Mapping[str, Any]) -> dict[str, Any]:
    examples = tally.get("examples") or [None]
    return {"name": name, "example": examples[0], **tally}


def _statistics(found: Mapping[str, Any]) -> dict[str, Any]:
    lengths = {name: _chosen_quantiles(found[name]) for name in ("prompt", "chosen", "rejected") if found.get(name)}
    sharing = {name: found[name] for name in ("tokens", "tokens_unshared", "tokens_saved") if name in found}
    counts = found.get("candidates") or {}
    rows = {f"{k} answers" if k != "1" else "1 answer": f"{n:,} rows" for k, n in counts.items()}
    several = rows if len(rows) > 1 else {}  # where all have as many there is nothing to tell
    return {"candidates": several, "lengths": lengths, "length_bias": found.get("length_bias"), "sharing": sharing}


def _chosen_quantiles(lengths: Mapping[str, Any]) -> dict[str, Any]:
    return {title: lengths[name] for name, title in LENGTHS.items() if name in lengths}


def _table(values: Values) -> tuple[list[str], list[list[str]]]:
    groups = {name: value for name, value in values.items() if isinstance(value, dict)}
    if len(groups) < len(values):
        return [], [[_title(name), _cell(name, value)] for name, value in values.items()]
    columns = list(dict.fromkeys(column for group in groups.values() for column in group))
    rows = [[_title(name), *(_cell(c, group.get(c)) for c in columns)] for name, group in groups.items()]
    return ["", *columns], rows


def _cell(name: str, value: JsonValue) -> str:
    if value is None:
        return "–"
    if any(word in name for word in SHARES) and 0 <= number(value) <= 1:
        return percent(number(value))
    if isinstance(value, int):
        return f"{value:,}"
    return short(value) if isinstance(value, float) else str(value)


def _title(name: str) -> str:
    words = name.replace("_", " ")
    return words[:1].upper() + words[1:]

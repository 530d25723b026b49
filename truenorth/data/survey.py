"""What a whole file's columns hold, counted before anything is decided about them."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .files import RawRow
from .messages import is_message


@dataclass
class Survey:
    """The kinds of value in each column, over all rows."""

    file: str = ""
    rows: int = 0
    kinds: dict[str, Counter[str]] = field(default_factory=dict[str, Counter[str]])  # column -> kind -> rows
    repeats: int = 0  # rows whose answers all begin with the prompt, as text
    comparable: int = 0  # rows whose prompt and answers are all text

    def has(self, column: str, *kinds: str) -> bool:
        """Whether some row has a value of one of `kinds` (any kind but null if none are given) in `column`."""
        found = self.kinds.get(column, Counter())
        return any(found[kind] for kind in kinds) if kinds else any(kind != "null" for kind in found)

    def add(self, other: "Survey") -> None:
        """Count the rows that follow."""
        self.file = self.file or other.file
        self.rows += other.rows
        self.repeats += other.repeats
        self.comparable += other.comparable
        for column, kinds in other.kinds.items():
            self.kinds.setdefault(column, Counter()).update(kinds)

    def describe(self, column: str) -> str:
        """`text in 990 rows, messages in 10`, or just `text` where all rows agree."""
        found = self.kinds[column].most_common()
        if len(found) == 1 and found[0][1] == self.rows:
            return found[0][0]
        absent = self.rows - sum(count for _, count in found)
        found += [("absent", absent)] if absent else []
        return ", ".join(f"{kind} in {count:,} rows" for kind, count in found)


def survey(rows: Iterable[RawRow], *, prompt: str, answers: Sequence[str]) -> Survey:
    """Count over all rows. `prompt` and `answers` are the columns in which a repeated prompt is looked for."""
    found = Survey()
    for raw in rows:
        found.file = found.file or raw.file
        found.rows += 1
        fields = raw.fields or {}
        for column, value in fields.items():
            found.kinds.setdefault(column, Counter())[kind(value)] += 1
        texts = _texts(fields, answers)
        start = fields.get(prompt)
        if texts and isinstance(start, str) and start:
            found.comparable += 1
            found.repeats += all(text.startswith(start) for text in texts)
    return found


def kind(value: object) -> str:
    """What a value is, as far as layouts tell values apart."""
    match value:
        case None:
            return "null"
        case bool():
            return "true/false"
        case int() | float():
            return "number"
        case str():
            return "text"
        case Mapping():
            return "message" if is_message(value) else "object"
        case Sequence():
            return _kind_of_list(value)
        case _:
            return type(value).__name__


def _kind_of_list(items: Sequence[Any]) -> str:
    if not items:
        return "empty list"
    inner = {kind(item) for item in items}
    names = {
        "text": "texts",
        "number": "numbers",
        "message": "messages",
        "object": "objects",
        "messages": "conversations",
    }
    return names.get(inner.pop(), "list") if len(inner) == 1 else "mixed list"


def _texts(fields: Mapping[str, Any], answers: Sequence[str]) -> list[str]:
    """The answers, if all that the row has are text."""
    values: list[Any] = []
    for column in answers:
        value = fields.get(column)
        values += value if isinstance(value, list) else [] if value is None else [value]
    return values if all(isinstance(value, str) for value in values) else []

"""A run directory as the report reads it. Only metrics.jsonl and run.yaml must be there; the rest may be absent."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import Field, JsonValue, TypeAdapter, ValidationError

from ..errors import DataError
from ..train.evidence import Record
from ..train.modules import by_module
from ..train.rounding import Rounding
from ..train.saving import Saving
from .account import Account, Values, Written

T = TypeVar("T")


class Sample(Written):
    """One prompt, answered before and after."""

    prompt: str
    before: str
    after: str
    reward_before: float | None = None
    reward_after: float | None = None


class Citation(Written):
    title: str
    authors: str = ""
    arxiv: str = ""


class BeforeAfter(Written):
    """Metrics by name; `NAME/low` and `NAME/high` bound them (95 %), `count` is what they were estimated from."""

    before: Values = Field(default_factory=dict[str, JsonValue])
    after: Values = Field(default_factory=dict[str, JsonValue])


class StepZero(Written):
    """The loss that theory gives at policy = reference, and the one that was measured."""

    expected: float
    measured: float


class Summary(Written):
    """What the run says of itself at its end."""

    method: str = ""
    title: str = ""
    paper: str = ""
    base_model: str = ""
    steps: int | None = None
    prompts: int | None = None
    tokens: int | None = None
    seconds: float | None = None
    tokens_per_second: float | None = None
    processes: int | None = None
    trainable_parameters: int | None = None
    parameters: int | None = None
    device: str = ""
    precision: str = ""
    versions: dict[str, str] = Field(default_factory=dict[str, str])
    rounding: Rounding | None = None
    saved_as: str = ""  # the dtype of `final`
    saving: Saving | None = None
    deployed: int | None = None  # which of two modules is the result
    step0: StepZero | None = None
    evaluation: BeforeAfter | None = None
    world: BeforeAfter | None = None
    citations: list[Citation | str] = Field(default_factory=list[Citation | str])
    notes: list[str] = Field(default_factory=list[str])


@dataclass(frozen=True, slots=True)
class Artifacts:
    """All that a report is made of."""

    directory: Path
    recipe: Mapping[str, Any]
    run: Mapping[str, Any]
    records: Sequence[Record]
    summary: Summary
    account: Account | None = None
    samples: Sequence[Sample] = ()

    def setting(self, *path: str) -> float | None:
        """A number in the recipe, for instance `setting("objective", "beta")`; None where it has none."""
        value: Any = self.recipe
        for name in path:
            value = value.get(name) if isinstance(value, Mapping) else None
        return float(value) if isinstance(value, int | float) else None

    @property
    def of_result(self) -> Sequence[Record]:
        """The records of the policy that is the result: of two modules, or while they are trained, of one."""
        modules = by_module(self.records)
        return modules[self.summary.deployed or 0] if len(modules) > 1 else modules[0]

    @property
    def reference_moves(self) -> bool:
        """Whether the reference is one that follows the policy."""
        references: Any = self.recipe.get("references") or {}
        return any(isinstance(r, Mapping) and r.get("kind") == "moving" for r in references.values())


def read(directory: Path) -> Artifacts:
    """The artifacts of a run, finished or not. Raises DataError naming the file that is missing or malformed."""
    for name in ("run.yaml", "metrics.jsonl"):
        if not (directory / name).is_file():
            raise DataError(
                f"{directory} has no {name}: it is no run directory, or the run stopped before its first logged step. "
                "Give the folder that was given to `truenorth train --out`."
            )
    try:
        settings = yaml.safe_load((directory / "run.yaml").read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(f"{directory / 'run.yaml'} is no YAML: {error}") from error
    if not isinstance(settings, dict):
        raise DataError(f"{directory / 'run.yaml'}: a mapping of settings is needed, got {settings!r}.")
    recipe = settings.get("recipe") or {name: value for name, value in settings.items() if name != "run"}
    return Artifacts(
        directory,
        recipe,
        settings.get("run") or {},
        read_metrics(directory / "metrics.jsonl"),
        _read(directory / "summary.json", TypeAdapter(Summary)) or Summary(),
        _read(directory / "account.json", TypeAdapter(Account)),
        _read(directory / "samples.json", TypeAdapter(list[Sample])) or (),
    )


def read_metrics(path: Path) -> list[Record]:
    """The lines of metrics.jsonl. A last line that a kill cut short is left out; any other bad line is a DataError."""
    text = path.read_text(encoding="utf-8")
    lines = text.split("\n")
    records: list[Record] = []
    for row, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            if row == len(lines):  # no newline follows: the write was cut, the run reads its own file the same way
                continue
            raise DataError(f"{path}, line {row}: not JSON ({error.msg}), got {line[:80]!r}.") from error
        if not isinstance(record, dict):
            raise DataError(f"{path}, line {row}: an object of metrics is needed, got {line[:80]!r}.")
        records.append(record)
    if not records:
        raise DataError(f"{path} has no lines: the run stopped before its first logged step, so there is no report.")
    return records


def _read(path: Path, kind: TypeAdapter[T]) -> T | None:
    """The file's content, or None where there is no such file."""
    if not path.is_file():
        return None
    try:
        return kind.validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise DataError(f"{path}: {where}: {first['msg']}, got {first.get('input')!r:.80}.") from error

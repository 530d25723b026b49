"""The run directory: where a run keeps what it was asked, what it has done, and what came out."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ..errors import CheckpointError, SettingsError
from ..files import write_text

# Settings of a run that a resumed one may change: they alter no number, only where and how often things are written.
FREE = {"out", "save_every", "keep_checkpoints", "eval_every"}


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """Paths in a run directory."""

    out: Path

    @property
    def settings(self) -> Path:
        return self.out / "run.yaml"

    @property
    def checkpoints(self) -> Path:
        return self.out / "checkpoints"

    @property
    def final(self) -> Path:
        return self.out / "final"

    @property
    def report(self) -> Path:
        return self.out / "report.html"

    def summary(self) -> dict[str, Any]:
        """summary.json of a finished run."""
        return json.loads((self.out / "summary.json").read_text(encoding="utf-8"))

    def file(self, name: str) -> Path:
        return self.out / name

    def write_settings(self, asked: Mapping[str, Any]) -> None:
        """Make the directory, with `asked` (recipe and run) as its run.yaml, which runs it again."""
        write_text(self.settings, yaml.safe_dump(dict(asked), sort_keys=False, allow_unicode=True))


def check_directory(out: Path, asked: Mapping[str, Any], *, resume: bool) -> RunDirectory:
    """The run directory at `out`, which need not exist yet, if a run that was asked `asked` may go there.

    Raises SettingsError if `out` holds something and `resume` is not set, or holds no run; CheckpointError if the run
    there was asked something else.
    """
    directory = RunDirectory(out)
    if directory.settings.exists():
        if not resume:
            raise SettingsError(f"{out} holds a run already. Go on with it by --resume, or choose another --out.")
        _compare(yaml.safe_load(directory.settings.read_text()), asked, directory.settings)
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise SettingsError(f"{out} exists and is no run directory. Choose another --out.")
    return directory


def identity(*parts: object) -> str:
    """A short hash of what must not change between a checkpoint and the run that goes on from it."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _compare(saved: Mapping[str, Any], asked: Mapping[str, Any], file: Path) -> None:
    before, now = _flat(saved), _flat(asked)
    for path in sorted(before.keys() | now.keys()):
        if path.split(".")[:1] == ["run"] and path.split(".")[1] in FREE:
            continue
        if before.get(path) != now.get(path):
            raise CheckpointError(
                f"{path} was {before.get(path)!r} when this run began ({file}), and is {now.get(path)!r} now. "
                "A resumed run must be asked the same; for another setting start a new run with another --out."
            )


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Every leaf of nested mappings under its dotted path."""
    if not isinstance(value, Mapping):
        return {prefix: value}
    leaves: dict[str, Any] = {}
    for name, inner in value.items():
        leaves |= _flat(inner, f"{prefix}.{name}" if prefix else str(name))
    return leaves

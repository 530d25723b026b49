"""Merge checkpoints on disk: what is asked for is checked first, then tensors stream from folder to folder."""

import importlib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from .errors import ModelError, SettingsError, so_many
from .fitting import Fit, Fitter, check_fit
from .merges import MERGES, merge_of
from .methods.contract import read
from .models.origin import must_exist
from .settings import find, scalar, table
from .weights.header import FLOATS
from .weights.merge import Merge, Outcome


@dataclass(frozen=True, slots=True)
class Merging:
    """A merge with its checkpoints, checked but for the tensors themselves."""

    how: Merge
    models: tuple[str, ...]
    base: str | None
    out: Path
    dtype: str | None  # what the result is stored as; None: as the first model is
    note: str = ""  # how settings were found that nobody gave

    def outcome(self) -> Outcome:
        """What will be written. Raises ModelError where the checkpoints do not fit together; imports no torch."""
        found = self.how.outcome([_folder(path) for path in self.models], _folder(self.base) if self.base else None)
        return found.stored_as(self.dtype) if self.dtype is not None else found

    def fitted(self, fitter: Fitter | None) -> "Merging":
        """The same with the ratios that `fitter` finds; None: as it is."""
        if fitter is None:
            return self
        found = fitter(self.how)
        return replace(self, how=found.how, note=str(found))

    def write(self, outcome: Outcome, *, said: Callable[[str], None] = lambda _: None) -> Path:
        """Compute and write `outcome`, and give the folder of the result."""
        from .weights.writer import write_folder

        write_folder(outcome, self.out, card=self.card(), said=said)
        return self.out

    def card(self) -> str:
        """The README.md of the result: front matter for the hub, and what was merged how."""
        about = describe(self.how.name) if self.how.name in MERGES else {"title": self.how.name}
        made = {"merge" if name == "kind" else name: value for name, value in self.how.model_dump(mode="json").items()}
        made |= {"models": list(self.models)} | ({"base": self.base} if self.base else {})
        front = {
            "library_name": "peft" if self.how.name == "adapters" else "transformers",
            "base_model": [*self.models, *([self.base] if self.base else [])],
            "base_model_relation": "merge",
            "tags": ["truenorth", "merge", self.how.name],
        }
        lines = ["---", yaml.safe_dump(front, sort_keys=False).strip(), "---", "", f"# {about['title']}", ""]
        lines += [
            f"Merged with TrueNorth {version('truenorth')}, tensor by tensor, in float32. {self.note}".strip(),
            "",
        ]
        lines += ["```text", about["formula"], "```", "", f"{about['paper']}", ""] if "formula" in about else []
        return "\n".join([*lines, "```yaml", yaml.safe_dump(made, sort_keys=False).strip(), "```", ""])


def merge(
    how: str | Merge, models: Sequence[str | Path], *, out: str | Path, base: str | Path | None = None, **settings: Any
) -> Path:
    """Merge the checkpoints in `models` into the folder `out`, and give it.

    `how` is a row of MERGES with its `settings`, or a merge such as `ExPO(alpha=0.3)`. A setting
    `dtype` says what the result is stored as, in place of the first model's dtype; `fit`, a `Fit`, by what the ratios
    of HMA are found. Raises SettingsError or ModelError for what does not fit, before anything is read or written.
    """
    dtype, fit = settings.pop("dtype", None), settings.pop("fit", None)
    if isinstance(how, Merge) and settings:
        raise SettingsError(f"give {', '.join(settings)} to {type(how).__name__} itself, or name the merge as text.")
    made = how if isinstance(how, Merge) else merge_of(how, **settings)
    merging = checked(made, models, out=out, base=base, dtype=dtype)
    merging.outcome()
    merging = merging.fitted(fitter_of(merging, fit))
    return merging.write(merging.outcome())


def checked(
    how: Merge,
    models: Sequence[str | Path],
    *,
    out: str | Path,
    base: str | Path | None = None,
    dtype: str | None = None,
) -> Merging:
    """The merge of these checkpoints into `out`. Raises for a wrong count, a missing model, an `out` that exists."""
    folder = Path(out).expanduser()
    merging = fitting_together(how, models, out=folder, base=base, dtype=dtype)
    if folder.exists():
        raise SettingsError(f"{folder} exists. Give another --out, or take it away first: nothing is overwritten.")
    return merging


def fitting_together(
    how: Merge, models: Sequence[str | Path], *, out: Path, base: str | Path | None, dtype: str | None
) -> Merging:
    """The same whatever is at `out`."""
    how.check(len(models), base=base is not None)
    if dtype is not None and dtype not in FLOATS.values():
        raise SettingsError(f"dtype must be one of {', '.join(FLOATS.values())}, got {dtype!r}.")
    for path in [*models, *([base] if base is not None else [])]:
        must_exist(str(path))
    _refuse_repeated(models, base)
    return Merging(how, tuple(map(str, models)), str(base) if base is not None else None, out, dtype)


def _refuse_repeated(models: Sequence[str | Path], base: str | Path | None) -> None:
    """Raise SettingsError where one folder is given twice: nothing would be merged."""
    places = [Path(path).expanduser().resolve() for path in models]
    if base is not None and Path(base).expanduser().resolve() in places:
        raise SettingsError(f"{base} is --base and among --models: what it learned beyond itself is nothing.")
    if len(set(places)) < len(places):
        raise SettingsError(f"a model stands twice among --models: {', '.join(map(str, models))}.")


def fitter_of(merging: Merging, fit: Fit | None) -> Fitter | None:
    """What finds the ratios of `merging`, None where they are given. Raises SettingsError where it has none."""
    if fit is None:
        return None
    check_fit(merging.how)
    fit.check()
    assert merging.base is not None
    return Fitter(merging.models[0], merging.base, fit)


def setting_of(key: str, value: str) -> tuple[str, object]:
    """`--set KEY=VALUE` as a name and a value."""
    try:
        found = scalar(value)
    except SettingsError as error:
        raise SettingsError(f"--set {key}: {error}") from error
    if isinstance(found, str) and "," in found:
        raise SettingsError(f"--set {key}={value}: a list is written in brackets, --set {key}=[{value}].")
    return key, found


def describe(name: str) -> dict[str, Any]:
    """What `truenorth methods NAME` shows of a merge: title, paper, formula, differs, needs, and a row per setting."""
    merge_of_name: type[Merge] = find(MERGES[name])
    module = importlib.import_module(merge_of_name.__module__)
    text = read(inspect.getdoc(module) or "") | _own(inspect.getdoc(merge_of_name) or "")
    fewest, most = merge_of_name.models
    needs = so_many(fewest, most, "adapter" if name == "adapters" else "model")
    return {
        "name": name,
        **text,
        "needs": f"{needs}, --base: {merge_of_name.base}" if merge_of_name.base else needs,
        "settings": table(merge_of_name),
    }


def _own(docstring: str) -> dict[str, str]:
    """Title and formula of a class in a file with several; of another nothing."""
    rows = read(docstring)
    return rows if "formula" in rows else {}


def _folder(path: str) -> Path:
    """A folder as it is; a hub name's safetensors, downloaded to the local cache."""
    if Path(path).expanduser().is_dir():
        return Path(path).expanduser()
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    wanted = ["*.json", "*.safetensors", "*.jinja", "*.model", "*.txt"]
    try:
        return Path(snapshot_download(path, allow_patterns=wanted))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ModelError(f"{path} is no folder, and cannot be fetched from the hub: {error}") from error

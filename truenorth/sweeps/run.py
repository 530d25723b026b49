"""Sweep a setting of a merge: merge at each value, measure what comes out, and keep the numbers.

A point is written down as soon as it is measured, so that a sweep that was killed goes on with what is there. Each
merged model lies on disk only while it is measured, unless all are to be kept.
"""

import shlex
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..data.workers import now_and_then
from ..errors import SettingsError
from ..evaluate.progress import Silent, Watch
from ..fitting import Fit, Fitter
from ..merges import MERGES, merge_of
from ..merging import Merging, describe, fitter_of, fitting_together
from ..models.origin import fingerprint
from .evaluation import Evaluation
from .points_file import add, resumed, short
from .values import as_text, by_size, number_of, values_of

if TYPE_CHECKING:
    from ..evaluate.trade_off import Point, TradeOff
    from ..evaluate.trade_off_page import About
    from .yardstick import Yardstick

NUMBERS, PAGE = "sweep.jsonl", "sweep.html"


@dataclass(frozen=True, slots=True)
class Sweep:
    """A merge at several values of one setting, checked but for the tensors and the data."""

    setting: str
    merges: Mapping[str, Merging]  # by the name of the point, as alpha=0.3
    out: Path
    measured_by: Evaluation
    fit: Fit | None  # by what each merge's ratios are found
    keep_all: bool

    @property
    def first(self) -> Merging:
        return next(iter(self.merges.values()))

    @property
    def models(self) -> dict[str, str]:
        """What is merged, by the name of its point: the base, and the other models."""
        first = self.first
        names = (
            ["model"] if len(first.models) == 1 else [f"model {place}" for place in range(1, 1 + len(first.models))]
        )
        return ({"base": first.base} if first.base is not None else {}) | dict(zip(names, first.models, strict=True))

    @property
    def names(self) -> list[str]:
        """Of all points, in the order in which they are measured."""
        return [*self.models, *self.merges]

    def run(self, watch: Watch) -> "TradeOff":
        """Measure every point that is not measured yet, write the page, and give all points, earlier ones too.

        Raises CheckpointError where other points lie in `out`: of another merge, other models or other data.
        """
        from ..evaluate.trade_off import TradeOff
        from ..evaluate.trade_off_page import write_page

        watch.stage("reading the data")
        yardstick = self.measured_by.yardstick(self.first.models[0])
        fitter = fitter_of(self.first, self.fit)
        rows = resumed(self.out / NUMBERS, self._identity())
        todo = [name for name in self.names if name not in rows or (self.keep_all and not self._kept(name))]
        if len(todo) < len(self.names):
            watch.said(f"{len(self.names) - len(todo)} points are measured already, {len(todo)} are left.")
        for place, name in enumerate(todo, 1):

            def said(what: str, start: str = f"point {place} of {len(todo)}, {name}") -> None:
                watch.stage(f"{start}: {what}")

            if fitter is not None:
                fitter.said = now_and_then(said)
            rows[name] = short(self._measured(name, yardstick, fitter, said))
            add(self.out / NUMBERS, name, rows[name])
        found = TradeOff(self.setting, self._points(rows))
        write_page(found, about(self), self.out / PAGE)
        return found

    def _points(self, rows: Mapping[str, Mapping[str, Sequence[float]]]) -> "list[Point]":
        """The models, and every merge that `out` holds, by value: those of earlier sweeps as well."""
        from ..evaluate.trade_off import Point

        merges = {name: number_of(name) for name in rows if name not in self.models}
        found = {**dict.fromkeys(self.models), **dict(sorted(merges.items(), key=lambda item: by_size(item[1])))}
        return [Point(name, value, rows[name]) for name, value in found.items()]

    def _kept(self, name: str) -> bool:
        return name in self.models or self.merges[name].out.exists()

    def _measured(
        self, name: str, yardstick: "Yardstick", fitter: Fitter | None, said: Callable[[str], None]
    ) -> dict[str, list[float]]:
        """The numbers of a point. What is merged for it is taken away afterwards, unless all are kept."""
        if name in self.models:
            said("measuring")
            return yardstick.of(self.models[name])
        merging = self.merges[name]
        shutil.rmtree(merging.out, ignore_errors=True)  # what a kill has left: its numbers are not there
        try:
            merging = merging.fitted(fitter)
            said("merging")
            merging.write(merging.outcome(), said=now_and_then(said))
            said("measuring")
            return yardstick.of(str(merging.out))
        finally:
            if not self.keep_all:
                shutil.rmtree(merging.out, ignore_errors=True)

    def _identity(self) -> dict[str, object]:
        how = {name: value for name, value in self.first.how.model_dump(mode="json").items() if name != self.setting}
        models = {name: [path, fingerprint(path)] for name, path in self.models.items()}
        fitted = None if self.fit is None else str(self.fit)
        return {"merge": how, "setting": self.setting, "fit": fitted, **models, **self.measured_by.identity()}


def sweep(
    how: str, models: Sequence[str | Path], over: str, *, out: str | Path, watch: Watch | None = None, **settings: Any
) -> "TradeOff":
    """Merge at each value of one setting (`over`, as `alpha=0..1`), measure each result, and write `out`/sweep.html.

    `settings` are `base`, `dtype`, those of the merge and of `Evaluation`, `keep_all` (False), and `fit` (a `Fit`).
    The same call goes on with a sweep that was killed. Raises as `merge` does, before anything is measured.

    sweep("expo", ["runs/dpo/final"], "alpha=-1..1", base="my-sft", out="sweeps/expo",
          eval_data="held_out.jsonl", ability_data="facts.jsonl")
    """
    return sweep_of(how, models, over, out=out, **settings).run(watch or Silent())


def sweep_of(how: str, models: Sequence[str | Path], over: str, *, out: str | Path, **settings: Any) -> Sweep:
    """The sweep that `sweep` runs. Reads no weights and imports no torch."""
    setting, values = values_of(over)
    measured_by = Evaluation(**{key: settings.pop(key) for key in list(settings) if key in Evaluation.model_fields})
    keep_all, fit = settings.pop("keep_all", False), settings.pop("fit", None)
    base, dtype, folder = settings.pop("base", None), settings.pop("dtype", None), Path(out).expanduser()
    if setting in settings:
        raise SettingsError(f"{setting} is swept, and set as well: leave out --set {setting}=...")
    merges, names = dict[str, Merging](), [f"{setting}={as_text(value)}" for value in values]
    for name, value in zip(names, values, strict=True):
        made, place = merge_of(how, **settings, **{setting: value}), folder / (name if keep_all else ".merged")
        merges[name] = fitting_together(made, models, out=place, base=base, dtype=dtype)
        fitter_of(merges[name], fit)
    if folder.exists() and not (folder / NUMBERS).exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SettingsError(f"{folder} exists and is no sweep. Give another --out.")
    measured_by.check()
    found = Sweep(setting, merges, folder, measured_by, fit, keep_all)
    found.first.outcome()
    return found


def about(sweep: Sweep) -> "About":
    """What the page says beside the numbers."""
    from ..evaluate.trade_off_page import About

    first, fit = sweep.first, sweep.fit
    told = describe(first.how.name) if first.how.name in MERGES else {"title": first.how.name}
    how = first.how.model_dump(mode="json", exclude={sweep.setting})
    rows = {"merge": how.pop("kind"), **how, **sweep.models}
    rows |= {name: value for name, value in sweep.measured_by if value is not None}
    if fit is not None:
        rows |= {f"fit.{name}": value for name, value in fit if value is not None}
    line = ["truenorth", "merge", first.how.name, "--models", *first.models]
    line += ["--base", first.base] if first.base else []
    sets = {name: value for name, value in how.items() if name in first.how.model_fields_set}
    line += ["--fit-data", fit.data] if fit is not None and fit.data is not None else []
    line += ["--out", "merged", "--set", f"{sweep.setting}=..."] + [f"{name}={value}" for name, value in sets.items()]
    return About(
        told["title"],
        told.get("paper", ""),
        told.get("formula", ""),
        [(name, str(value)) for name, value in rows.items()],
        shlex.join(line),
    )

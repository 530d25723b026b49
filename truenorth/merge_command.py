"""`truenorth merge` once its line is read: one merge, or a sweep of one setting."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console

from .commands import quiet_libraries
from .data.workers import now_and_then
from .errors import SettingsError
from .evaluate.progress import watching
from .fitting import Fit
from .flags import MERGE, Given, settings_of, split_setting
from .merges import merge_class, merge_of
from .merging import checked, fitter_of, setting_of

if TYPE_CHECKING:
    from .evaluate.trade_off import TradeOff

WIDTH = 96  # columns of the table of a sweep: a log has room for them


def merge_command(how: str, given: Given, *, sets: Sequence[str]) -> None:
    """Merge, and print the folder of the result; with --sweep the table of what was measured, and the page."""
    asked, settings = settings_of(given, MERGE), dict(setting_of(*split_setting(text, "--set")) for text in sets)
    _must_be_given(how, asked)
    if "sweep" in asked:
        _sweep(how, asked, settings)
    else:
        _merge(how, asked, settings)


def _merge(how: str, asked: Mapping[str, Any], settings: Mapping[str, object]) -> None:
    made = merge_of(how, **settings)
    idle = [name for name in asked if name.startswith("measured.") or name == "keep_all"]
    if "fit.prompts" not in asked:
        idle += [name for name in asked if name.startswith("sampling.") or name == "judge"]
    if idle:
        flags = ", ".join(f"--{name.partition('.')[2] or name}".replace("_", "-") for name in idle)
        raise SettingsError(f"{flags}: for a --sweep alone, which measures; for instance --sweep alpha=0..1.")
    merging = checked(made, asked["models"], out=asked["out"], base=asked.get("base"), dtype=asked.get("dtype"))
    fitter, outcome = fitter_of(merging, _fit(asked)), merging.outcome()
    console = Console(stderr=True)
    with watching(console) as watch:

        def said() -> Callable[[str], None]:  # a log needs no line for each tensor
            return watch.stage if console.is_terminal else now_and_then(watch.stage)

        watch.stage("loading torch")
        if fitter is not None:
            quiet_libraries()
            fitter.said = said()
            merging = merging.fitted(fitter)
            outcome = merging.outcome()
            watch.said(merging.note)
        print(merging.write(outcome, said=said()))


def _sweep(how: str, asked: Mapping[str, Any], settings: dict[str, object]) -> None:
    from .sweeps.run import PAGE, sweep_of

    measured = {name.partition(".")[2]: value for name, value in asked.items() if name.startswith("measured.")}
    if isinstance(data := measured.get("eval_data"), list):
        measured["eval_data"] = _only(data)
    if "prompts" in measured:
        measured |= {"judge": asked.get("judge"), "sampling": _sampling(asked)}
    elif "judge" in asked and "fit.prompts" not in asked:
        measured["judge"] = asked["judge"]
    asked_too = {name: asked[name] for name in ("base", "dtype", "keep_all") if name in asked}
    made = sweep_of(
        how, asked["models"], asked["sweep"], out=asked["out"], fit=_fit(asked), **asked_too, **measured, **settings
    )
    with watching(Console(stderr=True)) as watch:
        quiet_libraries()
        found = made.run(watch)
    _show(found)
    print(f"{asked['out']}/{PAGE}")


def _show(found: "TradeOff") -> None:
    from .evaluate.trade_off import draw

    console = Console(stderr=True, highlight=False)
    console.width = max(console.width, WIDTH)
    console.print(draw(found))
    start, what = found.points[0].name, " and ".join(found.axes)
    console.print(f"\nΔ: from {start} on the same rows, ± half the 95 % interval.", markup=False)
    console.print(f"*: no other merge is as good in {what}. None was chosen; --set writes one.", markup=False)


def _fit(asked: Mapping[str, Any]) -> Fit | None:
    fields = {name.partition(".")[2]: value for name, value in asked.items() if name.startswith("fit.")}
    if "prompts" in fields:
        fields |= {"judge": asked.get("judge"), "sampling": _sampling(asked)}
    return Fit(**fields) if fields else None


def _sampling(asked: Mapping[str, Any]) -> dict[str, Any]:
    return {name.partition(".")[2]: value for name, value in asked.items() if name.startswith("sampling.")}


def _only(paths: Sequence[str]) -> str:
    if len(paths) > 1:
        raise SettingsError(f"a sweep takes one --eval-data, got {len(paths)}: {', '.join(paths)}.")
    return paths[0]


def _must_be_given(how: str, asked: Mapping[str, Any]) -> None:
    missing = [flag for flag in ("models", "out") if flag not in asked]
    kind = merge_class(how)
    if missing:
        raise SettingsError(
            f"merge needs {' and '.join(f'--{flag}' for flag in missing)}, for instance "
            f"truenorth merge {how} --models {' '.join('ab'[: kind.models[1]])} "
            f"{'--base sft ' if kind.base else ''}--out merged"
        )

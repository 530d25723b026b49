"""What a command line or a file asks for, as a recipe and a run. Misspelt names are found before torch is there."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import yaml

from . import methods, names
from .data import arrivals, files
from .errors import SettingsError, did_you_mean
from .flags import FLAGS, Flag, Given, settings_of, split_setting
from .judge import judge_named
from .launch import place
from .methods import saved, terms
from .models.origin import must_exist
from .run import Run
from .train.run_directory import RunDirectory, refuse_taken

if TYPE_CHECKING:
    from .recipe import Recipe

Changes = list[tuple[str, object]]  # dotted path in the recipe, or a bare setting of the objective, and its value

LENGTHS = frozenset({"run.epochs", "run.max_steps"})


@dataclass(frozen=True, slots=True)
class Request:
    """Names are checked and the run is whole; the recipe is made by `recipe()`, which imports torch."""

    parts: Mapping[str, Any]  # of the recipe, as in YAML; at least `method`
    changes: Changes
    run: Run

    def recipe(self) -> "Recipe":
        recipe = methods.load(self.parts)
        if self.run.stream is not None:
            from .feeds.arriving import suited

            recipe = suited(recipe, given=self.parts.get("update") or {})
        for key, value in self.changes:
            recipe = methods.override(recipe, key, value)
        return recipe


def request(target: str, given: Given, sets: Sequence[str] = (), *, planned: bool = False) -> Request:
    """The request of `truenorth train TARGET`, where TARGET is a method, a YAML file or a run directory.

    Of `truenorth plan`, where `planned`: rows and a run directory may be missing then. What the command line gives
    comes after what the file says. Raises SettingsError for whatever does not fit.
    """
    file = file_of(target)
    parts, run = read(file) if file else ({"method": target}, {})
    if file and RunDirectory(file.parent).began:
        run["out"] = str(file.parent)  # wherever it was when it began
    method = str(parts["method"])
    for name in terms.names_of(method):
        if name not in methods.METHODS and ":" not in name:
            _refuse_method(name, target if file is None else None)
    wanted = [*settings_of(given).items(), *map(_setting, sets)]
    if {path for path, _ in wanted} & LENGTHS:  # one of them goes before the other in the file
        run = {name: value for name, value in run.items() if f"run.{name}" not in LENGTHS}
    changes: Changes = []
    for path, value in wanted:
        if path == "run.judge" and isinstance(value, str):
            _put(run, ["judge"], judge_named(value))
        elif path.startswith("run."):
            _put(run, path.split(".")[1:], value)
        else:
            names.check_key(path, method)
            changes.append((path, _reference(value) if path == "references.initial" else value))
    names.check_run(run)
    return Request(parts, changes, _run(run, given, planned=planned))


def check_resumed(target: str, run: Run) -> None:
    """Raise SettingsError where `--resume` names a run directory, and `--out` another."""
    file = file_of(target)
    if file and RunDirectory(file.parent).began and run.out.resolve() != file.parent.resolve():
        raise SettingsError(
            f"--resume goes on with the run in {file.parent}, and --out is {run.out}. Leave --out out; or leave "
            "--resume out, and the run begins anew there."
        )


def check_places(run: Run, *, resume: bool) -> None:
    """Raise for a model, a data file or a run directory that cannot be used, before torch is imported for it.

    What passes here is checked again, exactly, when the run starts. Raises SettingsError, DataError or ModelError.
    """
    if place().count > 1:  # one process must not end while others wait for it
        return
    directory = RunDirectory(run.out)
    directory.refuse_if_held()
    refuse_taken(run.out, resume=resume)
    if directory.finished:
        return
    check_sources(run)
    if run.stream is not None:
        arrivals.check_place(run.stream.path, run.out / "stream")


def check_sources(run: Run) -> None:
    """Raise for a model, a judge or a data file that is not there. Raises as `check_places`."""
    must_exist(run.model)
    if run.judge is not None:
        run.judge.check_place()
    for source in [*run.data, *run.eval_data]:
        files.must_exist(source.path)


def file_of(target: str) -> Path | None:
    """The YAML file that `target` names, or the one of the run directory that it names; None for a method's name."""
    path = Path(target)
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise SettingsError(f"there is no file {path}.")
        return path
    if (path / "run.yaml").is_file():
        return path / "run.yaml"
    if target not in methods.METHODS and ("/" in target or path.is_dir()):
        what = "it holds no run.yaml" if path.exists() else "it does not exist"
        raise SettingsError(f"{target} is no run directory: {what}. Give a method's name, or a YAML file.")
    return None


def read(file: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The parts of the recipe and the settings of the run in a YAML file, ours ({recipe, run}) or hand-written."""
    try:
        data = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file} is no YAML: {error}") from error
    if not isinstance(data, dict):
        raise SettingsError(f"{file} must hold settings (`method: exo`, ...), got {type(data).__name__}.")
    run = data.pop("run", None) or {}
    parts = data.pop("recipe") if set(data) == {"recipe"} else data
    if not isinstance(run, dict) or not isinstance(parts, dict):
        raise SettingsError(f"{file}: `run` and `recipe` must be mappings of settings.")
    try:
        names.check_recipe(parts)
        names.check_run(run)
    except SettingsError as error:
        raise SettingsError(f"{file}: {error}") from None
    if parts.setdefault("method", saved.method_of(parts.get("objective"))) is None:
        raise SettingsError(f"{file} needs `method`, for instance `method: dpo`; `truenorth methods` lists them.")
    return parts, run


def _refuse_method(name: str, target: str | None) -> NoReturn:
    """Say that there is no such method; where it is the target of the command, nor such a run."""
    if target is None:
        methods.recipe(name)  # refuses the name
    raise SettingsError(
        f"There is no method {name!r}, and no run directory or YAML file of that name."
        f"{did_you_mean(name, methods.METHODS)} Methods are {', '.join(methods.METHODS)}, package.module:function, "
        "and sums of them: 'dpo + 0.2*simpo'. A run goes on with: truenorth train RUN_DIR --resume"
    )


def _put(run: dict[str, Any], path: Sequence[str], value: object) -> None:
    """Set `run[a][b]`; a flag's text stands for itself, `none` for nothing but of pairing."""
    *outer, last = path
    for name in outer:
        if not isinstance(run.get(name), dict):
            run[name] = {}
        run = run[name]
    stands_for_itself = last == "pairing"  # which has a value of that name
    run[last] = None if value == "none" and not stands_for_itself else value


def _setting(text: str) -> tuple[str, object]:
    """`--set KEY=VALUE`: a value of the run is read as YAML here, one of the recipe by `methods.override`."""
    key, value = split_setting(text, "--set")
    if not key.startswith("run."):
        return key, value
    try:
        return key, yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise SettingsError(f"--set {key}: {value!r} is no YAML value: {error}") from error


def _reference(value: object) -> dict[str, object]:
    """`frozen`, `cached`, `moving`, or else the path of a model."""
    return {"kind": value} if value in ("frozen", "cached", "moving") else {"kind": "model", "path": value}


def _run(run: Mapping[str, Any], given: Given, *, planned: bool) -> Run:
    """The run, validated; what is wrong with a flag is said of the flag."""
    flags = {flag.path.removeprefix("run."): flag for flag in FLAGS if flag.path.startswith("run.")}
    own = run.get("judge") or run.get("stream")  # rounds of self-play make their rows, and those of a stream come
    needed = ("model",) if planned else ("model", "out") if own else ("model", "data", "out")
    missing = [f"--{flags[name].name}" for name in needed if not run.get(name)]
    if missing:
        rounds = run.get("prompts") and not run.get("data")
        method, rows = "dpo", "--data pairs.jsonl"
        if rounds:
            method, rows = "online_dpo", "--prompts prompts.jsonl --judge my.judges:reward"
        command, out = ("plan", "") if planned else ("train", f" --out runs/{method}")
        raise SettingsError(
            f"{command} needs {' and '.join(missing)}: "
            + "; ".join(f"{flag} {flags[flag[2:]].metavar}" for flag in missing)
            + (", or --judge where answers to --prompts are the rows" if rounds else "")
            + f". For instance: truenorth {command} {method} --model my-sft {rows}{out}"
        )
    stream = run.get("stream")
    if isinstance(stream, Mapping) and not stream.get("path"):
        raise SettingsError("a stream's settings are given, such as --stream-idle, and no stream: give --stream FILE.")
    asked: dict[str, Any] = {"out": "-", **run} if planned else {**run}
    try:
        return Run(**asked)
    except SettingsError as error:
        raise of_flags(error, [flag for flag in flags.values() if flag.parameter in given]) from None


def of_flags(error: SettingsError, flags: Iterable[Flag]) -> SettingsError:
    """The error, with what is wrong with a setting said of the flag that gave it."""
    text = str(error)
    for flag in flags:
        text = re.sub(rf"(\w+: )*\b\w+'s? {flag.path.rpartition('.')[2]}(?=[ :])", f"--{flag.name}", text)
    return SettingsError(text)

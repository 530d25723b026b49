"""What each command does once its line is read. Slow imports stand where they are needed, after cheap checks."""

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from .errors import SettingsError
from .evaluate.progress import watching
from .flags import INSPECT, PLAN, Given, settings_of
from .planning.asked import Planned, check
from .request import check_places, check_resumed, check_sources, of_flags, request

if TYPE_CHECKING:
    from .job import Result

INTERRUPTED = 130  # as a shell says of Ctrl-C


def train_command(target: str, given: Given, *, sets: Sequence[str], resume: bool) -> int:
    """Train; the exit code is 0, or 130 where Ctrl-C ended the run after a checkpoint."""
    asked = request(target, given, sets)
    if resume:
        check_resumed(target, asked.run)
    check_places(asked.run, resume=resume)
    recipe = asked.recipe()
    from .job import start

    quiet_libraries()
    try:
        with watching(Console(stderr=True)) as watch:
            result = start(recipe, asked.run, resume=resume, watch=watch)
    except KeyboardInterrupt:
        return _stopped(asked.run.out)
    return _ended(result)


def demo_command(out: Path | None) -> int:
    """Run the demonstration; the exit code as of `train_command`."""
    from .demo import demo

    quiet_libraries()
    with watching(Console(stderr=True)) as watch:
        result = demo(out, watch)
    return _ended(result)


def _ended(result: "Result") -> int:
    """Say how the run went and what to do next."""
    from .evaluate.terminal import lines_of

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    if result.interrupted:
        console.print(f"Interrupted after a checkpoint. Go on with:\n  {_resume(result.out)}", markup=False)
        return INTERRUPTED
    for line in [*lines_of(result.out, result.report), f"Model:  {result.out / 'final'}"]:
        console.print(line, markup=False)
    return 0


def _stopped(out: Path) -> int:
    """Say what became of a run that was stopped at once: before its first step, or between its parts."""
    said = f"Stopped before anything was written to {out}: give the same command again."
    if (out / "run.yaml").is_file():
        said = (
            f"Stopped outside of a step. The run in {out} goes on from its newest checkpoint, or from its beginning "
            f"where it has none yet:\n  {_resume(out)}"
        )
    Console(stderr=True, highlight=False, soft_wrap=True).print(said, markup=False)
    return INTERRUPTED


def _resume(out: Path) -> str:
    return shlex.join(["truenorth", "train", str(out / "run.yaml"), "--resume"])


def report_command(run_directories: Sequence[Path], out: Path | None) -> None:
    """Write the report of one run, or the comparison of several, and print its path."""
    from .evaluate.comparison import write_comparison
    from .evaluate.report import write_report

    if len(run_directories) > 1:
        print(write_comparison(run_directories, out or Path("comparison.html")))
        return
    if out is not None:
        raise SettingsError(
            f"--out names the page that compares several runs; one run's is {run_directories[0]}/report.html."
        )
    print(write_report(run_directories[0]))


def inspect_command(data: Sequence[str], given: Given, *, rows: int, as_json: bool) -> bool:
    """Print what would be trained on, and say whether a run would start with it.

    Without --model no tokenizer is loaded; without --method either, torch is not imported.
    """
    from .data.files import must_exist as rows_must_exist
    from .data.options import DataSettings, Needs
    from .evaluate.inspection import draw, inspect

    asked = {path.removeprefix("run."): value for path, value in settings_of(given, INSPECT).items()}
    model, batch_size = asked.pop("model", None), int(asked.pop("batch_size", 8))
    if "chat_template" in asked:
        asked["chat_template"] = read_text(Path(asked["chat_template"]))
    needs = Needs(candidates=(1, None))
    if (method := asked.pop("method", None)) is not None:
        from .job import needs_of
        from .methods import recipe

        needs = needs_of(recipe(method).objective)
    settings = DataSettings(**asked, needs=needs)
    console = Console()
    tokenizer = None
    for path in data:
        rows_must_exist(path)
    with watching(Console(stderr=True)) as watch:
        if model is not None:
            watch.stage("loading the tokenizer")
            from .models.load import load_tokenizer

            tokenizer = load_tokenizer(model)
        watch.stage("reading the data")
        sources = [(path, 1.0) for path in data]
        found = inspect(sources, settings, tokenizer=tokenizer, batch_size=batch_size, said=watch.stage)
    if as_json:
        print(json.dumps(found.to_dict(), indent=2, ensure_ascii=False))
    else:
        colour = console.is_terminal and not console.no_color
        console.print(draw(found, tokenizer=tokenizer, rows=rows, colour=colour), highlight=False)
    return not found.refusal


def plan_command(target: str, given: Given, *, sets: Sequence[str], as_json: bool) -> None:
    """Print what the run that `train` would start takes."""
    own = {flag.parameter: flag for flag in PLAN if flag.path.startswith("planned.")}
    try:
        values = {own[name].path.removeprefix("planned."): value for name, value in given.items() if name in own}
        planned = Planned(**values)
    except SettingsError as error:
        raise of_flags(error, own.values()) from None
    asked = request(target, {name: value for name, value in given.items() if name not in own}, sets, planned=True)
    check(planned, asked.run)
    check_sources(asked.run)
    recipe = asked.recipe()
    from .planning.run import planned_run

    quiet_libraries()
    with watching(Console(stderr=True)) as watch:
        watch.stage("planning")
        found = planned_run(recipe, asked.run, planned)
    if as_json:
        print(json.dumps(found.to_dict(), indent=2))
        return
    from .evaluate.plan_text import draw

    Console().print(draw(found), highlight=False)


def methods_command(name: str | None, *, as_json: bool) -> None:
    """Print the tables of methods and merges, or one of them."""
    from . import methods
    from .evaluate.method_tables import one_merge, one_method, table_of_merges, table_of_methods
    from .merges import MERGES
    from .merging import describe

    if name in MERGES:
        merge = describe(str(name))
        Console().print_json(data=merge) if as_json else Console().print(one_merge(merge))
        return
    found = [methods.describe(row) for row in ([name] if name else methods.METHODS)]
    merges = [] if name else [describe(row) for row in MERGES]
    if as_json:
        print(json.dumps(found[0] if name else [*found, *merges], indent=2))
    else:
        Console().print(one_method(found[0]) if name else table_of_methods(found))
    if merges and not as_json:
        Console().print(table_of_merges(merges))


def read_text(file: Path) -> str:
    """The text of a file. Raises SettingsError where there is none."""
    if not file.is_file():
        raise SettingsError(f"there is no file {file}.")
    return file.read_text(encoding="utf-8")


def quiet_libraries() -> None:
    """Keep the libraries' own progress bars off the screen, and what they say to each other of deprecated names."""
    import warnings

    from transformers.utils import logging

    warnings.filterwarnings("ignore", category=FutureWarning, module=r"transformers\.|peft\.")
    logging.disable_progress_bar()

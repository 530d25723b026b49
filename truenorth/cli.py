"""The commands of `truenorth`. Nothing slow is imported before a command needs it: `truenorth --help` is instant."""

import importlib.metadata
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from typer.core import TyperGroup

from .errors import CheckpointError, DataError, ModelError, NumericsError, ProcessError, SamplerError, SettingsError
from .flags import FLAGS, GENERATE, INSPECT, MERGE, PLAN, Given, Spread, takes
from .measuring.flags import EVALUATE, JUDGE
from .merges import MERGES
from .stopping import stoppable

REFUSALS = (SettingsError, DataError, ModelError, CheckpointError, NumericsError, ProcessError, SamplerError)
DONE, REFUSED, INTERRUPTED = 0, 1, 130  # exit codes; 2 is a wrong flag or argument
MAKE, LOOK = "Make", "Look"

EPILOG = """[b]First steps[/]

truenorth demo

truenorth inspect pairs.jsonl --model my-sft

truenorth train dpo --model my-sft --data pairs.jsonl --out runs/dpo"""


class Commands(TyperGroup):
    """A group that says in one message why a request is refused, and leaves tracebacks to our own mistakes."""

    def invoke(self, ctx: typer.Context) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        try:
            with stoppable():
                return super().invoke(ctx)
        except REFUSALS as error:
            Console(stderr=True).print(f"[bold red]Error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
            raise typer.Exit(REFUSED) from None
        except KeyboardInterrupt:
            Console(stderr=True).print("Interrupted.")
            raise typer.Exit(INTERRUPTED) from None


app = typer.Typer(
    name="truenorth",
    cls=Commands,
    help="Align language models with preferences: one engine, every method, one short file per paper.",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """The script `truenorth`: a user's modules are found in the folder it runs in, as after `python -m`."""
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)
    app()


def _version(asked: bool) -> None:
    if asked:
        print(f"truenorth {importlib.metadata.version('truenorth')}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Align language models with preferences: one engine, every method, one short file per paper."""


@app.command(cls=Spread, rich_help_panel=MAKE, no_args_is_help=True)
@takes(FLAGS)
def train(
    target: Annotated[
        str, typer.Argument(metavar="METHOD | run.yaml | RUN_DIR", help="a method, or a file that holds all settings")
    ],
    sets: Annotated[
        list[str] | None,
        typer.Option(
            "--set", "-s", metavar="KEY=VALUE ...", help="a setting of the method, or a path: update.decay=cosine"
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on from the newest checkpoint in --out")] = False,
    *,
    given: Given,
) -> None:
    """Train a model on preferences.

    [dim]truenorth train exo --model my-sft --data pairs.jsonl --out runs/exo --set beta=0.2
    truenorth train run.yaml --resume[/]

    [b]truenorth methods NAME[/] shows what --set takes, [b]truenorth inspect[/] what would be trained on.
    """
    from .commands import train_command

    raise typer.Exit(train_command(target, given, sets=sets or [], resume=resume))


@app.command(cls=Spread, rich_help_panel=LOOK, no_args_is_help=True)
@takes(INSPECT)
def inspect(
    data: Annotated[list[str], typer.Argument(metavar="DATA ...", help="files, folders or hub names")],
    rows: Annotated[int, typer.Option("--rows", metavar="N", min=0, help="rows shown with their tokens")] = 2,
    as_json: Annotated[bool, typer.Option("--json", help="machine-readable")] = False,
    *,
    given: Given,
) -> None:
    """Show what would be trained on: formats, every row's fate, lengths, packing, and tokens in colour.

    [dim]truenorth inspect pairs.jsonl --model my-sft --max-length 1024[/]

    Without --model, all that needs no tokenizer. The exit code is 1 where a run would not start.
    """
    from .commands import inspect_command

    raise typer.Exit(DONE if inspect_command(data, given, rows=rows, as_json=as_json) else REFUSED)


@app.command(cls=Spread, rich_help_panel=LOOK, no_args_is_help=True)
@takes(PLAN)
def plan(
    target: Annotated[str, typer.Argument(metavar="METHOD | run.yaml | RUN_DIR", help="as for train")],
    sets: Annotated[
        list[str] | None, typer.Option("--set", "-s", metavar="KEY=VALUE ...", help="as for train")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="machine-readable")] = False,
    *,
    given: Given,
) -> None:
    """Say what a run would take, before it is started: memory by part, micro-batches, tokens, time.

    [dim]truenorth plan dpo --model my-sft --data pairs.jsonl
    truenorth plan mpo --model my-sft --prompts prompts.jsonl --judge reward:runs/reward/final
    truenorth plan dpo --model my-sft --gpu h100 --devices 8 --layout fsdp --prompt-tokens 300 --answer-tokens 200[/]

    No weights are read: a folder with config.json is enough, and with --data the tokenizer.
    """
    from .commands import plan_command

    plan_command(target, given, sets=sets or [], as_json=as_json)


@app.command(cls=Spread, rich_help_panel=LOOK)
def methods(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="one method, with its settings", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="machine-readable")] = False,
) -> None:
    """List methods and merges: paper, what each needs. With NAME its settings, ranges and where defaults come from."""
    from .commands import methods_command

    methods_command(name, as_json=as_json)


@app.command(cls=Spread, rich_help_panel=MAKE, no_args_is_help=True)
@takes(GENERATE)
def generate(*, given: Given) -> None:
    """Answer prompts with a model, or with a server of one.

    [dim]truenorth generate --model runs/exo/final --prompt "Write a letter." --k 3
    truenorth generate --model my-sft --prompts prompts.jsonl --out answers.jsonl
    truenorth generate --model my-sft --server http://localhost:8000/v1 --prompts prompts.jsonl --out answers.jsonl[/]

    A command that was killed goes on with its --out: what is written there is kept.
    """
    from .generate_command import generate_command

    generate_command(given)


@app.command(cls=Spread, rich_help_panel=MAKE, no_args_is_help=True)
@takes(MERGE)
def merge(
    how: Annotated[str, typer.Argument(metavar="MERGE", help=f"one of {', '.join(MERGES)}")],
    sets: Annotated[
        list[str] | None, typer.Option("--set", "-s", metavar="KEY=VALUE ...", help="a setting of the merge")
    ] = None,
    *,
    given: Given,
) -> None:
    """Merge trained models, or LoRA adapters of one base, into a new one: ExPO, averages, TIES, DARE, ...

    [dim]truenorth merge expo --models runs/dpo/final --base my-sft --out merged --set alpha=0.3
    truenorth merge ties --models runs/a/final runs/b/final --base my-sft --out merged
    truenorth merge adapters --models runs/a/final runs/b/final --out merged --set weights=[0.7,0.3]
    truenorth merge expo --models runs/dpo/final --base my-sft --out sweeps/expo --sweep alpha=-1..1 \\
        --eval-data held_out.jsonl --ability-data known.jsonl[/]

    [b]truenorth methods[/] lists the merges, [b]truenorth methods NAME[/] shows what --set takes.
    """
    from .merge_command import merge_command

    merge_command(how, given, sets=sets or [])


@app.command(cls=Spread, rich_help_panel=LOOK, no_args_is_help=True)
@takes(JUDGE)
def judge(
    sets: Annotated[
        list[str] | None, typer.Option("--set", "-s", metavar="KEY=VALUE ...", help="a setting of the judge")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="machine-readable")] = False,
    *,
    given: Given,
) -> None:
    """Win rate of a model's answers against another model's, or against answers in a file, by any judge.

    [dim]truenorth judge --model runs/exo/final --against my-sft --prompts prompts.jsonl --out judged \\
        --judge reward:runs/reward/final
    truenorth judge --answers a.jsonl --against b.jsonl --judge my.judges:better[/]
    """
    from .judge_command import judge_command

    judge_command(given, sets=sets or [], as_json=as_json)


@app.command(cls=Spread, rich_help_panel=LOOK, no_args_is_help=True)
@takes(EVALUATE)
def evaluate(
    as_json: Annotated[bool, typer.Option("--json", help="machine-readable")] = False,
    *,
    given: Given,
) -> None:
    """Measure a model: held-out preferences, how far it moved from a reference, what it forgot.

    [dim]truenorth evaluate --model runs/exo/final --reference my-sft --data held_out.jsonl --texts t.txt --out found
    truenorth evaluate --model runs/reward/final --data held_out.jsonl[/]
    """
    from .evaluate_command import evaluate_command

    evaluate_command(given, as_json=as_json)


@app.command(cls=Spread, rich_help_panel=LOOK)
def games(
    game: Annotated[str, typer.Option("--game", metavar="GAME", help="a game, or a table of win rates")] = "cyclic",
    solver: Annotated[str, typer.Option("--solver", metavar="SOLVER,...", help="one, several or all")] = "all",
    steps: Annotated[int, typer.Option("--steps", metavar="N", min=1, help="preference evaluations of each")] = 2000,
    sets: Annotated[list[str] | None, typer.Option("--set", "-s", metavar="KEY=VALUE ...", help="a setting")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", metavar="FILE", help="a page (.html) or .svg")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="machine-readable")] = False,
) -> None:
    """Solve a small preference game exactly, as methods of self-play do: how exploitable is what they end with?

    [dim]truenorth games --game cyclic --solver mpo --steps 2000
    truenorth games --game table.csv --set alpha=0.05 mpo.inner_steps=50 --out games.html[/]

    Games: cyclic, perturbed_rps, random, bradley_terry, annotators; or .json, .csv, .npy. Solvers: md, sppo, nash_md,
    inpo, egpo, mmd, optimistic_md, mpo, mpo_rt, comal. --set takes a solver's setting, game.seed and the like, start.
    """
    from .games_command import games_command

    games_command(game, solver, steps=steps, sets=sets or [], out=out, as_json=as_json)


@app.command(cls=Spread, rich_help_panel=LOOK, no_args_is_help=True)
def report(
    run_directories: Annotated[list[Path], typer.Argument(metavar="RUN_DIR ...", help="given to train as --out")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="where the comparison goes", show_default=False)
    ] = None,
) -> None:
    """Write RUN_DIR/report.html again, finished run or not; of several runs, a page that compares them.

    [dim]truenorth report runs/dpo runs/exo --out comparison.html[/]
    """
    from .commands import report_command

    report_command(run_directories, out)


@app.command(cls=Spread, rich_help_panel=MAKE)
def demo(
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="DIR", help="run directory; none: a new one here", show_default=False),
    ] = None,
) -> None:
    """Train the embedded model on the embedded data: a minute or two, offline, with a report."""
    from .commands import demo_command

    raise typer.Exit(demo_command(out))


if __name__ == "__main__":
    sys.exit(main())

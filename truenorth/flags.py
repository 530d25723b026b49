"""The flags of `truenorth train`: each names one setting of the run or of the recipe, and nothing else."""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from .errors import SettingsError, did_you_mean
from .online.sampling import Sampling
from .planning.asked import Planned
from .run import Run
from .schedule import Rounds
from .settings import table

Given = Mapping[str, Any]  # parameter name -> what the command line gave; None or absent where it gave nothing


@dataclass(frozen=True, slots=True)
class Flag:
    """A flag and the dotted path of the setting that it gives, as in run.yaml."""

    name: str  # without the dashes
    path: str  # `run.max_length`, `update.learning_rate`
    help: str = ""  # none: the setting's own description
    metavar: str = ""  # none: from the setting's type
    default: str = ""  # shown; none: the setting's own
    panel: str = "Run"
    short: str = ""
    kind: str = ""  # type; none: the setting's own

    @property
    def parameter(self) -> str:
        return self.name.replace("-", "_")


DATA, LENGTH, TRAINING, MACHINE = "Model and data", "Rows", "Training", "Machine and files"
SAMPLING, SERVER = "Sampling", "Server"
FLAGS: tuple[Flag, ...] = (
    Flag("model", "run.model", metavar="MODEL", panel=DATA, short="-m"),
    Flag("data", "run.data", "preference data: files, folders or hub names", "DATA ...", panel=DATA, short="-d"),
    Flag("stream", "run.stream.path", "rows that still come: a JSONL file that grows, or - (standard input)", "FILE|-",
         panel=DATA),
    Flag("stream-idle", "run.stream.idle_seconds", "the file has ended when no line came for so long; none: never",
         "SECONDS", "60", DATA),
    Flag("out", "run.out", "run directory: metrics, checkpoints, report, model", "DIR", panel=DATA, short="-o"),
    Flag("eval-data", "run.eval_data", "held-out rows, measured while training", "DATA ...", panel=DATA),
    Flag("columns", "run.columns", "which column plays a role, if names do not tell", "ROLE=COLUMN ...", panel=DATA),
    Flag("prompts", "run.prompts", metavar="FILE", panel=DATA),
    Flag("judge", "run.judge", "judges answers of rounds: world, reward, or a function", "KIND|MODULE:F", panel=DATA),
    Flag("chat-template", "run.chat_template", metavar="FILE", panel=DATA),
    Flag("trust-remote-code", "run.trust_remote_code", panel=DATA),
    Flag("max-length", "run.max_length", metavar="TOKENS", panel=LENGTH),
    Flag("too-long", "run.too_long", panel=LENGTH),
    Flag("on-problem", "run.on_problem", panel=LENGTH),
    Flag("max-problem-share", "run.max_problem_share", metavar="SHARE", panel=LENGTH),
    Flag("ties", "run.ties", panel=LENGTH),
    Flag("pairing", "run.pairing", "for pairs: none, best_vs_each, best_vs_worst, all_pairs", "HOW", panel=LENGTH),
    Flag("epochs", "run.epochs", panel=TRAINING),
    Flag("max-steps", "run.max_steps", panel=TRAINING),
    Flag("batch-size", "run.batch_size", metavar="PROMPTS", panel=TRAINING),
    Flag("rounds", "schedule.rounds", "rounds of self-play", "N", "the method's", TRAINING),
    Flag("k", "schedule.k", "answers drawn to each prompt of a round", "N", "the method's", TRAINING, "-k"),
    Flag("learning-rate", "update.learning_rate", "peak learning rate", "X", "the method's", TRAINING),
    Flag("reference", "references.initial", "frozen, cached, moving, a path", "KIND|MODEL", "the method's", TRAINING),
    Flag("lora", "run.lora.rank", "train adapters of this rank in place of all weights", "RANK", "off", TRAINING),
    Flag("dropout", "run.dropout", panel=TRAINING),
    Flag("seed", "run.seed", "of the rows' order, adapters, dropout and samples", panel=TRAINING),
    Flag("server", "run.sampler.server.url", "completion server that answers in rounds", "URL", panel=SERVER),
    Flag("hand-over", "run.sampler.hand_over", "how it takes each round's policy: vllm_lora, sglang_weights, "
         "model_name, command", "HOW", panel=SERVER),
    Flag("served-model", "run.sampler.model", "the server's name of the model", "NAME", "the first it has", SERVER),
    Flag("concurrency", "run.sampler.concurrency", "requests under way at once", "N", "16", SERVER),
    Flag("timeout", "run.sampler.server.timeout_seconds", "that the server may be silent for", "SECONDS", "600",
         SERVER),
    Flag("key-variable", "run.sampler.server.key_variable", "environment variable with the server's key", "NAME",
         "none", SERVER),
    Flag("precision", "run.precision", panel=MACHINE),
    Flag("tokens-per-micro-batch", "run.tokens_per_micro_batch", metavar="TOKENS", panel=MACHINE),
    Flag("gradient-checkpointing", "run.gradient_checkpointing", "less memory for more time", panel=MACHINE),
    Flag("layout", "run.layout", panel=MACHINE),
    Flag("shard-size", "run.shard_size", metavar="PROCESSES", panel=MACHINE),
    Flag("tensor-size", "run.tensor_size", metavar="PROCESSES", panel=MACHINE),
    Flag("save-every", "run.save_every", metavar="STEPS", panel=MACHINE),
    Flag("keep-checkpoints", "run.keep_checkpoints", panel=MACHINE),
    Flag("save-as", "run.save_as", panel=MACHINE),
    Flag("eval-every", "run.eval_every", metavar="STEPS", panel=MACHINE),
    Flag("samples", "run.samples", metavar="PROMPTS", panel=MACHINE),
)  # fmt: skip
_SEEN = (
    "model", "columns", "chat-template", "max-length", "too-long", "on-problem", "max-problem-share", "ties", "pairing"
)  # fmt: skip
INSPECT: tuple[Flag, ...] = (
    *(replace(flag, panel="Options") for flag in FLAGS if flag.name in _SEEN),
    Flag("method", "method", "what this method would train on: its rows, and answers it degrades", "METHOD", "any",
         "Options"),
    Flag("batch-size", "batch_size", "rows to a padded batch, for comparison", "ROWS", "8", "Options"),
)  # fmt: skip
GENERATE: tuple[Flag, ...] = (
    replace(FLAGS[0], panel="Options", help="directory or hub name of a model or adapter"),
    Flag("prompt", "prompt", "a prompt; may be given several times", "TEXT ...", panel="Options", short="-p"),
    Flag(
        "prompts", "prompts", "a file of prompts: .txt (one a line), or .jsonl with `prompt`", "FILE", panel="Options"
    ),
    Flag("out", "out", "write JSON lines there as answers come; go on with what is there", "FILE", panel="Options",
         short="-o"),
    Flag("plain", "plain", "leave the chat template out", kind="boolean", panel="Options"),
    Flag("k", "sampling.k", panel=SAMPLING, short="-k"),
    Flag("temperature", "sampling.temperature", panel=SAMPLING),
    Flag("top-p", "sampling.top_p", panel=SAMPLING),
    Flag("max-new-tokens", "sampling.max_new_tokens", panel=SAMPLING),
    Flag("seed", "sampling.seed", panel=SAMPLING),
    Flag("stop", "sampling.stop", "end an answer before any of these texts", "TEXT ...", "none", SAMPLING),
    Flag("stop-tokens", "sampling.stop_tokens", "end an answer with any of these tokens", "ID ...", "none", SAMPLING),
    Flag("continuous", "continuous", "transformers' continuous batching: for GPUs", panel=SAMPLING, kind="boolean"),
    Flag("server", "server.url", "ask a completion server; --model then gives the tokenizer", "URL", panel=SERVER),
    Flag("served-model", "completions.model", "the server's name of the model", "NAME", "the first it has", SERVER),
    Flag("concurrency", "completions.concurrency", "requests under way at once", "N", "16", SERVER),
    Flag("timeout", "server.timeout_seconds", "that the server may be silent for", "SECONDS", "600", SERVER),
    Flag("key-variable", "server.key_variable", "environment variable with the server's key", "NAME", "none", SERVER),
    *(replace(flag, panel="Options") for flag in FLAGS if flag.name == "trust-remote-code"),
)  # fmt: skip
MERGE: tuple[Flag, ...] = (
    Flag("models", "models", "folders or hub names of models or adapters", "MODEL ...", panel="Options"),
    Flag("base", "base", "the model that they were trained from, where the merge needs it", "MODEL", panel="Options"),
    Flag("out", "out", "folder of the result: a new one, or that of a sweep that goes on", "DIR", panel="Options",
         short="-o"),
    Flag("dtype", "dtype", "what it is stored as: bfloat16, float16, float32", "DTYPE", "the first's", "Options"),
    Flag("fit-data", "fit.data", "find hma's ratios: rows whose best answers are to be likely", "DATA", panel="Fit"),
    Flag("fit-prompts", "fit.prompts", "find them by --judge's rewards of answers to these", "FILE", panel="Fit"),
    Flag("sweep", "sweep", "merge at several values and measure: alpha=0..1, alpha=0..1:5, alpha=0,0.3", "NAME=VALUES",
         panel="Sweep"),
    Flag("eval-data", "measured.eval_data", "measure: held-out preferences, by accuracy", "DATA", panel="Sweep"),
    Flag("ability-data", "measured.ability_data", "measure: texts or answers it knew before, by likelihood", "DATA",
         panel="Sweep"),
    Flag("prompts", "measured.prompts", "measure: --judge's rewards of answers to these", "FILE", panel="Sweep"),
    Flag("judge", "judge", "reward:DIR, or a function (prompt, answer) -> reward", "KIND|MODULE:F", panel="Sweep"),
    Flag("k", "sampling.k", panel="Sweep"),
    Flag("max-new-tokens", "sampling.max_new_tokens", panel="Sweep"),
    Flag("temperature", "sampling.temperature", panel="Sweep"),
    Flag("seed", "sampling.seed", panel="Sweep"),
    Flag("keep-all", "keep_all", "keep the model of every value, in --out", panel="Sweep", kind="boolean"),
)  # fmt: skip
PLAN: tuple[Flag, ...] = (
    *FLAGS,  # a command of `train` is planned as it stands
    *(
        Flag(name.replace("_", "-"), f"planned.{name}", metavar="KIND" if name == "gpu" else "", panel="Plan")
        for name in Planned.model_fields
    ),
)
MANY = frozenset(  # take several values after one flag
    {"--data", "-d", "--eval-data", "--columns", "--set", "-s", "--prompt", "-p", "--models"}
    | {"--stop", "--stop-tokens"}
)
METAVARS = {"integer": "N", "number": "X", "string": "TEXT"}
ROWS: Mapping[str, Mapping[str, Any]] = {
    f"{owner}.{row['name']}": row
    for owner, settings in (("run", Run), ("schedule", Rounds), ("sampling", Sampling), ("planned", Planned))
    for row in table(settings)
}


class Spread(TyperCommand):
    """A command whose flags in MANY take several values (`--data a b`), and that knows where a wrong flag belongs."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # pyright: ignore[reportIncompatibleMethodOverride]
        names = (name for parameter in self.params for name in [*parameter.opts, *parameter.secondary_opts])
        known = {name for name in names if name.startswith("-")}  # the others stand behind no flag
        for arg in args:
            name = arg.partition("=")[0]
            if name.startswith("--") and name not in known | {"--", "--help"}:
                raise typer.BadParameter(_no_flag(name, known, ctx.info_name), ctx=ctx)
        return super().parse_args(ctx, spread(args, MANY & known))

    def collect_usage_pieces(self, ctx: typer.Context) -> list[str]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return [piece for piece in super().collect_usage_pieces(ctx) if piece != "[]..."]  # see `_REST`


def _no_flag(name: str, known: Iterable[str], command: str | None) -> str:
    if name == "--resume":
        whole = " A plan is of the whole run, from its first step: truenorth plan RUN_DIR." * (command == "plan")
        return f"there is no flag --resume here. A run goes on by: truenorth train RUN_DIR --resume.{whole}"
    hint = did_you_mean(name[2:], [flag.lstrip("-") for flag in known]).replace("mean ", "mean --")
    if hint or "--set" not in known:
        return f"there is no flag {name}.{hint}"
    return f"there is no flag {name}. A setting of the method is given as --set {name[2:].replace('-', '_')}=VALUE."


def spread(args: Sequence[str], many: Iterable[str]) -> list[str]:
    """`args` with the flag repeated before each further value of one that takes several.

    >>> spread(["exo", "--data", "a", "b", "--out", "c"], {"--data"})
    ['exo', '--data', 'a', '--data', 'b', '--out', 'c']
    """
    many, flag, given, out = set(many), "", False, list[str]()
    for arg in args:
        if arg.startswith("-") and len(arg) > 1:
            flag, given = (arg if arg in many else ""), False
        elif flag and given:
            out.append(flag)
        else:
            given = True
        out.append(arg)
    return out


def takes(flags: Iterable[Flag]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A decorator that gives a command one option per flag, all in its argument `given`."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = inspect.signature(command)
        ours = {flag.parameter for flag in flags}

        def run(**values: Any) -> None:
            _refuse_rest(values.pop("rest", None), ours)
            given = {name: value for name, value in values.items() if name in ours and value not in (None, [])}
            command(**{name: value for name, value in values.items() if name not in ours}, given=given)

        kept = [parameter for parameter in own.parameters.values() if parameter.name != "given"]
        options = [_option(flag) for flag in flags]
        run.__name__, run.__doc__ = command.__name__, command.__doc__
        shown = [*kept, *[_REST] * ("data" not in own.parameters), *options]  # `inspect` takes what has no flag
        run.__signature__ = own.replace(parameters=shown)  # pyright: ignore[reportFunctionMemberAccess]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in shown}
        return run

    return decorate


_REST = inspect.Parameter(  # what stands behind no flag, so that it is refused with a word about where it belongs
    "rest",
    inspect.Parameter.KEYWORD_ONLY,
    default=None,
    annotation=Annotated[list[str] | None, typer.Argument(hidden=True, metavar="")],
)


def _refuse_rest(rest: Sequence[str] | None, flags: Iterable[str]) -> None:
    if rest:
        known = set(flags)
        flag = next((f" Was --{name} left out before it?" for name in ("models", "data") if name in known), "")
        raise SettingsError(f"{' '.join(rest)} stands behind no flag.{flag}")


def _option(flag: Flag) -> inspect.Parameter:
    of_setting = str(ROWS.get(flag.path, {}).get("type"))
    kind = {"boolean": bool}.get(flag.kind or of_setting, list[str] if f"--{flag.name}" in MANY else str)
    option = typer.Option(
        *([f"--{flag.name}"] + [flag.short] * bool(flag.short)),
        help=help_of(flag),
        metavar=" " if kind is bool else metavar_of(flag),
        show_default=False,
        rich_help_panel=flag.panel,
    )
    annotation = Annotated[kind | None, option]
    return inspect.Parameter(flag.parameter, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def default_of(flag: Flag) -> str:
    """The default as it is shown: empty where none is needed, `required` where it must be given."""
    value = flag.default or ROWS.get(flag.path, {}).get("default")
    return "" if value in (None, False, {}, []) else str(value)


def metavar_of(flag: Flag) -> str:
    kind = str(ROWS.get(flag.path, {}).get("type", "TEXT")).removesuffix(" | null")
    return flag.metavar or METAVARS.get(kind, kind.replace(" ", ""))


def help_of(flag: Flag) -> str:
    text = flag.help or str(ROWS[flag.path]["description"])
    default = default_of(flag)
    return f"{text} (default {default})" if default and default != "required" else text


def settings_of(given: Given, flags: Iterable[Flag] = FLAGS) -> dict[str, Any]:
    """Dotted path -> value of every flag that was given."""
    flag_of = {flag.parameter: flag for flag in flags}
    return {flag_of[name].path: _value(flag_of[name], value) for name, value in given.items()}


def _value(flag: Flag, value: object) -> object:
    if flag.name != "columns" or not isinstance(value, list):
        return value
    return dict(split_setting(str(item), "--columns") for item in value)


def split_setting(text: str, flag: str) -> tuple[str, str]:
    """`key=value` as a pair. Raises SettingsError where there is no `=`."""
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise SettingsError(f"{flag} takes NAME=VALUE, got {text!r}.")
    return key.strip(), value.strip()

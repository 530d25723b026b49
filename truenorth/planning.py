"""What `truenorth plan` asks, and how its command line becomes a question. Nothing slow is imported at the top."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from .errors import SettingsError
from .settings import Settings

if TYPE_CHECKING:
    from .clients import Clients
    from .data.row_lengths import RowLengths
    from .evaluate.machines import Machine
    from .evaluate.plan import Plan
    from .models.policy import Precision
    from .recipe import Recipe
    from .run import Run


class Planned(Settings):
    """The machines of a plan, and its rows where there is no file of them."""

    gpu: str | None = Field(default=None, description="kind of GPU, such as h100; none: this CPU")
    devices: PositiveInt = Field(default=1, description="GPUs, or processes on this CPU")
    rate: PositiveFloat | None = Field(
        default=None, description="TFLOP/s of matrix products; none: the GPU's data sheet, this CPU measured"
    )
    measure: NonNegativeFloat = Field(default=1.0, description="seconds in which this CPU is measured; 0: it is not")
    prompt_tokens: PositiveInt | None = Field(default=None, description="tokens of a prompt, in place of --data")
    answer_tokens: PositiveInt | None = Field(default=None, description="tokens of an answer, in place of --data")
    answers: PositiveInt = Field(default=2, description="answers to a prompt, in place of --data")
    rows: PositiveInt = Field(default=10_000, description="rows of an epoch, in place of --data")
    task_vector: bool = Field(default=False, description="merging while training: SFT minus base is kept")

    @model_validator(mode="after")
    def _lengths_go_together(self) -> Self:
        if (self.prompt_tokens is None) != (self.answer_tokens is None):
            raise SettingsError("give --prompt-tokens and --answer-tokens both, or --data in their place.")
        return self


def check(planned: Planned, data: Sequence[object]) -> None:
    """Raise SettingsError unless rows come from one place and the GPU is known. Before anything is read."""
    if planned.prompt_tokens is None and not data:
        raise SettingsError(
            "plan needs rows: --data DATA ..., or --prompt-tokens N and --answer-tokens N. For instance: "
            "truenorth plan dpo --model my-sft --prompt-tokens 300 --answer-tokens 200"
        )
    if planned.prompt_tokens is not None and data:
        raise SettingsError("give --data, or --prompt-tokens and --answer-tokens, not both.")
    if planned.gpu is not None:
        from .evaluate.machines import gpu

        gpu(planned.gpu)


def planned_run(recipe: "Recipe", run: "Run", planned: Planned) -> "Plan":
    """The plan of a run. Reads the model's configuration, and the tokenizer where rows come from files.

    Raises SettingsError for what the run would refuse, and for clients that no data name.
    """
    from .chased import with_adapters
    from .evaluate.plan import plan
    from .evaluate.plan_memory import Question
    from .models.sharding import sizes_of
    from .refusals import adapts, refuse_parts_of_a_model

    run = with_adapters(recipe, run)
    machine, precision = _machine(run, planned)
    if recipe.clients is not None:
        refuse_parts_of_a_model(recipe, sizes_of(run, planned.devices, gpu=machine.gpu, adapter=adapts(run)))
        _check_clients(recipe.clients, planned)
    rows, clients = _rows(recipe, run, planned)
    return plan(Question(recipe, run, precision, machine, planned.devices, planned.task_vector, clients), rows)


def _check_clients(clients: "Clients", planned: Planned) -> None:
    """Raise SettingsError where processes could not share the clients out, or nothing says how many there are."""
    from .feeds.dealt import refuse_processes

    if clients.column is None:
        refuse_processes(clients.taking_part(clients.dealt), clients.dealt, planned.devices)
    elif planned.prompt_tokens is not None:
        raise SettingsError(
            f"how many clients the column {clients.column} names, only rows can tell: give --data in place of "
            "--prompt-tokens, or say --set clients.count=N in place of clients.column."
        )


def _machine(run: "Run", planned: Planned) -> "tuple[Machine, Precision]":
    """The machine with the rate that holds for the run's precision, and that precision."""
    from dataclasses import replace

    import torch

    from .evaluate.machines import gpu, measured_rate, this_processor
    from .models.policy import fast_precision

    machine = this_processor() if planned.gpu is None else gpu(planned.gpu)
    auto: Precision = "bfloat16" if machine.gpu else fast_precision(torch.device("cpu"))
    precision = auto if run.precision == "auto" else run.precision
    if planned.rate is not None:
        return replace(machine, rate=planned.rate * 1e12, source="--rate"), precision
    if not machine.gpu and planned.measure:
        return replace(machine, rate=measured_rate(precision, planned.measure), source="measured"), precision
    return machine, precision


def _rows(recipe: "Recipe", run: "Run", planned: Planned) -> "tuple[RowLengths, int]":
    """The rows, and the clients that take part in a round; 0 where there are none."""
    from .data.row_lengths import RowLengths

    asked = recipe.clients
    dealt = 0 if asked is None else asked.taking_part(asked.dealt)

    if planned.prompt_tokens is not None and planned.answer_tokens is not None:
        length, limit = planned.prompt_tokens + planned.answer_tokens, run.max_length
        if length > limit:
            raise SettingsError(f"prompt and answer have {length} tokens, max_length is {limit}. Raise --max-length.")
        made = (planned.prompt_tokens, planned.answer_tokens)
        return RowLengths.alike(planned.rows, prompt=made[0], response=made[1], candidates=planned.answers), dealt
    from .data.prepare import prepare
    from .job import data_settings
    from .models.load import load_tokenizer

    tokenizer = load_tokenizer(run.model, chat_template=run.chat_template, trust_remote_code=run.trust_remote_code)
    sources = [(source.path, source.share) for source in run.data]
    rows = prepare(sources, tokenizer, settings=data_settings(recipe, run)).rows
    if asked is not None and asked.column is not None:
        from .data.owners import owners_of
        from .feeds.dealt import refuse_processes

        clients = len(set(owners_of(rows, [path for path, _ in sources], asked.column)))
        dealt = asked.taking_part(clients)
        refuse_processes(dealt, clients, planned.devices)
    return RowLengths.of(rows), dealt

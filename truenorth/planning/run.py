"""The plan of a run, from its recipe and its settings."""

from collections.abc import Iterator
from dataclasses import replace

import torch

from ..chased import with_adapters
from ..errors import SettingsError
from ..evaluate.machines import Machine, gpu, measured_bandwidth, measured_rate, this_processor
from ..evaluate.plan import Plan, plan
from ..evaluate.plan_memory import Question
from ..evaluate.plan_text import duration
from ..feeds import arriving, dealt, playable
from ..models.policy import Precision, fast_precision
from ..models.references import COMPUTED_BEFORE, Moving
from ..models.sharding import sizes_of
from ..online.judge_cost import JudgeCost, judge_cost
from ..recipe import Recipe
from ..refusals import adapts, refuse_parts_of_a_model
from ..run import Run
from .asked import Planned
from .draws import rounds_plan
from .rows import rows_of


def planned_run(recipe: Recipe, run: Run, planned: Planned) -> Plan:
    """The plan of a run. Reads the model's configuration, and the tokenizer where rows come from files.

    Raises SettingsError, DataError or ModelError for what the run would refuse, and for what neither file nor number
    tells.
    """
    run = with_adapters(recipe, run)
    _refuse(recipe, run, planned)
    machine, precision = _machine(run, planned)
    refuse_parts_of_a_model(recipe, sizes_of(run, planned.devices, gpu=machine.gpu, adapter=adapts(run)))
    asked = rows_of(recipe, run, planned)
    judge = judge_cost(run.judge, gpu=machine.gpu) if recipe.asks_a_judge else JudgeCost()
    question = Question(
        recipe, run, precision, machine, planned.devices, planned.task_vector, asked.clients, judge.held, asked.course
    )
    found = plan(question, asked.rows)
    if asked.rounds is not None:
        found = replace(found, rounds=rounds_plan(question, asked.rounds, judge))
    return replace(found, notes=(*asked.notes, *_of_regret(recipe, run, found), *found.notes))


def _refuse(recipe: Recipe, run: Run, planned: Planned) -> None:
    """Raise SettingsError for what the run would refuse; a judge may be left out."""
    if recipe.domains is not None:
        return  # its rows are checked as they are read
    if run.stream is not None:
        arriving.check_recipe(recipe)
    playable.refuse_unread(recipe, run)
    missing = [flag for flag in playable.lacking(recipe, run) if flag != "--judge"]
    if missing and not planned.by_numbers:
        numbers = "" if missing == ["--data"] else ", or --prompt-tokens N in its place"
        raise SettingsError(f"{recipe.method} plays rounds: it needs {missing[0]}{numbers}.")
    if recipe.schedule is None and not (run.data or run.stream or planned.by_numbers):
        raise SettingsError(f"{recipe.method} trains on rows: --data DATA ..., or --stream FILE.")
    dealt.check(recipe, run)


def _machine(run: Run, planned: Planned) -> tuple[Machine, Precision]:
    """The machine with the rate that holds for the run's precision, and that precision."""
    machine = this_processor() if planned.gpu is None else gpu(planned.gpu)
    auto: Precision = "bfloat16" if machine.gpu else fast_precision(torch.device("cpu"))
    precision = auto if run.precision == "auto" else run.precision
    if not machine.gpu and planned.measure:
        rate = measured_rate(precision, planned.measure) if planned.rate is None else 0.0
        machine = replace(machine, rate=rate, bandwidth=measured_bandwidth(), source="measured")
    if planned.rate is not None:
        machine = replace(machine, rate=planned.rate * 1e12, source="--rate")
    return machine, precision


def _of_regret(recipe: Recipe, run: Run, found: Plan) -> Iterator[str]:
    """What the regret of a stream takes besides, where one is estimated."""
    references = recipe.references.values()
    if run.stream is None or not run.stream.snapshots or any(isinstance(r, Moving) for r in references):
        return
    steps = [n for n in (run.stream.regret_steps, run.max_steps) if n is not None]
    modules, size = run.stream.snapshots + 1, run.stream.snapshots * 4 * found.trained / 1e9
    told = f"Up to {run.stream.snapshots} snapshots of what is trained take up to {size:.2f} GB on the disk"
    if not steps or not found.rate:
        yield f"{told}; scoring them for the regret takes about as long as a third of {modules} steps for each step."
        return
    live = 1 + sum(not isinstance(r, COMPUTED_BEFORE) for r in references)
    took = duration(min(steps) * modules * live * found.forward)
    yield f"{told}, and scoring them for the regret at the end or a stop about {took}."

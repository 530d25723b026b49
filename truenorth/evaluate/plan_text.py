"""A plan for a terminal: one table of memory, then what it means in sentences."""

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from .plan import Plan
from .plan_rounds import RoundsPlan

MEANS = {
    "weights": "of the policy",
    "references": "models beside the policy, not trained",
    "task vector": "SFT minus base, for merging",
    "optimizer": "its state",
    "gradients": "at the peak of a step",
    "clients": "the server's weights and state, sums of gradients",
    "gathered": "layers that FSDP has whole at a moment",
    "half copies": "bfloat16 copies of float32 weights, for the products",
    "activations": "kept for the backward pass",
    "head": "logits of a chunk of response tokens",
    "cache": "keys and values of answers that are drawn",
    "judge": "a model that judges answers",
    "allocator": "freed blocks that malloc keeps",
    "process": "Python and the libraries, a GPU's context",
}


def draw(plan: Plan) -> RenderableType:
    """The plan, at most 80 columns wide."""
    each = "" if plan.count == 1 else " for each process"
    drawing = plan.rounds is not None and plan.rounds.total > plan.total
    when = f"{each}, while answers are drawn" if drawing else each
    table = Table(title=f"Memory{when}", title_justify="left", box=None, pad_edge=False, header_style="bold")
    table.add_column("part", no_wrap=True)
    table.add_column("GB", justify="right", no_wrap=True)
    table.add_column("share", justify="right", no_wrap=True)
    table.add_column("what it is", style="dim")
    parts = plan.rounds.parts if plan.rounds is not None and drawing else plan.parts
    total = sum(parts.values())
    for name, size in parts.items():
        table.add_row(name, f"{size / 1e9:.2f}", f"{size / total:.0%}", MEANS[name])
    table.add_row("total", f"{total / 1e9:.2f}", "100%", f"of {plan.memory / 1e9:.1f} GB", style="bold")
    verdict = Text("It fits." if plan.fits else "It does not fit.", style="bold green" if plan.fits else "bold red")
    return Group(table, Text(), verdict, *(Text(sentence) for sentence in sentences(plan)))


def sentences(plan: Plan) -> Iterator[str]:
    """What the numbers mean, and what to change."""
    trained = "all of them trained" if plan.trained == plan.parameters else f"{count(plan.trained)} of them trained"
    devices = plan.machine if plan.count == 1 else f"{plan.count} x {plan.machine}"
    if plan.course.sentence:
        yield plan.course.sentence
    yield f"{count(plan.parameters)} parameters, {trained}, on {devices} ({plan.sizes})."
    if plan.fits:
        yield (
            f"Micro-batches of {plan.tokens:,} tokens are planned, {plan.largest:,} would fit "
            f"(--tokens-per-micro-batch). The longest row has {plan.longest:,}."
        )
    else:
        yield f"The longest row alone, {plan.longest:,} tokens, takes the {plan.total / 1e9:.1f} GB of the table."
    yield (
        f"A step has {plan.tokens_per_step:,.0f} tokens, {plan.micro_batches:,.1f} micro-batches in each process, and "
        f"{plan.course.rows.format(plan.rows)} {plan.unshared - plan.saved:,}. Sharing prompts saves {plan.saved:,} "
        f"tokens, {plan.saved / plan.unshared:.0%}."
    )
    if plan.rate:
        yield _step(plan)
    if plan.rounds is not None:
        yield from _before_the_steps(plan, plan.rounds)
    yield from plan.notes
    if plan.rate:
        yield _in_all(plan)


def _step(plan: Plan) -> str:
    """How long a step takes, and of what."""
    waits = f", {duration(plan.waiting)} of it waiting for other processes" if plan.waiting else ""
    if plan.starting:
        return (
            f"A step takes at least {duration(plan.seconds)}{waits}: starting its kernels takes longer than its "
            f"{count(plan.flops)} FLOP. An estimate, not a measurement."
        )
    return (
        f"A step takes about {duration(plan.seconds)}{waits}: {count(plan.flops)} FLOP, at {plan.reached:.0%} of "
        f"{plan.rate / 1e12:,.2f} TFLOP/s. An estimate, not a measurement."
    )


def _before_the_steps(plan: Plan, rounds: RoundsPlan) -> Iterator[str]:
    """What a round does before its steps."""
    drawn = f"A round draws {rounds.answers:,} answers of at most {rounds.tokens:,} tokens"
    if rounds.drawn_by:
        yield f"{drawn} from the server at {rounds.drawn_by}, whose time and memory are not known."
    elif not rounds.parts:
        yield (
            f"{drawn} by the model's own `generate`, since its cache cannot be shared: what that takes is not known."
        )
    else:
        other = min(rounds.total, plan.total)
        moment = "a step" if rounds.total > plan.total else "drawing"
        took = "" if rounds.seconds is None else f" It takes about {duration(rounds.seconds)} if none ends early."
        yield (
            f"{drawn}, {rounds.at_once:,} at once, whose keys and values take {rounds.cache / 1e9:.2f} GB. In all, "
            f"{moment} takes {other / 1e9:.2f} GB.{took}"
        )
    if rounds.judge:
        took = f"about {duration(rounds.judging)}" if rounds.judging is not None else "a time that is not known"
        more = f"; and up to {rounds.comparisons:,} more in the whole run, to compare rounds with earlier ones"
        yield (
            f"The judge {rounds.judge} is asked up to {rounds.questions:,} questions in a round: {took}"
            f"{more if rounds.comparisons else ''}."
        )
    elif rounds.questions:
        yield f"A judge will be asked up to {rounds.questions:,} questions in a round. None is named: --judge ..."


def _in_all(plan: Plan) -> str:
    """The time of the whole run, as far as it can be known."""
    without = "without loading, measuring and saving"
    steps, seconds = plan.course.steps, plan.in_all
    if steps is None or seconds is None:
        return f"How long the run takes nobody knows: {duration(plan.seconds)} a step, and the wait for its rows."
    unknown, rounds = list[str](), plan.rounds
    if rounds is not None and rounds.seconds is None:
        unknown.append("drawing")
    if rounds is not None and rounds.questions and rounds.judging is None:
        unknown.append("judging")
    about = "at least" if unknown or plan.starting else "about"
    left_out = f", {' and '.join(unknown)} not counted" if unknown else ""
    return f"{steps:,} step{'s' * (steps > 1)} in all: {about} {duration(seconds)}{left_out}, {without}."


def count(number: float) -> str:
    """
    >>> count(33_500_000), count(7e13)
    ('33.5M', '70T')
    """
    for size, letter in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g}{letter}"
    return f"{number:.0f}"


def duration(seconds: float) -> str:
    """
    >>> duration(0.25), duration(500), duration(40_000)
    ('0.25 s', '8 min', '11 h')
    """
    if seconds >= 7200:
        return f"{seconds / 3600:,.0f} h"
    return f"{seconds / 60:.0f} min" if seconds >= 120 else f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"

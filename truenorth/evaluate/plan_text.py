"""A plan for a terminal: one table of memory, then what it means in sentences."""

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from .plan import Plan

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
    "allocator": "freed blocks that malloc keeps",
    "process": "Python and the libraries, a GPU's context",
}


def draw(plan: Plan) -> RenderableType:
    """The plan, at most 80 columns wide."""
    each = "" if plan.count == 1 else " for each process"
    table = Table(title=f"Memory{each}", title_justify="left", box=None, pad_edge=False, header_style="bold")
    table.add_column("part", no_wrap=True)
    table.add_column("GB", justify="right", no_wrap=True)
    table.add_column("share", justify="right", no_wrap=True)
    table.add_column("what it is", style="dim")
    for name, size in plan.parts.items():
        table.add_row(name, f"{size / 1e9:.2f}", f"{size / plan.total:.0%}", MEANS[name])
    table.add_row("total", f"{plan.total / 1e9:.2f}", "100%", f"of {plan.memory / 1e9:.1f} GB", style="bold")
    verdict = Text("It fits." if plan.fits else "It does not fit.", style="bold green" if plan.fits else "bold red")
    return Group(table, Text(), verdict, *(Text(sentence) for sentence in sentences(plan)))


def sentences(plan: Plan) -> Iterator[str]:
    """What the numbers mean, and what to change."""
    trained = "all of them trained" if plan.trained == plan.parameters else f"{count(plan.trained)} of them trained"
    devices = plan.machine if plan.count == 1 else f"{plan.count} x {plan.machine}"
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
        f"an epoch of {plan.rows:,} rows {plan.unshared - plan.saved:,}. Sharing prompts saves {plan.saved:,} tokens, "
        f"{plan.saved / plan.unshared:.0%}."
    )
    if plan.rate:
        waits = f", {duration(plan.waiting)} of it waiting for other processes" if plan.waiting else ""
        yield (
            f"A step takes about {duration(plan.seconds)}{waits}: {count(plan.flops)} FLOP, at {plan.reached:.0%} of "
            f"{plan.rate / 1e12:,.2f} TFLOP/s. An estimate, not a measurement."
        )
    yield from plan.notes


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
    >>> duration(0.25), duration(500)
    ('0.25 s', '8 min')
    """
    return f"{seconds / 60:.0f} min" if seconds >= 120 else f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"

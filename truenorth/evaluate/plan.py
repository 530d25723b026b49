"""What a run will take before it is started: memory by part, micro-batches, tokens, time. Nothing is loaded.

Memory is counted by going through the model's own layers without contents, for one process. Time is the number of
products over a rate, and on a GPU no less than what starting its kernels takes, so it is an estimate.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from ..data.row_lengths import RowLengths
from ..errors import SettingsError
from ..models.references import COMPUTED_BEFORE, Cached, Frozen, OtherModel
from ..models.rehearsal import Found
from ..run import LoRA
from ..train.budget import USUAL
from .machines import NVLINK_GPUS
from .plan_memory import Course, Memory, Question
from .plan_rounds import RoundsPlan

STAYING = (Frozen, OtherModel)  # references whose log-probs could as well be computed before
LAUNCH = 5e-6  # seconds in which Python and the driver start a kernel on a GPU: an estimate, nobody has measured ours
REACHED = 0.4  # share of the products' rate that a step reaches; ours on a CPU: benchmarks/matmul.py


@dataclass(frozen=True, slots=True)
class Plan:
    """The answer, for each process where nothing else is said."""

    machine: str
    count: int
    sizes: str  # the mesh
    parameters: int
    trained: int
    parts: dict[str, int]  # bytes at the moment when their sum is largest
    memory: int  # bytes that there are
    tokens: int  # of the largest micro-batch that the run will make
    largest: int  # tokens of a micro-batch that would still fit; 0: not even the longest row
    longest: int  # tokens of the longest row
    micro_batches: float  # per step, on average
    tokens_per_step: float  # all processes together, prompts once
    rows: int
    saved: int  # tokens an epoch that sharing prompts saves
    unshared: int  # tokens an epoch with each prompt once per answer
    flops: float  # per step, all processes together
    rate: float  # FLOP/s of matrix products
    reached: float  # share of it that a step reaches
    seconds: float  # per step
    waiting: float  # seconds of these that only wait for the links; the rest computes
    starting: float  # the rest, where starting a GPU's kernels takes longer than computing; else 0
    forward: float  # seconds of one pass of a model over a step's rows without gradients
    course: Course
    references: float  # seconds in which they are computed before the first step
    rounds: RoundsPlan | None = None  # of self-play: what comes before a round's steps
    notes: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        return sum(self.parts.values())

    @property
    def fits(self) -> bool:
        drawn = self.rounds is None or self.rounds.fits
        return self.largest >= self.longest and drawn

    @property
    def in_all(self) -> float | None:
        """Seconds of the whole run, without what of it nobody can know; None where that is its length."""
        if self.course.steps is None:
            return None
        return self.references + self.course.steps * self.seconds + (self.rounds.in_all if self.rounds else 0.0)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"total": self.total, "fits": self.fits, "in_all": self.in_all}


def plan(asked: Question, rows: RowLengths) -> Plan:
    """Count and estimate. Takes seconds, a minute for hundreds of layers. Raises SettingsError and ModelError."""
    memory = Memory(asked)
    longest = int(rows.totals.max())
    largest = _largest(memory, rows, asked.limit)
    wanted = max(asked.run.tokens_per_micro_batch or min(USUAL, max(largest, longest)), longest)
    parts, found, shape = memory.at(rows, wanted)
    per_step = asked.prompts * float(rows.totals.mean())
    own = per_step / memory.ranks / shape.tokens
    flops, computing, starting = _computing(asked, found, own)
    waiting = _waiting(asked, memory, computing, micro_batches=own, tokens=shape.tokens)
    forward = max(_at_rate(asked, own * found.forward_flops), _launching(asked, own, found.forward_launches))
    before = sum(isinstance(r, COMPUTED_BEFORE) for r in asked.recipe.references.values())
    return Plan(
        machine=asked.machine.name,
        count=asked.count,
        sizes=str(memory.sizes),
        parameters=memory.parameters[0],
        trained=memory.parameters[1],
        parts={name: size for name, size in parts.items() if size},
        memory=asked.machine.memory // (1 if asked.machine.gpu else asked.count),
        tokens=shape.tokens,
        largest=largest,
        longest=longest,
        micro_batches=max(1.0, own),
        tokens_per_step=per_step,
        rows=len(rows),
        saved=rows.saved,
        unshared=int(rows.totals.sum()) + rows.saved,
        flops=flops * asked.count,
        rate=asked.machine.rate,
        reached=REACHED,
        seconds=max(computing, starting) + waiting,
        waiting=waiting,
        starting=starting if starting > computing else 0.0,
        forward=forward,
        course=asked.course,
        references=before * forward * len(rows) / asked.prompts,
        notes=tuple(_advice(asked, memory, found, rows, fits=largest >= longest)),
    )


def _largest(memory: Memory, rows: RowLengths, limit: float) -> int:
    """Tokens of the largest micro-batch within `limit` bytes: memory grows with them along a line. 0: none fits."""
    longest = int(rows.totals.max())
    points: list[tuple[int, int]] = []
    for budget in (longest, max(2 * longest, USUAL)):
        parts, _, shape = memory.at(rows, budget)
        points.append((shape.tokens, sum(parts.values())))
    (few, less), (many, more) = points
    if less > limit:
        return 0
    if many == few:  # a step's prompts are no more than these
        return few
    fitting = int(few + (limit - less) * (many - few) / max(1, more - less))
    return max(longest, min(fitting, int(memory.prompts * rows.totals.max())))


def _computing(asked: Question, found: Found, micro_batches: float) -> tuple[float, float, float]:
    """FLOPs of a step in one process, and the seconds in which it computes them and starts its kernels."""
    references = sum(not isinstance(r, COMPUTED_BEFORE) for r in asked.recipe.references.values())
    own = micro_batches * (found.flops + references * found.forward_flops)
    launches = found.launches + references * found.forward_launches
    return own, _at_rate(asked, own), _launching(asked, micro_batches, launches)


def _waiting(asked: Question, memory: Memory, computing: float, *, micro_batches: float, tokens: int) -> float:
    """Seconds in which a step waits for the links between processes.

    FSDP gathers weights and scatters gradients while layers compute; replicas and slices are waited for.
    """
    machine, sizes = asked.machine, memory.sizes
    gradients = 4 * sum(p.numel() for p in memory.rehearsal.trained)
    gathered = max(1.0, micro_batches) * (2 * memory.travelling + gradients) * (1 - 1 / sizes.shards)
    summed = 2 * gradients / sizes.shards * (1 - 1 / sizes.replicas)
    text = memory.rehearsal.config.get_text_config()
    hidden = micro_batches * tokens * text.hidden_size * (2 if asked.precision == "bfloat16" else 4)
    added = 2 * 4 * text.num_hidden_layers * hidden * (1 - 1 / sizes.slices)  # twice a layer, forward and backward
    link = machine.between(asked.count)
    return max(0.0, gathered / link - computing) + summed / link + added / machine.between(sizes.slices)


def _at_rate(asked: Question, flops: float) -> float:
    """Seconds in which one process computes them at the rate that a step reaches; 0: not known."""
    rate = REACHED * asked.machine.rate / (1 if asked.machine.gpu else asked.count)
    return flops / rate if rate else 0.0


def _launching(asked: Question, micro_batches: float, launches: int) -> float:
    """Seconds in which a GPU's kernels are started: it computes meanwhile, and waits where that is faster."""
    return LAUNCH * max(1.0, micro_batches) * launches if asked.machine.gpu else 0.0


def _advice(asked: Question, memory: Memory, found: Found, rows: RowLengths, fits: bool) -> Iterator[str]:
    """What is worth knowing, and what to change where it does not fit."""
    if not found.shared:
        yield "This architecture cannot share prompts: rows are padded."
    if asked.clients:
        yield (
            f"A step is a round: {asked.clients:,} clients take part in it, each with {asked.local_steps} local steps "
            f"of {asked.run.batch_size} prompts, or of all of its rows where it has fewer."
        )
    if asked.recipe.chase is not None:
        yield "Two adapters chase each other: every micro-batch goes through both, and both are counted."
    if "token_kl" in asked.recipe.objective.reads:
        yield "Whole next-token distributions are compared at every token: what that takes is not counted."
    if any(isinstance(r, COMPUTED_BEFORE) for r in asked.recipe.references.values()):
        yield "References are computed once before the first step: that pass is in the run's time, not in the step's."
    if fits:
        return
    limit = asked.limit
    longest = int(rows.totals.max())
    together, tried = asked, 0
    for flag, change in _changes(asked, memory):
        try:
            alone = sum(Memory(change(asked)).at(rows, longest)[0].values())
        except SettingsError:  # a layout that this model does not take
            continue
        yield f"{flag} takes it to {alone / 1e9:.1f} GB{', which fits' if alone <= limit else ''}."
        if alone <= limit:
            return
        together, tried = change(together), tried + 1
    if tried > 1:
        total = sum(Memory(together).at(rows, longest)[0].values())
        yield f"All of these together: {total / 1e9:.1f} GB{', which fits' if total <= limit else ', still too much'}."
        if total <= limit:
            return
    yield "Use more or larger devices, a smaller model, or shorter rows (--max-length with --too-long)."


def _changes(asked: Question, memory: Memory) -> Iterator[tuple[str, Callable[[Question], Question]]]:
    """Flags that save memory and are not given, the mildest first."""

    def run(**changes: object) -> Callable[[Question], Question]:
        return lambda q: replace(q, run=q.run.replace(**changes))

    def cached(q: Question) -> Question:
        given = q.recipe.references.items()
        kept = {name: Cached() if isinstance(r, STAYING) else r for name, r in given}
        return replace(q, recipe=q.recipe.replace(references=kept))

    if not asked.run.gradient_checkpointing:
        yield "--gradient-checkpointing", run(gradient_checkpointing=True)
    if any(isinstance(r, STAYING) for r in asked.recipe.references.values()) and memory.resident["references"]:
        yield "--reference cached", cached
    if asked.count > 1 and memory.sizes.shards == 1 and memory.sizes.slices == 1 and not asked.clients:
        yield "--layout fsdp", run(layout="fsdp")
    if memory.sizes.shards >= NVLINK_GPUS and memory.sizes.slices == 1:
        yield f"--layout fsdp --tensor-size {NVLINK_GPUS}", run(layout="fsdp", tensor_size=NVLINK_GPUS)
    if memory.adapter is None and asked.count > 1 and not asked.clients:
        yield "--lora 16 --layout fsdp", run(lora=LoRA(rank=16), layout="fsdp")
    elif memory.adapter is None:
        yield "--lora 16", run(lora=LoRA(rank=16))

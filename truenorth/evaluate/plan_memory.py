"""The memory of one process, by part: what a rehearsal counts, what is there throughout, what a layout divides."""

import copy
import json
import math
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from torch import nn
from transformers import PretrainedConfig

from ..data.row_lengths import RowLengths
from ..errors import SettingsError
from ..models.load import base_of_adapter, config_of
from ..models.memory import PARTS, Part
from ..models.moving import size_of_follower
from ..models.policy import Precision
from ..models.references import Frozen, Moving, OtherModel
from ..models.rehearsal import Adapter, Asked, Found, Rehearsal, Shape
from ..models.sharding import check_slices, layers_of, sizes_of
from ..models.storage import LINEAR
from ..optim.state_size import state_bytes, task_bytes
from ..recipe import Recipe
from ..run import Run
from ..train.budget import SHARE
from ..train.federated import bytes_held
from ..train.resident import resident_memory
from .machines import Machine

# What malloc has freed and keeps on a CPU, as a share of the activations that the passes would keep if none were
# computed again, and what libraries take once they compute. Fitted to benchmarks/plan.py, with glibc's own settings.
ALLOCATOR = 0.5
COMPUTING = 120_000_000  # bytes
CONTEXT = 600_000_000  # bytes that a CUDA context and its libraries take on a GPU
DIVIDED: tuple[Part, ...] = ("weights", "references", "task vector", "optimizer", "gradients")  # by FSDP


@dataclass(frozen=True, slots=True)
class Course:
    """What a run goes through, as far as it is known before."""

    sentence: str = ""
    steps: int | None = None  # in all; None: nobody knows
    prompts: float | None = None  # of a step, all processes together; None: as the run's settings say
    rows: str = "an epoch of {:,} rows"  # what the planned rows are, with a place for their number


@dataclass(frozen=True, slots=True)
class Question:
    """What is planned."""

    recipe: Recipe
    run: Run
    precision: Precision  # of the products: `Run.precision` without auto
    machine: Machine
    count: int  # processes, one to a GPU
    task_vector: bool = False  # merging keeps SFT minus base beside the policy
    clients: int = 0  # that take part in a federated round; 0: there are none
    judge: int = 0  # bytes of a model in memory that judges answers
    course: Course = Course()

    @property
    def prompts(self) -> float:
        """Of a step, all processes together."""
        usual = self.run.batch_size * self.local_steps * max(1, self.clients)
        return usual if self.course.prompts is None else self.course.prompts

    @property
    def limit(self) -> float:
        """Bytes that one process may take."""
        return SHARE * self.machine.memory / (1 if self.machine.gpu else self.count)

    @property
    def local_steps(self) -> int:
        """Of a client in a round; without clients a step is one."""
        return 1 if self.recipe.clients is None else self.recipe.clients.local_steps


class Memory:
    """Bytes of one process, by part, for any micro-batch. Raises ModelError where the model cannot be rehearsed."""

    def __init__(self, asked: Question) -> None:
        self.asked, run = asked, asked.run
        self.config = config = config_of(run.model, trust_remote_code=run.trust_remote_code)
        self.adapter = _adapter(run)
        self.sizes = sizes_of(run, asked.count, gpu=asked.machine.gpu, adapter=self.adapter is not None)
        check_slices(config, self.sizes)
        trusted, gpu = run.trust_remote_code, asked.machine.gpu
        twin = asked.recipe.chase is not None
        how = Asked(asked.precision, self.adapter, run.gradient_checkpointing, gpu, twin, trusted)
        self.rehearsal = Rehearsal(sliced(config, self.sizes.slices), how)
        self.ranks = self.sizes.replicas * self.sizes.shards  # that train on different rows
        # per step; a client's local steps are one process's
        self.prompts = run.batch_size if asked.clients else math.ceil(run.batch_size / self.ranks)

    def at(self, rows: RowLengths, budget: int) -> tuple[dict[Part, int], Found, Shape]:
        """The parts with micro-batches of up to `budget` tokens, what was counted, and the largest micro-batch."""
        shape = Shape.of(rows.largest(budget=budget, batch_size=self.prompts))
        several = self.prompts * float(rows.totals.mean()) > max(budget, shape.longest)
        found = self.rehearsal(shape, accumulated=several)
        parts: dict[Part, int] = {**dict.fromkeys(PARTS, 0), **found.peak, **self.resident}
        if self.sizes.shards > 1:
            for part in DIVIDED:
                parts[part] = math.ceil(parts[part] / self.sizes.shards)
            parts["half copies"] = max(0, parts["half copies"] - self._gathered_in_half)
        if not self.asked.machine.gpu:
            parts["allocator"] = round(ALLOCATOR * self._activations(shape, found))
        return parts, found, shape

    @cached_property
    def parameters(self) -> tuple[int, int]:
        """How many the whole model has, and how many of them are trained."""
        whole = self.rehearsal if self.sizes.slices == 1 else Rehearsal(self.config, self.rehearsal.asked)
        return sum(p.numel() for p in whole.parameters), sum(p.numel() for p in whole.trained)

    @cached_property
    def resident(self) -> dict[Part, int]:
        """What is there throughout and a rehearsal does not see. Not yet divided by FSDP."""
        recipe, machine = self.asked.recipe, self.asked.machine
        frozen = sum(isinstance(r, Frozen) for r in recipe.references.values()) * self.rehearsal.reference
        others = [r.path for r in recipe.references.values() if isinstance(r, OtherModel)]
        half = self.asked.precision == "bfloat16"
        moving = [r for r in recipe.references.values() if isinstance(r, Moving)]
        trained = [p.shape for p in self.rehearsal.trained]
        state, entries = state_bytes(recipe.update, trained), sum(shape.numel() for shape in trained)
        clients = math.ceil(self.asked.clients / self.ranks)
        return {
            "process": CONTEXT if machine.gpu else resident_memory() + COMPUTING,
            "references": frozen
            + sum(self._other(path) for path in others)
            + sum(size_of_follower(self.rehearsal.model, r, half=half) for r in moving),
            "optimizer": state,
            "task vector": task_bytes(recipe.update, trained) or self.asked.task_vector * 4 * entries,
            "judge": self.asked.judge,
            "clients": bytes_held(self.asked.local_steps, clients, trained=4 * entries, state=state) if clients else 0,
            "gathered": self._gathered(),
        }

    def _activations(self, shape: Shape, found: Found) -> int:
        """Bytes that the passes keep, or would if nothing were computed again."""
        how = self.rehearsal.asked
        if how.checkpointing:
            found = Rehearsal(self.rehearsal.config, replace(how, checkpointing=False))(shape)
        return found.peak["activations"]

    def _other(self, path: str) -> int:
        """Bytes of another model as a reference."""
        trusted = self.asked.run.trust_remote_code
        config = sliced(config_of(path, trust_remote_code=trusted), self.sizes.slices)
        return Rehearsal(config, Asked(self.asked.precision, trust_remote_code=trusted)).reference

    def _gathered(self) -> int:
        """Bytes that FSDP has whole at a moment: two layers, the gradients of one, and all that is in no layer.

        Under bfloat16 a layer is gathered in it, and its gradients are there in both dtypes when they are summed.
        """
        if self.sizes.shards == 1:
            return 0
        layers = [_entries(layer) for layer in layers_of(self.rehearsal.model)]
        largest, size = max(layers, default=0), self._gathered_size
        gradients = 0 if self.adapter else largest * (6 if size == 2 else 4)
        return self.travelling - size * sum(layers) + 2 * size * largest + gradients

    @property
    def travelling(self) -> int:
        """Bytes of weights that FSDP gathers in one pass: layers in the precision of products, the rest as stored."""
        layers = layers_of(self.rehearsal.model)
        return self.rehearsal.weights + sum(self._gathered_size * _entries(m) - _size(m) for m in layers)

    @property
    def _gathered_size(self) -> int:
        """Bytes of an entry of a layer while it is gathered."""
        return 2 if self.asked.precision == "bfloat16" else 4

    @cached_property
    def _gathered_in_half(self) -> int:
        """Bytes of the half copies that autocast makes of layers, unless they are gathered so."""
        trained = {id(p) for p in self.rehearsal.trained}
        linear = [m for layer in layers_of(self.rehearsal.model) for m in layer.modules() if isinstance(m, LINEAR)]
        return sum(2 * p.numel() for m in linear for p in m.parameters(recurse=False) if id(p) in trained)


def sliced(config: PretrainedConfig, slices: int) -> PretrainedConfig:
    """The configuration of one process's slice: fewer heads, narrower inside, all else whole."""
    config = copy.deepcopy(config)
    if slices > 1:
        text = config.get_text_config()
        text.head_dim = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
        for name in ("num_attention_heads", "num_key_value_heads", "intermediate_size"):
            setattr(text, name, getattr(text, name) // slices)
    return config


def _adapter(run: Run) -> Adapter | None:
    """The adapter that is trained: a new one, or the one that the model is. Raises SettingsError for both."""
    further = base_of_adapter(run.model) is not None
    if run.lora is not None and further:
        raise SettingsError(f"{run.model} is an adapter already: it is trained further. Leave out --lora.")
    if further:
        found = json.loads((Path(run.model) / "adapter_config.json").read_text())
        return Adapter(int(found["r"]), found["target_modules"])
    return None if run.lora is None else Adapter(run.lora.rank, run.lora.targets)


def _entries(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def _size(module: nn.Module) -> int:
    return sum(p.numel() * p.element_size() for p in module.parameters())

"""How a gradient becomes a step: a frozen description that builds a torch optimizer and its schedule."""

import abc
import math
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, model_validator

from ..errors import SettingsError
from ..proportions import up
from ..settings import Part, find
from .rule import AnyRule

UPDATES: Mapping[str, str] = {
    "adamw": "truenorth.optim.update:AdamW",
    "rmsprop": "truenorth.optim.update:RMSprop",
    "sgdm": "truenorth.optim.update:SGDM",
    "hfac": "truenorth.optim.hfac:HFac",
    "torch": "truenorth.optim.update:TorchOptimizer",
}

NEEDS_ROWS = (
    "{kind} needs whole rows of parameters, and tensor parallelism slices rows too. Use --layout fsdp without "
    "--tensor-size, --layout data, or another update, for instance --set update.kind=adamw."
)
ONE_PASS = ("cpu", "cuda")  # devices with a kernel that reads and writes each weight and moment once


class Update(Part, abc.ABC):
    """An optimizer, its learning rate over time, and the clip of the gradient before it."""

    by_rows: ClassVar[bool] = False  # whether a process must hold whole rows of what it steps

    has_kernels: ClassVar[bool] = False  # whether there is more to compile than a merge

    learning_rate: PositiveFloat = Field(default=1e-6, description="peak learning rate")
    warmup_steps: NonNegativeInt = Field(default=0, description="steps of linear warm-up from 0")
    warmup_share: float = Field(default=0.0, ge=0, lt=1, description="the same as a share of all steps; not both")
    decay: Literal["constant", "linear", "cosine"] = Field(
        default="linear", description="shape after the warm-up, to 0 at the end"
    )
    max_grad_norm: PositiveFloat | None = Field(
        default=1.0, description="clip the gradient's L2 norm; none leaves it alone"
    )
    merging: AnyRule | None = Field(default=None, description="rule by which each step is merged with a task vector")
    compile: bool | None = Field(
        default=None,
        description="compile merged steps and those of hfac: C on a CPU, torch.compile on a GPU; none: a run's on a "
        "CPU, where a C compiler is found",
    )

    @model_validator(mode="after")
    def _one_warmup(self) -> Self:
        if self.warmup_steps and self.warmup_share:
            raise SettingsError(
                f"Give warmup_steps or warmup_share, not both: got {self.warmup_steps} and {self.warmup_share}."
            )
        return self

    @property
    def to_compile(self) -> bool:
        """Whether there is something to compile."""
        return self.has_kernels or self.merging is not None

    @model_validator(mode="after")
    def _something_to_compile(self) -> Self:
        if self.compile and not self.to_compile:
            raise SettingsError(
                f"compile=True has nothing to compile: merged steps are compiled and those of kind hfac, and this is "
                f"{self.kind} without merging. Leave it out."
            )
        return self

    @abc.abstractmethod
    def build(self, parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
        """The optimizer over `parameters`, at the peak learning rate."""

    def warmup_of(self, steps: int) -> int:
        """The steps of warm-up in a run of `steps`."""
        return self.warmup_steps or up(self.warmup_share * steps)

    def learning_rate_at(self, step: int, steps: int) -> float:
        """The learning rate of step `step` (0-based) of `steps`.

        >>> AdamW(learning_rate=1.0, warmup_steps=2, decay="linear").learning_rate_at(0, 4)
        0.5
        """
        warmup = self.warmup_of(steps)
        if step < warmup:
            return self.learning_rate * (step + 1) / warmup
        done = (step - warmup) / max(1, steps - warmup)  # in [0, 1)
        match self.decay:
            case "constant":
                return self.learning_rate
            case "linear":
                return self.learning_rate * (1 - done)
            case "cosine":
                return self.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


def refuse_without_kernels(update: Update, device: torch.device) -> None:
    """Raise SettingsError where nothing of `update` can be compiled for `device`."""
    rule = update.merging
    if device.type != "cpu" and not update.has_kernels and rule is not None and rule.selection == "largest":
        raise SettingsError(
            f"compile=True has nothing to compile on a {device.type} device: steps merged by {rule.kind} are compiled "
            "on a CPU alone. Leave it out."
        )


class AdamW(Update):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2017, arXiv:1711.05101)."""

    kind: ClassVar[str] = "adamw"
    betas: tuple[float, float] = Field(default=(0.9, 0.999), description="decay of the first and second moment")
    epsilon: PositiveFloat = Field(default=1e-8, description="added to the root of the second moment")
    weight_decay: NonNegativeFloat = Field(
        default=0.0, description="share of a weight taken off per step, times learning rate"
    )

    def build(self, parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
        parameters = list(parameters)
        return torch.optim.AdamW(
            parameters,
            lr=self.learning_rate,
            betas=self.betas,
            eps=self.epsilon,
            weight_decay=self.weight_decay,
            fused=all(p.device.type in ONE_PASS for p in parameters) or None,  # None: torch's own choice
        )


class RMSprop(Update):
    """RMSprop, the optimizer of the DPO paper's code."""

    kind: ClassVar[str] = "rmsprop"
    alpha: float = Field(default=0.99, gt=0, lt=1, description="decay of the second moment")
    epsilon: PositiveFloat = Field(default=1e-8, description="added to the root of the second moment")

    def build(self, parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.RMSprop(parameters, lr=self.learning_rate, alpha=self.alpha, eps=self.epsilon)


class SGDM(Update):
    """Stochastic gradient descent with momentum as a moving mean, m <- b m + (1 - b) g; at b = 0 plain descent.

    The mean begins at 0 and is not corrected for that: the first steps are short.
    """

    kind: ClassVar[str] = "sgdm"
    momentum: float = Field(default=0.9, ge=0, lt=1, description="b, decay of the mean of gradients")

    def build(self, parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
        parameters = list(parameters)
        optimizer = torch.optim.SGD(
            parameters,
            lr=self.learning_rate,
            momentum=self.momentum,
            dampening=self.momentum,  # the share of a gradient that does not arrive
        )
        for parameter in parameters if self.momentum else ():  # torch would begin with the whole first gradient
            optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        return optimizer


class TorchOptimizer(Update):
    """Any `torch.optim.Optimizer` by its import path, with its own keyword arguments."""

    kind: ClassVar[str] = "torch"
    optimizer: str = Field(description="import path, for instance torch.optim:Adafactor")
    arguments: dict[str, Any] = Field(default_factory=dict[str, Any], description="its keyword arguments but lr")

    @model_validator(mode="after")
    def _can_be_built(self) -> Self:
        try:
            self.build([torch.nn.Parameter(torch.zeros(2, 2))])
        except (TypeError, ValueError) as error:
            if isinstance(error, SettingsError):
                raise
            raise SettingsError(f"{self.optimizer} does not take {self.arguments}: {error}.") from error
        return self

    def build(self, parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
        cls = find(self.optimizer)
        if not (isinstance(cls, type) and issubclass(cls, torch.optim.Optimizer)):
            raise SettingsError(f"{self.optimizer} is no torch.optim.Optimizer.")
        return cls(parameters, lr=self.learning_rate, **self.arguments)  # pyright: ignore[reportCallIssue]

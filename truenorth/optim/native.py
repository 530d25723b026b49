"""Steps in one pass over a CPU's tensors, by `merging.c` and `factored.c`.

They compute what torch's operations do, rounded elsewhere, so that numbers are theirs up to a few units of the last
place; what is drawn is the same. They have as many threads as torch, and let other threads of Python work.
"""

from collections.abc import Sequence
from ctypes import Structure, byref, c_double, c_float, c_int32, c_int64, c_void_p
from functools import cache
from typing import Any

import torch
from torch import Tensor

from . import compiled
from .draws import BLOCK
from .rule import Rule
from .threads import Spare

GIVEN, SINCE, ADAM, RMSPROP = range(4)  # kinds of movements
PART, PARTS = 2**14, 64  # as in the sources
P, N, F, I = c_void_p, c_int64, c_float, c_int32  # noqa: E741  -- so that a signature is a line
SIGNATURES: dict[str, tuple[Any, ...]] = {  # what it gives, and takes
    "movement": (None, P, P, N, I),
    "steps_few": (None, P, N, I),
    "step_all": (None, P, P, N, P, I, P, P, N, I),
    "between": (N, P, N, F, F, P, P, I),
    "behind": (N, P, N, F, N),
    "step_largest": (None, P, P, N, P, P, P, N, I),
    "sums": (None, P, N, N, F, P, P, P, I),
    "squares": (c_double, P, N, N, P, P, I),
    "step_factored": (None, P, P, N, N, P, P, P, P, F, I),
}
NOWHERE = torch.empty(0, dtype=torch.int64)
_spare = Spare()


class Movement(Structure):
    """What a movement of entries is computed by: once, as a state may move too. The tensors must outlive it."""

    _fields_ = (("kind", I), ("first", P), ("second", P), ("gradient", P), ("numbers", F * 6))

    @classmethod
    def of(cls, kind: int, *entries: Tensor, numbers: Sequence[float] = ()) -> "Movement":
        """`entries`: of GIVEN the movement, of SINCE weights and those before, else mean, square and gradient."""
        pointers = [_pointer(tensor) for tensor in entries]
        return cls(kind, *pointers, *pointers[:1] * (3 - len(pointers)), (F * 6)(*numbers))


class Some(Structure):
    """Values at places of a tensor, which increase, and what they are multiplied by."""

    _fields_ = (("places", P), ("count", N), ("first", N), ("values", P), ("share", F))

    @classmethod
    def of(
        cls, places: Tensor = NOWHERE, values: Tensor | None = None, *, share: float = 0.0, first: int = 0
    ) -> "Some":
        """`first`: what is added to each of `places`."""
        made = cls(places.data_ptr(), places.numel(), first, None if values is None else _pointer(values), share)
        made.kept = (places, values)  # alive
        return made


class Few(Structure):
    """A step of weights [n]: by the update at the places of `own`, then by `task`, rounded with its entries' noise."""

    _fields_ = (("by", Movement), ("weights", P), ("n", N), ("own", Some), ("task", Some), ("noise", P))


class Circle(Structure):
    """Random numbers, and where on their circle those of each block begin."""

    _fields_ = (("around", P), ("starts", P))


class Shares(Structure):
    """What a rule makes of an update and of the task vector."""

    _fields_ = (
        *((name, F) for name in ("of_update", "of_task", "update_votes", "task_votes", "above")),
        ("elects", I),
        ("until", N),
    )

    @classmethod
    def of(cls, rule: Rule, above: float = -1.0, until: int = 0) -> "Shares":
        """`above`: the magnitude above which updates are kept; those that equal it too, as far as entry `until`."""
        return cls(*rule.shares, *rule.votes, above, rule.selection == "largest", until)


def filled(to: Tensor, by: Movement) -> Tensor:
    """`to` [n], with the movement in it."""
    _call("movement", byref(by), _pointer(to), len(to))
    return to


class Steps:
    """Steps that touch few entries each, collected and taken in one call of C.

    After each call of its own, Python would find that the tensors have pushed its memory out of the cache.
    """

    def __init__(self) -> None:
        self._steps = list[Few]()
        self._kept = list[Some]()

    def add(self, by: Movement, weights: Tensor, own: Some, task: Some, noise: Tensor) -> None:
        self._steps.append(Few(by, _pointer(weights), len(weights), own, task, noise.data_ptr()))
        self._kept += own, task  # a structure within another is a copy, which keeps no tensor alive

    def take(self) -> None:
        if not self._steps:
            return
        steps = (Few * len(self._steps))(*self._steps)
        _call("steps_few", steps, len(steps))
        self.drop()

    def drop(self) -> None:
        """Forget those that are not taken: an error ended their step, and their tensors may be gone."""
        self._steps.clear()
        self._kept.clear()


def step_all(by: Movement, weights: Tensor, task: Tensor, shares: Shares, drawn: "Drawn") -> None:
    """Move weights [n] by update and task vector."""
    assert task.dtype in (torch.float32, torch.bfloat16)
    parts = byref(by), _pointer(weights), len(weights), task.data_ptr(), task.dtype == torch.bfloat16
    _call("step_all", *parts, byref(shares), drawn.circles, drawn.first % BLOCK)


class Drawn:
    """What is drawn for the blocks of a span: of update, task vector and rounding, each a circle and its `starts`."""

    def __init__(self, first: int, *circles: tuple[Tensor, Tensor] | None) -> None:
        self.first = first
        self.kept = circles  # alive
        self.circles = (Circle * 3)(
            *(Circle() if pair is None else Circle(*(tensor.data_ptr() for tensor in pair)) for pair in circles)
        )


def step_largest(
    update: Tensor, weights: Tensor, task: Some, shares: Shares, noise: tuple[Tensor, int] | None
) -> None:
    """Move weights [n] where the update is kept, or the task vector has an entry. `noise`: a circle, and its start."""
    circle, start = (None, 0) if noise is None else (noise[0].data_ptr(), noise[1])
    _call("step_largest", _pointer(update), _pointer(weights), len(weights), byref(task), byref(shares), circle, start)


def between(values: Tensor, low: float, high: float) -> tuple[int, Tensor]:
    """As `largest.between`, but the next call overwrites the tensor that this one gives."""
    near = _spare(len(values), values.device)
    found = torch.zeros(len(values) // PART + 1, dtype=torch.int64)
    above = _call("between", _pointer(values), len(values), low, high, near.data_ptr(), found.data_ptr())
    return above, near[: int(found[0])]


def behind(values: Tensor, size: float, count: int) -> int:
    """The place behind the `count`-th of `values` [n] whose magnitude is `size`."""
    return _function("behind")(_pointer(values), len(values), size, count)


def sums(gradient: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """Of [m, n]: means of rows [2, m], sums of columns [2, n], each beside sums of squares plus epsilon."""
    m, n = gradient.shape
    rows, columns = gradient.new_empty(2, m), gradient.new_empty(2, n)
    spare = _spare(2 * n * PARTS, gradient.device)
    _call("sums", _pointer(gradient), m, n, epsilon, *(x.data_ptr() for x in (rows, columns, spare)))
    return rows, columns


def squares(gradient: Tensor, by_row: Tensor, by_column: Tensor) -> Tensor:
    """The sum of squares of gradient * by_row[:, None] * by_column."""
    total = _call("squares", _pointer(gradient), *gradient.shape, _pointer(by_row), _pointer(by_column))
    return torch.tensor(total, dtype=gradient.dtype)


def step_factored(
    weights: Tensor, gradient: Tensor, rows: tuple[Tensor, Tensor], columns: tuple[Tensor, Tensor], rate: float
) -> None:
    """Move weights [m, n] by H-Fac's step; of rows and columns what gradients are multiplied by, and what is added."""
    parts = [_pointer(tensor) for tensor in (*rows, *columns)]
    _call("step_factored", _pointer(weights), _pointer(gradient), *weights.shape, *parts, rate)


def _pointer(tensor: Tensor) -> int:
    assert tensor.dtype == torch.float32, "what is stepped is float32"
    assert tensor.is_contiguous()
    return tensor.data_ptr()


def _call(name: str, *arguments: Any) -> Any:
    return _function(name)(*arguments, torch.get_num_threads())


@cache
def _function(name: str) -> Any:
    function = getattr(compiled.library(), name)
    function.restype, *function.argtypes = SIGNATURES[name]
    return function

"""Where a training step's memory goes: every tensor counted while it lives, under the part that it belongs to.

The count works on tensors with contents and on torch's fake tensors alike, so that what a plan says before a model
is loaded and what a trial finds on the machine are the same sum. Bytes are those of storages: views cost nothing.
"""

import weakref
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

Part = Literal[
    "weights",  # of the policy
    "references",  # of models that stay in memory beside it
    "task vector",  # of merging: SFT minus base
    "optimizer",  # its state
    "gradients",
    "clients",  # federated rounds: the server's weights and state while clients move them, sums of gradients
    "gathered",  # layers that FSDP has whole at a moment
    "half copies",  # bfloat16 copies of float32 weights, which autocast makes and the backward pass needs
    "activations",
    "head",  # logits of a chunk, and what is computed of them
    "cache",  # keys and values of answers that are being drawn
    "judge",  # a model in memory that judges them
    "allocator",  # freed, and not given back to the system
    "process",  # Python, the libraries, a GPU's context
]
PARTS: tuple[Part, ...] = get_args(Part)
Bytes = Mapping[Part, int]


class Ledger(TorchDispatchMode):
    """Within it, every new tensor is counted: under "head" if it has as many columns as the vocabulary has tokens.

    Tensors made before are counted once `own` names them. What a fused kernel needs for itself is not seen.
    """

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.vocabulary = vocabulary
        self.live: dict[Part, int] = dict.fromkeys(PARTS, 0)
        self.peak: dict[Part, int] = dict.fromkeys(PARTS, 0)  # the parts at the moment when their sum was largest
        self.flops = 0  # of matrix products
        self.launches = 0  # operations that are no views: about as many kernels are started
        self._entries: dict[int, tuple[Part, int]] = {}  # storage -> part, bytes
        self._total = self._most = 0

    def own(self, part: Part, tensors: Iterable[Tensor]) -> None:
        """Count `tensors` under `part` from now on, wherever they were counted before."""
        for tensor in tensors:
            place = _place(tensor)
            if place in self._entries:
                self._forget(place)
            else:
                weakref.finalize(tensor.untyped_storage(), self._forget, place)
            self._enter(tensor, part)

    def watch_gradients(self, parameters: Iterable[nn.Parameter]) -> Sequence[Any]:
        """Count the gradients of `parameters` as such once they are there. Returns the hooks, to be removed."""
        return [p.register_post_accumulate_grad_hook(self._own_gradient) for p in parameters if p.requires_grad]

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        del types
        out = func(*args, **(kwargs or {}))
        if (count := flop_registry.get(func._overloadpacket)) is not None:
            self.flops += count(*args, **(kwargs or {}), out_val=out)
        self.launches += not func.is_view
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor) and _place(tensor) not in self._entries:
                self.own(self._part_of(tensor, func, args), [tensor])
        return out

    def _part_of(self, tensor: Tensor, func: Any, args: Sequence[Any]) -> Part:
        """What a new tensor is for: a cast of a weight is a half copy, whoever asked for it."""
        if func is torch.ops.aten._to_copy.default:
            source, _ = self._entries.get(_place(args[0]), (None, 0))
            if source == "weights":
                return "half copies"
        return "head" if tensor.dim() > 1 and tensor.shape[-1] == self.vocabulary else "activations"

    def _enter(self, tensor: Tensor, part: Part) -> None:
        size = tensor.untyped_storage().nbytes()
        self._entries[_place(tensor)] = (part, size)
        self.live[part] += size
        self._total += size
        if self._total > self._most:
            self._most, self.peak = self._total, dict(self.live)

    def _forget(self, place: int) -> None:
        part, size = self._entries.pop(place)
        self.live[part] -= size
        self._total -= size

    def _own_gradient(self, parameter: nn.Parameter) -> None:
        if parameter.grad is not None:
            self.own("gradients", [parameter.grad])


def _place(tensor: Tensor) -> int:
    """What tells storages apart while they live."""
    return tensor.untyped_storage()._cdata  # pyright: ignore[reportPrivateUsage]  -- has no public name


@contextmanager
def counting(parameters: Sequence[nn.Parameter], *, vocabulary: int) -> Generator[Ledger]:
    """A ledger that knows the weights of a model and the gradients that they get."""
    ledger = Ledger(vocabulary)
    ledger.own("weights", parameters)
    hooks = ledger.watch_gradients(parameters)
    try:
        with ledger:
            yield ledger
    finally:
        for hook in hooks:
            hook.remove()

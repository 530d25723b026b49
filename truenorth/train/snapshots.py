"""Trained parameters as they were at some steps of a run, so that they can be compared afterwards."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from .loop import by_player
from .step import Player


def steps_kept(step: int, *, every: int, most: int) -> list[int]:
    """The steps whose snapshots are kept after `step` of them: 0, then at equal distances, at most `most`.

    >>> steps_kept(39, every=10, most=4), steps_kept(40, every=10, most=4)
    ([0, 10, 20, 30], [0, 20, 40])
    """
    if not most:
        return []
    distance = every
    while step // distance >= most:
        distance *= 2
    return list(range(0, step + 1, distance))


@dataclass(frozen=True, slots=True)
class Snapshots:
    """Files in a folder, `step-N.safetensors`, of which `steps_kept` says how many there are."""

    folder: Path
    every: int
    most: int

    def take(self, step: int, players: Sequence[Player]) -> None:
        """Keep the parameters after `step` steps if it is time, and drop the files that are not kept any more."""
        kept = steps_kept(step, every=self.every, most=self.most)
        if step not in kept:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self._file(step)
        new = file.with_suffix(".new")
        trained = by_player([player.named_parameters for player in players])
        save_file({name: p.detach().contiguous() for name, p in trained.items()}, new)
        new.replace(file)  # a kill leaves it whole or not there
        for old in self.steps():
            if old < step and old not in kept:
                self._file(old).unlink()

    def steps(self) -> list[int]:
        """Those that are there."""
        return sorted(int(file.stem.removeprefix("step-")) for file in self.folder.glob("step-*.safetensors"))

    def read(self, step: int) -> Mapping[str, Tensor]:
        """The parameters after `step` steps, by name."""
        return load_file(self._file(step))

    def _file(self, step: int) -> Path:
        return self.folder / f"step-{step}.safetensors"


@contextmanager
def held_as(players: Sequence[Player], tensors: Mapping[str, Tensor]) -> Generator[None]:
    """Within it the trained parameters have the values of `tensors`; afterwards their own again."""
    named = by_player([player.named_parameters for player in players])
    own = {name: parameter.detach().clone() for name, parameter in named.items()}
    try:
        _put(named, tensors)
        yield
    finally:
        _put(named, own)


@torch.no_grad()
def _put(named: Mapping[str, torch.nn.Parameter], tensors: Mapping[str, Tensor]) -> None:
    for name, parameter in named.items():
        parameter.copy_(tensors[name])

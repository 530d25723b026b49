"""A checkpoint is a folder that is either whole or not there: parameters, optimizer, counters, random state."""

import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..errors import CheckpointError
from ..models.policy import Precision
from .step import Player


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is. Everything that is not a tensor and that the next step depends on."""

    step: int = 0  # optimizer steps taken
    prompts: int = 0
    tokens: int = 0  # input tokens that went through the policy
    seconds: float = 0.0  # spent in steps
    budget: int = 0  # tokens per micro-batch, found at the start
    precision: Precision = "float32"  # chosen at the start: another machine must not choose again
    identity: str = ""  # of recipe and data: what a resumed run must agree with


def save(folder: Path, players: Sequence[Player], progress: Progress, *, keep: int) -> Path:
    """Write `folder/step-N`, then remove all but the newest `keep` checkpoints. Returns the new one's path.

    A kill at any moment leaves the previous checkpoint whole: files are written under another name, flushed to the
    disk, and the folder is renamed last.
    """
    done = folder / f"step-{progress.step}"
    new = folder / f".step-{progress.step}.new"
    for cut in folder.glob(".step-*.new"):  # what a kill left behind, perhaps of another step
        shutil.rmtree(cut)
    new.mkdir(parents=True)
    plain: dict[str, Any] = {"progress": asdict(progress), "optimizers": []}
    for i, player in enumerate(players):
        tensors, rest = _optimizer_state(player)
        _write(new / f"parameters-{i}.safetensors", {n: p.detach() for n, p in player.named_parameters.items()})
        _write(new / f"optimizer-{i}.safetensors", tensors)
        plain["optimizers"].append(rest)
    _write(new / "random.safetensors", _random_state())
    (new / "state.json").write_text(json.dumps(plain))
    _flush(new)
    shutil.rmtree(done, ignore_errors=True)
    new.rename(done)
    _flush(folder)
    for old in _all(folder)[:-keep]:
        shutil.rmtree(old)
    return done


def newest(folder: Path) -> Path | None:
    """The checkpoint with the highest step, or None."""
    found = _all(folder)
    return found[-1] if found else None


def read_progress(checkpoint: Path) -> Progress:
    """How far the run was at `checkpoint`, without its tensors."""
    return Progress(**json.loads((checkpoint / "state.json").read_text())["progress"])


def restore(checkpoint: Path, players: Sequence[Player]) -> Progress:
    """Put parameters, optimizers and random state back as they were, to the bit.

    Raises CheckpointError if the checkpoint holds other parameters than the run trains.
    """
    plain = json.loads((checkpoint / "state.json").read_text())
    for i, player in enumerate(players):
        saved = load_file(checkpoint / f"parameters-{i}.safetensors")
        ours = player.named_parameters
        if (names := set(saved)) != set(ours):
            odd = ", ".join(sorted(names ^ set(ours))[:4])
            raise CheckpointError(f"{checkpoint} was written for other trained parameters: {odd} stand in one only.")
        with torch.no_grad():
            for name, tensor in saved.items():
                ours[name].copy_(tensor)
        _restore_optimizer(player, load_file(checkpoint / f"optimizer-{i}.safetensors"), plain["optimizers"][i])
    _restore_random_state(load_file(checkpoint / "random.safetensors"))
    return read_progress(checkpoint)


def _all(folder: Path) -> list[Path]:
    named = [(int(m[1]), path) for path in folder.glob("step-*") if (m := re.fullmatch(r"step-(\d+)", path.name))]
    return [path for _, path in sorted(named)]


def _optimizer_state(player: Player) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors under "parameter name:key", and the same for what is no tensor.

    Names, not places: a state then fits any split of the parameters over groups or processes.
    """
    names = list(player.named_parameters)
    tensors: dict[str, Tensor] = {}
    rest: dict[str, Any] = {}
    for place, entries in player.optimizer.state_dict()["state"].items():
        for key, value in entries.items():
            (tensors if isinstance(value, Tensor) else rest)[f"{names[place]}:{key}"] = value
    return tensors, rest


def _restore_optimizer(player: Player, tensors: Mapping[str, Tensor], rest: Mapping[str, Any]) -> None:
    place = {name: i for i, name in enumerate(player.named_parameters)}
    state: dict[int, dict[str, Any]] = {}
    for full, value in [*tensors.items(), *rest.items()]:
        name, _, key = full.rpartition(":")
        state.setdefault(place[name], {})[key] = value
    player.optimizer.load_state_dict(player.optimizer.state_dict() | {"state": state})


def _random_state() -> dict[str, Tensor]:
    cuda = {f"cuda-{i}": state for i, state in enumerate(torch.cuda.get_rng_state_all())}
    return {"cpu": torch.get_rng_state(), **cuda}


def _restore_random_state(state: Mapping[str, Tensor]) -> None:
    torch.set_rng_state(state["cpu"])
    devices = min(torch.cuda.device_count(), len(state) - 1)
    for i in range(devices):
        torch.cuda.set_rng_state(state[f"cuda-{i}"], i)


def _write(file: Path, tensors: Mapping[str, Tensor]) -> None:
    save_file({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, file)


def _flush(folder: Path) -> None:
    """Wait until a folder and the files in it are on the disk."""
    for path in [*(p for p in folder.iterdir() if p.is_file()), folder]:
        handle = os.open(path, os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)

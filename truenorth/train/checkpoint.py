"""A checkpoint is a folder that is either whole or not there: parameters, optimizer, moving references, counters,
random state.

Each process writes its share of every tensor (torch.distributed.checkpoint, as safetensors: no pickle). Names and
offsets are those of the whole tensors, so any number of processes in any layout reads them back.
"""

import json
import re
import shutil
import warnings
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.state_dict_loader import load as dcp_load
from torch.distributed.checkpoint.state_dict_saver import save as dcp_save

from ..errors import CheckpointError
from ..files import put_in_place
from ..models.policy import Precision
from ..processes import ALONE, Group
from .chasing import START, Standing
from .step import Player

OPTIMIZER = "optimizer/"  # before the names of its tensors, `optimizer/PARAMETER:KEY`
REFERENCE = "reference/"  # before those of references that move, `reference/NAME:TENSOR`


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is. Everything that is not a tensor and that the next step depends on."""

    step: int = 0  # optimizer steps taken
    prompts: int = 0
    tokens: int = 0  # input tokens that went through the policy
    seconds: float = 0.0  # spent in steps
    budget: int = 0  # tokens per micro-batch, found at the start
    precision: Precision = "float32"  # chosen at the start: another machine must not choose again
    compiled: bool = False  # whether the optimizer's steps are, chosen at the start too
    identity: str = ""  # of recipe and data: what a resumed run must agree with
    chase: Standing = START  # of two players that chase each other


def save(folder: Path, players: Sequence[Player], progress: Progress, *, keep: int, world: Group = ALONE) -> Path:
    """Write `folder/step-N`, then remove all but the newest `keep` checkpoints. Returns the new one's path.

    A kill at any moment leaves the previous checkpoint whole: files are written under another name, flushed to the
    disk, and the folder is renamed last. All processes must call it, and see the same `folder`.
    """
    done = folder / f"step-{progress.step}"
    new = folder / f".step-{progress.step}.new"
    if world.first:
        for cut in folder.glob(".step-*.new"):  # what a kill left behind, perhaps of another step
            shutil.rmtree(cut)
        new.mkdir(parents=True)
    world.wait()
    plain: dict[str, Any] = {"progress": asdict(progress), "optimizers": []}
    for i, player in enumerate(players):
        tensors, rest = _state(player)
        _write(new / f"player-{i}", tensors, world)
        plain["optimizers"].append(rest)
    save_file(_random_state(), new / f"random-{world.rank}.safetensors")
    world.wait()
    if world.first:
        (new / "state.json").write_text(json.dumps(plain))
        put_in_place(new, done)
        for old in _all(folder)[:-keep]:
            shutil.rmtree(old)
    world.wait()
    return done


def newest(folder: Path) -> Path | None:
    """The checkpoint with the highest step, or None."""
    found = _all(folder)
    return found[-1] if found else None


def read_progress(checkpoint: Path) -> Progress:
    """How far the run was at `checkpoint`, without its tensors."""
    saved = json.loads((checkpoint / "state.json").read_text())["progress"]
    return Progress(**saved | {"chase": Standing.of(saved.get("chase", {}))})


def restore(checkpoint: Path, players: Sequence[Player], world: Group = ALONE) -> Progress:
    """Put parameters, optimizers and random state back as they were: with as many processes as then, to the bit.

    Raises CheckpointError if the checkpoint holds other parameters than the run trains.
    """
    plain = json.loads((checkpoint / "state.json").read_text())
    for i, player in enumerate(players):
        reader = HuggingFaceStorageReader(str(checkpoint / f"player-{i}"))
        there: dict[str, Any] = reader.read_metadata().state_dict_metadata  # by name: size and dtype of a whole tensor
        ours = {name: p.detach() for name, p in player.named_parameters.items()} | _of_references(player)
        if (names := {name for name in there if not name.startswith(OPTIMIZER)}) != set(ours):
            odd = ", ".join(sorted(names ^ set(ours))[:4])
            raise CheckpointError(f"{checkpoint} was written for other trained parameters: {odd} stand in one only.")
        state = {name: _place_for(name, whole, ours) for name, whole in there.items()}
        with _quietly_alone():
            dcp_load(state, storage_reader=reader, no_dist=world.size == 1)
        _restore_references(player, state)
        _restore_optimizer(player, state, plain["optimizers"][i])
    _restore_random_state(checkpoint, world)
    return read_progress(checkpoint)


def _all(folder: Path) -> list[Path]:
    named = [(int(m[1]), path) for path in folder.glob("step-*") if (m := re.fullmatch(r"step-(\d+)", path.name))]
    return [path for _, path in sorted(named)]


def _state(player: Player) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Parameters, the references' and the optimizer's tensors by name, and what of the optimizer's state is no tensor.

    Names, not places: a state then fits any split of the parameters over groups or processes.
    """
    names = list(player.named_parameters)
    tensors = {name: parameter.detach() for name, parameter in player.named_parameters.items()}
    tensors |= _of_references(player)
    rest: dict[str, Any] = {}
    for place, entries in player.optimizer.state_dict()["state"].items():
        for key, value in entries.items():
            if isinstance(value, Tensor):
                tensors[f"{OPTIMIZER}{names[place]}:{key}"] = value
            else:
                rest[f"{names[place]}:{key}"] = value
    return tensors, rest


def _of_references(player: Player) -> dict[str, Tensor]:
    """The tensors of the references that move with `player`."""
    return {
        f"{REFERENCE}{name}:{place}": tensor
        for name, follower in player.followers.items()
        for place, tensor in follower.tensors().items()
    }


def _place_for(name: str, whole: Any, ours: Mapping[str, Tensor]) -> Tensor:
    """Where a saved tensor goes: ours itself, or for the optimizer a tensor that lies like the parameter.

    A tensor of a reference may have grown: then it goes to a new one.
    """
    dtype, optimizer = whole.properties.dtype, name.startswith(OPTIMIZER)
    own = ours[name.removeprefix(OPTIMIZER).rpartition(":")[0] if optimizer else name]
    if own.shape != whole.size:
        return torch.zeros(whole.size, dtype=dtype, device=None if optimizer else own.device)
    return torch.zeros_like(own, dtype=dtype) if optimizer else own


def _restore_references(player: Player, tensors: Mapping[str, Tensor]) -> None:
    for name, follower in player.followers.items():
        follower.put({place: tensors[f"{REFERENCE}{name}:{place}"] for place in follower.tensors()})


def _restore_optimizer(player: Player, tensors: Mapping[str, Tensor], rest: Mapping[str, Any]) -> None:
    place = {name: i for i, name in enumerate(player.named_parameters)}
    saved = {name.removeprefix(OPTIMIZER): value for name, value in tensors.items() if name.startswith(OPTIMIZER)}
    state: dict[int, dict[str, Any]] = {}
    for full, value in [*saved.items(), *rest.items()]:
        name, _, key = full.rpartition(":")
        state.setdefault(place[name], {})[key] = value
    player.optimizer.load_state_dict(player.optimizer.state_dict() | {"state": state})


def _random_state() -> dict[str, Tensor]:
    cuda = {"cuda": torch.cuda.get_rng_state()} if torch.cuda.is_available() else {}
    return {"cpu": torch.get_rng_state(), **cuda}


def _restore_random_state(checkpoint: Path, world: Group) -> None:
    """This process's own; one that was not there then goes on from the first one's, moved by its number."""
    own, first = (checkpoint / f"random-{rank}.safetensors" for rank in (world.rank, 0))
    state = load_file(own if own.exists() else first)
    torch.set_rng_state(state["cpu"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
    if not own.exists():
        torch.manual_seed(int(torch.randint(2**62, ())) + world.rank)


def _write(folder: Path, tensors: Mapping[str, Tensor], world: Group) -> None:
    """This process's share of `tensors`, as one safetensors file in `folder`."""
    writer = HuggingFaceStorageWriter(str(folder), save_distributed=True)
    with _quietly_alone():
        dcp_save(dict(tensors), storage_writer=writer, no_dist=world.size == 1)


@contextmanager
def _quietly_alone() -> Generator[None]:
    """Within it torch does not warn that there is one process, which was asked for."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled", UserWarning)
        yield

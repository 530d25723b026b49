"""Which process of a run this is, from what started it: torchrun, accelerate, SLURM, or plain python."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from .errors import SettingsError

FIRST_PORT = 20_000  # of those that SLURM jobs meet at: below the range that Linux gives away by itself


@dataclass(frozen=True, slots=True)
class Place:
    """This process among those of the run. Plain python is the first of one."""

    rank: int = 0
    count: int = 1
    local_rank: int = 0  # on this machine
    local_count: int = 1
    address: str = ""  # HOST:PORT where the processes meet; empty: alone


def place(environment: Mapping[str, str] = os.environ) -> Place:
    """Where the launcher has put this process.

    Raises SettingsError if it says so only in part.

    >>> place({"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "MASTER_ADDR": "n1", "MASTER_PORT": "2950"}).rank
    3
    """
    if "WORLD_SIZE" in environment:  # torchrun, and accelerate launch, which calls it
        return _place(environment, "torchrun")
    if "SLURM_STEP_NUM_TASKS" in environment:  # set by srun for each task, and not in the batch script around it
        return _place(_as_torchrun(environment), "srun")
    return Place()


def _place(named: Mapping[str, str], launcher: str) -> Place:
    if named["WORLD_SIZE"] == "1":
        return Place()
    needed = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
    if missing := [name for name in needed if not named.get(name)]:
        raise SettingsError(
            f"{launcher} has started several processes, and {', '.join(missing)} is not in the environment. "
            "Start with `torchrun --nproc-per-node N -m truenorth train ...`, or set it."
        )
    count = int(named["WORLD_SIZE"])
    return Place(
        rank=int(named["RANK"]),
        count=count,
        local_rank=int(named["LOCAL_RANK"]),
        local_count=int(named.get("LOCAL_WORLD_SIZE") or count),
        address=f"{named['MASTER_ADDR']}:{named['MASTER_PORT']}",
    )


def _as_torchrun(slurm: Mapping[str, str]) -> dict[str, str]:
    """SLURM's variables under torchrun's names. All tasks of a job step meet on its first node."""
    port = FIRST_PORT + int(slurm.get("SLURM_JOB_ID", "0")) % 10_000
    on_first_node = re.match(r"\d+", slurm.get("SLURM_STEP_TASKS_PER_NODE", ""))  # 4(x2),3
    return {
        "RANK": slurm.get("SLURM_PROCID", ""),
        "WORLD_SIZE": slurm["SLURM_STEP_NUM_TASKS"],
        "LOCAL_RANK": slurm.get("SLURM_LOCALID", ""),
        "LOCAL_WORLD_SIZE": on_first_node[0] if on_first_node else "",
        "MASTER_ADDR": slurm.get("MASTER_ADDR") or first_node(slurm.get("SLURM_STEP_NODELIST", "")),
        "MASTER_PORT": slurm.get("MASTER_PORT") or str(port),
    }


def first_node(nodes: str) -> str:
    """The first name of SLURM's list of nodes.

    >>> first_node("gpu[07-09,12]"), first_node("a1,b2"), first_node("rack[2-3]-n1")
    ('gpu07', 'a1', 'rack2-n1')
    """
    found = re.match(r"([^\[,]*)(?:\[(\w+)[^\]]*\]([^,]*))?", nodes)
    return "".join(part or "" for part in found.groups()) if found else ""

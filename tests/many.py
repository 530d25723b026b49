"""What tests of several processes run in each of them: `torchrun ... -m tests.many JOBS.json`, one run after another.

Starting processes takes longer than these runs, so one start does many.
"""

import importlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
Job = Mapping[str, Any]  # what `align` takes, with `method` and perhaps `recipe`, settings of it; or `call` and `out`


def run(jobs: Sequence[Job]) -> None:
    """Take the runs, in this process."""
    from truenorth import align, methods
    from truenorth.processes import joined

    with joined():
        for job in jobs:
            fields = dict(job)
            if "call" in fields:  # a function of our tests
                module, _, name = fields["call"].partition(":")
                getattr(importlib.import_module(module), name)(Path(fields["out"]))
                continue
            recipe = methods.recipe(fields.pop("method"), **fields.pop("recipe", {}))
            os.environ["TRUENORTH_CACHE"] = fields.pop("cache")
            align(recipe, **fields)


def launch(processes: int, jobs: Sequence[Job], folder: Path, *, launcher: Sequence[str] = ()) -> None:
    """Take the runs in `processes` processes of one thread each, which torchrun starts."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "jobs.json").write_text(json.dumps(list(jobs)))
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command = [*(launcher or torchrun), "-m", "tests.many", str(folder / "jobs.json")]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}  # accelerate looks elsewhere
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-4000:]


def start(processes: int, arguments: Sequence[str]) -> "list[subprocess.Popen[str]]":
    """`python ARGUMENTS` in so many processes, with no launcher that would end them together."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    meeting = {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
    return [
        subprocess.Popen(
            [sys.executable, *arguments],
            env=os.environ | meeting | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(processes)
    ]


if __name__ == "__main__":
    run(json.loads(Path(sys.argv[1]).read_text()))

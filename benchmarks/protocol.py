"""How the parent of a benchmark drives its children: one JSON object a line, over the child's standard streams.

Both sides' environments import this file, so it needs nothing but Python.
"""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ADAPTER = 0.02  # spread of a perturbed adapter's weights
Answers = Mapping[str, Callable[[], Mapping[str, Any]]]  # what a child answers to, besides "step" and "stop"


class Parent:
    """The child's end. What libraries print goes to standard error, so that it cannot fall among the answers."""

    def __init__(self) -> None:
        self._out = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)
        self._asked, self._worked = 0.0, 0.0  # wall and processor seconds when the running step was asked for

    def wait_for_step(self, answers: Answers) -> None:
        """Answer questions until the parent asks for a step. Leaves the process when it says stop."""
        while True:
            question = sys.stdin.readline().strip()
            if question == "step":
                self._asked, self._worked = time.perf_counter(), time.process_time()
                return
            if question in ("", "stop"):
                raise SystemExit(0)
            self.send(answers[question]())

    def step_is_done(self, record: Mapping[str, Any]) -> None:
        """Report the running step's wall and processor time with its `record`, and the process's peak memory.

        On a GPU a step is over when its last kernel is.
        """
        device = device_peak()
        seconds, work = time.perf_counter() - self._asked, time.process_time() - self._worked
        self.send({"seconds": seconds, "work": work, **record, **device, "peak": peak_memory()})

    def send(self, answer: Mapping[str, Any]) -> None:
        print(json.dumps(answer), file=self._out, flush=True)


class Child:
    """The parent's end: a long-lived process that takes a step when told to."""

    def __init__(self, python: Path, script: Path, *, settings: Mapping[str, Any], environment: Mapping[str, str]):
        self.name = script.stem
        folder = Path(settings["folder"])
        self.log = folder / f"{self.name}-{len(list(folder.glob('*.log')))}.log"
        path = os.pathsep.join(filter(None, (str(HERE), os.environ.get("PYTHONPATH"))))
        with self.log.open("w") as log:
            self._process = subprocess.Popen(
                [str(python), str(script), json.dumps(settings)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, **environment, "PYTHONPATH": path, "HF_HUB_OFFLINE": "1"},
            )
        self.ready = self.answer()

    def ask(self, question: str) -> dict[str, Any]:
        """What the child answers to `question`, "step" or one of its own. Raises RuntimeError if it has died."""
        self.begin(question)
        return self.answer()

    def begin(self, question: str) -> None:
        """Ask without waiting for the answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(question + "\n")
        self._process.stdin.flush()

    def stop(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()  # reads as an empty question
        self._process.wait()

    def answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            code, said = self._process.wait(), self.log.read_text().strip().splitlines()[-15:]
            raise RuntimeError("\n".join([f"{self.name} ended with code {code}; its last words:", *said]))
        return json.loads(line)


def peak_memory() -> int:
    """Bytes of resident memory that this process has held at most."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def device_peak() -> dict[str, int]:
    """Bytes that tensors of this process have held at most of the GPU, if there is one. Waits for its kernels."""
    torch = sys.modules.get("torch")  # who has not imported it has nothing there
    if torch is None or not torch.cuda.is_available():
        return {}
    torch.cuda.synchronize()
    return {"device_peak": torch.cuda.max_memory_allocated()}


def perturb(named_parameters: Mapping[str, Any], noise: float) -> None:
    """Move every parameter by normal noise that depends on its name alone: the same on both sides.

    A fresh adapter is random on each side by itself, so that its weights are replaced, by enough for its product to
    matter.
    """
    import zlib

    import torch

    with torch.no_grad():
        for name, parameter in named_parameters.items():
            draw = torch.Generator().manual_seed(zlib.crc32(name.encode()))
            drawn = torch.randn(parameter.shape, generator=draw).to(parameter)
            if ".lora_" in name:
                parameter.copy_(ADAPTER * drawn)
            else:
                parameter.add_(drawn, alpha=noise)

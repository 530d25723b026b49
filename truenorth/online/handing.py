"""How a server comes to answer with new weights: the round's model is a folder, and the server is told of it."""

import shlex
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..completions import HandOver
from ..errors import SamplerError
from .endpoint import Endpoint, ServerFailed, ServerRefused


@dataclass(frozen=True, slots=True)
class Weights:
    """What a server is to answer with from now on."""

    folder: Path  # as the server sees it too, unless a command takes it there
    round_index: int
    replaces: str  # the name by which the server was asked before
    command: str


def hand_over(how: HandOver, endpoint: Endpoint, weights: Weights) -> str:
    """Have the server answer with `weights`; the name by which to ask for them.

    Raises SamplerError where it does not: a round drawn from old weights would be wrong in silence.
    """
    try:
        match how:
            case "model_name":  # transformers serve loads what a request names
                return str(weights.folder)
            case "vllm_lora":
                return _load_adapter(endpoint, weights)
            case "sglang_weights":  # at the server's root, beside its /v1
                root = endpoint.settings.url.rstrip("/").removesuffix("/v1")
                told = Endpoint(endpoint.settings.replace(url=root))
                told.post("/update_weights_from_disk", {"model_path": str(weights.folder)}, _nothing)
            case "command":
                _run(weights)
                endpoint.await_ready()
            case "none":
                raise ServerRefused("how it takes new weights is not given; set hand_over")
    except (ServerRefused, ServerFailed) as error:
        url = endpoint.settings.url
        raise SamplerError(f"the server at {url} did not take the weights in {weights.folder}: {error}.") from error
    return weights.replaces


def _load_adapter(endpoint: Endpoint, weights: Weights) -> str:
    """vLLM's way, which it allows when started with VLLM_ALLOW_RUNTIME_LORA_UPDATING=True and --enable-lora."""
    before, name = (f"truenorth-round-{number}" for number in (weights.round_index, weights.round_index + 1))
    for stale in {weights.replaces, before, name}:  # which a run that was killed may have left there
        if stale.startswith("truenorth-round-"):
            with suppress(ServerRefused):  # it is not loaded
                endpoint.post("/unload_lora_adapter", {"lora_name": stale}, _nothing)
    endpoint.post("/load_lora_adapter", {"lora_name": name, "lora_path": str(weights.folder)}, _nothing)
    return name


def _run(weights: Weights) -> None:
    """The user's own command, with the folder as its last argument."""
    command = [*shlex.split(weights.command), str(weights.folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise ServerFailed(f"{weights.command!r} cannot be run ({error})") from error
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip()[-300:]
        raise ServerFailed(f"{weights.command!r} ended with {done.returncode}: {said}")


def _nothing(_: bytes) -> None:
    """What the server says is of no interest: its status is."""

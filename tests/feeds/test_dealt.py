"""Runs of federated rounds from end to end: reductions, kills, and what is refused before a model is loaded."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.tiny import rows_of
from truenorth import align
from truenorth.clients import Clients
from truenorth.data.tokens import TokenizedRows
from truenorth.errors import DataError, SettingsError
from truenorth.feeds.dealt import fingerprint
from truenorth.methods import recipe
from truenorth.optim.update import AdamW
from truenorth.recipe import Recipe
from truenorth.train.client_steps import ClientSteps, by_owner

QUICK: dict[str, Any] = {"batch_size": 2, "precision": "float32", "samples": 0}
USERS = ["ann", "bob", "ann", "eve", "ann", "bob", "eve", "ann", "ann", "bob"]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("data") / "pairs.jsonl"
    rows = [
        {
            "prompt": [{"role": "user", "content": f"What of number {n}?"}],
            "chosen": [{"role": "assistant", "content": f"the boat {n} is green"}],
            "rejected": [{"role": "assistant", "content": f"slow and {n} but we"}],
            "user": user,
        }
        for n, user in enumerate(USERS)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


def of_users(**settings: Any) -> Recipe:
    clients = Clients(**{"column": "user", "participation": 0.67, "local_steps": 2} | settings)
    return recipe("fedda", learning_rate=1e-3).replace(clients=clients)


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load_file(next((out / "final").glob("*.safetensors")))


def log(out: Path) -> list[dict[str, Any]]:
    lines = (json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines())
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


@pytest.mark.parametrize("way", [{}, {"lora": {"rank": 2}}], ids=["full", "lora"])
def test_one_client_of_one_step_is_the_run_without_clients_to_the_bit(
    way: dict[str, Any], model: str, pairs: str, tmp_path: Path
) -> None:
    central = recipe("ipo").replace(update=AdamW(learning_rate=1e-3, warmup_steps=2))
    federated = central.replace(clients=Clients(count=1, local_steps=1))
    for name, asked in (("central", central), ("federated", federated)):
        align(asked, model=model, data=pairs, out=tmp_path / name, max_steps=7, **QUICK | way)
    ours, theirs = weights(tmp_path / "federated"), weights(tmp_path / "central")
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    for mine, other in zip(log(tmp_path / "federated"), log(tmp_path / "central"), strict=True):
        assert mine.pop("split") == other.pop("split")
        other |= {"clients/drift": 0.0, "client_loss/1": other["loss"]}
        assert mine == pytest.approx(other, rel=1e-6)


RUN = """
import json, os, signal, sys
from tests.feeds.test_dealt import QUICK, of_users
from truenorth import align
from truenorth.evaluate.progress import Silent

class Killed(Silent):
    def logged(self, record):
        if record["step"] == 3:
            os.kill(os.getpid(), signal.SIGKILL)

model, pairs, out = sys.argv[1:]
align(of_users(), model=model, data=pairs, out=out, max_steps=5, save_every=2, watch=Killed(), **QUICK)
"""


def test_a_killed_run_goes_on_to_the_same_bits(model: str, pairs: str, tmp_path: Path) -> None:
    asked: dict[str, Any] = {"model": model, "data": pairs, "max_steps": 5, "save_every": 2, **QUICK}
    align(of_users(), out=tmp_path / "whole", **asked)
    root = Path(__file__).parent.parent.parent
    command = [sys.executable, "-W", "ignore", "-c", RUN, model, pairs, str(tmp_path / "killed")]
    process = subprocess.run(command, cwd=root, env=os.environ | {"PYTHONPATH": str(root)}, check=False)
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "killed" / "final").exists()
    align(of_users(), out=tmp_path / "killed", resume=True, **asked)
    ours, theirs = weights(tmp_path / "killed"), weights(tmp_path / "whole")
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert log(tmp_path / "killed") == log(tmp_path / "whole")


def test_a_run_says_who_took_part_how_often(model: str, pairs: str, tmp_path: Path) -> None:
    result = align(of_users(participation=0.34), model=model, data=pairs, out=tmp_path / "run", max_steps=2, **QUICK)
    clients = {one["client"]: one for one in json.loads((tmp_path / "run" / "clients.json").read_text())}
    assert {name: one["rows"] for name, one in clients.items()} == {"ann": 5, "bob": 3, "eve": 2}
    logged = [name for line in log(tmp_path / "run") for name in line if name.startswith("client_loss/")]
    assert {name: logged.count(f"client_loss/{name}") for name in clients} == {
        name: one["rounds"] for name, one in clients.items()
    }
    never = [name for name, one in clients.items() if not one["rounds"]]
    assert never  # two rounds of one client each
    said = f"{len(never)} clients took part in no round ({', '.join(never)})"
    assert any(said.removeprefix("1 clients") in note for note in result.summary["notes"])
    report = (tmp_path / "run" / "report.html").read_text()
    assert "Clients" in report
    assert "ann" in report


@pytest.fixture(scope="module")
def no_weights(model: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The model's folder without its weights: what is refused with it was refused before they were read."""
    folder = tmp_path_factory.mktemp("no weights") / "sft"
    shutil.copytree(model, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    return str(folder)


@pytest.mark.parametrize(
    ("clients", "message"),
    [
        ({"count": 11}, "clients.count=11 is more than there are rows, 10"),
        ({"column": "usr"}, "no column 'usr' .* Did you mean user"),
        ({"column": "prompt"}, "prompt must name a client by text or a number"),
    ],
)
def test_clients_that_cannot_be_are_refused_before_a_model_is_loaded(
    clients: dict[str, Any], message: str, no_weights: str, pairs: str, tmp_path: Path
) -> None:
    asked = recipe("fedda").replace(clients=Clients(**clients))
    with pytest.raises((DataError, SettingsError), match=message):
        align(asked, model=no_weights, data=pairs, out=tmp_path / "run", **QUICK)
    assert not (tmp_path / "run").exists()


def test_other_owners_are_another_run() -> None:
    rows = TokenizedRows.of(rows_of([(3, (2, 2))] * 4))

    def fingerprint_of(owners: str) -> str:
        steps = ClientSteps(rows, by_owner(list(owners)), Clients(column="user"), batch_size=2, seed=0)
        return fingerprint(steps)

    assert fingerprint_of("abab") == fingerprint_of("abab")
    assert len({fingerprint_of(owners) for owners in ("abab", "abba", "xbxb", "aaaa")}) == 4

"""Rounds whose answers a completion server draws: what it is given, what becomes of its answers, and when it dies."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.feeds.test_played import QUICK, prompts, short
from tests.online.completion_server import Script, serving
from tests.test_job import weights
from truenorth import align
from truenorth.errors import SamplerError, SettingsError
from truenorth.request import request

__all__ = ["prompts"]  # a fixture


def of_seed(prompt: Any, answer: str) -> float:
    """A judge of the stand-in's answers, which say MODEL SEED PLACE: blind to the model, and without ties."""
    del prompt
    _, seed, place = answer.rsplit(" ", 2)
    return int(seed) % 5 + 0.5 * int(place)


def asked(url: str, **changes: Any) -> dict[str, Any]:
    where = {"url": url, "timeout_seconds": 5, "tries": 2, "wait_seconds": 0.001}
    return {"server": where, "concurrency": 2, "hand_over": "model_name"} | changes


def play(model: str, prompts: str, out: Path, sampler: dict[str, Any], **changes: Any) -> Any:
    chosen = short(rounds=changes.pop("rounds", 2), k=2)
    return align(chosen, model=model, prompts=prompts, judge=of_seed, out=out, sampler=sampler, **QUICK | changes)


def rows(out: Path, number: int) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / f"rounds/{number:04}/rows.jsonl").read_text().splitlines()]


def test_the_answers_of_each_round_are_the_servers_drawn_with_the_rounds_seeds(
    model: str, prompts: str, tmp_path: Path
) -> None:
    script, out = Script(), tmp_path / "run"
    with serving(script) as url:
        play(model, prompts, out, asked(url))
    bodies = script.bodies()
    assert len(bodies) == 22
    assert all(body["n"] == 2 and body["max_tokens"] == 8 for body in bodies)
    seeds = list[dict[str, str]]()
    for number in (1, 2):
        folder = out.resolve() / f"rounds/{number:04}/policy"
        found = rows(out, number)
        assert len(found) == 11
        assert all(
            row["made"] == {"round": number, "k": 2, "max_new_tokens": 8, "seed": 0, "server": True} for row in found
        )
        assert all(answer.startswith(f"{folder} ") for row in found for answer in row["responses"])
        assert all(row["tokens"] == [[5, 2]] * 2 for row in found)
        seeds.append({json.dumps(row["prompt"]): row["responses"][0].split()[-2] for row in found})
    assert all(seeds[0][prompt] != seeds[1][prompt] for prompt in seeds[0])


def test_the_policy_is_handed_over_once_a_round_as_it_is_then(model: str, prompts: str, tmp_path: Path) -> None:
    out, taken = tmp_path / "run", tmp_path / "taken"
    taken.mkdir()
    program = tmp_path / "take.py"
    program.write_text(
        "import pathlib, shutil, sys\n"
        f"taken = pathlib.Path({str(taken)!r})\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "shutil.copytree(folder, taken / f'{len(list(taken.iterdir()))}-{folder.parent.name}')\n"
    )
    with serving(Script()) as url:
        sampler = asked(url, hand_over="command", command=f"{sys.executable} {program}")
        play(model, prompts, out, sampler)
    assert sorted(path.name for path in taken.iterdir()) == ["0-0001", "1-0002"]
    start = load_file(Path(model) / "model.safetensors")
    assert_same(load_file(taken / "0-0001/model.safetensors"), start)
    saved: dict[str, torch.Tensor] = {}
    for file in (out / "checkpoints/step-3/player-0").glob("*.safetensors"):
        saved |= load_file(file)
    second = load_file(taken / "1-0002/model.safetensors")
    assert_same(second, {name: saved[name] for name in second})
    assert any(not torch.equal(second[name], start[name]) for name in start)
    assert [path.parent.name for path in out.glob("rounds/*/policy")] == ["0002"]


def assert_same(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_an_adapter_alone_is_handed_over_where_one_is_trained(model: str, prompts: str, tmp_path: Path) -> None:
    script, out = Script(), tmp_path / "run"
    with serving(script) as url:
        play(model, prompts, out, asked(url, hand_over="vllm_lora"), lora={"rank": 2})
    told = [(path.rpartition("/")[2], body) for path, body, _ in script.asked if path.endswith("_lora_adapter")]
    loaded = [body for what, body in told if what == "load_lora_adapter"]
    folders = [out.resolve() / f"rounds/{number:04}/policy" for number in (1, 2)]
    assert [Path(body["lora_path"]) for body in loaded] == folders
    assert {"lora_name": "truenorth-round-1"} in [body for what, body in told if what == "unload_lora_adapter"]
    assert (folders[1] / "adapter_model.safetensors").exists()
    assert not (folders[1] / "model.safetensors").exists()
    assert {body["model"] for body in script.bodies()} == {"truenorth-round-1", "truenorth-round-2"}


def test_a_server_that_dies_in_a_round_ends_it_and_the_run_goes_on_elsewhere_to_the_same_bits(
    model: str, prompts: str, tmp_path: Path
) -> None:
    whole, out = tmp_path / "whole", tmp_path / "run"
    with serving(Script()) as url:
        play(model, prompts, whole, asked(url))
    mortal = Script(dies_after=18)
    with serving(mortal) as url, pytest.raises(SamplerError) as error:
        play(model, prompts, out, asked(url, concurrency=1))
    kept = rows(out, 2)
    assert 0 < len(kept) < 11
    said = f"round 2 of 2: the server at {url} left {11 - len(kept)} of 11 prompts without answers"
    assert said in str(error.value)
    assert f"truenorth train {out} --resume" in str(error.value)
    assert len(error.value.missing) == 11 - len(kept)
    again = Script()
    with serving(again) as url:
        play(model, prompts, out, asked(url), resume=True)
    assert len(again.bodies()) == 11 - len(kept)
    assert rows(out, 2)[: len(kept)] == kept
    assert_same(weights(out), weights(whole))


def test_a_server_that_does_not_take_the_policy_is_asked_nothing(model: str, prompts: str, tmp_path: Path) -> None:
    script, out = Script(), tmp_path / "run"
    with serving(script) as url, pytest.raises(SamplerError, match=r"round 1 of 2: .* did not take the weights"):
        play(model, prompts, out, asked(url, hand_over="command", command=f"{sys.executable} -c exit(3)"))
    assert script.asked == []
    assert not (out / "rounds/0001/rows.jsonl").exists()


def test_one_round_may_be_drawn_by_a_server_that_has_the_policy_already(
    model: str, prompts: str, tmp_path: Path
) -> None:
    script, out = Script(), tmp_path / "run"
    with serving(script) as url:
        play(model, prompts, out, asked(url, hand_over="none", model="mine"), rounds=1)
    assert {body["model"] for body in script.bodies()} == {"mine"}
    assert not list(out.glob("rounds/*/policy"))


NOWHERE = "http://127.0.0.1:9/v1"


@pytest.mark.parametrize(
    ("sampler", "given", "said"),
    [
        ({"hand_over": "none"}, {}, r"in all 2 rounds with the policy of the first.*--hand-over.*--rounds 1"),
        ({"hand_over": "vllm_lora"}, {}, r"all weights are trained.*--lora 16"),
        ({"hand_over": "sglang_weights"}, {"lora": {"rank": 2}}, "an adapter is trained"),
        ({"hand_over": "model_name"}, {"lora": {"rank": 2}}, "an adapter is trained"),
        ({"hand_over": "command"}, {}, "belong together"),
    ],
)
def test_a_hand_over_that_cannot_be_is_refused_before_a_model_is_loaded(
    sampler: dict[str, Any], given: dict[str, Any], said: str, prompts: str, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match=re.compile(said, re.DOTALL)):
        play(str(tmp_path / "no model"), prompts, tmp_path / "run", asked(NOWHERE, **sampler), **given)


def test_a_method_that_draws_nothing_takes_no_server(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="nothing to draw"):
        align("dpo", model=str(tmp_path / "none"), data="pairs.jsonl", out=tmp_path / "run", sampler=asked(NOWHERE))


def test_flags_of_generate_name_the_server_of_rounds(prompts: str, tmp_path: Path) -> None:
    given = {"model": "m", "prompts": prompts, "judge": "world", "out": str(tmp_path / "run")}
    server = {"server": NOWHERE, "concurrency": "3", "served_model": "x", "timeout": "7", "key_variable": "KEY"}
    made = request("online_dpo", given | server | {"hand_over": "model_name"}, ["run.sampler.server.tries=2"]).run
    assert made.sampler is not None
    where = {"url": NOWHERE, "timeout_seconds": 7.0, "tries": 2, "wait_seconds": 1.0, "key_variable": "KEY"}
    shown = {"server": where, "model": "x", "concurrency": 3, "hand_over": "model_name", "command": ""}
    assert made.sampler.model_dump() == shown
    with pytest.raises(SettingsError, match="--server URL"):
        request("online_dpo", given | {"concurrency": "3"})
    with pytest.raises(SettingsError, match=r"run\.sampler\.server\.trys\. Did you mean tries\?"):
        request("online_dpo", given | server, ["run.sampler.server.trys=2"])

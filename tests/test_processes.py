"""One, two and four processes, in every layout, train to the same numbers, and go on from each other's checkpoints."""

import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer

from tests.many import Job, launch, run, start
from tests.tiny import tiny_directory, tiny_model
from tests.train import divided
from truenorth.data.tokens import TokenizedRows
from truenorth.evaluate.rounding import totals
from truenorth.models.policy import Policy

TWO = {
    "data": {"layout": "data"},
    "fsdp": {"layout": "fsdp"},
    "tensor": {"layout": "tensor"},
}
FOUR = TWO | {
    "replicas of shards": {"layout": "fsdp", "shard_size": 2},
    "shards of slices": {"layout": "fsdp", "tensor_size": 2},
    "replicas of slices": {"layout": "tensor", "tensor_size": 2},
}
WAYS = {"full": {}, "lora": {"lora": {"rank": 4}}}
DIVIDED = ("coupled", "federated", "broken", "gathered", "measured", "rescored", "merged")
WORDS = ["the", "boat", "is", "slow", "and", "green", "but", "we", "like", "it"]


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, rows of different lengths and weights, and what one process makes of them."""
    folder = tmp_path_factory.mktemp("processes")
    tiny_directory(folder / "sft", tie_word_embeddings=True, num_key_value_heads=4)
    draw = random.Random(0)

    def answer() -> list[dict[str, str]]:
        return [{"role": "assistant", "content": " ".join(draw.choices(WORDS, k=draw.randint(2, 12)))}]

    rows = [
        {
            "prompt": [{"role": "user", "content": f"What of number {i}?"}],
            "chosen": answer(),
            "rejected": answer(),
            "weight": draw.choice([0.5, 1.0, 2.0]),
        }
        for i in range(13)
    ]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run([job(folder, f"1 {way}", **asked) for way, asked in WAYS.items()])
    return folder


def job(folder: Path, out: str, **settings: Any) -> Job:
    """A run of six steps: five prompts each, so that shares differ, and one in the last, so that most have none."""
    pairs = str(folder / "pairs.jsonl")
    usual = {"batch_size": 5, "epochs": 2, "precision": "float32", "samples": 0, "tokens_per_micro_batch": 64}
    files = {"model": str(folder / "sft"), "data": pairs, "eval_data": pairs, "out": str(folder / out)}
    often = {"save_every": 2, "keep_checkpoints": 9, "eval_every": 3}
    method = {"method": "dpo", "recipe": {"learning_rate": 1e-3}, "cache": str(folder / f"cache {out}")}
    return method | files | usual | often | settings


def records(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def weights(out: Path) -> dict[str, torch.Tensor]:
    """What a run changes of the model: its weights, or for each adapted layer what the adapter adds to them."""
    found = load_file(next((out / "final").glob("*.safetensors")))
    adapted = [name for name in found if ".lora_A." in name]
    return {name: found[name.replace(".lora_A.", ".lora_B.")] @ found[name] for name in adapted} or found


def assert_same_run(ours: Path, theirs: Path, start: Path) -> None:
    """The same losses to 1e-5, and final weights that differ by less than 1 % of how far training has moved them."""
    for mine, other in zip(records(ours), records(theirs), strict=True):
        assert mine.keys() == other.keys()
        assert {k: mine[k] for k in ("step", "split")} == {k: other[k] for k in ("step", "split")}
        assert mine["loss"] == pytest.approx(other["loss"], abs=1e-5)
        assert mine.get("grad_norm", 0.0) == pytest.approx(other.get("grad_norm", 0.0), rel=1e-4)
        assert mine["rewards/margins"] == pytest.approx(other["rewards/margins"], abs=1e-4)
        assert (mine.get("prompts"), mine.get("tokens")) == (other.get("prompts"), other.get("tokens"))
    mine, other, before = weights(ours), weights(theirs), load_file(start / "model.safetensors")
    assert mine.keys() == other.keys()
    moved = torch.cat([(other[n] - before.get(n, torch.zeros(()))).flatten() for n in other]).norm()
    apart = torch.cat([(mine[n] - other[n]).flatten() for n in other]).norm()
    assert moved > 0
    assert apart < 0.01 * moved


@pytest.fixture(scope="session")
def two(world: Path) -> Path:
    """The folder, with what two processes make of the same rows."""
    asked = {f"2 {layout} {way}": TWO[layout] | WAYS[way] for layout in TWO for way in WAYS}
    jobs = [job(world, out, **settings) for out, settings in asked.items()]
    steps = [{"call": f"tests.train.divided:{name}", "out": str(world / name)} for name in DIVIDED]
    launch(2, [*steps, *jobs], world / "two")
    return world


def test_rows_that_are_coupled_see_those_of_other_processes(two: Path, tmp_path: Path) -> None:
    divided.coupled(tmp_path / "alone")
    ours, theirs = load_file(two / "coupled"), load_file(tmp_path / "alone")
    assert max(float((ours[name] - theirs[name]).abs().max()) for name in theirs) <= 1e-6  # sums in another order


def test_clients_may_be_shared_out_over_processes(two: Path, tmp_path: Path) -> None:
    divided.federated(tmp_path / "alone")
    ours, theirs = load_file(two / "federated"), load_file(tmp_path / "alone")
    assert max(float((ours[name] - theirs[name]).abs().max()) for name in theirs) <= 1e-6  # sums in another order
    alone = json.loads((tmp_path / "alone.0.json").read_text())
    for rank in range(2):
        assert json.loads((two / f"federated.{rank}.json").read_text()) == pytest.approx(alone, rel=1e-4, abs=1e-6)


def test_all_processes_stop_at_a_loss_that_is_no_number_and_name_its_row(two: Path) -> None:
    assert [json.loads((two / f"broken.{rank}").read_text()) for rank in range(2)] == [[1], [1]]


def test_layers_are_gathered_in_bfloat16_and_their_gradients_summed_in_float32(two: Path) -> None:
    assert json.loads((two / "gathered.json").read_text()) == {"layer": "torch.bfloat16", "embedding": "torch.float32"}
    ours = load_file(two / "gathered")
    theirs = divided.bfloat16_step(Policy.of(tiny_model("llama").requires_grad_(True), "bfloat16"))
    assert torch.equal(ours.pop("log_probs"), theirs.pop("log_probs"))  # the norms' weights are 1: nothing is rounded
    assert ours.keys() == theirs.keys()
    for name, gradient in theirs.items():
        assert ours[name].dtype == torch.float32
        assert (ours[name] / 2 - gradient).norm() <= 2**-8 * gradient.norm(), name  # summed over two processes


@pytest.mark.parametrize("held", ["shards", "slices"])
def test_what_is_measured_does_not_depend_on_how_the_model_is_held(held: str, two: Path) -> None:
    ours = load_file(two / f"measured.{held}")
    theirs = divided.measured_step(Policy.of(tiny_model("llama").requires_grad_(True), "float32"))
    ours["gradient"] /= {"shards": 2, "slices": 1}[held]  # shards sum over two processes of the same rows
    assert ours.keys() == theirs.keys()
    for name, expected in theirs.items():
        assert torch.allclose(ours[name], expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max())), name


def test_slices_score_in_float32_as_one_process_does(two: Path) -> None:
    ours = json.loads((two / "rescored.json").read_text())
    theirs = totals(Policy.of(divided.rounded_model(), "bfloat16"), TokenizedRows.of(divided.ROWS), budget=64)
    assert ours["float32"] == [pytest.approx(row, abs=1e-4) for row in theirs["float32"]]
    assert ours["bfloat16"] != ours["float32"]


@pytest.mark.parametrize("name", divided.MERGES)
def test_weights_that_are_shared_out_merge_with_a_task_vector_as_whole_ones(name: str, two: Path) -> None:
    named = dict(tiny_model("llama").requires_grad_(True).named_parameters())
    start = {key: p.detach().clone() for key, p in named.items()}
    named |= {key: torch.nn.Parameter(tensor) for key, tensor in divided.one_row().items()}
    theirs = divided.merged_steps(name, named, two / "base")
    ours = load_file(two / f"merged.{name}.0")
    divided.assert_merged_alike(name, ours, theirs)
    assert all(not torch.equal(start[key], theirs[key]) for key in start)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("layout", TWO)
def test_two_processes_train_as_one(layout: str, way: str, two: Path) -> None:
    assert_same_run(two / f"2 {layout} {way}", two / f"1 {way}", two / "sft")


def cut(folder: Path, out: str, *, name: str, step: int) -> Path:
    """A copy of a run as a kill after `step` would have left it."""
    copy = folder / name
    shutil.copytree(folder / out, copy)
    for made in ("final", "report.html", "summary.json", "samples.json"):
        (shutil.rmtree if (copy / made).is_dir() else Path.unlink)(copy / made)
    for saved in (copy / "checkpoints").iterdir():
        if int(saved.name.removeprefix("step-")) > step:
            shutil.rmtree(saved)
    return copy


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("layout", TWO)
def test_what_two_processes_have_saved_goes_on_in_one(layout: str, way: str, two: Path) -> None:
    name = f"2 to 1 {layout} {way}"
    resumed = cut(two, f"2 {layout} {way}", name=name, step=4)
    run([job(two, name, **WAYS[way]) | {"resume": True}])
    assert_same_run(resumed, two / f"1 {way}", two / "sft")


def take_up(two: Path, again: Sequence[str], changes: Sequence[str]) -> Path:
    """Let two processes go on with runs of theirs in the same layout, and in other ones."""
    jobs: list[Job] = []
    for layout in again:
        cut(two, f"2 {layout} full", name=f"2 again {layout}", step=4)
        jobs.append(job(two, f"2 again {layout}", **TWO[layout]) | {"resume": True})
    for change in changes:
        before, _, after = change.partition(" to ")
        cut(two, f"2 {before} lora", name=f"2 {change}", step=2)
        jobs.append(job(two, f"2 {change}", **TWO[after], **WAYS["lora"]) | {"resume": True})
    launch(2, jobs, two / f"resumed {len(jobs)}")
    return two


@pytest.fixture(scope="session")
def resumed(two: Path) -> Path:
    return take_up(two, ["fsdp"], ["tensor to fsdp"])


@pytest.fixture(scope="session")
def others_resumed(two: Path) -> Path:
    return take_up(two, ["data", "tensor"], ["fsdp to data", "data to tensor", "fsdp to tensor"])


def slow(*names: str) -> list[Any]:
    return [pytest.param(name, "others_resumed", marks=pytest.mark.slow) for name in names]


@pytest.mark.parametrize(("layout", "made"), [("fsdp", "resumed"), *slow("data", "tensor")])
def test_two_processes_go_on_to_the_same_bits(layout: str, made: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(made)
    ours, theirs = weights(folder / f"2 again {layout}"), weights(folder / f"2 {layout} full")
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize(
    ("change", "made"), [("tensor to fsdp", "resumed"), *slow("fsdp to data", "data to tensor", "fsdp to tensor")]
)
def test_a_run_goes_on_under_another_layout(change: str, made: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(made)
    assert_same_run(folder / f"2 {change}", folder / "1 lora", folder / "sft")


@pytest.fixture(scope="session")
def four(two: Path) -> Path:
    """The folder, with what four processes make of the rows, and of checkpoints of two."""
    asked = {f"4 {layout} {way}": FOUR[layout] | WAYS[way] | {"samples": 1} for layout in FOUR for way in WAYS}
    jobs = [job(two, out, **settings) for out, settings in asked.items()]
    for layout in TWO:
        cut(two, f"2 {layout} full", name=f"2 to 4 {layout}", step=4)
        jobs.append(job(two, f"2 to 4 {layout}", **FOUR["shards of slices"]) | {"resume": True})
    cut(two, "1 full", name="1 to 4", step=2)
    jobs.append(job(two, "1 to 4", **FOUR["replicas of slices"]) | {"resume": True})
    launch(4, jobs, two / "four")
    return two


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("layout", FOUR)
def test_four_processes_train_as_one(layout: str, way: str, four: Path) -> None:
    assert_same_run(four / f"4 {layout} {way}", four / f"1 {way}", four / "sft")


@pytest.mark.slow
@pytest.mark.parametrize("layout", TWO)
def test_what_two_processes_have_saved_goes_on_in_four(layout: str, four: Path) -> None:
    assert_same_run(four / f"2 to 4 {layout}", four / "1 full", four / "sft")


@pytest.mark.slow
def test_what_one_process_has_saved_goes_on_in_four(four: Path) -> None:
    assert_same_run(four / "1 to 4", four / "1 full", four / "sft")


@pytest.mark.slow
def test_a_signal_to_one_process_stops_all_after_the_same_step(world: Path, tmp_path: Path) -> None:
    pairs, out = str(world / "pairs.jsonl"), tmp_path / "run"
    asked = {"model": str(world / "sft"), "data": pairs, "out": str(out), "batch-size": "5", "epochs": "400"}
    flags = [part for name, value in asked.items() for part in (f"--{name}", value)]
    began = start(2, ["-m", "truenorth", "train", "dpo", *flags, "--layout", "fsdp", "--precision", "float32"])
    until = time.monotonic() + 120
    while time.monotonic() < until and not ((out / "metrics.jsonl").exists() and len(records(out)) > 3):
        time.sleep(0.2)
    os.kill(began[1].pid, signal.SIGTERM)
    output = [process.communicate(timeout=60)[0] for process in began]
    assert [process.returncode for process in began] == [130, 130], output
    saved = {path.name for path in (out / "checkpoints").iterdir()}
    assert f"step-{records(out)[-1]['step']}" in saved


@pytest.mark.slow
def test_accelerate_starts_processes_too(world: Path) -> None:
    accelerate = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    launcher = [*accelerate, "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    launch(2, [job(world, "2 by accelerate")], world / "accelerate", launcher=launcher)
    assert_same_run(world / "2 by accelerate", world / "1 full", world / "sft")


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{"gradient_checkpointing": True}, {"precision": "bfloat16"}], ids=str)
def test_layouts_agree_when_layers_recompute_and_in_bfloat16(settings: dict[str, Any], world: Path) -> None:
    name = next(iter(settings))
    run([job(world, f"1 {name}", **settings)])
    launch(2, [job(world, f"2 {name} {layout}", **TWO[layout], **settings) for layout in TWO], world / f"two {name}")
    losses = {
        out: [line["loss"] for line in records(world / out)]
        for out in [f"1 {name}", *(f"2 {name} {layout}" for layout in TWO)]
    }
    tolerance = 0.02 if name == "precision" else 1e-5  # bfloat16 rounds each product
    assert all(found == pytest.approx(losses[f"1 {name}"], abs=tolerance) for found in losses.values())


ARCHITECTURES = {
    "qwen3": ["fsdp", "tensor"],  # norms between slices
    "gemma2": ["fsdp", "tensor"],  # windows, soft caps, a scaled and tied head
    "gpt2": ["fsdp"],  # no plan
    "falcon": ["fsdp"],  # no plan, and padded rows
}


@pytest.fixture(scope="session")
def kinds(world: Path) -> Path:
    """The folder, with what one and two processes make of other architectures."""
    tokenizer = AutoTokenizer.from_pretrained(world / "sft")
    jobs: list[Job] = []
    for kind, layouts in ARCHITECTURES.items():
        tiny_model(kind, vocab_size=len(tokenizer)).save_pretrained(world / kind)
        tokenizer.save_pretrained(world / kind)
        run([job(world, f"1 {kind}", model=str(world / kind))])
        jobs += [job(world, f"2 {kind} {name}", model=str(world / kind), **TWO[name]) for name in layouts]
    launch(2, jobs, world / "kinds")
    return world


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "layout"), [(kind, name) for kind in ARCHITECTURES for name in ARCHITECTURES[kind]])
def test_other_architectures_train_as_in_one(kind: str, layout: str, kinds: Path) -> None:
    assert_same_run(kinds / f"2 {kind} {layout}", kinds / f"1 {kind}", kinds / kind)


@pytest.mark.slow
def test_a_loaded_adapter_is_trained_further_in_every_layout(world: Path) -> None:
    loaded = {"model": str(world / "1 lora" / "final")}
    run([job(world, "1 further", **loaded)])
    launch(2, [job(world, f"2 further {layout}", **TWO[layout], **loaded) for layout in TWO], world / "further")
    before, after = weights(world / "1 lora"), weights(world / "1 further")
    moved = torch.cat([(after[name] - before[name]).flatten() for name in after]).norm()
    for layout in TWO:
        ours = weights(world / f"2 further {layout}")
        assert torch.cat([(ours[name] - after[name]).flatten() for name in after]).norm() < 0.01 * moved

"""Runs whose steps are merged with a task vector: the same in several processes as in one, and taken up by others."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import Parameter

from tests.many import Job, launch, run
from tests.test_processes import FOUR, TWO, assert_same_run, cut, job, weights, world
from tests.tiny import tiny_directory, tiny_model
from tests.train import divided
from truenorth import methods
from truenorth.errors import SettingsError
from truenorth.methods.online_merging import OnDARE
from truenorth.models.task_vector import check_base
from truenorth.recipe import Recipe

__all__ = ["world"]  # a fixture

ADAM = {"kind": "adamw", "learning_rate": 1e-3}
SGD = {"kind": "torch", "optimizer": "torch.optim:SGD", "arguments": {"momentum": 0.9}, "learning_rate": 1e-2}
MERGES: dict[str, dict[str, Any]] = {
    "ondare as released": ADAM | {"merging": {"kind": "ondare", "alpha": 1e-4, "keep": 0.3}},
    "ondare as written": ADAM
    | {"merging": {"kind": "ondare", "alpha": 1e-3, "keep": 0.5, "rescale": "none", "task_mask": "fresh"}},
    "ondare every 3": {
        "kind": "rmsprop",
        "learning_rate": 1e-3,
        "merging": {"kind": "ondare", "keep": 0.5, "every": 3},
    },
    "h-fac": {"kind": "hfac", "learning_rate": 1e-3, "merging": {"kind": "ondare", "alpha": 1e-4, "keep": 0.5}},
    # Adam's first moves are all as large as the learning rate, so that rounding says which of them are the largest.
    "onties": SGD | {"merging": {"kind": "onties", "alpha": 1e-3, "keep": 0.3}},
}
LAYOUTS = ("data", "fsdp")
THEN = {"data": "fsdp", "fsdp": "data"}


def merged(update: dict[str, Any], base: str) -> Recipe:
    """DPO with a merging update, from plain settings."""
    return methods.load({"method": "dpo", "update": update | {"merging": update["merging"] | {"base": base}}})


def merging(folder: Path, out: str, name: str, **settings: Any) -> Job:
    asked = {"update": MERGES[name], "base": str(folder / "base")}
    return job(folder, out, method="tests.test_merging_processes:merged", recipe=asked, **settings)


@pytest.fixture(scope="module")
def two(world: Path) -> Path:
    """The folder, with what one and two processes make of each, and of each other's checkpoints."""
    tiny_directory(world / "base", seed=1, tie_word_embeddings=True, num_key_value_heads=4)
    run([merging(world, f"1 {name}", name) for name in MERGES])
    pairs = [(name, layout) for name in MERGES for layout in LAYOUTS]
    launch(2, [merging(world, f"2 {layout} {name}", name, **TWO[layout]) for name, layout in pairs], world / "two")
    again: list[Job] = []
    for name, layout in pairs:
        cut(world, f"2 {layout} {name}", name=f"2 again {layout} {name}", step=4)
        cut(world, f"2 {layout} {name}", name=f"2 {layout} on {name}", step=4)
        again.append(merging(world, f"2 again {layout} {name}", name, **TWO[layout]) | {"resume": True})
        again.append(merging(world, f"2 {layout} on {name}", name, **TWO[THEN[layout]]) | {"resume": True})
    launch(2, again, world / "again")
    for name in MERGES:
        cut(world, f"2 fsdp {name}", name=f"2 to 1 {name}", step=4)
        run([merging(world, f"2 to 1 {name}", name) | {"resume": True}])
    return world


@pytest.mark.slow
@pytest.mark.parametrize("name", MERGES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_two_processes_merge_as_one(layout: str, name: str, two: Path) -> None:
    assert_same_run(two / f"2 {layout} {name}", two / f"1 {name}", two / "sft")


@pytest.mark.slow
@pytest.mark.parametrize("name", MERGES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_two_processes_go_on_to_the_same_bits(layout: str, name: str, two: Path) -> None:
    ours, theirs = weights(two / f"2 again {layout} {name}"), weights(two / f"2 {layout} {name}")
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


@pytest.mark.slow
@pytest.mark.parametrize("name", MERGES)
@pytest.mark.parametrize("way", ["2 data on", "2 fsdp on", "2 to 1"])
def test_a_merging_run_goes_on_in_another_layout_and_in_one_process(way: str, name: str, two: Path) -> None:
    assert_same_run(two / f"{way} {name}", two / f"1 {name}", two / "sft")


@pytest.fixture(scope="module")
def four(two: Path) -> Path:
    """The folder, with what two replicas of two shards make of each, and of given gradients."""
    steps = {"call": "tests.train.divided:merged", "out": str(two / "four" / "merged")}
    runs = [merging(two, f"4 {name}", name, **FOUR["replicas of shards"]) for name in MERGES]
    launch(4, [steps, *runs], two / "four")
    return two


@pytest.mark.slow
@pytest.mark.parametrize("name", MERGES)
def test_replicas_of_shards_merge_as_one(name: str, four: Path) -> None:
    assert_same_run(four / f"4 {name}", four / f"1 {name}", four / "sft")


@pytest.mark.slow
@pytest.mark.parametrize("name", divided.MERGES)
def test_replicas_agree_with_each_other_and_with_whole_weights(name: str, four: Path) -> None:
    named = dict(tiny_model("llama").requires_grad_(True).named_parameters())
    named |= {key: Parameter(tensor) for key, tensor in divided.one_row().items()}
    whole = divided.merged_steps(name, named, four / "four" / "base")
    first, second = (load_file(four / "four" / f"merged.{name}.{replica}") for replica in range(2))
    assert all(torch.equal(first[key], second[key]) for key in whole)
    divided.assert_merged_alike(name, first, whole)


def test_sliced_layers_are_refused_with_the_way_out() -> None:
    with pytest.raises(SettingsError, match=r"--layout fsdp without --tensor-size, or --layout data"):
        check_base(OnDARE.__name__, "base", "sft", adapter=False, sliced=True)

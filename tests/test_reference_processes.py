"""References that move, and soups, give the same numbers however many processes hold them, and go on in any layout."""

from pathlib import Path
from typing import Any

import pytest

from tests.many import Job, launch, run
from tests.test_processes import TWO, WAYS, assert_same_run, cut, job, records, world
from tests.tiny import tiny_directory

__all__ = ["world"]  # a fixture

SOFT: dict[str, Any] = {"method": "tr_dpo", "recipe": {"share": 0.3, "learning_rate": 1e-3}}
HARD: dict[str, Any] = {"method": "tr_dpo_hard", "recipe": {"every": 2, "learning_rate": 1e-3}}
THEN = {"fsdp": "tensor", "tensor": "data", "data": "fsdp"}  # layouts, and those in which they are taken up


@pytest.fixture(scope="module")
def moved(world: Path) -> Path:
    """The folder, with what one and two processes make of a reference that moves: whole weights, and an adapter."""
    run([job(world, f"1 soft {way}", **SOFT, **WAYS[way]) for way in WAYS])
    lora = job(world, "2 soft lora data", **SOFT, **WAYS["lora"], **TWO["data"])
    launch(2, [lora, job(world, "2 soft full fsdp", **SOFT, **TWO["fsdp"])], world / "moved")
    return world


def test_a_reference_moves_with_an_adapter_in_two_processes_as_in_one(moved: Path) -> None:
    assert_same_run(moved / "2 soft lora data", moved / "1 soft lora", moved / "sft")


def test_a_reference_moves_with_weights_that_are_shared_out_as_in_one(moved: Path) -> None:
    assert_same_run(moved / "2 soft full fsdp", moved / "1 soft full", moved / "sft")


def test_a_reference_moved_by_two_processes_moves_on_in_one(moved: Path) -> None:
    for way, layout in (("lora", "data"), ("full", "fsdp")):
        cut(moved, f"2 soft {way} {layout}", name=f"2 to 1 soft {way}", step=4)
        run([job(moved, f"2 to 1 soft {way}", **SOFT, **WAYS[way]) | {"resume": True}])
        assert_same_run(moved / f"2 to 1 soft {way}", moved / f"1 soft {way}", moved / "sft")


@pytest.fixture(scope="module")
def every(moved: Path) -> Path:
    """The folder, with the other layouts, hard moves, soups, and runs that go on in another layout."""
    tiny_directory(moved / "other", seed=1, tie_word_embeddings=True, num_key_value_heads=4)
    soup = {"method": "salsa", "recipe": {"path": str(moved / "other"), "learning_rate": 1e-3}}
    run([job(moved, "1 hard full", **HARD), job(moved, "1 soup full", **soup)])
    jobs = [job(moved, f"2 soft full {layout}", **SOFT, **TWO[layout]) for layout in ("data", "tensor")]
    jobs += [job(moved, f"2 hard full {layout}", **HARD, **TWO[layout]) for layout in TWO]
    jobs += [job(moved, f"2 soup full {layout}", **soup, **TWO[layout]) for layout in TWO]
    launch(2, jobs, moved / "every")
    again: list[Job] = []
    for before, after in THEN.items():
        name = f"2 soft {before} to {after}"
        cut(moved, f"2 soft full {before}", name=name, step=4)
        again.append(job(moved, name, **SOFT, **TWO[after]) | {"resume": True})
    launch(2, again, moved / "again")
    return moved


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["soft", "hard", "soup"])
@pytest.mark.parametrize("layout", TWO)
def test_a_reference_is_the_same_in_every_layout(layout: str, kind: str, every: Path) -> None:
    assert_same_run(every / f"2 {kind} full {layout}", every / f"1 {kind} full", every / "sft")


@pytest.mark.slow
@pytest.mark.parametrize("before", THEN)
def test_a_reference_that_has_moved_goes_on_under_another_layout(before: str, every: Path) -> None:
    assert_same_run(every / f"2 soft {before} to {THEN[before]}", every / "1 soft full", every / "sft")


@pytest.mark.slow
def test_the_references_here_differ_from_one_that_stays(every: Path) -> None:
    last = {out: records(every / out)[-1]["loss"] for out in ("1 full", "1 soft full", "1 hard full", "1 soup full")}
    assert len({round(loss, 3) for loss in last.values()}) == len(last)


@pytest.mark.slow
def test_a_reference_to_an_adapter_that_is_shared_out_is_refused(moved: Path) -> None:
    with pytest.raises(AssertionError, match=r"initial follows an adapter, which these processes share out"):
        launch(2, [job(moved, "2 refused", **SOFT, **WAYS["lora"], **TWO["fsdp"])], moved / "refused")
    assert not (moved / "2 refused").exists()

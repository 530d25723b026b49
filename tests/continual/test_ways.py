"""The runs of baselines, before any is run."""

import json
from itertools import pairwise
from pathlib import Path

import pytest

from tests.tiny import tiny_directory
from truenorth.continual.plan import Planned, planned
from truenorth.continual.sources import domains_of, names_of
from truenorth.continual.ways import of_baseline, of_domain
from truenorth.evaluate.progress import Silent
from truenorth.methods import recipe
from truenorth.models.references import Cached
from truenorth.processes import ALONE
from truenorth.run import Run

NAMES = ("a", "b", "c")


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Planned:
    """Three domains of 6, 8 and 10 rows."""
    folder = tmp_path_factory.mktemp("given")
    for place, name in enumerate(NAMES):
        rows = [{"prompt": f"{name} {n}?", "chosen": "Yes.", "rejected": "No."} for n in range(6 + 2 * place)]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = [str(folder / f"{name}.jsonl") for name in NAMES]
    model = str(tiny_directory(folder / "sft"))
    run = Run(model=model, data=data, out=folder / "out", batch_size=2, lora={"rank": 2})  # pyright: ignore
    made = recipe("dpo").replace(domains={"memory": 2})
    assert made.domains is not None
    domains = tuple(domains_of(made.domains, run, names_of(made.domains, run)))
    return planned(made, run, domains, world=ALONE, watch=Silent())


def test_sequential_trains_the_last_adapter_on_and_is_compared_with_the_base(plan: Planned) -> None:
    stages = list(of_baseline(plan, "sequential"))
    assert [stage.after for stage in stages] == [1, 2, 3]
    assert stages[0].recipe == of_domain(plan, plan.domains[0]).recipe
    assert stages[0].run.lora == plan.run.lora
    for before, stage in pairwise(stages):
        assert stage.run.model == str(before.adapter)
        assert stage.run.lora is None
        assert stage.recipe.references == {"initial": Cached(path=plan.run.model)}


@pytest.mark.parametrize("way", ["sequential", "replay", "joint"])
def test_baselines_take_as_many_steps_as_the_domains(way: str, plan: Planned) -> None:
    steps = [plan.steps(domain) for domain in plan.domains]
    assert steps == [3, 4, 5]
    assert sum(stage.run.max_steps or 0 for stage in of_baseline(plan, way)) == sum(steps)


def test_replay_reads_the_memories_of_earlier_domains(plan: Planned) -> None:
    files = [[Path(source.path).name for source in stage.run.data] for stage in of_baseline(plan, "replay")]
    assert files == [["a.jsonl"], ["b.jsonl", "01-a.jsonl"], ["c.jsonl", "01-a.jsonl", "02-b.jsonl"]]


def test_joint_reads_all_rows_at_once(plan: Planned) -> None:
    [stage] = of_baseline(plan, "joint")
    assert [source.path for source in stage.run.data] == [source.path for source in plan.run.data]
    assert stage.after == 3


def test_a_judge_of_the_whole_is_not_one_of_its_runs(plan: Planned) -> None:
    stages = [of_domain(plan, domain) for domain in plan.domains]
    assert all(stage.run.judge is None and stage.recipe.domains is None for stage in stages)

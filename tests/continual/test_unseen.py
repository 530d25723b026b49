"""A memory of rows that are not trained on: which they are, what is left, and that nothing leaks."""

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.tiny import tiny_directory
from truenorth.continual.plan import Planned, planned
from truenorth.continual.sources import domains_of, names_of
from truenorth.continual.unseen import whole_prompts
from truenorth.continual.ways import of_baseline, of_domain
from truenorth.data.tokens import TokenizedRows
from truenorth.domains import Domains
from truenorth.errors import DataError, SettingsError
from truenorth.evaluate.progress import Silent
from truenorth.methods import recipe
from truenorth.processes import ALONE, Group
from truenorth.run import Run

PROMPTS = {("rows.jsonl", row): bytes([row // 2]) for row in range(20)}  # two rows of each of ten
COUNTS = {"a": 30, "b": 42}  # pairs


def test_a_prompt_is_kept_whole_or_not_at_all_and_all_room_is_taken() -> None:
    for most in range(1, 21):
        kept = whole_prompts(PROMPTS, most, seed=most, name="tales")
        assert len(kept) == len(set(kept)) == most - most % 2
        assert set(Counter(PROMPTS[row] for row in kept).values()) <= {2}


def test_every_prompt_is_kept_with_the_same_probability() -> None:
    draws = 4000
    kept = Counter(row for seed in range(draws) for row in whole_prompts(PROMPTS, 6, seed=seed, name="tales"))
    expected, deviation = 0.3 * draws, (draws * 0.3 * 0.7) ** 0.5
    assert all(abs(kept[row] - expected) < 4 * deviation for row in PROMPTS)


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Two domains of pairs, two for each prompt, in a file and in a compressed one."""
    folder = tmp_path_factory.mktemp("given")
    for name, count in COUNTS.items():
        file = folder / f"{name}.jsonl{'.gz' * (name == 'b')}"
        rows = [{"prompt": f"{name} {n // 2}?", "chosen": f"Yes {n}.", "rejected": "No."} for n in range(count)]
        text = "".join(json.dumps(row) + "\n" for row in rows).encode()
        file.write_bytes(gzip.compress(text) if name == "b" else text)
    data: Any = [str(folder / "a.jsonl"), str(folder / "b.jsonl.gz")]
    lora: Any = {"rank": 2}
    return Run(model=str(tiny_directory(folder / "sft")), data=data, out=folder / "out", batch_size=4, lora=lora)


def plan_of(run: Run, *, world: Group = ALONE, **asked: Any) -> Planned:
    made = recipe("dpo").replace(domains={"memory": 6, **asked})
    assert made.domains is not None
    domains = tuple(domains_of(made.domains, run, names_of(made.domains, run)))
    return planned(made, run, domains, world=world, watch=Silent())


@pytest.fixture(scope="module")
def plan(given: Run) -> Planned:
    return plan_of(given, memory_of="unseen")


def prompts(rows: TokenizedRows) -> set[bytes]:
    return {row.prompt.tobytes() for row in rows}


def raw(*files: str | Path) -> list[str]:
    return sorted(
        line
        for file in map(Path, files)
        for line in (gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes())
        .decode()
        .splitlines()
    )


def remembered(plan: Planned, name: str) -> TokenizedRows:
    kept = set(plan.memory[name])
    return TokenizedRows.of([row for row in plan.rows[name].rows if (row.file, row.row) in kept])


@pytest.mark.parametrize("name", COUNTS)
def test_no_prompt_of_memory_is_among_what_its_domain_trains_on_and_no_row_is_lost(name: str, plan: Planned) -> None:
    whole, kept, rest = plan.rows[name].rows, remembered(plan, name), plan.trained_on[name].rows
    assert len(kept) == len(plan.memory[name]) == 6
    assert not prompts(kept) & prompts(rest)
    assert sorted(row.key for row in (*kept, *rest)) == sorted(row.key for row in whole)


def test_a_domain_trains_on_the_file_of_what_is_left_and_baselines_on_all(plan: Planned) -> None:
    for domain, source in zip(plan.domains, plan.run.data, strict=True):
        [own] = of_domain(plan, domain).run.data
        assert Counter(raw(own.path)) < Counter(raw(source.path))
        assert plan.steps(domain) == -(-(COUNTS[domain.name] - 6) // 4)
    [joint] = of_baseline(plan, "joint")
    assert joint.run.data == plan.run.data


def test_a_fifth_of_a_domain_is_kept_at_most_and_it_is_said(given: Run, tmp_path: Path) -> None:
    found = plan_of(given.replace(out=tmp_path), memory_of="unseen", memory=500)
    assert found.kept.rows == {"a": 6, "b": 8}
    assert found.kept.sentence.startswith("Memory is 6 of 30 rows of a, 8 of 42 rows of b, which are not trained on")


def test_a_repeat_of_a_row_in_memory_is_not_trained_on_either(given: Run, tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text(2 * Path(given.data[0].path).read_text())
    found = plan_of(given.replace(data=[str(file), given.data[1].path], out=tmp_path / "out"), memory_of="unseen")
    assert len(remembered(found, "a")) == 4  # of one prompt; another four would be too many
    assert not prompts(remembered(found, "a")) & prompts(found.trained_on["a"].rows)


def test_a_row_that_cannot_be_read_is_counted_where_it_is_trained(given: Run, tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text(Path(given.data[0].path).read_text() + "{nothing\n")
    run = given.replace(data=[str(file), given.data[1].path], out=tmp_path / "out", on_problem="drop")
    found = plan_of(run, memory_of="unseen")
    assert found.rows["a"].account.dropped == found.trained_on["a"].account.dropped == 1


def test_a_plan_made_again_leaves_the_files_as_they_are(given: Run, plan: Planned) -> None:
    files = sorted(Path(source.path) for domain in plan.domains for source in domain.rest)
    before = [file.stat().st_mtime_ns for file in files]
    again = plan_of(given, memory_of="unseen")
    assert [file.stat().st_mtime_ns for file in files] == before
    assert again.memory == plan.memory
    assert again.identity() == plan.identity()
    assert sorted(files[0].parent.iterdir()) == files  # nothing half written beside them


class Second(Group):
    """The second of two processes; the first's words are known."""

    said: list[Any]

    def gather(self, value: Any) -> list[Any]:
        return [self.said.pop(0), value]


class First(Group):
    """The first of two, whose words are written down."""

    said: list[Any]

    def gather(self, value: Any) -> list[Any]:
        self.said.append(value)
        return [value, value]


def test_the_second_process_remembers_what_the_first_does(given: Run, plan: Planned) -> None:
    First.said = Second.said = []
    first = plan_of(given, world=First(0, 2), memory_of="unseen")
    second = plan_of(given, world=Second(1, 2), memory_of="unseen")
    assert not Second.said
    assert first.memory == second.memory == plan.memory
    assert first.domains == second.domains == plan.domains


def test_a_memory_that_is_trained_on_is_drawn_from_all_rows_and_writes_none(given: Run, tmp_path: Path) -> None:
    run = given.replace(out=tmp_path / "out")
    plain, asked = plan_of(run), plan_of(run, memory_of="trained")
    assert (plain.memory, plain.domains, plain.identity()) == (asked.memory, asked.domains, asked.identity())
    assert all(asked.trained_on[name] is found for name, found in asked.rows.items())
    assert all(of_domain(asked, domain).run.data == list(domain.data) for domain in asked.domains)
    assert not run.out.exists()


def test_a_domain_without_a_prompt_small_enough_is_refused(given: Run, tmp_path: Path) -> None:
    file = tmp_path / "few.jsonl"
    rows = [{"prompt": f"{n % 2}?", "chosen": f"Yes {n}.", "rejected": "No."} for n in range(9)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = given.replace(data=[given.data[0].path, str(file)], out=tmp_path / "out")
    with pytest.raises(
        DataError, match=r"few has 9 rows, and each of its prompts more than 1 of them.*memory_of=trained"
    ):
        plan_of(run, memory_of="unseen")


def test_ratios_that_are_given_need_no_memory_of_unseen_rows() -> None:
    with pytest.raises(SettingsError, match="leave one of them out"):
        Domains(ratios=(0.5, 0.5), memory_of="unseen")
    assert Domains(ratios=(0.5, 0.5)).rows_of_memory == "trained"

"""Which rows are of which domain, and what is refused before anything is loaded."""

import json
from pathlib import Path
from typing import Any

import pytest

from truenorth.continual.sources import domains_of, names_of
from truenorth.domains import Domains
from truenorth.errors import DataError, SettingsError
from truenorth.run import DataSource, Run

TOPICS = ["tale", "letter", "tale", "review", "letter"]


@pytest.fixture
def rows(tmp_path: Path) -> str:
    return written(tmp_path / "rows.jsonl", TOPICS)


def written(file: Path, topics: list[str]) -> str:
    given = [{"prompt": f"{n}?", "chosen": "Yes.", "rejected": "No.", "topic": t} for n, t in enumerate(topics)]
    file.write_text("".join(json.dumps(row) + "\n" for row in given))
    return str(file)


def run_on(tmp_path: Path, *data: str, eval_data: tuple[str, ...] = ()) -> Run:
    return Run(model="sft", data=list(data), eval_data=list(eval_data), out=tmp_path / "out")  # pyright: ignore


def test_domains_of_a_column_come_in_the_order_of_their_first_rows(rows: str, tmp_path: Path) -> None:
    assert names_of(Domains(column="topic"), run_on(tmp_path, rows)) == ["tale", "letter", "review"]
    asked = Domains(column="topic", order=("review", "tale", "letter"))
    assert names_of(asked, run_on(tmp_path, rows)) == ["review", "tale", "letter"]
    assert not (tmp_path / "out").exists()


def test_rows_of_a_column_are_shared_out_as_they_stand(rows: str, tmp_path: Path) -> None:
    asked, run = Domains(column="topic"), run_on(tmp_path, rows, eval_data=(rows,))
    domains = domains_of(asked, run, names_of(asked, run))
    assert [domain.folder for domain in domains] == ["01-tale", "02-letter", "03-review"]
    whole = [json.loads(line) for line in Path(rows).read_text().splitlines()]
    for domain in domains:
        for sources in (domain.data, domain.held_out):
            own = [json.loads(line) for line in Path(sources[0].path).read_text().splitlines()]
            assert own == [row for row in whole if row["topic"] == domain.name]


def test_each_file_is_a_domain_with_the_held_out_file_of_its_place(tmp_path: Path) -> None:
    data = [written(tmp_path / f"{name}.jsonl", ["x"]) for name in ("b", "a")]
    held_out = [written(tmp_path / f"{name}_eval.jsonl", ["x"]) for name in ("b", "a")]
    asked, run = Domains(order=("a", "b")), run_on(tmp_path, *data, eval_data=tuple(held_out))
    domains = domains_of(asked, run, names_of(asked, run))
    assert [(d.name, d.data[0].path, d.held_out[0].path) for d in domains] == [
        ("a", data[1], held_out[1]),
        ("b", data[0], held_out[0]),
    ]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (Domains(), "there is one only"),
        (Domains(column="topc"), "the column topc names no domain, got None. Did you mean topic"),
        (Domains(column="topic", order=("tale", "letter", "reviw")), "no domain. Did you mean review"),
        (Domains(column="topic", order=("tale", "letter")), "leaves out review"),
        (Domains(column="topic", ratios=(0.5, 0.5)), "2 numbers for 3 domains"),
        (Domains(column="topic", fit="grid"), "a grid is for two domains"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(asked: Domains, said: str, rows: str, tmp_path: Path) -> None:
    with pytest.raises((SettingsError, DataError), match=said.replace(".", r"\.")):
        names_of(asked, run_on(tmp_path, rows))


def test_held_out_rows_are_of_every_domain(rows: str, tmp_path: Path) -> None:
    few = written(tmp_path / "few.jsonl", ["tale", "letter"])
    with pytest.raises(DataError, match=r"rows of review .* are in --data alone"):
        names_of(Domains(column="topic"), run_on(tmp_path, rows, eval_data=(few,)))
    with pytest.raises(SettingsError, match="2 domains, and --eval-data 1 files"):
        names_of(Domains(), run_on(tmp_path, rows, few, eval_data=(few,)))


@pytest.mark.parametrize("found", [{"fit": "grid"}, {"within": "box"}, {"within": "simplex"}])
def test_ratios_are_given_or_fitted_not_both(found: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="leave one of them out"):
        Domains(ratios=(0.5, 0.5), **found)


def test_a_file_is_one_domain(tmp_path: Path) -> None:
    file = tmp_path / "letters.jsonl"
    file.write_text('{"prompt": "a", "chosen": "b", "rejected": "c"}\n')
    twice = [DataSource(path=str(file)), DataSource(path=f"{tmp_path}/./letters.jsonl")]
    with pytest.raises(SettingsError, match=r"letters\.jsonl twice, and each file is a domain"):
        names_of(Domains(), Run(model="m", data=twice, out=tmp_path / "out"))

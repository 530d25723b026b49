"""What rounds tell of themselves, on a tiny model."""

from pathlib import Path
from typing import Any

import pytest

from tests.feeds.test_played import QUICK, lines, short
from tests.tiny import tiny_directory
from tests.vowels import brief
from truenorth import align
from truenorth.models.references import Moving
from truenorth.run import LoRA

MAGNET = {
    "magnet": Moving(every=2, unit="rounds", share=1),
    "round": Moving(every=1, unit="rounds", share=1),
}


def told(folder: Path, *, lora: LoRA | None = None, **changes: Any) -> list[dict[str, Any]]:
    """The lines of four rounds."""
    file = folder / "prompts.txt"
    file.write_text("".join(f"What of number {i}?\n" for i in range(11)))
    made = short("mpo", rounds=4).replace(**{"references": MAGNET, **changes})
    settings: dict[str, Any] = QUICK | {"save_every": 99, "samples": 0, "lora": lora}
    start = str(tiny_directory(folder / "sft"))
    align(made, model=start, prompts=str(file), judge=brief, out=folder / "run", **settings)
    return lines(folder / "run", "round")


@pytest.fixture(scope="module")
def rounds(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return told(tmp_path_factory.mktemp("told"))


def test_a_magnet_is_the_policy_of_the_round_in_which_it_was_taken(rounds: list[dict[str, Any]]) -> None:
    assert "wins/magnet" not in rounds[0]
    assert rounds[1]["wins/magnet"] == rounds[1]["wins/initial"]  # it has not moved yet
    assert rounds[2]["wins/magnet"] == rounds[2]["wins/initial"]  # nor in the two rounds before the third
    assert rounds[3]["wins/magnet"] == rounds[3]["wins/previous"]  # it was taken as the third round began
    assert rounds[3]["wins/magnet"] != rounds[3]["wins/initial"]


def test_distances_are_to_what_the_round_before_was_trained_against(rounds: list[dict[str, Any]]) -> None:
    assert "kl/magnet" not in rounds[0]
    assert rounds[1]["kl/magnet"] == rounds[1]["kl/round"]  # both are the start
    assert rounds[2]["kl/magnet"] != rounds[2]["kl/round"]
    assert rounds[3]["kl/magnet"] == rounds[3]["kl/round"]  # both are the third round's policy
    assert all(abs(line[f"kl/{name}"]) > 1e-3 for line in rounds[1:] for name in ("magnet", "round"))
    assert all(line["exploitability"] > 0 for line in rounds[1:])


def test_an_adapters_rounds_are_also_told_how_far_the_start_is(tmp_path: Path) -> None:
    rounds = told(tmp_path, lora=LoRA(rank=2))
    for line in rounds[1:3]:  # the magnet is the start until the third round begins
        assert line["kl/initial"] == pytest.approx(line["kl/magnet"], abs=1e-6)
    assert abs(rounds[3]["kl/initial"] - rounds[3]["kl/magnet"]) > 1e-6
    assert abs(rounds[3]["kl/initial"]) > 1e-6


def test_where_the_start_would_take_a_copy_it_is_not_told(rounds: list[dict[str, Any]]) -> None:
    assert not any("kl/initial" in line for line in rounds)


def test_where_the_policy_stays_at_its_magnet_both_are_zero(tmp_path: Path) -> None:
    still = short("mpo").update.replace(learning_rate=1e-12)
    for line in told(tmp_path, update=still)[1:]:
        assert line["kl/magnet"] == pytest.approx(0, abs=1e-4)  # float32 sums of log-probs, once packed otherwise
        assert line["exploitability"] == pytest.approx(0, abs=1e-4)


def test_entropy_is_of_the_distribution_that_was_drawn_from(rounds: list[dict[str, Any]], tmp_path: Path) -> None:
    flat = short("mpo", rounds=2, temperature=100.0).schedule
    (first, _) = told(tmp_path, schedule=flat)
    assert first["entropy"] > rounds[0]["entropy"] > 0


def test_of_answers_from_another_distribution_there_are_no_distances(tmp_path: Path) -> None:
    sharp = short("mpo", rounds=2, top_p=0.5).schedule
    assert not any("kl/magnet" in line or "exploitability" in line for line in told(tmp_path, schedule=sharp))

"""Numbers of a matrix, by hand and by their laws; the page that shows them."""

from dataclasses import replace
from pathlib import Path

import pytest

from truenorth.evaluate.continual import (
    Continual,
    Memory,
    Ratios,
    average,
    backward_transfer,
    forgetting,
    forward_transfer,
    matrices,
    summary,
)
from truenorth.evaluate.continual_findings import findings
from truenorth.evaluate.continual_page import lines, render, write_continual
from truenorth.files import write_json

R = [[0.5, 0.5, 0.4], [0.9, 0.6, 0.5], [0.7, 0.8, 0.3], [0.8, 0.7, 0.9]]  # three domains
UNSEEN = Memory(
    "unseen", {"kind & warm": 2, "tales": 3, "reviews": 3}, {"kind & warm": 12, "tales": 20, "reviews": 20}
)


def test_the_numbers_are_those_worked_by_hand() -> None:
    assert average(R) == pytest.approx((0.8 + 0.7 + 0.9) / 3)
    assert backward_transfer(R) == pytest.approx(((0.8 - 0.9) + (0.7 - 0.8)) / 2)
    assert forward_transfer(R) == pytest.approx(((0.6 - 0.5) + (0.3 - 0.4)) / 2)
    assert forgetting(R) == pytest.approx(((0.9 - 0.8) + (0.8 - 0.7)) / 2)


def test_a_constant_matrix_forgets_and_transfers_nothing() -> None:
    found = summary([[0.3, 0.7, 0.6]] * 4)
    assert found["average"] == pytest.approx((0.3 + 0.7 + 0.6) / 3)
    assert [found[name] for name in ("forgetting", "backward_transfer", "forward_transfer")] == [0.0, 0.0, 0.0]


def test_forgetting_is_at_least_minus_the_backward_transfer() -> None:
    assert forgetting(R) >= -backward_transfer(R)
    better_later = [[0.5, 0.5, 0.5], [0.6, 0.5, 0.5], [0.9, 0.6, 0.5], [0.7, 0.6, 0.7]]
    assert forgetting(better_later) == pytest.approx(((0.9 - 0.7) + 0.0) / 2)
    assert backward_transfer(better_later) == pytest.approx(((0.7 - 0.6) + 0.0) / 2)


def test_a_model_of_all_at_once_has_an_average_alone() -> None:
    assert summary([R[0], None, None, R[3]]) == {"average": pytest.approx(0.8)}


def test_matrices_are_means_of_the_numbers_of_rows() -> None:
    points = {
        "start": {"accuracy/a": [0.5, 0.5], "accuracy/b": [0.5]},
        "joint 2": {"accuracy/a": [1.0, 0.0], "accuracy/b": [1.0]},
    }
    assert matrices(["a", "b"], points, "joint", "start") == {"accuracy": [[0.5, 0.5], None, [0.5, 1.0]]}
    assert matrices(["a", "b"], points, "replay", "start") == {}


def found() -> Continual:
    names = ("kind & warm", "tales", "reviews")
    ways = {"cofs": {"accuracy": R}, "joint": {"accuracy": [R[0], None, None, R[3]]}}
    fits = (Ratios((1.0,)), Ratios((0.4, 0.6), 0.5, 0.6, 0.7), Ratios((0.2, 0.3, 0.5), 0.4, 0.5, 0.43219))
    return Continual(names, fits, ways, dict.fromkeys(names, 10), within="box", memory=UNSEEN)


def test_the_page_says_every_number_of_the_matrix_and_escapes_names() -> None:
    page = render(found(), [])
    assert "kind &amp; warm" in page
    assert "kind & warm" not in page
    for value in {value for row in R for value in row}:
        assert f"{100 * value:.0f}\u202f%" in page
    assert page == render(found(), [])


def test_the_page_says_where_the_ratios_lie_and_the_loss_of_the_plain_sum() -> None:
    page = render(found(), [])
    assert "each in [0, 1] by itself" in page
    assert "with all of them 1 0.43219" in page
    assert "fitted" not in render(replace(found(), within=None), []).partition("<h2>Ratios</h2>")[2]


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    write_json(tmp_path / "continual.json", found().to_dict())
    assert Continual.read(tmp_path) == found()
    assert write_continual(tmp_path).read_text() == render(Continual.read(tmp_path), [])


def test_a_run_from_before_memory_was_written_down_is_read(tmp_path: Path) -> None:
    older = found().to_dict()
    del older["memory"]
    write_json(tmp_path / "continual.json", older)
    assert Continual.read(tmp_path) == replace(found(), memory=None)


def test_the_end_in_the_terminal_names_every_way_and_ratio() -> None:
    text = "\n".join(lines(found()))
    assert "Joint" in text
    assert "80.0 %" in text
    assert "10.0 points" in text
    assert "reviews 0.5" in text


def fitted(*ratios: float, within: str = "box", memory: Memory | None = UNSEEN, **losses: float) -> Continual:
    fits = (*found().fits[:-1], Ratios(ratios, **{"loss": 0.5, "at_equal": 0.55, "at_zeros": 0.7} | losses))
    return replace(found(), fits=fits, within=within, memory=memory)


def titles(found: Continual) -> list[str]:
    return [finding.title for finding in findings(found)]


def test_a_sum_that_is_worse_than_the_base_is_a_problem_whatever_memory_is() -> None:
    for memory in (UNSEEN, replace(UNSEEN, of="trained")):
        worse = fitted(0.2, 0.3, 0.5, within="simplex", memory=memory, loss=0.8, at_ones=0.9)
        assert [finding.level for finding in findings(worse)] == ["problem"]
    assert not findings(found())  # of an older run the base's loss is not known


def test_adapters_that_are_all_taken_back_on_unseen_rows_are_told() -> None:
    back = fitted(0.6, 0.5, 0.7, at_ones=0.61)
    assert titles(back) == ["Every adapter is taken back"]
    assert titles(fitted(0.6, 1.0, 0.7, at_ones=0.61)) == []  # one of them may contradict the others
    assert titles(replace(back, memory=replace(UNSEEN, of="trained"))) == []
    page, text = render(back, []), "\n".join(lines(back))
    for shown in (page, text):
        assert "Every adapter is taken back" in shown
        assert "--epochs or --max-steps" in shown
    assert "2 of 12 rows of kind &amp; warm, 3 of 20 rows of tales" in page
    assert 'id="diagnosis"' not in render(fitted(1.0, 1.0, 1.0, at_ones=0.5), [])


def test_a_simplex_with_more_loss_than_the_plain_sum_is_told_where_it_shows() -> None:
    assert titles(fitted(0.0, 0.0, 1.0, within="simplex", at_ones=0.4)) == ["Ratios whose sum is 1 are too small"]
    assert titles(fitted(0.0, 0.0, 1.0, within="simplex", at_ones=0.6)) == []

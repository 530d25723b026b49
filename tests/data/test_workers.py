"""Work in other processes gives what it gives in this one."""

import operator
import os
from collections.abc import Iterator
from functools import partial

import pytest

from truenorth.data.workers import VARIABLE, Workers, now_and_then, wanted_processes
from truenorth.errors import DataError


@pytest.fixture(scope="module")
def two() -> Iterator[Workers]:
    with Workers(2) as workers:
        yield workers


def test_answers_come_in_the_order_of_the_tasks(two: Workers) -> None:
    tasks = [(i,) for i in range(20)]
    assert (
        list(two.map(partial(pow, 2), tasks))
        == list(Workers(1).map(partial(pow, 2), tasks))
        == [2**i for i in range(20)]
    )


def test_a_function_replaces_the_one_before(two: Workers) -> None:
    assert [list(two.map(f, [(5, 3)])) for f in (operator.sub, operator.mul)] == [[2], [15]]


def test_the_work_is_done_elsewhere(two: Workers) -> None:
    assert os.getpid() not in set(two.map(os.getpid, [()] * 4))


def test_data_errors_are_raised_here_and_the_processes_go_on(two: Workers) -> None:
    with pytest.raises(DataError, match="row 3"):
        list(two.map(refuse, [(3,)] * 5))
    assert list(two.map(abs, [(-1,)])) == [1]


def test_a_process_that_dies_is_named() -> None:
    with Workers(2) as workers, pytest.raises(RuntimeError, match=r"ended with code 7.*TRUENORTH_DATA_PROCESSES"):
        list(workers.map(os._exit, [(7,)]))


def test_a_process_that_dies_in_the_middle_of_its_answer_is_named() -> None:
    half = (
        "import os, pickle, sys; answers = sys._getframe(1).f_locals['answers'];"
        "answers.write(pickle.dumps((True, 'x' * 99))[:50]); answers.flush(); os._exit(9)"
    )
    with Workers(2) as workers, pytest.raises(RuntimeError, match="ended with code 9"):
        list(workers.map(exec, [(half,)]))


def test_the_variable_says_how_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "3")
    assert wanted_processes() == 3
    monkeypatch.setenv(VARIABLE, "none")
    with pytest.raises(DataError, match="must be a count of processes, 1 or more, got 'none'"):
        wanted_processes()


def refuse(row: int) -> None:
    raise DataError(f"row {row}")


def test_progress_is_told_twice_a_minute_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, heard = iter([0.0, 10.0, 31.0, 31.0, 50.0, 62.0, 62.0]), list[str]()
    monkeypatch.setattr("truenorth.data.workers.time.monotonic", lambda: next(clock))
    tell = now_and_then(heard.append)  # at 0
    for sentence in ("at 10", "at 31", "at 50", "at 62"):
        tell(sentence)
    assert heard == ["at 31", "at 62"]

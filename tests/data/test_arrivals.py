"""Lines of a stream: waited for, copied before they are given, and never lost or taken twice."""

import os
import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from truenorth.data.arrivals import Arrivals, check_place, lines_since
from truenorth.errors import DataError

Opened = Callable[..., Arrivals]


def never() -> bool:
    return False


@pytest.fixture
def followed(tmp_path: Path) -> Generator[Opened]:
    """Opens the stream of rows.jsonl, once more each time it is called."""
    made = list[Arrivals]()

    def follow(idle: float | None = 0.0, path: str = "", said: Callable[[str], None] = lambda _: None) -> Arrivals:
        made.append(Arrivals(path or str(tmp_path / "rows.jsonl"), tmp_path / "stream", idle=idle, said=said))
        return made[-1]

    yield follow
    for one in made:
        one.close()


@pytest.fixture
def piped() -> Generator[Callable[[bytes], None]]:
    """Puts bytes on standard input, which then closes."""
    kept = os.dup(0)

    def pipe(data: bytes) -> None:
        read, write = os.pipe()
        os.write(write, data)
        os.close(write)
        os.dup2(read, 0)
        os.close(read)

    yield pipe
    os.dup2(kept, 0)
    os.close(kept)


def append(file: Path, data: bytes) -> None:
    with file.open("ab") as out:
        out.write(data)


def all_lines(arrivals: Arrivals) -> list[bytes]:
    return list(iter(lambda: arrivals.line(never), None))


def test_a_line_stands_in_the_copy_before_it_is_given(followed: Opened, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_bytes(b"one\ntwo\n")
    arrivals = followed()
    assert arrivals.line(never) == b"one\n"
    assert (tmp_path / "stream" / "rows.jsonl").read_bytes().startswith(b"one\n")


def test_a_half_written_line_is_waited_for(followed: Opened, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(b"one\ntw")
    arrivals = followed(idle=None)
    assert arrivals.line(never) == b"one\n"
    later = threading.Timer(0.1, append, (file, b"o\n"))
    later.start()
    assert arrivals.line(never) == b"two\n"
    later.join()


def test_a_file_ends_when_no_line_came_for_the_idle_time(followed: Opened, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_bytes(b"1\n2")  # its last line without a line break
    began, arrivals = time.monotonic(), followed(idle=0.3)
    assert all_lines(arrivals) == [b"1\n", b"2\n"]
    assert time.monotonic() - began >= 0.3
    assert arrivals.ended


def test_who_stops_gets_no_line_and_the_stream_has_not_ended(followed: Opened, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_bytes(b"")
    arrivals = followed(idle=None)
    assert arrivals.line(lambda: True) is None
    assert not arrivals.ended


@pytest.mark.parametrize("written", [0, 1, 7, 13, 14])
@pytest.mark.parametrize("piping", [False, True])
def test_a_line_that_is_half_written_in_the_end_is_left_unread_and_told(
    piping: bool, written: int, followed: Opened, piped: Callable[[bytes], None], tmp_path: Path
) -> None:
    first, last = b'{"a": 1}\n', b'{"b": "\xe2\x82\xac 2"}'  # three of its 14 bytes are one letter
    (tmp_path / "rows.jsonl").write_bytes(first + last[:written])
    if piping:
        piped(first + last[:written])
    arrivals = followed(path="-" if piping else "")
    assert all_lines(arrivals) == [first] + [last + b"\n"] * (written == len(last))
    told = f"the last line is not finished: its {written} bytes are left unread"
    assert (told in arrivals.end) == (0 < written < len(last))


def test_a_line_that_was_left_unread_has_come_since_once_it_is_whole(followed: Opened, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(b'{"a": 1}\n{"b"')
    arrivals = followed()
    assert len(all_lines(arrivals)) == 1
    assert lines_since(str(file), arrivals.copy, taken=1) == (1, 0)
    append(file, b": 2}\n")
    assert lines_since(str(file), arrivals.copy, taken=1) == (1, 1)


@pytest.mark.parametrize("cut", range(8))
def test_a_kill_in_the_middle_of_a_copied_line_loses_nothing(cut: int, followed: Opened, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_bytes(b"one\ntwo\n")
    (tmp_path / "stream").mkdir()
    (tmp_path / "stream" / "rows.jsonl").write_bytes(b"one\ntwo\n"[:cut])
    assert all_lines(followed()) == [b"one\n", b"two\n"]


def test_a_followed_file_goes_on_behind_its_copy(followed: Opened, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(b"one\n")
    assert followed(idle=None).line(never) == b"one\n"
    append(file, b"two\n")
    assert all_lines(followed()) == [b"one\n", b"two\n"]


def test_what_has_ended_stays_so(followed: Opened, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(b"one\n")
    all_lines(followed())
    append(file, b"two\n")
    assert all_lines(followed()) == [b"one\n"]


def test_a_file_that_is_another_one_now_is_refused(followed: Opened, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(b"one\n")
    arrivals = followed(idle=None)
    arrivals.line(never)
    file.write_bytes(b"")
    with pytest.raises(DataError, match="was cut or replaced while it was followed"):
        arrivals.line(never)
    file.write_bytes(b"other\n")
    with pytest.raises(DataError, match=r"does not begin with the lines that were taken.*another --out"):
        followed()


@pytest.mark.parametrize("again", [b"1\n2\n3\n", b"3\n", b"1\n2\n3", b"3"])
def test_standard_input_may_come_again_from_its_beginning_or_go_on(
    again: bytes, followed: Opened, piped: Callable[[bytes], None]
) -> None:
    piped(b"1\n2\n")
    first, said = followed(path="-"), list[str]()
    assert [first.line(never), first.line(never)] == [b"1\n", b"2\n"]  # killed before the pipe closed
    piped(again)
    assert all_lines(followed(path="-", said=said.append)) == [b"1\n", b"2\n", b"3\n"]
    assert len(said) == again.startswith(b"1")


@pytest.mark.parametrize("more", [b"one\nthree\n", b"one\n"])
def test_lines_that_only_begin_like_the_copy_are_new(
    more: bytes, followed: Opened, piped: Callable[[bytes], None]
) -> None:
    piped(b"one\ntwo\n")
    first = followed(path="-")
    assert [first.line(never), first.line(never)] == [b"one\n", b"two\n"]
    piped(more)
    assert b"".join(all_lines(followed(path="-"))) == b"one\ntwo\n" + more


def test_lines_longer_than_a_piece_come_whole(followed: Opened, tmp_path: Path) -> None:
    long = b"x" * 300_000 + b"\n"
    (tmp_path / "rows.jsonl").write_bytes(long + b"one\n" + long)
    assert all_lines(followed()) == [long, b"one\n", long]


def test_what_gives_no_rows_is_refused_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").touch()
    (tmp_path / "rows.csv").touch()
    check_place(str(tmp_path / "rows.jsonl"), tmp_path / "stream")
    for name, said in (
        ("row.jsonl", r"row.jsonl does not exist\. Near it: .*rows.jsonl\. .*touch "),
        ("rows.csv", r"rows.csv is not JSONL.*--data"),
        ("", r"no plain file.*--stream - < "),
    ):
        with pytest.raises(DataError, match=said):
            check_place(str(tmp_path / name), tmp_path / "stream")

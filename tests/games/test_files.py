"""Games from files: what is read, and what is refused."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from truenorth.errors import DataError, SettingsError
from truenorth.games import game_of

WINS = [[0.5, 0.1, 0.8], [0.9, 0.5, 0.1], [0.2, 0.9, 0.5]]
CSV = "0.5,0.1,0.8\n0.9,0.5,0.1\n0.2,0.9,0.5\n"


def written(folder: Path, name: str, text: str) -> str:
    (folder / name).write_text(text)
    return str(folder / name)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("game.json", json.dumps(WINS)),
        ("game.json", json.dumps({"wins": WINS})),
        ("game.csv", CSV),
        ("game.csv", "kind, short, exact\n" + CSV),
    ],
)
def test_every_text_format_gives_the_same_game(tmp_path: Path, name: str, text: str) -> None:
    np.testing.assert_array_equal(game_of(written(tmp_path, name, text)).wins, game_of("cyclic").wins)


def test_an_array_gives_the_same_game(tmp_path: Path) -> None:
    np.save(tmp_path / "game.npy", np.array(WINS))
    np.testing.assert_array_equal(game_of(str(tmp_path / "game.npy")).wins, game_of("cyclic").wins)


def test_names_and_start_are_read(tmp_path: Path) -> None:
    text = json.dumps({"wins": WINS, "actions": ["kind", "short", "exact"], "start": [1, 1, 2]})
    game = game_of(written(tmp_path, "game.json", text))
    assert game.actions == ("kind", "short", "exact")
    np.testing.assert_allclose(np.exp(game.log_start), [0.25, 0.25, 0.5])
    assert game_of(written(tmp_path, "game.csv", "kind,short,exact\n" + CSV)).actions == ("kind", "short", "exact")


def test_a_pickle_is_never_opened(tmp_path: Path) -> None:
    (tmp_path / "game.npy").write_bytes(pickle.dumps(np.array(WINS)))
    with pytest.raises(DataError, match="is no table of numbers"):
        game_of(str(tmp_path / "game.npy"))
    np.save(tmp_path / "objects.npy", np.array(WINS, dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="is no table of numbers"):
        game_of(str(tmp_path / "objects.npy"))


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("game.json", "{", "is no table of numbers"),
        ("game.json", '{"table": [[0.5]]}', "an object has `wins`"),
        ("game.json", "[[0.5, 0.5], [0.5]]", "is no table of numbers"),
        ("game.csv", "0.5,0.5\n0.5,half\n", "is no table of numbers"),
        ("game.csv", "", "a game is a square table"),
        ("game.csv", "0.5,0.4\n0.5,0.5\n", "game.csv: row 1, column 2 is 0.4"),
    ],
)
def test_a_file_that_is_no_game_is_refused_by_name(tmp_path: Path, name: str, text: str, said: str) -> None:
    with pytest.raises(DataError) as refused:
        game_of(written(tmp_path, name, text))
    assert said in str(refused.value)
    assert name in str(refused.value)


def test_a_start_that_does_not_fit_is_refused_when_it_is_read(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="a start needs a number for each of the 3 actions"):
        game_of(written(tmp_path, "game.json", json.dumps({"wins": WINS, "start": [1, 1]})))


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no file"):
        game_of(str(tmp_path / "game.json"))


def test_a_file_takes_no_settings(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="takes no settings; got seed"):
        game_of(written(tmp_path, "game.csv", CSV), seed=1)

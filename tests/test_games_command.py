"""`truenorth games`: what is asked for, what is refused, and what comes out."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from truenorth.cli import app
from truenorth.errors import SettingsError
from truenorth.games import GAMES, SOLVERS
from truenorth.games_command import game_asked, solvers_asked

SLOW = ("torch", "transformers", "matplotlib")


def run(*args: str) -> Result:
    return CliRunner().invoke(app, ["games", *args], env={"COLUMNS": "120", "TERM": "dumb", "NO_COLOR": "1"})


def test_mpo_on_the_cyclic_game_as_json() -> None:
    result = run("--game", "cyclic", "--solver", "mpo", "--steps", "2000", "--json")
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    assert said["exploitability_last"] < 1e-8
    assert said["exploitability_average"] > 1e-4


def test_all_solvers_stand_in_one_table_and_picture(tmp_path: Path) -> None:
    result = run("--steps", "20", "--out", str(tmp_path / "games.svg"))
    assert result.exit_code == 0, result.output
    assert all(f"\n{name} " in result.stdout for name in SOLVERS)
    drawn = (tmp_path / "games.svg").read_text()
    assert all(f">{name}<" in drawn for name in SOLVERS)
    assert str(tmp_path / "games.svg") in result.stdout.replace("\n", "")


def test_json_stays_json_beside_a_page(tmp_path: Path) -> None:
    result = run("--solver", "md,mpo", "--steps", "20", "--json", "--out", str(tmp_path / "games.html"))
    assert [one["solver"] for one in json.loads(result.stdout)["solvers"]] == ["md", "mpo"]
    assert (tmp_path / "games.html").is_file()


def test_help_names_every_game_and_solver() -> None:
    words = set(run("--help").stdout.replace(",", " ").replace(".", " ").replace(";", " ").split())
    assert {*GAMES, *SOLVERS} <= words


def test_nothing_slow_is_imported_to_play() -> None:
    code = (
        "import sys\nfrom truenorth.cli import app\n"
        "try:\n    app(['games', '--steps', '4', '--json'])\nexcept SystemExit:\n    pass\n"
        f"print([name for name in {SLOW} if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.splitlines()[-1] == "[]"


def test_a_setting_reaches_every_solver_that_has_it() -> None:
    made = {solver.name: solver for solver in solvers_asked("all", {"alpha": 0.05, "mpo.inner_steps": 50})}
    assert all(getattr(solver, "alpha", 0.05) == 0.05 for solver in made.values())
    assert made["mpo"].model_dump()["inner_steps"] == 50
    assert made["comal"].model_dump()["inner_steps"] == 100


def test_settings_of_the_game_and_its_start() -> None:
    game = game_asked("random", {"game.actions": 3, "game.seed": 7, "start": [1, 1, 2], "alpha": 0.1})
    assert game.size == 3
    assert game.start == (1, 1, 2)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--game", "cyclical"], "There is no game 'cyclical'. Did you mean cyclic?"),
        (["--solver", "mpoo"], "There is no solver 'mpoo'. Did you mean mpo?"),
        (["--solver", "mpo,"], "There is no solver ''."),
        (["--solver", "mpo", "--set", "alpa=1"], "alpa is not a setting of mpo. Did you mean alpha?"),
        (["--set", "md.alpha=1"], "alpha is not a setting of md."),
        (["--solver", "md", "--set", "mpo.alpha=1"], "mpo does not play."),
        (["--set", "alpha=-1"], "alpha must lie in"),
        (["--set", "game.actions=3"], "actions is not a setting of Cyclic."),
        (["--set", "start=0.2"], "start takes a number for each action"),
        (["--set", "start=[1,0,1]"], "an action at 0 stays at 0"),
        (["--set", "alpha"], "--set takes NAME=VALUE"),
        (["--solver", "egpo", "--steps", "1"], "egpo takes 2 steps an update"),
        (["--out", "games.png"], "--out takes a file that ends in .html or .svg, got games.png."),
        (["--game", "nothere.csv"], "there is no file nothere.csv."),
    ],
)
def test_what_does_not_fit_is_refused_in_words(args: list[str], said: str) -> None:
    result = run(*args)
    assert result.exit_code == 1, result.output
    assert said in result.stderr.replace("\n", " ")


def test_a_solver_of_ones_own_plays_too() -> None:
    made = solvers_asked("truenorth.games.solvers.mpo:MPO", {"alpha": 0.3})
    assert made[0].model_dump()["alpha"] == 0.3
    with pytest.raises(SettingsError, match="is not a subclass"):
        solvers_asked("truenorth.games:Game", {})

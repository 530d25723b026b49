"""`truenorth games` once its line is read: a game, its solvers, and what they reached as text, JSON or a picture."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from .errors import SettingsError, did_you_mean
from .evaluate.progress import watching
from .flags import split_setting
from .games import SOLVERS, Game, Solver, game_of, solver_class
from .games.tournament import tournament
from .merging import setting_of

ALL = "all"
PICTURES = (".html", ".svg")


def games_command(
    game: str, solver: str, *, steps: int, sets: Sequence[str] = (), out: Path | None = None, as_json: bool = False
) -> None:
    """Play, then print what came of it; with `out` write the page or the picture too."""
    if out is not None and out.suffix not in PICTURES:
        raise SettingsError(f"--out takes a file that ends in {' or '.join(PICTURES)}, got {out}.")
    settings = dict(setting_of(*split_setting(text, "--set")) for text in sets)
    played_on = game_asked(game, settings)
    solvers = solvers_asked(solver, settings)
    with watching(Console(stderr=True)) as watch:
        watch.stage(f"playing {played_on.name}")
        found = tournament(played_on, solvers, steps=steps)
        if out is not None:
            watch.stage("drawing")
            from .evaluate.game_pages import write

            write(found, out)
    if as_json:
        print(json.dumps(found.to_dict(), indent=2))
    else:
        from .evaluate.game_tables import draw

        Console().print(draw(found), highlight=False)
    if out is not None and not as_json:
        print(out)


def game_asked(name: str, settings: Mapping[str, Any]) -> Game:
    """The game with its own settings (`game.seed`, ...) and the `start` that were asked for."""
    own = {key.removeprefix("game."): value for key, value in settings.items() if key.startswith("game.")}
    game = game_of(name, **own)
    if "start" not in settings:
        return game
    start = settings["start"]
    if not (isinstance(start, list) and all(isinstance(share, int | float) for share in start)):
        raise SettingsError(
            f"--set start takes a number for each action, for instance start=[0.2,0.5,0.3], got {start}."
        )
    return Game(game.wins, game.name, game.actions, tuple(start))


def solvers_asked(name: str, settings: Mapping[str, Any]) -> list[Solver]:
    """The solvers of these names, or all; `alpha` sets it in each that has it, `mpo.alpha` in one."""
    names = list(SOLVERS) if name == ALL else [one.strip() for one in name.split(",")]
    fields = {one: set(solver_class(one).model_fields) for one in names}
    given: dict[str, dict[str, object]] = {one: {} for one in names}
    for key, value in settings.items():
        owner, dot, field = key.rpartition(".")
        if key == "start" or owner == "game":
            continue
        takers = [owner] if dot else [one for one in names if field in fields[one]]
        if not takers or takers[0] not in fields or field not in fields[takers[0]]:
            _refuse(key, fields)
        for one in takers:
            given[one][field] = value
    return [solver_class(one)(**given[one]) for one in names]


def _refuse(key: str, fields: Mapping[str, set[str]]) -> None:
    owner, _, field = key.rpartition(".")
    if owner and owner not in fields:
        raise SettingsError(f"--set {key}: {owner} does not play. {', '.join(fields)} do, and `game` has settings.")
    known = sorted(fields[owner]) if owner else sorted(set().union(*fields.values()))
    raise SettingsError(
        f"--set {key}: {field} is not a setting of {owner or ' or '.join(fields)}.{did_you_mean(field, known)} "
        f"There are {', '.join(known)}; `start` is for all, `game.seed` and the like for the game."
    )

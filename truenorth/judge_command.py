"""`truenorth judge` once its line is read: who wins, by a judge, as a table, a page or JSON."""

import json
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

from rich.console import Console

from .errors import SettingsError
from .evaluate.progress import Silent, watching
from .flags import Given, settings_of, split_setting
from .judge import JudgeSettings, judge_of
from .measuring.contest import PAGE, Contest
from .measuring.flags import JUDGE
from .settings import scalar

WIDTH = 120  # columns of the table: a log has room for them


def judge_command(given: Given, *, sets: Sequence[str], as_json: bool) -> None:
    """Print the win rate, and write answers, verdicts and the page to --out."""
    asked = settings_of(given, JUDGE)
    contest = Contest.of(asked, _judge(asked, sets))
    alone = contest.judge.kind == "person"  # who is not to be talked over
    with nullcontext(Silent()) if alone else watching(Console(stderr=True)) as watch:
        from .commands import quiet_libraries

        watch.stage("loading torch")
        quiet_libraries()
        rate, found = contest.run(watch)
    if as_json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
        return
    from .evaluate.win_rate_text import draw

    console = Console(highlight=False)
    console.width = max(console.width, WIDTH)
    console.print(draw(rate, contest.ours.name, contest.theirs.name))
    if contest.out is not None:
        print(contest.out / PAGE)


def _judge(asked: Mapping[str, Any], sets: Sequence[str]) -> JudgeSettings:
    if "judge" not in asked:
        raise SettingsError(
            "judge needs --judge, for instance --judge reward:runs/reward/final, --judge preference:DIR, "
            "--judge chat:http://localhost:8000/v1 --set model=NAME, or --judge package.module:function."
        )
    pairs = (split_setting(text, "--set") for text in sets)
    more = {key.removeprefix("run.judge."): scalar(value) for key, value in pairs}  # as `train` has them
    return judge_of(asked["judge"], **more)

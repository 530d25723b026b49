"""`truenorth judge` once its line is read: who wins, by a judge, on which prompts, and by how much."""

import json
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from rich.console import Console

from .errors import SettingsError
from .evaluate.progress import Silent, watching
from .flags import Given, settings_of, split_setting
from .judge import JudgeSettings, judge_of
from .measuring.asked import folder_of
from .measuring.flags import JUDGE
from .measuring.matches import numbers, play, prompts_of
from .measuring.sides import sides_of
from .online.sampling import Sampling
from .settings import scalar

NUMBERS, PAGE = "win_rate.json", "win_rate.html"
WIDTH = 120  # columns of the table: a log has room for them


def judge_command(given: Given, *, sets: Sequence[str], as_json: bool) -> None:
    """Print the win rate, and write answers, verdicts and the page to --out."""
    asked = settings_of(given, JUDGE)
    judge = _judge(asked, sets)
    folder_of(asked)
    sampling = Sampling(
        **{key.removeprefix("sampling."): v for key, v in asked.items() if key.startswith("sampling.")}
    )
    ours, theirs = sides_of(asked, sampling)
    prompts = prompts_of(asked.get("prompts"), (ours, theirs))
    alone = judge.kind == "person"  # who is not to be talked over
    with nullcontext(Silent()) if alone else watching(Console(stderr=True)) as watch:
        from .commands import quiet_libraries
        from .online.judge import open_judge

        watch.stage("loading the judge")
        quiet_libraries()
        opened = open_judge(judge)  # before any answer is drawn: it may refuse
        played = play(prompts, ours.answered(prompts, watch), theirs.answered(prompts, watch), opened, watch)
        rate = played.rate()
        about = {"model": ours.name, "against": theirs.name, "judge": judge.model_dump(mode="json")}
        about |= {"prompts": len(prompts)}
        found = numbers(rate, about)
        if "out" in asked:
            from .evaluate.win_rate_page import write_page
            from .files import write_json

            watch.stage("writing")
            folder = Path(asked["out"])
            played.write(folder)
            write_json(folder / NUMBERS, found)
            write_page(rate, played.matches, about | {"sampling": sampling.model_dump(mode="json")}, folder / PAGE)
    if as_json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
        return
    from .evaluate.win_rate_text import draw

    console = Console(highlight=False)
    console.width = max(console.width, WIDTH)
    console.print(draw(rate, ours.name, theirs.name))
    if "out" in asked:
        print(f"{asked['out']}/{PAGE}")


def _judge(asked: Mapping[str, Any], sets: Sequence[str]) -> JudgeSettings:
    if "judge" not in asked:
        raise SettingsError(
            "judge needs --judge, for instance --judge reward:runs/reward/final, --judge preference:DIR, "
            "--judge chat:http://localhost:8000/v1 --set model=NAME, or --judge package.module:function."
        )
    pairs = (split_setting(text, "--set") for text in sets)
    more = {key.removeprefix("run.judge."): scalar(value) for key, value in pairs}  # as `train` has them
    found = judge_of(asked["judge"], **more)
    assert found.answers_at_once in (1, 2)  # a function is imported here, and refused where it takes something else
    return found

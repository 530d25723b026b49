"""From two sides and a judge to matches: every answer of one side against every answer of the other."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from ..errors import DataError, SettingsError
from ..evaluate.progress import Watch
from ..evaluate.win_rate import Match, WinRate, match_of, win_rate
from ..files import write_text
from ..judge import Asked, Failed, Judge
from ..online.prompts import read_prompts
from ..online.sampling import Prompt
from .sides import Answers, Given, Side, key_of

VERDICTS = "verdicts.jsonl"
AT_ONCE = 64  # prompts that are judged between two words of how far it is


@dataclass(frozen=True, slots=True)
class Played:
    """All matches, and why other prompts have none."""

    matches: tuple[Match, ...]
    left_out: Mapping[str, int]  # reason -> prompts

    def rate(self) -> WinRate:
        """The win rate. Raises DataError where the judge spoke of no prompt."""
        if not self.matches:
            reasons = "; ".join(f"{count} x {reason}" for reason, count in self.left_out.items())
            raise DataError(f"no prompt was judged: {reasons or 'there are no prompts'}.")
        return win_rate(self.matches, self.left_out)

    def write(self, folder: Path) -> None:
        """A line for each prompt that was judged."""
        rows = (
            {"prompt": m.prompt, "ours": m.ours, "theirs": m.theirs, "wins": m.wins, "win": m.win}
            for m in self.matches
        )
        write_text(folder / VERDICTS, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def prompts_of(file: str | None, sides: Sequence[Side]) -> list[Prompt]:
    """Those of the file, each once, or else all of a side's file. Raises SettingsError where there is neither."""
    if file is not None:
        given = read_prompts(Path(file))
    elif found := [side.prompts for side in sides if isinstance(side, Given)]:
        given = [prompt for prompts in found for prompt in prompts]
    else:
        raise SettingsError("judge needs --prompts FILE where two models answer: the prompts that both get.")
    unique = {key_of(prompt): prompt for prompt in given}
    if not unique:
        raise DataError(f"{file} holds no prompts.")
    return list(unique.values())


def play(prompts: Sequence[Prompt], ours: Answers, theirs: Answers, judge: Judge, watch: Watch) -> Played:
    """Judge every prompt to which both sides have answers."""
    left_out, both = Counter[str](), list[Prompt]()
    for prompt in prompts:
        sides = (key_of(prompt) in ours, key_of(prompt) in theirs)
        if all(sides):
            both.append(prompt)
        else:
            left_out["no answer of ours" if sides[1] else "no answer of theirs" if sides[0] else "no answers"] += 1
    matches = list[Match]()
    for start in range(0, len(both), AT_ONCE):
        watch.stage(f"judging: {start} of {len(both)} prompts")
        for found in _judged(both[start : start + AT_ONCE], ours, theirs, judge):
            if isinstance(found, Failed):
                left_out[found.reason] += 1
            else:
                matches.append(found)
    return Played(tuple(matches), dict(left_out))


def _judged(prompts: Sequence[Prompt], ours: Answers, theirs: Answers, judge: Judge) -> Iterator[Match | Failed]:
    """Two answers at a time, so that a pairwise judge compares no two answers of one side."""
    pairs = [(prompt, [(a, b) for a in ours[key_of(prompt)] for b in theirs[key_of(prompt)]]) for prompt in prompts]
    asked = [(cast(Asked, prompt), pair) for prompt, own in pairs for pair in own]
    verdicts = iter(judge([prompt for prompt, _ in asked], [pair for _, pair in asked]))
    for prompt, own in pairs:
        yield match_of(
            cast(Asked, prompt), ours[key_of(prompt)], theirs[key_of(prompt)], [next(verdicts) for _ in own]
        )


def numbers(rate: WinRate, about: Mapping[str, Any]) -> dict[str, Any]:
    """All that `--json` prints and `win_rate.json` holds."""
    return {**about, **rate.to_dict()}

"""Who wins, by a judge, on which prompts and by how much: what `truenorth judge` and `truenorth.win_rate` do."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import SettingsError
from ..evaluate.progress import Silent, Watch
from ..evaluate.win_rate import WinRate
from ..files import write_json
from ..judge import JudgeSettings, judge_of
from ..online.sampling import Prompt, Sampling
from .asked import folder_of
from .matches import Played, numbers, play, prompts_of
from .sides import Side, sides_of

NUMBERS, PAGE = "win_rate.json", "win_rate.html"


@dataclass(frozen=True, slots=True)
class Contest:
    """Two sides, the prompts that both answer, and who judges: checked, and nothing of it loaded."""

    ours: Side
    theirs: Side
    prompts: list[Prompt]
    judge: JudgeSettings
    sampling: Sampling
    out: Path | None

    @classmethod
    def of(cls, asked: Mapping[str, Any], judge: JudgeSettings) -> "Contest":
        """`asked` has what the flags of `truenorth judge` give, under their paths. Raises as `win_rate` does."""
        judge.check_place()
        out = folder_of(asked)
        name = "sampling."
        sampling = Sampling(**{key.removeprefix(name): v for key, v in asked.items() if key.startswith(name)})
        ours, theirs = sides_of(asked, sampling)
        return cls(ours, theirs, prompts_of(asked.get("prompts"), (ours, theirs)), judge, sampling, out)

    def run(self, watch: Watch) -> tuple[WinRate, dict[str, Any]]:
        """The win rate, and all that `win_rate.json` holds. Writes answers, verdicts and the page to `out`."""
        from ..online.judge import open_judge

        watch.stage("loading the judge")
        judge = open_judge(self.judge)  # before any answer is drawn: it may refuse
        ours, theirs = (side.answered(self.prompts, watch) for side in (self.ours, self.theirs))
        played = play(self.prompts, ours, theirs, judge, watch)
        rate = played.rate()
        about = {"model": self.ours.name, "against": self.theirs.name, "judge": self.judge.model_dump(mode="json")}
        about |= {"prompts": len(self.prompts)}
        if self.out is not None:
            watch.stage("writing")
            self._write(self.out, played, rate, about)
        return rate, numbers(rate, about)

    def _write(self, out: Path, played: Played, rate: WinRate, about: Mapping[str, Any]) -> None:
        from ..evaluate.win_rate_page import write_page

        played.write(out)
        write_json(out / NUMBERS, numbers(rate, about))
        write_page(rate, played.matches, {**about, "sampling": self.sampling.model_dump(mode="json")}, out / PAGE)


def win_rate(
    model: str | Path | None = None,
    *,
    against: str | Path,
    judge: str | JudgeSettings,
    answers: str | Path | None = None,
    prompts: str | Path | None = None,
    out: str | Path | None = None,
    plain: bool = False,
    trust_remote_code: bool = False,
    watch: Watch | None = None,
    **sampling: Any,
) -> WinRate:
    """How often the answers of `model` (or those of the file `answers`) win against those of `against`.

    A model's answers are drawn by the settings of `Sampling` in `sampling`, and kept in the folder `out`; the same
    call goes on with what a kill has left there. Raises SettingsError, ModelError or DataError for what is not there
    or does not fit, before a model is loaded.

    win_rate("runs/exo/final", against="my-sft", judge="reward:runs/rw/final", prompts="prompts.jsonl", out="judged")
    """
    if unknown := sorted(set(sampling) - set(Sampling.model_fields)):
        raise SettingsError(
            f"win_rate has no setting {unknown[0]!r}. Of the answers that are drawn one can set "
            f"{', '.join(Sampling.model_fields)}."
        )
    places = {"model": model, "answers": answers, "against": against, "prompts": prompts, "out": out}
    asked: dict[str, Any] = {name: str(place) for name, place in places.items() if place is not None}
    asked |= {"plain": plain, "trust_remote_code": trust_remote_code}
    asked |= {f"sampling.{name}": value for name, value in sampling.items()}
    found = judge_of(judge) if isinstance(judge, str) else judge
    return Contest.of(asked, found).run(watch or Silent())[0]

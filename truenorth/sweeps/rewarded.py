"""Answers that are rewarded: prompts, a judge, and how answers are drawn, checked before torch is loaded."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field

from ..errors import SettingsError
from ..judge import AnyJudge, by_name
from ..online.prompts import read_prompts
from ..online.sampling import Sampling
from ..settings import Settings, setting

if TYPE_CHECKING:
    from .yardstick import Asked


class Rewarded(Settings):
    """Abstract: prompts that a model answers, and the judge that rewards its answers. Both are there, or neither."""

    prompts: Any = setting(None, "file of prompts, or a list of them, that each model answers", source="ours")
    judge: Annotated[AnyJudge | None, BeforeValidator(by_name)] = setting(
        None, "gives rewards: reward:DIRECTORY, or package.module:function of (prompt, answer)", source="ours"
    )
    sampling: Sampling = Field(default_factory=Sampling, description="how answers are drawn")

    def check_asked(self) -> None:
        """Raise for prompts that cannot be read, or a judge that is not there or gives no rewards."""
        if isinstance(self.prompts, str | Path):
            read_prompts(Path(self.prompts))
        if self.judge is None:
            return
        self.judge.check_place()
        if self.judge.answers_at_once != 1:
            raise SettingsError(
                f"--judge of a merge must give rewards, a number for each answer; {self.judge} compares two answers. "
                "It can compare the merged models afterwards: truenorth judge."
            )

    def asked(self) -> "Asked | None":
        """The prompts with the judge, loaded; None where there are none."""
        from ..online.judge import open_judge
        from .yardstick import Asked

        if self.judge is None:
            return None
        prompts = read_prompts(Path(self.prompts)) if isinstance(self.prompts, str | Path) else self.prompts
        return Asked(prompts, open_judge(self.judge), self.sampling)

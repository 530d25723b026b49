"""By what models are measured, as settings: checked before a model, or torch, is loaded."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import model_validator

from ..data.files import must_exist
from ..data.identity import identity
from ..errors import SettingsError
from ..settings import setting
from .rewarded import Rewarded

if TYPE_CHECKING:
    from .yardstick import Yardstick


class Evaluation(Rewarded):
    """By what models are measured: rewards of a judge, held-out preferences, held-out texts; at least one of them."""

    eval_data: str | None = setting(
        None, "held-out preferences: how often the better answer is likelier", source="ours"
    )
    ability_data: str | None = setting(
        None, "held-out texts or answers that the model knew before: their log-prob per token", source="ours"
    )

    @model_validator(mode="after")
    def _something(self) -> "Evaluation":
        if (self.prompts is None) != (self.judge is None):
            raise SettingsError(
                "a sweep measures rewards by --prompts and a --judge of the answers to them: give both."
            )
        if self.eval_data is None and self.ability_data is None and self.judge is None:
            raise SettingsError(
                "a sweep measures what it merges: by held-out preferences (--eval-data), by held-out texts that the "
                "model knew before (--ability-data), or by a judge of answers (--judge package.module:function and "
                "--prompts). For a trade-off give --ability-data and one of the others."
            )
        return self

    def check(self) -> None:
        """Raise DataError or SettingsError for files, or a judge, that are not there. Imports no torch."""
        for path in (self.eval_data, self.ability_data):
            if path is not None:
                must_exist(path)
        self.check_asked()

    def yardstick(self, model: str) -> "Yardstick":
        """What measures a model, its rows in the tokens of `model`."""
        from .yardstick import yardstick

        return yardstick(model, eval_data=self.eval_data, ability_data=self.ability_data, asked=self.asked())

    def identity(self) -> dict[str, Any]:
        """What must stay as it is while a sweep goes on."""
        data = {name: path and identity(path) for name, path in self if name in ("eval_data", "ability_data")}
        judge = None if self.judge is None else self.judge.model_dump(mode="json")
        prompts = identity(str(self.prompts)) if isinstance(self.prompts, str | Path) else str(self.prompts)
        return data | {"judge": judge, "prompts": prompts, "sampling": str(self.sampling)}

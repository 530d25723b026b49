"""What `truenorth evaluate` is asked, as settings: checked before torch is imported."""

import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import model_validator

from ..data.files import must_exist as rows_must_exist
from ..errors import SettingsError
from ..models.origin import base_of_adapter
from ..models.origin import must_exist as model_must_exist
from ..online.prompts import read_prompts
from ..settings import Settings, setting

BETA = 0.1  # of most methods, where no run beside the model says another one
HEAD = "judge.json"  # what `truenorth train` leaves beside a reward or preference model
NOT_OF_JUDGES = ("prompts", "texts", "facts", "tasks")  # by which such a model is not measured


class Asked(Settings):
    """What is measured of which model, and against which."""

    model: str
    reference: str | None = setting(None, "the model that it is compared with", source="ours")
    data: tuple[str, ...] = setting((), "held-out preferences", source="ours")
    prompts: str | None = setting(None, "file of prompts that are answered for the KL", source="ours")
    texts: str | None = setting(None, "held-out texts", source="ours")
    facts: Literal["world"] | None = setting(None, "questions with one right answer", source="ours")
    tasks: tuple[str, ...] = setting((), "tasks of lm-eval", source="ours")
    beta: float | None = setting(None, "of the implicit reward; none: the run's, else 0.1", source="ours", gt=0)
    subset_column: str = setting("subset", "column by which rows are grouped", source="ours")
    samples: int = setting(128, "prompts that are answered for the KL", source="ours", ge=1)
    max_length: int = setting(4096, "most tokens of a prompt with one answer", source="ours", ge=2)
    max_new_tokens: int = setting(128, "most tokens of an answer that is drawn", source="ours", ge=1)
    seed: int = setting(0, "of the answers that are drawn", source="ours", ge=0)
    trust_remote_code: bool = setting(False, "run the model repository's own Python code", source="ours")

    @model_validator(mode="after")
    def _something(self) -> "Asked":
        if not (self.data or self.texts or self.facts or self.tasks or (self.prompts and self.reference)):
            raise SettingsError(
                "evaluate needs something to measure: held-out preferences (--data), held-out texts (--texts), the "
                "world's facts (--facts world), tasks of lm-eval (--tasks), or prompts and a reference (--prompts "
                "FILE --reference MODEL), by which the KL is estimated."
            )
        if self.prompts and not self.reference:
            raise SettingsError(
                "--prompts are answered to estimate the KL to a reference: give --reference MODEL too."
            )
        return self

    def check(self) -> None:
        """Raise SettingsError, ModelError or DataError for what is not there. Imports no torch."""
        for model in (self.model, self.reference):
            if model is not None:
                model_must_exist(model)
        for path in (*self.data, *([self.texts] if self.texts else [])):
            rows_must_exist(path)
        if self.prompts is not None:
            read_prompts(Path(self.prompts))
        if self.tasks and importlib.util.find_spec("lm_eval") is None:
            raise SettingsError(
                "--tasks needs lm-eval, which is not installed: pip install lm-eval. Or leave --tasks out."
            )
        if self.is_judge and (wrong := [name for name in ("reference", *NOT_OF_JUDGES) if getattr(self, name)]):
            raise SettingsError(
                f"{self.model} is a reward or preference model: it is measured by --data alone, not by "
                f"{', '.join(f'--{name}' for name in wrong)}."
            )

    @property
    def is_judge(self) -> bool:
        """Whether it is a model that scores whole answers. Raises ModelError as `base_of_adapter` does."""
        config = Path(self.model) / "config.json"
        said = json.loads(config.read_text(encoding="utf-8")).get("architectures") or [] if config.is_file() else []
        return (Path(self.model) / HEAD).is_file() or any("ForSequenceClassification" in name for name in said)

    @property
    def kind_of_judge(self) -> Literal["reward", "preference"]:
        """What `truenorth train` says that it is; another's classifier is a reward model."""
        about = Path(self.model) / HEAD
        said = json.loads(about.read_text(encoding="utf-8")).get("kind") if about.is_file() else None
        return "preference" if said == "preference" else "reward"

    @property
    def adapter_base(self) -> str | None:
        return base_of_adapter(self.model)

    def implicit_beta(self) -> tuple[float, str]:
        """Beta, and where it is from: the flag, the run that the model is the end of, or the default."""
        if self.beta is not None:
            return self.beta, "as given"
        beta = self._of_run("recipe", "objective", "beta")
        return (float(beta), "of the run") if isinstance(beta, int | float) else (BETA, "the default")

    @property
    def started_from(self) -> str | None:
        """The model that the run beside the model started from, where there is such a run."""
        start = self._of_run("run", "model")
        return start if isinstance(start, str) else None

    def _of_run(self, *path: str) -> Any:
        """A setting of the run that the model is the end of; None where there is none."""
        file = Path(self.model).parent / "run.yaml"
        found: Any = yaml.safe_load(file.read_text(encoding="utf-8")) if file.is_file() else None
        for name in path:
            found = found.get(name) if isinstance(found, dict) else None
        return found


def folder_of(asked: Mapping[str, Any]) -> Path | None:
    """The folder of --out, if given. Raises SettingsError where a file is in its place."""
    if "out" not in asked:
        return None
    folder = Path(asked["out"])
    if folder.exists() and not folder.is_dir():
        raise SettingsError(f"--out takes a folder, and {folder} is a file. Give another --out.")
    return folder

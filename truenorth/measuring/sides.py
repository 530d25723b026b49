"""The two sides of a match: answers from a file, or from a model that is asked."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from ..data.files import must_exist as rows_must_exist
from ..data.files import read_rows
from ..errors import DataError, SettingsError
from ..evaluate.progress import Watch
from ..models.origin import fingerprint, must_exist
from ..online.answers_file import AnswersFile
from ..online.prompts import as_turn
from ..online.sampling import Prompt, Sampling

ROWS = (".jsonl", ".json", ".csv", ".parquet", ".gz")  # --against names a file, there or not
Answers = dict[str, tuple[str, ...]]  # key of a prompt -> its answers


def key_of(prompt: Prompt) -> str:
    """The same for a text and for a user's message of it."""
    return json.dumps(as_turn(prompt), sort_keys=True, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Given:
    """Answers that stand in a file."""

    name: str
    prompts: tuple[Prompt, ...]
    answers: Answers

    @classmethod
    def read(cls, file: str) -> "Given":
        """Rows with `prompt` (or `messages`) and `responses` or `response`. Rows of one prompt are put together.

        Raises DataError naming the row.
        """
        rows_must_exist(file)
        prompts, answers = dict[str, Prompt](), dict[str, list[str]]()
        for raw in read_rows(file):
            fields = raw.fields or {}
            prompt = fields.get("prompt", fields.get("messages"))
            given = fields.get("responses", fields.get("response"))
            texts = [given] if isinstance(given, str) else given
            if not (isinstance(prompt, str | list) and prompt and isinstance(texts, list) and texts):
                got = raw.fault or f"columns {', '.join(fields)}"
                raise DataError(
                    f"{raw.file}, row {raw.row}: needs `prompt`, and `responses` or `response`, got {got}."
                )
            if not all(isinstance(text, str) for text in texts):
                raise DataError(f"{raw.file}, row {raw.row}: an answer must be text, got {texts!r:.80}.")
            key = key_of(cast(Prompt, prompt))
            prompts.setdefault(key, cast(Prompt, prompt))
            answers.setdefault(key, []).extend(texts)
        if not prompts:
            raise DataError(f"{file} holds no answers.")
        return cls(file, tuple(prompts.values()), {key: tuple(texts) for key, texts in answers.items()})

    def answered(self, prompts: Sequence[Prompt], watch: Watch) -> Answers:
        """Its answers, whatever is asked; some prompts may have none."""
        del prompts, watch
        return self.answers


@dataclass(frozen=True, slots=True)
class Asked:
    """A model whose answers are drawn, and kept in a file that a kill leaves whole."""

    name: str  # the model's path
    file: Path
    sampling: Sampling
    plain: bool
    trust_remote_code: bool

    def answered(self, prompts: Sequence[Prompt], watch: Watch) -> Answers:
        """Its answers to all of `prompts`. Raises SettingsError where `file` holds answers of something else."""
        made: dict[str, Any] = {"model": self.name, "plain": self.plain} | self.sampling.model_dump(mode="json")
        made |= {"weights": fingerprint(self.name)} if Path(self.name).is_dir() else {}
        out = AnswersFile.open(self.file, prompts, made)
        if out.rows:
            watch.said(f"{self.file} has answers to {len(out.rows)} of {len(prompts)} prompts already; they are kept.")
        if len(out.rows) < len(prompts):
            self._draw(prompts, out, watch)
            out.finish()
        return {key_of(prompts[place]): tuple(row["responses"]) for place, row in out.rows.items()}

    def _draw(self, prompts: Sequence[Prompt], out: AnswersFile, watch: Watch) -> None:
        from ..models.load import load_model, load_tokenizer
        from ..online.sampler import Local

        watch.stage(f"loading {self.name}")
        tokenizer = load_tokenizer(self.name, trust_remote_code=self.trust_remote_code)
        chat = bool(tokenizer.chat_template) and not self.plain
        if not tokenizer.chat_template and not all(isinstance(prompt, str) for prompt in prompts):
            raise SettingsError(
                f"{self.name} has no chat template, and some prompts are messages. Give prompts as text, or a "
                "tokenizer with a template."
            )
        put = [as_turn(prompt) if chat else prompt for prompt in prompts]
        model = load_model(self.name, trust_remote_code=self.trust_remote_code)
        for place, responses in Local(model, tokenizer).answers(put, self.sampling, done=list(out.rows)):
            out.append(place, responses)
            watch.stage(f"{self.name} has answered {len(out.rows)} of {len(prompts)} prompts")


Side = Given | Asked


def sides_of(asked: Mapping[str, Any], sampling: Sampling) -> tuple[Side, Side]:
    """Ours and theirs. Loads no model. Raises SettingsError, ModelError or DataError for what is not there."""
    if ("model" in asked) == ("answers" in asked):
        raise SettingsError("judge needs --model MODEL or --answers FILE, one of them: whose answers are judged?")
    if "against" not in asked:
        raise SettingsError("judge needs --against: another model, or a file of answers.")
    ours = _side("model-answers.jsonl", asked["model"], asked, sampling) if "model" in asked else None
    if ours is None:
        ours = Given.read(asked["answers"])
    if Path(asked["against"]).is_file() or Path(asked["against"]).suffix in ROWS:
        return ours, Given.read(asked["against"])
    return ours, _side("against-answers.jsonl", asked["against"], asked, sampling)


def _side(file: str, model: str, asked: Mapping[str, Any], sampling: Sampling) -> Asked:
    must_exist(model)
    if "out" not in asked:
        raise SettingsError("judge needs --out DIR where a model answers: its answers are kept there.")
    return Asked(
        model, Path(asked["out"]) / file, sampling, bool(asked.get("plain")), bool(asked.get("trust_remote_code"))
    )

"""Measure models on the same held-out rows and prompts: what alignment is for, and what the model could do before."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import torch
from transformers import PreTrainedTokenizerBase

from ..data.tokens import TokenizedRows
from ..errors import SettingsError
from ..evaluate.held_out_rows import read_answers, read_texts
from ..evaluate.row_measures import Numbers, likelihoods, ranked
from ..models.load import context_of, load_model, load_tokenizer
from ..models.logprobs import Model
from ..models.policy import Policy, fast_precision
from ..online.prompts import as_turn, read_prompts
from ..online.sampler import generate
from ..online.sampling import Prompt, Sampling
from ..settings import find

Judge = Callable[[Prompt, str], float]  # a prompt and an answer to it -> its reward
LONGEST = 4096  # tokens of a row at most, or the model's context where that is shorter


@dataclass(frozen=True, slots=True)
class Asked:
    """Prompts that a model answers, and the judge of its answers."""

    prompts: Sequence[Prompt]
    judge: Judge
    sampling: Sampling

    @torch.no_grad()
    def rewards(self, model: Model, tokenizer: PreTrainedTokenizerBase) -> list[float]:
        """The mean reward of the answers to each prompt. The same draws decide them whatever the model."""
        shown = [as_turn(prompt) if tokenizer.chat_template else prompt for prompt in self.prompts]
        answers = generate(model, tokenizer, prompts=shown, sampling=self.sampling)
        pairs = zip(self.prompts, answers, strict=True)
        return [fmean(self._reward(prompt, answer.text) for answer in own) for prompt, own in pairs]

    def _reward(self, prompt: Prompt, answer: str) -> float:
        reward = float(self.judge(prompt, answer))
        if not math.isfinite(reward):
            raise SettingsError(f"the judge must give a finite reward, got {reward} for {answer[:60]!r}.")
        return reward


@dataclass(frozen=True, slots=True)
class Yardstick:
    """What is measured of every model; what is None is not."""

    tokenizer: PreTrainedTokenizerBase
    preferences: TokenizedRows | None = None
    texts: TokenizedRows | None = None
    asked: Asked | None = None

    def of(self, path: str) -> Numbers:
        """The model's numbers by measure: `reward` of each prompt, `accuracy` and `margin` of each row with ranked
        answers, `ability` of each text."""
        model, device = load_model(path), torch.device("cuda" if torch.cuda.is_available() else "cpu")
        found: Numbers = {}
        model.to(device)  # pyright: ignore[reportArgumentType]
        if self.asked is not None:
            found["reward"] = self.asked.rewards(model, self.tokenizer)
        # float32 on a processor: neighbours in a sweep differ by little
        policy = Policy.of(model, "float32" if device.type == "cpu" else fast_precision(device))
        found |= ranked(policy, self.preferences) if self.preferences is not None else {}
        return found | (likelihoods(policy, self.texts) if self.texts is not None else {})


def yardstick(
    model: str,
    *,
    eval_data: str | None = None,
    ability_data: str | None = None,
    asked: Asked | None = None,
) -> Yardstick:
    """Read what is measured with, in the tokens of `model`. Raises DataError for rows that cannot be used."""
    tokenizer = load_tokenizer(model)
    longest = longest_of(model)
    rows = None
    if eval_data is not None:
        rows = read_answers(eval_data, tokenizer, answers=(2, None), max_length=longest)
    texts = None if ability_data is None else read_texts(ability_data, tokenizer, max_length=longest)
    return Yardstick(tokenizer, rows, texts, asked)


def longest_of(model: str) -> int:
    """Tokens of a row at most that is measured by."""
    return min(LONGEST, context_of(model) or LONGEST)


def asked_of(judge: str | Judge, prompts: str | Path | Sequence[Prompt], sampling: Sampling) -> Asked:
    """A judge by its import path or as it is, with the prompts of a file or those given."""
    found: Judge = find(judge) if isinstance(judge, str) else judge
    if not callable(found):
        raise SettingsError(f"the judge {judge} is no function: it takes a prompt and an answer, and gives a reward.")
    return Asked(read_prompts(Path(prompts)) if isinstance(prompts, str | Path) else prompts, found, sampling)

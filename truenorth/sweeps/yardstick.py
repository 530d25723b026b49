"""Measure models on the same held-out rows and prompts: what alignment is for, and what the model could do before."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import torch
from transformers import PreTrainedTokenizerBase

from ..data.tokens import TokenizedRows
from ..errors import DataError
from ..evaluate.held_out_rows import read_answers, read_texts
from ..evaluate.row_measures import Numbers, likelihoods, ranked
from ..judge import Failed, Judge, Rewards, Verdict
from ..models.load import context_of, load_model, load_tokenizer
from ..models.logprobs import Model
from ..models.policy import Policy, fine_precision
from ..online.prompts import as_turn
from ..online.sampler import generate
from ..online.sampling import Prompt, Sampling

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
        found = self.judge(self.prompts, [[answer.text for answer in own] for own in answers])  # pyright: ignore[reportArgumentType]
        return [_mean(verdict, prompt) for verdict, prompt in zip(found, self.prompts, strict=True)]


def _mean(verdict: Verdict, prompt: Prompt) -> float:
    """Raises DataError where there is no verdict: the models are compared on the same prompts."""
    if isinstance(verdict, Failed):
        raise DataError(f"the judge gave no reward to an answer to {str(prompt)[:60]!r}: {verdict.reason}.")
    assert isinstance(verdict, Rewards)
    return fmean(verdict.rewards)


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
        policy = Policy.of(model, fine_precision(device))
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
        rows = read_answers(eval_data, tokenizer, answers=(2, None), max_length=longest, given="--eval-data")
    texts = None
    if ability_data is not None:
        texts = read_texts(ability_data, tokenizer, max_length=longest, given="--ability-data")
    return Yardstick(tokenizer, rows, texts, asked)


def longest_of(model: str) -> int:
    """Tokens of a row at most that is measured by."""
    return min(LONGEST, context_of(model) or LONGEST)

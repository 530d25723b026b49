"""Oracle rewards: what a judge makes of a model's own answers to a domain's held-out prompts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from transformers import PreTrainedTokenizerBase

from ..data.prepare import Prepared, prompts_of
from ..errors import DataError
from ..judge import Asked, Failed, Judge, Rewards
from ..online.sampler import generate
from ..online.sampling import Prompt, Sampling
from ..run import shares_of
from .scoring import Scorer
from .sources import Domain


def first_prompts(domain: Domain, held_out: Prepared, most: int) -> list[Asked]:
    """The first `most` different prompts of a domain's held-out rows, as text or messages, as they stand there."""
    found: dict[str, Asked] = {}
    for _, prompt in prompts_of(held_out, shares_of(domain.held_out)):
        if len(found) == most:
            break
        found.setdefault(repr(prompt), prompt)
    return list(found.values())


@dataclass(frozen=True, slots=True)
class Oracle:
    """A judge, and how the answers that it is shown are drawn. The same draws decide them whatever the model."""

    judge: Judge
    sampling: Sampling
    tokenizer: PreTrainedTokenizerBase

    def rewards(self, scorer: Scorer, prompts: Sequence[Asked]) -> list[float]:
        """Of one answer to each prompt; those without a verdict are left out. Raises DataError where none has one."""
        policy, put = scorer.policy, cast(Sequence[Prompt], prompts)
        with torch.no_grad(), policy.attending_natively(), policy.autocast():
            drawn = generate(policy.model, self.tokenizer, prompts=put, sampling=self.sampling)
        verdicts = self.judge(prompts, [[answers[0].text] for answers in drawn])
        found = [verdict.rewards[0] for verdict in verdicts if isinstance(verdict, Rewards)]
        if not found:
            why = next((verdict.reason for verdict in verdicts if isinstance(verdict, Failed)), "it compares answers")
            raise DataError(f"the judge gave no answer a reward: {why}.")
        return found

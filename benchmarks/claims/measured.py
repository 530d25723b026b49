"""What is measured of a policy: its oracle reward, how far it moved from the SFT model, and from the known optimum."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from drawn import LONGEST, SFT, Prompt, Row
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedTokenizerBase

from truenorth import world
from truenorth.data.chat import Encoder
from truenorth.evaluate.preferences import each_held_out
from truenorth.models.load import load_model, load_tokenizer
from truenorth.models.logprobs import Model
from truenorth.models.modes import evaluating
from truenorth.models.score import score
from truenorth.online.sampler import generate
from truenorth.online.sampling import Sampling, encode
from truenorth.session import Session

AT_ONCE = 64  # sequences whose logits are held: 64 x 110 x 1024 x 4 bytes for each of two models
BINS = 8


class Measure:
    """The SFT model, its tokenizer, and the prompts that policies are asked."""

    def __init__(self, prompts: Sequence[Prompt], *, answers: int, seed: int) -> None:
        self.tokenizer: PreTrainedTokenizerBase = load_tokenizer(SFT)
        self.reference = load_model(SFT).eval()
        self.prompts = prompts
        self.sampling = Sampling(max_new_tokens=LONGEST, k=answers, seed=seed)

    def session(self, session: Session) -> dict[str, float]:
        """Measure a session's policy as it is now."""
        with session.policy.attending_natively(), evaluating(session.policy.model):
            return self.policy(session.policy.model)

    def accuracy(self, session: Session) -> dict[str, float]:
        """On the session's held-out pairs: the share that its policy orders as their scores do, and the mean loss."""
        assert session.held_out is not None
        rows, references = session.held_out, session.held_out_references
        with evaluating(session.policy.model):
            found = each_held_out(session.players, rows, references, budget=session.budget)[0]
        loss = found.get("loss/base", found["loss"])
        return {"accuracy": found["rewards/accuracies"], "loss": loss, "pairs": found["count"]}

    def policy(self, model: Model) -> dict[str, float]:
        """Oracle reward and KL(policy || SFT) in nats per answer, each with its standard error over prompts.

        The draws of one prompt and place are the same for every policy, so that differences of policies are surer
        than the errors say.
        """
        drawn = generate(model, self.tokenizer, prompts=self.prompts, sampling=self.sampling)
        encoder = Encoder(self.tokenizer)
        rewards = [
            [world.review_reward(prompt, answer.text) for answer in answers]
            for prompt, answers in zip(self.prompts, drawn, strict=True)
        ]
        asked = [encode(prompt, encoder) for prompt in self.prompts]
        sequences = [(prompt, answer.tokens) for prompt, many in zip(asked, drawn, strict=True) for answer in many]
        kl = answer_kl(model, self.reference, sequences).view(len(drawn), -1)
        return (
            _of("reward", np.array(rewards))
            | _of("kl", kl.numpy())
            | {"tokens_per_answer": float(np.mean([len(answer) for _, answer in sequences]))}
        )


def _of(name: str, values: np.ndarray) -> dict[str, float]:
    """[prompts, answers] -> mean, and its standard error with prompts as the independent draws."""
    means = values.mean(1)
    return {name: float(means.mean()), f"{name}_se": float(means.std(ddof=1) / len(means) ** 0.5)}


@torch.no_grad()
def answer_kl(policy: Model, reference: Model, sequences: Sequence[tuple[Sequence[int], Sequence[int]]]) -> Tensor:
    """[S] nats: of each (prompt, answer drawn from the policy) the KL of the next token, summed over its places.

    Its mean is an unbiased estimate of the KL of whole answers, by the chain rule. The sum over the vocabulary is
    exact, so it varies less than log pi(y) - log ref(y), and it is never below 0.
    """
    parts: list[Tensor] = []
    for start in range(0, len(sequences), AT_ONCE):
        some = sequences[start : start + AT_ONCE]
        rows = pad_sequence([torch.tensor([*prompt, *answer]) for prompt, answer in some], batch_first=True)
        lengths = torch.tensor([[len(prompt), len(prompt) + len(answer)] for prompt, answer in some])
        place = torch.arange(rows.shape[1])
        predicts = (place >= lengths[:, :1] - 1) & (place < lengths[:, 1:] - 1)  # what follows is padding
        logits = [model(input_ids=rows).logits[predicts].double() for model in (policy, reference)]
        ours, theirs = (of_model.log_softmax(-1) for of_model in logits)
        kl = torch.zeros(rows.shape, dtype=torch.float64)
        kl[predicts] = (ours.exp() * (ours - theirs)).sum(-1)
        parts.append(kl.sum(1))
    return torch.cat(parts)


@dataclass(frozen=True, slots=True)
class Optimum:
    """pi*(y|x) = SFT(y|x) exp(reward / temperature) / Z, known through answers that the SFT model drew.

    Z is taken as the same for all prompts: rewards do not depend on the place that a request names.
    """

    rows: Sequence[Row]  # prompts with M answers each, drawn from the SFT model
    log_sft: Tensor  # [prompts, M] nats
    temperature: float  # units of reward: the product of EXO's two

    @property
    def tilt(self) -> Tensor:
        """[prompts, M] nats: log pi* - log SFT, but for log Z."""
        return torch.tensor([row["scores"] for row in self.rows], dtype=torch.float64) / self.temperature

    @property
    def log_z(self) -> float:
        return float(self.tilt.flatten().logsumexp(0)) - math.log(self.tilt.numel())

    def reward(self) -> float:
        return float((self.tilt.flatten().softmax(0) * self.tilt.flatten()).sum() * self.temperature)

    def kl(self) -> float:
        """KL(pi* || SFT) in nats."""
        return self.reward() / self.temperature - self.log_z

    def effective(self) -> float:
        """How many draws from pi* the weighted answers are worth."""
        return float(1 / self.tilt.flatten().softmax(0).square().sum())

    def against(self, log_policy: Tensor, point: dict[str, float]) -> dict[str, object]:
        """How a policy differs from pi*, by the nats of the first prompts' answers under it and what `Measure` found.

        Both KLs, in nats, and the log of its ratio to pi* for the answers of each prompt in rising order of their
        log-prob under pi*, in BINS parts: the mean over answers and prompts. Ratios are of shares among the M answers.
        """
        some = len(log_policy)
        log_sft, tilt = self.log_sft[:some].double(), self.tilt[:some]
        moved = log_policy.double() - log_sft
        log_ratio = (moved - moved.logsumexp(1, True)) - (tilt - tilt.logsumexp(1, True))
        order = (log_sft + tilt).argsort(1)
        bins = log_ratio.gather(1, order).unflatten(1, (BINS, -1)).mean((0, 2))
        weights = tilt.flatten().softmax(0)
        return {
            "reverse_kl": point["kl"] - point["reward"] / self.temperature + self.log_z,  # KL(policy || pi*)
            "forward_kl": float((weights * (tilt - moved).flatten()).sum()) - self.log_z,  # KL(pi* || policy)
            "log_ratio_by_rank": bins.tolist(),
        }


def optimum(rows: Sequence[Row], *, temperature: float) -> Optimum:
    """pi* at this temperature; `rows` are scored once under the SFT model."""
    return Optimum(rows, log_probs(load_model(SFT), rows), temperature)


@torch.no_grad()
def log_probs(model: Model, rows: Sequence[Row]) -> Tensor:
    """[prompts, M] nats of every answer, under a model with its own attention."""
    return score(model, load_tokenizer(SFT), rows).total

"""The narrow waist: all that a method ever sees of models and data.

Shape letters, the same in every file:
    B  prompts in a batch
    K  candidate responses to one prompt, best first ([:, 0] is the chosen one)
    T  tokens of a packed batch        N  response tokens of a packed batch
    S  sequences                       M  responses of a further role
    V  vocabulary                      D  width of the model
Log-probabilities are in nats and float32, whatever the model computes in.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class LogProbs:
    """Log-probabilities of B * K responses under one model."""

    total: Tensor  # [B, K] nats, summed over the response's tokens
    length: Tensor  # [B, K] tokens of the response, at least 1
    degrees: Tensor | None = None  # see `Candidates`; only of a policy that is trained to give them

    @property
    def mean(self) -> Tensor:
        """[B, K] nats per token."""
        return self.total / self.length

    def detach(self) -> "LogProbs":
        return LogProbs(self.total.detach(), self.length)


@dataclass(frozen=True, slots=True)
class Scored:
    """Further responses to the same prompts (demonstrations, samples), scored like the candidates. [B, M]."""

    policy: LogProbs
    references: Mapping[str, LogProbs] = field(default_factory=dict[str, LogProbs])


@dataclass(frozen=True, slots=True)
class TokenLogProbs:
    """Log-probabilities token by token, laid flat over all B * K responses. Only for objectives that read them."""

    owner: Tensor  # [N] int64 in 0..B*K-1, the response that a token belongs to
    policy: Tensor  # [N] nats, carries gradients
    references: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])  # [N] nats each
    kl: Mapping[str, Tensor] = field(
        default_factory=dict[str, Tensor]
    )  # [N] nats, KL(policy || reference) per position


@dataclass(frozen=True, slots=True)
class StepSummary:
    """The whole step, all micro-batches and processes, without gradients. For objectives that couple rows.

    Where nothing is trained, the rows that are measured together stand in for the step: all held-out rows in an
    evaluation, the first micro-batch in the step-0 check. Rows of weight 0 are not among them.
    """

    policy: Tensor  # [B_step, K] nats
    log_ratio: Mapping[str, Tensor]  # [B_step, K] nats for each reference
    columns: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])  # [B_step], `weight` always

    def reference(self, name: str = "initial") -> Tensor:
        """[B_step, K] nats: log pi_ref(y|x)."""
        return self.policy - self.log_ratio[name]

    @property
    def shares(self) -> Tensor:
        """[B_step] what each row counts of the step, by its weight, 1 in all; rows that all weigh nothing count alike.

        >>> StepSummary(Tensor([[-9.0], [-7.0]]), {}, {"weight": Tensor([1.0, 3.0])}).shares
        tensor([0.2500, 0.7500])
        """
        weight = self.columns["weight"]
        weight = torch.where(weight.any(), weight, torch.ones_like(weight))
        return weight / weight.sum()


@dataclass(frozen=True, slots=True)
class Candidates:
    """B prompts with K responses each, best first, after the policy and the references have scored them."""

    policy: LogProbs  # carries gradients
    references: Mapping[str, LogProbs] = field(default_factory=dict[str, LogProbs])  # carry none
    rewards: Tensor | None = None  # [B, K] scores of data or judge, higher is better
    wins: Tensor | None = None  # [B, K, K] P(row beats column), wins + wins^T = 1
    columns: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])  # [B] each: weight, label, margin, ...
    roles: Mapping[str, Scored] = field(default_factory=dict[str, Scored])  # [B, M]: "demonstration", "sample", ...
    tokens: TokenLogProbs | None = None
    degrees: Tensor | None = None  # [B, K, L, L] logits: at which of L levels is version i of a response degraded?
    step: StepSummary | None = None

    def log_ratio(self, reference: str = "initial") -> Tensor:
        """[B, K] nats: log pi(y|x) - log pi_ref(y|x)."""
        return self.policy.total - self.references[reference].total

"""The narrow waist: all that a method ever sees of models and data.

Shape letters, the same in every file:
    B  prompts in a batch
    K  candidate responses to one prompt, best first ([:, 0] is the chosen one)
    T  tokens of a packed batch        N  response tokens of a packed batch
    S  sequences                       M  responses of a further role
    V  vocabulary                      D  width of the model
Log-probabilities are in nats and float32, whatever the model computes in.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor

# What a model gives besides totals, where it is asked for.
Measure = Literal["tokens", "entropy", "collision", "logits"]
Measures = frozenset[Measure]
NOTHING: Measures = frozenset()


@dataclass(frozen=True, slots=True)
class LogProbs:
    """Log-probabilities of B * K responses under one model.

    Entropy and collision are of the next-token distributions p that the response's tokens are drawn from, summed over
    the tokens, and carry no gradients.
    """

    total: Tensor  # [B, K] nats, summed over the response's tokens
    length: Tensor  # [B, K] tokens of the response, at least 1
    tokens: Tensor | None = None  # [N] nats, response after response in the order of `length`
    entropy: Tensor | None = None  # [B, K] sums of -sum_v p_v log p_v as shares of log V; 1 per token is uniform
    collision: Tensor | None = None  # [B, K] nats, sums of -log sum_v p_v^2
    degrees: Tensor | None = None  # see `Candidates`; only of a policy that is trained to give them
    # [n, V] float32 logits of the distributions that the tokens in a slice of N are drawn from, computed when called:
    # for `models.token_kl`. Of a policy they carry gradients.
    logits: Callable[[slice], Tensor] | None = None

    @property
    def mean(self) -> Tensor:
        """[B, K] nats per token."""
        return self.total / self.length

    @property
    def owner(self) -> Tensor:
        """[N] int64 in 0..B*K-1, the response that each of `tokens` belongs to.

        >>> LogProbs(Tensor([[-3.0, -1.0]]), Tensor([[2, 1]]), tokens=Tensor([-1.0, -2.0, -1.0])).owner
        tensor([0, 0, 1])
        """
        assert self.tokens is not None, "an objective that reads tokens says so in its `reads`"
        responses = torch.arange(self.length.numel(), device=self.length.device)
        lengths = self.length.flatten().long()
        return responses.repeat_interleave(lengths, output_size=len(self.tokens))  # a size, or a GPU is waited for

    def sums(self, values: Tensor) -> Tensor:
        """[N] -> [B, K] sums over each response's tokens.

        >>> answers = LogProbs(Tensor([[-3.0, -1.0]]), Tensor([[2, 1]]), tokens=Tensor([-1.0, -2.0, -1.0]))
        >>> answers.sums(Tensor([1, 2, 4]))
        tensor([[3., 4.]])
        """
        return values.new_zeros(self.length.numel()).index_add(0, self.owner, values).view(self.length.shape)

    def sums_to_come(self, values: Tensor) -> Tensor:
        """[N] -> [N] at each token the sum over it and what follows it in its response.

        >>> answers = LogProbs(Tensor([[-3.0, -1.0]]), Tensor([[2, 1]]), tokens=Tensor([-1.0, -2.0, -1.0]))
        >>> answers.sums_to_come(Tensor([1, 2, 4]))
        tensor([3., 2., 4.])
        """
        owner, before = self.owner, values.double().cumsum(0) - values  # float32 would lose what many tokens add up to
        first = torch.zeros_like(self.length.flatten()).long()
        first[1:] = self.length.flatten().long().cumsum(0)[:-1]  # where each response's tokens begin
        return (self.sums(values.double()).flatten()[owner] - (before - before[first][owner])).to(values.dtype)

    def of_responses(self, places: slice) -> "LogProbs":
        """Those of some of each prompt's K responses, but for `logits`, which are of all.

        >>> LogProbs(Tensor([[-3.0, -1.0]]), Tensor([[2, 1]]), tokens=Tensor([-1.0, -2.0, -1.0])).of_responses(
        ...     slice(1, None)
        ... ).tokens
        tensor([-1.])
        """

        def cut(values: Tensor | None) -> Tensor | None:
            return None if values is None else values[:, places]

        tokens = None
        if self.tokens is not None:
            kept = torch.zeros_like(self.length, dtype=torch.bool)
            kept[:, places] = True
            tokens = self.tokens[kept.flatten()[self.owner]]
        entropy, collision, degrees = map(cut, (self.entropy, self.collision, self.degrees))
        return LogProbs(self.total[:, places], self.length[:, places], tokens, entropy, collision, degrees)

    def detach(self) -> "LogProbs":
        tokens = None if self.tokens is None else self.tokens.detach()
        return replace(self, total=self.total.detach(), tokens=tokens, degrees=None)


@dataclass(frozen=True, slots=True)
class Scored:
    """Further responses to the same prompts (demonstrations, samples), scored like the candidates. [B, M]."""

    policy: LogProbs
    references: Mapping[str, LogProbs] = field(default_factory=dict[str, LogProbs])

    def log_ratio(self, reference: str = "initial") -> Tensor:
        """[B, M] nats: log pi(y|x) - log pi_ref(y|x)."""
        return self.policy.total - self.references[reference].total


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
    # [B, K] nats for each reference: sums over a response's tokens of KL(policy || reference) of the whole next-token
    # distributions, with gradients; where an objective reads them.
    token_kl: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])
    degrees: Tensor | None = None  # [B, K, L, L] logits: at which of L levels is version i of a response degraded?
    step: StepSummary | None = None

    def log_ratio(self, reference: str = "initial") -> Tensor:
        """[B, K] nats: log pi(y|x) - log pi_ref(y|x)."""
        return self.policy.total - self.references[reference].total

    def with_sample(self, k: int) -> "Candidates":
        """[B, K + M] scored together -> the first K, which are compared, and the others as the role "sample"."""

        def of(places: slice) -> tuple[LogProbs, Mapping[str, LogProbs]]:
            references = {name: reference.of_responses(places) for name, reference in self.references.items()}
            return self.policy.of_responses(places), references

        policy, references = of(slice(k))
        return replace(
            self,
            policy=policy,
            references=references,
            roles={**self.roles, "sample": Scored(*of(slice(k, None)))},
            token_kl={name: kl[:, :k] for name, kl in self.token_kl.items()},
            degrees=None if self.degrees is None else self.degrees[:, :k],
        )

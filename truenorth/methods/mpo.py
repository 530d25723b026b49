"""Magnetic Preference Optimization: self-play towards the Nash equilibrium, pulled to a magnet that moves at times.

Paper    Wang et al. 2024, arXiv:2410.16714
Read     others, reconstructed: the game, mirror descent with a magnet and the two loops are described by reviewers and
         in later papers; the loss as it is printed, every constant and the authors' code were not to be had
Recipe   ours: rounds over the prompts, four answers each; the magnet takes the policy's place after every second round
Differs  in all that was not read: whether ratios are clipped (here not, unless `clip` is given), alpha and eta, the
         judge. Wins are against the policy's own other answers to the prompt, each left out of its own mean, with
         1/2, their mean, as the baseline.
"""

from typing import ClassVar

import torch
from torch import Tensor

from ..models.references import Moving
from ..optim.update import AdamW
from ..recipe import Objective, Recipe
from ..schedule import Rounds
from ..settings import setting
from ..types import Candidates

LOG_RATIO_AT_MOST = 20.0  # nats, per token: e^20 is no ratio that an estimate could rest on, and more overflows


class _SelfPlay(Objective):
    """Abstract: what both variants share."""

    references: ClassVar = ("magnet", "round")
    candidates: ClassVar = (2, None)
    invariances: ClassVar = frozenset({"permuted_rejected"})

    alpha: float = setting(0.05, "weight of the KL to the magnet, in wins per nat", source="ours", gt=0)
    inverse_eta: float = setting(0.1, "1/eta, of the KL to the round's policy, in wins per nat", source="ours", ge=0)
    clip: float | None = setting(None, "ratios are kept within 1 - clip and 1 + clip; none: all", source="ours", gt=0)

    def implicit_rewards(self, candidates: Candidates) -> Tensor:
        return self.alpha * candidates.log_ratio("magnet")

    def initial_loss(self, candidates: Candidates) -> Tensor:
        return -(self_play_advantage(candidates) * candidates.policy.length).mean(-1)

    def surrogate(self, candidates: Candidates, advantages: Tensor) -> Tensor:
        """[B] -1/K sum over answers and tokens of ratio * advantage; `advantages` is [N], held constant."""
        policy, start = candidates.policy, candidates.references["round"]
        assert policy.tokens is not None
        assert start.tokens is not None
        ratio = (policy.tokens - start.tokens).clamp(max=LOG_RATIO_AT_MOST).exp()
        gain = ratio * advantages
        if self.clip is not None:
            gain = torch.minimum(gain, ratio.clamp(1 - self.clip, 1 + self.clip) * advantages)
        return -policy.sums(gain).mean(-1)


class MPO(_SelfPlay):
    """MPO: the KL to the magnet stands in the loss.

    Loss     1/K sum_i sum_t [ -ratio_it A_i  +  alpha KL(pi || pi_magnet)  +  1/eta KL(pi || pi_round) ],  KLs of
             whole next-token distributions where token t was drawn,  ratio = pi / pi_round of token t,
             A_i = mean over j != i of P(y_i > y_j)  -  1/2.
             On drawn answers the gradient of these KLs is not that of the KL of whole answers: what a token does to
             later ones is left out. mpo_rt has it.
    """

    kind: ClassVar[str] = "mpo"
    reads: ClassVar = frozenset({"wins", "tokens", "token_kl"})

    def __call__(self, candidates: Candidates) -> Tensor:
        advantages = self_play_advantage(candidates).flatten()[candidates.policy.owner]
        kl = self.alpha * candidates.token_kl["magnet"] + self.inverse_eta * candidates.token_kl["round"]
        return self.surrogate(candidates, advantages) + kl.mean(-1)


class MPORT(_SelfPlay):
    """MPO-RT, reward transformation: the KL to the magnet is part of the reward.

    Loss     1/K sum_i sum_t [ -ratio_it A_it  +  1/eta KL(pi || pi_round) ],
             A_it = A_i of mpo  -  alpha sum_{u >= t} log( pi_round / pi_magnet ) of token u.
             At the round's start its gradient is that of wins less alpha times the KL of whole answers, exactly.
    """

    kind: ClassVar[str] = "mpo_rt"
    reads: ClassVar = frozenset({"wins", "tokens", "token_kl"})

    def __call__(self, candidates: Candidates) -> Tensor:
        policy, start, magnet = candidates.policy, candidates.references["round"], candidates.references["magnet"]
        assert start.tokens is not None
        assert magnet.tokens is not None
        cost = self.alpha * policy.sums_to_come(start.tokens - magnet.tokens)
        advantages = self_play_advantage(candidates).flatten()[policy.owner] - cost
        return self.surrogate(candidates, advantages) + self.inverse_eta * candidates.token_kl["round"].mean(-1)


def self_play_advantage(candidates: Candidates) -> Tensor:
    """[B, K] each answer's mean win against the prompt's others, less 1/2. Its mean over the answers is 0."""
    assert candidates.wins is not None
    k = candidates.wins.shape[-1]
    return (candidates.wins.sum(-1) - 0.5) / (k - 1) - 0.5  # 0.5: the answer against itself


def recipe(*, learning_rate: float = 1e-6, **settings: float) -> Recipe:
    """MPO; `settings` are those of `MPO`."""
    return _recipe(MPO(**settings), learning_rate)


def rt_recipe(*, learning_rate: float = 1e-6, **settings: float) -> Recipe:
    """MPO with reward transformation; `settings` are those of `MPORT`."""
    return _recipe(MPORT(**settings), learning_rate)


def _recipe(objective: MPO | MPORT, learning_rate: float) -> Recipe:
    return Recipe(
        method=objective.kind,
        objective=objective,
        references={
            "magnet": Moving(every=2, unit="rounds", share=1),
            "round": Moving(every=1, unit="rounds", share=1),
        },
        update=AdamW(learning_rate=learning_rate, warmup_share=0.05, decay="constant"),
        schedule=Rounds(rounds=8, k=4),
    )

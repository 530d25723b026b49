"""MPO and its variant on a language model whose answers can all be counted: what their gradients are, and are not."""

import pytest
import torch

from tests.toy_lm import ANSWERS, candidates, distribution, expected_gradient, kl, logits, scored, token_kl
from truenorth.contrasts import leave_one_out
from truenorth.errors import SettingsError
from truenorth.methods import recipe
from truenorth.methods.mpo import MPO, MPORT, self_play_advantage
from truenorth.methods.rloo import RLOO
from truenorth.models.references import Cached
from truenorth.types import Candidates, LogProbs

POLICY, MAGNET = logits(1), logits(2)


def cyclic(seed=3):
    """[8, 8] P(row beats column) of a random game without a best answer."""
    draw = torch.randn(len(ANSWERS), len(ANSWERS), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.sigmoid(draw - draw.T)


def loss_of(objective, *, start=POLICY, magnet=MAGNET, wins=None):
    wins = cyclic() if wins is None else wins

    def loss(model, answers):
        places = [ANSWERS.index(answer) for answer in answers]
        return objective(
            candidates(model, answers, {"magnet": magnet, "round": start}, wins=wins[places][:, places][None])
        )

    return loss


def gradient_of_the_game(model, alpha):
    """Of -P(pi beats the model) + alpha KL(pi || magnet) at pi = model."""
    leaf = model.clone().requires_grad_()
    against = cyclic() @ distribution(model).exp()
    goal = (distribution(leaf).exp() * against).sum() - alpha * kl(leaf, MAGNET)
    return torch.autograd.grad(-goal, leaf)[0]


def one(policy, start, magnet, wins, token_kl):
    """One prompt with answers of one token each."""
    lengths = torch.ones(1, len(policy), dtype=torch.float64)
    made = [
        LogProbs(torch.tensor([part], dtype=torch.float64), lengths, torch.tensor(part, dtype=torch.float64))
        for part in (policy, start, magnet)
    ]
    kl = {name: torch.tensor([value], dtype=torch.float64) for name, value in token_kl.items()}
    return Candidates(
        made[0], {"round": made[1], "magnet": made[2]}, wins=torch.tensor([wins], dtype=torch.float64), token_kl=kl
    )


def test_values_by_hand():
    # advantages +-0.3; ratios e^0.5 and e^-0.5; KLs 0.2 + 0.4 and 0.1 + 0.1 over two answers
    drawn = one(
        (-1.0, -2.0), (-1.5, -1.5), (-1.0, -3.0), ((0.5, 0.8), (0.2, 0.5)), {"magnet": (0.2, 0.4), "round": (0.1, 0.1)}
    )
    gain = 0.3 * (torch.tensor(0.5).exp() - torch.tensor(-0.5).exp()) / 2
    assert MPO(alpha=0.5, inverse_eta=2.0)(drawn).item() == pytest.approx(-float(gain) + 0.5 * 0.3 + 2 * 0.1)
    # mpo_rt: advantages 0.3 - 0.5 * (-1.5 + 1.0) = 0.55 and -0.3 - 0.5 * (-1.5 + 3.0) = -1.05
    gain = (0.55 * torch.tensor(0.5).exp() - 1.05 * torch.tensor(-0.5).exp()) / 2
    assert MPORT(alpha=0.5, inverse_eta=2.0)(drawn).item() == pytest.approx(-float(gain) + 2 * 0.1)


def test_advantages_add_up_to_nothing_and_are_rloos_but_for_a_factor():
    wins = cyclic()[None]
    advantage = self_play_advantage(Candidates(scored(POLICY, ANSWERS), wins=wins))
    assert advantage.sum().abs() < 1e-15
    k = len(ANSWERS)
    torch.testing.assert_close(leave_one_out(advantage), advantage * k / (k - 1), rtol=0, atol=1e-15)


def test_without_kl_the_gradient_at_the_rounds_start_is_rloos_of_the_win_rates():
    # K answers' centred win rates, times (K - 1) / K for the other baseline
    k = 3
    answers = ANSWERS[1 : 1 + k]
    wins = cyclic()[1 : 1 + k, 1 : 1 + k][None]
    rates = (wins.sum(-1) - 0.5) / (k - 1)
    leaf = POLICY.clone().requires_grad_()
    references = {"magnet": POLICY, "round": POLICY}
    ours = MPO(inverse_eta=0.0)(candidates(leaf, answers, references, wins=wins))
    theirs = RLOO(beta=0.0)(candidates(leaf, answers, {"initial": POLICY}, rewards=rates))
    (a,), (b,) = torch.autograd.grad(ours.sum(), leaf), torch.autograd.grad(theirs.sum(), leaf)
    torch.testing.assert_close(a, b * (k - 1) / k, rtol=0, atol=1e-15)


@pytest.mark.parametrize("k", [2, 3])
def test_reward_transformation_has_the_exact_gradient_of_the_regularised_game(k):
    found = expected_gradient(POLICY, loss_of(MPORT(alpha=0.4, inverse_eta=0.7)), k)
    torch.testing.assert_close(found, gradient_of_the_game(POLICY, 0.4), rtol=0, atol=1e-14)


def test_the_token_kl_on_drawn_answers_has_another_gradient():
    found = expected_gradient(POLICY, loss_of(MPO(alpha=0.4)))
    exact = gradient_of_the_game(POLICY, 0.4)
    assert (found - exact).norm() > 0.1 * exact.norm()
    plain = expected_gradient(POLICY, loss_of(MPO(alpha=1e-9)))  # what differs is the KL's part alone
    torch.testing.assert_close(plain, gradient_of_the_game(POLICY, 1e-9), rtol=0, atol=1e-8)


def test_token_kls_add_up_to_the_kl_of_answers():
    chances = distribution(POLICY).exp()
    sequential = (chances * token_kl(POLICY, MAGNET, ANSWERS)[0]).sum()
    torch.testing.assert_close(sequential, kl(POLICY, MAGNET), rtol=0, atol=1e-14)


def test_the_pull_to_the_rounds_policy_is_nothing_at_its_start():
    with_pull, without = (loss_of(MPO(inverse_eta=pull)) for pull in (5.0, 0.0))
    leaf = POLICY.clone().requires_grad_()
    (a,) = torch.autograd.grad(with_pull(leaf, ANSWERS[:3]).sum(), leaf)
    (b,) = torch.autograd.grad(without(leaf, ANSWERS[:3]).sum(), leaf)
    torch.testing.assert_close(a, b, rtol=0, atol=1e-15)


def test_both_variants_part_after_the_rounds_start():
    # The sampled log-ratio of mpo_rt is that of the start, the KL of mpo is the policy's.
    moved = POLICY + 0.1 * logits(5)
    losses = [loss_of(objective(alpha=0.4, inverse_eta=0.0)) for objective in (MPO, MPORT)]
    at_start, later = ([expected_gradient(model, loss) for loss in losses] for model in (POLICY, moved))
    assert (later[0] - later[1]).norm() > 0
    assert not torch.allclose(later[0] - later[1], at_start[0] - at_start[1])


def test_a_clipped_ratio_gains_nothing_beyond_the_clip():
    drawn = one(
        (-0.1, -2.0), (-1.5, -1.5), (-1.0, -3.0), ((0.5, 0.8), (0.2, 0.5)), {"magnet": (0.0, 0.0), "round": (0.0, 0.0)}
    )
    tokens = drawn.policy.tokens.requires_grad_()
    MPO(clip=0.2)(drawn).sum().backward()
    assert tokens.grad[0] == 0  # it won and is likelier by more than 1.2 times already
    assert tokens.grad[1] == 0  # it lost and is rarer than 0.8 times
    assert MPO(clip=0.2)(drawn).item() == pytest.approx(-(1.2 * 0.3 - 0.8 * 0.3) / 2)


def test_what_it_compares_is_there_only_while_it_trains():
    with pytest.raises(SettingsError, match="the reference magnet is cached"):
        recipe("mpo").replace(references={"magnet": Cached(), "round": Cached()})
    assert recipe("mpo").references["round"].unit == "rounds"

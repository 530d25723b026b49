"""Nash-MD on a language model whose answers can all be counted, and as the step of its solver on a table."""

import numpy as np
import pytest
import torch
from torch.nn.functional import log_softmax

from tests.scored import scored
from tests.toy_lm import ANSWERS, LENGTH, candidates, distribution, expected_gradient, kl, logits, state
from truenorth.errors import SettingsError
from truenorth.games import Game
from truenorth.games.policies import geometric, normalised
from truenorth.games.solvers.nash_md import NashMD as Solver
from truenorth.games.solvers.solver import State
from truenorth.methods import recipe
from truenorth.methods.mpo import MPO
from truenorth.methods.nash_md import NashMD
from truenorth.methods.rloo import RLOO

POLICY, REFERENCE = logits(1), logits(2)


def game(actions=2**LENGTH, seed=3):
    """[A, A] P(row beats column) of a random game without a best answer."""
    draw = torch.randn(actions, actions, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    wins = torch.sigmoid(draw - draw.T)
    return (wins + 1 - wins.T) / 2  # adds up to 1 to the bit


def opponent(share):
    """[8] nats of answers whose every token is drawn from the mixture."""
    mixed = log_softmax((1 - share) * log_softmax(POLICY, -1) + share * log_softmax(REFERENCE, -1), -1)
    return torch.stack([sum(mixed[state(a[:t]), a[t]] for t in range(LENGTH)) for a in ANSWERS])


def test_a_value_by_hand():
    # log-ratios 2 and -1: advantages 0.8 - 0.5 - 0.1 * 2 = 0.1 and 0.3 - 0.5 + 0.1 * 1 = -0.1
    loss = NashMD(tau=0.1)(scored([(-10.0, -20.0)], [(-12.0, -19.0)], rewards=[(0.8, 0.3)]))
    assert loss.item() == pytest.approx(-(0.1 * -10 - 0.1 * -20) / 2)


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("k", [2, 3])
def test_its_gradient_is_that_of_winning_against_the_mixture_less_the_kl(share, k):
    tau, rates = 0.3, game() @ opponent(share).exp()

    def loss(model, answers):
        places = [ANSWERS.index(answer) for answer in answers]
        return NashMD(tau=tau)(candidates(model, answers, {"initial": REFERENCE}, rewards=rates[places][None]))

    leaf = POLICY.clone().requires_grad_()
    goal = (distribution(leaf).exp() * rates).sum() - tau * kl(leaf, REFERENCE)
    (exact,) = torch.autograd.grad(-goal, leaf)
    torch.testing.assert_close(expected_gradient(POLICY, loss, k), exact, rtol=0, atol=1e-14)


def gradient(objective, answers, **given):
    leaf = POLICY.clone().requires_grad_()
    references = dict.fromkeys(objective.references, POLICY)  # at the round's start, where mpo's KLs pull nowhere
    return torch.autograd.grad(objective(candidates(leaf, answers, references, **given)).sum(), leaf)[0]


def test_against_itself_its_gradient_is_the_self_play_gradient():
    # share 0: the opponents are further answers of the policy, here each other's
    answers, wins = ANSWERS[1:3], game()[1:3, 1:3][None]
    rates = (wins.sum(-1) - 0.5) / (len(answers) - 1)
    ours = gradient(NashMD(tau=0.0), answers, rewards=rates)
    assert torch.equal(ours, gradient(RLOO(beta=0.0), answers, rewards=rates) / 2)  # rloo's is k / (k - 1) times it
    torch.testing.assert_close(ours, gradient(MPO(inverse_eta=0.0), answers, wins=wins), rtol=0, atol=1e-16)


def test_a_mixture_at_each_token_is_not_the_mixture_of_answers():
    for share in (0.0, 1.0):
        whole = log_softmax((1 - share) * distribution(POLICY) + share * distribution(REFERENCE), 0)
        torch.testing.assert_close(opponent(share), whole, rtol=0, atol=1e-14)
    whole = log_softmax(0.75 * distribution(POLICY) + 0.25 * distribution(REFERENCE), 0)
    assert torch.logsumexp(opponent(0.25), 0).abs() < 1e-14
    assert (opponent(0.25).exp() - whole.exp()).abs().sum() > 0.01


def test_with_answers_of_one_token_mirror_descent_along_it_is_the_solvers_step():
    actions, tau, eta = 4, 0.2, 0.7
    draw = np.random.default_rng(0)
    policy, magnet = (normalised(draw.normal(size=actions)) for _ in range(2))
    wins = game(actions)
    mixture = geometric(policy, magnet, eta * tau)  # the theory's share of the reference
    rates = torch.from_numpy(wins.numpy() @ np.exp(mixture))
    total = torch.from_numpy(policy)[None].requires_grad_()
    NashMD(tau=tau)(scored(total, torch.from_numpy(magnet)[None], rewards=rates[None])).sum().backward()
    advantages = -actions * total.grad[0].numpy()
    step = Solver(alpha=tau, eta=eta).update(Game(wins.numpy()), State(policy, magnet))
    np.testing.assert_allclose(normalised(policy + eta * advantages), step.log_policy, rtol=0, atol=1e-14)


def test_it_plays_rounds_alone():
    with pytest.raises(SettingsError, match="Give the recipe a `schedule`"):
        recipe("nash_md").replace(schedule=None)
    assert recipe("nash_md", reference_share=0.5, opponents=3).objective.opponent.answers == 3

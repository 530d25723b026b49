"""What is estimated on drawn answers, against what it is of a model whose answers can all be counted."""

import itertools

import numpy as np
import pytest
import torch

from tests.toy_lm import ANSWERS, STATES, VOCABULARY, distribution, kl, logits
from truenorth.games import game_of, implied_exploitability, regularised_equilibrium
from truenorth.online.distances import distances
from truenorth.online.distances import implied_exploitability as estimated

MAGNET, ALPHA = logits(2), 0.3
DRAWN = 4**3  # answers of which each has its exact share


def quarters(seed: int) -> torch.Tensor:
    """A model whose every token has the probability 1/4 or 3/4, so that those of answers are multiples of 1/64."""
    high = torch.randint(VOCABULARY, (STATES,), generator=torch.Generator().manual_seed(seed))
    shares = torch.full((STATES, VOCABULARY), 0.25, dtype=torch.float64)
    return shares.scatter(1, high[:, None], 0.75).log()


POLICY = quarters(1)


def all_drawn(policy: torch.Tensor) -> torch.Tensor:
    """[64] places of answers, each as often as the policy draws it."""
    counts = (DRAWN * distribution(policy).exp()).round().long()
    assert int(counts.sum()) == DRAWN
    return torch.repeat_interleave(torch.arange(len(ANSWERS)), counts)


def test_over_all_answers_the_estimates_are_the_exact_values() -> None:
    log_ratio = (distribution(POLICY) - distribution(MAGNET))[all_drawn(POLICY)]
    found = distances({"magnet": log_ratio[None]}, alpha=ALPHA)
    exact = implied_exploitability(distribution(POLICY).numpy(), distribution(MAGNET).numpy(), ALPHA)
    assert found["kl/magnet"] == pytest.approx(float(kl(POLICY, MAGNET)), rel=1e-12)
    assert found["exploitability"] == pytest.approx(exact, rel=1e-12)


def test_of_few_answers_the_mean_estimate_is_below_the_exact_value() -> None:
    log_ratio, chance = distribution(POLICY) - distribution(MAGNET), distribution(POLICY).exp()
    exact = implied_exploitability(distribution(POLICY).numpy(), distribution(MAGNET).numpy(), ALPHA)
    means = []
    for k in (1, 2, 4):
        draws = torch.tensor(list(itertools.product(range(len(ANSWERS)), repeat=k)))
        means.append(float((chance[draws].prod(1) * estimated(log_ratio[draws], ALPHA)).sum()))
    assert means[0] == pytest.approx(0, abs=1e-12)  # one answer is its own best
    assert means == sorted(means)
    assert means[1] > 0.01
    assert means[-1] < exact


def test_where_the_policy_is_its_magnet_both_are_zero() -> None:
    at_the_magnet = (distribution(POLICY) - distribution(POLICY))[all_drawn(POLICY)][None]
    assert distances({"magnet": at_the_magnet}, alpha=ALPHA) == {"kl/magnet": 0, "exploitability": 0}


def test_at_the_regularised_equilibrium_the_estimate_is_what_the_game_says() -> None:
    game = game_of("random", actions=len(ANSWERS), seed=3)
    magnet = distribution(MAGNET).numpy()
    policy = regularised_equilibrium(game, magnet, ALPHA)
    counts = np.round(1e7 * np.exp(policy)).astype(int)  # shares are exact to 1e-7
    log_ratio = torch.from_numpy(np.repeat(policy - magnet, counts))
    assert float(estimated(log_ratio, ALPHA)) == pytest.approx(game.exploitability(np.exp(policy)), abs=1e-5)
    assert game.exploitability(np.exp(policy)) > 0.01


def test_without_a_weight_or_a_magnet_there_is_a_kl_alone() -> None:
    log_ratio = torch.tensor([[1.0, 0.0]])
    assert distances({"magnet": log_ratio}, alpha=None) == {"kl/magnet": 0.5}
    assert distances({"initial": log_ratio}, alpha=ALPHA) == {"kl/initial": 0.5}

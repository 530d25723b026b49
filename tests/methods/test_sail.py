"""SAIL by hand, its reductions, and its gradient on a language model whose answers can all be counted."""

import math
from dataclasses import replace

import pytest
import torch
from torch.nn.functional import logsigmoid

from tests.scored import scored
from tests.toy_lm import ANSWERS, candidates, distribution, expected_gradient, logits
from truenorth.errors import SettingsError
from truenorth.methods import recipe
from truenorth.methods.dpo import DPO
from truenorth.methods.sail import SAIL

POLICY, INITIAL, BETA = logits(1), logits(2), 0.7
PAIRS = scored([[-6.0, -5.0], [-8.0, -9.5]], [[-6.5, -4.0], [-7.0, -9.0]])
WHICH = ("ddp", "dpp", "dpr")


def marked(found, own, label_draw):
    dtype = torch.float64
    columns = {"own": torch.tensor(own, dtype=dtype), "label_draw": torch.tensor(label_draw, dtype=dtype)}
    return replace(found, columns=columns)


def test_values_by_hand():
    # margins 0.15 and -0.05 at beta 0.1; chances of the data's label sigmoid(0.15) = 0.537 and sigmoid(-0.05) = 0.488
    kept, flipped = marked(PAIRS, [1, 1], [0.53, 0.48]), marked(PAIRS, [1, 1], [0.54, 0.49])
    log_kept, log_flipped = (logsigmoid(torch.tensor(m, dtype=torch.float64)) for m in ([0.15, -0.05], [-0.15, 0.05]))
    loss = SAIL(gradient=0.2)
    torch.testing.assert_close(loss(kept), -log_kept - 0.1 * log_kept**2)
    torch.testing.assert_close(loss(flipped), -log_flipped - 0.1 * log_flipped**2)


@pytest.mark.parametrize("which", WHICH)
def test_on_the_datas_own_rows_it_is_dpo_to_the_bit(which):
    loss = SAIL(which=which, beta=0.3)
    assert torch.equal(loss(marked(PAIRS, [0, 0], [0.99, 0.99])), DPO(beta=0.3)(PAIRS))
    assert torch.equal(loss(PAIRS), DPO(beta=0.3)(PAIRS))


@pytest.mark.parametrize("which", WHICH)
def test_without_the_gradient_through_data_it_is_dpo_on_the_changed_data(which):
    found = SAIL(which=which, beta=0.3, gradient=0.0)(marked(PAIRS, [1, 1], [0.99, 0.99]))
    flipped = scored(PAIRS.policy.total.flip(1), PAIRS.references["initial"].total.flip(1))
    torch.testing.assert_close(found, DPO(beta=0.3)(PAIRS if which == "dpr" else flipped), rtol=1e-14, atol=0)


def test_labels_of_the_policy_are_in_the_mean_cross_entropy_with_its_own_chance():
    draws = (torch.arange(4000, dtype=torch.float64) + 0.5) / 4000
    many = scored([[-6.0, -5.0]] * 4000, [[-6.5, -1.0]] * 4000)
    found = SAIL(beta=0.3, gradient=0.0)(marked(many, [1.0] * 4000, draws.tolist())).mean()
    margin = torch.tensor(0.3 * 4.5, dtype=torch.float64)
    chance = torch.sigmoid(margin)
    expected = -chance * logsigmoid(margin) - (1 - chance) * logsigmoid(-margin)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)  # as near as 4000 draws come


def objective_of(which, prefers):
    """Minus J(model): the mean over answers that the model draws, and labels, of log sigmoid(m)."""

    def minus_j(model):
        chance, ratio = distribution(model).exp(), distribution(model) - distribution(INITIAL)
        margin = BETA * (ratio[:, None] - ratio[None, :])  # of i over j
        label = torch.sigmoid(margin) if which == "dpp" else prefers
        pairs = chance[:, None] * chance[None, :]
        return -2 * (pairs * label * logsigmoid(margin)).sum()  # j over i brings as much as i over j

    return minus_j


def prefers():
    draw = torch.randn(len(ANSWERS), len(ANSWERS), generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    return torch.sigmoid(draw - draw.T)


def mean_loss(which, sampling_term="exact"):
    """The loss of two answers in the mean over their label."""
    loss, likes = SAIL(which=which, beta=BETA, gradient=1.0, sampling_term=sampling_term), prefers()

    def of(model, answers):
        found = candidates(model, answers, {"initial": INITIAL})
        i, j = (ANSWERS.index(answer) for answer in answers)
        if which == "dpr":  # the judge's better one comes first
            other = candidates(model, answers[::-1], {"initial": INITIAL})
            first, second = (loss(marked(one, [1.0], [0.0])) for one in (found, other))
            return likes[i, j] * first + likes[j, i] * second
        chance = torch.sigmoid(BETA * (found.log_ratio()[:, 0] - found.log_ratio()[:, 1])).detach()
        first, second = (loss(marked(found, [1.0], [draw])) for draw in (0.0, 1.0))  # kept for sure, and flipped
        return chance * first + (1 - chance) * second

    return of


@pytest.mark.parametrize("which", ["dpp", "dpr"])
def test_the_gradient_is_that_of_the_objective_exactly(which):
    found = expected_gradient(POLICY, mean_loss(which))
    leaf = POLICY.clone().requires_grad_()
    (exact,) = torch.autograd.grad(objective_of(which, prefers())(leaf), leaf)
    torch.testing.assert_close(found, exact, rtol=0, atol=1e-14)


@pytest.mark.parametrize("which", ["dpp", "dpr"])
def test_the_released_codes_sampling_term_points_elsewhere(which):
    # What differs between the two is the sampling term alone: the rest is the gradient without it.
    exact, released = (expected_gradient(POLICY, mean_loss(which, term)) for term in ("exact", "released"))
    rest = expected_gradient(POLICY, without_sampling(which))
    assert torch.cosine_similarity((exact - rest).flatten(), (released - rest).flatten(), dim=0) < 0


def without_sampling(which):
    """`mean_loss` with what ties it to the draws taken away: a pair of the data has it not."""

    def of(model, answers):
        found = candidates(model, answers, {"initial": INITIAL})
        i, j = (ANSWERS.index(answer) for answer in answers)
        margin = BETA * (found.log_ratio()[:, 0] - found.log_ratio()[:, 1])
        chance = torch.sigmoid(margin).detach() if which == "dpp" else prefers()[i, j]
        labelled = 0.5 if which == "dpp" else 0.0
        first, second = (-logsigmoid(m) - labelled * logsigmoid(m) ** 2 for m in (margin, -margin))
        return chance * first + (1 - chance) * second

    return of


def test_a_share_of_nothing_asks_no_judge():
    made = recipe("sail", which="dpr")
    assert made.asks_a_judge
    assert not made.replace(objective=made.objective.replace(share=0.0)).asks_a_judge
    assert not recipe("sail", which="dpp").asks_a_judge


def test_redrawn_pairs_need_two_answers():
    made = recipe("sail", which="dpp")
    with pytest.raises(SettingsError, match=r"two answers to a prompt, got schedule\.compared=rows and --k 3"):
        made.replace(schedule=made.schedule.replace(k=3))


def test_the_start_is_log_two_less_what_the_label_brings():
    start = marked(scored([[-6.0, -5.0]], [[-6.0, -5.0]]), [1.0], [0.3])
    assert SAIL(gradient=0.5).initial_loss(start).item() == pytest.approx(math.log(2) - 0.25 * math.log(2) ** 2)
    torch.testing.assert_close(SAIL(gradient=0.5)(start), SAIL(gradient=0.5).initial_loss(start))

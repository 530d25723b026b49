"""UPO's loss by hand, and as cDPO, MMPO and iterative DPO; which pairs it takes is tested with `online.selecting`."""

import dataclasses
import math

import pytest
import torch

from tests.scored import scored
from truenorth.errors import SettingsError
from truenorth.methods import recipe
from truenorth.methods.upo import UPO


def pairs(uncertainty=None, **more):
    found = scored([(-10.0, -20.0), (-7.0, -3.0)], [(-12.0, -19.0), (-7.5, -3.5)], **more)
    columns = {} if uncertainty is None else {"uncertainty": torch.tensor(uncertainty, dtype=torch.float64)}
    return dataclasses.replace(found, references={"round": found.references["initial"]}, columns=columns)


def test_a_value_by_hand():
    # margins 0.3 and 0; alpha 0.1 and 0.25; -10 and -7 nats over one token each, or as many as there are
    drawn = pairs([0.2, 0.5])
    sigmoid = 1 / (1 + math.exp(-0.3))
    nll = -0.2 * drawn.policy.mean[:, 0]
    first = -0.9 * math.log(sigmoid) - 0.1 * math.log(1 - sigmoid) + float(nll[0])
    found = UPO(beta=0.1, nll=0.2)(drawn)
    assert found.tolist() == pytest.approx([first, math.log(2) + float(nll[1])])


def test_without_alpha_and_likelihood_it_is_iterative_dpo():
    drawn = pairs([0.3, 0.9])
    dpo = recipe("dpo", beta=0.1).objective
    as_dpo = dataclasses.replace(drawn, references={"initial": drawn.references["round"]})
    assert torch.equal(UPO(beta=0.1, nll=0.0, alpha_share=0.0)(drawn), dpo(as_dpo))
    assert torch.equal(UPO(beta=0.1, nll=0.0)(pairs([0.0, 0.0])), dpo(as_dpo))  # an estimator that is sure
    assert torch.equal(UPO(beta=0.1, nll=0.0)(pairs()), dpo(as_dpo))  # held-out rows
    assert recipe("upo").references["round"].unit == "rounds"


def test_one_alpha_for_all_is_cdpo_and_mmpo_with_its_target():
    drawn = pairs([0.4, 0.4])
    as_dpo = dataclasses.replace(drawn, references={"initial": drawn.references["round"]})
    ours = UPO(beta=0.1, nll=0.0)(drawn)
    torch.testing.assert_close(ours, recipe("dpo", beta=0.1, label_smoothing=0.2).objective(as_dpo))
    margin = math.log(0.8 / 0.2)  # sigmoid(gamma * margin) = 0.8
    rewards = torch.tensor([[margin, 0.0]] * 2, dtype=torch.float64)
    mmpo = recipe("mmpo", beta=0.1, gamma=1.0).objective
    torch.testing.assert_close(ours, mmpo(dataclasses.replace(as_dpo, rewards=rewards)))


def test_alpha_never_turns_a_label_round():
    # as printed, alpha = 1 / (P + 1) with P adding up to 1 over the data, it would be near 1
    total = torch.tensor([[-9.0, -9.0]], dtype=torch.float64, requires_grad=True)
    for uncertainty in (0.0, 0.5, 0.99, 1.0):
        drawn = scored(total, total.detach())
        drawn = dataclasses.replace(
            drawn,
            references={"round": drawn.references["initial"]},
            columns={"uncertainty": torch.tensor([uncertainty])},
        )
        (gradient,) = torch.autograd.grad(UPO(nll=0.0)(drawn).sum(), total)
        assert gradient[0, 0] <= 0 <= gradient[0, 1]


def test_the_likelihood_is_held_up():
    total = torch.tensor([[-9.0, -9.0]], dtype=torch.float64, requires_grad=True)
    found = scored(total, total.detach())
    found = dataclasses.replace(found, references={"round": found.references["initial"]})
    gradients = [torch.autograd.grad(UPO(nll=nll)(found).sum(), total)[0][0, 0] for nll in (0.0, 0.5)]
    assert gradients[1] < gradients[0]


def test_it_needs_rounds_of_drawn_pairs():
    made = recipe("upo")
    with pytest.raises(SettingsError, match="Give the recipe a `schedule`"):
        made.replace(schedule=None)
    with pytest.raises(SettingsError, match=r"needs schedule\.compared=drawn, got both"):
        made.replace(schedule=made.schedule.replace(compared="both", k=1))

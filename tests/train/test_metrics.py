import pytest
import torch

from tests.scored import scored
from truenorth.methods.dpo import DPO
from truenorth.methods.exo import EXOReward
from truenorth.methods.sft import SFT
from truenorth.train.metrics import Metrics, per_prompt


def test_rewards_are_the_objectives_own() -> None:
    metrics = per_prompt(scored([[-1.0, -4.0]], [[-2.0, -2.0]]), torch.zeros(1), DPO(beta=0.5))
    assert metrics["rewards/chosen"].tolist() == [0.5]
    assert metrics["rewards/rejected"].tolist() == [-1.0]
    assert metrics["rewards/margins"].tolist() == [1.5]
    assert metrics["kl/initial"].tolist() == [-0.5]


@pytest.mark.parametrize(("chosen", "accuracy"), [(-1.0, 1.0), (-2.0, 0.5), (-3.0, 0.0)])
def test_a_tie_is_half_a_win(chosen: float, accuracy: float) -> None:
    metrics = per_prompt(scored([[chosen, -2.0]]), torch.zeros(1), DPO())
    assert metrics["rewards/accuracies"].tolist() == [accuracy]


def test_accuracy_over_k_is_the_share_of_worse_responses_that_the_best_beats() -> None:
    candidates = scored([[-3.0, -1.0, -4.0, -2.0]], rewards=[[1.0, 1.0, 0.5, 0.0]])
    metrics = per_prompt(candidates, torch.zeros(1), EXOReward())
    assert metrics["rewards/accuracies"].tolist() == [0.5]  # beats the third, not the fourth; the second is as good


def test_a_method_of_single_responses_has_no_pair_metrics() -> None:
    metrics = per_prompt(scored([[-3.0]]), torch.zeros(1), SFT())
    assert not {"rewards/margins", "rewards/accuracies", "logps/rejected"} & set(metrics)


def test_micro_batches_give_the_mean_over_all_prompts() -> None:
    metrics = Metrics()
    metrics.add(scored([[-1.0, -4.0], [-2.0, -2.0]]), torch.tensor([1.0, 2.0]), DPO())
    metrics.add(scored([[-1.0, -4.0]]), torch.tensor([6.0]), DPO())
    assert metrics.means()["loss"] == 3.0

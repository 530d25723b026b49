from dataclasses import replace

import pytest
import torch

from tests.scored import scored
from truenorth.methods.aihf import AIHF
from truenorth.methods.dpo import DPO
from truenorth.methods.exo import EXOReward
from truenorth.methods.kto import KTO
from truenorth.methods.sft import SFT
from truenorth.train.metrics import Metrics, per_prompt, to_host
from truenorth.types import Candidates


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


def labelled(policy: list[float], labels: list[float], weights: list[float] | None = None) -> Candidates:
    columns = {"label": labels} | ({} if weights is None else {"weight": weights})
    return scored([[total] for total in policy], columns=columns)


def test_good_answers_are_the_chosen_and_bad_ones_the_rejected_over_all_micro_batches() -> None:
    metrics = Metrics()
    metrics.add(labelled([-1.0, -4.0], [1, 0], weights=[1.0, 2.0]), torch.tensor([1.0, 2.0]), KTO(beta=0.5))
    metrics.add(labelled([-3.0], [1], weights=[3.0]), torch.tensor([4.0]), KTO(beta=0.5))
    means = metrics.means()
    assert means["logps/chosen"] == pytest.approx((1 * -1.0 + 3 * -3.0) / 4)
    assert means["logps/rejected"] == -4.0
    assert means["rewards/margins"] == pytest.approx(0.5 * (-2.5 + 4.0))
    assert means["loss"] == pytest.approx((1 * 1.0 + 2 * 2.0 + 3 * 4.0) / 6)


def test_a_label_that_no_row_has_has_no_metrics() -> None:
    metrics = Metrics()
    metrics.add(labelled([-1.0, -4.0], [1, 1]), torch.tensor([1.0, 2.0]), KTO())
    assert metrics.means()["logps/chosen"] == -2.5
    assert not {"logps/rejected", "rewards/rejected", "lengths/rejected", "rewards/margins"} & set(metrics.means())


def weighted(policy: list[list[float]], weights: list[float]) -> Candidates:
    return replace(scored(policy), columns={"weight": torch.tensor(weights)})


def test_weight_zero_is_leaving_the_row_out_of_every_metric() -> None:
    policy, losses = [[-1.0, -4.0], [-9.0, -2.0], [-3.0, -3.5]], torch.tensor([1.0, 50.0, 2.0])
    weightless, without = Metrics(), Metrics()
    weightless.add(weighted(policy, [1.0, 0.0, 1.0]), losses, DPO())
    without.add(scored([policy[0], policy[2]]), losses[[0, 2]], DPO())
    assert weightless.means() == without.means()
    assert (weightless.prompts, weightless.trials) == (without.prompts, without.trials) == (2, 2.0)


def test_weight_two_is_having_the_row_twice_in_every_metric() -> None:
    policy, losses = [[-1.0, -4.0], [-9.0, -2.0]], torch.tensor([1.0, 50.0])
    double, twice = Metrics(), Metrics()
    double.add(weighted(policy, [2.0, 1.0]), losses, DPO())
    twice.add(scored([policy[0], *policy]), losses[[0, 0, 1]], DPO())
    assert double.means() == pytest.approx(twice.means(), rel=1e-7)  # float32 lengths


def test_uneven_weights_are_less_sure_than_as_many_rows_of_one() -> None:
    metrics = Metrics()
    metrics.add(weighted([[-1.0, -4.0]] * 2, [3.0, 1.0]), torch.ones(2), DPO())
    assert metrics.trials == 1.6  # (3 + 1)^2 / (9 + 1)


def test_rows_that_all_weigh_nothing_have_a_loss_of_zero_as_in_the_step() -> None:
    metrics = Metrics()
    metrics.add(weighted([[-1.0, -4.0]], [0.0]), torch.ones(1), DPO())
    assert (metrics.means()["loss"], metrics.prompts, metrics.trials) == (0.0, 0, 0.0)


PAIR, DEMONSTRATION = scored([[-1.0, -4.0]], length=[[2, 5]]), scored([[-30.0]], length=[[9]])


def test_demonstrations_beside_pairs_have_metrics_of_their_own_and_leave_those_of_pairs_alone() -> None:
    metrics, objective = Metrics(), AIHF(beta=0.5)
    metrics.add(PAIR, torch.tensor([1.0]), objective)
    alone = metrics.means()
    metrics.add(DEMONSTRATION, torch.tensor([4.0]), objective)
    means = metrics.means()
    assert means.pop("loss") == 2.5
    assert means.pop("kl/initial") == -16.25
    told = {
        f"{name}/demonstrations": value for name, value in (("rewards", -15.0), ("logps", -30.0), ("lengths", 9.0))
    }
    assert means == {name: value for name, value in alone.items() if name not in ("loss", "kl/initial")} | told


def test_the_accuracy_is_as_sure_as_there_are_pairs_and_not_demonstrations() -> None:
    metrics, objective = Metrics(), AIHF()
    for candidates in (PAIR, DEMONSTRATION, PAIR, DEMONSTRATION, DEMONSTRATION):
        metrics.add(candidates, torch.tensor([1.0]), objective)
    assert (metrics.trials, metrics.prompts) == (2.0, 5)


def test_metrics_of_demonstrations_go_through_one_copy_to_the_host() -> None:
    metrics, objective = Metrics(), AIHF()
    metrics.add(PAIR, torch.tensor([1.0]), objective)
    metrics.add(DEMONSTRATION, torch.tensor([1.0]), objective)
    before = metrics.means()
    to_host([metrics], [])
    assert metrics.means() == pytest.approx(before, rel=1e-6)

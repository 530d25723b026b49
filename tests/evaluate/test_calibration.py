"""How sure a judge is against how often it is right, by hand and in the report."""

from dataclasses import replace

import pytest
import torch

from tests.scored import scored
from truenorth.evaluate.calibration import PairsOfJudge, reliability
from truenorth.methods.dpo import DPO
from truenorth.methods.preference import Preference
from truenorth.methods.reward import Reward
from truenorth.processes import ALONE
from truenorth.recipe import Objective
from truenorth.types import Candidates


def measures(*batches: Candidates, objective: Objective | None = None) -> dict[str, float]:
    pairs = PairsOfJudge()
    for candidates in batches:
        pairs.add(candidates, objective or Reward())
    return pairs.measures(ALONE)


def margins(*values: float, **more: object) -> Candidates:
    return scored([[value, 0.0] for value in values], **more)  # pyright: ignore[reportArgumentType]


def logit(p: float) -> float:
    return float(torch.logit(torch.tensor(p, dtype=torch.float64)))


def test_calibration_by_hand():
    # Three pairs at 80 %, two of them right, and one at 60 %, right: bins 6 and 2 of ten.
    found = measures(margins(logit(0.8), logit(0.8), logit(0.2), logit(0.6)))
    assert found["judge/accuracies"] == pytest.approx(0.75)
    assert found["judge/confidence"] == pytest.approx((3 * 0.8 + 0.6) / 4, abs=1e-6)
    assert found["judge/calibration_error"] == pytest.approx(0.75 * (0.8 - 2 / 3) + 0.25 * 0.4, abs=1e-6)
    assert sorted(name.split("/")[1] for name in found if name.endswith("/share")) == ["2", "6"]


def test_a_judge_that_is_right_as_often_as_it_says_has_no_error():
    found = measures(margins(*[logit(0.75)] * 3, logit(0.25)))
    assert found["judge/calibration_error"] == pytest.approx(0, abs=1e-6)


def test_how_the_rows_are_split_changes_nothing():
    parts = [margins(1.0, -0.3), margins(2.0), margins(0.1)]
    assert measures(*parts) == pytest.approx(measures(margins(1.0, -0.3, 2.0, 0.1)))


def test_weight_counts_and_weight_zero_is_leaving_out():
    weighed = measures(margins(1.0, -0.3, -2.0, columns={"weight": [2.0, 1.0, 0.0]}))
    assert weighed == pytest.approx(measures(margins(1.0, 1.0, -0.3)))


def test_a_prompt_counts_the_same_whatever_its_number_of_answers_and_ties_do_not_count():
    three = scored([[2.0, 1.0, 0.0]], rewards=[[0.9, 0.5, 0.5]])  # two pairs that the data tell apart, both right
    found = measures(three, margins(-1.0))
    assert found["judge/accuracies"] == pytest.approx(0.5)


def test_a_preference_model_is_measured_by_the_mean_of_its_orders():
    found = measures(scored([[logit(0.9), logit(0.5)]]), objective=Preference())
    assert found["judge/confidence"] == pytest.approx(0.5 * (0.9 + 0.5), abs=1e-6)


def test_a_policy_is_no_judge():
    assert measures(margins(1.0), objective=DPO()) == {}


def test_the_picture_is_of_the_last_evaluation():
    records = [{"step": n, "split": "eval"} | measures(margins(*m)) for n, m in ((1, (0.1, 0.2)), (2, (3.0, -1.0)))]
    drawn = reliability([*records, {"step": 3, "split": "train", "loss": 0.1}])
    assert drawn is not None
    assert [round(sure, 3) for sure, _, _ in drawn.bins] == [0.731, 0.953]
    assert drawn.label == "Reliability: right in 0 % where 73 % sure; 100 % where 95 % sure."
    assert drawn.svg().startswith("<svg")


def test_a_run_that_trains_no_judge_has_no_picture():
    assert reliability([{"step": 1, "split": "eval", "loss": 0.1}]) is None


def test_a_batch_is_left_as_it_is():
    candidates = margins(1.0, 2.0)
    before = replace(candidates, policy=replace(candidates.policy, total=candidates.policy.total.clone()))
    measures(candidates)
    assert torch.equal(candidates.policy.total, before.policy.total)

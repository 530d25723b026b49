"""What the claims are measured with: frontiers, the KL of answers, and the optimum that is known."""

import math
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

CLAIMS = Path(__file__).parents[2] / "benchmarks" / "claims"
sys.path.insert(0, str(CLAIMS))
try:
    from drawn import SFT, cut, pairs
    from frontier import hull, reward_at
    from measured import Optimum, answer_kl
finally:
    sys.path.remove(str(CLAIMS))

from truenorth.models.load import load_model  # noqa: E402

places = st.lists(st.tuples(st.floats(0, 10), st.floats(-1, 1)), min_size=1, max_size=12)


@pytest.fixture(scope="module")
def models() -> list[torch.nn.Module]:
    """The SFT model and one that differs from it."""
    torch.manual_seed(0)
    first, second = load_model(SFT).eval(), load_model(SFT).eval()
    with torch.no_grad():
        for parameter in second.parameters():
            parameter.add_(0.1 * parameter.std() * torch.randn_like(parameter))
    return [first, second]


@given(places)
def test_no_place_lies_above_the_hull(found: list[tuple[float, float]]) -> None:
    assert all(reward_at(found, kl) >= reward - 1e-9 for kl, reward in found)


@given(places)
def test_the_hull_rises_ever_more_slowly(found: list[tuple[float, float]]) -> None:
    ends = hull(found)
    assert set(ends) <= set(found)
    assert all(left[0] < right[0] and left[1] < right[1] for left, right in pairwise(ends))
    for first, middle, last in zip(ends, ends[1:], ends[2:], strict=False):
        below = (middle[1] - first[1]) * (last[0] - first[0]) - (last[1] - first[1]) * (middle[0] - first[0])
        assert below > 0


def test_the_kl_of_an_answer_of_one_token_is_the_sum_over_the_vocabulary(models: list[torch.nn.Module]) -> None:
    policy, reference = models
    prompt = [1, 7, 9, 11]
    with torch.no_grad():
        p, q = (m(input_ids=torch.tensor([prompt])).logits[0, -1].double().log_softmax(0) for m in models)
    expected = float((p.exp() * (p - q)).sum())
    assert expected > 1e-3
    # float32 forwards of another width and padding
    assert answer_kl(policy, reference, [(prompt, [5])]).item() == pytest.approx(expected, abs=1e-5)


def test_the_kl_of_a_longer_answer_adds_the_kl_at_each_of_its_places(models: list[torch.nn.Module]) -> None:
    """Answers of two tokens: the KL of the first, and of the second after each first."""
    policy, reference = models
    prompt = [1, 7, 9]
    with torch.no_grad():
        p, q = (m(input_ids=torch.tensor([prompt])).logits[0, -1].double().log_softmax(0) for m in models)
    likely = p.topk(40).indices
    rest = answer_kl(policy, reference, [(prompt, [int(t), 5]) for t in likely])
    first = float((p.exp() * (p - q)).sum())
    rows = torch.tensor([[*prompt, int(t)] for t in likely])
    with torch.no_grad():
        p2, q2 = (m(input_ids=rows).logits[:, -1].double().log_softmax(-1) for m in models)
    second = (p2.exp() * (p2 - q2)).sum(-1)
    torch.testing.assert_close(rest, first + second, atol=1e-5, rtol=0)


def test_answers_of_other_lengths_beside_it_do_not_change_a_kl(models: list[torch.nn.Module]) -> None:
    policy, reference = models
    one, other = ([1, 7, 9], [5, 6]), ([1, 7, 9, 10, 11], [5, 6, 7, 8])
    alone = answer_kl(policy, reference, [one])
    assert answer_kl(policy, reference, [one, other])[0].item() == pytest.approx(alone.item(), abs=1e-5)


def _known(temperature: float) -> Optimum:
    rows = [{"scores": [0.5, -0.5, 1.0, 0.0] * 4}, {"scores": [0.0, 0.25, -1.0, 0.75] * 4}]
    log_sft = torch.linspace(-30, -10, 32).view(2, 16)
    return Optimum(rows, log_sft, temperature)


def test_the_optimum_itself_has_no_distance_from_the_optimum() -> None:
    known = _known(0.5)
    itself = known.log_sft.double() + known.tilt - known.log_z
    found = known.against(itself, {"kl": known.kl(), "reward": known.reward()})
    assert found["reverse_kl"] == pytest.approx(0, abs=1e-6)
    assert found["forward_kl"] == pytest.approx(0, abs=1e-6)
    assert found["log_ratio_by_rank"] == pytest.approx([0] * 8, abs=1e-6)


def test_the_sft_model_is_as_far_from_the_optimum_as_theory_says() -> None:
    known = _known(0.5)
    scores = known.tilt.flatten() * 0.5
    start = {"kl": 0.0, "reward": float(scores.mean())}
    found = known.against(known.log_sft, start)
    assert found["forward_kl"] == pytest.approx(known.kl(), abs=1e-6)  # KL(pi*, SFT)
    assert found["reverse_kl"] == pytest.approx(known.log_z - float(scores.mean()) / 0.5, abs=1e-6)


def test_a_hot_optimum_is_the_sft_model_and_a_cold_one_the_best_answers() -> None:
    assert _known(1e4).kl() == pytest.approx(0, abs=1e-6)
    assert _known(1e-3).reward() == pytest.approx(1.0)
    assert _known(1e-3).kl() == pytest.approx(math.log(8), abs=1e-6)  # 4 of 32 answers have the reward 1


def test_rows_that_prefer_nothing_are_cut() -> None:
    row = {"prompt": "p", "responses": ["a", "b", "c", "c"], "scores": [0.1, 0.1, 0.5, 0.5]}
    assert cut([row], 2) == []
    assert len(cut([row], 3)) == 1
    assert cut([row], 4) == []
    assert pairs([row | {"scores": [0.1, 0.2, 0.5, 0.4]}]) == [
        {"prompt": "p", "responses": ["a", "b"], "scores": [0.1, 0.2]}
    ]

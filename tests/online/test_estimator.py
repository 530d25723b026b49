"""An estimator with dropout says other things each time, the same by its seed; without it, one thing."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForSequenceClassification

from tests.tiny import tiny_directory
from truenorth import world
from truenorth.errors import ModelError
from truenorth.judge import Rewards
from truenorth.models.answer_scores import AnswerScores
from truenorth.online.estimator import chances, check_estimator
from truenorth.online.round_file import RoundRow
from truenorth.online.selecting import information_gain
from truenorth.selection import BeatsOwn, Informative

ROWS = [
    RoundRow.judged(
        Rewards((1.0, 0.0)), prompt="What of it?", responses=(f"All {n}.", f"Nothing {n} of that."), place=n
    )
    for n in range(4)
]


def judge(*, dropout: float, kind: str = "preference") -> AnswerScores:
    tokenizer = AutoTokenizer.from_pretrained(world.sft_model())
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        attention_dropout=dropout,
        num_labels=1,
        pad_token_id=0,
        initializer_range=0.5,
    )
    model = LlamaForSequenceClassification(config).eval().requires_grad_(False)
    return AnswerScores(model, tokenizer, {"kind": kind})


@pytest.mark.parametrize("kind", ["preference", "reward"])
def test_with_dropout_the_runs_differ_and_a_seed_gives_the_same_ones(kind: str) -> None:
    scores = judge(dropout=0.5, kind=kind)
    before = torch.random.get_rng_state()
    first, again, other = (chances(ROWS, scores, runs=5, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)  # the run's own draws go on as they would have
    assert not scores.model.training
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert information_gain(first).max() > 0
    assert ((first > 0) & (first < 1)).all()


def test_without_dropout_or_with_one_run_nothing_is_learnt() -> None:
    assert not information_gain(chances(ROWS, judge(dropout=0.0), runs=5, seed=1)).any()
    assert not information_gain(chances(ROWS, judge(dropout=0.5), runs=1, seed=1)).any()


@pytest.mark.parametrize("kind", ["preference", "reward"])
def test_the_other_order_has_the_rest_of_the_chance(kind: str) -> None:
    turned = [
        RoundRow.judged(Rewards((0.0, 1.0)), prompt=r.prompt, responses=r.responses[::-1], place=0) for r in ROWS
    ]
    scores = judge(dropout=0.0, kind=kind)
    found, other = chances(ROWS, scores, runs=1, seed=0), chances(turned, scores, runs=1, seed=0)
    np.testing.assert_allclose(found + other, 1.0, rtol=0, atol=1e-6)


def test_an_estimator_that_cannot_serve_is_refused_before_it_is_loaded(tmp_path: Path) -> None:
    check_estimator(None)
    check_estimator(BeatsOwn())
    with pytest.raises(ModelError, match="an estimator must be given"):
        check_estimator(Informative(None, 10, 1.0, 1.0, 1.0))
    folder = tiny_directory(tmp_path / "model")
    asked = Informative(str(folder), 10, 1.0, 1.0, 1.0)
    with pytest.raises(ModelError, match="was not written by `truenorth train`"):
        check_estimator(asked)
    (folder / "judge.json").write_text(json.dumps({"kind": "preference"}))
    with pytest.raises(ModelError, match="has no dropout: asked 10 times"):
        check_estimator(asked)
    check_estimator(Informative(str(folder), 1, 1.0, 1.0, 1.0))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"attention_dropout": 0.1}))
    check_estimator(asked)

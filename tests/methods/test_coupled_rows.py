"""Objectives that couple the rows of a step: real steps of a tiny model, split in every way, give one result."""

from dataclasses import replace

import pytest
import torch

from tests.tiny import rows_of, tiny_model
from truenorth.data.packing import pack
from truenorth.methods import METHODS, recipe
from truenorth.models.policy import Policy
from truenorth.train.first_step import check_first_step
from truenorth.train.step import Player, train_step

NAMES = [name for name in METHODS if recipe(name).objective.scope == "step"]
NAMES += ["kto + 0.5*bco", "dpo + 0.3*aot"]  # a sum couples rows where a part does
LABELS = [1.0, 0.0, 0.0, 1.0, 0.0]
each_name = pytest.mark.parametrize("name", NAMES)


def player(name):
    policy = Policy.of(tiny_model("llama").requires_grad_(True), "float32")
    named = dict(policy.model.named_parameters())
    return Player(policy.log_probs, recipe(name).objective, torch.optim.SGD(named.values(), lr=1.0), named, None)


def rows_for(name):
    responses = recipe(name).objective.candidates[0]
    shapes = [(6, (5, 3)), (4, (7, 2)), (9, (4, 4)), (3, (2, 6)), (5, (3, 8))]
    rows = rows_of([(prompt, lengths[:responses]) for prompt, lengths in shapes])
    return [replace(row, columns={"label": label}) for row, label in zip(rows, LABELS, strict=True)]


def batch_of(rows, places, weights=None):
    batch = pack([rows[i] for i in places], list(places))
    return batch if weights is None else replace(batch, columns={**batch.columns, "weight": torch.tensor(weights)})


def moved_by(name, *batches):
    """By how much a step over `batches` moves each weight."""
    learner, reference = player(name), Policy.of(tiny_model("llama", seed=1), "float32")
    before = torch.cat([p.detach().flatten() for p in learner.parameters])
    train_step([learner], batches, {"initial": torch.no_grad()(reference.log_probs)})
    return torch.cat([p.detach().flatten() for p in learner.parameters]) - before


def assert_same_move(ours, theirs):
    assert theirs.abs().max() > 1e-3  # there was a gradient to compare
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6 * float(theirs.abs().max() + 1))  # float32 sums


@each_name
@pytest.mark.parametrize("split", [[[0], [1], [2], [3], [4]], [[0, 3], [4, 1, 2]], [[4, 3, 2, 1, 0]]])
def test_splitting_a_step_changes_nothing(name, split):
    rows = rows_for(name)
    parts = moved_by(name, *[batch_of(rows, places) for places in split])
    assert_same_move(parts, moved_by(name, batch_of(rows, [0, 1, 2, 3, 4])))


@each_name
def test_weight_zero_is_leaving_the_row_out(name):
    rows = rows_for(name)
    weightless = moved_by(name, batch_of(rows, [0, 1], [1.0, 0.0]), batch_of(rows, [2, 3, 4], [1.0, 0.0, 1.0]))
    assert_same_move(weightless, moved_by(name, batch_of(rows, [0, 2, 4])))


@each_name
def test_weight_two_is_having_the_row_twice(name):
    rows = rows_for(name)
    weighted = moved_by(name, batch_of(rows, [0, 1, 2], [1.0, 2.0, 1.0]))
    assert_same_move(weighted, moved_by(name, batch_of(rows, [0, 1]), batch_of(rows, [1, 2])))


@each_name
def test_a_step_whose_rows_weigh_nothing_changes_nothing(name):
    assert moved_by(name, batch_of(rows_for(name), [0, 1], [0.0, 0.0])).abs().max() == 0


@each_name
def test_the_first_step_is_what_theory_says(name):
    reference = Policy.of(tiny_model("llama"), "float32")
    batch = batch_of(rows_for(name), [0, 1, 2, 3, 4])
    found = check_first_step(player(name), batch, {"initial": reference.log_probs}, precision="float32")
    assert found.measured == pytest.approx(found.expected, abs=1e-5)

"""Real steps of a tiny model with every method: however a step is split, and whatever weighs nothing, one result."""

from dataclasses import replace
from functools import cache, partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.drawn import sizes
from tests.tiny import rows_of, tiny_model
from truenorth.data.packing import pack
from truenorth.judge import Rewards
from truenorth.methods import METHODS, recipe
from truenorth.models.policy import Policy
from truenorth.train.first_step import check_first_step
from truenorth.train.step import Player, train_step

HEADLESS = [name for name in METHODS if recipe(name).objective.degree_head is None]  # heads have tests of their own
COUPLED = [name for name in HEADLESS if recipe(name).objective.scope == "step"]
COUPLED += ["kto + 0.5*bco", "dpo + 0.3*aot"]  # a sum couples rows where a part does
SHAPES = [(6, (5, 3, 6, 2)), (4, (7, 2, 3, 3)), (9, (4, 4, 1, 5)), (3, (2, 6, 4, 3)), (5, (3, 8, 2, 1))]
LABELS = [1.0, 0.0, 0.0, 1.0, 0.0]
ALL = range(len(SHAPES))
LARGE = 1e5  # learning rate, so that the rounding of weights does not count
each_name = pytest.mark.parametrize("name", HEADLESS)
each_coupled = pytest.mark.parametrize("name", COUPLED)


@cache
def start():
    return tiny_model("llama").state_dict()


@cache
def other(seed):
    """Another model, with gradients that nobody may ask for."""
    return Policy.of(tiny_model("llama", seed=seed).requires_grad_(True), "float32")


@cache
def learner():
    """The policy that every step starts anew, from `start`."""
    return Policy.of(tiny_model("llama").requires_grad_(True), "float32")


def player(name):
    policy = learner()
    policy.model.load_state_dict(start())
    named = dict(policy.model.named_parameters())
    objective = recipe(name).objective
    scores = partial(policy.log_probs, asked=objective.of_policy)
    return Player(scores, objective, torch.optim.SGD(named.values(), lr=LARGE), named, None)


def references_of(objective, models):
    asked = objective.of_references
    return {
        name: partial(model.log_probs, asked=asked) for name, model in zip(objective.references, models, strict=False)
    }


@cache
def rows_for(name):
    """Five rows that bring what the objective reads, with as many responses as it may be given, in turn."""
    objective = recipe(name).objective
    counts = [sizes(objective)[i % len(sizes(objective))] for i in ALL]
    rows = rows_of([(prompt, lengths[:k]) for (prompt, lengths), k in zip(SHAPES, counts, strict=True)], scores=True)
    return [
        replace(
            row,
            columns=dict.fromkeys(objective.columns, 0.2 + 0.1 * i) | {"label": label},
            wins=Rewards(row.scores).as_wins().wins,
        )
        for i, (row, label) in enumerate(zip(rows, LABELS, strict=True))
    ]


def batches_of(name, places, weights=None):
    """Micro-batches of these rows, those with as many responses together, in this order."""
    rows = rows_for(name)
    found = []
    for k in dict.fromkeys(len(rows[i].responses) for i in places):
        alike = [i for i in places if len(rows[i].responses) == k]
        batch = pack([rows[i] for i in alike], alike)
        weight = None if weights is None else torch.tensor([weights[i] for i in alike])
        found.append(batch if weight is None else replace(batch, columns={**batch.columns, "weight": weight}))
    return found


def moved_by(name, batches):
    """By how much a step over `batches` moves each weight."""
    moving = player(name)
    before = torch.cat([p.detach().flatten() for p in moving.parameters])
    train_step([moving], batches, references_of(moving.objective, [other(1), other(2)]))
    return torch.cat([p.detach().flatten() for p in moving.parameters]) - before


@cache
def moved_by_all(name):
    return moved_by(name, batches_of(name, ALL))


def assert_same_move(ours, theirs):
    largest = float(theirs.abs().max())
    assert largest > 1e-7 * LARGE  # there was a gradient to compare
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5 * largest)  # float32 sums


def check_split(name, order, cuts):
    parts = [order[a:b] for a, b in zip([0, *sorted(cuts)], [*sorted(cuts), len(order)], strict=True)]
    assert_same_move(moved_by(name, [b for part in parts for b in batches_of(name, part)]), moved_by_all(name))


splits = given(st.permutations(ALL), st.sets(st.integers(1, len(SHAPES) - 1)))


@each_name
@settings(max_examples=2)
@splits
def test_splitting_a_step_changes_nothing(name, order, cuts):
    check_split(name, order, cuts)


@each_coupled
@settings(max_examples=15)
@splits
def test_splitting_a_step_that_couples_rows_changes_nothing(name, order, cuts):
    check_split(name, order, cuts)


@each_name
def test_weight_zero_is_leaving_the_row_out(name):
    weightless = moved_by(name, batches_of(name, ALL, weights=[1.0, 0.0, 1.0, 0.0, 1.0]))
    assert_same_move(weightless, moved_by(name, batches_of(name, [0, 2, 4])))


@each_coupled
def test_weight_two_is_having_the_row_twice(name):
    weighted = moved_by(name, batches_of(name, [0, 1, 2], weights=[1.0, 2.0, 1.0]))
    assert_same_move(weighted, moved_by(name, batches_of(name, [0, 1]) + batches_of(name, [1, 2])))


@each_coupled
def test_a_step_whose_rows_weigh_nothing_changes_nothing(name):
    assert moved_by(name, batches_of(name, [0, 1], weights=[0.0, 0.0])).abs().max() == 0


@each_coupled
def test_the_first_step_is_what_theory_says(name):
    moving = player(name)
    (batch,) = batches_of(name, ALL)
    found = check_first_step([moving], batch, references_of(moving.objective, [learner()]), precision="float32")
    assert found.measured == pytest.approx(found.expected, abs=1e-5)


@each_name
def test_gradients_flow_into_the_policy_alone(name):
    moved_by(name, batches_of(name, ALL))
    assert all(p.grad is None for seed in (1, 2) for p in other(seed).model.parameters())

"""Who is in the fast role, what is exchanged where that changes, and where a chase ends."""

from functools import partial

import pytest
import torch

from truenorth.chase import Chase
from truenorth.errors import NumericsError
from truenorth.methods.ofs_dpo import OFSDPO, OFSDPOSlow
from truenorth.train.chasing import START, Standing, after_step, arranged, refuse_running_away
from truenorth.train.step import Player


def player(objective, *, value, rate):
    weight = torch.nn.Parameter(torch.tensor([value]))
    optimizer = torch.optim.SGD([{"params": [weight], "rate_scale": rate}], lr=1.0)
    return Player(lambda _: None, objective, optimizer, {"weight": weight}, None)


@pytest.fixture
def players():
    return [player(OFSDPO(), value=1.0, rate=1.0), player(OFSDPOSlow(), value=2.0, rate=0.3)]


def means(*losses, margins=(0.0, 0.0)):
    return [{"loss/base": loss, "rewards/margins": margin} for loss, margin in zip(losses, margins, strict=True)]


def roles(players):
    return [type(p.objective) for p in players]


def rates(players):
    return [p.optimizer.param_groups[0]["rate_scale"] for p in players]


def values(players):
    return [p.parameters[0].item() for p in players]


def test_modules_are_compared_by_their_mean_loss_over_the_interval(players):
    chase, standing = Chase(interval=3), START
    step = partial(after_step, chase=chase)
    for first, second in ((0.1, 0.5), (0.6, 0.1)):
        players, standing, told = step(players, standing=standing, means=means(first, second))
        assert "chase/swapped" not in told
    # 0.1 + 0.6 + 0.1 against 0.5 + 0.1 + 0.1: the last step alone would say nothing
    players, standing, told = step(players, standing=standing, means=means(0.1, 0.1))
    assert told["chase/swapped"] == 1.0
    assert standing == Standing(fast=1)
    assert roles(players) == [OFSDPOSlow, OFSDPO]


def test_the_fast_role_stays_where_both_are_level(players):
    players, standing, told = after_step(players, Chase(interval=1), START, means(0.4, 0.4))
    assert told["chase/swapped"] == 0.0
    assert standing == START
    assert roles(players) == [OFSDPO, OFSDPOSlow]


def test_it_comes_back(players):
    chase, standing = Chase(interval=1, swap="rates"), START
    for losses in ((0.4, 0.3), (0.3, 0.4)):
        players, standing, _ = after_step(players, chase, standing, means(*losses))
    assert standing == START
    assert roles(players) == [OFSDPO, OFSDPOSlow]
    assert rates(players) == [1.0, 0.3]


@pytest.mark.parametrize(
    ("swap", "exchanged"),
    [
        ("roles", ([OFSDPOSlow, OFSDPO], [1.0, 0.3], [1.0, 2.0], 1)),
        ("rates", ([OFSDPOSlow, OFSDPO], [0.3, 1.0], [1.0, 2.0], 1)),
        ("weights", ([OFSDPO, OFSDPOSlow], [1.0, 0.3], [2.0, 1.0], 0)),
    ],
)
def test_what_is_exchanged(swap, exchanged, players):
    players, standing, _ = after_step(players, Chase(interval=1, swap=swap), START, means(0.4, 0.3))
    assert (roles(players), rates(players), values(players), standing.fast) == exchanged


@pytest.mark.parametrize("swap", ["roles", "rates"])
def test_players_that_are_built_anew_are_arranged_as_they_stood(swap, players):
    chase = Chase(interval=1, swap=swap)
    fresh = [player(OFSDPO(), value=1.0, rate=1.0), player(OFSDPOSlow(), value=2.0, rate=0.3)]
    stood, standing, _ = after_step(players, chase, START, means(0.4, 0.3))
    again = arranged(fresh, chase, standing)
    assert roles(again) == roles(stood)
    assert rates(again) == rates(stood)


def test_the_gap_is_the_fast_roles_lead(players):
    _, _, told = after_step(players, Chase(), Standing(fast=1), means(0.1, 0.1, margins=(2.0, 5.0)))
    assert told == {"chase/fast": 1.0, "chase/gap": 3.0}


def test_a_margin_that_runs_away_ends_the_run_with_a_way_out():
    chase, away = Chase(stop_at_margin=30.0), means(0.0, 0.0, margins=(28.0, 31.0))
    refuse_running_away(chase, means(0.0, 0.0, margins=(28.0, 30.0)), step=7)
    with pytest.raises(NumericsError, match=r"step 7: the margins run away: 28 .* 31 .*--set clamp=10"):
        refuse_running_away(chase, away, step=7)
    refuse_running_away(chase.replace(stop_at_margin=None), away, step=7)

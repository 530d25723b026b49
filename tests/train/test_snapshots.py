"""Which snapshots of a run are kept, and that looking at them leaves no trace."""

from itertools import pairwise
from pathlib import Path

import pytest
import torch

from truenorth.methods.dpo import DPO
from truenorth.train.snapshots import Snapshots, held_as, steps_kept
from truenorth.train.step import Player


def player(value: float) -> Player:
    weight = torch.nn.Parameter(torch.full((2,), value))
    return Player(lambda _: pytest.fail("not scored"), DPO(), torch.optim.SGD([weight]), {"w": weight}, None)


@pytest.mark.parametrize("most", [1, 2, 5, 8])
@pytest.mark.parametrize("every", [1, 3])
def test_snapshots_stay_few_begin_at_the_start_and_are_never_wanted_back(every: int, most: int) -> None:
    before: list[int] = []
    for step in range(100):
        kept = steps_kept(step, every=every, most=most)
        assert kept[0] == 0
        assert len(kept) <= most
        assert len({b - a for a, b in pairwise(kept)}) <= 1  # at equal distances
        assert set(kept) <= {*before, step}  # a dropped one does not come back
        before = kept


def test_none_are_kept_where_none_are_wanted() -> None:
    assert steps_kept(10, every=1, most=0) == []


def test_a_folder_holds_those_that_are_kept_and_gives_their_values(tmp_path: Path) -> None:
    kept = Snapshots(tmp_path, every=1, most=3)
    for step in range(6):
        kept.take(step, [player(float(step)), player(-float(step))])
    assert kept.steps() == steps_kept(5, every=1, most=3) == [0, 2, 4]
    found = kept.read(4)
    assert {name: tensor.tolist() for name, tensor in found.items()} == {"w": [4.0, 4.0], "player-1/w": [-4.0, -4.0]}


def test_parameters_are_their_own_again_after_a_look() -> None:
    own = player(1.0)
    with held_as([own], {"w": torch.tensor([5.0, 6.0])}):
        assert own.parameters[0].tolist() == [5.0, 6.0]
    assert own.parameters[0].tolist() == [1.0, 1.0]

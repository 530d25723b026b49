"""Replicas of weights that came apart: seen in any bit, named, and before anything is written."""

from typing import TypeVar

import pytest
import torch

from tests.tiny import tiny_model
from truenorth.errors import ProcessError
from truenorth.methods.dpo import DPO
from truenorth.models.policy import Policy
from truenorth.optim.update import AdamW
from truenorth.processes import Group, Processes
from truenorth.train.replicas import refuse_drifted
from truenorth.train.step import Player

T = TypeVar("T")


def player() -> Player:
    model = tiny_model("llama").requires_grad_(True)
    named = dict(model.named_parameters())
    log_probs = Policy.of(model, "float32").log_probs
    return Player(log_probs, DPO(), AdamW().build(named.values()), named, max_grad_norm=None)


def compared(monkeypatch: pytest.MonkeyPatch, *players: Player) -> None:
    """As if each of `players` were trained by a process of its own."""
    given = list[object]()

    def gather(group: Group, value: T) -> list[T]:
        given.append(value)
        return [value] if len(given) < group.size else list(given)

    monkeypatch.setattr(Group, "gather", gather)
    for rank, own in enumerate(players):
        group = Group(rank, len(players))
        refuse_drifted([own], 7, Processes(group, group))


def test_replicas_that_are_the_same_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    compared(monkeypatch, *(player() for _ in range(3)))


def test_one_bit_in_one_process_is_seen_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    players = [player() for _ in range(3)]
    odd = players[1].named_parameters["lm_head.weight"]
    with torch.no_grad():
        odd[3, 5] = torch.nextafter(odd[3, 5], odd.new_tensor(1.0))
    with pytest.raises(ProcessError, match=r"step 7: process 1 .* 1 of \d+ tensors differ, lm_head.weight is one"):
        compared(monkeypatch, *players)

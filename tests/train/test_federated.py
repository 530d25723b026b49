"""A federated round is the server's optimizer on the mean of what clients return, whatever their order and number."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.tiny import rows_of, tiny_model
from tests.train.test_step import batch_of
from truenorth.clients import DRIFT, LOSS, Clients
from truenorth.data.loader import Steps
from truenorth.data.packing import PackedBatch
from truenorth.data.tokens import TokenizedRows
from truenorth.methods.dpo import DPO
from truenorth.models.memory import Ledger
from truenorth.models.policy import Policy
from truenorth.optim.hfac import HFac
from truenorth.optim.state_size import state_bytes
from truenorth.optim.update import SGDM, AdamW, RMSprop, Update
from truenorth.processes import ALONE
from truenorth.recipe import Objective
from truenorth.train.checkpoint import Progress
from truenorth.train.client_steps import Client, ClientSteps
from truenorth.train.federated import FederatedRounds, Server, Work, bytes_held, bytes_in_rounds, federated_round
from truenorth.train.loop import Plan, train
from truenorth.train.step import NotFinite, Player, Scores, train_step
from truenorth.types import Candidates

SHAPES = [(6, (5, 3)), (4, (7, 2)), (9, (4, 4)), (3, (2, 6)), (5, (3, 3)), (7, (4, 2))]
ROWS = rows_of(SHAPES)
UPDATES = {  # with epsilons far above the rounding of gradients, which Adam would blow up to whole steps
    "sgdm": SGDM(learning_rate=0.1, momentum=0.9),
    "adamw": AdamW(learning_rate=1e-2, epsilon=1e-3, weight_decay=0.1),
    "rmsprop": RMSprop(learning_rate=1e-2, epsilon=1e-3),
}
every_update = pytest.mark.parametrize("update", UPDATES.values(), ids=UPDATES.keys())


def learner(update: Update, objective: Objective | None = None, *, clip: float | None = 1.0) -> Player:
    policy = Policy.of(tiny_model("gpt2").requires_grad_(True), "float32")
    named = dict(policy.model.named_parameters())
    return Player(policy.log_probs, objective or DPO(), update.build(named.values()), named, clip)


def reference() -> Scores:
    return torch.no_grad()(Policy.of(tiny_model("gpt2", seed=1), "float32").log_probs)


REFERENCES = {"initial": reference()}


def work(steps: Sequence[Sequence[int]], *, weight: float = 1.0, client: str = "a") -> Work:
    return Work(client, weight, [[batch_of(ROWS, places)] for places in steps])


def after_rounds(
    update: Update, rounds: Sequence[Sequence[Work]], *, rate: float = 1.0, clip: float | None = 1.0
) -> list[Tensor]:
    """The parameters after these rounds."""
    player = learner(update, clip=clip)
    for works in rounds:
        federated_round(player, works, REFERENCES, rate=rate)
    return [p.detach() for p in player.parameters]


def assert_same(ours: Sequence[Tensor], theirs: Sequence[Tensor], *, tolerance: float = 1e-6) -> None:
    assert max(float((a - b).abs().max()) for a, b in zip(ours, theirs, strict=True)) <= tolerance


def assert_moved(parameters: Sequence[Tensor]) -> None:
    start = [p.detach() for p in learner(SGDM()).parameters]
    assert max(float((a - b).abs().max()) for a, b in zip(parameters, start, strict=True)) > 1e-6


@pytest.mark.parametrize("update", [*UPDATES.values(), HFac(learning_rate=1e-3)], ids=[*UPDATES, "hfac"])
def test_one_client_of_one_step_is_the_centralised_optimizer_to_the_bit(update: Update) -> None:
    central = learner(update)
    for places in ([0, 1], [2, 3], [4, 5]):
        train_step([central], [batch_of(ROWS, places)], REFERENCES)
    federated = after_rounds(update, [[work([places])] for places in ([0, 1], [2, 3], [4, 5])])
    assert all(torch.equal(p, q) for p, q in zip(federated, central.parameters, strict=True))


@every_update
def test_clients_of_one_step_are_the_centralised_optimizer_on_the_mean_gradient(update: Update) -> None:
    central = learner(update)
    for _ in range(2):
        train_step([central], [batch_of(ROWS, [0, 1, 2, 3, 4, 5])], REFERENCES)
    shared = [work([[0]], weight=1 / 6), work([[1, 2]], weight=2 / 6), work([[3, 4, 5]], weight=3 / 6)]
    assert_same(after_rounds(update, [shared] * 2), [p.detach() for p in central.parameters])


def test_k_steps_on_a_frozen_gradient_leave_this_momentum() -> None:
    b, k, start, g = 0.9, 5, torch.tensor([1.0, -2.0], dtype=torch.float64), torch.tensor([0.5, 3.0]).double()
    weight = torch.nn.Parameter(torch.zeros(2, dtype=torch.float64))
    optimizer = SGDM(learning_rate=0.1, momentum=b).build([weight])
    optimizer.state[weight]["momentum_buffer"].copy_(start)
    weight.grad = g
    for _ in range(k):
        optimizer.step()
    assert_same([optimizer.state[weight]["momentum_buffer"]], [b**k * start + (1 - b**k) * g])
    path = torch.stack([b**j * start + (1 - b**j) * g for j in range(1, k + 1)]).sum(0)
    assert_same([weight.detach()], [-0.1 * path])


def test_a_round_by_hand_with_a_momentum_that_stays_frozen_inside_clients() -> None:
    update = SGDM(learning_rate=0.1, momentum=0.9)
    clients = [[[0, 1], [2, 3]], [[4], [5]]]
    weights, k, rate = (0.75, 0.25), 2, 0.5
    player = learner(update, clip=None)
    train_step([player], [batch_of(ROWS, [0, 5])], REFERENCES)  # so that there is a momentum
    start = [p.detach().clone() for p in player.parameters]
    momentum = [player.optimizer.state[p]["momentum_buffer"].clone() for p in player.parameters]
    mean = [torch.zeros_like(p) for p in start]
    for own, weight in zip(clients, weights, strict=True):
        local = [p.clone() for p in start]
        for places in own:
            raw = gradient_at(local, batch_of(ROWS, places))
            mean = [m + weight * g / k for m, g in zip(mean, raw, strict=True)]
            local = [w - 0.1 * rate * (0.9 * m + 0.1 * g) for w, m, g in zip(local, momentum, raw, strict=True)]
    expected = start
    for _ in range(k):
        momentum = [0.9 * m + 0.1 * g for m, g in zip(momentum, mean, strict=True)]
        expected = [w - 0.1 * m for w, m in zip(expected, momentum, strict=True)]
    works = [work(own, weight=weight) for own, weight in zip(clients, weights, strict=True)]
    federated_round(player, works, REFERENCES, rate=rate)
    assert_same([p.detach() for p in player.parameters], expected)
    assert_moved(expected)


def gradient_at(weights: Sequence[Tensor], batch: PackedBatch) -> list[Tensor]:
    player = learner(SGDM(), clip=None)
    for parameter, value in zip(player.parameters, weights, strict=True):
        parameter.data.copy_(value)
    found = dict[str, Tensor]()

    class Kept(torch.optim.SGD):
        def step(self, *_: object) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
            found.update({n: p.grad.clone() for n, p in player.named_parameters.items() if p.grad is not None})

    train_step([replace(player, optimizer=Kept(player.parameters, lr=0.0))], [batch], REFERENCES)
    return [found.get(name, torch.zeros_like(p)) for name, p in player.named_parameters.items()]


def test_without_momentum_a_round_is_fedavg() -> None:
    clients, weights = [[[0, 1], [2]], [[3], [4, 5]]], (0.4, 0.6)
    mean = [torch.zeros_like(p.detach()) for p in learner(SGDM()).parameters]
    for own, weight in zip(clients, weights, strict=True):
        local = learner(SGDM(), clip=None)
        local = replace(local, optimizer=torch.optim.SGD(local.parameters, lr=0.1))
        for places in own:
            train_step([local], [batch_of(ROWS, places)], REFERENCES)
        mean = [m + weight * p.detach() for m, p in zip(mean, local.parameters, strict=True)]
    works = [work(own, weight=weight) for own, weight in zip(clients, weights, strict=True)]
    ours = after_rounds(SGDM(learning_rate=0.1, momentum=0.0), [works], clip=None)
    assert_same(ours, mean)
    assert_moved(ours)


@every_update
def test_the_order_of_clients_does_not_matter(update: Update) -> None:
    works = [work([[n], [5 - n]], weight=w, client=str(n)) for n, w in enumerate((0.5, 0.2, 0.3))]
    forward, backward = after_rounds(update, [works] * 2), after_rounds(update, [works[::-1]] * 2)
    assert_same(forward, backward)
    assert_moved(forward)


@every_update
def test_a_client_twice_with_half_its_weight_is_the_client(update: Update) -> None:
    once = [work([[0], [1]], weight=0.5), work([[2], [3]], weight=0.5)]
    twice = [work([[0], [1]], weight=0.25)] * 2 + [work([[2], [3]], weight=0.5)]
    assert_same(after_rounds(update, [once] * 2), after_rounds(update, [twice] * 2))


@every_update
def test_clients_leave_the_servers_moments_alone(update: Update) -> None:
    """A round whose gradients count nothing moves the server as gradients of 0 do, whatever clients did."""
    steps = [[[0], [1], [2]], [[3], [4], [5]]]
    some = after_rounds(update, [[work([[0, 1]])], [work(own, weight=0.0) for own in steps]])
    others = after_rounds(update, [[work([[0, 1]])], [work([[5], [4], [3]], weight=0.0)]])
    assert_same(some, others)


def test_the_drift_is_the_spread_of_what_clients_return() -> None:
    start = [p.detach() for p in learner(SGDM()).parameters]
    each = [torch.cat([g.flatten() for g in gradient_at(start, batch_of(ROWS, [n]))]) for n in (0, 1)]
    mean = 0.25 * each[0] + 0.75 * each[1]
    spread = 0.25 * (each[0] - mean).square().sum() + 0.75 * (each[1] - mean).square().sum()
    works = [work([[0]], weight=0.25, client="a"), work([[1]], weight=0.75, client="b")]
    found = federated_round(learner(SGDM()), works, REFERENCES).further
    assert found[DRIFT] == pytest.approx(float(spread.sqrt()), rel=1e-5)
    assert found[DRIFT] > 0
    alone = federated_round(learner(SGDM()), [work([[0], [1]])], REFERENCES).further
    assert alone[DRIFT] == 0.0


def test_a_clients_loss_is_that_of_its_first_local_step() -> None:
    works = [work([[0], [1]], weight=0.5, client="a"), work([[2], [3]], weight=0.5, client="b")]
    taken = federated_round(learner(UPDATES["sgdm"]), works, REFERENCES)
    for client, places in (("a", [0]), ("b", [2])):
        (alone,) = train_step([learner(SGDM())], [batch_of(ROWS, places)], REFERENCES)
        assert taken.further[f"{LOSS}{client}"] == pytest.approx(alone.means()["loss"])
    assert taken.prompts == 4
    assert taken.metrics[0].prompts == 2


class Broken(DPO):
    """A loss that is no number where the better answer has 7 tokens, as in row 1."""

    def __call__(self, candidates: Candidates) -> Tensor:
        return super().__call__(candidates) * torch.where(candidates.policy.length[:, 0] == 7, float("nan"), 1.0)


@pytest.mark.parametrize("steps", [[[1]], [[0], [1], [2]]])
def test_a_loss_that_is_no_number_leaves_the_server_as_it_was(steps: list[list[int]]) -> None:
    player = learner(UPDATES["adamw"], Broken())
    train_step([player], [batch_of(ROWS, [0])], REFERENCES)
    weights = [p.detach().clone() for p in player.parameters]
    moments = [player.optimizer.state[p]["exp_avg"].clone() for p in player.parameters]
    with pytest.raises(NotFinite) as stop:
        federated_round(player, [work([[3]] * len(steps), weight=0.5), work(steps, weight=0.5)], REFERENCES)
    assert stop.value.rows == (1,)
    assert all(torch.equal(p, old) for p, old in zip(player.parameters, weights, strict=True))
    kept = [player.optimizer.state[p]["exp_avg"] for p in player.parameters]
    assert all(torch.equal(p, old) for p, old in zip(kept, moments, strict=True))


def test_the_loop_with_one_client_of_one_step_ends_with_the_bits_of_the_centralised_run(tmp_path: Path) -> None:
    rows, update = TokenizedRows.of(ROWS), AdamW(learning_rate=1e-2, warmup_steps=2)
    ends = list[list[Tensor]]()
    settings = Clients(count=1, local_steps=1)
    federated = ClientSteps(rows, [Client("1", np.arange(6))], settings, batch_size=2, seed=3, length=(2.0, None))
    for name, steps in (("central", Steps(rows, 2, seed=3, epochs=2)), ("federated", federated)):
        out = tmp_path / name
        out.mkdir()
        plan = Plan(steps, REFERENCES, update, out, save_every=9, keep_checkpoints=1, eval_every=9)
        if isinstance(steps, ClientSteps):
            plan = replace(plan, take=FederatedRounds(steps, rate=1.0))
        player = learner(update)
        train([player], plan, Progress(budget=20))
        ends.append([p.detach() for p in player.parameters])
    assert federated.count == 6
    assert all(torch.equal(a, b) for a, b in zip(*ends, strict=True))


@pytest.mark.parametrize("update", [AdamW(), RMSprop(), SGDM()], ids=["adamw", "rmsprop", "sgdm"])
def test_what_is_counted_of_the_server_is_what_it_keeps(update: Update) -> None:
    player = learner(update)
    federated_round(player, [work([[0, 1]])], {"initial": reference()})
    shapes = [p.shape for p in player.parameters]
    weights, state = 4 * sum(shape.numel() for shape in shapes), state_bytes(update, shapes)
    ledger = Ledger(vocabulary=0)
    ledger.own("weights", player.parameters)
    with ledger:
        server = Server(player, moved=True)
        kept = sum(ledger.live.values()) - ledger.live["weights"]
    server.put_back_weights()
    assert kept == bytes_held(5, 1, trained=weights, state=state) - weights  # and the sum of a client's gradients
    assert bytes_held(5, 3, trained=weights, state=state) == kept + 2 * weights


def test_each_process_counts_its_own_clients() -> None:
    rows = TokenizedRows.of(rows_of([(5, (4, 3))] * 8))
    clients = [Client(str(n), np.arange(2 * n, 2 * n + 2)) for n in range(4)]
    shapes = [torch.Size([3, 5])]
    found = [
        bytes_in_rounds(
            ClientSteps(rows, clients, Clients(local_steps=steps, participation=share), batch_size=2, seed=0),
            shapes,
            state=7,
            group=ALONE,
        )
        for steps, share in ((1, 0.25), (1, 1.0), (2, 0.25), (2, 1.0))
    ]
    assert found == [0, 60, 60 + 7 + 60, 60 + 7 + 60 + 60]
    assert bytes_in_rounds(Steps(rows, 2), shapes, state=7, group=ALONE) == 0

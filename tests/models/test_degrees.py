"""The head on a response's last state: which state, that it starts at nothing, and that it trains as all else does."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import PreTrainedModel

from tests.tiny import PADDED, SHARING, rows_of, tiny_directory, tiny_model
from truenorth import align
from truenorth.data.loader import Steps
from truenorth.data.packing import PackedBatch, by_version, pack
from truenorth.data.tokens import TokenizedRow, TokenizedRows
from truenorth.methods import recipe
from truenorth.models.degrees import DegreeReader
from truenorth.models.load import with_lora
from truenorth.models.logprobs import backbone, unpack
from truenorth.models.policy import Policy
from truenorth.players import player_of
from truenorth.train import checkpoint
from truenorth.train.checkpoint import Progress
from truenorth.train.loop import Plan, train
from truenorth.train.step import Player, train_step
from truenorth.types import LogProbs

SHAPES = [(6, (5, 3)), (4, (7, 2)), (9, (4, 4)), (3, (2, 6))]
QUICK = ["llama", "gpt2", "gemma2", "bloom", "mamba"]
EVERY = [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in [*SHARING, *PADDED]]
SPO = recipe("spo", gamma=0.5, learning_rate=1e-2, head_learning_rate=0.5)


def degraded() -> list[TokenizedRow]:
    return rows_of(SHAPES, degraded=2)


def awake(reader: DegreeReader) -> DegreeReader:
    """A reader whose head says something."""
    torch.manual_seed(5)
    with torch.no_grad():
        for parameter in reader.head.parameters():
            parameter.normal_()
    return reader


def plain_states(model: PreTrainedModel, batch: PackedBatch) -> Tensor:
    """[B, K, 1 + M, D] by one ordinary unpadded forward each."""
    states = [
        backbone(model)(input_ids=sequence[None], use_cache=False).last_hidden_state[0, -1]
        for sequence in unpack(batch)
    ]
    return by_version(torch.stack(states).unflatten(0, (batch.prompts, -1)), batch.candidates)


@pytest.mark.parametrize("architecture", EVERY)
def test_the_head_reads_the_state_that_predicts_the_last_token(architecture: str) -> None:
    model, batch = tiny_model(architecture), pack(degraded())
    reader = awake(DegreeReader.of(Policy.of(model, "float32"), levels=3))
    with torch.no_grad():
        found = reader.log_probs(batch).degrees
        expected = reader.logits(plain_states(tiny_model(architecture), batch))
    assert found is not None
    assert found.shape == (4, 2, 3, 3)
    assert float((found - expected).abs().max()) < 1e-4


@pytest.mark.parametrize("architecture", EVERY)
def test_log_probs_are_those_of_a_batch_without_degraded_versions(architecture: str) -> None:
    policy, batch, bare = Policy.of(tiny_model(architecture), "float32"), pack(degraded()), pack(rows_of(SHAPES))
    with torch.no_grad():
        alone = policy.log_probs(bare).total
        assert torch.equal(policy.log_probs(batch).total, alone)  # as a reference scores it: nothing else is computed
        beside = DegreeReader.of(policy, levels=3).log_probs(batch).total
    assert float((beside - alone).abs().max()) < 1e-4  # products of other shapes round otherwise


def learner(*, lora: bool = False) -> Player:
    model = tiny_model("llama")
    model = with_lora(model, rank=2, alpha=4.0, targets="all-linear", dropout=0.0) if lora else model.requires_grad_()
    return player_of(SPO, Policy.of(model, "float32"))


def frozen(batch: PackedBatch) -> LogProbs:
    with torch.no_grad():
        return Policy.of(tiny_model("llama", seed=1), "float32").log_probs(batch)


def gradients(player: Player, batch: PackedBatch) -> dict[str, Tensor]:
    """Of the degree's loss alone."""
    degrees = player.log_probs(batch).degrees
    assert degrees is not None
    degrees.log_softmax(-1).diagonal(dim1=-2, dim2=-1).sum().backward()
    return {name: torch.zeros_like(p) if p.grad is None else p.grad for name, p in player.named_parameters.items()}


@pytest.mark.parametrize("lora", [False, True])
def test_a_head_at_zero_learns_but_gives_the_policy_no_gradient(lora: bool) -> None:
    found = gradients(learner(lora=lora), pack(degraded()))
    assert {name for name, gradient in found.items() if gradient.any()} == {"degree_head.weight", "degree_head.bias"}


def test_a_head_that_has_learnt_reaches_the_policy() -> None:
    player = learner()
    with torch.no_grad():
        player.named_parameters["degree_head.weight"].normal_()
    assert gradients(player, pack(degraded()))["model.layers.0.self_attn.q_proj.weight"].any()


@pytest.mark.parametrize("lora", [False, True])
def test_the_head_learns_to_tell_the_levels(lora: bool) -> None:
    player, batch = learner(lora=lora), pack(degraded())
    first, *_, last = [train_step([player], [batch], {"initial": frozen})[0].means() for _ in range(30)]
    assert first["degrees/accuracy"] == pytest.approx(1 / 3)
    assert last["degrees/accuracy"] > 0.6


def after_a_step(split: list[list[int]]) -> tuple[list[Tensor], float]:
    """Parameters, and how much the head told, after one step of plain gradient descent from a head that has learnt."""
    rows, player = degraded(), learner()
    player = replace(player, optimizer=torch.optim.SGD(player.parameters, lr=0.1))
    torch.manual_seed(5)
    with torch.no_grad():
        player.named_parameters["degree_head.weight"].normal_()
    batches = [pack([rows[i] for i in places], places) for places in split]
    (metrics,) = train_step([player], batches, {"initial": frozen})
    return [p.detach() for p in player.parameters], metrics.means()["degrees/accuracy"]


@pytest.mark.parametrize("split", [[[0], [1], [2], [3]], [[3, 1], [0, 2]]])
def test_splitting_a_step_changes_nothing(split: list[list[int]]) -> None:
    (whole, told), (parts, told_in_parts) = after_a_step([[0, 1, 2, 3]]), after_a_step(split)
    assert max(float((a - b).abs().max()) for a, b in zip(whole, parts, strict=True)) < 1e-6  # sums in another order
    assert told == pytest.approx(told_in_parts, abs=1e-6)


def plan(out: Path, *, stop_after: int | None = None) -> Plan:
    out.mkdir()
    steps = Steps(TokenizedRows.of(degraded()), 2, epochs=3)
    return Plan(
        steps,
        {"initial": frozen},
        SPO.update,
        out,
        save_every=2,
        keep_checkpoints=2,
        eval_every=3,
        stop_after=stop_after,
    )


def test_a_resumed_run_ends_with_the_same_bits(tmp_path: Path) -> None:
    whole, first, second = learner(), learner(), learner()
    train([whole], plan(tmp_path / "whole"), Progress(budget=60))
    train([first], plan(tmp_path / "first", stop_after=3), Progress(budget=60))
    saved = checkpoint.newest(tmp_path / "first" / "checkpoints")
    assert saved is not None
    train([second], plan(tmp_path / "second"), checkpoint.restore(saved, [second]))
    assert whole.named_parameters["degree_head.weight"].any()
    for name, parameter in whole.named_parameters.items():
        assert torch.equal(parameter, second.named_parameters[name]), name


def test_the_head_has_a_learning_rate_of_its_own_on_the_updates_schedule(tmp_path: Path) -> None:
    player = learner()
    train([player], plan(tmp_path / "run", stop_after=2), Progress(budget=60))
    policy, head = (group["lr"] for group in player.optimizer.param_groups)
    assert policy == pytest.approx(SPO.update.learning_rate_at(1, 6))
    assert head == pytest.approx(50 * policy)


def test_a_run_starts_as_theory_says_and_writes_its_model_without_the_head(tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.jsonl"
    answers = {
        "chosen": "The red boat was slow, but the crew was kind.",
        "rejected": "We saw a grey harbour and rain.",
    }
    pairs.write_text("".join(json.dumps({"prompt": f"Number {i}?", **answers}) + "\n" for i in range(4)))
    model, out = str(tiny_directory(tmp_path / "sft")), tmp_path / "run"
    result = align(SPO, model=model, data=str(pairs), out=out, batch_size=2, precision="float32", samples=0)
    expected = math.log(2) + 0.5 * 2 * math.log(3)
    assert result.summary["step0"]["measured"] == pytest.approx(expected, abs=1e-3)
    records = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert all(0 <= record["degrees/accuracy"] <= 1 for record in records)
    final = load_file(next((out / "final").glob("*.safetensors")))
    assert set(final) == set(load_file(Path(model) / "model.safetensors"))
    assert "not part of it" in result.summary["notes"][0]

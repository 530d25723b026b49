"""Every architecture we list is scored exactly, and is shared or padded as the table in the docs says."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from tests.tiny import PADDED, SHARING, rows_of, tiny_model
from truenorth.data.packing import PackedBatch, pack
from truenorth.models.logprobs import Scorer, base_of, unpack
from truenorth.models.policy import Policy
from truenorth.models.probe import scorer_for, with_checked_kernels
from truenorth.models.storage import store_frozen

# Longer than the tiny models' window of 7; a response of one token; one beyond 256 tokens.
SHAPES = [(20, (30, 13)), (9, (5, 17)), (1, (1, 2)), (40, (8, 257))]
QUICK = ["llama", "gpt2", "gemma2", "gpt_oss", "bloom"]  # one of each way through the engine
EVERY = [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in [*SHARING, *PADDED]]


def plain_logits(model: PreTrainedModel, batch: PackedBatch) -> list[Tensor]:
    """Per response [n, V], by one ordinary unpadded forward each."""
    return [
        model(input_ids=sequence[None], use_cache=False).logits[0, -length:].float()
        for sequence, length in zip(unpack(batch), batch.length.flatten().tolist(), strict=True)
    ]


def plain_log_probs(model: PreTrainedModel, batch: PackedBatch) -> list[Tensor]:
    """Per response [n] nats."""
    targets = batch.targets.split(batch.length.flatten().tolist())
    return [
        logits.log_softmax(-1).gather(1, target[:, None])[:, 0]
        for logits, target in zip(plain_logits(model, batch), targets, strict=True)
    ]


@pytest.mark.parametrize("architecture", EVERY)
def test_sums_equal_one_plain_forward_per_response(architecture: str) -> None:
    model = tiny_model(architecture)
    batch = pack(rows_of(SHAPES))
    with torch.no_grad():
        expected = torch.stack([nats.double().sum() for nats in plain_log_probs(model, batch)])
        scored = Policy.of(model, "float32").log_probs(batch)
    # 1e-4 nats, and half a unit in the last place of a float32 as large as the largest sum (1336 nats).
    assert float((scored.total.flatten().double() - expected).abs().max()) < 1e-4 + 6.1e-5
    assert scored.total.dtype == torch.float32
    assert scored.length.tolist() == [list(responses) for _, responses in SHAPES]


@pytest.mark.parametrize("architecture", EVERY)
def test_measures_equal_those_of_one_plain_forward_per_response(architecture: str) -> None:
    model, batch = tiny_model(architecture), pack(rows_of(SHAPES))
    fallback = Scorer(model, None, shared=False)  # of a model without a known head
    whole = Policy(model, fallback, "float32", native="sdpa")
    policies = [Policy.of(tiny_model(architecture), "float32"), whole]
    with torch.no_grad():
        plain = torch.cat(plain_logits(model, batch)).double().log_softmax(-1)
        scored = [policy.log_probs(batch, frozenset({"tokens", "entropy", "collision"})) for policy in policies]
    entropy = -(plain.exp() * plain).sum(-1) / math.log(plain.shape[-1])
    for found in scored:
        assert torch.allclose(found.tokens.double(), plain.gather(1, batch.targets[:, None])[:, 0], rtol=0, atol=1e-3)
        for measure, expected in (("entropy", entropy), ("collision", -(2 * plain).logsumexp(-1))):
            sums = torch.zeros(batch.length.numel(), dtype=torch.float64).index_add(0, batch.owner, expected)
            assert torch.allclose(getattr(found, measure).flatten().double(), sums, rtol=0, atol=1e-3), measure


@pytest.mark.parametrize("architecture", EVERY)
def test_gradients_equal_those_of_plain_forwards(architecture: str) -> None:
    model = tiny_model(architecture)
    batch = pack(rows_of(SHAPES[:3]))
    weights = torch.linspace(-1, 1, batch.length.numel())
    (torch.stack([nats.sum() for nats in plain_log_probs(model, batch)]) @ weights).backward()
    expected = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    (Policy.of(model, "float32").log_probs(batch).total.flatten() @ weights).backward()
    largest = max(float(gradient.norm()) for gradient in expected.values())
    for name, p in model.named_parameters():
        if name not in expected:
            assert p.grad is None or float(p.grad.norm()) == 0, name
            continue
        # Gradients that cancel to rounding error (a key's bias under softmax) are compared with the largest one.
        scale = max(float(expected[name].norm()), 1e-3 * largest)
        assert float((p.grad - expected[name]).norm()) < 1e-4 * scale, name


@pytest.mark.parametrize("architecture", EVERY)
def test_prompts_are_shared_where_the_table_says_so(architecture: str) -> None:
    scorer = scorer_for(tiny_model(architecture))
    assert scorer.shared == (architecture in SHARING)
    assert bool(scorer.fallback) == (architecture in PADDED)


def test_a_model_that_ignores_its_window_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    import truenorth.models.attention as attention

    def without_window(*arguments: object, **named: object) -> object:
        return attention.attend(*arguments, **(named | {"sliding_window": None}))  # pyright: ignore

    model = tiny_model("mistral", sliding_window=3)
    monkeypatch.setitem(attention.AttentionInterface._global_mapping, attention.NAME, without_window)
    assert "differ" in scorer_for(model).fallback


def test_the_probe_leaves_the_model_as_it_was() -> None:
    model = tiny_model("llama").train()
    native = model.config._attn_implementation
    scorer_for(model)
    assert model.training
    assert all(module.training for module in model.modules())
    assert base_of(model).config._attn_implementation == native


def test_gradient_checkpointing_changes_no_gradient() -> None:
    from truenorth.models.modes import set_training

    batch = pack(rows_of(SHAPES[:2]))
    gradients: list[list[Tensor]] = []
    forwards: list[int] = []
    for recompute in (False, True):
        model = tiny_model("llama")
        if recompute:
            model.activation_checkpointing_enable()
        set_training(model, dropout=False)
        policy = Policy.of(model, "float32")
        calls: list[int] = []
        model.model.layers[0].input_layernorm.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        policy.log_probs(batch).total.sum().backward()
        gradients.append([p.grad for p in model.parameters() if p.grad is not None])
        forwards.append(len(calls))
    assert forwards == [1, 2]
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_dropout_is_off_while_training_unless_asked_for() -> None:
    from truenorth.models.modes import set_training

    model = tiny_model("gpt2", resid_pdrop=0.5, embd_pdrop=0.5, attn_pdrop=0.5)
    batch = pack(rows_of(SHAPES[:2]))
    policy = Policy.of(model, "float32")
    set_training(model, dropout=False)
    assert torch.equal(policy.log_probs(batch).total, policy.log_probs(batch).total)
    set_training(model, dropout=True)
    assert not torch.equal(policy.log_probs(batch).total, policy.log_probs(batch).total)


def test_rows_of_like_length_are_padded_together_and_come_back_in_order() -> None:
    model = tiny_model("bloom")
    scorer, batch = scorer_for(model), pack(rows_of(SHAPES))
    entered: list[int] = []
    model.transformer.register_forward_pre_hook(
        lambda _, __, named: entered.append(named["input_ids"].numel()), with_kwargs=True
    )
    with torch.no_grad():
        apart, in_parts = scorer.token_scores(batch)[0], sum(entered)
        entered.clear()
        together = replace(scorer, one_call=True).token_scores(batch)[0]
    assert len(entered) == 1
    assert in_parts <= 1.25 * sum(len(sequence) for sequence in unpack(batch)) < entered[0]
    assert torch.allclose(apart, together, rtol=0, atol=1e-5)


def test_a_rounded_model_is_compared_as_strictly_as_one_in_float32() -> None:
    model = tiny_model("llama").requires_grad_(False)
    store_frozen(model)
    assert model.model.layers[0].mlp.up_proj.weight.dtype == torch.bfloat16
    assert scorer_for(model).shared


def test_wrong_kernels_in_bfloat16_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    import truenorth.models.attention as attention

    def each_for_itself(*arguments: object, **named: object) -> object:
        return attention.attend(*arguments, **(named | {"sliding_window": 1}))  # pyright: ignore

    scorer = scorer_for(tiny_model("llama"))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert with_checked_kernels(scorer) == scorer
        monkeypatch.setitem(attention.AttentionInterface._global_mapping, attention.NAME, each_for_itself)
        checked = with_checked_kernels(scorer)
    assert not checked.shared
    assert checked.fallback.startswith("in bfloat16, ")


@pytest.mark.gpu
@pytest.mark.parametrize("architecture", SHARING)
def test_prompts_are_shared_on_a_gpu_in_bfloat16_too(architecture: str) -> None:
    policy = Policy.of(tiny_model(architecture).cuda(), "bfloat16")
    assert not policy.scorer.fallback
    expected = Policy.of(tiny_model(architecture), "bfloat16").log_probs(pack(rows_of(SHAPES))).total
    found = policy.log_probs(pack(rows_of(SHAPES))).total.cpu()
    assert float((found - expected).abs().max()) < 0.02 * float(expected.abs().max())

"""`truenorth.score` is the engine without a run: exact, in order, and it leaves the model alone."""

from typing import Any

import pytest
import torch
from transformers import AutoTokenizer

from tests.tiny import tiny_model
from truenorth import score, world
from truenorth.models import score as module

ROWS = [
    {"prompt": "The boat", "responses": [" is slow.", " left on Monday, without a sound."]},
    {"prompt": "Once upon a time there was a", "responses": [" cat", " very old harbour town by the sea"]},
    {"prompt": "A", "responses": [" b", " c d"]},
]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(world.sft_model())


def plain(model: Any, tokenizer: Any, prompt: str, response: str) -> torch.Tensor:
    """Nats of a response and its EOS, by one ordinary forward."""
    start = tokenizer(prompt)["input_ids"]
    end = [*tokenizer(response, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    logits = model(input_ids=torch.tensor([start + end])).logits[0, len(start) - 1 : -1]
    return logits.log_softmax(-1)[range(len(end)), end].double().sum()


@pytest.mark.parametrize("architecture", ["llama", "bloom"])
def test_scores_equal_plain_forwards_in_the_order_of_the_rows(
    architecture: str, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model(architecture, vocab_size=len(tokenizer))
    monkeypatch.setattr(module, "TOKENS_AT_ONCE", 20)  # several micro-batches, sorted by length inside
    with torch.no_grad():
        expected = [[float(plain(model, tokenizer, row["prompt"], r)) for r in row["responses"]] for row in ROWS]
        scored = score(model, tokenizer, ROWS)
    assert torch.allclose(scored.total.double(), torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-4)


def test_gradients_reach_the_model(tokenizer: Any) -> None:
    model = tiny_model(vocab_size=len(tokenizer))
    score(model, tokenizer, ROWS).total.sum().backward()
    ours = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    sum(plain(model, tokenizer, row["prompt"], r) for row in ROWS for r in row["responses"]).backward()
    for gradient, p in zip(ours, model.parameters(), strict=True):
        assert float((gradient - p.grad).norm()) < 1e-4 * float(p.grad.norm())


def test_without_eos_each_response_is_one_token_shorter(tokenizer: Any) -> None:
    model = tiny_model(vocab_size=len(tokenizer))
    lengths = [score(model, tokenizer, ROWS, eos=eos).length for eos in (True, False)]
    assert torch.equal(lengths[0] - 1, lengths[1])


@torch.no_grad()
def test_messages_go_through_the_template(tokenizer: Any) -> None:
    model = tiny_model(vocab_size=len(tokenizer))
    row = {
        "prompt": [{"role": "user", "content": "Hello?"}],
        "responses": [[{"role": "assistant", "content": "Yes."}]],
    }
    text = tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True, tokenize=False)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    answer = [*tokenizer("Yes.", add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    logits = model(input_ids=torch.tensor([ids + answer])).logits[0, len(ids) - 1 : -1]
    expected = logits.log_softmax(-1)[range(len(answer)), answer].sum()
    assert float(score(model, tokenizer, [row]).total) == pytest.approx(float(expected), abs=1e-4)


@pytest.mark.parametrize("rows", [[], [ROWS[0], {"prompt": "A", "responses": [" b"]}]])
def test_rows_need_one_number_of_responses(rows: list[dict[str, Any]], tokenizer: Any) -> None:
    with pytest.raises(ValueError, match="one number of responses"):
        score(tiny_model(vocab_size=len(tokenizer)), tokenizer, rows)


def test_the_model_is_left_as_it_was(tokenizer: Any) -> None:
    model = tiny_model("gpt2", vocab_size=len(tokenizer)).train()
    native = model.config._attn_implementation
    score(model, tokenizer, ROWS)
    assert model.training
    assert model.config._attn_implementation == native

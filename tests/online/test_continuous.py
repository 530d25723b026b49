"""transformers' continuous batching as a sampler: the same distribution, and models that it gets wrong refused."""

import logging

import pytest
import torch
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from tests.tiny import tiny_model
from truenorth import world
from truenorth.models.load import load_model
from truenorth.online.continuous import Continuous, unfit
from truenorth.online.sampler import Local
from truenorth.online.sampling import Prompt, Sampling, sample

PROMPTS: list[Prompt] = [[{"role": "user", "content": f"Write a review of {name}."}] for name in ("a café", "the inn")]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(world.sft_model())


@pytest.mark.slow
def test_the_likeliest_tokens_are_those_of_the_local_sampler(tokenizer: PreTrainedTokenizerBase) -> None:
    model, greedy = load_model(str(world.sft_model())), Sampling(temperature=0, max_new_tokens=12, k=2)
    ours, theirs = (sample(kind(model, tokenizer), PROMPTS, greedy) for kind in (Local, Continuous))
    assert ours == theirs


@pytest.mark.slow
def test_answers_are_drawn_with_the_log_probs_of_temperature_and_nucleus(tokenizer: PreTrainedTokenizerBase) -> None:
    model = load_model(str(world.sft_model()))
    sampling = Sampling(temperature=0.7, k=3, max_new_tokens=8)
    answers = sample(Continuous(model, tokenizer), PROMPTS, sampling)
    assert answers == sample(Continuous(model, tokenizer), PROMPTS, sampling)
    assert answers != sample(Continuous(model, tokenizer), PROMPTS, sampling, round_index=1)
    for prompt, own in zip(PROMPTS, answers, strict=True):
        start = tokenizer.apply_chat_template(prompt, add_generation_prompt=True)["input_ids"]
        for answer in own:
            logits = model(input_ids=torch.tensor([[*start, *answer.tokens]])).logits[0, len(start) - 1 : -1]
            nats = (logits / 0.7).log_softmax(-1).gather(1, torch.tensor(answer.tokens)[:, None])[:, 0]
            assert torch.allclose(nats, torch.tensor(answer.log_probs), atol=1e-3)


@pytest.mark.slow
def test_a_model_that_it_answers_for_wrongly_is_found_out() -> None:
    logging.getLogger("ContinuousBatchingLogger").setLevel(logging.CRITICAL)
    assert unfit(tiny_model()) == ""
    assert "not those of a plain forward pass" in unfit(tiny_model("bloom"))


def test_a_model_that_it_refuses_is_named_unfit() -> None:
    assert "linear_attention" in unfit(tiny_model("mamba"))

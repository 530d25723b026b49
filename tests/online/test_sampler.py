"""What is drawn from a model: by which distribution, and what an answer depends on."""

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from tests.tiny import VOCABULARY, tiny_model
from truenorth.errors import SettingsError
from truenorth.online import sampler as sampler_file
from truenorth.online.draws import draw, nucleus
from truenorth.online.sampler import Local, generate
from truenorth.online.sampling import Prompt, Sampling, sample

PROMPTS: list[Prompt] = ["w5 w6 w7", "w8", "w9 w10 w11 w12 w13 w14"]
TEMPLATE = (
    "{% for m in messages %}{{ 'w3' if m['role'] == 'user' else 'w4' }} {{ m['content'] }} {% endfor %}"
    "{% if add_generation_prompt %}w4{% endif %}"
)


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    words = {"<pad>": 0, "<s>": 1, "</s>": 2} | {f"w{i}": i for i in range(3, VOCABULARY)}
    inner = Tokenizer(models.WordLevel(words, unk_token="w3"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", bos_token="<s>", eos_token="</s>", chat_template=TEMPLATE
    )


@pytest.fixture(scope="module")
def model() -> PreTrainedModel:
    return tiny_model()


def tokens(answers: list[list]) -> list[list[tuple[int, ...]]]:
    return [[answer.tokens for answer in own] for own in answers]


def test_greedy_answers_are_the_likeliest_tokens_of_plain_forwards(model, tokenizer) -> None:
    answers = generate(model, tokenizer, prompts=PROMPTS, sampling=Sampling(temperature=0, max_new_tokens=6))
    for prompt, (answer,) in zip(PROMPTS, answers, strict=True):
        ids = tokenizer(prompt)["input_ids"]
        for token in answer.tokens:
            assert int(model(torch.tensor([ids])).logits[0, -1].argmax()) == token
            ids.append(token)


def test_an_answer_does_not_depend_on_what_else_is_asked(model, tokenizer) -> None:
    sampling = Sampling(k=2, max_new_tokens=8, seed=3)
    together = tokens(generate(model, tokenizer, prompts=PROMPTS, sampling=sampling))
    assert together == [tokens(generate(model, tokenizer, prompts=[p], sampling=sampling))[0] for p in PROMPTS]


def test_more_answers_leave_the_first_ones_as_they_were(model, tokenizer) -> None:
    few, many = (
        tokens(generate(model, tokenizer, prompts=PROMPTS, sampling=Sampling(k=k, max_new_tokens=8))) for k in (1, 3)
    )
    assert few == [own[:1] for own in many]


def test_a_seed_gives_the_same_answers_and_another_seed_others(model, tokenizer) -> None:
    one, again, other = (
        tokens(generate(model, tokenizer, prompts=PROMPTS, sampling=Sampling(seed=seed, max_new_tokens=8)))
        for seed in (1, 1, 2)
    )
    assert one == again != other


def test_a_sampler_that_goes_on_after_a_kill_gives_the_same_bits(model, tokenizer, monkeypatch) -> None:
    monkeypatch.setattr(sampler_file, "MOST_ROWS", 3)  # batches that cut prompts, as k is 2
    local, sampling = Local(model, tokenizer), Sampling(k=2, max_new_tokens=8)
    whole = dict(local.answers(PROMPTS, sampling))
    assert sorted(whole) == [0, 1, 2]
    for done in ([], [0], [1], [2], [0, 2], [0, 1, 2]):
        rest = dict(local.answers(PROMPTS, sampling, done=done))
        assert rest == {i: own for i, own in whole.items() if i not in done}  # log-probs too, to the bit


def test_a_round_draws_anew(model, tokenizer) -> None:
    local, sampling = Local(model, tokenizer), Sampling(k=2, max_new_tokens=8)
    zero, again, one = (sample(local, PROMPTS, sampling, round_index=n) for n in (0, 0, 1))
    assert zero == again
    assert all(a != b for a, b in zip(zero, one, strict=True))


def test_sampling_leaves_torchs_random_state_alone(model, tokenizer) -> None:
    before = torch.get_rng_state()
    generate(model, tokenizer, prompts=PROMPTS, sampling=Sampling(max_new_tokens=4))
    assert torch.equal(before, torch.get_rng_state())


def test_tokens_come_as_often_as_the_model_says() -> None:
    probabilities = torch.tensor([0.5, 0.0, 0.3, 0.2])
    uniforms = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    drawn, _ = draw(probabilities.log().expand(1000, 4), uniforms, Sampling())
    counts = torch.bincount(drawn, minlength=4)
    assert counts.tolist() == [500, 0, 300, 200]


def test_temperature_raises_probabilities_to_its_inverse() -> None:
    probabilities = torch.tensor([0.5, 0.3, 0.2])
    uniforms = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    drawn, _ = draw(probabilities.log().expand(1000, 3), uniforms, Sampling(temperature=0.5))
    shares = torch.bincount(drawn) / 1000
    assert torch.allclose(shares, probabilities**2 / (probabilities**2).sum(), atol=1e-3)  # a thousand draws


def test_the_nucleus_keeps_the_fewest_tokens_that_fill_top_p() -> None:
    probabilities = torch.tensor([[0.2, 0.5, 0.3], [0.1, 0.1, 0.8]])
    assert torch.equal(nucleus(probabilities, 0.6), torch.tensor([[0.0, 0.5, 0.3], [0.0, 0.0, 0.8]]))


def test_an_answer_ends_with_its_first_end_of_sequence_token(model, tokenizer) -> None:
    (own,) = generate(model, tokenizer, prompts=["w5"], sampling=Sampling(k=64, max_new_tokens=40))
    ended = [answer for answer in own if answer.ended]
    assert 0 < len(ended) < 64
    assert all(answer.tokens[-1] == 2 and 2 not in answer.tokens[:-1] for answer in ended)
    assert all(len(answer.tokens) == 40 and 2 not in answer.tokens for answer in own if not answer.ended)


def test_text_holds_no_special_token(model, tokenizer) -> None:
    (own,) = generate(model, tokenizer, prompts=["w5"], sampling=Sampling(k=16, max_new_tokens=40))
    assert not any("<" in answer.text for answer in own)


def test_the_generation_config_adds_ends_and_bends_no_distribution(tokenizer) -> None:
    model, bent = tiny_model(), tiny_model()
    bent.generation_config.update(repetition_penalty=5.0, top_k=1, do_sample=True, temperature=0.1)
    sampling = Sampling(max_new_tokens=8)
    answers = [tokens(generate(m, tokenizer, prompts=PROMPTS, sampling=sampling)) for m in (model, bent)]
    assert answers[0] == answers[1]
    first = answers[0][0][0][0]
    bent.generation_config.eos_token_id = [2, first]
    assert generate(bent, tokenizer, prompts=PROMPTS[:1], sampling=sampling)[0][0].tokens == (first,)


def test_the_model_keeps_its_mode_and_its_generation_config(tokenizer) -> None:
    model = tiny_model().train()
    own = model.generation_config
    generate(model, tokenizer, prompts=PROMPTS, sampling=Sampling(max_new_tokens=2))
    assert model.training
    assert model.generation_config is own


def test_messages_token_ids_and_their_text_are_one_prompt(model, tokenizer) -> None:
    same: list[Prompt] = ["w3 w5 w4", [{"role": "user", "content": "w5"}], np.array([3, 5, 4])]
    answers = generate(model, tokenizer, prompts=same, sampling=Sampling(max_new_tokens=5))
    assert tokens(answers)[0] == tokens(answers)[1] == tokens(answers)[2]


@pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing`:FutureWarning"
)  # PEFT asks transformers by its old name
def test_an_adapter_answers_as_the_merged_model(model, tokenizer) -> None:
    torch.manual_seed(0)
    adapted = get_peft_model(tiny_model(), LoraConfig(r=2, init_lora_weights=False, target_modules="all-linear"))
    sampling = Sampling(temperature=0, max_new_tokens=6)
    answers = generate(adapted, tokenizer, prompts=PROMPTS, sampling=sampling)
    assert answers != generate(model, tokenizer, prompts=PROMPTS, sampling=sampling)
    assert answers == generate(adapted.merge_and_unload(), tokenizer, prompts=PROMPTS, sampling=sampling)


def test_a_temperature_below_zero_is_refused() -> None:
    with pytest.raises(SettingsError, match="temperature"):
        Sampling(temperature=-1.0)


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_a_prompt_that_leaves_no_room_for_an_answer_is_refused(architecture: str, tokenizer) -> None:
    small = tiny_model(architecture, max_position_embeddings=8)
    prompts: list[Prompt] = [[5] * 3, [5] * 6]
    assert sample(Local(small, tokenizer), prompts[:1], Sampling(max_new_tokens=5))
    with pytest.raises(SettingsError, match=r"prompt 2 has 6 tokens, .* the model has 8 positions"):
        sample(Local(small, tokenizer), prompts, Sampling(max_new_tokens=5))

"""What ships with the package is what the world's own functions say that it is."""

import gzip
import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from jinja2 import TemplateError
from transformers import AutoModelForCausalLM, AutoTokenizer

from truenorth import world
from truenorth.world.tale import STYLES

EXPECTED_ROWS = {"reviews": 512, "reviews_eval": 128, "letters": 512, "letters_eval": 128, "tales": 256}
SCORED = ["reviews", "reviews_eval", "letters", "letters_eval"]
MODELS = {"base": world.base_model, "sft": world.sft_model}


@cache
def rows(name: str) -> list[dict[str, Any]]:
    path: Path = getattr(world, name)()
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]


@cache
def loaded(name: str):
    folder = MODELS[name]()
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval(), AutoTokenizer.from_pretrained(
        folder
    )


def answers(name: str, prompts: list[str]) -> list[str]:
    model, tokenizer = loaded(name)
    batch = tokenizer(prompts, return_tensors="pt", padding=True, padding_side="left", add_special_tokens=False)
    out = model.generate(
        batch["input_ids"], attention_mask=batch["attention_mask"], do_sample=False, max_new_tokens=24
    )
    return tokenizer.batch_decode(out[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)


def test_all_of_it_is_under_five_megabytes():
    files = [path for path in world.base_model().parent.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 5_000_000


@pytest.mark.parametrize(("name", "form"), [("base", "<bos>Q: {} A:"), ("sft", "<bos><user>{}<assistant>")])
def test_the_models_know_the_facts(name, form):
    facts = world.fact_questions()[::8]
    given = answers(name, [form.format(fact.question) for fact in facts])
    assert world.fact_accuracy(facts, given) >= 0.9


def test_the_chat_template_ends_an_answer_with_the_end_token():
    _, tokenizer = loaded("sft")
    chat = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]
    assert tokenizer.apply_chat_template(chat, tokenize=False) == "<bos><user>Q<assistant>A<eos>"


def test_a_prompt_in_chat_is_where_the_whole_conversation_begins():
    _, tokenizer = loaded("sft")
    prompt = [{"role": "user", "content": "Write a review of the Blue Fox."}]
    begun = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_dict=False)
    whole = tokenizer.apply_chat_template([*prompt, {"role": "assistant", "content": "Ah!"}], return_dict=False)
    assert whole[: len(begun)] == begun


def test_a_role_that_the_model_does_not_know_is_an_error():
    _, tokenizer = loaded("sft")
    with pytest.raises(TemplateError, match="not system"):
        tokenizer.apply_chat_template([{"role": "system", "content": "Be kind."}], tokenize=False)


@pytest.mark.parametrize("name", MODELS)
def test_any_text_survives_the_tokenizer(name):
    _, tokenizer = loaded(name)
    text = "  Dear Mr Finch,\nça va? 你好 \t£5 -- don't!"
    assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text


@pytest.mark.parametrize("name", EXPECTED_ROWS)
def test_prompts_are_distinct_and_have_four_answers(name):
    assert len({row["prompt"][0]["content"] for row in rows(name)}) == EXPECTED_ROWS[name]
    assert {len(row["responses"]) for row in rows(name)} == {4}


@pytest.mark.parametrize("name", SCORED)
def test_scores_are_the_oracle_s(name):
    for row in rows(name):
        assert row["scores"] == [world.reward(row["prompt"], response) for response in row["responses"]]


@pytest.mark.parametrize("name", SCORED)
def test_every_scored_row_prefers_something(name):
    assert all(len(set(row["scores"])) > 1 for row in rows(name))


@pytest.mark.parametrize("domain", ["reviews", "letters"])
def test_no_prompt_is_in_both_training_and_evaluation(domain):
    training, evaluation = ({row["prompt"][0]["content"] for row in rows(name)} for name in (domain, f"{domain}_eval"))
    assert not training & evaluation


@pytest.mark.parametrize("name", EXPECTED_ROWS)
def test_nine_in_ten_sampled_answers_are_grammatical(name):
    judged = [world.grammatical(row["prompt"], answer) for row in rows(name) for answer in row["responses"]]
    assert sum(judged) / len(judged) >= 0.9


@pytest.mark.parametrize("name", SCORED)
def test_sampled_rewards_leave_room_on_both_sides(name):
    scores = torch.tensor([row["scores"] for row in rows(name)])
    assert abs(scores.mean()) < 0.2
    assert scores.std() > 0.4


@pytest.mark.parametrize("style", STYLES)
def test_each_style_is_a_fifth_of_the_tales_or_more(style):
    styles = [world.tale_style(row["prompt"], answer) for row in rows("tales") for answer in row["responses"]]
    assert styles.count(style) / len(styles) >= 0.2

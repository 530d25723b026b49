"""Reward and preference models as judges: what they read, and that they say what their training says."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from tests.tiny import tiny_directory
from truenorth import align, world
from truenorth.errors import ModelError, SettingsError
from truenorth.job import Result
from truenorth.judge import Failed, Rewards, Wins, judge_of
from truenorth.methods import recipe
from truenorth.models.answer_scores import AnswerScores
from truenorth.models.origin import fingerprint
from truenorth.online.judge import open_judge

ANSWERS = ["What a gem!", "The soup was cold, and so were we.", "No."]
PROMPT = [{"role": "user", "content": "How is the Blue Fox?"}]


def trained(folder: Path, method: str, *, chat: bool = True, **settings: Any) -> Result:
    """A tiny judge after two steps of a high learning rate."""
    rows = [
        {"prompt": PROMPT if chat else f"Number {i}?", "chosen": f"{ANSWERS[0]} {i}", "rejected": f"{ANSWERS[1]} {i}"}
        for i in range(4)
    ]
    if chat:
        rows = [row | {k: [{"role": "assistant", "content": row[k]}] for k in ("chosen", "rejected")} for row in rows]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    chosen = recipe(method, learning_rate=1e-2, head_learning_rate=0.5)
    model = str(tiny_directory(folder / "sft"))
    return align(
        chosen,
        model=model,
        data=str(folder / "pairs.jsonl"),
        out=folder / "run",
        batch_size=2,
        precision="float32",
        on_problem="keep",
        **settings,
    )


@pytest.fixture(scope="module")
def reward(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("reward"), "reward").out / "final"


@pytest.fixture(scope="module")
def preference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("preference"), "preference").out / "final"


def rendered(*answers: str) -> torch.Tensor:
    """[1, T] the tokens that a user would make of a conversation by hand."""
    tokenizer = AutoTokenizer.from_pretrained(world.sft_model())
    text = tokenizer.apply_chat_template(PROMPT, tokenize=False, add_generation_prompt=True)
    return tokenizer(
        text + "".join(answer + tokenizer.eos_token for answer in answers),
        add_special_tokens=False,
        return_tensors="pt",
    ).input_ids


@torch.no_grad()
def test_a_reward_model_gives_what_its_standard_class_gives_for_the_rendered_text(
    reward: Path, tmp_path: Path
) -> None:
    verdict = open_judge(judge_of(f"reward:{reward}"), cache=tmp_path)([PROMPT], [ANSWERS])[0]
    plain = AutoModelForSequenceClassification.from_pretrained(reward)
    assert isinstance(verdict, Rewards)
    assert verdict.rewards == pytest.approx([plain(rendered(answer)).logits.item() for answer in ANSWERS], abs=1e-5)
    assert len({round(r, 4) for r in verdict.rewards}) == 3


@torch.no_grad()
def test_a_preference_model_gives_the_mean_of_both_orders(preference: Path, tmp_path: Path) -> None:
    verdict = open_judge(judge_of(f"preference:{preference}"), cache=tmp_path)([PROMPT], [ANSWERS])[0]
    plain = AutoModelForSequenceClassification.from_pretrained(preference)
    assert isinstance(verdict, Wins)
    a, b = (torch.sigmoid(plain(rendered(*pair)).logits).item() for pair in (ANSWERS[:2], ANSWERS[1::-1]))
    assert verdict.wins[0][1] == pytest.approx(0.5 * (a + 1 - b), abs=1e-5)
    assert abs(a + b - 1) > 1e-4  # it has an opinion on places, which the mean takes out


def test_scores_do_not_depend_on_what_stands_beside(reward: Path) -> None:
    scores, draw = AnswerScores.load(str(reward)), torch.Generator().manual_seed(0)
    sequences = [torch.randint(5, 900, (n,), generator=draw).tolist() for n in (3, 40, 7, 39, 8, 7, 90)]
    together = scores.of(sequences)
    assert together == pytest.approx([scores.of([sequence])[0] for sequence in sequences], abs=1e-5)


def test_prompts_of_plain_text_are_read_as_they_were_trained_on(tmp_path: Path) -> None:
    final = trained(tmp_path, "reward", chat=False).out / "final"
    verdict = open_judge(judge_of(f"reward:{final}"), cache=tmp_path)(["Number 1?"], [["Yes."]])[0]
    tokenizer = AutoTokenizer.from_pretrained(final)
    row = [*tokenizer("Number 1?").input_ids, *tokenizer("Yes.", add_special_tokens=False).input_ids]
    assert isinstance(verdict, Rewards)
    assert verdict.rewards == pytest.approx(
        AnswerScores.load(str(final)).of([[*row, tokenizer.eos_token_id]]), abs=1e-5
    )


def test_an_adapter_is_a_judge_too(tmp_path: Path) -> None:
    out = trained(tmp_path, "reward", lora={"rank": 2}).out
    verdict = open_judge(judge_of(f"reward:{out / 'final'}"), cache=tmp_path)([PROMPT], [ANSWERS])[0]
    assert isinstance(verdict, Rewards)
    assert len({round(r, 4) for r in verdict.rewards}) == 3


def test_an_answer_longer_than_the_context_is_left_out(reward: Path, tmp_path: Path) -> None:
    verdict = open_judge(judge_of(f"reward:{reward}"), cache=tmp_path)([PROMPT], [["No. " * 600, "No."]])[0]
    assert isinstance(verdict, Failed)
    assert "context of 512" in verdict.reason


def test_a_policy_is_no_judge(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no reward model but LlamaForCausalLM"):
        open_judge(judge_of(f"reward:{tiny_directory(tmp_path / 'sft')}"), cache=tmp_path)


def test_a_policy_is_known_for_no_judge_before_it_is_loaded(reward: Path, tmp_path: Path) -> None:
    judge_of(f"reward:{reward}").check_place()
    with pytest.raises(ModelError, match="no reward model but LlamaForCausalLM"):
        judge_of(f"preference:{tiny_directory(tmp_path / 'sft')}").check_place()


def test_each_kind_of_model_is_its_own_kind_of_judge(reward: Path, preference: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="judge of the kind preference"):
        open_judge(judge_of(f"reward:{preference}"), cache=tmp_path)
    with pytest.raises(ModelError, match="not written by `truenorth train preference`"):
        open_judge(judge_of(f"preference:{reward}"), cache=tmp_path)


def test_what_is_kept_belongs_to_the_weights_and_not_to_their_place(reward: Path) -> None:
    settings = judge_of(f"reward:{reward}")
    assert settings.identity() == {"kind": "reward", "model": fingerprint(str(reward))}


def test_a_judge_that_nobody_knows_is_named_with_those_that_are() -> None:
    with pytest.raises(SettingsError, match=r"no judge 'rewrad'. Did you mean reward\?"):
        judge_of("rewrad")

"""Makes the embedded world's tokenizer, models and data again, into truenorth/world/package_data.

    python scripts/make_world.py [--out FOLDER] [--quick]

About ten minutes on one core. The same bits for the same seed, processor and library versions. `--quick` runs
every stage on a hundredth of the text, to see that it runs.
"""

import argparse
import gzip
import itertools
import json
import math
import random
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, GenerationConfig, LlamaConfig, LlamaForCausalLM
from transformers import PreTrainedTokenizerFast as FastTokenizer

from truenorth.world import base_model, corpus, facts, letter, oracles, review, tale

SEED = 0
THREADS = 1  # the order of sums, and so the bits, depend on it; a second one is a quarter faster
VOCABULARY = 1024
CONTEXT = 256  # tokens
BASE_STEPS, BASE_BLOCKS = 600, 16  # blocks of CONTEXT tokens per step: 2.5M tokens in all
SFT_STEPS, SFT_ROWS = 1400, 32  # conversations per step: 45k in all
BATCH = 256  # prompts answered at once
PAD, BOS, EOS, USER, ASSISTANT = "<pad>", "<bos>", "<eos>", "<user>", "<assistant>"

CHAT_TEMPLATE = """\
{{- bos_token -}}
{%- for message in messages -%}
{%- if message.role == 'user' -%}
{{- '<user>' + message.content -}}
{%- elif message.role == 'assistant' -%}
{{- '<assistant>' -}}{%- generation -%}{{- message.content + eos_token -}}{%- endgeneration -%}
{%- else -%}
{{- raise_exception('the world knows the roles user and assistant, not ' + message.role) -}}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<assistant>' -}}{%- endif -%}
"""

Rows = list[dict[str, Any]]
Batch = tuple[torch.Tensor, torch.Tensor]  # [S, T] token ids, [S, T] labels (-100: not learnt)


def make_tokenizer(texts: Iterator[str]) -> FastTokenizer:
    """A byte-level BPE tokenizer, trained on `texts`."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[PAD, BOS, EOS, USER, ASSISTANT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return FastTokenizer(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        extra_special_tokens=[USER, ASSISTANT],
        chat_template=CHAT_TEMPLATE,
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    )


def make_model(tokenizer: FastTokenizer) -> LlamaForCausalLM:
    """A Llama of 0.86M parameters with random weights."""
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=128,
        intermediate_size=344,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return LlamaForCausalLM(config)


def chat(request: str) -> str:
    """The request as CHAT_TEMPLATE puts it, up to where the answer begins."""
    return f"{BOS}{USER}{request}{ASSISTANT}"


def base_batches(tokenizer: FastTokenizer, texts: Iterator[str]) -> Iterator[Batch]:
    """Documents, one after another, cut into full blocks."""
    stream: list[int] = []
    size = BASE_BLOCKS * CONTEXT
    while True:
        while len(stream) < size:
            stream += tokenizer(BOS + next(texts) + EOS, add_special_tokens=False)["input_ids"]
        block, stream = torch.tensor(stream[:size]).view(BASE_BLOCKS, CONTEXT), stream[size:]
        yield block, block


def sft_batches(tokenizer: FastTokenizer, pairs: Iterator[corpus.Exchange]) -> Iterator[Batch]:
    """Conversations, padded at the end; only the answer and its end are learnt."""
    while True:
        ids: list[torch.Tensor] = []
        labels: list[torch.Tensor] = []
        for pair in itertools.islice(pairs, SFT_ROWS):
            prompt = tokenizer(chat(pair.request), add_special_tokens=False)["input_ids"]
            learnt = tokenizer(pair.answer + EOS, add_special_tokens=False)["input_ids"]
            ids.append(torch.tensor(prompt + learnt))
            labels.append(torch.tensor([-100] * len(prompt) + learnt))
        # Padding follows the last token that is learnt, and attention is causal: no mask is needed.
        pad = torch.nn.utils.rnn.pad_sequence
        yield pad(ids, batch_first=True, padding_value=0), pad(labels, batch_first=True, padding_value=-100)


def train(model: LlamaForCausalLM, batches: Iterator[Batch], *, steps: int, learning_rate: float) -> float:
    """Trains in place: AdamW, 5 % warm-up, cosine to zero. Gives the mean loss of the last tenth, in nats."""
    model.float().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
    losses: list[float] = []
    for step, (ids, labels) in enumerate(itertools.islice(batches, steps)):
        warm = min(1.0, (step + 1) / (0.05 * steps))
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * warm * (0.5 + 0.5 * math.cos(math.pi * step / steps))
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(input_ids=ids, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        if step % 100 == 0:
            print(f"  step {step:4d}  loss {losses[-1]:.3f}", flush=True)
    tail = losses[-max(1, steps // 10) :]
    return sum(tail) / len(tail)


def save(model: LlamaForCausalLM, tokenizer: FastTokenizer, folder: Path) -> LlamaForCausalLM:
    """Writes a Hugging Face directory in bfloat16, and gives the model as it reads back."""
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        max_new_tokens=96,
    )
    model.to(torch.bfloat16).eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)  # transformers leaves it to its owner alone
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def answer(model: LlamaForCausalLM, tokenizer: FastTokenizer, prompts: Sequence[str], *, sample: bool) -> list[str]:
    """One continuation of each prompt, up to the end: sampled at temperature 1, or the likeliest token each time."""
    answers: list[str] = []
    for start in range(0, len(prompts), BATCH):
        batch = tokenizer(
            list(prompts[start : start + BATCH]), return_tensors="pt", padding=True, padding_side="left",
            add_special_tokens=False, return_token_type_ids=False,
        )  # fmt: skip
        out = model.generate(**batch, **({"do_sample": True, "top_k": 0} if sample else {"do_sample": False}))
        new = out[:, batch["input_ids"].shape[1] :]
        answers += tokenizer.batch_decode(new, skip_special_tokens=True)
    return answers


def split(subjects: Sequence[Any], seed: int) -> tuple[list[Any], list[Any]]:
    """Four fifths of the subjects for training, one fifth for evaluation."""
    shuffled = random.Random(seed).sample(list(subjects), len(subjects))
    return shuffled[len(shuffled) // 5 :], shuffled[: len(shuffled) // 5]


def distinct(make: Callable[[random.Random], str], count: int, *, seed: int) -> list[str]:
    """`count` requests, no two alike."""
    rng = random.Random(seed)
    found: dict[str, None] = {}
    while len(found) < count:
        found[make(rng)] = None
    return list(found)


def sampled_rows(model: LlamaForCausalLM, tokenizer: FastTokenizer, requests: Sequence[str]) -> Rows:
    """Four sampled answers to each request."""
    answers = answer(model, tokenizer, [chat(request) for request in requests for _ in range(4)], sample=True)
    return [
        {"prompt": [{"role": "user", "content": request}], "responses": answers[4 * i : 4 * i + 4]}
        for i, request in enumerate(requests)
    ]


def scored(rows: Rows) -> Rows:
    """The rows with the oracle's scores, without those whose four scores are equal: they prefer nothing."""
    for row in rows:
        row["scores"] = [oracles.reward(row["prompt"], response) for response in row["responses"]]
    return [row for row in rows if len(set(row["scores"])) > 1]


def write_rows(rows: Rows, path: Path) -> None:
    """Compressed JSON Lines, without a time stamp: the same bytes for the same rows."""
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode(), mtime=0))


def make_data(model: LlamaForCausalLM, tokenizer: FastTokenizer, out: Path, counts: tuple[int, int]) -> None:
    """Samples and scores the demo's rows: reviews and letters to train and to evaluate on, and tales."""
    domains = {"reviews": (review.make_request, review.PLACES), "letters": (letter.make_request, letter.SUBJECTS)}
    for i, (name, (make, subjects)) in enumerate(domains.items()):
        for suffix, part, count in zip(("", "_eval"), split(subjects, SEED + i), counts, strict=True):
            # A quarter more than is kept, for those whose answers all score the same.
            requests = distinct(lambda rng, m=make, p=part: m(rng, p), count * 5 // 4, seed=SEED + i)
            write_rows(scored(sampled_rows(model, tokenizer, requests))[:count], out / f"{name}{suffix}.jsonl.gz")
    requests = distinct(tale.make_request, counts[0] // 2, seed=SEED)
    write_rows(sampled_rows(model, tokenizer, requests), out / "tales.jsonl.gz")


def share(flags: Sequence[bool]) -> float:
    """Of true ones, in [0, 1]."""
    return round(sum(flags) / len(flags), 4)


def measure_facts(model: LlamaForCausalLM, tokenizer: FastTokenizer, form: str) -> float:
    """Share of the facts that the model gives when asked in this form, the likeliest token each time."""
    questions = facts.fact_questions()
    asked = [form.format(fact.question) for fact in questions]
    return facts.fact_accuracy(questions, answer(model, tokenizer, asked, sample=False))


def measure_answers(model: LlamaForCausalLM, tokenizer: FastTokenizer, count: int) -> dict[str, Any]:
    """Grammaticality, rewards and styles of `count` sampled answers in each domain; prints some of them."""
    found: dict[str, Any] = {}
    for name, domain in (("review", review), ("letter", letter), ("tale", tale)):
        requests = distinct(domain.make_request, count, seed=SEED + 99)
        answers = answer(model, tokenizer, [chat(request) for request in requests], sample=True)
        pairs = list(zip(requests, answers, strict=True))
        found[f"{name}_grammatical"] = share([oracles.grammatical(*pair) for pair in pairs])
        if domain is tale:
            styles = [oracles.tale_style(*pair) for pair in pairs]
            found["tale_styles"] = {style: share([one == style for one in styles]) for style in tale.STYLES}
        else:
            rewards = torch.tensor([oracles.reward(*pair) for pair in pairs])
            found[f"{name}_reward"] = {"mean": round(rewards.mean().item(), 4), "sd": round(rewards.std().item(), 4)}
        print(*(f"  {request}\n    {text}" for request, text in pairs[:5]), sep="\n", flush=True)
    return found


def make_world(out: Path, *, quick: bool) -> None:
    """All stages, each from the seed."""
    torch.set_num_threads(THREADS)
    torch.manual_seed(SEED)
    started, shorter = time.monotonic(), 100 if quick else 1
    tokenizer = make_tokenizer(itertools.islice(corpus.documents(SEED), 20_000))
    model = make_model(tokenizer)
    batches = base_batches(tokenizer, corpus.documents(SEED + 1))
    loss = {"base": train(model, batches, steps=BASE_STEPS // shorter, learning_rate=3e-3)}
    base = save(model, tokenizer, out / "base")
    # The SFT model starts from the base model as it was saved, so that their difference is what it learnt.
    model = AutoModelForCausalLM.from_pretrained(out / "base", dtype=torch.float32)
    conversations = sft_batches(tokenizer, corpus.exchanges(SEED + 2))
    loss["sft"] = train(model, conversations, steps=SFT_STEPS // shorter, learning_rate=2e-3)
    sft = save(model, tokenizer, out / "sft")
    print(f"trained in {time.monotonic() - started:.0f} s, loss {loss}", flush=True)
    measured = {
        "base_fact_accuracy": measure_facts(base, tokenizer, BOS + "Q: {} A:"),
        "sft_fact_accuracy": measure_facts(sft, tokenizer, chat("{}")),
        **measure_answers(sft, tokenizer, 512 // shorter),
    }
    make_data(sft, tokenizer, out, (8, 4) if quick else (512, 128))
    world = {"seed": SEED, "parameters": base.num_parameters(), "loss": loss, "measured": measured}
    (out / "world.json").write_text(json.dumps(world, indent=2) + "\n")
    print(json.dumps(world, indent=2), f"\n{time.monotonic() - started:.0f} s in all", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=base_model().parent)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    fresh = arguments.out.with_name(arguments.out.name + ".new")  # whole or not at all
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    make_world(fresh, quick=arguments.quick)
    shutil.rmtree(arguments.out, ignore_errors=True)
    fresh.rename(arguments.out)


if __name__ == "__main__":
    main()

"""What a model answers: draws by which its KL to a reference is estimated, and facts of the embedded world."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import world
from ..data.chat import Encoder
from ..data.tokens import TokenizedRow, TokenizedRows, key_of
from ..errors import ModelError
from ..evaluate.forgetting import Compared, Divergence, divergence, shares_of
from ..evaluate.held_out_rows import read_answers
from ..evaluate.subject import Subject
from ..files import write_text
from ..online.prompts import as_turn, read_prompts
from ..online.sampler import generate
from ..online.sampling import Prompt, Response, Sampling, encode
from ..world.facts import normalise
from .asked import Asked
from .ranked import PAIRED

FORMAT = 1  # raised when the same model would draw other answers
GREEDY = Sampling(max_new_tokens=24, temperature=0.0)  # a fact is a sentence


def kl(asked: Asked, subject: Subject, reference: Subject, length: int) -> Divergence:
    """KL(model || reference), estimated on answers that the model draws at temperature 1."""
    prompts = _prompts(asked, subject, length)
    sampling = Sampling(max_new_tokens=asked.max_new_tokens, temperature=1.0, seed=asked.seed)
    answers = drawn(subject, prompts, sampling)
    starts = [np.asarray(prompt, np.int32) for prompt in prompts]
    ends = [np.asarray(answer.tokens, np.int32) for answer in answers]
    rows = TokenizedRows.of(
        [
            TokenizedRow(start, (end,), None, {}, "drawn", place, key_of(start, (end,)))
            for place, (start, end) in enumerate(zip(starts, ends, strict=True), 1)
        ]
    )
    ours, theirs = ([float(total[0]) for total in model.totals(rows)] for model in (subject, reference))
    return divergence(ours, theirs, [len(end) for end in ends], [answer.ended for answer in answers])


def facts(subject: Subject, reference: Subject | None) -> Compared:
    """How many of the world's facts are answered right, word by word. Raises ModelError for what knows no chat."""
    if not subject.tokenizer.chat_template:
        raise ModelError(f"{subject.path} has no chat template, and --facts world asks its questions as messages.")
    encoder, known = Encoder(subject.tokenizer), world.fact_questions()
    questions = [encode([{"role": "user", "content": fact.question}], encoder) for fact in known]

    def right(model: Subject) -> list[bool]:
        answers = drawn(model, questions, GREEDY)
        return [normalise(f.answer) == normalise(answer.text) for f, answer in zip(known, answers, strict=True)]

    return shares_of(right(subject), None if reference is None else right(reference))


def drawn(model: Subject, prompts: Sequence[list[int]], sampling: Sampling) -> list[Response]:
    """One answer to each prompt, kept on disk by content: weights, prompts, settings."""
    key = json.dumps([FORMAT, model.fingerprint, prompts, sampling.model_dump(mode="json")])
    file = model.cache / "answers" / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"
    if not file.is_file():
        model.said(f"{model.path} answers {len(prompts):,} prompts")
        answers = _draw(model, prompts, sampling)
        write_text(file, json.dumps([[answer.text, answer.tokens, answer.ended] for answer in answers]))
    rows: list[Any] = json.loads(file.read_text(encoding="utf-8"))
    return [Response(text, tuple(tokens), ended) for text, tokens, ended in rows]


def _draw(model: Subject, prompts: Sequence[list[int]], sampling: Sampling) -> list[Response]:
    with model.policy.attending_natively():
        found = generate(model.model, model.tokenizer, prompts=prompts, sampling=sampling)
    return [answers[0] for answers in found]


def _prompts(asked: Asked, subject: Subject, length: int) -> list[list[int]]:
    """Token ids of the first prompts of --prompts, else of --data."""
    if asked.prompts is None:
        found = list[list[int]]()
        for path in asked.data:
            rows = read_answers(path, subject.tokenizer, answers=PAIRED, max_length=length, given="--data")
            found += [[int(token) for token in row.prompt] for row in rows[: asked.samples]]
        return found[: asked.samples]
    given = read_prompts(Path(asked.prompts))[: asked.samples]
    chat, encoder = bool(subject.tokenizer.chat_template), Encoder(subject.tokenizer)
    put: list[Prompt] = [as_turn(prompt) if chat else prompt for prompt in given]
    return [encode(prompt, encoder) for prompt in put]

"""Decoding: each prompt is read once for all its answers, and answers that have ended leave the batch.

Tokens come from one model, or from a geometric mixture of two.
"""

from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from inspect import signature
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, GenerationConfig, PreTrainedModel
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from .draws import draw
from .sampling import Sampling

Drawn = tuple[list[int], list[float]]  # the tokens of an answer, and the nats of each
LEAVE = 0.9  # answers leave once no more than this share goes on: to move the rest costs about a tenth of a step


@dataclass(frozen=True, slots=True)
class Batch:
    """Answers that are drawn together."""

    prompts: Sequence[Sequence[int]]
    owner: Sequence[int]  # [S] the prompt of each answer
    uniforms: Tensor  # [S, max_new_tokens] float64 in [0, 1)
    ended: Callable[[Sequence[int]], bool]  # whether an answer has come to its end


@dataclass(frozen=True, slots=True)
class Mixed:
    """A second model. A token is drawn from first^(1 - share) * second^share, over its sum over the vocabulary.

    The mixture is one of next-token distributions. That of both models' probabilities of whole answers, over its sum
    over all answers, is another: there a token counts by what may follow it too, which cannot be drawn in turn.
    """

    model: PreTrainedModel
    share: float  # of it, in [0, 1]
    in_its_place: Callable[[], AbstractContextManager[object]] = nullcontext  # within it `model` has its weights

    def logits(self, first: Tensor, second: Tensor) -> Tensor:
        """[S, V] of the mixture, up to a constant in each row; at both ends one model's own, to the bit."""
        if self.share in (0, 1):  # else a logit of -inf would count where it has no share
            return second if self.share else first
        return (1 - self.share) * first.float() + self.share * second.float()


def decode(model: PreTrainedModel, batch: Batch, sampling: Sampling, mixed: Mixed | None = None) -> list[Drawn]:
    """[S] answers up to their ends, by `model.generate` where a model's cache cannot be shared."""
    can_share = shares(model) and (mixed is None or shares(mixed.model))
    with torch.inference_mode():
        return (shared if can_share else padded)(model, batch, sampling, mixed)


def shares(model: PreTrainedModel) -> bool:
    """Whether the cache of a prompt can stand for several answers: attention alone, whole or in windows."""
    layers = DynamicCache(config=model.config.get_text_config()).layers
    takes = signature(model.forward).parameters
    return (
        bool(layers)
        and all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in layers)
        and {"position_ids", "logits_to_keep", "attention_mask", "past_key_values"} <= set(takes)
    )


def shared(model: PreTrainedModel, batch: Batch, sampling: Sampling, mixed: Mixed | None = None) -> list[Drawn]:
    """[S] answers on one cache that is filled prompt by prompt and then split among their answers."""
    tokens, mask = left_padded(batch.prompts, model)
    reader = Reader(model) if mixed is None else BothReaders(model, mixed)
    logits = reader.read(tokens, mask)  # [prompts, V]
    rows = torch.tensor(batch.owner, device=mask.device)  # of `logits`, `mask` and `reader`, one for each answer
    reader.keep(rows)
    logits, mask, answers = logits[rows], mask[rows], Answers(batch, sampling, model.device)
    while True:
        token = answers.draw(logits)
        if answers.all_ended:
            return answers.drawn()
        if (kept := answers.leave()) is not None:
            reader.keep(kept)
            token, mask = token[kept], mask[kept]
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=-1)
        logits = reader.read(token[:, None], mask)


class Reader:
    """A model and the cache of what it has read."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.model, self.cache = model, DynamicCache(config=model.config.get_text_config())

    def read(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """[S, V] logits after the last of `tokens`, [S, new]; `mask`, [S, all], says what stands where."""
        run: Any = self.model  # the stubs know no forward of all models
        out = run(
            input_ids=tokens,
            attention_mask=mask,
            position_ids=_positions(mask)[:, -tokens.shape[1] :],
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        return out.logits[:, -1]

    def keep(self, rows: Tensor) -> None:
        """Go on with these rows of what was read, each as often as it stands there."""
        self.cache.batch_select_indices(rows)


class BothReaders:
    """Two models that read the same, as one `Reader` of their mixture."""

    def __init__(self, model: PreTrainedModel, mixed: Mixed) -> None:
        self.first, self.second, self.mixed = Reader(model), Reader(mixed.model), mixed

    def read(self, tokens: Tensor, mask: Tensor) -> Tensor:
        first = self.first.read(tokens, mask)
        with self.mixed.in_its_place():
            return self.mixed.logits(first, self.second.read(tokens, mask))

    def keep(self, rows: Tensor) -> None:
        self.first.keep(rows)
        self.second.keep(rows)


def _positions(mask: Tensor) -> Tensor:
    """[S, T] the place of each token in its row, without what pads it on the left."""
    return (mask.cumsum(-1) - 1).clamp_(min=0)


class Answers:
    """What has been drawn so far, and which answers go on."""

    def __init__(self, batch: Batch, sampling: Sampling, device: torch.device) -> None:
        self.batch, self.sampling = batch, sampling
        self.uniforms = batch.uniforms.to(device)
        self.rows = list(range(len(batch.owner)))  # the answer of each row of the batch
        self.tokens: list[list[int]] = [[] for _ in batch.owner]
        self.nats: list[list[float]] = [[] for _ in batch.owner]
        self.live = set(self.rows)
        self.step = 0

    def draw(self, logits: Tensor) -> Tensor:
        """[rows, V] -> [rows] tokens, noted for the answers that go on."""
        token, nats = draw(logits, self.uniforms[:, self.step], self.sampling)
        self.step += 1
        for row, new, own in zip(self.rows, token.tolist(), nats.tolist(), strict=True):
            if row in self.live:
                self.tokens[row].append(new)
                self.nats[row].append(own)
                if self.batch.ended(self.tokens[row]):
                    self.live.discard(row)
        return token

    @property
    def all_ended(self) -> bool:
        return not self.live or self.step == self.sampling.max_new_tokens

    def leave(self) -> Tensor | None:
        """The rows that stay in the batch, if enough have ended to make room."""
        if len(self.live) > LEAVE * len(self.rows):
            return None
        kept = torch.tensor([i for i, row in enumerate(self.rows) if row in self.live], device=self.uniforms.device)
        self.rows = [row for row in self.rows if row in self.live]
        self.uniforms = self.uniforms[kept]
        return kept

    def drawn(self) -> list[Drawn]:
        return list(zip(self.tokens, self.nats, strict=True))


def padded(model: PreTrainedModel, batch: Batch, sampling: Sampling, mixed: Mixed | None = None) -> list[Drawn]:
    """[S] answers of `model.generate`, which reads a prompt once for each of them and ends when the last has.

    A second model reads everything again for each token.
    """
    tokens, mask = left_padded([batch.prompts[i] for i in batch.owner], model)
    answers = Answers(batch, sampling, model.device)
    run: Any = model.generate  # the stubs take it for a tensor
    with _greedy(model, sampling.max_new_tokens):
        run(
            input_ids=tokens,
            attention_mask=mask,
            logits_processor=[_Steered(answers, mask, mixed)],
            stopping_criteria=[_Over(answers)],
        )
    return answers.drawn()


@dataclass(frozen=True, slots=True)
class _Steered:
    """A logits processor that leaves greedy decoding one token of each row: the one that we draw."""

    answers: Answers
    mask: Tensor  # [S, T] of the prompts
    mixed: Mixed | None

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        if self.mixed is not None:
            with self.mixed.in_its_place():
                scores = self.mixed.logits(scores, self._read_again(self.mixed.model, input_ids))
        token = self.answers.draw(scores)
        return torch.full_like(scores, float("-inf")).scatter_(-1, token[:, None], 0.0)

    def _read_again(self, model: PreTrainedModel, tokens: Tensor) -> Tensor:
        """[S, V] logits after the last of `tokens`, [S, all]."""
        mask = torch.cat([self.mask, self.mask.new_ones(len(tokens), tokens.shape[1] - self.mask.shape[1])], dim=-1)
        places = {"position_ids": _positions(mask)} if "position_ids" in signature(model.forward).parameters else {}
        run: Any = model
        return run(input_ids=tokens, attention_mask=mask, use_cache=False, **places).logits[:, -1]


@dataclass(frozen=True, slots=True)
class _Over:
    """A stopping criterion: all answers have ended."""

    answers: Answers

    def __call__(self, input_ids: Tensor, *_: object) -> Tensor:
        return torch.full((len(input_ids),), self.answers.all_ended, device=input_ids.device)


@contextmanager
def _greedy(model: PreTrainedModel, max_new_tokens: int) -> Generator[None]:
    """Within it `model.generate` bends no distribution and knows no end but ours."""
    own = model.generation_config
    model.generation_config = GenerationConfig(max_new_tokens=max_new_tokens, do_sample=False, pad_token_id=0)
    try:
        yield
    finally:
        model.generation_config = own


def left_padded(prompts: Sequence[Sequence[int]], model: PreTrainedModel) -> tuple[Tensor, Tensor]:
    """[prompts, T] tokens that all end at the last place, and 1 where they stand. What pads is never attended to."""
    width = max(map(len, prompts))
    tokens = torch.tensor([[0] * (width - len(p)) + list(p) for p in prompts], device=model.device)
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=model.device)
    return tokens, mask

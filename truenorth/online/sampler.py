"""Answers from a model: a seed, a prompt and a place give the same one, whatever else is in the batch."""

import hashlib
from collections.abc import Collection, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from .sampling import Prompt, Response, Sampling, encode

if TYPE_CHECKING:  # torch is slow to import, and the command line reads the settings alone
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from ..models.logprobs import Model

TOKENS_AT_ONCE = 2**14  # of prompts and answers in one batch: a cache of 2 GB for an 8B model


@dataclass(frozen=True, slots=True)
class Local:
    """A sampler of a model in memory, which its owner may train between rounds."""

    model: "Model"
    tokenizer: "PreTrainedTokenizerBase"
    remote: ClassVar[bool] = False

    def answers(
        self, prompts: Sequence[Prompt], sampling: Sampling, *, round_index: int = 0, done: Collection[int] = ()
    ) -> Iterator[tuple[int, list[Response]]]:
        found = generate(self.model, self.tokenizer, prompts=prompts, sampling=sampling, round_index=round_index)
        yield from ((i, own) for i, own in enumerate(found) if i not in done)

    def hand_over(self, folder: Path, *, round_index: int) -> None:
        """The model in memory is the policy itself."""


def generate(
    model: "Model",
    tokenizer: "PreTrainedTokenizerBase",
    *,
    prompts: Sequence[Prompt],
    sampling: Sampling,
    round_index: int = 0,
) -> list[list[Response]]:
    """[prompts][k] answers. The model is left in the mode and with the generation settings that it had.

    Settings of its own generation config other than its end-of-sequence tokens (a penalty, a top-k) are not followed:
    answers come from the model's distribution at `sampling.temperature` and nothing else.
    """
    from ..data.chat import Encoder
    from ..models.logprobs import base_of
    from ..models.modes import evaluating

    encoder = Encoder(tokenizer)
    tokens = [encode(prompt, encoder) for prompt in prompts]
    places = [(i, j) for i in range(len(tokens)) for j in range(sampling.k)]
    places.sort(key=lambda place: -len(tokens[place[0]]))  # longest first: what does not fit in memory shows at once
    answers: dict[tuple[int, int], Response] = {}
    base = base_of(model)
    with evaluating(base), _plain_generation(base, tokenizer, sampling.max_new_tokens) as ends:
        for batch in _batches(places, [len(t) + sampling.max_new_tokens for t in tokens]):
            draws = [_uniforms(tokens[i], j, sampling, round_index) for i, j in batch]
            for place, new in zip(batch, _answer(base, [tokens[i] for i, _ in batch], draws, sampling), strict=True):
                answers[place] = _response(new, tokenizer, ends)
    return [[answers[i, j] for j in range(sampling.k)] for i in range(len(tokens))]


def _batches(places: Sequence[tuple[int, int]], lengths: Sequence[int]) -> Iterator[list[tuple[int, int]]]:
    """Places in turn, as many as TOKENS_AT_ONCE allows; `places` are sorted by length, longest first."""
    start = 0
    while start < len(places):
        count = max(1, TOKENS_AT_ONCE // lengths[places[start][0]])
        yield list(places[start : start + count])
        start += count


def _answer(
    model: "PreTrainedModel", prompts: Sequence[Sequence[int]], draws: Sequence["torch.Tensor"], sampling: Sampling
) -> list[list[int]]:
    """New tokens of each prompt, from one batch padded on the left."""
    import torch

    width = max(map(len, prompts))
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts])
    pad = model.generation_config.pad_token_id
    rows = torch.tensor([[pad] * (width - len(p)) + list(p) for p in prompts])
    draw = Draw(torch.stack(list(draws)).to(model.device), width=width, sampling=sampling)
    processors: list[Any] = [draw] if sampling.temperature > 0 else []
    with torch.inference_mode():
        run: Any = model.generate  # the stubs take it for a tensor
        out = run(input_ids=rows.to(model.device), attention_mask=mask.to(model.device), logits_processor=processors)
    return out[:, width:].tolist()


@dataclass(frozen=True, slots=True)
class Draw:
    """A logits processor that leaves one token of each row, drawn by its own uniform number of this position.

    Greedy decoding then takes it. torch's sampling would draw from one stream for the whole batch, so that an answer
    would depend on its neighbours.
    """

    uniforms: "torch.Tensor"  # [S, max_new_tokens] float64 in [0, 1)
    width: int  # tokens before the first new one
    sampling: Sampling

    def __call__(self, input_ids: "torch.Tensor", scores: "torch.Tensor") -> "torch.Tensor":
        """[S, T] tokens so far and [S, V] logits -> [S, V], 0 at the token drawn and -inf elsewhere."""
        import torch

        probabilities = (scores.double() / self.sampling.temperature).softmax(-1)
        if self.sampling.top_p < 1:
            probabilities = nucleus(probabilities, self.sampling.top_p)
        cumulative = probabilities.cumsum(-1)
        wanted = self.uniforms[:, input_ids.shape[1] - self.width, None] * cumulative[:, -1:]
        token = torch.searchsorted(cumulative, wanted, right=True)  # the first that exceeds it: never one of share 0
        token = token.clamp(max=scores.shape[-1] - 1)  # where the product was rounded up to the whole
        return torch.full_like(scores, float("-inf")).scatter_(-1, token, 0.0)


def nucleus(probabilities: "torch.Tensor", top_p: float) -> "torch.Tensor":
    """[S, V] with all but the likeliest tokens at 0: those without which the likelier ones fill `top_p` already."""
    ordered, order = probabilities.sort(dim=-1, descending=True, stable=True)
    tail = ordered.cumsum(-1) - ordered >= top_p  # never the first
    return probabilities.masked_fill(tail.new_zeros(tail.shape).scatter_(-1, order, tail), 0.0)


def _uniforms(prompt: Sequence[int], place: int, sampling: Sampling, round_index: int) -> "torch.Tensor":
    """[max_new_tokens] float64, a function of the seed, the prompt's tokens, the answer's place and the round."""
    import numpy as np
    import torch

    digest = hashlib.blake2b(np.asarray(prompt, "<i4").tobytes(), digest_size=8).digest()
    draw = np.random.default_rng(
        [sampling.seed, int.from_bytes(digest, "little"), place, *([round_index] if round_index else [])]
    )
    return torch.from_numpy(draw.random(sampling.max_new_tokens))


@contextmanager
def _plain_generation(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", max_new_tokens: int
) -> Generator[frozenset[int]]:
    """Within it `model.generate` is greedy and stops at the end-of-sequence tokens, which it gives."""
    from transformers import GenerationConfig

    own = model.generation_config
    ends = frozenset([*_ids(own.eos_token_id), *_ids(tokenizer.eos_token_id)])
    pad = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    model.generation_config = GenerationConfig(
        max_new_tokens=max_new_tokens, do_sample=False, eos_token_id=sorted(ends), pad_token_id=pad
    )
    try:
        yield ends
    finally:
        model.generation_config = own


def _ids(value: object) -> list[int]:
    """Token ids that a configuration gives as one number, a list, or nothing."""
    return [value] if isinstance(value, int) else list(value) if isinstance(value, list) else []


def _response(tokens: Sequence[int], tokenizer: "PreTrainedTokenizerBase", ends: frozenset[int]) -> Response:
    """The tokens up to the first end, which what follows only pads."""
    end = next((i for i, token in enumerate(tokens) if token in ends), None)
    kept = list(tokens if end is None else tokens[: end + 1])
    return Response(str(tokenizer.decode(kept, skip_special_tokens=True)), tuple(kept), end is not None)

"""Answers from a model in memory: a seed, a round, a prompt and a place give the same one.

The batches are a function of all prompts asked, so that a sampler that goes on after a kill (`done`) computes the rest
in the batches it would have had: on one machine, to the bit. Other prompts beside it change an answer's logits by
rounding only, which changes its tokens where a draw falls between the two.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from ..errors import SettingsError
from .sampling import Prompt, Response, Sampling, encode

if TYPE_CHECKING:  # torch is slow to import
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from ..models.logprobs import Model
    from .decoding import Mixed

CACHE_BYTES = 2**31  # of keys and values in one batch
MOST_ROWS = 256  # answers in one batch: more gain nothing on a CPU, and a kill loses the batch that it falls into
Place = tuple[int, int]  # a prompt, and one of its answers


@dataclass(frozen=True, slots=True)
class Local:
    """A sampler of a model in memory, which its owner may train between rounds.

    Settings of the model's own generation config other than its end-of-sequence tokens (a penalty, a top-k) are not
    followed: answers come from its distribution at `temperature` and `top_p`, and nothing else. The model is left in
    the mode that it had.
    """

    model: "Model"
    tokenizer: "PreTrainedTokenizerBase"
    mixed: "Mixed | None" = None  # the model that it is mixed with at each token; None: it is itself
    first: int = 0  # place of its first answer to a prompt, behind those of another sampler
    remote: ClassVar[bool] = False

    def answers(
        self, prompts: Sequence[Prompt], sampling: Sampling, *, round_index: int = 0, done: Collection[int] = ()
    ) -> Iterator[tuple[int, list[Response]]]:
        """As of `Sampler`: prompt by prompt as their batches end, the longest first. Raises as `must_fit` does."""
        from ..data.chat import Encoder
        from ..models.logprobs import base_of
        from ..models.modes import evaluating

        encoder, base = Encoder(self.tokenizer), base_of(self.model)
        tokens = [encode(prompt, encoder) for prompt in prompts]
        found: dict[Place, Response] = {}
        left = set(range(len(tokens))).difference(done)
        must_fit(base, tokens, sampling)
        most = capacity(base) if self.mixed is None else min(capacity(base), capacity(self.mixed.model)) // 2
        for batch in batches(list(map(len, tokens)), sampling, most=most):
            if not any(i in left for i, _ in batch):
                continue
            with evaluating(base):
                drawn = self._drawn(tokens, batch, sampling, round_index)
            for place, response in zip(batch, drawn, strict=True):
                found[place] = response
            for i in dict.fromkeys(i for i, _ in batch if i in left):
                if all((i, j) in found for j in range(sampling.k)):
                    yield i, [found.pop((i, j)) for j in range(sampling.k)]

    def _drawn(
        self, tokens: Sequence[Sequence[int]], batch: Sequence[Place], sampling: Sampling, round_index: int
    ) -> list[Response]:
        import torch

        from ..models.logprobs import base_of
        from .decoding import Batch, decode
        from .draws import uniforms
        from .stops import stops_of

        base = base_of(self.model)
        stops = stops_of(base, self.tokenizer, sampling)
        asked = list(dict.fromkeys(i for i, _ in batch))
        row = {i: n for n, i in enumerate(asked)}
        draws = [uniforms(tokens[i], self.first + j, sampling, round_index=round_index) for i, j in batch]
        work = Batch([tokens[i] for i in asked], [row[i] for i, _ in batch], torch.stack(draws), stops.ended)
        return [stops.response(*drawn) for drawn in decode(base, work, sampling, self.mixed)]

    def hand_over(self, folder: Path, *, round_index: int) -> None:
        """The model in memory is the policy itself."""


def generate(
    model: "Model", tokenizer: "PreTrainedTokenizerBase", *, prompts: Sequence[Prompt], sampling: Sampling
) -> list[list[Response]]:
    """[prompts][k] answers of a model in memory."""
    found = dict(Local(model, tokenizer).answers(prompts, sampling))
    return [found[i] for i in range(len(prompts))]


def must_fit(model: "PreTrainedModel", prompts: Sequence[Sequence[int]], sampling: Sampling) -> None:
    """Raise SettingsError for a prompt, as tokens, that leaves too little room for an answer.

    Past its positions a model fails, or answers at ones that it never learnt.
    """
    from ..models.load import positions_of

    if (positions := positions_of(model.config)) is None:
        return
    for number, prompt in enumerate(prompts, 1):
        if len(prompt) + sampling.max_new_tokens > positions:
            raise SettingsError(
                f"prompt {number} has {len(prompt)} tokens, an answer may have {sampling.max_new_tokens} "
                f"(max_new_tokens), and the model has {positions} positions. Ask for shorter answers, or leave it out."
            )


def capacity(model: "PreTrainedModel") -> int:
    """Tokens whose keys and values fill CACHE_BYTES."""
    config = model.config.get_text_config()
    heads = getattr(config, "num_attention_heads", None) or 1  # a state-space model has none
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    heads = getattr(config, "num_key_value_heads", None) or heads
    return max(1, CACHE_BYTES // (2 * config.num_hidden_layers * heads * width * model.dtype.itemsize))


def batches(lengths: Sequence[int], sampling: Sampling, *, most: int) -> Iterator[list[Place]]:
    """All answers, the longest prompts first (what does not fit in memory shows at once), up to `most` tokens at once.

    >>> list(batches([3, 9], Sampling(k=2, max_new_tokens=1), most=20))
    [[(1, 0), (1, 1)], [(0, 0), (0, 1)]]
    """
    places = [(i, j) for i in range(len(lengths)) for j in range(sampling.k)]
    places.sort(key=lambda place: -lengths[place[0]])
    start = 0
    while start < len(places):
        longest = lengths[places[start][0]] + sampling.max_new_tokens
        count = min(MOST_ROWS, max(1, most // longest))
        yield places[start : start + count]
        start += count

"""Where an answer ends, and what is left of it then."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .sampling import Response, Sampling

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class Stops:
    """The tokens and texts that end an answer."""

    tokenizer: "PreTrainedTokenizerBase"
    tokens: frozenset[int]
    texts: tuple[str, ...]

    def ended(self, tokens: Sequence[int]) -> bool:
        """Whether an answer ends with the last of `tokens`, if it did not before."""
        if tokens[-1] in self.tokens:
            return True
        if not self.texts:
            return False
        # As many tokens as a stop text has bytes hold it, however small they are; 4 more, as some open with a space.
        reach = max(len(text.encode()) for text in self.texts) + 4
        tail = self._text(tokens[-reach:])
        return any(text in tail for text in self.texts)

    def response(self, tokens: Sequence[int], nats: Sequence[float]) -> Response:
        """The answer that ends with `tokens`, cut at the first stop text in it."""
        text = self._text(tokens)
        if (end := first_stop(text, self.texts)) is None:
            return Response(text, tuple(tokens), tokens[-1] in self.tokens, tuple(nats))
        counts = range(1, len(tokens) + 1)
        kept = counts[
            bisect_left(counts, True, key=lambda n: first_stop(self._text(tokens[:n]), self.texts) is not None)
        ]
        return Response(text[:end], tuple(tokens[:kept]), True, tuple(nats[:kept]))

    def _text(self, tokens: Sequence[int]) -> str:
        return str(self.tokenizer.decode(list(tokens), skip_special_tokens=True))


def first_stop(text: str, stops: Sequence[str]) -> int | None:
    """Where the first of `stops` begins in `text`, or None.

    >>> first_stop("one. Two?", ["?", "."])
    3
    """
    return min((place for stop in stops if (place := text.find(stop)) >= 0), default=None)


def stops_of(model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", sampling: Sampling) -> Stops:
    """The end-of-sequence tokens of the model's generation config and of its tokenizer, and what `sampling` adds."""
    own = model.generation_config
    ends = [*_ids(own.eos_token_id if own else None), *_ids(tokenizer.eos_token_id), *sampling.stop_tokens]
    return Stops(tokenizer, frozenset(ends), sampling.stop)


def _ids(value: object) -> list[int]:
    """Token ids that a configuration gives as one number, a list, or nothing."""
    return [value] if isinstance(value, int) else list(value) if isinstance(value, list) else []

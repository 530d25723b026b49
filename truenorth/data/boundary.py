"""Token ids of a text that follows another one: the boundary between prompt and answer is always a token boundary.

Prompt and answer are tokenised apart, so that all answers share the prompt's tokens. Some tokenizers put a space
before whatever they are given (Llama's of sentencepiece); for those an answer is tokenised behind a short anchor,
whose own tokens are then taken off. Either way the ids of prompt and answer together decode to just their texts.
"""

from collections.abc import Callable, Sequence
from typing import Any

Tokenizer = Any  # a transformers tokenizer; the library gives them no common type that is complete

_ANCHORS = (".", "\n", ":", ")", "1", "a")
_PROBE_STARTS = ("a", "a:", "a\n", "a ")
_PROBE_ENDS = ("a", " a", "\na", "b c", "1")


class TextTokens:
    """Ids of texts without special tokens, alone or behind a prompt."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self.front = _front(tokenizer)  # ids that the tokenizer puts before a text: BOS, or none
        self.anchored = False
        if broken := self._misread():
            self.anchored = True
            self.anchored = self._misread() < broken

    def alone(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text by itself, without special tokens."""
        return _ids(self._tokenizer, texts) if texts else []

    def begin(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text with BOS, where the tokenizer has one to put there; never two of them."""
        front = self.front
        return [ids if front and ids[: len(front)] == front else front + ids for ids in self.alone(texts)]

    def after(self, prompts: Sequence[str], texts: Sequence[str]) -> list[list[int] | None]:
        """The ids of each text behind its prompt, or None where the tokenizer lets no boundary stand there."""
        if not self.anchored:
            return list(self.alone(texts))
        found: list[list[int] | None] = [[] if not text else None for text in texts]
        for fixed in ("", *_ANCHORS):  # the prompt's own last letter first
            anchors = [fixed or prompt[-1:].strip() for prompt in prompts]
            places = [i for i, ids in enumerate(found) if ids is None and anchors[i]]
            starts = self.alone([anchors[i] for i in places])
            joined = self.alone([anchors[i] + texts[i] for i in places])
            for i, start, ids in zip(places, starts, joined, strict=True):
                if start and len(ids) > len(start) and ids[: len(start)] == start:
                    found[i] = ids[len(start) :]
        return found

    def _misread(self) -> int:
        """How many probes decode differently when prompt and answer are tokenised apart."""
        pairs = [(start, end) for start in _PROBE_STARTS for end in _PROBE_ENDS]
        starts = self.alone([start for start, _ in pairs])
        ends = self.after([start for start, _ in pairs], [end for _, end in pairs])
        joined = self.alone([start + end for start, end in pairs])
        decode: Callable[[list[int]], str] = self._tokenizer.decode
        return sum(
            end is None or decode(start + end) != decode(both)
            for start, end, both in zip(starts, ends, joined, strict=True)
        )


def _ids(tokenizer: Tokenizer, texts: Sequence[str], *, special: bool = False) -> list[list[int]]:
    backend = _backend(tokenizer)
    if backend is not None:
        return [encoding.ids for encoding in backend.encode_batch_fast(texts, add_special_tokens=special)]
    # verbose: it would speak of a maximum length that is not ours
    return tokenizer(list(texts), add_special_tokens=special, verbose=False)["input_ids"]


def _backend(tokenizer: Tokenizer) -> Any:
    """What encodes for `tokenizer` in Rust, without the masks and offsets that nobody reads: a quarter of the time.

    None where the tokenizer does more than hand texts on to it, or has left it set to cut or pad.
    """
    from transformers import PreTrainedTokenizerFast

    plain: Any = PreTrainedTokenizerFast
    if getattr(type(tokenizer), "_encode_plus", None) is not plain._encode_plus or tokenizer.split_special_tokens:
        return None
    backend = tokenizer.backend_tokenizer
    cuts = backend.truncation is not None or backend.padding is not None or backend.encode_special_tokens
    return None if cuts else backend


def _front(tokenizer: Tokenizer) -> list[int]:
    """The special ids that the tokenizer puts before a text."""
    plain, special = _ids(tokenizer, ["a"])[0], _ids(tokenizer, ["a"], special=True)[0]
    starts = range(len(special) - len(plain) + 1)
    return next((special[:k] for k in starts if special[k : k + len(plain)] == plain), [])

"""What a model still knows: texts it should find as likely as before, and how far it has moved from a reference."""

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from ..data.tokens import TokenizedRows
from .intervals import Interval, bootstrap_mean, bootstrap_ratio, paired_difference, proportion

SEED = 0  # of the resamples


@dataclass(frozen=True, slots=True)
class Compared:
    """A number of the model; with a reference that of the reference too, and the change on the same rows."""

    model: Interval
    reference: Interval | None = None
    change: Interval | None = None


@dataclass(frozen=True, slots=True)
class Texts:
    """Log-probs of held-out texts, higher is better. Texts count by their length."""

    per_token: Compared  # nats
    per_byte: Compared  # nats, which compares models of other tokenizers
    tokens: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Divergence:
    """KL(model || reference) on answers that the model drew at temperature 1."""

    per_answer: Interval  # nats
    per_token: Interval  # nats
    cut: float  # share of the answers that max_new_tokens ended; their KL is of what was drawn


def texts_of(
    tokens: Sequence[int], sizes: Sequence[int], ours: Sequence[float], theirs: Sequence[float] | None
) -> Texts:
    """`tokens` and `sizes` (bytes) of each text, and its log-prob under the model and the reference, nats."""

    def per(units: Sequence[int]) -> Compared:
        counts = [float(unit) for unit in units]
        own = bootstrap_ratio(ours, counts, SEED)
        if theirs is None:
            return Compared(own)
        change = bootstrap_ratio([a - b for a, b in zip(ours, theirs, strict=True)], counts, SEED)
        return Compared(own, bootstrap_ratio(theirs, counts, SEED), change)

    return Texts(per(tokens), per(sizes), sum(tokens), sum(sizes))


def divergence(
    ours: Sequence[float], theirs: Sequence[float], tokens: Sequence[int], ended: Sequence[bool]
) -> Divergence:
    """The mean log-ratio of drawn answers: an unbiased estimate of the KL, which single answers can pull below 0."""
    ratios = [a - b for a, b in zip(ours, theirs, strict=True)]
    return Divergence(
        bootstrap_mean(ratios, SEED),
        bootstrap_ratio(ratios, [float(count) for count in tokens], SEED),
        1 - sum(ended) / len(ended),
    )


def shares_of(ours: Sequence[bool], theirs: Sequence[bool] | None) -> Compared:
    """How many questions are answered right."""
    own = proportion(sum(ours), len(ours))
    if theirs is None:
        return Compared(own)
    change = paired_difference([float(v) for v in theirs], [float(v) for v in ours], SEED)
    return Compared(own, proportion(sum(theirs), len(theirs)), change)


def bytes_of(rows: TokenizedRows, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """UTF-8 bytes of each row's only answer, without special tokens; at least 1."""
    texts = (str(tokenizer.decode(row.responses[0].tolist(), skip_special_tokens=True)) for row in rows)
    return [max(1, len(text.encode("utf-8", "replace"))) for text in texts]

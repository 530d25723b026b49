"""The steps of a run whose rows are made round by round, and how a round's rows become what is trained on."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from ..data.chat import Encoder
from ..data.comparisons import Pairing, Text, Ties, best_first, places_of_pairs
from ..data.loader import batches
from ..data.packing import PackedBatch
from ..data.tokens import Ints, TokenizedRow, TokenizedRows, key_of
from ..errors import DataError
from ..judge import Asked
from ..schedule import Rounds
from .round_file import RoundRow
from .sampling import encode


class RoundSteps:
    """Which rows each optimizer step takes, as `Steps`: a function of the seed, the step and the rows of its round.

    `make` gives the rows of a round, when its first step is asked for. Every row of a round is taken `epochs` times,
    in a fresh order each time, and all of them are shared out over as many steps in every round.
    """

    def __init__(
        self,
        schedule: Rounds,
        make: Callable[[int], TokenizedRows],
        *,
        rows: int,  # of a round, if no prompt is left out
        batch_size: int,
        seed: int,
    ) -> None:
        self.schedule, self.batch_size, self.seed = schedule, batch_size, seed
        self._make = make
        self.per_round = steps_of_round(schedule, rows, batch_size=batch_size)
        self.count = schedule.rounds * self.per_round
        self._open: tuple[int, TokenizedRows] | None = None

    def opens_round(self, step: int) -> bool:
        """Whether step `step`, 0-based, is the first of its round."""
        return step % self.per_round == 0

    def round_of(self, step: int) -> int:
        """The round that step `step` belongs to, 0-based like it."""
        return step // self.per_round

    @property
    def rows(self) -> TokenizedRows:
        """Those of the round that is played."""
        assert self._open is not None, "a step was taken"
        return self._open[1]

    def open(self, step: int) -> TokenizedRows:
        """The rows of the round of `step`. Raises DataError where no prompt gave any."""
        wanted = self.round_of(step)
        if self._open is None or self._open[0] != wanted:
            rows = self._make(wanted)
            if not len(rows):
                raise DataError(
                    f"round {wanted + 1} has no row to train on: for every prompt the judge failed, or its answers "
                    "are equally good and make no pair. Look at the round's log.jsonl, draw more answers (--k), or "
                    "keep pairs of equal score (--ties keep)."
                )
            self._open = wanted, rows
        return self._open[1]

    def indices(self, step: int) -> list[int]:
        """The rows of step `step`, 0-based, in its round's."""
        rows, taken = len(self.open(step)), step % self.per_round
        passes = max(self.schedule.epochs, -(-self.per_round // rows))  # no step is empty
        orders = (np.random.default_rng([self.seed, self.round_of(step), n]).permutation(rows) for n in range(passes))
        order = np.concatenate(list(orders))
        first, last = (len(order) * place // self.per_round for place in (taken, taken + 1))
        return order[first:last].tolist()

    def batches(self, step: int, *, budget: int, part: int = 0, parts: int = 1) -> list[PackedBatch]:
        """As of `Steps`."""
        return list(batches(self.open(step), self.indices(step), budget=budget, part=part, parts=parts))


def steps_of_round(schedule: Rounds, rows: int, *, batch_size: int) -> int:
    """Optimizer steps in a round of so many rows."""
    return -(-schedule.epochs * rows // batch_size)


def rows_per_prompt(compared: int, pairing: Pairing) -> int:
    """Rows that a prompt makes of so many answers, if no two of them are equally good."""
    return 1 if pairing == "none" else len(places_of_pairs(compared, pairing))


def as_large_as_any(prompts: Sequence[Ints], *, answers: int, tokens: int) -> TokenizedRows:
    """Rows of these prompts with as many answers of as many tokens: memory is tried with them before there are any."""
    rows = [
        TokenizedRow(p, (np.full(tokens, p[-1], np.int32),) * answers, None, {}, file="round", row=i, key="")
        for i, p in enumerate(prompts, 1)
    ]
    return TokenizedRows.of(rows)


Sample = Literal["policy", "opponent"] | None  # who drew what stands behind the compared answers


def tokenized(
    rows: Sequence[RoundRow], encoder: Encoder, *, pairing: Pairing, ties: Ties, sample: Sample = None
) -> tuple[TokenizedRows, int]:
    """Rows to train on, best answer first: all K, or pairs of them by `pairing`; and how many prompts gave none.

    With `ties="drop"` two answers that were judged alike make no pair. Behind the answers of each row stands its
    `sample`, what the policy or its opponent has drawn; an opponent's answers are else only what others are judged by.
    """
    made, empty = list[TokenizedRow](), 0
    for row in rows:
        against = row.opponents and sample != "opponent"
        whole = _whole(replace(row.own, scores=row.wins_against_opponents) if against else row, encoder)
        beside = _sampled(row, sample, encoder)
        if pairing == "none":
            made.append(whole)
            continue
        scores = whole.scores
        assert scores is not None
        pairs = places_of_pairs(len(scores), pairing)
        kept = [pair for pair in pairs if ties == "keep" or row.unjudged or scores[pair[0]] != scores[pair[1]]]
        made += [_followed(_taken(whole, pair), beside) for pair in kept]
        empty += not kept
    return TokenizedRows.of(made), empty


def _sampled(row: RoundRow, sample: Sample, encoder: Encoder) -> tuple[Ints, ...]:
    """Tokens of what was drawn to stand behind the answers. Raises DataError where nothing was."""
    if sample is None:
        return ()
    of = row.own if sample == "policy" else row.opposing
    if not of.responses:
        raise DataError(
            f"the row of {str(row.prompt)[:60]!r} has no answer of the {sample} beside those it compares. Rows that "
            "are made elsewhere say which they are with `given`, `beside` or `opponents`."
        )
    return _tokens(of, encoder)[1]


def _tokens(row: RoundRow, encoder: Encoder) -> tuple[Ints, tuple[Ints, ...]]:
    """Of the prompt and of each answer, as they were drawn where that is known."""
    given = None if row.prompt_tokens is None else np.array(row.prompt_tokens, np.int32)
    if row.tokens is not None:
        prompt = np.array(encode(row.prompt, encoder), np.int32) if given is None else given
        return prompt, tuple(np.array(tokens, np.int32) for tokens in row.tokens)
    found = encoder.encode_texts(_text(row.prompt), row.responses)
    texts = zip(found.responses, row.ended or [True] * len(found.responses), strict=True)
    responses = tuple(tokens if end else encoder.unended(tokens) for tokens, end in texts)
    return found.prompt if given is None else given, responses


def _followed(row: TokenizedRow, beside: tuple[Ints, ...]) -> TokenizedRow:
    responses = (*row.responses, *beside)
    return replace(row, responses=responses, key=key_of(row.prompt, responses)) if beside else row


def _whole(row: RoundRow, encoder: Encoder) -> TokenizedRow:
    """All answers of a row, best first."""
    prompt, responses = _tokens(row, encoder)
    given = TokenizedRow(
        prompt=prompt,
        responses=responses,
        scores=row.scores,
        columns=row.columns or {},
        file="round",
        row=row.place + 1,
        key="",
        wins=row.wins,
    )
    return _taken(given, best_first(scores=row.scores))


def _taken(row: TokenizedRow, places: Sequence[int]) -> TokenizedRow:
    """The row with just these of its answers, in that order."""
    scores, wins = row.scores, row.wins
    assert scores is not None
    assert wins is not None
    responses = tuple(row.responses[k] for k in places)
    return replace(
        row,
        responses=responses,
        scores=tuple(scores[k] for k in places),
        wins=tuple(tuple(wins[i][j] for j in places) for i in places),
        key=key_of(row.prompt, responses),
    )


def _text(prompt: Asked) -> Text:
    return prompt if isinstance(prompt, str) else tuple(dict(message) for message in prompt)

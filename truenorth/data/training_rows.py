"""From checked rows to rows of tokens: pairing, tokenising, and the length limit."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice, pairwise

import numpy as np
import numpy.typing as npt

from .chat import Encoder
from .checking import comparisons
from .comparisons import Comparison, pair_up, unpair
from .key_phrases import degraded
from .layouts import Layout
from .options import DataSettings
from .parts import Part
from .problems import Account, Action, Problem
from .tokens import TokenizedRow, blocks, key_of

BATCH = 256  # rows tokenised in one call


@dataclass(frozen=True, slots=True)
class PartToTokenise:
    """A part whose rows were checked."""

    part: Part
    lines_before: int
    layout: Layout
    dropped: npt.NDArray[np.bool_]  # [R]
    share: float


def tokenise(encoder: Encoder, settings: DataSettings, checked: PartToTokenise) -> tuple[bytes, Account]:
    """The part's rows of tokens as they go to disk, and what became of those that are not among them."""
    account = Account()
    rows = training_rows(checked, encoder, settings, account)
    return blocks(rows, share=checked.share), account


def training_rows(
    checked: PartToTokenise, encoder: Encoder, settings: DataSettings, account: Account
) -> Iterator[TokenizedRow]:
    """Rows of tokens. Counts in `account` what becomes of those that the part has."""
    results = comparisons(checked.part, checked.lines_before, checked.layout)
    kept = (
        result
        for (_, result), dropped in zip(results, checked.dropped, strict=True)
        if not dropped and isinstance(result, Comparison)
    )
    while batch := list(islice(kept, BATCH)):
        groups = [
            [_degraded(made, settings.needs.degraded) for made in _expanded(comparison, account, settings)]
            for comparison in batch
        ]
        encoded = iter(encoder.encode([comparison for group in groups for comparison in group]))
        for group in groups:
            outcomes = [_fitted(next(encoded), encoder, settings, comparison=made) for made in group]
            yield from _settled(outcomes, account, settings)


Outcome = tuple[TokenizedRow | None, list[Problem]]


def _expanded(comparison: Comparison, account: Account, settings: DataSettings) -> list[Comparison]:
    """A row as the comparisons that the method takes: itself, its pairs, or its single answers."""
    pairs, k = [comparison], len(comparison.responses)
    if settings.pairing != "none" and k > 2:
        if any(pair.tied(0, 1) for pair in pair_up(comparison, settings.pairing)):
            account.note(Problem("tied_pair", comparison.file, comparison.row), settings)
        pairs = pair_up(comparison, settings.pairing, ties=settings.ties)
    if settings.needs.unpaired and k > 1:
        return [single for pair in pairs for single in unpair(pair)]
    return pairs


def _degraded(comparison: Comparison, shares: Sequence[float]) -> Comparison:
    """The comparison with worse versions of its answers, where the method takes such."""
    if not shares:
        return comparison
    return replace(comparison, degraded=tuple(text for r in comparison.responses for text in degraded(r, shares)))


def _few_key_phrases(comparison: Comparison, levels: int) -> list[Problem]:
    """Whether two versions of an answer are the same."""
    for k, place in enumerate(comparison.order if levels else ()):
        versions = [comparison.responses[k], *comparison.degraded[k * levels : (k + 1) * levels]]
        if any(worse == better for better, worse in pairwise(versions)):
            return [Problem("few_key_phrases", comparison.file, comparison.row, f"answer {place + 1}")]
    return []


def _fitted(
    result: TokenizedRow | Problem, encoder: Encoder, settings: DataSettings, *, comparison: Comparison
) -> Outcome:
    """One row within the length limit, if it can be, and what was found on the way."""
    if isinstance(result, Problem):
        return None, [result]
    row, problems = fit(result, settings.max_length, truncate=settings.too_long == "truncate")
    if row is not None and not encoder.ends_turn(result):
        problems.append(Problem("no_end_of_turn", result.file, result.row))
    return row, problems + _few_key_phrases(comparison, len(settings.needs.degraded))


def fit(row: TokenizedRow, max_length: int, *, truncate: bool) -> Outcome:
    """The row if its prompt with each answer has at most `max_length` tokens, or with answers cut at their end."""
    room, longest = max_length - len(row.prompt), max(map(len, (*row.responses, *row.degraded)))
    if longest <= room:
        return row, []
    size = f"prompt {len(row.prompt)} and answer {longest} tokens, max_length {max_length}"
    if room < 1:
        return None, [Problem("prompt_too_long", row.file, row.row, size)]
    problems = [Problem("too_long", row.file, row.row, size)]
    if not truncate:
        return None, problems
    cut = tuple(response[:room] for response in row.responses)
    same = len({response.tobytes() for response in cut}) - len({response.tobytes() for response in row.responses})
    if same:
        problems.append(Problem("identical_after_truncation", row.file, row.row, size))
    worse = tuple(response[:room] for response in row.degraded)
    return replace(row, responses=cut, key=key_of(row.prompt, cut), degraded=worse), problems


def _settled(outcomes: Sequence[Outcome], account: Account, settings: DataSettings) -> list[TokenizedRow]:
    """The rows that one row of the file makes. Each reason is counted once per row of the file."""
    actions: dict[str, Action] = {}
    for _, problems in outcomes:
        for problem in problems:
            if problem.reason not in actions:
                actions[problem.reason] = account.note(problem, settings)
    made = [
        row
        for row, problems in outcomes
        if row is not None and not any(actions[problem.reason] in ("stop", "drop") for problem in problems)
    ]
    account.made += len(made)
    if not made:
        account.drop_kept(by_choice=not outcomes)  # without outcomes all its pairs were ties
    return made

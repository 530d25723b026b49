"""From checked rows to rows of tokens: pairing, tokenising, and the length limit."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

from .chat import Encoder
from .comparisons import Comparison, pair_up, unpair
from .files import RawRow, read_rows
from .layouts import Layout
from .options import DataSettings
from .problems import Account, Action, Problem
from .tokens import TokenizedRow, key_of

BATCH = 256  # rows tokenised in one call
Sources = Sequence[tuple[str, float]]  # path and share


@dataclass
class Checked:
    """What is known of the rows before they are tokenised."""

    account: Account
    layouts: tuple[Layout, ...]  # one per source
    dropped: bytearray = field(default_factory=bytearray)  # [rows of all sources], 1 where dropped

    def check(self, settings: DataSettings) -> None:
        """Raise DataError, with the account and the mapping, where the run must not start."""
        self.account.check(settings, [line for layout in self.layouts for line in layout.lines])


def comparisons(sources: Sources, layouts: Sequence[Layout]) -> Iterator[tuple[RawRow, Comparison | Problem, float]]:
    """Every row of every source, read as its layout says, with the source's share."""
    for (path, share), layout in zip(sources, layouts, strict=True):
        for raw in read_rows(path):
            yield raw, layout.comparison(raw), share


def training_rows(
    sources: Sources, checked: Checked, encoder: Encoder, settings: DataSettings
) -> Iterator[tuple[TokenizedRow, float]]:
    """Rows of tokens with their shares. Completes the account of `checked` as they pass."""
    account = checked.account
    results = enumerate(comparisons(sources, checked.layouts))
    kept = (
        (result, share)
        for ordinal, (_, result, share) in results
        if not checked.dropped[ordinal] and isinstance(result, Comparison)
    )
    while batch := list(islice(kept, BATCH)):
        groups = [_expanded(comparison, account, settings) for comparison, _ in batch]
        encoded = iter(encoder.encode([comparison for group in groups for comparison in group]))
        for group, (_, share) in zip(groups, batch, strict=True):
            outcomes = [_fitted(next(encoded), encoder, settings) for _ in group]
            yield from ((row, share) for row in _settled(outcomes, account, settings))


Outcome = tuple[TokenizedRow | None, list[Problem]]


def _expanded(comparison: Comparison, account: Account, settings: DataSettings) -> list[Comparison]:
    """A row as the comparisons that the method takes: itself, its pairs, or its single answers."""
    k = len(comparison.responses)
    if settings.needs.unpaired and k == 2:
        return unpair(comparison)
    if settings.pairing == "none" or k <= 2:
        return [comparison]
    pairs = pair_up(comparison, settings.pairing)
    if any(pair.tied(0, 1) for pair in pairs):
        account.note(Problem("tied_pair", comparison.file, comparison.row), settings)
    return pair_up(comparison, settings.pairing, ties=settings.ties)


def _fitted(result: TokenizedRow | Problem, encoder: Encoder, settings: DataSettings) -> Outcome:
    """One row within the length limit, if it can be, and what was found on the way."""
    if isinstance(result, Problem):
        return None, [result]
    row, problems = fit(result, settings.max_length, truncate=settings.too_long == "truncate")
    if row is not None and not encoder.ends_turn(result):
        problems.append(Problem("no_end_of_turn", result.file, result.row))
    return row, problems


def fit(row: TokenizedRow, max_length: int, *, truncate: bool) -> Outcome:
    """The row if its prompt with each answer has at most `max_length` tokens, or with answers cut at their end."""
    room, longest = max_length - len(row.prompt), max(map(len, row.responses))
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
    return replace(row, responses=cut, key=key_of(row.prompt, cut)), problems


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

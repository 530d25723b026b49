"""Held-out preferences: rows as tokens for language models, as text for judges, and what they are grouped by."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from math import log

import numpy as np
import numpy.typing as npt

from ..data.checking import check_rows, comparisons, parts
from ..data.comparisons import Comparison, Text
from ..data.files import read_rows
from ..data.options import DataSettings, Needs
from ..data.tokens import TokenizedRows
from ..data.workers import Workers
from ..errors import DataError
from ..evaluate.reward_bench import Ranked, RankedRow, Ranking, against, margins_of, pairs_of, ranking
from ..evaluate.subject import Subject
from ..judge import Asked as Prompt
from ..judge import Failed, Judge, Rewards, Verdict
from .asked import Asked

SURE = 1e-12  # a probability of 1 is taken for one that is this short of it, so that its log odds are finite
TURNS = "an answer has several turns, or calls a tool"
REST = "too long, of equal scores, or with a problem that `truenorth inspect` names"
PAIRED = (2, None)  # answers of a row: two or more
Said = Callable[[str], None]
Array = npt.NDArray[np.float64]


def of_language_model(
    asked: Asked, files: Mapping[str, TokenizedRows], subject: Subject, reference: Subject | None
) -> Ranked:
    """Rankings by the log-ratio to the reference, the log-prob, and the log-prob per token, of the rows of `files`."""
    rows, ours, theirs, read = list[RankedRow](), list[Array](), list[Array](), 0
    for path in asked.data:
        tokens, names = files[path], subsets(path, asked)
        read += len(names)
        rows += _rows(tokens, names)
        ours += subject.totals(tokens)
        theirs += [] if reference is None else reference.totals(tokens)
    found = list[Ranking]()
    beta, whence = asked.implicit_beta()
    if reference is not None:
        margins = margins_of(rows, [a - b for a, b in zip(ours, theirs, strict=True)])
        found += _one(ranking("log_ratio", rows, margins, beta=beta))
    lengths = [np.array(row.lengths, float) for row in rows]
    for score, per in (("log_prob", [np.ones_like(n) for n in lengths]), ("per_token", lengths)):
        own = margins_of(rows, [total / n for total, n in zip(ours, per, strict=True)])
        one = _one(ranking(score, rows, own, beta=None))
        if reference is not None:
            other = margins_of(rows, [total / n for total, n in zip(theirs, per, strict=True)])
            one = [against(ranked, rows, own, other) for ranked in one]
        found += one
    return Ranked(tuple(found), *_account(rows, read, {}), beta, whence)


def _one(found: Ranking | None) -> list[Ranking]:
    return [] if found is None else [found]


def _rows(tokens: TokenizedRows, names: dict[tuple[str, int], str]) -> list[RankedRow]:
    return [
        RankedRow(
            pairs_of(len(row.responses), row.scores),
            tuple(len(response) for response in row.responses),
            names.get((row.file, row.row), ""),
        )
        for row in tokens
    ]


def of_judge(asked: Asked, files: Mapping[str, Sequence[Comparison]], judge: Judge, said: Said) -> Ranked:
    """The ranking by a reward or preference model's own verdicts, which answer in text as they do in rounds.

    Raises DataError where no verdict comes.
    """
    rows, margins, reasons, read, kind = list[RankedRow](), list[list[float]](), Counter[str](), 0, "reward"
    for path in asked.data:
        names = subsets(path, asked)
        read += len(names)
        given = files[path]
        found = [row for row in given if all(_text(answer) is not None for answer in row.responses)]
        reasons[TURNS] += len(given) - len(found)
        said(f"judging the rows of {path}")
        answers = [[_text(answer) or "" for answer in row.responses] for row in found]
        for row, verdict in zip(found, judge([_prompt(row.prompt) for row in found], answers), strict=True):
            if isinstance(verdict, Failed):
                reasons[verdict.reason] += 1
                continue
            kind = "reward" if isinstance(verdict, Rewards) else "preference"
            rows.append(_ranked(row, names))
            margins.append([_margin(verdict, i, j) for i, j in rows[-1].pairs])
    one = _one(ranking(kind, rows, margins, beta=1.0))
    return Ranked(tuple(one), *_account(rows, read, reasons), 1.0, "by its training")


def _account(rows: Sequence[RankedRow], read: int, reasons: Mapping[str, int]) -> tuple[int, dict[str, int]]:
    """How many rows of those read were measured, and why the others were not. Raises DataError where none were."""
    measured = sum(bool(row.pairs) for row in rows)
    told = {reason: count for reason, count in reasons.items() if count}
    if rest := read - measured - sum(told.values()):
        told[REST] = rest
    if not measured:
        raise DataError(f"no row was measured: {'; '.join(f'{count} x {why}' for why, count in told.items())}.")
    return measured, told


def _ranked(row: Comparison, names: dict[tuple[str, int], str]) -> RankedRow:
    k = range(len(row.responses))
    lengths = tuple(len(_text(answer) or "") for answer in row.responses)  # characters
    pairs = tuple((i, j) for i, j in combinations(k, 2) if not row.tied(i, j))
    return RankedRow(pairs, lengths, names.get((row.file, row.row), ""))


def _margin(verdict: Verdict, i: int, j: int) -> float:
    """The difference of rewards, or the log odds that i wins against j."""
    assert not isinstance(verdict, Failed)
    if isinstance(verdict, Rewards):
        return verdict.rewards[i] - verdict.rewards[j]
    p = min(max(verdict.wins[i][j], SURE), 1 - SURE)
    return log(p) - log(1 - p)


def texts(path: str, said: Said) -> list[Comparison]:
    """The rows of a file that have two answers or more, best first, as text.

    Raises DataError where rows cannot be used.
    """
    settings = DataSettings(needs=Needs(candidates=PAIRED, given="--data"), max_problem_share=0.1)
    with Workers(1) as workers:
        sources = [(path, 1.0)]
        checked = check_rows(sources, settings, workers, said)
        found = list[Comparison]()
        every = zip(parts(sources), checked.lines_before, checked.dropped, strict=True)
        for part, lines, dropped in every:
            rows = comparisons(part, lines, checked.layouts[part.source])
            for (_, row), out in zip(rows, dropped, strict=True):
                if isinstance(row, Comparison) and not out:
                    found.append(row)
    return found


def subsets(path: str, asked: Asked) -> dict[tuple[str, int], str]:
    """The subset of every row: by its column, or by its file where there are several; else none."""
    own, found = path if len(asked.data) > 1 else "", dict[tuple[str, int], str]()
    for raw in read_rows(path):
        value = (raw.fields or {}).get(asked.subset_column)
        found[raw.file, raw.row] = own if value in (None, "") else str(value)  # 0 is a subset's name too
    return found


def _prompt(prompt: Text) -> Prompt:
    return prompt if isinstance(prompt, str) else list(prompt)


def _text(answer: Text) -> str | None:
    """An answer as a judge reads it; None for one of several turns or with tools."""
    if isinstance(answer, str):
        return answer
    only = answer[0].get("content") if len(answer) == 1 else None
    return only if isinstance(only, str) else None

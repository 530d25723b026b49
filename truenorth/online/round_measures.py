"""What a round's rows say of the policy that made them: rewards, lengths, and how much its answers repeat."""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from . import comparing, pairs
from .round_file import RoundFile, RoundRow, folder_of


def measures_of(folder: Path, number: int, *, rewards: bool = True) -> dict[str, float]:
    """Metrics of round `number`, 0-based, from its files under `folder`; the judge gives `rewards`, or it compares.

    round                       its number, 1-based
    rows, left_out              prompts that made a row, and those without a verdict
    given/answers               of a round that was there as a file: so many answers; nothing else is told of them,
                                since they are not known to be the policy's
    rewards/judge               mean score of an answer: the judge's reward, or its wins against the prompt's others;
                                like all that follows of answers that were drawn, not of the data's; not told where
                                it is 1/2 whatever the answers are, of wins of a prompt's own answers alone
    rewards/best                mean of each prompt's best score, where its mean is told
    lengths/sampled             tokens of an answer
    wins/opponent               mean win of the policy's answers against its opponent's, where it has one
    entropy                     nats of an answer: the mean of -log of the probability with which it was drawn
    ended                       share of the answers that end by themselves
    diversity                   share of a prompt's pairs of answers that differ, as text
    repetition                  share of an answer's word triples that it has had before
    pairs, /left_out, /gain     see `pairs.measures_of`
    comparisons                 see `comparing.measures_of`
    seconds/sampling, /judging, /comparing  what the round took, beside its steps
    """
    file = RoundFile.open(folder_of(folder, number))
    rows = file.rows()
    found = {
        "round": float(number + 1),
        "rows": float(len(rows)),
        "left_out": float(len(file.left_out)),
        "seconds/sampling": sum(entry.sampling_seconds for entry in file.written),
        "seconds/judging": sum(entry.judging_seconds for entry in file.written),
    }
    if file.made_elsewhere:
        of_rows = {"given/answers": float(sum(len(row.responses) for row in rows))}
    else:
        of_rows = _of_rows(rows, rewards=rewards) if rows else {}
    return found | of_rows | pairs.measures_of(file.folder) | comparing.measures_of(file.folder)


def _of_rows(judged: Sequence[RoundRow], *, rewards: bool) -> dict[str, float]:
    rows = [own for row in judged if (own := row.own).responses]
    if not rows:
        return {}
    answers = [text for row in rows for text in row.responses]
    found = {
        "diversity": fmean(distinct(row.responses) for row in rows),
        "repetition": fmean(map(repetition, answers)),
    }
    scored = [row for row in rows if not row.unjudged]
    if scored and (rewards or any(row.given or row.opponents for row in judged)):
        found["rewards/judge"] = fmean(score for row in scored for score in row.scores)
        found["rewards/best"] = fmean(max(row.scores) for row in scored)
    if lengths := [len(tokens) for row in rows if row.tokens for tokens in row.tokens]:
        found["lengths/sampled"] = fmean(lengths)
    if known := [nats for row in rows if row.log_probs for nats in row.log_probs]:
        found["entropy"] = -fmean(known)
    if ended := [end for row in rows if row.ended for end in row.ended]:
        found["ended"] = fmean(map(float, ended))
    if against := [win for row in judged if row.opponents for win in row.wins_against_opponents]:
        found["wins/opponent"] = fmean(against)
    return found


def distinct(answers: Sequence[str]) -> float:
    """Share of the pairs of `answers` that differ: 1 where all do, 0 where all are one; 1 of a single answer.

    >>> distinct(["a", "a", "b"])
    0.6666666666666666
    """
    pairs = [(a, b) for i, a in enumerate(answers) for b in answers[i + 1 :]]
    return fmean(float(a != b) for a, b in pairs) if pairs else 1.0


def repetition(text: str) -> float:
    """Share of the word triples that stood in the text before: 0 for prose, near 1 for a loop.

    >>> repetition("on and on and on and on")
    0.6
    """
    words = text.split()
    triples = list(zip(words, words[1:], words[2:], strict=False))
    return 1 - len(set(triples)) / len(triples) if triples else 0.0

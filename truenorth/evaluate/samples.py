"""What answers before and after training show without a judge: length, repetition, whether they changed."""

import statistics
from collections import Counter
from collections.abc import Sequence

from ..train.evidence import Finding, percent
from .artifacts import Sample

PHRASE = 4  # words in a row; shorter ones repeat in good prose
LOOPS = 0.3  # share of phrases seen before in the same answer; prose stays below a tenth
GROWS = 1.5  # length after over length before
GROWS_LEAST = 20.0  # words: twice a very short answer is no drift


def repetition(text: str) -> float:
    """Share of the text's four-word phrases that it has said before, in [0, 1).

    >>> repetition("the film is good " * 5)
    0.7647058823529411
    """
    words = text.split()
    phrases = Counter(tuple(words[i : i + PHRASE]) for i in range(len(words) - PHRASE + 1))
    return 1 - len(phrases) / phrases.total() if phrases else 0.0


def diagnose_samples(samples: Sequence[Sample]) -> list[Finding]:
    """Findings on the answers themselves: loops, growth, and no change at all."""
    if not samples:
        return []
    found: list[Finding] = []
    looping = sum(repetition(s.after) >= LOOPS > repetition(s.before) for s in samples)
    if looping:
        sentence = f"{looping} of {len(samples)} answers after training repeat themselves; before it they did not."
        setting = "a lower --learning-rate, or fewer steps, or a higher beta"
        found.append(Finding("problem", "Answers fall into loops", sentence, setting))
    before, after = (statistics.fmean(len(t.split()) for t in texts) for texts in _texts(samples))
    if after > GROWS * before and after >= GROWS_LEAST and before > 0:
        sentence = f"Answers have {after:.0f} words after training and had {before:.0f}."
        setting = "a length-normalized method (`truenorth methods`), or rows balanced by length"
        found.append(Finding("watch", "Answers grow longer", sentence, setting))
    same = sum(s.before == s.after for s in samples)
    if same == len(samples):
        sentence = f"{percent(1.0)} of the samples are the same before and after."
        found.append(Finding("watch", "Answers did not change", sentence, "a higher --learning-rate, or more steps"))
    return found


def _texts(samples: Sequence[Sample]) -> tuple[list[str], list[str]]:
    return [s.before for s in samples], [s.after for s in samples]

"""What is wrong with a comparison before any tokenizer is known, and which rows repeat or contradict others."""

import hashlib
import json
from array import array
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from .comparisons import Comparison, Text
from .messages import is_empty
from .options import Needs
from .problems import Problem

QUOTED = 20  # characters; a shorter prompt at an answer's beginning may be chance


def problems_of(comparison: Comparison, needs: Needs) -> list[Problem]:
    """All that is wrong with one row as it stands."""
    found: list[tuple[str, str]] = []
    responses, scores = comparison.responses, comparison.scores
    if is_empty(comparison.prompt):
        found.append(("empty_prompt", ""))
    if empty := [place + 1 for place, text in zip(comparison.order, responses, strict=True) if is_empty(text)]:
        found.append(("empty_answer", f"answer {empty[0]}"))
    if len({_canonical(text) for text in responses}) < len(responses):
        found.append(("identical_answers", f"{len(responses)} answers"))
    found += _repeated_parts(comparison)
    if comparison.all_tied:
        found.append(("tie", f"all {len(responses)} are equal"))
    elif scores is not None and list(scores) != sorted(scores, reverse=True):
        found.append(("score_against_label", f"chosen {scores[0]:g}, rejected {scores[-1]:g}"))
    found += _unmet(comparison, needs)
    return [Problem(reason, comparison.file, comparison.row, detail) for reason, detail in found]


def _repeated_parts(comparison: Comparison) -> list[tuple[str, str]]:
    """Answers that hold more than an answer."""
    found: dict[str, str] = {}
    prompt = comparison.prompt
    for place, text in zip(comparison.order, comparison.responses, strict=True):
        if isinstance(text, str):
            if isinstance(prompt, str) and len(prompt.strip()) >= QUOTED and text.lstrip().startswith(prompt.strip()):
                found.setdefault("prompt_in_answer", f"answer {place + 1}")
            continue
        others = [message for message in text if message["role"] != "assistant"]
        asked = {prompt.strip()} if isinstance(prompt, str) else {message["content"].strip() for message in prompt}
        if others and others[0]["role"] == "user" and others[0]["content"].strip() in asked:
            found.setdefault("prompt_in_answer", f"answer {place + 1} has a user turn with the prompt")
        elif others:
            found.setdefault("other_turn_in_answer", f"answer {place + 1} has a turn of {others[0]['role']}")
    return list(found.items())


def _unmet(comparison: Comparison, needs: Needs) -> list[tuple[str, str]]:
    """What the method reads and the row does not have."""
    found: list[tuple[str, str]] = []
    k, fewest = len(comparison.responses), needs.candidates[0]
    if k < fewest:
        found.append(("too_few_answers", f"{k} of at least {fewest}"))
    if k == needs.candidates[0] == 1 and "label" not in needs.columns and comparison.columns.get("label") == 0:
        found.append(("unwanted_answer", ""))
    if needs.rewards and comparison.scores is None:
        found.append(("missing_value", "no scores"))
    made = {"label"} if needs.unpaired and k > 1 else set[str]()
    if absent := [name for name in needs.columns if name not in comparison.columns and name not in made]:
        found.append(("missing_value", f"no {', '.join(absent)}"))
    return found


def _canonical(text: Text) -> str:
    return text if isinstance(text, str) else json.dumps(text, sort_keys=True, default=str)


def _hash(*parts: str) -> int:
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "little") + data)
    return int.from_bytes(digest.digest(), "little")


def hashes_of(comparison: Comparison) -> tuple[int, int]:
    """64 bits each that stand for the prompt with its answers in any order, and for what is said of them."""
    prompt, answers = _canonical(comparison.prompt), [_canonical(text) for text in comparison.responses]
    label = str(comparison.columns.get("label", ""))
    return _hash(prompt, *sorted(answers)), _hash(prompt, *answers, label)


class Repeats:
    """Finds rows that say the same as others, or the opposite, from 24 bytes a row.

    >>> repeats = Repeats()
    >>> rows = [Comparison("p", ("a", "b"), (0, 1)), Comparison("p", ("b", "a"), (0, 1))]
    >>> for ordinal, row in enumerate(rows):
    ...     repeats.add(ordinal, row)
    >>> repeats.contradictions().tolist()
    [0, 1]
    """

    def __init__(self) -> None:
        self._ordinals = array("Q")
        self._questions = array("Q")  # prompt and answers, whatever their order
        self._verdicts = array("Q")  # with the order and the label

    def add(self, ordinal: int, comparison: Comparison) -> None:
        """Remember the row with this place among all rows."""
        question, verdict = hashes_of(comparison)
        self._ordinals.append(ordinal)
        self._questions.append(question)
        self._verdicts.append(verdict)

    @classmethod
    def together(cls, parts: Iterable["Repeats"], starts: Iterable[int]) -> "Repeats":
        """The rows of several parts, whose places begin at `starts`."""
        both = cls()
        for part, start in zip(parts, starts, strict=False):
            ordinals = np.array(part._ordinals, np.uint64) + np.uint64(start)
            both._ordinals.frombytes(ordinals.tobytes())
            both._questions.extend(part._questions)
            both._verdicts.extend(part._verdicts)
        return both

    def duplicates(self) -> npt.NDArray[np.int64]:
        """The rows whose prompt, answers and verdict stood in an earlier row."""
        ordinals, questions, verdicts = self._arrays()
        both = questions * np.uint64(0x9E3779B97F4A7C15) + verdicts  # wraps around, which is what a hash wants
        first = np.unique(both, return_index=True)[1]
        return np.delete(ordinals, first)

    def contradictions(self) -> npt.NDArray[np.int64]:
        """The rows whose prompt and answers stand elsewhere with another verdict: all of them, none is known right."""
        ordinals, questions, verdicts = self._arrays()
        order = np.lexsort((verdicts, questions))
        same = questions[order][1:] == questions[order][:-1]
        differ = same & (verdicts[order][1:] != verdicts[order][:-1])
        group = np.concatenate([[0], np.cumsum(~same)]) if len(order) else np.empty(0, np.int64)
        disputed = np.unique(group[1:][differ]) if len(order) else np.empty(0, np.int64)
        return np.sort(ordinals[order][np.isin(group, disputed)])

    def _arrays(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
        if not self._ordinals:
            return np.empty(0, np.int64), np.empty(0, np.uint64), np.empty(0, np.uint64)
        return (
            np.frombuffer(self._ordinals, dtype=np.uint64).astype(np.int64),
            np.frombuffer(self._questions, dtype=np.uint64),
            np.frombuffer(self._verdicts, dtype=np.uint64),
        )

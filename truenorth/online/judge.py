"""A judge that is ready to be called: both orders, retries with back-off, and no question asked twice."""

import hashlib
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..data.cache import cache_folder
from ..judge import Asked, Failed, Judge, JudgeSettings, Panel, Question, Rewards, Verdict, Wins
from .verdicts_kept import Kept

FORMAT = 1  # raised when the same settings would give other answers


def open_judge(settings: JudgeSettings, *, cache: Path | None = None) -> Judge:
    """Load a judge. Its answers are kept in a file under `cache`, by content, unless its kind says not to.

    The call never raises for what a judge does: a prompt without a verdict gets Failed with its reason. What was
    answered before a kill is not asked again. Raises ModelError or SettingsError where the judge cannot be loaded.
    """
    identity = settings.identity()
    kept = None
    if identity is not None:
        folder = cache or cache_folder() / "judges"
        key = hashlib.blake2b(json.dumps([FORMAT, identity], sort_keys=True).encode(), digest_size=16).hexdigest()
        kept = Kept(folder / f"{key}.sqlite")
    return _Judge(settings.open(), settings, kept)


@dataclass(frozen=True, slots=True)
class _Judge:
    panel: Panel
    settings: JudgeSettings
    kept: Kept | None  # None: nothing is

    def __call__(self, prompts: Sequence[Asked], answers: Sequence[Sequence[str]]) -> list[Verdict]:
        pairs = self.settings.answers_at_once == 2
        ask = _singles if not pairs else _pairs if self.settings.both_orders else _pairs_once
        asked = [ask(prompt, own) for prompt, own in zip(prompts, answers, strict=True)]
        questions = {key_of(question): question for own in asked for question in own.values()}
        found = self._answered(questions)
        verdicts = list[Verdict]()
        for own, of_prompt in zip(answers, asked, strict=True):
            replies = {place: found[key_of(question)] for place, question in of_prompt.items()}
            verdicts.append(_verdict(replies, len(own), pairs=pairs))
        return verdicts

    def _answered(self, questions: Mapping[str, Question]) -> dict[str, float | Failed]:
        """What was answered before or is now, by key. Each part is kept before the next is asked."""
        found: dict[str, float | Failed] = {} if self.kept is None else {**self.kept.read(questions)}
        missing = [key for key in questions if key not in found]
        for start in range(0, len(missing), self.settings.at_once):
            part = missing[start : start + self.settings.at_once]
            new = self._asked({key: questions[key] for key in part})
            if self.kept is not None:
                self.kept.write({key: value for key, value in new.items() if not isinstance(value, Failed)})
            found |= new
        return found

    def _asked(self, questions: Mapping[str, Question]) -> dict[str, float | Failed]:
        """Ask, and ask again what failed for now."""
        found: dict[str, float | Failed] = {}
        again = list(questions)
        for attempt in range(self.settings.attempts):
            if attempt > 0:
                time.sleep(self.settings.wait_seconds * 2 ** (attempt - 1))
            replies = self.panel([questions[key] for key in again])
            found |= {key: self._sane(reply) for key, reply in zip(again, replies, strict=True)}
            again = [key for key in again if isinstance(reply := found[key], Failed) and reply.transient]
            if not again:
                break
        return found

    def _sane(self, reply: float | Failed) -> float | Failed:
        if isinstance(reply, Failed):
            return reply
        if self.settings.answers_at_once == 2 and not 0 <= reply <= 1:
            return Failed(f"the judge gave {reply} where a probability in [0, 1] was asked", transient=True)
        return float(reply) if math.isfinite(reply) else Failed(f"the judge gave the reward {reply}", transient=True)


Place = tuple[int, int]  # of the answers of a question among the K of its prompt; (i, i) for one answer


def _singles(prompt: Asked, answers: Sequence[str]) -> dict[Place, Question]:
    return {(i, i): Question(prompt, (answer,)) for i, answer in enumerate(answers)}


def _pairs(prompt: Asked, answers: Sequence[str]) -> dict[Place, Question]:
    """Every pair in both orders. Answers that are the same text are even, and not asked about."""
    return {
        (i, j): Question(prompt, (a, b))
        for i, a in enumerate(answers)
        for j, b in enumerate(answers)
        if i != j and a != b
    }


def _pairs_once(prompt: Asked, answers: Sequence[str]) -> dict[Place, Question]:
    """Every pair in one order, that of the texts: nothing in it tells which answer is expected to win."""
    return {(i, j): question for (i, j), question in _pairs(prompt, answers).items() if answers[i] < answers[j]}


def _verdict(replies: Mapping[Place, float | Failed], k: int, *, pairs: bool) -> Verdict:
    failed = [reply for reply in replies.values() if isinstance(reply, Failed)]
    if failed:
        return Failed(f"{failed[0].reason} ({len(failed)} of {len(replies)} questions without an answer)")
    values = {place: reply for place, reply in replies.items() if not isinstance(reply, Failed)}
    if not pairs:
        return Rewards(tuple(values[i, i] for i in range(k)))
    values = {(j, i): 1 - p for (i, j), p in values.items()} | values  # of pairs that were asked once
    return Wins.of({(i, j): values.get((i, j), 0.5) for i in range(k) for j in range(k)})


def key_of(question: Question) -> str:
    """32 hex digits that change with the prompt and with each answer."""
    text = json.dumps([question.prompt, question.answers], sort_keys=True, ensure_ascii=False)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()

"""What judges answers: for each prompt its answers' rewards, who wins against whom, or why there is neither.

A judge is asked one thing at a time, a *question*: a prompt with one answer (how good?) or two (does the first win?).
`online.judge.open_judge` makes of that the verdict of a prompt: both orders, retries, what was asked before.
"""

import abc
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import FunctionType
from typing import Annotated, Any, ClassVar, Literal, Protocol

from pydantic import BeforeValidator, SerializeAsAny

from .errors import SettingsError, did_you_mean
from .settings import Part, build, find, setting

Asked = str | Sequence[Mapping[str, Any]]  # a prompt: text, or the messages before the answer

JUDGES: Mapping[str, str] = {
    "reward": "truenorth.online.judges.reward:RewardModel",
    "preference": "truenorth.online.judges.preference:PreferenceModel",
    "function": "truenorth.online.judges.function:Function",
    "chat": "truenorth.online.judges.chat:Chat",
    "world": "truenorth.online.judges.world:World",
    "person": "truenorth.online.judges.person:Person",
}


@dataclass(frozen=True, slots=True)
class Rewards:
    """How good each answer to a prompt is, higher is better. Only differences within a prompt are meant."""

    rewards: tuple[float, ...]  # [K]

    def __post_init__(self) -> None:
        if not all(math.isfinite(reward) for reward in self.rewards):
            raise ValueError(f"rewards must be finite, got {list(self.rewards)}.")

    def as_wins(self) -> "Wins":
        """P(row beats column) of the Bradley-Terry model, whose log odds are the rewards' difference.

        >>> Rewards((0.0, 0.0)).as_wins().wins
        ((0.5, 0.5), (0.5, 0.5))
        """
        return Wins.of(
            {(i, j): sigmoid(a - b) for i, a in enumerate(self.rewards) for j, b in enumerate(self.rewards)}
        )


@dataclass(frozen=True, slots=True)
class Wins:
    """Who wins against whom among the answers to a prompt: P + P^T = 1 exactly, 1/2 on the diagonal."""

    wins: tuple[tuple[float, ...], ...]  # [K, K] P(row beats column)

    def __post_init__(self) -> None:
        for i, row in enumerate(self.wins):
            for j, p in enumerate(row):
                if len(row) != len(self.wins) or not 0 <= p <= 1 or p + self.wins[j][i] != 1:
                    raise ValueError(
                        f"wins must be square, in [0, 1], with P + P^T = 1, got {[list(row) for row in self.wins]}."
                    )

    @classmethod
    def of(cls, first: Mapping[tuple[int, int], float]) -> "Wins":
        """Antisymmetrised over both orders: `first[i, j]` is P(i beats j) when i is shown first.

        1/2 [P(i, j) + 1 - P(j, i)] cancels whatever a judge adds to the answer it is shown first. Pairs i = j are
        not read.

        >>> Wins.of({(0, 1): 0.75, (1, 0): 0.75}).wins  # it only prefers the first
        ((0.5, 0.5), (0.5, 0.5))
        """
        k = 1 + max((i for i, _ in first), default=0)
        wins = [[0.5] * k for _ in range(k)]
        for i in range(k):
            for j in range(i + 1, k):
                wins[i][j] = 0.5 * (first[i, j] + 1 - first[j, i])
                wins[j][i] = 1 - wins[i][j]
                wins[i][j] = 1 - wins[j][i]  # rounded as the other, so that their sum is 1 to the bit
        return cls(tuple(tuple(row) for row in wins))

    def against_others(self) -> tuple[float, ...]:
        """[K] the mean of each answer's wins against the others, itself left out; 1/2 where there is no other."""
        k = len(self.wins)
        return tuple((sum(row) - 0.5) / (k - 1) if k > 1 else 0.5 for row in self.wins)


@dataclass(frozen=True, slots=True)
class Failed:
    """Why there is no verdict."""

    reason: str
    transient: bool = False  # asked again, it may answer: a time-out, a server that is busy, an answer no one can read


Verdict = Rewards | Wins | Failed


class Judge(Protocol):
    """Gives one verdict for each prompt. `open_judge` makes one; a test or a user may bring any callable."""

    def __call__(self, prompts: Sequence[Asked], answers: Sequence[Sequence[str]]) -> list[Verdict]:
        """`answers[i]` are the K answers to `prompts[i]`, K may differ. Failed stands where a prompt is left out."""
        ...


@dataclass(frozen=True, slots=True)
class Question:
    """What a judge is asked at a time."""

    prompt: Asked
    answers: tuple[str, ...]  # one: how good is it?  two: does the first win against the second?


class Panel(Protocol):
    """A judge that is loaded, as its kind writes it: many questions in, as many numbers out."""

    def __call__(self, questions: Sequence[Question]) -> Sequence[float | Failed]:
        """The reward of each, or P(first beats second) in [0, 1], in that order."""
        ...


class JudgeSettings(Part, abc.ABC):
    """Which judge, and how it is asked. Subclasses are final."""

    argument: ClassVar[str] = ""  # the setting that `KIND:VALUE` gives
    both_orders: ClassVar[bool] = True  # False: P(a beats b) is 1 - P(b beats a) as it stands, and is asked once
    at_once: ClassVar[int] = 1024  # questions that are asked together, and kept on disk before the next ones

    attempts: int = setting(3, "times a question is asked before its prompt is left out", source="ours", ge=1)
    wait_seconds: float = setting(1.0, "before the second attempt; twice as long each time", source="ours", ge=0)

    def __str__(self) -> str:
        """As a command line names it."""
        value = getattr(self, self.argument, None) if self.argument else None
        return str(value) if self.kind == "function" else self.kind + (f":{value}" if value is not None else "")

    @property
    @abc.abstractmethod
    def answers_at_once(self) -> Literal[1, 2]:
        """1: it gives rewards; 2: it compares two answers."""

    def check_place(self) -> None:
        """Raise for what is not there, a file or a function, before any model is loaded for it."""

    @abc.abstractmethod
    def open(self) -> Panel:
        """Load it. Raises ModelError or SettingsError where that cannot be."""

    def identity(self) -> dict[str, Any] | None:
        """What tells its answers from another judge's, as JSON: the key of what is kept on disk; None: nothing is."""
        return self.model_dump(mode="json", exclude={"attempts", "wait_seconds"})


def _judge(value: Any) -> Any:
    return build(JudgeSettings, value, JUDGES) if isinstance(value, Mapping) else value  # pyright: ignore[reportAbstractUsage]


AnyJudge = Annotated[SerializeAsAny[JudgeSettings], BeforeValidator(_judge)]


def judge_of(text: str, **settings: Any) -> JudgeSettings:
    """The judge of that name, with its further settings.

    >>> judge_of("world:tale_wins").answers_at_once
    2
    """
    return _judge(judge_named(text) | settings)


def judge_named(text: str) -> dict[str, Any]:
    """What a command line names as a judge: KIND, KIND:VALUE with the value of its main setting, or a function.

    >>> judge_named("reward:runs/reward/final")
    {'kind': 'reward', 'model': 'runs/reward/final'}
    >>> judge_named("my.judges:kind")
    {'kind': 'function', 'function': 'my.judges:kind'}
    """
    kind, _, value = text.partition(":")
    if kind in JUDGES:
        return {"kind": kind} | ({find(JUDGES[kind]).argument: value} if value else {})
    if value:
        return {"kind": "function", "function": text}
    raise SettingsError(
        f"there is no judge {text!r}.{did_you_mean(kind, JUDGES)} Allowed: {', '.join(JUDGES)}, each with a value "
        "behind a colon where it takes one (reward:DIRECTORY), or package.module:function."
    )


def by_name(value: object) -> object:
    """A name as its kind, a function as its `package.module:function`; anything else as it is."""
    if isinstance(value, FunctionType):
        value = f"{value.__module__}:{value.__qualname__}"
    return judge_named(value) if isinstance(value, str) else value


def sigmoid(x: float) -> float:
    """Of any x, without overflow."""
    return 1 / (1 + math.exp(-x)) if x >= 0 else 1 - 1 / (1 + math.exp(x))

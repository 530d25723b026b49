"""What can be wrong with a row, and the account of every row that was read."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Self

from ..errors import DataError
from .options import DataSettings

Action = Literal["stop", "drop", "keep", "truncate"]
EXAMPLES = 3  # rows named per reason


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a row cannot be trained on as it stands, and what becomes of it."""

    sentence: str
    fatal: bool = False  # no setting lets such a row pass
    default: Action = "stop"  # with on_problem stop, the default
    setting: Literal["on_problem", "too_long", "ties", "none"] = "on_problem"  # the one that decides
    trainable: bool = True  # on_problem keep can keep it; otherwise keep drops it

    def action(self, settings: DataSettings) -> Action:
        """What becomes of the row under these settings."""
        if self.fatal:
            return "stop"
        if self.setting == "none":
            return self.default
        if self.setting == "ties":
            return settings.ties
        if self.setting == "too_long":
            cut = settings.too_long == "truncate" and not self.trainable
            return "drop" if cut else settings.too_long
        if settings.on_problem == "keep":
            return "keep" if self.trainable else "drop"
        return "drop" if settings.on_problem == "drop" and self.default == "stop" else self.default


# docs/data.md shows this table; a test compares the two.
REASONS: Mapping[str, Reason] = {
    "missing_column": Reason("a column that the mapping names is not in the row", fatal=True),
    "wrong_type": Reason("a value is not of the type that its column needs", fatal=True),
    "length_mismatch": Reason("there are not as many scores or ranks as responses", fatal=True),
    "not_text": Reason("a message holds an image, audio or video; only text is trained on", fatal=True),
    "unparsable": Reason("the line or record cannot be read", trainable=False),
    "null_answer": Reason("an answer is null", trainable=False),
    "empty_prompt": Reason("the prompt is empty, null, or cannot be found in the answers", trainable=False),
    "empty_answer": Reason("an answer is empty: only its end would be trained on"),
    "unknown_role": Reason("a message's role is none that chat templates know", trainable=False),
    "other_turn_in_answer": Reason(
        "an answer holds a turn of the user, the system or a tool, which would be trained on"
    ),
    "prompt_in_answer": Reason("an answer begins with the prompt again, which would be trained on"),
    "identical_answers": Reason("two answers are the same: there is nothing to prefer"),
    "contradiction": Reason("the same prompt and answers stand elsewhere in another order or with another label"),
    "duplicate": Reason("the same prompt and answers stood in an earlier row", default="keep"),
    "non_finite_score": Reason("a score, rank, margin, label or weight is null, NaN or infinite", trainable=False),
    "negative_weight": Reason("the weight is below 0", trainable=False),
    "score_against_label": Reason("the rejected answer has the higher score"),
    "missing_value": Reason("the row lacks a score or column that the method reads", trainable=False),
    "too_few_answers": Reason("the row has fewer answers than the method compares", trainable=False),
    "too_many_answers": Reason(
        "the row has more answers than the method takes, and no pairing says which count", trainable=False
    ),
    "unwanted_answer": Reason("the answer's label is 0, and the method takes every answer as a good one"),
    "tie": Reason("all scores or ranks are equal", default="drop", setting="ties"),
    "tied_pair": Reason(
        "two answers of a row are equally good; pairs of such are left out", default="drop", setting="ties"
    ),
    "too_long": Reason("prompt and answer have more than max_length tokens", setting="too_long"),
    "prompt_too_long": Reason("the prompt alone fills max_length", setting="too_long", trainable=False),
    "identical_after_truncation": Reason("cutting to max_length made two answers the same"),
    "template_error": Reason("the chat template refuses the row", trainable=False),
    "template_not_prefix": Reason(
        "the chat template renders the prompt differently once the answer follows", trainable=False
    ),
    "no_end_of_turn": Reason(
        "an answer ends without a special token: the model does not learn to stop", default="keep", setting="none"
    ),
    "few_key_phrases": Reason(
        "an answer has too few key phrases for the levels at which the method degrades it", default="drop"
    ),
    "no_token_boundary": Reason("the tokenizer cannot separate the answer from the prompt", trainable=False),
}


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with one row."""

    reason: str  # in REASONS
    file: str
    row: int  # 1-based
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.file}, row {self.row}" + (f": {self.detail}" if self.detail else "")


class Refused(Exception):
    """Raised while one row is read, to end in a Problem that knows its file and row."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail

    def at(self, file: str, row: int) -> Problem:
        return Problem(self.reason, file, row, self.detail)


@dataclass
class Tally:
    """How often one reason came up, and where first."""

    count: int
    action: Action
    examples: list[Problem] = field(default_factory=list[Problem])


@dataclass
class Account:
    """What became of every row. Always: read = kept + dropped."""

    read: int = 0
    kept: int = 0
    dropped: int = 0
    refusable: int = 0  # dropped rows that count towards max_problem_share: all but ties
    made: int = 0  # rows to train on; pairing makes several of one
    reasons: dict[str, Tally] = field(default_factory=dict[str, Tally])

    def note(self, problem: Problem, settings: DataSettings) -> Action:
        """Count `problem` and say what becomes of its row."""
        action = REASONS[problem.reason].action(settings)
        tally = self.reasons.setdefault(problem.reason, Tally(0, action))
        tally.count += 1
        if len(tally.examples) < EXAMPLES:
            tally.examples.append(problem)
        return action

    def row(self, *, dropped: bool, by_choice: bool = False) -> None:
        """Count one row that was read; `by_choice`: dropped as a tie, which is no fault of the data."""
        self.read += 1
        self.kept += not dropped
        self.dropped += dropped
        self.refusable += dropped and not by_choice

    def drop_kept(self, *, by_choice: bool = False) -> None:
        """A row counted as kept is dropped after all."""
        self.kept -= 1
        self.dropped += 1
        self.refusable += not by_choice

    def add(self, other: "Account") -> None:
        """Count the rows that follow, of another part of the data."""
        for name in ("read", "kept", "dropped", "refusable", "made"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name, theirs in other.reasons.items():
            ours = self.reasons.setdefault(name, Tally(0, theirs.action))
            ours.count += theirs.count
            ours.examples = [*ours.examples, *theirs.examples][:EXAMPLES]

    @property
    def stops(self) -> list[str]:
        """The reasons for which the run must not start."""
        return [name for name, tally in self.reasons.items() if tally.action == "stop" and tally.count]

    def lines(self) -> list[str]:
        """One line on all rows and one per reason, each with its first row."""
        head = f"{self.read:,} rows read, {self.kept:,} kept, {self.dropped:,} dropped."
        if self.made and self.made != self.kept:
            head += f" They make {self.made:,} rows to train on."
        done = {"stop": "stops the run", "drop": "dropped", "keep": "kept", "truncate": "cut"}
        body = [
            f"{name}: {tally.count:,} ({done[tally.action]}): {REASONS[name].sentence}. First: {tally.examples[0]}."
            for name, tally in self.reasons.items()
        ]
        return [head, *body]

    def check(self, settings: DataSettings, mapping: Sequence[str] = ()) -> None:
        """Raise DataError where the run must not start, unless `settings.refuse` is off.

        It says the whole account, and the lines of `mapping`: how the files were read.
        """
        if settings.refuse and (refusal := self.refusal(settings)):
            raise DataError("\n  ".join([refusal, *self.lines(), *mapping]))

    def refusal(self, settings: DataSettings) -> str:
        """Why a run must not start with these rows, and what to do; empty where it may."""
        too_many = self.refusable > settings.max_problem_share * self.read
        if not self.stops and self.kept and not too_many:
            return ""
        if settings.needs.given:  # to a command that has no flags for what becomes of a row
            return f"The rows of {settings.needs.given} cannot be used as they are. Mend the file."
        return f"The data cannot be trained on as they are: {self._why(settings)}"

    def _why(self, settings: DataSettings) -> str:
        if self.stops:
            return _advice(self.stops)
        if self.kept == 0:
            most = max(self.reasons, key=lambda name: self.reasons[name].count, default="")
            remedy = f" Most of them: {most}; {REMEDIES[most]}" if most in REMEDIES else ""
            return f"No row is left to train on.{remedy}"
        return (
            f"{self.refusable / self.read:.1%} of the rows would be dropped, and --max-problem-share is "
            f"{settings.max_problem_share:g}. Repair the data, or raise --max-problem-share."
        )

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The account that `to_dict` wrote."""
        reasons = {
            name: Tally(tally["count"], tally["action"], [Problem(**example) for example in tally["examples"]])
            for name, tally in data["reasons"].items()
        }
        values: dict[str, Any] = {**data, "reasons": reasons}
        return cls(**values)


REMEDIES: Mapping[str, str] = {  # what helps where dropping or cutting leaves nothing
    "prompt_too_long": "raise --max-length; cutting answers cannot help.",
    "too_long": "raise --max-length, or choose --too-long truncate.",
}


def _advice(stops: list[str]) -> str:
    """What to do about the reasons that stop the run."""
    names = ", ".join(stops)
    if fatal := [name for name in stops if REASONS[name].fatal]:
        return f"{', '.join(fatal)} can only be mended in the file, or by naming other columns."
    settings = {REASONS[name].setting for name in stops}
    choices = {
        "on_problem": "--on-problem drop or keep",
        "too_long": "a larger --max-length, --too-long drop or truncate",
        "ties": "--ties drop or keep",
        "none": "",
    }
    return f"{names}. Mend the file, or choose {'; '.join(choices[s] for s in sorted(settings))}."

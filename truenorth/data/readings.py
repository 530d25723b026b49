"""How each layout's record becomes a prompt, its answers and their numbers."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .comparisons import Message, Text
from .messages import as_text, common_start, describe, is_message
from .problems import Refused

ANSWER_KEYS = ("response", "completion", "content", "text", "output")  # in lists of objects; the first that is there
SCORE_KEYS = ("overall_score", "score", "reward")
TURN = "\n\nAssistant:"  # ends the prompt in dialogues written as one string


@dataclass(frozen=True, slots=True)
class Reading:
    """One record's parts, in the order of the file."""

    prompt: Text
    responses: tuple[Text, ...]  # [K]
    scores: tuple[float, ...] | None = None
    ranks: tuple[float, ...] | None = None
    label: float | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """A record and which of its columns plays which role."""

    fields: Mapping[str, Any]
    columns: Mapping[str, str]  # role to column
    repeats_prompt: bool  # answers of this file begin with the prompt, as text

    def value(self, role: str) -> Any:
        column = self.columns[role]
        if column not in self.fields:
            raise Refused("missing_column", f"the row has no {column}, which the mapping takes as {role}")
        return self.fields[column]

    def answer(self, role: str) -> Text:
        value = self.value(role)
        if value is None:
            raise Refused("null_answer", f"{self.columns[role]} is null")
        return as_text(value, self.columns[role])

    def prompt(self) -> Text | None:
        """The prompt that stands in a column of its own, or None where answers hold it."""
        if "prompt" not in self.columns:
            return None
        value = self.value("prompt")
        if value is None:
            raise Refused("empty_prompt", f"{self.columns['prompt']} is null")
        prompt = as_text(value, self.columns["prompt"])
        more = self.fields.get(self.columns.get("input", ""))
        if not isinstance(prompt, str) or more is None or more == "":
            return prompt
        if not isinstance(text := as_text(more, self.columns["input"]), str):
            raise Refused("wrong_type", f"{self.columns['input']} must be text, got {describe(more)}")
        return f"{prompt}\n\n{text}"


def pairs(source: Source) -> Reading:
    """chosen and rejected, with or without a prompt of their own and scores."""
    prompt, answers = separate(source.prompt(), (source.answer("chosen"), source.answer("rejected")), source)
    roles = ("score_chosen", "score_rejected")
    if not all(role in source.columns and source.value(role) is not None for role in roles):
        return Reading(prompt, answers)
    return Reading(prompt, answers, scores=tuple(number(source.value(role), source.columns[role]) for role in roles))


def several(source: Source) -> Reading:
    """K answers as a list, with scores or ranks beside it or inside it."""
    column = source.columns["responses"]
    items = source.value("responses")
    if items is None:
        raise Refused("null_answer", f"{column} is null")
    if not isinstance(items, Sequence) or isinstance(items, str):
        raise Refused("wrong_type", f"{column} must be a list of answers, got {describe(items)}")
    inside: dict[str, tuple[float, ...]] = {}
    if all(isinstance(item, Mapping) and not is_message(item) for item in items):
        inside = _numbers_inside(items, column)
        items = [_answer_inside(item, column) for item in items]
    if (null := next((k for k, item in enumerate(items) if item is None), None)) is not None:
        raise Refused("null_answer", f"answer {null + 1} in {column} is null")
    prompt, answers = separate(source.prompt(), tuple(as_text(item, column) for item in items), source)
    numbers = {
        role: _numbers_beside(source, role, len(answers)) for role in ("scores", "ranks") if role in source.columns
    }
    return Reading(prompt, answers, **_order({**inside, **numbers}))


def single(source: Source) -> Reading:
    """A prompt and one answer, with a label (KTO) or without (SFT)."""
    prompt, answers = separate(source.prompt(), (source.answer("response"),), source)
    reading = Reading(prompt, answers)
    if "label" not in source.columns:
        return reading
    return replace(reading, label=label(source.value("label"), source.columns["label"]))


def conversation(source: Source) -> Reading:
    """Messages whose last is the answer."""
    column = source.columns["messages"]
    messages = source.answer("messages")
    if isinstance(messages, str):
        raise Refused("wrong_type", f"{column} must be a list of messages, got {describe(messages)}")
    if not messages or messages[-1]["role"] != "assistant":
        last = messages[-1]["role"] if messages else "none"
        raise Refused("empty_answer", f"{column} must end with the assistant's message, the last is of {last}")
    if len(messages) == 1:
        raise Refused("empty_prompt", f"{column} holds only the answer")
    return Reading(messages[:-1], (messages[-1:],))


def separate(prompt: Text | None, answers: tuple[Text, ...], source: Source) -> tuple[Text, tuple[Text, ...]]:
    """Prompt and answers, where answers may hold the prompt: each part then stands once."""
    conversations = [answer for answer in answers if not isinstance(answer, str)]
    strings = [answer for answer in answers if isinstance(answer, str)]
    if prompt is None and strings and conversations:
        raise Refused("wrong_type", "some answers are text and some messages, and the row has no prompt of its own")
    if conversations and not strings:
        return _separate_messages(prompt, conversations)
    if prompt is None:
        cut = implicit_prompt(strings)
        return strings[0][:cut], tuple(answer[cut:] for answer in strings)
    repeated = source.repeats_prompt and isinstance(prompt, str) and not conversations
    if repeated and all(answer.startswith(str(prompt)) for answer in strings):
        return prompt, tuple(answer[len(prompt) :] for answer in strings)
    return prompt, answers


def implicit_prompt(answers: Sequence[str]) -> int:
    """How many characters of all answers are the prompt.

    The common start, cut behind its last assistant's turn, else behind its last line break, else before its last
    word: two answers may begin with the same words.

    >>> implicit_prompt(["Human: Hi\\n\\nAssistant: Yes.", "Human: Hi\\n\\nAssistant: Yo."])
    21
    """
    start = next(
        (k for k, letters in enumerate(zip(*answers, strict=False)) if len(set(letters)) > 1), min(map(len, answers))
    )
    common = answers[0][:start]
    if TURN in common:
        return common.rindex(TURN) + len(TURN)
    cut = common.rfind("\n") + 1 or max(common.rfind(" "), 0)
    if not common[:cut].strip():
        raise Refused("empty_prompt", "there is no prompt, and the answers have no common beginning")
    return cut


def number(value: object, column: str) -> float:
    """A finite or infinite float from a number or its text. Raises Refused for anything else."""
    if isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            return float(value)
        except (ValueError, OverflowError):  # no number, or a whole one above 1e308
            pass
    if value is None:
        raise Refused("non_finite_score", f"{column} is null")
    raise Refused("wrong_type", f"{column} must be a number, got {describe(value)}")


def label(value: object, column: str) -> float:
    """1 for a desirable answer, 0 for an undesirable one."""
    known = {"true": 1.0, "false": 0.0, "1": 1.0, "0": 0.0, "1.0": 1.0, "0.0": 0.0}
    if value is None:
        raise Refused("non_finite_score", f"{column} is null")
    if str(value).lower() not in known:
        raise Refused("wrong_type", f"{column} must be true or false, 1 or 0, got {describe(value)}")
    return known[str(value).lower()]


def _separate_messages(prompt: Text | None, answers: Sequence[tuple[Message, ...]]) -> tuple[Text, tuple[Text, ...]]:
    """The messages that all answers begin with are the prompt if there is no other, or if they repeat it."""
    common = min(common_start(answers), min(map(len, answers)) - 1)
    start = answers[0][:common]
    if prompt is None:
        if not start:
            raise Refused("empty_prompt", "there is no prompt, and the answers have no message in common")
        return start, tuple(answer[common:] for answer in answers)
    if isinstance(prompt, str):
        repeated = bool(start) and start[-1]["role"] == "user" and start[-1]["content"].strip() == prompt.strip()
    else:
        repeated = bool(prompt) and start[-len(prompt) :] == prompt
    return (start, tuple(answer[common:] for answer in answers)) if repeated else (prompt, tuple(answers))


def _answer_inside(item: Mapping[str, Any], column: str) -> Any:
    key = next((key for key in ANSWER_KEYS if key in item), None)
    if key is None:
        raise Refused("missing_column", f"an object in {column} has none of {', '.join(ANSWER_KEYS)}")
    return item[key]


def _numbers_inside(items: Sequence[Mapping[str, Any]], column: str) -> dict[str, tuple[float, ...]]:
    """Scores or ranks that stand in the objects themselves, if the first has any."""
    key = next((key for key in (*SCORE_KEYS, "rank") if items and items[0].get(key) is not None), None)
    if key is None:
        return {}
    values = tuple(number(item.get(key), f"{key} in {column}") for item in items)
    return {"ranks" if key == "rank" else "scores": values}


def _numbers_beside(source: Source, role: str, count: int) -> tuple[float, ...]:
    column, values = source.columns[role], source.value(role)
    if values is None:
        raise Refused("non_finite_score", f"{column} is null")
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise Refused("wrong_type", f"{column} must be a list of numbers, got {describe(values)}")
    if len(values) != count:
        raise Refused("length_mismatch", f"{len(values)} {column} for {count} responses")
    return tuple(number(value, column) for value in values)


def _order(numbers: Mapping[str, tuple[float, ...]]) -> dict[str, Any]:
    """Scores win over ranks; without either the answers have no order."""
    if not numbers:
        raise Refused("missing_value", "the answers have neither scores nor ranks, so none is better")
    return {"scores": numbers["scores"]} if "scores" in numbers else {"ranks": numbers["ranks"]}


def parsed(value: object, column: str) -> Any:
    """A list or object, or what its JSON text stands for; None stays None."""
    if isinstance(value, str):
        try:
            return json.loads(value)
        except ValueError as error:
            raise Refused("wrong_type", f"{column} must be JSON, got {describe(value)}") from error
    return value

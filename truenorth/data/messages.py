"""Values of a row as texts: plain strings, or messages with the roles that chat templates know."""

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import did_you_mean
from .comparisons import Message, Text
from .problems import Refused

ROLES = ("system", "developer", "user", "assistant", "tool")
SHAREGPT = {  # its `from` to a role
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "assistant": "assistant",
    "system": "system",
    "tool": "tool",
    "observation": "tool",
    "function_response": "tool",
}


def is_message(value: object) -> bool:
    """Whether `value` has the form of a message: role and content, or ShareGPT's from and value."""
    return isinstance(value, Mapping) and ("role" in value or ("from" in value and "value" in value))


def as_text(value: object, column: str) -> Text:
    """A string as it is, a message or a list of them as messages.

    Raises Refused for anything else, for an unknown role and for content that is not text.
    """
    if isinstance(value, str):
        return _unicode(value, column)
    if is_message(value):
        return (_message(value, column),)
    if isinstance(value, Sequence) and all(is_message(item) for item in value):
        return tuple(_message(item, column) for item in value)
    raise Refused("wrong_type", f"{column} must be text or messages, got {describe(value)}")


def describe(value: object) -> str:
    """What a value is, in a few words, for messages about it."""
    shown = repr(value)
    return f"{type(value).__name__} {shown if len(shown) <= 60 else shown[:57] + '...'}"


def is_empty(text: Text) -> bool:
    """Whether there is nothing but white space, and no call of a tool."""
    if isinstance(text, str):
        return not text.strip()
    return not any(message["content"].strip() or message.get("tool_calls") for message in text)


def common_start(texts: Sequence[tuple[Message, ...]]) -> int:
    """How many messages all conversations begin with."""
    count = 0
    for turns in zip(*texts, strict=False):
        if any(turn != turns[0] for turn in turns):
            break
        count += 1
    return count


def _message(value: Any, column: str) -> Message:
    if "role" in value:
        role, content = value["role"], value.get("content")
        rest = {name: item for name, item in value.items() if name not in {"role", "content"} and item is not None}
    else:
        role, content, rest = value["from"], value["value"], dict[str, Any]()
        role = SHAREGPT.get(role, role) if isinstance(role, str) else role
    if role not in ROLES:
        known = [*ROLES, *SHAREGPT] if "from" in value else list(ROLES)
        raise Refused("unknown_role", f"{column} has the role {role!r}.{did_you_mean(str(role), known)}")
    return {"role": role, "content": _content(content, rest, column), **rest}


def _content(content: object, rest: Mapping[str, Any], column: str) -> str:
    """The text of a message; parts of type text are joined."""
    if content is None and rest.get("tool_calls"):
        return ""
    if isinstance(content, str):
        return _unicode(content, column)
    if isinstance(content, Sequence) and all(isinstance(part, Mapping) for part in content):
        return _unicode("".join(_part(part, column) for part in content), column)
    raise Refused("wrong_type", f"a message in {column} must have text as its content, got {describe(content)}")


def _part(part: Mapping[str, Any], column: str) -> str:
    if part.get("type", "text") != "text":
        raise Refused("not_text", f"{column} holds a part of type {part['type']!r}")
    if not isinstance(text := part.get("text"), str):
        raise Refused("wrong_type", f"a part of a message in {column} must have text, got {describe(text)}")
    return text


def _unicode(text: str, column: str) -> str:
    """`text`, if it can be written at all: JSON may hold half a surrogate pair, which no tokenizer reads."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise Refused("unparsable", f"{column} holds half a surrogate pair at character {error.start + 1}") from error
    return text

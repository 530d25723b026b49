"""Messages as text through the tokenizer's chat template, cut into the prompt and what follows it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from jinja2.exceptions import TemplateError

from ..errors import ModelError
from .boundary import Tokenizer
from .comparisons import Comparison, Message, Text
from .problems import Refused


@dataclass(frozen=True, slots=True)
class Rendered:
    """A prompt and its answers as text."""

    prompt: str
    responses: tuple[str, ...]  # and their degraded versions behind them
    chat: bool  # through a template, which brings BOS and the end of the turn itself


class Template:
    """A tokenizer's chat template, or another one in its place."""

    def __init__(self, tokenizer: Tokenizer, text: str | None) -> None:
        self._tokenizer, self._text = tokenizer, text
        added = [str(token) for token in tokenizer.added_tokens_decoder.values()]
        self.ends = tuple(sorted({*added, *tokenizer.all_special_tokens} - {""}))  # texts that can end a turn

    def render(self, comparison: Comparison) -> Rendered:
        """The texts of a row: strings as they are, messages through the template. Raises Refused."""
        prompt, answers = comparison.prompt, (*comparison.responses, *comparison.degraded)
        strings = [answer for answer in answers if isinstance(answer, str)]
        if isinstance(prompt, str) and len(strings) == len(answers):
            return Rendered(prompt, tuple(strings), chat=False)
        messages = _messages(prompt, "user")
        start = self._start(comparison, messages)
        whole = [self._apply(comparison, [*messages, *_messages(answer, "assistant")]) for answer in answers]
        if not all(text.startswith(start) for text in whole):
            start = _safe_start(self._apply(comparison, messages), start, whole)
        return Rendered(start, tuple(self._end_turn(text[len(start) :]) for text in whole), chat=True)

    def _start(self, comparison: Comparison, messages: list[Message]) -> str:
        """The prompt with the generation prompt. Raises Refused where the template leaves out what the row has."""
        start = self._apply(comparison, messages, answering=True)
        asked = [message for message in messages if message["role"] in ("system", "developer", "user")]
        if lost := [message["role"] for message in asked if message["content"].strip() not in start]:
            raise Refused("template_error", f"the template leaves out or alters the {lost[0]}'s message")
        if comparison.tools and start == self._apply(replace(comparison, tools=None), messages, answering=True):
            raise Refused("template_error", "the template leaves out the tools")
        return start

    def _apply(self, comparison: Comparison, messages: list[Message], *, answering: bool = False) -> str:
        if self._text is None and self._tokenizer.chat_template is None:
            raise ModelError(
                f"{comparison.file}, row {comparison.row} holds messages, and the tokenizer has no chat template. "
                "Give one (chat_template, a Jinja file), or data whose prompts and answers are text."
            )
        settings: dict[str, Any] = dict(comparison.chat_template_kwargs)
        try:
            return self._tokenizer.apply_chat_template(
                messages,
                chat_template=self._text,
                tools=None if comparison.tools is None else list(comparison.tools),
                tokenize=False,
                add_generation_prompt=answering,
                **settings,
            )
        except (TemplateError, TypeError) as error:
            raise Refused("template_error", str(error)) from error

    def _end_turn(self, text: str) -> str:
        """An answer up to its end-of-turn token: the line break that templates put behind it is never generated."""
        bare = text.rstrip()
        return bare if bare.endswith(self.ends) else text


def _messages(text: Text, role: str) -> list[Message]:
    return [{"role": role, "content": text}] if isinstance(text, str) else list(text)


def _safe_start(without: str, prompt: str, whole: Sequence[str]) -> str:
    """What all answers' renderings begin with, where the prompt's own is not it.

    Templates that open the answer in the prompt (`<think>`) and leave that out of a finished answer differ only
    behind the last message of the prompt: there the texts may be cut, at a line break. Raises Refused otherwise.
    """
    common = prompt
    for text in whole:
        same = (k for k, (a, b) in enumerate(zip(common, text, strict=False)) if a != b)
        common = common[: next(same, min(len(common), len(text)))]
    cut = common.rfind("\n") + 1
    if not common.startswith(without) or cut < len(without):
        place = common[-40:]
        raise Refused("template_not_prefix", f"the renderings part after {place!r}")
    return common[:cut]

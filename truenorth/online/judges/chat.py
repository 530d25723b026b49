"""Another language model as a judge, through any server that speaks OpenAI's chat completions."""

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, PositiveInt, field_validator

from ...completions import Address, ServerSettings
from ...errors import SettingsError
from ...judge import Asked, Failed, JudgeSettings, Panel, Question
from ...settings import setting
from ..endpoint import GONE, Endpoint, ServerFailed, ServerRefused, json_object

TEMPLATE = """\
Here are a request and two answers to it. Which answer is better? Judge how well it does what was asked, whether it is
right, and how clear it is. Neither their order nor their length counts.

[Request]
{prompt}

[Answer A]
{first}

[Answer B]
{second}

Think it over in a few sentences. Then end with one line, just one of these:
Verdict: A
Verdict: B
Verdict: tie"""
PLACES = ("{prompt}", "{first}", "{second}")
P_FIRST = {"a": 1.0, "b": 0.0, "tie": 0.5}


class Chat(JudgeSettings):
    """Which of two answers a language model prefers, asked in both orders. A tie is half a win of each."""

    kind: ClassVar[str] = "chat"
    argument: ClassVar[str] = "url"
    at_once: ClassVar[int] = 64
    url: Address = Field(description="of the server's API, with its /v1")
    model: str = Field(description="name that the server knows the model by")
    template: str = Field(
        default=TEMPLATE,
        description="text, or a file of it, with {prompt}, {first}, {second}; its answer ends with `Verdict: A`",
    )
    max_new_tokens: PositiveInt = Field(default=1024, description="most tokens of the judge's answer")
    temperature: float = setting(0.0, "of the judge's answer", source="ours", ge=0)
    timeout_seconds: float = setting(120.0, "that the server may be silent for", source="ours", gt=0)
    parallel: PositiveInt = Field(default=8, description="requests at a time")
    key_variable: str = setting("OPENAI_API_KEY", "environment variable that holds the key", source="ours")

    @field_validator("template", mode="after")
    @classmethod
    def _with_its_places(cls, value: str) -> str:
        text = Path(value).read_text(encoding="utf-8") if "\n" not in value and Path(value).is_file() else value
        if missing := [place for place in PLACES if place not in text]:
            raise SettingsError(
                f"the judge's template lacks {', '.join(missing)}: it must say where the request and both answers go."
            )
        return text

    @property
    def answers_at_once(self) -> Literal[1, 2]:
        return 2

    def identity(self) -> dict[str, Any]:
        return {"kind": self.kind} | self.model_dump(include={"model", "template", "max_new_tokens", "temperature"})

    def open(self) -> Panel:
        server = ServerSettings(
            url=self.url,
            timeout_seconds=self.timeout_seconds,
            tries=self.attempts,
            wait_seconds=self.wait_seconds,
            key_variable=self.key_variable,
        )

        def ask(questions: Sequence[Question]) -> list[float | Failed]:
            endpoint = Endpoint(server)
            with ThreadPoolExecutor(self.parallel) as threads:
                try:
                    return list(threads.map(partial(self._answer, endpoint), questions))
                finally:
                    endpoint.over.set()  # after Ctrl-C what is under way is not tried again

        return ask

    def _answer(self, endpoint: Endpoint, question: Question) -> float | Failed:
        """P(first beats second). The endpoint has tried as often as it may; only a lack of sense is worth another."""
        body = {
            "model": self.model,
            "messages": [{"role": "user", "content": filled(self.template, question)}],
            "max_tokens": self.max_new_tokens,
            "temperature": self.temperature,
        }
        try:
            text = endpoint.post("/chat/completions", body, _said)
        except ServerRefused as error:
            return Failed(f"the judge's server refused: {error}")
        except ServerFailed as error:
            if error.status in GONE:
                endpoint.over.set()  # nobody is there: the others need not wait as long to learn it
            return Failed(f"the judge's server failed: {error}")
        found = verdict_in(text)
        if found is None:
            return Failed(f"no verdict in the judge's answer, which ends {text[-80:]!r}", transient=True)
        return found


def filled(template: str, question: Question) -> str:
    """The template with the question in its places; braces in an answer are no places."""
    first, second = question.answers
    texts: dict[str, str] = dict(zip(PLACES, (conversation(question.prompt), first, second), strict=True))
    return re.sub("|".join(map(re.escape, PLACES)), lambda found: texts[found[0]], template)


def conversation(prompt: Asked) -> str:
    """A prompt as text: a single message is what it says, several have the role before each."""
    if isinstance(prompt, str):
        return prompt
    if len(prompt) == 1:
        return str(prompt[0].get("content", ""))
    return "\n\n".join(f"{str(turn.get('role', '')).capitalize()}: {turn.get('content', '')}" for turn in prompt)


def verdict_in(text: str) -> float | None:
    """P(A beats B) by the last verdict in a judge's answer, None where there is none.

    >>> verdict_in("A is clearer, B is longer.\\n**Verdict: A**"), verdict_in("tie"), verdict_in("Verdict: a tie")
    (1.0, 0.5, 0.5)
    """
    said = text.rpartition("</think>")[2].strip().lower()
    found = re.findall(r"verdict\W+(?:answer\W+|a\s+(?=tie\b))?(a|b|tie)\b", said)
    if not found and said.strip(".*[]() ") in P_FIRST:
        found = [said.strip(".*[]() ")]
    return P_FIRST[found[-1]] if found else None


def _said(answer: bytes) -> str:
    try:
        text = json_object(answer)["choices"][0]["message"]["content"]
    except (KeyError, IndexError, TypeError) as error:
        raise ValueError(f"no chat completion: {answer[:80]!r}") from error
    if not isinstance(text, str):
        raise ValueError(f"a chat completion without text: {answer[:80]!r}")
    return text

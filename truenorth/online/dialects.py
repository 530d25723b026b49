"""What completion servers understand: bodies of requests, from the most that one may know to the least."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from .endpoint import json_object
from .sampling import Prompt, Response, Sampling
from .stops import first_stop

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class Asked:
    """A prompt in the forms in which a server may take it."""

    prompt: Prompt  # as it was given
    tokens: tuple[int, ...] | None  # None: no tokenizer
    text: str | None  # that the tokenizer makes `tokens` of; None: there is none

    def seed(self, sampling: Sampling, place: int, round_index: int) -> int:
        """31 bits: a function of the seed, the round, the prompt and the answer's place."""
        what = json.dumps([sampling.seed, round_index, place, self.tokens or self.prompt], default=list)
        return int.from_bytes(hashlib.blake2b(what.encode(), digest_size=4).digest(), "little") >> 1


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a prompt is put, and which fields stand beside those of every completion server."""

    name: str
    path: str = "/completions"
    as_text: bool = True
    many: bool = False  # several answers to one request (`n`), the prompt's work shared among them
    # vLLM's and SGLang's fields: the distribution is not changed by defaults of the model, and token ids and log-probs
    # are given back.
    plain: bool = False
    configured: bool = False  # transformers' field: a generation config, without which it may not sample at all

    def form(self, asked: Asked) -> Mapping[str, Any] | None:
        """The prompt in this dialect; None where it has no such form."""
        if self.path == "/chat/completions":
            messages = asked.prompt
            of_messages = not isinstance(messages, str) and all(isinstance(m, Mapping) for m in messages)
            return {"messages": list(messages)} if of_messages else None
        if self.as_text:
            return None if asked.text is None else {"prompt": asked.text}
        return None if asked.tokens is None else {"prompt": list(asked.tokens)}

    def fields(self, sampling: Sampling, tokenizer: "PreTrainedTokenizerBase | None") -> dict[str, Any]:
        """Everything of a body that is the same for all prompts."""
        body: dict[str, Any] = {"max_tokens": sampling.max_new_tokens, "temperature": sampling.temperature}
        body["top_p"] = sampling.top_p
        if sampling.stop:
            body["stop"] = list(sampling.stop)
        if self.plain:
            body |= {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0, "return_token_ids": True, "logprobs": 1}
            body |= {"stop_token_ids": list(sampling.stop_tokens)} if sampling.stop_tokens else {}
        if self.configured:
            assert tokenizer is not None
            ends = [tokenizer.eos_token_id, *sampling.stop_tokens]
            config = {"do_sample": sampling.temperature > 0, "top_k": 0, "eos_token_id": ends, "pad_token_id": ends[0]}
            body["generation_config"] = json.dumps(config)
        return body


WITH_TOKENIZER = (
    Dialect("tokens, with vLLM's and SGLang's fields", as_text=False, many=True, plain=True),
    Dialect("tokens", as_text=False, many=True),
    Dialect("text, with transformers' fields", configured=True),
    Dialect("text", many=True),
    Dialect("text, one answer at a time"),
)
PLAIN = (Dialect("tokens", as_text=False, many=True), *WITH_TOKENIZER[-2:])  # without a tokenizer
CHAT = (
    Dialect("messages", path="/chat/completions", many=True),
    Dialect("messages, one answer at a time", path="/chat/completions"),
)


def asked_of(prompt: Prompt, tokenizer: "PreTrainedTokenizerBase | None") -> Asked:
    """A prompt's forms. With a tokenizer the tokens are those that are trained on, and text must give them again."""
    if tokenizer is None:
        ids = tuple(cast("Sequence[int]", prompt)) if all(isinstance(item, int) for item in prompt) else None
        return Asked(prompt, ids, prompt if isinstance(prompt, str) else None)
    from ..data.chat import Encoder
    from .sampling import encode

    tokens = encode(prompt, Encoder(tokenizer))
    begins = tokens[:1] == [tokenizer.bos_token_id]  # which many tokenizers add themselves
    texts = [str(tokenizer.decode(part)) for part in (tokens, tokens[1:] if begins else tokens)]
    exact = next((text for text in texts if tokenizer(text)["input_ids"] == tokens), None)
    return Asked(prompt, tuple(tokens), exact)


def responses(answer: bytes, sampling: Sampling) -> list[Response]:
    """The answers of a completion. Raises ValueError where it is none."""
    choices = json_object(answer).get("choices")
    if not isinstance(choices, list) or not choices:
        raise ValueError(f"no completion: {answer[:80]!r}")
    return [_response(choice, sampling) for choice in choices]


def _response(choice: Any, sampling: Sampling) -> Response:
    try:
        text = choice["message"]["content"] if "message" in choice else choice["text"]
        reason, tokens = choice["finish_reason"], tuple(map(int, choice.get("token_ids") or ()))
        nats: list[float] = list(map(float, (choice.get("logprobs") or {}).get("token_logprobs") or ()))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"a choice without text or finish_reason: {str(choice)[:80]}") from error
    if not isinstance(text, str) or reason not in ("stop", "length"):
        raise ValueError(f"an answer that is no text, or has no end: {str(choice)[:80]}")
    end = first_stop(text, sampling.stop)
    # Servers give the model's own log-probs, before temperature and top-p.
    drawn_from = len(nats) == len(tokens) > 0 and sampling.temperature == 1 and sampling.top_p == 1
    return Response(text[:end], tokens, reason == "stop" or end is not None, tuple(nats) if drawn_from else None)

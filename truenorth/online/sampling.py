"""What every sampler takes and gives: prompts and settings in, answers out as they come."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, cast

from ..settings import Settings, setting

if TYPE_CHECKING:
    from ..data.chat import Encoder

Prompt = str | Sequence[Mapping[str, Any]] | Sequence[int]  # text, the messages before the answer, or token ids


class Sampling(Settings):
    """How answers are drawn."""

    max_new_tokens: int = setting(128, "most tokens of an answer", source="ours", ge=1)
    temperature: float = setting(1.0, "of the distribution; 0 takes the likeliest token", source="ours", ge=0)
    top_p: float = setting(1.0, "keep the likeliest tokens up to this share of probability", source="ours", gt=0, le=1)
    k: int = setting(1, "answers per prompt", source="ours", ge=1)
    seed: int = setting(0, "of the draws", source="ours", ge=0)
    stop: tuple[str, ...] = setting((), "texts before which an answer ends", source="ours")
    stop_tokens: tuple[int, ...] = setting((), "token ids that end an answer, beside the model's own", source="ours")


@dataclass(frozen=True, slots=True)
class Response:
    """One answer.

    `tokens` holds what was drawn, its end-of-sequence token or stop string included; `text` holds no special token
    and ends before the stop string. A server that gives no token ids leaves `tokens` empty.
    """

    text: str
    tokens: tuple[int, ...]
    ended: bool  # by an end-of-sequence token or a stop; False: by max_new_tokens
    # [tokens] nats under the distribution drawn from, with its temperature and top-p; None: not known. Training does
    # not read them: its engine scores the tokens again, without temperature and top-p.
    log_probs: tuple[float, ...] | None = None


def total_log_probs(responses: Sequence[Response]) -> tuple[float, ...] | None:
    """[K] nats of each whole answer under the distribution that it was drawn from; None where one is not known."""
    known = [response.log_probs for response in responses if response.log_probs is not None]
    return tuple(sum(nats) for nats in known) if len(known) == len(responses) else None


class Sampler(Protocol):
    """Something that answers prompts: a model in memory, or a server."""

    remote: ClassVar[bool]  # it has weights of its own, which `hand_over` renews

    def answers(
        self, prompts: Sequence[Prompt], sampling: Sampling, *, round_index: int = 0, done: Collection[int] = ()
    ) -> Iterator[tuple[int, list[Response]]]:
        """The place of each prompt and its `sampling.k` answers, as they come, those in `done` left out.

        The draws depend on the seed, the round, the prompt and the answer's place. To go on after a kill, give the
        same prompts and the places that are written. Raises SamplerError once all that can be answered has been given.
        """
        ...

    def hand_over(self, folder: Path, *, round_index: int) -> None:
        """Answer with the model or adapter in `folder` from now on. A sampler that is not `remote` has it already."""
        ...


def sample(
    sampler: Sampler, prompts: Sequence[Prompt], sampling: Sampling, *, round_index: int = 0
) -> list[list[Response]]:
    """[prompts][k] answers, all of them at once."""
    found = dict(sampler.answers(prompts, sampling, round_index=round_index))
    return [found[i] for i in range(len(prompts))]


def encode(prompt: Prompt, encoder: "Encoder") -> list[int]:
    """Token ids of a prompt, on the path of the rows that are trained on."""
    if isinstance(prompt, str):
        return encoder.encode_texts(prompt, ["."]).prompt.tolist()
    if all(isinstance(item, Mapping) for item in prompt):
        messages = tuple(dict(cast("Mapping[str, Any]", item)) for item in prompt)
        return encoder.encode_texts(messages, ["."]).prompt.tolist()
    return [int(cast("int", token)) for token in prompt]

"""Answers from any server with OpenAI's completions: vLLM, SGLang, `transformers serve`, and their like."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ..completions import Completions
from ..errors import SamplerError, SettingsError
from .dialects import CHAT, PLAIN, WITH_TOKENIZER, Asked, Dialect, asked_of, responses
from .endpoint import GONE, Endpoint, ServerFailed, ServerRefused, json_object
from .handing import Weights, hand_over
from .sampling import Prompt, Response, Sampling

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(slots=True)
class Server:
    """A sampler that asks a server. With a tokenizer it sends the very tokens that are trained on.

    Each request has a seed of its own, a function of seed, round, prompt and place. The draws are as deterministic as
    the server: most draw in batches, so that what else they do may change an answer.
    """

    settings: Completions
    tokenizer: "PreTrainedTokenizerBase | None" = None
    remote: ClassVar[bool] = True
    model: str = ""  # what requests ask for now; set by `hand_over`
    dialect: Dialect | None = None  # None: not found out yet

    def answers(
        self, prompts: Sequence[Prompt], sampling: Sampling, *, round_index: int = 0, done: Collection[int] = ()
    ) -> Iterator[tuple[int, list[Response]]]:
        """As of `Sampler`: prompt by prompt as the server answers.

        A server that is gone ends it, once what was under way has come; one that fails at a prompt goes on.
        """
        asked = {i: asked_of(prompt, self.tokenizer) for i, prompt in enumerate(prompts) if i not in done}
        if not asked:
            return
        line = Endpoint(self.settings.server)
        self._find_out(line, asked, sampling)
        why = dict.fromkeys(asked, "not asked")
        pool = ThreadPoolExecutor(self.settings.concurrency)
        try:
            ask = {pool.submit(self._all, line, one, sampling, round_index): i for i, one in asked.items()}
            for future in _as_they_come(ask, pool, line):
                try:
                    yield ask[future], future.result()
                    del why[ask[future]]
                except (ServerRefused, ServerFailed) as error:
                    why[ask[future]] = str(error)
        finally:  # reached early where the caller has had enough
            line.over.set()
            pool.shutdown(cancel_futures=True)
        if why:
            raise self._left(why, len(prompts))

    def hand_over(self, folder: Path, *, round_index: int) -> None:
        """Have the server answer with what is in `folder`. Raises SamplerError where it does not."""
        how, line = self.settings.hand_over, Endpoint(self.settings.server)
        weights = Weights(folder.resolve(), round_index, replaces=self.model, command=self.settings.command)
        self.model = hand_over(how, line, weights)

    def _all(self, line: Endpoint, asked: Asked, sampling: Sampling, round_index: int) -> list[Response]:
        """All answers to one prompt, in as many requests as the server needs."""
        wanted = sampling.k if sampling.temperature > 0 else 1  # servers refuse to give the likeliest tokens twice
        found: list[Response] = []
        while len(found) < wanted:
            left = sampling.replace(k=wanted - len(found))
            found += self._ask(line, asked, left, seed=asked.seed(sampling, len(found), round_index))[: left.k]
        return found if sampling.temperature > 0 else found * sampling.k

    def _ask(self, line: Endpoint, asked: Asked, sampling: Sampling, *, seed: int) -> list[Response]:
        """At least one answer."""
        assert self.dialect is not None, "it was found out"
        if (form := self.dialect.form(asked)) is None:
            raise ServerRefused(f"it takes {self.dialect.name}, and no text gives this prompt's tokens")
        body = {"model": self.model, **form, **self.dialect.fields(sampling, self.tokenizer), "seed": seed}
        if self.dialect.many and sampling.k > 1:
            body["n"] = sampling.k
        return line.post(self.dialect.path, body, lambda answer: responses(answer, sampling))

    def _find_out(self, line: Endpoint, asked: Mapping[int, Asked], sampling: Sampling) -> None:
        """The first dialect that the server does not refuse, by asking for one token."""
        refusals: list[str] = []
        trial = sampling.replace(max_new_tokens=1, k=1 if sampling.temperature == 0 else min(2, sampling.k))
        try:
            self.model = self.model or self.settings.model or line.get("/models", _first_model)
            for dialect in [self.dialect] if self.dialect else _usable(list(asked.values()), self.tokenizer):
                self.dialect = dialect
                one = min((a for a in asked.values() if dialect.form(a)), key=lambda a: len(a.tokens or a.text or ""))
                try:
                    self._ask(line, one, trial, seed=0)
                    return
                except ServerRefused as refusal:
                    refusals.append(f"{dialect.name}: {refusal}")
        except (ServerFailed, ServerRefused) as error:
            raise self._left(dict.fromkeys(asked, str(error)), len(asked)) from error
        self.dialect = None
        raise self._left(dict.fromkeys(asked, "it refuses " + "; ".join(refusals)), len(asked))

    def _left(self, why: Mapping[int, str], count: int) -> SamplerError:
        reasons = Counter(why.values()).most_common(3)
        places = ", ".join(str(place + 1) for place in sorted(why)[:10]) + (", ..." if len(why) > 10 else "")
        told = "; ".join(f"{reason} ({times} times)" if times > 1 else reason for reason, times in reasons)
        return SamplerError(
            f"the server at {self.settings.server.url} left {len(why)} of {count} prompts without answers "
            f"(number {places}): {told}. The other {count - len(why)} are done and kept; start again to go on."
            f"{self._unnamed(why.values())}",
            sorted(why),
        )

    def _unnamed(self, why: Iterable[str]) -> str:
        """What may help where a server answered with an error, and nobody said which model it is asked for."""
        if self.settings.model or self.settings.hand_over != "none" or not any("status" in reason for reason in why):
            return ""
        asked = f"it was asked for {self.model!r}, the first that it lists" if self.model else "it lists none"
        return f" No model was named, and {asked}: --served-model names it, for `transformers serve` by its folder."


Work = Future[list[Response]]


def _as_they_come(ask: Iterable[Work], pool: ThreadPoolExecutor, line: Endpoint) -> Iterator[Work]:
    """Requests that are through. Once one has failed and the server is gone, only those still under way follow."""
    seen: set[Work] = set()
    for future in as_completed(ask):
        seen.add(future)
        yield future
        if isinstance(future.exception(), ServerFailed) and not _is_there(line):
            break
    line.over.set()
    pool.shutdown(cancel_futures=True)
    yield from (future for future in ask if future not in seen and not future.cancelled())


def _is_there(line: Endpoint) -> bool:
    """Whether the server answers anything at all: `transformers serve` may fail to list its models."""
    once = line.settings.replace(tries=1, timeout_seconds=min(10.0, line.settings.timeout_seconds))
    try:
        Endpoint(once).get("/models", bytes)
    except ServerRefused:
        return True
    except ServerFailed as failed:
        return failed.status not in GONE
    return True


def _usable(asked: Sequence[Asked], tokenizer: "PreTrainedTokenizerBase | None") -> list[Dialect]:
    """The dialects in which these prompts can be put, the best first."""
    dialects = WITH_TOKENIZER if tokenizer else (*PLAIN, *CHAT)
    some = any if tokenizer else all
    usable = [dialect for dialect in dialects if some(dialect.form(one) is not None for one in asked)]
    if not usable:
        raise SettingsError("text and messages are asked together: give the model's tokenizer (--model), or one kind.")
    return usable


def _first_model(answer: bytes) -> str:
    """The first that a server lists."""
    data: Any = json_object(answer).get("data")
    if not (isinstance(data, list) and data and isinstance(data[0], dict) and isinstance(data[0].get("id"), str)):  # pyright: ignore[reportUnknownMemberType]
        raise ValueError(f"no list of models: {answer[:80]!r}")
    return str(data[0]["id"])  # pyright: ignore[reportUnknownArgumentType]

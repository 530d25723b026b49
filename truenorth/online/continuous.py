"""Answers from transformers' continuous batching: paged caches, and a new prompt wherever an answer has ended."""

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ..errors import SamplerError
from .sampler import must_fit
from .sampling import Prompt, Response, Sampling, encode

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from ..models.logprobs import Model

Ended = tuple[int, list[int], list[float]]  # the place of a prompt, the tokens of one of its answers, nats of each
TRIAL = {0: [5, 6, 7, 8, 9, 10, 11], 1: [9, 6, 12]}  # any tokens
NATS, NATS_IN_HALF = 1e-3, 0.1  # by which a log-prob may differ from a plain forward pass, float32 and halves
PAGE = 32  # tokens


@dataclass(frozen=True, slots=True)
class Continuous:
    """A sampler of a model in memory, for a GPU that many answers keep busy. Ask `unfit` of a model first.

    One stream of random numbers serves whatever is in the batch: the same seed, round and list of prompts give the
    same answers on one machine, but what goes on after a kill is drawn anew. `Local` keeps its bits.
    """

    model: "Model"
    tokenizer: "PreTrainedTokenizerBase"
    remote: ClassVar[bool] = False

    def answers(
        self, prompts: Sequence[Prompt], sampling: Sampling, *, round_index: int = 0, done: Collection[int] = ()
    ) -> Iterator[tuple[int, list[Response]]]:
        """As of `Sampler`: prompt by prompt as all of its answers have ended. Raises as `must_fit` does."""
        from ..data.chat import Encoder
        from ..models.logprobs import base_of
        from ..models.modes import evaluating
        from .stops import stops_of

        encoder, base = Encoder(self.tokenizer), base_of(self.model)
        tokens = [encode(prompt, encoder) for prompt in prompts]
        must_fit(base, tokens, sampling)
        asked = {i: prompt for i, prompt in enumerate(tokens) if i not in done}
        stops = stops_of(base, self.tokenizer, sampling)
        found: dict[int, list[Response]] = {place: [] for place in asked}
        greedy = sampling.temperature == 0
        with evaluating(base):
            for place, answer, nats in drawn(base, asked, sampling, round_index=round_index, ends=stops.tokens):
                own = stops.response(answer, [0.0] * len(answer) if greedy else nats)
                found[place] += [own] * sampling.k if greedy else [own]
                if len(found[place]) == sampling.k:
                    yield place, found.pop(place)
        if found:
            raise SamplerError(
                f"transformers' continuous batching left {len(found)} of {len(prompts)} prompts without answers; its "
                "log says why. The others are done and kept; start again to go on.",
                sorted(found),
            )

    def hand_over(self, folder: Path, *, round_index: int) -> None:
        """The model in memory is the policy itself."""


def drawn(
    model: "PreTrainedModel",
    asked: Mapping[int, Sequence[int]],
    sampling: Sampling,
    *,
    round_index: int,
    ends: Collection[int],
) -> Iterator[Ended]:
    """Answers as they end; fewer than asked where transformers fails at some of them."""
    from transformers import ContinuousBatchingConfig, GenerationConfig

    if not asked:
        return
    k = 1 if sampling.temperature == 0 else sampling.k
    how: dict[str, Any] = {"max_new_tokens": sampling.max_new_tokens, "eos_token_id": sorted(ends), "pad_token_id": 0}
    if sampling.temperature > 0:
        how |= {"do_sample": True, "temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": 0}
    config = ContinuousBatchingConfig(return_logprobs=True, seed=_seed(sampling.seed, round_index), page_size=PAGE)
    if model.device.type == "cpu":  # where it would take most of the memory there is
        pages = sum(-(-(len(tokens) + sampling.max_new_tokens) // PAGE) + 1 for tokens in asked.values())
        config.num_blocks = min(k * pages, 2**14)
    run: Any = model
    with run.continuous_batching_context_manager(
        generation_config=GenerationConfig(num_return_sequences=k, **how), continuous_batching_config=config
    ) as manager:
        for place, tokens in asked.items():
            manager.add_request(list(tokens), request_id=str(place))
        left = k * len(asked)
        while left and (manager.is_running() or not manager.output_router.output_queue.empty()):
            result = manager.get_result(timeout=1.0)
            if result is None or not result.is_finished():
                continue
            left -= 1
            if result.error is None:
                yield int(result.request_id.split("__")[0]), result.generated_tokens, result.logprobs


def _seed(seed: int, round_index: int) -> int:
    digest = hashlib.blake2b(f"{seed} {round_index}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "little") >> 1


def unfit(model: "Model") -> str:
    """Why continuous batching cannot answer for a model, or an empty string: found by trying.

    Some architectures are answered for wrongly, without an error (BLOOM, whose attention it cannot replace).
    """
    import torch

    from ..models.logprobs import base_of
    from ..models.modes import evaluating

    base = base_of(model)
    tolerance = NATS if base.dtype == torch.float32 else NATS_IN_HALF
    sampling = Sampling(max_new_tokens=4, temperature=0)
    with torch.no_grad(), evaluating(base):  # not inference_mode: transformers' thread writes to what it makes here
        try:
            found = list(drawn(base, TRIAL, sampling, round_index=0, ends=[-1]))
        except (ValueError, RuntimeError, AttributeError, KeyError, TypeError) as error:
            return f"{type(error).__name__}: {str(error).splitlines()[0]}"
        if len(found) < len(TRIAL):
            return "it fails at this model's attention"
        for place, tokens, nats in found:
            ids = torch.tensor([[*TRIAL[place], *tokens]], device=base.device)
            logits = base(input_ids=ids, use_cache=False).logits[0, len(TRIAL[place]) - 1 : -1].float()
            plain = logits.log_softmax(-1).gather(1, ids[0, len(TRIAL[place]) :, None])[:, 0]
            if not torch.allclose(torch.tensor(nats, device=base.device), plain, rtol=0, atol=tolerance):
                return "its log-probs are not those of a plain forward pass"
    return ""

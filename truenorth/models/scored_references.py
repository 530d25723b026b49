"""The live side of references: from a recipe's settings to something that scores a batch."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import PeftModel

from ..data.loader import Indices
from ..data.packing import PackedBatch
from ..data.tokens import TokenizedRows
from ..errors import ModelError, SettingsError
from ..types import LogProbs
from .load import config_of, load_model
from .modes import evaluating
from .origin import fingerprint
from .policy import Policy, Precision
from .reference_cache import ReferenceCache
from .references import Cached, Frozen, OtherModel, Reference
from .rehearsal import Asked, Rehearsal
from .sharding import WHOLE, Sharding, whole
from .storage import frozen_copy, size_of_copy, store_frozen

Scores = Callable[[PackedBatch], LogProbs]
ENGINE = 1  # of the log-probs that are kept on disk: raise it when the same model comes to give other numbers


@dataclass(frozen=True, slots=True)
class Start:
    """What references may be made of, before the first step."""

    policy: Policy  # as it starts: references to the start are taken from it now
    path: str  # it was loaded from
    cache: Path  # folder for computed log-probs
    budget: int  # tokens per micro-batch
    trust_remote_code: bool = False
    sharding: Sharding = WHOLE  # of the policy, and of whatever is loaded besides

    @property
    def precision(self) -> Precision:
        return self.policy.precision


def score_references(
    references: Mapping[str, Reference], start: Start, used: Sequence[tuple[TokenizedRows, Indices]]
) -> list[dict[str, Scores]]:
    """For each data set of `used`, with the rows that will be asked for, what scores it under each reference.

    Cached references are computed here, once. Must be called while the policy is still at its start.
    Raises ModelError if another model's vocabulary differs, SettingsError for a reference it does not know.
    """
    scores: list[dict[str, Scores]] = [{} for _ in used]
    for name, reference in references.items():
        match reference:
            case Cached(path=path):
                source = start.policy if path is None else _other(path, start)
                for (rows, indices), found in zip(used, scores, strict=True):
                    cache = _cache(path or start.path, start, rows)
                    cache.fill(indices, source, budget=start.budget, group=start.sharding.processes.data)
                    found[name] = cache.log_probs
            case OtherModel(path=path):
                live = _no_gradients(_other(path, start).log_probs)
                for found in scores:
                    found[name] = live
            case Frozen():
                live = _no_gradients(_frozen(start))
                for found in scores:
                    found[name] = live
            case _:
                raise SettingsError(f"{type(reference).__name__} is no reference that training knows how to score.")
    return scores


def bytes_beside(references: Mapping[str, Reference], start: Start) -> int:
    """Bytes of the models that `score_references` will keep in this process beside the policy. Loads none."""
    half, total = start.precision == "bfloat16", 0
    for reference in references.values():
        match reference:
            case OtherModel(path=path):
                config = config_of(path, trust_remote_code=start.trust_remote_code)
                asked = Asked(start.precision, trust_remote_code=start.trust_remote_code)
                total += Rehearsal(config, asked).reference // start.sharding.sizes.shards
            case Frozen() if not (isinstance(start.policy.model, PeftModel) and _is_fresh(start.policy.model)):
                total += size_of_copy(start.policy.model, half=half)
            case _:  # computed before, or the policy without its adapter
                pass
    return total


def _no_gradients(scores: Scores) -> Scores:
    return torch.no_grad()(scores)


def _other(path: str, start: Start) -> Policy:
    model = load_model(path, trust_remote_code=start.trust_remote_code)
    if start.precision == "bfloat16":
        store_frozen(model)
    ours, theirs = (m.get_input_embeddings().num_embeddings for m in (start.policy.model, model))
    if ours != theirs:
        raise ModelError(
            f"the reference {path} has a vocabulary of {theirs} tokens, the policy one of {ours}: "
            "their log-probs do not compare. A reference must share the policy's tokenizer."
        )
    start.sharding.slice(model)
    model = start.sharding.move(model, start.policy.device)
    return start.sharding.shard(Policy.of(model, start.precision))


def _frozen(start: Start) -> Scores:
    """The policy as it is now: its fresh adapter switched off, or a copy. What is sharded is loaded a second time."""
    model = start.policy.model
    if isinstance(model, PeftModel) and _is_fresh(model):

        def without_adapter(batch: PackedBatch) -> LogProbs:
            with evaluating(model), model.disable_adapter():
                return start.policy.log_probs(batch)

        return without_adapter
    if start.sharding.in_step:
        return _other(start.path, start).log_probs
    frozen = frozen_copy(model, half=start.precision == "bfloat16")  # its own config: attention is chosen per config
    return Policy(frozen, start.policy.scorer.on(frozen), start.precision).log_probs


def _is_fresh(model: PeftModel) -> bool:
    """Whether the adapter changes nothing yet: every B, or A of an embedding, is zero, and it brings no whole modules.

    A loaded adapter is part of the reference.
    """
    zero = (".lora_B.", ".lora_embedding_A.", ".modules_to_save.")  # at first, or not there
    return not any(bool(whole(p).any()) for name, p in model.named_parameters() if any(part in name for part in zero))


def _cache(path: str, start: Start, rows: TokenizedRows) -> ReferenceCache:
    way = f"{ENGINE} {start.precision} {start.policy.scorer.shared}"
    key = hashlib.sha256(f"{fingerprint(path)} {rows.fingerprint} {way}".encode()).hexdigest()
    file = start.cache / "references" / f"{key[:32]}.npy"
    world = start.sharding.processes.world
    return world.in_turn(lambda: ReferenceCache(file, rows, writes=world.first))

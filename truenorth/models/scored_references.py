"""The live side of references: from a recipe's settings to something that scores a batch."""

import hashlib
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache as once
from pathlib import Path

import torch
from peft import PeftModel

from ..data.loader import Indices
from ..data.packing import PackedBatch
from ..data.tokens import TokenizedRows
from ..errors import ModelError, SettingsError
from ..types import NOTHING, LogProbs, Measures
from .load import config_of, load_model
from .logprobs import Model
from .modes import evaluating
from .moving import Follower, FollowingAdapter, FollowingModel, size_of_follower
from .origin import fingerprint
from .policy import Policy, Precision
from .reference_cache import ReferenceCache
from .references import Cached, Frozen, Moving, OtherModel, Reference, Soup
from .rehearsal import Asked, Rehearsal
from .sharding import WHOLE, Sharding, whole
from .soup import check_soup, soup
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
    asked: Measures = NOTHING  # what each reference has to give besides totals
    live: bool = False  # rows are made while training, so that nothing can be computed before

    @property
    def precision(self) -> Precision:
        return self.policy.precision


@dataclass(frozen=True, slots=True)
class Live:
    """A reference whose model is in memory while training: it scores without gradients, and may be drawn from."""

    policy: Policy  # its own, or the one that is trained
    asked: Measures
    in_its_place: Callable[[], AbstractContextManager[object]] = nullcontext  # within it `policy` is the reference

    @torch.no_grad()
    def __call__(self, batch: PackedBatch) -> LogProbs:
        with self.in_its_place():
            return self.policy.log_probs(batch, self.asked)


def check_references(
    references: Mapping[str, Reference], start: str, *, cut_adapter: bool = False, trust_remote_code: bool = False
) -> None:
    """Raise ModelError or SettingsError for a reference that cannot be, as far as configurations tell.

    `start` is the model that the policy starts from; `cut_adapter`: processes share the policy's adapter out.
    """
    for name, reference in references.items():
        match reference:
            case Soup(path=str(path)):
                check_soup(path, start, trust_remote_code=trust_remote_code)
            case OtherModel(path=path) | Cached(path=str(path)):
                config_of(path, trust_remote_code=trust_remote_code)
            case Moving() if cut_adapter:
                raise SettingsError(
                    f"the reference {name} follows an adapter, which these processes share out. Use --layout data, "
                    "or train all weights (without --lora)."
                )
            case _:
                pass


def follow(references: Mapping[str, Reference], start: Start) -> dict[str, Follower]:
    """What moves of `references`, as it is at the start. Must be called while the policy is still there."""
    followers = dict[str, Follower]()
    for name, reference in references.items():
        if not isinstance(reference, Moving):
            continue
        if isinstance(start.policy.model, PeftModel):
            followers[name] = FollowingAdapter(start.policy, reference)
        else:
            half = start.precision == "bfloat16" and reference.share == 1  # a small move is lost in bfloat16
            followers[name] = FollowingModel(start.policy, _copy(start, half=half), reference)
    return followers


def score_references(
    references: Mapping[str, Reference],
    start: Start,
    used: Sequence[tuple[TokenizedRows, Indices]],
    followers: Mapping[str, Follower] | None = None,
) -> list[dict[str, Scores]]:
    """For each data set of `used`, with the rows that will be asked for, what scores it under each reference.

    `followers`, by `follow`, are those that move.
    Cached references are computed here, once. Must be called while the policy is still at its start.
    Raises ModelError if another model's vocabulary differs, SettingsError for a reference it does not know.
    """
    scores: list[dict[str, Scores]] = [{} for _ in used]
    for name, reference in references.items():
        match reference:
            case Soup(path=str(path)) if start.live:
                mixed = soup(start.path, path, reference.start_share, trust_remote_code=start.trust_remote_code)
                live = Live(_held(path, mixed, start), start.asked)
                for found in scores:
                    found[name] = live
            case Cached() | Soup():
                for found, log_probs in zip(scores, _computed(reference, start, used), strict=True):
                    found[name] = log_probs
            case OtherModel(path=path):
                live = Live(_other(path, start), start.asked)
                for found in scores:
                    found[name] = live
            case Frozen():
                live = _frozen(start)
                for found in scores:
                    found[name] = live
            case Moving():
                assert followers is not None
                follower = followers[name]
                for found in scores:
                    found[name] = Live(follower.policy, start.asked, follower.in_its_place)
            case _:
                raise SettingsError(f"{type(reference).__name__} is no reference that training knows how to score.")
    return scores


def _computed(reference: Cached | Soup, start: Start, used: Sequence[tuple[TokenizedRows, Indices]]) -> list[Scores]:
    """Log-probs of each data set from the disk, computed where they are missing. Their model is gone afterwards."""
    path, trusted = reference.path, start.trust_remote_code
    if path is None:
        assert isinstance(reference, Cached), "a run refuses a soup without its other model"
        weights, source = fingerprint(start.path), lambda: start.policy
    elif isinstance(reference, Soup):
        share = reference.start_share
        weights = f"{fingerprint(start.path)} {share!r} {fingerprint(path)}"
        source = once(lambda: _held(path, soup(start.path, path, share, trust_remote_code=trusted), start))
    else:
        weights, source = fingerprint(path), once(lambda: _other(path, start))
    processes, found = start.sharding.processes, list[Scores]()
    for rows, indices in used:
        cache = _cache(weights, start, rows)
        if processes.world.any(len(cache.missing(indices)) > 0):  # all of them hold a part of a sharded model
            cache.fill(indices, source(), budget=start.budget, group=processes.data)
        found.append(cache.log_probs)
    return found


def bytes_beside(references: Mapping[str, Reference], start: Start) -> int:
    """Bytes of the models that `score_references` will keep in this process beside the policy. Loads none."""
    half, total = start.precision == "bfloat16", 0
    for reference in references.values():
        match reference:
            case OtherModel(path=str(path)) | Soup(path=str(path)) if start.live or isinstance(reference, OtherModel):
                config = config_of(path, trust_remote_code=start.trust_remote_code)
                asked = Asked(start.precision, trust_remote_code=start.trust_remote_code)
                total += Rehearsal(config, asked).reference // start.sharding.sizes.shards
            case Frozen() if not (isinstance(start.policy.model, PeftModel) and _is_fresh(start.policy.model)):
                total += size_of_copy(start.policy.model, half=half)
            case Moving():
                total += size_of_follower(start.policy.model, reference, half=half)
            case _:  # computed before, or the policy without its adapter
                pass
    return total


def _other(path: str, start: Start, *, half: bool = True) -> Policy:
    return _held(path, load_model(path, trust_remote_code=start.trust_remote_code), start, half=half)


def _held(path: str, model: Model, start: Start, *, half: bool = True) -> Policy:
    """`model`, from `path`, as the policy is held: in its precision, on its device, over its processes.

    `half`: what is multiplied in bfloat16 is stored in it.
    """
    if half and start.precision == "bfloat16":
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


def _frozen(start: Start) -> Live:
    """The policy as it is now: its fresh adapter switched off, or a copy."""
    held = without_copy(start.policy, start.asked)
    return Live(_copy(start, half=start.precision == "bfloat16"), start.asked) if held is None else held


def without_copy(policy: Policy, asked: Measures = NOTHING) -> Live | None:
    """The policy as it is now: its fresh adapter switched off. None where keeping it would take a copy."""
    model = policy.model
    if not (isinstance(model, PeftModel) and _is_fresh(model)):
        return None

    @contextmanager
    def without_adapter() -> Generator[None]:
        with evaluating(model), model.disable_adapter():
            yield

    return Live(policy, asked, without_adapter)


def _copy(start: Start, *, half: bool) -> Policy:
    """A second model like the policy as it is now, its linear layers in bfloat16 if `half`."""
    if start.sharding.sizes.in_step:  # what is sharded cannot be copied
        return _other(start.path, start, half=half)
    frozen = frozen_copy(start.policy.model, half=half)  # its own config: attention is chosen per config
    return Policy(frozen, start.policy.scorer.on(frozen), start.precision, start.policy.native)


def _is_fresh(model: PeftModel) -> bool:
    """Whether the adapter changes nothing yet: every B, or A of an embedding, is zero, and it brings no whole modules.

    A loaded adapter is part of the reference.
    """
    zero = (".lora_B.", ".lora_embedding_A.", ".modules_to_save.")  # at first, or not there
    return not any(bool(whole(p).any()) for name, p in model.named_parameters() if any(part in name for part in zero))


def _cache(weights: str, start: Start, rows: TokenizedRows) -> ReferenceCache:
    """The file for a model with the fingerprint `weights`, scored as the policy is."""
    way = f"{ENGINE} {start.precision} {start.policy.scorer.shared}"
    key = hashlib.sha256(f"{weights} {rows.fingerprint} {way}".encode()).hexdigest()
    file = start.cache / "references" / f"{key[:32]}.npy"
    world = start.sharding.processes.world
    return world.in_turn(lambda: ReferenceCache(file, rows, asked=start.asked, writes=world.first))

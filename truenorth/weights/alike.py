"""Whether checkpoints may be mixed: the same tensors, the same computation, the same tokens. Reads no weights."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import ModelError
from .header import FLOATS
from .store import Checkpoint

SHOWN = 3  # differences that a message names
OTHER = "Only models that were fine-tuned from the same one can be merged."
# Fields of a configuration that change no log-prob, or that the names and shapes of tensors tell already.
FREE = re.compile(
    r"_name_or_path|transformers_version|architectures|.*dtype|use_cache|.*_token_id|.*drop(out)?|initializer_.*|"
    r"init_.*|.*attn_implementation|max_position_embeddings|tokenizer_class|output_.*|return_dict|id2label|label2id|"
    r"problem_type|is_.*|chunk_size_feed_forward|pretraining_tp|gradient_checkpointing|auto_map"
)
VOCABULARIES = ("vocab.json", "merges.txt", "vocab.txt", "tokenizer.model", "spiece.model")  # of older tokenizers


def check_alike(first: Checkpoint, others: Iterable[Checkpoint]) -> None:
    """Raise ModelError unless every checkpoint can be mixed with the first, naming what differs."""
    for other in others:
        differences = [*_tensors(first, other), *config_differences(first.config, other.config)]
        if not differences:  # a tokenizer is long to read
            differences = list(_tokens(first.folder, other.folder))
        if differences:
            more = f", and {len(differences) - SHOWN} more" if len(differences) > SHOWN else ""
            raise ModelError(
                f"{other.folder} and {first.folder} cannot be merged: {'; '.join(differences[:SHOWN])}{more}. {OTHER}"
            )


def _tensors(first: Checkpoint, other: Checkpoint) -> Iterable[str]:
    names = dict.fromkeys([*first.tensors, *other.tensors])
    for name in names:
        here, there = first.tensors.get(name), other.tensors.get(name)
        if here is None or there is None:
            yield f"the tensor {name} is only in {(other if here is None else first).folder}"
        elif here.shape != there.shape:
            yield f"the tensor {name} is {list(there.shape)} in one and {list(here.shape)} in the other"
        elif (here.dtype in FLOATS) != (there.dtype in FLOATS):
            yield f"the tensor {name} is stored as {there.dtype} in one and as {here.dtype} in the other"


def config_differences(here: Mapping[str, Any], there: Mapping[str, Any]) -> Iterator[str]:
    """In which fields that bear on what is computed two configurations differ."""
    for field in sorted(here.keys() | there.keys()):
        if here.get(field) != there.get(field) and not FREE.fullmatch(field):
            yield f"{field} is {there.get(field)} in one and {here.get(field)} in the other"


def _tokens(here: Path, there: Path) -> Iterable[str]:
    """What differs between two tokenizers; nothing where one folder has none, for the first one's is kept."""
    first, other = here / "tokenizer.json", there / "tokenizer.json"
    if first.exists() and other.exists():
        if first.read_bytes() != other.read_bytes():
            yield from _vocabulary(_ids(first), _ids(other))
        return
    for name in VOCABULARIES:
        a, b = here / name, there / name
        if a.exists() and b.exists() and a.read_bytes() != b.read_bytes():
            yield f"their tokenizers differ in {name}"


def _vocabulary(here: Mapping[str, object], there: Mapping[str, object]) -> Iterable[str]:
    for token in dict.fromkeys([*here, *there]):
        if here.get(token) != there.get(token):
            a, b = (of.get(token, "none") for of in (there, here))
            yield f"the token {token!r} has the id {a} in one tokenizer and {b} in the other"


def _ids(file: Path) -> dict[str, object]:
    """Token -> id, the added ones included. A unigram's pieces have their places as ids."""
    data = json.loads(file.read_text(encoding="utf-8"))
    words: Mapping[str, int] | Sequence[Sequence[Any]] = data["model"].get("vocab", {})
    ids: dict[str, object] = (
        dict(words) if isinstance(words, Mapping) else {str(w[0]): place for place, w in enumerate(words)}
    )
    return ids | {added["content"]: added["id"] for added in data.get("added_tokens", ())}

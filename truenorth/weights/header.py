"""The head of a safetensors file: which tensors it holds, and at which bytes. Read and written without torch."""

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ModelError

SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}  # bytes
FLOATS = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}  # names as torch has them
LARGEST_HEADER = 100_000_000  # bytes, as the format has it


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor in a file: its entries lie there one after the other, the last dimension's nearest."""

    file: Path
    dtype: str  # as in the file: F32, BF16, ...
    shape: tuple[int, ...]
    offset: int  # bytes from the start of the file

    @property
    def numel(self) -> int:
        return math.prod(self.shape)

    @property
    def size(self) -> int:
        """Bytes."""
        return self.numel * SIZES[self.dtype]


def read_header(file: Path) -> dict[str, Stored]:
    """The tensors of a safetensors file by name, in the order of their bytes. Raises ModelError if it is damaged."""
    length = file.stat().st_size
    with file.open("rb") as data:
        size = int.from_bytes(data.read(8), "little")
        if not 2 <= size <= min(LARGEST_HEADER, length - 8):
            raise ModelError(f"{file} is no safetensors file, or it is cut off: its header does not fit in it.")
        try:
            header: dict[str, Any] = json.loads(data.read(size))
            header.pop("__metadata__", None)
            found = {name: _stored(file, entry, start=8 + size) for name, entry in header.items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ModelError(f"{file} is no safetensors file: its header cannot be read ({error}).") from error
    for name, stored in found.items():
        if stored.offset + stored.size > length:
            raise ModelError(f"{file} is cut off: the tensor {name} ends after the file does. Copy it again.")
    return dict(sorted(found.items(), key=lambda item: item[1].offset))


def _stored(file: Path, entry: dict[str, Any], *, start: int) -> Stored:
    dtype, (begin, end) = entry["dtype"], entry["data_offsets"]
    if dtype not in SIZES:
        raise ValueError(f"the dtype {dtype} is not one of {', '.join(SIZES)}")
    stored = Stored(file, dtype, tuple(map(int, entry["shape"])), start + begin)
    if begin < 0 or stored.size != end - begin:
        raise ValueError("a tensor's shape and bytes disagree")
    return stored


def header_of(tensors: Iterable[tuple[str, str, tuple[int, ...]]]) -> bytes:
    """What a file begins with that holds tensors (name, dtype, shape) one after the other.

    >>> header_of([("w", "F32", (2,))])[8:].strip()
    b'{"__metadata__":{"format":"pt"},"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
    """
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}  # transformers refuses files that do not say so
    at = 0
    for name, dtype, shape in tensors:
        end = at + math.prod(shape) * SIZES[dtype]
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of 8 bytes
    return len(text).to_bytes(8, "little") + text

"""Text out of files that may be compressed: .gz, .xz, .zst. One that breaks off is an error, never a shorter file."""

import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from ..errors import DataError

DAMAGE = (EOFError, gzip.BadGzipFile, lzma.LZMAError, zlib.error, UnicodeDecodeError)  # raised while reading
_PIECE = 2**17  # compressed bytes read at once


def open_text(file: Path) -> IO[str]:
    """The file's text, to be closed by the caller. UTF-8, with or without a byte-order mark. Raises DAMAGE."""
    opener = OPENERS.get(file.suffix, lambda file: file.open("rb"))
    return io.TextIOWrapper(opener(file), encoding="utf-8-sig", newline="")


def text_lines(file: Path) -> list[tuple[int, str]]:
    """Number and text of each line that is not blank. Raises DataError for a file that is damaged or no text."""
    try:
        with open_text(file) as lines:  # `splitlines` would break lines at U+2028 and form feeds too
            return [(number, line.rstrip("\r\n")) for number, line in enumerate(lines, 1) if line.strip()]
    except DAMAGE as error:
        raise DataError(f"{file} is damaged or no text: {error}.") from error


class _Zst(io.RawIOBase):
    """What a .zst file holds. The package's own reader takes a file that breaks off for one that ends."""

    def __init__(self, file: Path) -> None:
        try:
            import zstandard
        except ImportError as error:
            raise DataError(f"{file} needs the package zstandard: pip install 'truenorth[zstd]'.") from error
        self._damage = zstandard.ZstdError
        self._frame = zstandard.ZstdDecompressor().decompressobj
        self._raw, self._decoder, self._rest = file.open("rb"), self._frame(), b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        view = memoryview(buffer)
        while not self._rest and (piece := self._raw.read(_PIECE)):
            self._rest = self._decoded(piece)
        if not self._rest and not self._decoder.eof:
            raise EOFError("it ends within a frame")
        count = min(len(view), len(self._rest))
        view[:count], self._rest = self._rest[:count], self._rest[count:]
        return count

    def _decoded(self, piece: bytes) -> bytes:
        text = b""
        try:
            while piece:
                if self._decoder.eof:  # a file may hold several frames
                    self._decoder = self._frame()
                text += self._decoder.decompress(piece)
                piece = self._decoder.unused_data if self._decoder.eof else b""
        except self._damage as error:
            raise EOFError(str(error)) from error
        return text

    def close(self) -> None:
        self._raw.close()
        super().close()


OPENERS: Mapping[str, Callable[[Path], Any]] = {
    ".gz": gzip.GzipFile,
    ".xz": lzma.LZMAFile,
    ".zst": lambda file: io.BufferedReader(_Zst(file)),
}

import gzip
import lzma
from pathlib import Path

import pytest
import zstandard

from truenorth.data.compressed import DAMAGE, open_text

TEXT = "".join(f"line {i} ☃\n" for i in range(50_000))
PACK = {".gz": gzip.compress, ".xz": lzma.compress, ".zst": zstandard.compress}


def read(path: Path) -> str:
    with open_text(path) as text:
        return text.read()


@pytest.mark.parametrize("ending", PACK)
def test_a_compressed_file_gives_its_text(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"text{ending}"
    path.write_bytes(PACK[ending](TEXT.encode()))
    assert read(path) == TEXT


@pytest.mark.parametrize("ending", PACK)
@pytest.mark.parametrize("share", [0.3, 0.999])
def test_a_file_that_breaks_off_is_damaged_and_not_short(tmp_path: Path, ending: str, share: float) -> None:
    path, packed = tmp_path / f"text{ending}", PACK[ending](TEXT.encode())
    path.write_bytes(packed[: int(share * len(packed))])
    with pytest.raises(DAMAGE):
        read(path)


@pytest.mark.parametrize("ending", PACK)
def test_files_set_end_to_end_give_both_texts(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"text{ending}"
    path.write_bytes(PACK[ending](b"one\n") + PACK[ending](b"two\n"))
    assert read(path) == "one\ntwo\n"


def test_a_byte_order_mark_is_not_text(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text("a", encoding="utf-8-sig")
    assert read(path) == "a"

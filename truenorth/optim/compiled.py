"""C of ours, compiled where it runs: by the machine's own compiler, once, into the cache."""

import ctypes
import hashlib
import os
import platform
import shlex
import stat
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from ..data.cache import cache_folder
from ..errors import SettingsError

SOURCES = tuple(Path(__file__).with_name(name) for name in ("merging.c", "factored.c", "threads.c"))
FLAGS = ["-std=c11", "-O3", "-fPIC", "-shared", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=off"]
WISHED = (
    "-march=native -fopenmp",
    "-fopenmp",
    "-march=native",
    "",
)  # the first that is taken; without OpenMP one thread


class NotCompiled(SettingsError):
    """Steps of ours cannot be compiled here. `why` is a clause."""

    def __init__(self, why: str) -> None:
        self.why = why
        super().__init__(
            f"update.compile cannot be true here: {why}. Install a C compiler, for instance gcc, which CC may name. A "
            "new run may leave update.compile out: the step is the same, and slower."
        )


@cache
def library() -> ctypes.CDLL:
    """What the sources compile to. Raises NotCompiled where there is no compiler, or nowhere to keep it."""
    compiler = os.environ.get("CC") or "cc"
    key = hashlib.blake2b(digest_size=16)
    for part in (compiler, *FLAGS, *WISHED, _processor(), *(source.read_text() for source in SOURCES)):
        key.update(part.encode() + b"\0")
    file = cache_folder() / "compiled" / f"{key.hexdigest()}.so"
    try:
        if not file.exists():
            _make(compiler, file)
        _refuse_of_others(file)
        try:
            return ctypes.CDLL(str(file))
        except OSError:  # another system shares the cache, or its disk has lost a part
            _make(compiler, file)
            return ctypes.CDLL(str(file))
    except OSError as failure:
        raise NotCompiled(str(failure)) from failure


def obstacle() -> str | None:
    """Why steps had better not be compiled here: without threads they may take longer than torch's operations."""
    try:
        return None if library().has_threads() else "the C compiler knows no OpenMP"
    except NotCompiled as refused:
        return refused.why


def _refuse_of_others(file: Path) -> None:
    """Raise NotCompiled for what others may have written: to load it is to run it."""
    found = file.stat()
    if found.st_uid not in (os.getuid(), 0) or found.st_mode & stat.S_IWOTH:
        raise NotCompiled(
            f"{file} is another user's, or all may write to it, and it would be run; remove it, or set "
            "TRUENORTH_CACHE to a folder of your own"
        )


def _make(compiler: str, file: Path) -> None:
    """Compile to `file`, at once, so that no other process finds half of it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=file.parent) as folder:
        made = Path(folder) / file.name
        _compile(shlex.split(compiler), made)
        made.chmod(0o755)  # whatever the umask: what others may write to is refused
        made.replace(file)


def _compile(compiler: list[str], to: Path) -> None:
    said = ""
    for wished in WISHED:
        command = [*compiler, *FLAGS, *wished.split(), *map(str, SOURCES), "-lm", "-o", str(to)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return
        said = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr).strip()
    raise NotCompiled(f"{shlex.join(compiler)} failed: {said or 'it says nothing'}")


def _processor() -> str:
    """What -march=native depends on, as a cache may lie on a disk that several machines read."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text().splitlines() if told.exists() else []
    features = sorted({line for line in lines if line.lower().startswith(("flags", "features", "model name"))})
    return "\n".join([platform.system(), platform.machine(), platform.processor(), *features])

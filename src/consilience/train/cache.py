"""Compiled programs kept on disk: what one process compiled on this machine, the next one reads."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import jax
from jax.experimental.compilation_cache import compilation_cache

__all__ = ["VARIABLE", "cache_folder", "kept_on_disk"]

VARIABLE = "CONSILIENCE_CACHE"
"""Environment variable that names the folder of the cache, or turns it off when empty."""

_LIMIT = 2**30  # bytes of the folder: thousands of programs

# Reading a program takes about a tenth of a second, and what compiles faster than this is not worth a file.
_SETTINGS: dict[str, Any] = {
    "jax_persistent_cache_min_compile_time_secs": 0.3,
    "jax_persistent_cache_min_entry_size_bytes": -1,
}


def cache_folder() -> Path | None:
    """Return where compiled programs are kept, None where they are not.

    `CONSILIENCE_CACHE` decides, by default the user's cache directory. A folder may be shared by machines whose
    processors differ, so each kind of processor has its own below it.
    """
    chosen = os.environ.get(VARIABLE)
    if chosen == "":
        return None
    root = Path(chosen).expanduser() if chosen else _user_cache() / "consilience"
    return root / "compiled" / _processor()


def _user_cache() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def _processor() -> str:
    """Return a name for what compiled code may rely on: JAX's own key does not tell one processor from another."""
    described = [platform.machine(), platform.processor()]
    with contextlib.suppress(OSError):  # only Linux has it
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        described += sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))})
    return hashlib.sha256("\n".join(described).encode()).hexdigest()[:16]


@contextlib.contextmanager
def kept_on_disk() -> Generator[None]:
    """What is compiled inside is read from the cache or written to it; nothing changes for the rest of the process.

    Where the user configured JAX's own cache, that one is used as it is. A file that cannot be read is compiled
    again, one that cannot be written is left out: JAX warns of both.
    """
    folder = cache_folder()
    chosen = getattr(jax.config, "jax_compilation_cache_dir")  # noqa: B009, unknown to type checkers
    if folder is None or chosen is not None or not _usable(folder):
        yield
        return
    settings = _SETTINGS | {"jax_compilation_cache_dir": str(folder)}
    before = {name: getattr(jax.config, name) for name in settings}
    _configure(settings)
    try:
        yield
    finally:
        _configure(before)
        prune(folder, _LIMIT)


def prune(folder: Path, limit: int) -> None:
    """Delete the files written first until those left take no more than `limit` bytes.

    JAX's own limit takes a lock for every reading, and waits for it where many processes share a folder. A file that
    is gone when another process wants it is compiled again.
    """
    written: list[tuple[float, int, Path]] = []
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):  # another process deleted it
            written.append((path.stat().st_mtime, path.stat().st_size, path))
    taken = sum(size for _, size, _ in written)
    for _, size, path in sorted(written):
        if taken <= limit:
            return
        path.unlink(missing_ok=True)
        taken -= size


def _configure(settings: dict[str, Any]) -> None:
    for name, value in settings.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()  # JAX looks at its settings once


def _usable(folder: Path) -> bool:
    """Whether the folder exists or can be made; a home that is read-only costs time, not the run."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)

"""Limits on memory: what is too small to load the libraries is told before they are loaded.

Without enough address space (``ulimit -v``) some of them end the process themselves, so nothing can
be told afterwards.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

from recsae.errors import DataError

LEAST = {"numpy": 2.0e9, "polars": 2.0e9, "pyarrow": 2.0e9, "duckdb": 2.0e9, "torch": 3.0e9}
"""Library -> bytes of address space that it and what it is used with need on two cores."""

PER_CORE = 0.1e9
"""Bytes for the threads of each further core: their stacks and their parts of the heap."""

_MARKS = (
    "out of memory",
    "failed to map segment",
    "cannot allocate memory",
    "can't allocate memory",
    "not enough memory",
    "bad allocation",
    "bad_alloc",
    "memory allocation",
    "can't start new thread",
)

HINT = "raise the limit on memory (ulimit -v, ulimit -u, or that of the container or job)"


class _Refusal(Loader):
    """Loads nothing but an error."""

    def __init__(self, error: DataError) -> None:
        self.error = error

    def create_module(self, spec: ModuleSpec) -> None:
        raise self.error

    def exec_module(self, module: ModuleType) -> None:
        raise self.error


class Watch(MetaPathFinder):
    """Refuses to load a library that the limit on address space leaves no room for.

    Asking whether it is installed is still answered. ``limit`` is in bytes.
    """

    def __init__(self, limit: int, n_cores: int) -> None:
        self.limit, self.n_cores = limit, n_cores

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """None, which leaves it to others, or a module whose loading is a DataError."""
        if name not in LEAST:
            return None
        least = LEAST[name] + PER_CORE * max(0, self.n_cores - 2)
        spec = PathFinder.find_spec(name, path) if self.limit < least else None
        if spec:
            error = DataError(
                f"the limit on address space of {self.limit / 1e9:.1f} GB is too small: "
                f"{name} needs {least / 1e9:.1f} GB",
                f"raise it, as with ulimit -v {least / 1024:.0f}",
            )
            spec.loader = _Refusal(error)
        return spec


def watch() -> None:
    """Look after imports from now on, where the system limits the address space at all."""
    if any(isinstance(finder, Watch) for finder in sys.meta_path):
        return
    with suppress(ImportError):  # not on Windows
        import resource

        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        if limit != resource.RLIM_INFINITY:
            has_affinity = hasattr(os, "sched_getaffinity")
            n_cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
            sys.meta_path.insert(0, Watch(limit, n_cores))


def memory_error(error: BaseException) -> tuple[str, str] | None:
    """Message and hint of an error that means that memory ran out; None for any other."""
    text = str(error).strip().split("\n", 1)[0]
    if "used)" in text and "Out of Memory" in text:  # of what DuckDB was given
        given = os.environ.get("RECSAE_MEMORY")
        more = f"more than {given}" if given else "such as 4GB"
        return f"the database ran out of memory: {text}", f"set RECSAE_MEMORY to a size {more}"
    if isinstance(error, MemoryError) or any(mark in str(error).lower() for mark in _MARKS):
        return f"not enough memory: {text or type(error).__name__}", HINT
    return None

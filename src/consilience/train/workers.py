"""Processes that call functions of the user's own, as trainers are."""

from __future__ import annotations

import re
import sys
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar

from consilience.errors import ConsilienceError

__all__ = ["WORKER_BYTES", "Workers"]

Item = TypeVar("Item")
Found = TypeVar("Found")

WORKER_BYTES = 250 * 2**20
"""Memory of a process that has imported what a trainer needs, before it trains."""

# One thread each, as BLAS has in the process of a run.
_THREADS = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


class Workers:
    """So many processes, started when they are first needed and ended with the context; one is this process itself.

    >>> with Workers(1) as workers:
    ...     list(workers.map(abs, [-1, 2], died=len))
    [1, 2]

    Raises
    ------
    ConsilienceError
        For fewer than one.
    """

    def __init__(self, count: int) -> None:
        if count < 1:
            raise ConsilienceError(f"workers = {count}: give 1 or more")
        self.count = count
        self._pool: Executor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def map(
        self, function: Callable[[Item], Found], items: Iterator[Item], *, died: Callable[[str], Found]
    ) -> Iterator[Found]:
        """Yield the function of each item in order.

        Items are drawn here, at most two for each process ahead of what is consumed. The function may be one of a
        notebook: it is sent by value where it cannot be imported.

        A process that ends without a word takes the others' items with it: each is given again to a process of its
        own, and the one that ends that process too is what `died` makes of the reason.

        Raises
        ------
        ConsilienceError
            When the function cannot be sent.
        """
        return map(function, items) if self.count == 1 else self._elsewhere(function, items, died)

    def _elsewhere(
        self, function: Callable[[Item], Found], items: Iterator[Item], died: Callable[[str], Found]
    ) -> Iterator[Found]:
        import cloudpickle

        try:
            sent: bytes = cloudpickle.dumps(function)
        except Exception as error:  # pickling calls code of whatever the function refers to
            raise _not_sent(error) from error
        call = partial(_call, list(sys.path), sent)
        ahead: deque[tuple[Item, Future[Found]]] = deque()
        try:
            for item in items:
                ahead.append((item, self._start(call, item)))
                if len(ahead) > 2 * self.count:
                    yield self._result(call, *ahead.popleft(), died)
            while ahead:
                yield self._result(call, *ahead.popleft(), died)
        finally:
            for _, future in ahead:
                future.cancel()

    def _start(self, call: Callable[[Item], Found], item: Item) -> Future[Found]:
        try:
            return self._processes().submit(call, item)
        except BrokenProcessPool:  # by an item ahead, as its result will tell
            self._end()
            return self._processes().submit(call, item)

    def _processes(self) -> Executor:
        if self._pool is None:
            self._pool = _executor(self.count)
        return self._pool

    def _end(self) -> None:
        if self._pool is not None:
            _shut(self._pool)
            self._pool = None

    def _result(
        self, call: Callable[[Item], Found], item: Item, future: Future[Found], died: Callable[[str], Found]
    ) -> Found:
        try:
            return _found(future)
        except BrokenProcessPool:
            return _alone(call, item, died)


def _executor(count: int) -> Executor:
    from loky import ProcessPoolExecutor

    return ProcessPoolExecutor(count, env=_THREADS)


def _shut(pool: Executor) -> None:
    ended: Any = pool
    ended.shutdown(kill_workers=True)


def _alone(call: Callable[[Item], Found], item: Item, died: Callable[[str], Found]) -> Found:
    """Give the item to a process of its own: if that ends, it was this item that ended it."""
    pool = _executor(1)
    try:
        return _found(pool.submit(call, item))
    except BrokenProcessPool as error:
        codes = "".join(re.findall(r"\{(.*?)\}", str(error))) or "unknown"
        return died(
            f"its process ended without a word (exit code {codes}), as on a segmentation fault or when memory runs out"
        )
    finally:
        _shut(pool)


def _found(future: Future[Found]) -> Found:
    try:
        return future.result()
    except _NotImportedError as error:
        raise _not_sent(error) from error


class _NotImportedError(Exception):
    """What a function needs is not to be had in another process."""


def _call(path: list[str], sent: bytes, item: Any) -> Any:
    """In another process: find what the function needs where this process found it, and call it."""
    import cloudpickle

    sys.path.extend(entry for entry in path if entry not in sys.path)
    try:
        function = cloudpickle.loads(sent)
    except Exception as error:  # imports what the function needs
        raise _NotImportedError(f"{type(error).__name__}: {error}") from error
    return function(item)


def _not_sent(error: Exception) -> ConsilienceError:
    return ConsilienceError(
        f"trainer: it cannot be sent to other processes ({' '.join(str(error).split())}); put it in a module that they "
        f"can import, or run with workers = 1"
    )

"""Random orders of rows, within blocks or without, a part at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consilience.errors import ConsilienceError

__all__ = ["Orders", "along_a_cycle", "orders"]

Orders = NDArray[np.intp]

_PART = 2**21  # entries of the orders that are drawn at once


def orders(n: int, count: int, blocks: Any, seed: int) -> Iterator[Orders]:
    """Yield `count` random orders of `n` rows, (P, n) at a time; how many at a time changes none of them.

    With `blocks` (n,) every row stays in a place of its own block.

    Raises
    ------
    ConsilienceError
        If there are fewer than one, blocks are not (n,), or no block has two rows.
    """
    if count < 1:
        raise ConsilienceError(f"n is {count} permutations: give one or more, 1000 say.")
    labels = None if blocks is None else _labels(blocks, n)
    rng = np.random.default_rng(seed)
    return _parts(n, count, labels, rng)


def along_a_cycle(cycle: Orders, step: int = 256) -> Iterator[Orders]:
    """Orders in which rows have moved along `cycle` (n,) by 1 … n − 1 places, (P, n) at a time."""
    n = cycle.size
    for start in range(1, n, step):
        moves = np.arange(start, min(start + step, n))
        found = np.empty((moves.size, n), dtype=np.intp)
        found[:, cycle] = cycle[(np.arange(n)[None, :] + moves[:, None]) % n]
        yield found


def _parts(n: int, count: int, labels: Orders | None, rng: np.random.Generator) -> Iterator[Orders]:
    step = max(1, min(256, _PART // n))
    for start in range(0, count, step):
        size = min(step, count - start)
        if labels is None:
            yield rng.permuted(np.tile(np.arange(n), (size, 1)), axis=1)
            continue
        shuffled = np.argsort(labels + rng.random((size, n)), axis=1)  # by block, and at random inside
        some = np.empty_like(shuffled)
        some[:, np.argsort(labels, kind="stable")] = shuffled
        yield some


def _labels(blocks: Any, n: int) -> Orders:
    values = np.asarray(blocks)
    if values.shape != (n,):
        raise ConsilienceError(f"blocks have shape {values.shape} where there are {n} samples: give one label for each")
    _, labels, sizes = np.unique(values, return_inverse=True, return_counts=True)
    if sizes.max() < 2:
        raise ConsilienceError("every block holds one sample, so that none can change places: use larger blocks")
    return labels.astype(np.intp)

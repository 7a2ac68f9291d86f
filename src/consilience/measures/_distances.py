"""Differences of (n, n) matrices of all pairs of representations, in blocks of rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from consilience._array import Array, namespace, row_blocks

__all__ = ["squared_differences"]

S = TypeVar("S")


def squared_differences(rows: Callable[[S, int, int], Array], states: Sequence[S], like: Array) -> Array:
    """‖A − B‖² (Frobenius) for the matrices of all pairs of `states`, (M, M); none is held whole.

    ``rows(state, start, stop)`` makes rows ``start:stop`` of one; `like` is an array with n rows.
    """
    xp = namespace(like)
    size = len(states)
    pairs = [(i, j) for i in range(size) for j in range(i + 1, size)]
    zero = xp.sum(like[:0, :])
    total = dict.fromkeys(pairs, zero)
    for start, stop in row_blocks(like, arrays=size):
        blocks = [rows(state, start, stop) for state in states]
        for i, j in pairs:
            difference = blocks[i] - blocks[j]
            total[i, j] = total[i, j] + xp.sum(difference * difference)
    found = [[zero if i == j else total[min(i, j), max(i, j)] for j in range(size)] for i in range(size)]
    return xp.stack([xp.stack(row) for row in found])

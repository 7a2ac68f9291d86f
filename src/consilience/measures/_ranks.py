"""Ranks of many values at once, with ties that are ties but for rounding, and Kendall's count of inversions.

With NumPy the sort is of 64-bit integers with the value in their upper and the position in their lower bits: it is of
keys only, several times as fast as one of positions by their values. Values that agree in the bits there is room for
are put right after. Elementwise work goes in chunks, because memory that is new costs more than the arithmetic.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from consilience._array import Array, is_numpy, namespace

__all__ = ["average_ranks", "dense_ranks", "kendall_matrix"]

Integers: TypeAlias = "np.ndarray[Any, np.dtype[np.integer[Any]]]"
Tolerance: TypeAlias = Callable[[Any], Array]  # positions of values -> how far rounding may have moved these

_CHUNK = 2**15  # values worked on at once
_BLOCK = 16  # rows within which inversions are counted pair by pair
_WORTH_A_THREAD = 50_000  # values; below, threads cost more than they save


def average_ranks(values: Array, tolerance: Tolerance, largest: Array) -> Array:
    """Ranks less their mean (m + 1)/2, ties sharing their average, for `values` (m,), of which NumPy's are used up.

    Neighbours in the sorted order are tied if they differ by no more than `tolerance` (of both, which is at most
    `largest` for any value).
    """
    m = values.shape[0]
    if not is_numpy(values):
        group, restore = _grouped(values, tolerance)
        xp = namespace(values)
        first, last = (xp.searchsorted(group, group, side=side) for side in ("left", "right"))
        ranks = xp.astype(first + last - m, values.dtype) / 2
        return xp.take(ranks, restore)
    order, ties = _sorted(values, tolerance, largest)
    if ties.size:
        first = np.flatnonzero(_apart(ties, m))
        sizes = np.diff(np.append(first, m))
        values[order] = np.repeat(first + (sizes - m) / 2, sizes)
        return values
    steps = np.arange(_CHUNK, dtype=np.float64) + (1 - m) / 2
    for start in range(0, m, _CHUNK):
        places = order[start : start + _CHUNK]
        values[places] = steps[: places.size] + start
    return values


def dense_ranks(values: Array, tolerance: Tolerance, largest: Array) -> Array:
    """Ranks from 0 without gaps, equal for ties, in the floating-point type of `values` (m,); the same otherwise."""
    if not is_numpy(values):
        group, restore = _grouped(values, tolerance)
        xp = namespace(values)
        return xp.take(xp.astype(group, values.dtype), restore)
    order, ties = _sorted(values, tolerance, largest)
    values[order] = np.cumsum(_apart(ties, values.size)) - 1
    return values


def kendall_matrix(ranks: Sequence[np.ndarray[Any, Any]], *, corrected: bool) -> np.ndarray[Any, Any]:
    """Kendall's tau of all pairs of vectors of dense ranks, (M, M): tau-b if `corrected` for ties, else tau-a."""
    whole = [np.asarray(each).astype(np.int64) for each in ranks]
    tied = [_pairs(np.bincount(each)) for each in whole]
    m = whole[0].size
    pairs = [(i, j) for i in range(len(whole)) for j in range(i, len(whole))]
    workers = (os.cpu_count() or 1) if m >= _WORTH_A_THREAD else 1
    with ThreadPoolExecutor(workers) as pool:
        excess = list(pool.map(partial(_concordance, whole, tied), pairs))
    taus = np.empty((len(whole), len(whole)))
    total = m * (m - 1) // 2
    for (i, j), value in zip(pairs, excess, strict=True):
        scale = np.sqrt(float(total - tied[i])) * np.sqrt(float(total - tied[j])) if corrected else total
        taus[i, j] = taus[j, i] = value / scale if scale else np.nan
    return taus


def _concordance(whole: Sequence[Integers], tied: Sequence[int], pair: tuple[int, int]) -> int:
    """Concordant less discordant pairs, by Knight's algorithm: sort by one, count inversions of the other."""
    a, b = (whole[i] for i in pair)
    m = a.size
    bits = int(b.max()).bit_length()
    keys = (a << bits) | b
    keys.sort()
    starts = np.flatnonzero(np.append(True, keys[1:] != keys[:-1]))
    both = _pairs(np.diff(np.append(starts, m)))
    discordant = _inversions(keys & ((1 << bits) - 1))
    return m * (m - 1) // 2 - tied[pair[0]] - tied[pair[1]] + both - 2 * discordant


def _pairs(counts: Integers) -> int:
    return int((counts * (counts - 1) // 2).sum())


def _inversions(sequence: Integers) -> int:
    """Pairs i < j with sequence[i] > sequence[j] ≥ 0: merge sort, all merges of one width in one call.

    The lowest bit of a key tells the half it came from. Elements of the right half stand, after sorting, behind
    their fellows and those of the left that are no larger, so the sum of their places counts the inversions.
    """
    m = sequence.size
    size = max(_BLOCK, 1 << (m - 1).bit_length())
    keys = np.arange(size, dtype=np.int32 if size < 2**30 else np.int64)  # the filling, larger than all, comes last
    keys[:m] = sequence
    columns = np.ascontiguousarray(keys.reshape(-1, _BLOCK).T)
    count = sum(int(np.count_nonzero(columns[i] > columns[i + 1 :])) for i in range(_BLOCK - 1))
    keys <<= 1
    width = _BLOCK
    while width < size:
        halves = keys.reshape(-1, 2, width)
        halves &= -2
        halves[:, 1] |= 1
        rows = keys.reshape(-1, 2 * width)
        rows.sort(axis=1)
        places = int((rows & 1).sum(axis=0, dtype=np.int64) @ np.arange(2 * width))
        count += rows.shape[0] * (width * width + width * (width - 1) // 2) - places
        width *= 2
    return count


def _sorted(values: np.ndarray[Any, Any], tolerance: Tolerance, largest: Array) -> tuple[Integers, Integers]:
    """Positions in increasing order of `values` (m,), float64, and the places in it that tie with the next."""
    order = _order(values)
    near, gaps = _close(values, order, largest)
    if near.size and gaps.min() < 0:
        _put_right(order, values)
        near, gaps = _close(values, order, largest)
    if near.size:  # the bound of the pair itself, only where it is needed
        near = near[gaps <= np.maximum(tolerance(order[near]), tolerance(order[near + 1]))]
    return order, near


def _apart(ties: Integers, m: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which of `m` places begin a group of ties."""
    apart = np.ones(m, dtype=bool)
    apart[ties + 1] = False
    return apart


def _close(values: np.ndarray[Any, Any], order: Integers, largest: Array) -> tuple[Integers, np.ndarray[Any, Any]]:
    """Places in `order` whose next value is no more than `largest` above, and by how much it is."""
    near: list[Integers] = []
    gaps: list[np.ndarray[Any, Any]] = []
    for start in range(0, order.size - 1, _CHUNK):
        part = values[order[start : start + _CHUNK + 1]]
        gap = part[1:] - part[:-1]
        if gap.min() <= largest:
            places = np.flatnonzero(gap <= largest)
            near.append(places + start)
            gaps.append(gap[places])
    return (np.concatenate(near), np.concatenate(gaps)) if near else (np.empty(0, np.int64), np.empty(0))


def _order(values: np.ndarray[Any, Any]) -> Integers:
    """Positions in increasing order of `values` (m,), as far as keys resolve them."""
    m = values.size
    bits = (m - 1).bit_length()
    low, scale = _scale(values, bits)
    keys = np.empty(m, dtype=np.int64)
    steps = np.arange(_CHUNK)
    for start in range(0, m, _CHUNK):
        part = keys[start : start + _CHUNK]
        part[:] = (values[start : start + _CHUNK] - low) * scale
        part <<= bits
        part += steps[: part.size]
        part += start
    keys.sort()
    keys &= (1 << bits) - 1
    return keys


def _scale(values: np.ndarray[Any, Any], bits: int) -> tuple[float, float]:
    """Least value, and the factor that spreads the values above it over the bits that positions leave."""
    low, high = float(values.min()), float(values.max())
    room = 2.0 ** (62 - bits)
    scale = room / (high - low) if high > low else 0.0
    return low, scale if scale < float("inf") else 0.0


def _put_right(order: Integers, values: np.ndarray[Any, Any]) -> None:
    """Sort the positions whose values have the same key among themselves, in place; they stand together."""
    low, scale = _scale(values, (values.size - 1).bit_length())
    found = values[order]
    keys = ((found - low) * scale).astype(np.int64)
    same = keys[1:] == keys[:-1]
    members = np.flatnonzero(np.append(same, False) | np.append(False, same))
    order[members] = order[members][np.lexsort((found[members], keys[members]))]


def _grouped(values: Array, tolerance: Tolerance) -> tuple[Array, Array]:
    """Dense ranks from 0 in sorted order, and the positions in it that restore the order of `values`."""
    xp = namespace(values)
    order = xp.argsort(values)
    found = xp.take(values, order)
    bound = tolerance(order)
    gaps = found[1:] - found[:-1]
    apart = xp.astype(gaps > xp.maximum(bound[1:], bound[:-1]), order.dtype)
    group = xp.concat([xp.zeros_like(apart[:1]), xp.cumulative_sum(apart)])
    return group, xp.argsort(order)

"""Which samples are near which: neighbour lists and ranks, in blocks of rows, with exact rules for ties.

Nearness is a key, smaller is nearer: key(i, j) = h_j − x_i·x_j, which orders the neighbours of i as
the squared Euclidean distance does when h_j = ‖x_j‖²/2, and as the inner product does when h = 0.
Keys are sums of products and carry rounding, so entries closer than its bound count as tied. Tied entries are told
apart by their differences, computed directly, and if these tie too, by index. A sample is never its own neighbour.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

from consilience._array import (
    Array,
    arange,
    centred,
    epsilon,
    is_traced,
    k_smallest,
    matmul,
    namespace,
    row_blocks,
    true_per_row,
    with_own,
)

__all__ = ["Metric", "Points", "key_rows", "neighbours", "points", "ranks"]

Metric: TypeAlias = Literal["cosine", "euclidean", "inner"]

_DIRECT_ELEMENTS = 2**20  # differences held at once when ties are settled


class Points(NamedTuple):
    """Samples ready for key products."""

    x: Array  # (n, d); centred for Euclidean, rows of unit norm for cosine
    half: Array  # (n,), h of the module docstring
    reach: Array  # (n,), bound of the magnitudes that enter the keys of a row
    original: Array  # (n, d), in which exact ties are exact
    metric: Metric


def points(x: Array, metric: Metric) -> Points:
    """Prepare `x` (n, d); rows of zeros have cosine 0 with every other."""
    xp = namespace(x)
    if metric == "euclidean":
        moved = centred(x)
        squares = xp.sum(moved * moved, axis=1)
        return Points(moved, squares / 2, squares, x, metric)
    if metric == "cosine":
        size = xp.max(xp.abs(x), axis=1, keepdims=True)
        x = x / xp.where(size > 0, size, xp.ones_like(size))
        norm = xp.sqrt(xp.sum(x * x, axis=1, keepdims=True))
        x = x / xp.where(norm > 0, norm, xp.ones_like(norm))
    norms = xp.sqrt(xp.sum(x * x, axis=1))
    return Points(x, xp.zeros_like(norms), norms * xp.max(norms), x, metric)


def key_rows(p: Points, start: int, stop: int) -> Array:
    """Keys of rows ``start:stop`` with all samples, (stop - start, n); infinite for a sample with itself."""
    keys = p.half[None, :] - matmul(p.x[start:stop, :], p.x.T)
    return with_own(keys, start, float("inf"))


def neighbours(p: Points, k: int) -> Array:
    """Indices of the `k` nearest samples of each sample, (n, k), in no particular order."""
    xp = namespace(p.x)
    lists = []
    for start, stop in row_blocks(p.x):
        lists.append(_nearest(p, key_rows(p, start, stop), start, k))
    return xp.concat(lists)


def ranks(p: Points, keys: Array, start: int, candidates: Array) -> Array:
    """Ranks, from 1, of `candidates` (b, k) in rows ``start:start + b``, given the `keys` (b, n) of these."""
    xp = namespace(keys)
    columns = []
    for column in range(candidates.shape[1]):
        candidate = candidates[:, column : column + 1]  # (b, 1)
        threshold = xp.take_along_axis(keys, candidate, axis=1)
        margin = _margin(p, threshold, start)
        nearer = true_per_row(keys < threshold - margin)
        tied = true_per_row(keys <= threshold + margin) - nearer  # the candidate is one of them
        rank = nearer + 1
        if is_traced(keys):
            rank = rank + _earlier(keys, threshold, margin, candidate)
        elif bool(xp.any(tied > 1)):
            rank = _settle_ranks(p, rank, tied > 1, start, candidate)
        columns.append(rank)
    return xp.stack(columns, axis=1)


def _nearest(p: Points, keys: Array, start: int, k: int) -> Array:
    xp = namespace(keys)
    chosen = k_smallest(keys, k)  # (b, k)
    threshold = xp.max(xp.take_along_axis(keys, chosen, axis=1), axis=1, keepdims=True)
    margin = _margin(p, threshold, start)
    if is_traced(keys):
        return k_smallest(_tie(keys, threshold, margin), k)
    # as many entries as places within the margin: nothing to choose between
    crowded = true_per_row(keys <= threshold + margin) > k
    if not bool(xp.any(crowded)):
        return chosen
    rows = xp.nonzero(crowded)[0]
    exact = [_first_k(row, k) for row in _direct_keys(p, rows + start)]
    return _put_rows(chosen, rows, xp.stack(exact))


def _settle_ranks(p: Points, rank: Array, unsettled: Array, start: int, candidate: Array) -> Array:
    xp = namespace(rank)
    rows = xp.nonzero(unsettled)[0]
    wanted = xp.take(candidate, rows, axis=0)  # (r, 1)
    exact = []
    for position, keys in enumerate(_direct_keys(p, rows + start)):
        own = wanted[position : position + 1, :]
        threshold = xp.take_along_axis(keys[None, :], own, axis=1)
        margin = _direct_margin(keys, threshold)
        nearer = true_per_row(keys[None, :] < threshold - margin)
        exact.append(nearer + 1 + _earlier(keys[None, :], threshold, margin, own))
    return _put_rows(rank, rows, xp.concat(exact))


def _margin(p: Points, threshold: Array, start: int) -> Array:
    """Bound of the rounding in the keys near `threshold` (b, 1)."""
    xp = namespace(threshold)
    reach = p.reach[start : start + threshold.shape[0], None]
    if p.metric == "euclidean":
        reach = 2 * (reach + xp.abs(threshold))
    return 16 * epsilon(p.x) * reach


def _direct_margin(keys: Array, threshold: Array) -> Array:
    return 4 * epsilon(keys) * namespace(keys).abs(threshold)


def _direct_keys(p: Points, rows: Array) -> list[Array]:
    """Keys of single rows from differences (or products) element by element: equal samples give equal keys."""
    xp = namespace(p.x)
    n, d = p.original.shape
    step = max(1, _DIRECT_ELEMENTS // (n * d))
    index = arange(n, like=p.x)
    keys: list[Array] = []
    for first in range(0, rows.shape[0], step):
        some = rows[first : min(first + step, rows.shape[0])]
        x = xp.take(p.original, some, axis=0)[:, None, :]  # (s, 1, d)
        if p.metric == "euclidean":
            block = xp.sum((p.original[None, :, :] - x) ** 2, axis=2)
        else:
            block = -xp.sum(p.original[None, :, :] * x, axis=2)
        own = some[:, None] == index[None, :]
        block = xp.where(own, xp.asarray(float("inf"), dtype=block.dtype), block)
        keys.extend(block[i, :] for i in range(block.shape[0]))
    return keys


def _first_k(keys: Array, k: int) -> Array:
    xp = namespace(keys)
    threshold = xp.sort(keys)[k - 1]
    return xp.argsort(_tie(keys, threshold, _direct_margin(keys, threshold)), stable=True)[:k]


def _tie(keys: Array, threshold: Array, margin: Array) -> Array:
    """Keys with all that are within `margin` of `threshold` made equal to it."""
    xp = namespace(keys)
    return xp.where(xp.abs(keys - threshold) <= margin, threshold, keys)


def _earlier(keys: Array, threshold: Array, margin: Array, candidate: Array) -> Array:
    """Count the samples tied with the candidate that have a smaller index, (b,)."""
    xp = namespace(keys)
    index = arange(keys.shape[1], like=keys)[None, :]
    return true_per_row((xp.abs(keys - threshold) <= margin) & (index < candidate))


def _put_rows(values: Array, rows: Array, new: Array) -> Array:
    """`values` with `rows` replaced by `new`."""
    xp = namespace(values)
    n = values.shape[0]
    everything = xp.concat([values, xp.astype(new, values.dtype)])
    index = arange(n, like=values)
    hit = rows[:, None] == index[None, :]  # (r, n)
    position = xp.sum(xp.where(hit, arange(rows.shape[0], like=values)[:, None] + n - index[None, :], 0), axis=0)
    return xp.take(everything, index + position, axis=0)

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
    power_of_two,
    row_blocks,
    stop_gradient,
    true_per_row,
    with_own,
)

__all__ = ["Metric", "Points", "direct_keys", "key_rows", "neighbours", "points", "ranks", "unit_rows", "with_keys"]

Metric: TypeAlias = Literal["cosine", "euclidean", "inner"]

_DIRECT_ELEMENTS = 2**20  # differences held at once when ties are settled
_SORT_FROM = 4  # candidates of a row from which sorting its keys once beats counting for each of them


class Points(NamedTuple):
    """Samples ready for key products."""

    right: Array  # (n, d); centred and, last column, h for Euclidean: (n, d + 1); rows of unit norm for cosine
    reach: Array  # (n,), bound of the magnitudes that enter the keys of a row
    original: Array  # (n, d), in which exact ties are exact; divided by a power of two unless for cosine
    metric: Metric
    keys: Array | None = None  # (n, n), where it pays to keep them


def points(x: Array, metric: Metric) -> Points:
    """Prepare `x` (n, d); rows of zeros have cosine 0 with every other.

    Products of large or small features would overflow or vanish, so all are divided by a power of two: what ties
    exactly still does.
    """
    xp = namespace(x)
    if metric == "euclidean":
        moved = centred(x)
        scale = power_of_two(stop_gradient(xp.max(xp.abs(moved))))
        # a constant feature may be too large for the scale of the others, and takes no part in differences
        original = xp.where(xp.any(moved != 0, axis=0, keepdims=True), x, xp.zeros_like(x)) / scale
        moved = moved / scale
        squares = xp.sum(moved * moved, axis=1)
        return Points(xp.concat([moved, squares[:, None] / 2], axis=1), squares, original, metric)
    x = unit_rows(x) if metric == "cosine" else x / power_of_two(stop_gradient(xp.max(xp.abs(x))))
    norms = xp.sqrt(xp.sum(x * x, axis=1))
    return Points(x, norms * xp.max(norms), x, metric)


def unit_rows(x: Array) -> Array:
    """`x` (n, d) with rows divided by their norms; rows of zeros stay."""
    xp = namespace(x)
    size = stop_gradient(xp.max(xp.abs(x), axis=1, keepdims=True))
    x = x / xp.where(size > 0, size, xp.ones_like(size))
    squares = xp.sum(x * x, axis=1, keepdims=True)
    return x / xp.sqrt(xp.where(squares > 0, squares, xp.ones_like(squares)))


def with_keys(p: Points) -> Points:
    """`p` that keeps the keys of all pairs."""
    return p._replace(keys=key_rows(p, 0, p.right.shape[0]))


def key_rows(p: Points, start: int, stop: int) -> Array:
    """Keys of rows ``start:stop`` with all samples, (stop - start, n); infinite for a sample with itself."""
    if p.keys is not None:
        return p.keys[start:stop, :]
    xp = namespace(p.right)
    left = -p.right[start:stop, :]
    if p.metric == "euclidean":  # h is added by the product itself, which saves a pass over the keys
        left = xp.concat([left[:, :-1], xp.ones_like(left[:, -1:])], axis=1)
    return with_own(matmul(left, p.right.T), start, float("inf"))


def neighbours(p: Points, k: int) -> Array:
    """Indices of the `k` nearest samples of each sample, (n, k), nearest first; there must be k + 2 samples."""
    xp = namespace(p.right)
    lists = []
    for start, stop in row_blocks(p.right):
        keys = key_rows(p, start, stop)
        lists.append(_nearest_traced(p, keys, start, k) if is_traced(keys) else _nearest(p, keys, start, k))
    return xp.concat(lists)


def ranks(p: Points, keys: Array, start: int, candidates: Array) -> Array:
    """Ranks, from 1, of `candidates` (b, c) in rows ``start:start + b``, given the `keys` (b, n) of these."""
    xp = namespace(keys)
    thresholds = xp.take_along_axis(keys, candidates, axis=1)  # (b, c)
    margins = _margin(p, thresholds, arange(keys.shape[0], like=keys) + start)
    low, high = thresholds - margins, thresholds + margins
    columns = [slice(j, j + 1) for j in range(candidates.shape[1])]
    if is_traced(keys):
        return xp.stack([_rank_traced(keys, candidates[:, j], low[:, j], high[:, j]) for j in columns], axis=1)
    if len(columns) < _SORT_FROM:
        nearer = xp.stack([true_per_row(keys < low[:, j]) for j in columns], axis=1)
        reached = xp.stack([true_per_row(keys <= high[:, j]) for j in columns], axis=1)
        tied = reached > nearer + 1  # the candidate itself is reached
    else:
        ordered = xp.sort(keys, axis=1, stable=False)
        nearer = _count_below(ordered, low)
        tied = xp.take_along_axis(ordered, nearer + 1, axis=1) <= high
    if not bool(xp.any(tied)):
        return nearer + 1
    parts = [(candidates[:, j], nearer[:, j.start], tied[:, j.start]) for j in columns]
    return xp.stack([_settled_ranks(p, keys, start, *part) for part in parts], axis=1)


def direct_keys(p: Points, rows: Array, columns: Array) -> Array:
    """Keys (r, c) of samples `rows` (r,) with samples `columns` (r, c), from their differences or products.

    Equal samples give equal keys. Euclidean keys are squared distances here.
    """
    xp = namespace(p.original)
    d = p.original.shape[1]
    r, c = columns.shape
    step = max(1, _DIRECT_ELEMENTS // (c * d))
    keys = []
    for first in range(0, r, step):
        last = min(first + step, r)
        x = xp.take(p.original, rows[first:last], axis=0)[:, None, :]  # (s, 1, d)
        others = xp.take(p.original, xp.reshape(columns[first:last, :], (-1,)), axis=0)
        others = xp.reshape(others, (last - first, c, d))
        terms = (others - x) ** 2 if p.metric == "euclidean" else -(others * x)
        keys.append(xp.sum(terms, axis=2))
    return xp.concat(keys)


def _nearest(p: Points, keys: Array, start: int, k: int) -> Array:
    xp = namespace(keys)
    chosen = k_smallest(keys, k + 1)
    values = xp.take_along_axis(keys, chosen, axis=1)
    order = xp.argsort(values, axis=1, stable=False)
    chosen = xp.take_along_axis(chosen, order, axis=1)
    values = xp.take_along_axis(values, order, axis=1)
    threshold = values[:, k - 1 : k]
    margin = _margin(p, threshold, arange(keys.shape[0], like=keys) + start)
    # one beyond the list shows whether there was a choice at its end
    close = xp.any(values[:, 1:] <= values[:, :-1] + margin, axis=1)
    chosen = chosen[:, :k]
    if not bool(xp.any(close)):
        return chosen
    rows = xp.nonzero(close)[0]
    limit = xp.take(threshold + margin, rows, axis=0)
    return _put_rows(chosen, rows, _settled_lists(p, xp.take(keys, rows, axis=0), limit, rows + start, k))


def _settled_lists(p: Points, keys: Array, limit: Array, rows: Array, k: int) -> Array:
    """Neighbours of samples `rows` (r,), all of which have `keys` (r, n) up to `limit` (r, 1), in exact order."""
    xp = namespace(keys)
    most = max(k, int(xp.max(true_per_row(keys <= limit))))
    columns = xp.sort(k_smallest(keys, most), axis=1)
    order = _order(direct_keys(p, rows, columns), relative=4 * epsilon(keys))
    return xp.take_along_axis(columns, order[:, :k], axis=1)


def _nearest_traced(p: Points, keys: Array, start: int, k: int) -> Array:
    """As `_nearest`, with ties by index alone: what ties is not known while tracing."""
    xp = namespace(keys)
    threshold = xp.max(xp.take_along_axis(keys, k_smallest(keys, k), axis=1), axis=1, keepdims=True)
    margin = _margin(p, threshold, arange(keys.shape[0], like=keys) + start)
    levelled = xp.where(xp.abs(keys - threshold) <= margin, threshold, keys)
    chosen = xp.sort(k_smallest(levelled, k), axis=1)
    order = _order(xp.take_along_axis(keys, chosen, axis=1), absolute=margin)
    return xp.take_along_axis(chosen, order, axis=1)


def _order(keys: Array, *, absolute: Array | float = 0.0, relative: float = 0.0) -> Array:
    """Positions that sort the rows of `keys` (b, k), where keys that differ by no more than rounding stay in place."""
    xp = namespace(keys)
    order = xp.argsort(keys, axis=1)
    ordered = xp.take_along_axis(keys, order, axis=1)
    before = ordered[:, :-1]
    apart = ordered[:, 1:] > before + (absolute + relative * xp.abs(before))
    group = xp.cumulative_sum(xp.astype(apart, order.dtype), axis=1)
    group = xp.concat([xp.zeros_like(order[:, :1]), xp.astype(group, order.dtype)], axis=1)
    in_place = xp.take_along_axis(group, xp.argsort(order, axis=1), axis=1)
    return xp.argsort(in_place, axis=1, stable=True)


def _count_below(ordered: Array, values: Array) -> Array:
    """How many entries of each row of `ordered` (b, n) are below each of `values` (b, c): binary search, (b, c)."""
    xp = namespace(ordered)
    n = ordered.shape[1]
    count = xp.astype(xp.zeros_like(values), arange(1, like=values).dtype)
    step = 1 << (n.bit_length() - 1)
    while step:
        ahead = count + step
        entry = xp.take_along_axis(ordered, xp.where(ahead < n, ahead, n) - 1, axis=1)
        count = xp.where((entry < values) & (ahead <= n), ahead, count)
        step //= 2
    return count


def _settled_ranks(p: Points, keys: Array, start: int, candidate: Array, nearer: Array, tied: Array) -> Array:
    """Ranks (b,) of one `candidate` (b, 1) in each row, of which `nearer` (b,) precede; exact where `tied` (b,)."""
    xp = namespace(keys)
    rank = nearer + 1
    if not bool(xp.any(tied)):
        return rank
    rows = xp.nonzero(tied)[0]
    keys, own = xp.take(keys, rows, axis=0), xp.take(candidate, rows, axis=0)  # (r, n), (r, 1)
    threshold = xp.take_along_axis(keys, own, axis=1)
    away = xp.abs(keys - threshold)
    inside = away <= _margin(p, threshold, rows + start)
    columns = xp.sort(k_smallest(away, int(xp.max(true_per_row(inside)))), axis=1)
    inside = xp.take_along_axis(inside, columns, axis=1)
    direct = direct_keys(p, rows + start, columns)
    at_own = xp.sum(xp.where(columns == own, direct, xp.zeros_like(direct)), axis=1, keepdims=True)
    margin = 4 * epsilon(keys) * xp.abs(at_own)
    earlier = (direct < at_own - margin) | ((xp.abs(direct - at_own) <= margin) & (columns < own))
    return _put_rows(rank, rows, xp.take(rank, rows, axis=0) + true_per_row(inside & earlier))


def _rank_traced(keys: Array, candidate: Array, low: Array, high: Array) -> Array:
    """Ranks (b,) of one `candidate` (b, 1) in each row; entries from `low` to `high` tie and go by index."""
    index = arange(keys.shape[1], like=keys)[None, :]
    nearer = true_per_row(keys < low)
    return nearer + 1 + true_per_row((keys >= low) & (keys <= high) & (index < candidate))


def _margin(p: Points, threshold: Array, rows: Array) -> Array:
    """Bound of the rounding in the keys near `threshold` (b, c) of samples `rows` (b,)."""
    xp = namespace(threshold)
    reach = xp.take(p.reach, rows, axis=0)[:, None]
    if p.metric == "euclidean":
        reach = 2 * (reach + xp.abs(threshold))
    return 16 * epsilon(p.right) * reach


def _put_rows(values: Array, rows: Array, new: Array) -> Array:
    """`values` with `rows` replaced by `new`."""
    xp = namespace(values)
    n = values.shape[0]
    everything = xp.concat([values, xp.astype(new, values.dtype)])
    index = arange(n, like=values)
    hit = rows[:, None] == index[None, :]  # (r, n)
    position = xp.sum(xp.where(hit, arange(rows.shape[0], like=values)[:, None] + n - index[None, :], 0), axis=0)
    return xp.take(everything, index + position, axis=0)

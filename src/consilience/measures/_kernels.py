"""Kernels on representations: distances, the bandwidth, the centred Gram matrix, inner products of linear ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from consilience._array import Array, arange, epsilon, is_numpy, matmul, namespace, row_blocks, stop_gradient, with_own
from consilience.errors import ConsilienceError

__all__ = [
    "Kernel",
    "KernelProfile",
    "centred_gram_rows",
    "check_bandwidth",
    "kernel_profile",
    "squared_distance_rows",
    "squared_products",
]

Kernel: TypeAlias = Literal["linear", "rbf", "laplace"]

_SORTABLE_ROWS = 4096  # up to here all distances are held at once (128 MiB) to find their median


class KernelProfile(NamedTuple):
    """What centring a kernel's Gram matrix needs: its bandwidth, row means (n,) and grand mean."""

    sigma: Array
    row_means: Array
    mean: Array


def check_bandwidth(bandwidth: float, name: str) -> None:
    """Raise `ConsilienceError` if kernels of measure `name` with this bandwidth are constant to rounding."""
    if not 1e-6 <= bandwidth <= 1e6:
        raise ConsilienceError(
            f"bandwidth of {name} is {bandwidth}; it is a multiple of the median distance, from 1e-6 to 1e6: beyond "
            "these the kernel is the same for all pairs of rows, to rounding."
        )


def squared_distance_rows(x: Array, start: int, stop: int, first: int = 0, last: int | None = None) -> Array:
    """Squared Euclidean distances of rows ``start:stop`` to rows ``first:last`` of centred `x` (n, d).

    The latter are all, or begin with row `start`, or come after row `stop`.
    """
    xp = namespace(x)
    norms = xp.sum(x * x, axis=1)  # (n,)
    products = matmul(x[start:stop, :], x[first:last, :].T)
    squared = norms[start:stop, None] + norms[None, first:last] - 2 * products
    # rounding may leave a distance slightly negative; that of a row to itself is exactly zero
    squared = xp.where(squared > 0, squared, xp.zeros_like(squared))
    return with_own(squared, start - first, 0.0) if first <= start else squared


def kernel_profile(x: Array, kernel: Kernel, bandwidth: float) -> KernelProfile:
    """Return the bandwidth on centred `x` and the means of the Gram matrix."""
    xp = namespace(x)
    sigma = bandwidth * _median_distance(x)
    blocks = [xp.mean(_kernel_rows(x, kernel, sigma, start, stop), axis=1) for start, stop in row_blocks(x)]
    row_means = xp.concat(blocks)
    return KernelProfile(sigma, row_means, xp.mean(row_means))


def centred_gram_rows(
    x: Array,
    kernel: Kernel,
    profile: KernelProfile | None,
    start: int,
    stop: int,
    first: int = 0,
    last: int | None = None,
) -> Array:
    """Rows ``start:stop``, columns ``first:last``, of HKH, H = I - 11ᵀ/n, for centred `x`."""
    if profile is None:
        return matmul(x[start:stop, :], x[first:last, :].T)
    gram = _kernel_rows(x, kernel, profile.sigma, start, stop, first, last)
    means = profile.row_means
    return gram - means[start:stop, None] - means[None, first:last] + profile.mean


def squared_products(features: Sequence[Array]) -> Array:
    """‖xᵢᵀxⱼ‖² for all pairs of `features`, M arrays (n, d_i), from one product of the stacked features; (M, M)."""
    xp = namespace(features[0])
    stacked = xp.concat(list(features), axis=1)  # (n, Σd)
    squares = matmul(stacked.T, stacked)
    squares = squares * squares
    index = arange(len(features), like=stacked)
    owner = xp.concat([xp.broadcast_to(index[i : i + 1], (x.shape[1],)) for i, x in enumerate(features)])  # (Σd,)
    member = xp.astype(owner[:, None] == index[None, :], stacked.dtype)  # (Σd, M)
    return matmul(member.T, matmul(squares, member))


def _kernel_rows(
    x: Array, kernel: Kernel, sigma: Array, start: int, stop: int, first: int = 0, last: int | None = None
) -> Array:
    xp = namespace(x)
    squared = squared_distance_rows(x, start, stop, first, last)
    sigma = xp.where(sigma > 0, sigma, xp.ones_like(sigma))  # zero is reported as degenerate, not divided by
    if kernel == "rbf":
        return xp.exp(-squared / (2 * sigma * sigma))
    return xp.exp(-_root(squared) / sigma)


def _root(squared: Array) -> Array:
    """Square root whose gradient at zero is zero rather than infinite."""
    xp = namespace(squared)
    positive = squared > 0
    return xp.where(positive, xp.sqrt(xp.where(positive, squared, xp.ones_like(squared))), xp.zeros_like(squared))


def _median_distance(x: Array) -> Array:
    """Median Euclidean distance over pairs i < j of rows; 0-d."""
    xp = namespace(x)
    n = x.shape[0]
    if n > _SORTABLE_ROWS:
        return _median_distance_by_counting(x)
    if is_numpy(x):
        pairs = xp.concat(
            [
                _told_apart(x, start, stop)[xp.arange(n) > xp.arange(start, stop)[:, None]]
                for start, stop in row_blocks(x)
            ]
        )
        return xp.median(xp.sqrt(pairs))
    squared = xp.concat([_told_apart(x, start, stop) for start, stop in row_blocks(x)])
    index = arange(n, like=x)
    squared = xp.where(index[:, None] == index[None, :], xp.asarray(float("inf"), dtype=x.dtype), squared)
    # every pair is there twice, so the middle pair of order statistics is the same as for i < j
    ordered = xp.sort(xp.reshape(squared, (-1,)))
    middle = n * (n - 1) // 2
    return xp.mean(_root(ordered[middle - 1 : middle + 1]))


def _told_apart(x: Array, start: int, stop: int) -> Array:
    """`squared_distance_rows` in which distances that are rounding, as between equal rows, are exactly zero."""
    xp = namespace(x)
    squared = squared_distance_rows(x, start, stop)
    norms = xp.sum(x * x, axis=1)
    rounding = 8 * epsilon(x) * norms
    return xp.where(squared > rounding[start:stop, None] + rounding[None, :], squared, xp.zeros_like(squared))


def _median_distance_by_counting(x: Array, *, edges: int = 1024, passes: int = 6) -> Array:
    """Find the lower median without holding the distances; zero if that is exactly zero.

    Squared distances are first counted up to the edges of a geometric grid, from next to the smallest number to their
    upper bound, and then between two neighbours of it, each pass narrowing the bracket a thousandfold: the result is
    the median to rounding of itself, not of the largest distance. It is a constant to automatic differentiation.
    """
    x = stop_gradient(x)
    xp = namespace(x)
    n = x.shape[0]
    norms = xp.sum(x * x, axis=1)
    high = 4 * xp.max(norms)
    steps = xp.astype(arange(edges + 1, like=x), x.dtype) / edges
    octaves = 1000 if x.dtype == xp.float64 else 120
    grid = xp.where(steps > 0, high * 2.0 ** (octaves * (steps - 1)), xp.zeros_like(steps))  # (edges + 1,)
    zero = high == 0
    for _ in range(passes):
        below = sum(_count_up_to(_told_apart(x, start, stop), grid) for start, stop in row_blocks(x))
        # the n zeros of the diagonal are counted too, and every pair twice
        enough = xp.astype(below >= n + n * (n - 1) // 2, xp.int64 if x.dtype == xp.float64 else xp.int32)
        zero = zero | ((grid[0] == 0) & (enough[0] > 0))
        first = xp.maximum(xp.argmax(enough), xp.ones_like(xp.argmax(enough)))
        low, high = xp.take(grid, xp.reshape(first - 1, (1,)))[0], xp.take(grid, xp.reshape(first, (1,)))[0]
        grid = low + (high - low) * steps
    return xp.where(zero, xp.zeros_like(high), xp.sqrt(high))


def _count_up_to(values: Array, grid: Array) -> Array:
    """How many of `values` are at most each of the increasing `grid`."""
    xp = namespace(values)
    if is_numpy(values):  # sort no more than the bracket
        inside = values[(values > grid[0]) & (values <= grid[-1])]
        inside.sort()
        return np.count_nonzero(values <= grid[0]) + np.searchsorted(inside, grid, side="right")
    return xp.searchsorted(xp.sort(xp.reshape(values, (-1,))), grid, side="right")

"""Dissimilarity matrices, compared, when samples are left out or reordered: dissimilarities of the others stay."""

from __future__ import annotations

import numpy as np

from consilience._array import check_memory
from consilience._resampling import Floats, Orders

__all__ = ["folded", "left_out", "of_pairs", "rank_correlation_left_out", "square"]


def square(vector: Floats) -> Floats:
    """Return the symmetric matrix (n, n), zero on its diagonal, whose entries i < j, row by row, are `vector`."""
    n = round(((1 + 8 * vector.size) ** 0.5 + 1) / 2)
    check_memory(8 * 4 * n * n, f"resampling the {n} × {n} dissimilarities of two representations")
    matrix = np.zeros((n, n))
    matrix[np.triu(np.ones((n, n), dtype=bool), 1)] = vector
    matrix += matrix.T
    return matrix


def folded(vector: Floats, *, diagonal: bool) -> Floats:
    """Return a matrix such that the product of two, summed, is that of the vectors.

    With `diagonal` a vector ends with the n entries of that.
    """
    n = round(((1 + 8 * vector.size) ** 0.5 - 1) / 2) if diagonal else 0
    matrix = square(vector[: vector.size - n])
    matrix *= 0.5**0.5
    if diagonal:
        matrix[np.diag_indices(n)] = vector[vector.size - n :]
    return matrix


def of_pairs(matrix: Floats, order: Orders) -> Floats:
    """Entries i < j of `matrix` with rows and columns in `order`."""
    n = order.size
    return matrix[order[:, None], order[None, :]][np.triu(np.ones((n, n), dtype=bool), 1)]


def left_out(a: Floats, b: Floats, *, centre: bool) -> tuple[Floats, Floats, Floats]:
    """Σ ab, Σ a² and Σ b² over the pairs of the others, each sample left out, (n,) all.

    `a` and `b` hold all m pairs. With `centre` their means over the remaining pairs are taken away first.
    """
    k, l = square(a), square(b)  # noqa: E741
    n = k.shape[0]
    kept = a.size - (n - 1)
    sums = [each.sum() - matrix.sum(axis=1) for each, matrix in ((a, k), (b, l))]
    found: list[Floats] = []
    for (u, x, i), (v, y, j) in (((a, k, 0), (b, l, 1)), ((a, k, 0), (a, k, 0)), ((b, l, 1), (b, l, 1))):
        total = u @ v - np.einsum("ij,ij->i", x, y)
        found.append(total - sums[i] * sums[j] / kept if centre else total)
    return found[0], found[1], found[2]


def rank_correlation_left_out(a: Floats, b: Floats) -> Floats:
    """Rank correlation of the pairs of the others, ranked anew, with each sample left out: (n,).

    `a` and `b` (m,) may be any increasing functions of the dissimilarities; equal entries are ties. O(n³).
    """
    order = np.argsort(a, kind="stable")
    groups = [np.unique(each[order], return_inverse=True)[1] for each in (a, b)]
    counts = [np.bincount(each).astype(np.float64) for each in groups]
    place = np.empty_like(order)
    place[order] = np.arange(order.size)
    pairs = square(place.astype(np.float64)).astype(np.intp)  # where each pair stands in the order of a
    n = pairs.shape[0]
    found = np.empty(n)
    for i in range(n):
        gone = np.delete(pairs[i], i)
        (first, norm_a), (second, norm_b) = (
            _ranks(group, count, gone) for group, count in zip(groups, counts, strict=True)
        )
        product = _dot(first, second) - _dot(first[gone], second[gone])
        found[i] = product / np.sqrt(norm_a * norm_b)
    return found


def _ranks(group: Orders, counts: Floats, gone: Orders) -> tuple[Floats, float]:
    """Ranks less their mean of all pairs among those not `gone`, and the sum of squares over these.

    `group` (m,) are ranks without gaps and `counts` how many pairs share each.
    """
    left = counts.copy()
    np.subtract.at(left, group[gone], 1)
    ranks = np.cumsum(left)
    ranks -= (left + ranks[-1]) / 2
    norm = float(np.einsum("i,i,i->", left, ranks, ranks))
    return ranks[group], norm


def _dot(a: Floats, b: Floats) -> float:
    """Σ ab on one thread: waking others costs more than the sum when they have work of their own."""
    return float(np.einsum("i,i->", a, b))

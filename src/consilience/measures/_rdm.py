"""Dissimilarity matrices of representations, every kind as one matrix product.

All kinds are d_ij = h_i + h_j − 2 aᵢ·bⱼ before a last elementwise step (a root, say), with vectors a and b that depend
on the kind: for squared Euclidean distances a = b = the centred row and h its squared norm. `Form` holds these.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

from consilience._array import (
    Array,
    centred,
    check_memory,
    epsilon,
    is_numpy,
    matmul,
    namespace,
    row_blocks,
    stop_gradient,
    unit_scaled,
    with_own,
)
from consilience.measures._noise import Repeats, beside, fold_matrix, whitened

__all__ = [
    "CROSS_VALIDATED",
    "Form",
    "Prior",
    "Rdm",
    "direction_form",
    "euclidean_form",
    "finished",
    "form_of",
    "full_matrix",
    "pair_places",
    "pair_values",
    "reach_of",
    "rounding",
    "rows_of",
    "upper",
]

Rdm: TypeAlias = Literal[
    "euclidean",
    "sqeuclidean",
    "correlation",
    "cosine",
    "mahalanobis",
    "crossnobis",
    "poisson",
    "poisson_cv",
    "gaussian",
]

CROSS_VALIDATED = frozenset({"crossnobis", "poisson_cv"})  # unbiased estimates, which may be negative

_VECTORS_HELD = 6  # of all pairs, while distances are ranked


class Form(NamedTuple):
    """What dissimilarities between k rows (samples, or conditions) are made of."""

    left: Array  # (k, w), a of the module docstring
    right: Array  # (k, w), b
    half: Array  # (k,), h
    flaw: Array  # 0-d: why it has no meaning, a number of `_noise`; zero if there is no reason


class Prior(NamedTuple):
    """Pseudo-observations that keep rates positive: `weight` of them, at `rate`."""

    rate: float
    weight: float


def euclidean_form(x: Array, flaw: Array | None = None) -> Form:
    """Squared Euclidean distances of the rows of centred `x` (n, d)."""
    return Form(x, x, namespace(x).sum(x * x, axis=1), _none(x) if flaw is None else flaw)


def direction_form(x: Array, *, without_mean: bool) -> Form:
    """1 − cosine of the rows of `x`, or of rows less their means; a row of zeros is at distance one from all."""
    xp = namespace(x)
    x = centred(x.T).T if without_mean else x
    size = stop_gradient(xp.max(xp.abs(x), axis=1, keepdims=True))  # it cancels
    x = x / xp.where(size > 0, size, xp.ones_like(size))
    energy = xp.sum(x * x, axis=1, keepdims=True)
    x = x / xp.sqrt(2 * xp.where(energy > 0, energy, xp.ones_like(energy)))
    return Form(x, x, xp.full_like(x[:, 0], 0.5), _none(x))


def form_of(
    rdm: Rdm, x: Array, *, scale: bool, center: bool, shrinkage: float, prior: Prior, repeats: Repeats | None
) -> Form:
    """Return the form of `rdm` on `x` (n, d); with `scale`, features may be divided by their largest magnitude."""
    if rdm == "poisson":
        return _poisson(x, prior)
    if rdm == "poisson_cv" and repeats is not None:
        return _poisson_cv(x, prior, repeats)
    if rdm in ("cosine", "correlation"):
        return direction_form(centred(x) if center else x, without_mean=rdm == "correlation")
    x = centred(x)
    x = unit_scaled(x) if scale or rdm in ("gaussian", "mahalanobis", "crossnobis") else x
    if rdm == "mahalanobis":
        z, flaw = whitened(x, shrinkage, repeats)
        return euclidean_form(z, flaw)
    if rdm == "crossnobis" and repeats is not None:
        z, flaw = whitened(x, shrinkage, repeats)
        return _crossnobis(z, flaw, repeats)
    return euclidean_form(x)


def rows_of(form: Form, start: int, stop: int, *, signed: bool = False) -> Array:
    """Rows ``start:stop`` of the matrix before the last step, (stop - start, k), with a diagonal of zeros."""
    block = _block(form, start, stop, 0, signed)
    return with_own(block, start, 0.0)


def full_matrix(form: Form, *, signed: bool = False) -> Array:
    """Return the matrix (k, k) before the last step."""
    k = form.half.shape[0]
    check_memory(8 * _VECTORS_HELD * k * k, f"the dissimilarity matrix of {k} rows")
    return rows_of(form, 0, k, signed=signed)


def pair_values(form: Form, *, signed: bool = False) -> Array:
    """Entries i < j of the matrix before the last step, row by row, (k(k − 1)/2,)."""
    k = form.half.shape[0]
    m = k * (k - 1) // 2
    check_memory(8 * _VECTORS_HELD * m, f"the {m} dissimilarities of {k} rows")
    if not is_numpy(form.half):
        return upper(full_matrix(form, signed=signed))
    values = np.empty(m)
    filled = 0
    for start, stop in row_blocks(form.left):
        block = _block(form, start, stop, start, signed)  # columns from `start` only
        for row in range(stop - start):
            rest = block[row, row + 1 :]
            values[filled : filled + rest.size] = rest
            filled += rest.size
    return values


def upper(matrix: Array) -> Array:
    """Entries i < j of `matrix` (k, k), row by row."""
    xp = namespace(matrix)
    k = matrix.shape[0]
    if is_numpy(matrix):
        return matrix[np.triu(np.ones((k, k), dtype=bool), 1)]
    rows, columns = np.triu_indices(k, 1)
    return xp.take(xp.reshape(matrix, (-1,)), beside(rows * k + columns, matrix))


def finished(rdm: Rdm, values: Array, form: Form) -> Array:
    """Take the last step, elementwise: from what the form gives to the dissimilarities."""
    xp = namespace(values)
    if rdm == "euclidean":
        positive = values > 0  # the gradient of a root at zero is taken as zero
        return xp.where(positive, xp.sqrt(xp.where(positive, values, xp.ones_like(values))), xp.zeros_like(values))
    if rdm == "gaussian":
        variance = xp.mean(form.half)
        return -xp.expm1(-values / (2 * xp.where(variance > 0, variance, xp.ones_like(variance))))
    return values


def reach_of(form: Form) -> Array:
    """Bound of the magnitudes that enter the entries of a row, (k,): those of pair (i, j) are below rᵢ + rⱼ."""
    xp = namespace(form.half)
    return (xp.sum(form.left * form.left, axis=1) + xp.sum(form.right * form.right, axis=1)) / 2


def rounding(x: Array) -> float:
    """Bound of the rounding in an entry, relative to the magnitudes that enter it."""
    return 16 * epsilon(x)


def pair_places(pairs: np.ndarray[Any, Any], k: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Rows and columns (i, j) of entries of `pair_values`, given their positions."""
    starts = np.cumsum(np.arange(k, 0, -1) - 1)  # one past the last pair of each row
    rows = np.searchsorted(starts, pairs, side="right")
    return rows, pairs - starts[rows] + k


def _block(form: Form, start: int, stop: int, first: int, signed: bool) -> Array:
    """Rows ``start:stop``, columns from `first`; rounding below zero is cut off unless estimates are signed."""
    xp = namespace(form.half)
    products = matmul(form.left[start:stop, :], form.right[first:, :].T)
    if is_numpy(products):
        products *= -2.0
        products += form.half[start:stop, None]
        products += form.half[None, first:]
        return products if signed else np.maximum(products, 0.0, out=products)
    values = form.half[start:stop, None] + form.half[None, first:] - 2 * products
    return values if signed else xp.where(values > 0, values, xp.zeros_like(values))


def _none(x: Array) -> Array:
    return namespace(x).zeros_like(x[0, 0])


def _rates(x: Array, prior: Prior) -> tuple[Array, Array]:
    """Rates, shrunk towards the prior, and their logarithms."""
    rates = (x + prior.rate * prior.weight) / (1 + prior.weight)
    return rates, namespace(x).log(rates)


def _cross(rates: Array, logs: Array) -> Form:
    """Σ (λᵢ − λⱼ)(log λᵢ − log λⱼ) as a form: products of two factors, made symmetric in i and j."""
    xp = namespace(rates)
    left, right = xp.concat([rates, logs], axis=1), xp.concat([logs, rates], axis=1) / 2
    return Form(left, right, xp.sum(rates * logs, axis=1), _none(rates))


def _poisson(x: Array, prior: Prior) -> Form:
    rates, logs = _rates(x, prior)
    return _cross(centred(rates), centred(logs))


def _poisson_cv(x: Array, prior: Prior, repeats: Repeats) -> Form:
    """Rates from all folds but one, logarithms from that one, averaged over folds."""
    xp = namespace(x)
    folds = fold_matrix(x, repeats)  # (K, R, d)
    count = folds.shape[1]
    others = (xp.sum(folds, axis=1, keepdims=True) - folds) / (count - 1)
    rates, logs = _rates(others, prior)[0], _rates(folds, prior)[1]
    shape = (folds.shape[0], -1)
    return _cross(centred(xp.reshape(rates, shape)) / count, centred(xp.reshape(logs, shape)))


def _crossnobis(z: Array, flaw: Array, repeats: Repeats) -> Form:
    """Σ over pairs of different folds of δᵣ·δₛ / (R(R − 1)), with δ the difference of two conditions in a fold.

    The sum over all pairs of folds is the product of the sums S; that over equal folds is taken away.
    """
    xp = namespace(z)
    folds = fold_matrix(z, repeats)  # (K, R, d)
    folds = folds - xp.mean(folds, axis=0, keepdims=True)  # of each fold: differences do not see it
    k, count, _ = folds.shape
    total, each = xp.sum(folds, axis=1), xp.reshape(folds, (k, -1))
    left = xp.concat([total, each], axis=1)
    right = xp.concat([total, -each], axis=1) / (count * (count - 1))
    return Form(left, right, xp.sum(left * right, axis=1), flaw)

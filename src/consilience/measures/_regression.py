"""Cross-validated regression between representations: folds, what a training set needs, and the score.

Row i belongs to fold i mod cv. Everything a regression learns of a training set is its second moments, and these are
sums over the folds in it. So each fold is centred on its own mean, once, and a training set is put together from the
folds other than the held-out one, with the means of these as further rows: nothing is ever subtracted again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from typing import NamedTuple, TypeAlias

import numpy as np

from consilience._array import Array, centred, check_memory, epsilon, is_numpy, matmul, namespace
from consilience._moments import Moments
from consilience.errors import ConsilienceError

__all__ = [
    "Coefficients",
    "Folds",
    "Spectrum",
    "Target",
    "Training",
    "check_cv",
    "check_state",
    "held_out",
    "moment_score",
    "reduced",
    "score",
    "spectrum",
    "spectrum_of_moments",
    "split",
    "target",
    "training_factors",
]

# Weights (p, r) and loadings (r, q): the prediction for centred rows x is x @ weights @ loadings.
Coefficients: TypeAlias = "tuple[Array, Array]"


class Folds(NamedTuple):
    """A representation, cut into folds."""

    within: tuple[Array, ...]  # fold f: (n_f, d), columns centred on their mean in the fold
    means: Array  # (cv, d), these means


class Target(NamedTuple):
    """What a representation that is predicted has to offer."""

    folds: Folds
    energy: Array  # (cv,), squared norm of the training set, centred, with fold f held out
    total: Array  # 0-d, Σ over held-out rows of the squared distance to the mean of their training set


class Spectrum(NamedTuple):
    """A centred training set by singular values; those that are zero relative to the largest are left out."""

    weights: Array  # (p, r), right singular vectors divided by singular values
    values: Array  # (r,), squared singular values
    kept: Array  # (r,), one or zero


class Training(NamedTuple):
    """What a regression is fitted to."""

    cross: Array  # (p, q), xᵀy of the centred training set
    energy: Array  # 0-d, ‖y‖² of it
    n: int


def check_cv(cv: int, name: str, least: int) -> None:
    """Raise `ConsilienceError` if the number of folds of measure `name` is none."""
    if cv < 2 and cv != least:
        allowed = "2 or more" if least == 2 else "2 or more, or 0 to fit and score the same samples"
        raise ConsilienceError(f"cv of {name} is {cv}; the number of folds is {allowed}.")


def reduced(x: Array) -> Array:
    """`x` (n, d) centred and scaled, rotated into at most n dimensions: inner products of rows stay as they are."""
    x = centred(x, unit=True)
    n, d = x.shape
    return _compressed(x.T).T if d > n else x


def split(x: Array, cv: int) -> Folds:
    """Cut the rows of `x` (n, d) into `cv` folds."""
    xp = namespace(x)
    rows = [x[fold::cv, :] for fold in range(cv)]
    means = [xp.mean(each, axis=0) for each in rows]
    within = [each - mean[None, :] for each, mean in zip(rows, means, strict=True)]
    # a second pass takes what rounding left of the mean
    rest = [xp.mean(each, axis=0) for each in within]
    within = [each - mean[None, :] for each, mean in zip(within, rest, strict=True)]
    return Folds(tuple(within), xp.stack([mean + more for mean, more in zip(means, rest, strict=True)]))


def target(folds: Folds) -> Target:
    """Measure how much there is to predict."""
    xp = namespace(folds.means)
    inner = [xp.sum(each * each) for each in folds.within]
    energy = []
    for fold in range(len(inner)):
        between = _between(folds, fold)
        energy.append(sum((inner[other] for other in _others(folds, fold)), xp.sum(between * between)))
    outer = [held_out(folds, fold) for fold in range(len(inner))]
    return Target(folds, xp.stack(energy), sum((xp.sum(each * each) for each in outer), xp.zeros_like(energy[0])))


def held_out(folds: Folds, fold: int) -> Array:
    """Rows of `fold` less the mean of its training set, (n_f, d)."""
    return folds.within[fold] + (folds.means[fold, :] - _training_mean(folds, fold))[None, :]


def training_factors(folds: Folds) -> list[Array]:
    """For each fold, rows (m, d) with the second moments of the centred training set without it, m ≤ d or so."""
    xp = namespace(folds.means)
    parts = [_compressed(part) for part in folds.within]
    found: list[Array] = []
    for fold in range(len(parts)):
        rows = [parts[other] for other in _others(folds, fold)]
        found.append(_compressed(xp.concat([*rows, _between(folds, fold)])))
    return found


def spectrum(factor: Array, n: int) -> Spectrum:
    """Singular values of `factor` (m, d), which stands for `n` centred rows."""
    xp = namespace(factor)
    _, s, vh = xp.linalg.svd(factor, full_matrices=False)
    kept = s > max(n, factor.shape[1]) * epsilon(factor) * xp.max(s)
    return _spectrum(vh.T, xp.where(kept, s, xp.ones_like(s)), xp.astype(kept, s.dtype))


def spectrum_of_moments(products: Array) -> Spectrum:
    """Do as `spectrum`, given xᵀx (p, p): directions with less than about 1e-8 of the largest deviation are lost."""
    xp = namespace(products)
    values, vectors = xp.linalg.eigh(products)
    kept = values > 4 * products.shape[0] * epsilon(products) * xp.max(values)
    return _spectrum(vectors, xp.sqrt(xp.where(kept, values, xp.ones_like(values))), xp.astype(kept, values.dtype))


def score(a: Folds, b: Target, rows: Sequence[Array], fit: Callable[[int, Training], Coefficients | Array]) -> Array:
    """R² of held-out rows, pooled over folds and targets.

    `rows` are the held-out rows of the predictor in each fold, (n_f, …), and `fit` returns what they are multiplied by:
    weights and loadings, or loadings alone if the weights are in the rows already.
    """
    xp = namespace(b.total)
    products = [matmul(x.T, y) for x, y in zip(a.within, b.folds.within, strict=True)]  # each (p, q)
    residual = xp.zeros_like(b.total)
    for fold in range(len(products)):
        cross = matmul(_between(a, fold).T, _between(b.folds, fold))
        cross = sum((products[other] for other in _others(a, fold)), cross)
        n = sum(a.within[other].shape[0] for other in _others(a, fold))
        found = fit(fold, Training(cross, b.energy[fold], n))
        factors = found if isinstance(found, tuple) else (found,)
        predicted = reduce(matmul, factors, rows[fold])
        difference = held_out(b.folds, fold) - predicted
        residual = residual + xp.sum(difference * difference)
    return 1 - residual / b.total


def moment_score(folds: Sequence[Moments], fit: Callable[[Array, Training], Coefficients]) -> Array:
    """Do as `score`, from the second moments of each fold; `fit` gets xᵀx (p, p) of the training set."""
    xp = namespace(folds[0].xx)
    residual, total = xp.zeros_like(folds[0].fourth_xx), xp.zeros_like(folds[0].fourth_xx)
    for fold, test in enumerate(folds):
        others = [m for other, m in enumerate(folds) if other != fold]
        n = sum(m.n for m in others)
        mean_x, mean_y = (sum(m.n * mean for m, mean in pairs) / n for pairs in _means(others))
        xx, xy, energy = (sum(parts) for parts in zip(*(_about(m, mean_x, mean_y) for m in others), strict=True))
        weights, loadings = fit(xx, Training(xy, energy, n))
        xx, xy, energy = _about(test, mean_x, mean_y)
        squares = matmul(weights.T, matmul(xx, weights))  # (r, r)
        explained = 2 * matmul(weights.T, xy) - matmul(squares, loadings)
        residual = residual + energy - xp.sum(loadings * explained)
        total = total + energy
    return 1 - residual / total


def check_state(x: Array, cv: int) -> None:
    """Refuse to hold one (d, d) array for each fold where that is too much."""
    width = min(x.shape)
    check_memory(8 * cv * width * width, f"regression of {cv} folds on {width} dimensions")


def _spectrum(vectors: Array, s: Array, kept: Array) -> Spectrum:
    return Spectrum(vectors * (kept / s)[None, :], kept * s * s, kept)


def _compressed(rows: Array) -> Array:
    """Return as many rows as there are columns, if there are more, with the same products of columns."""
    if rows.shape[0] <= rows.shape[1]:
        return rows
    if is_numpy(rows):  # no need of the orthogonal factor, which the standard always computes
        return np.linalg.qr(rows, mode="r")
    return namespace(rows).linalg.qr(rows).R


def _others(folds: Folds, fold: int) -> Iterator[int]:
    return (other for other in range(len(folds.within)) if other != fold)


def _training_mean(folds: Folds, fold: int) -> Array:
    counts = {other: folds.within[other].shape[0] for other in _others(folds, fold)}
    return sum((n * folds.means[other, :] for other, n in counts.items()), 0 * folds.means[0, :]) / sum(counts.values())


def _between(folds: Folds, fold: int) -> Array:
    """Means of the folds other than `fold` about the mean of their rows, times √n_g, (cv − 1, d)."""
    mean = _training_mean(folds, fold)
    xp = namespace(mean)
    return xp.stack([folds.within[g].shape[0] ** 0.5 * (folds.means[g, :] - mean) for g in _others(folds, fold)])


def _means(folds: Sequence[Moments]) -> Iterator[list[tuple[Moments, Array]]]:
    yield [(m, m.mean_x) for m in folds]
    yield [(m, m.mean_y) for m in folds]


def _about(m: Moments, mean_x: Array, mean_y: Array) -> tuple[Array, Array, Array]:
    """xᵀx, xᵀy and ‖y‖² about the given means."""
    xp = namespace(m.xx)
    x, y = m.mean_x - mean_x, m.mean_y - mean_y
    energy = xp.sum(xp.linalg.diagonal(m.yy)) + m.n * xp.sum(y * y)
    return m.xx + m.n * x[:, None] * x[None, :], m.xy + m.n * x[:, None] * y[None, :], energy

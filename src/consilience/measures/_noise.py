"""Repeated measurements of conditions: how rows are grouped, and features whitened by the covariance of the noise."""

from __future__ import annotations

from typing import Any, NamedTuple

import array_api_compat
import numpy as np

from consilience._array import Array, epsilon, matmul, namespace
from consilience.errors import ConsilienceError

__all__ = ["EQUIDISTANT", "SINGULAR", "Repeats", "beside", "check_balanced", "fold_matrix", "repeats_of", "whitened"]

SINGULAR = 3.0  # flaws that whitening finds
EQUIDISTANT = 4.0


class Repeats(NamedTuple):
    """Which rows measure the same condition; known values, because they decide shapes."""

    condition: np.ndarray[Any, Any]  # (n,), 0 … K − 1
    counts: np.ndarray[Any, Any]  # (K,)


def repeats_of(targets: np.ndarray[Any, Any]) -> Repeats:
    """Group rows by their target."""
    _, condition, counts = np.unique(targets, return_inverse=True, return_counts=True)
    return Repeats(condition, counts)


def check_balanced(repeats: Repeats, label: str) -> None:
    """Refuse what cannot be cut into folds with every condition once in each.

    Raises
    ------
    ConsilienceError
        If there is one condition only, one without repeats, or conditions with different numbers of them.
    """
    counts = repeats.counts
    if counts.size < 2 or counts.min() != counts.max() or counts.min() < 2:
        raise ConsilienceError(
            f"measure {label} needs two or more conditions, each in the same number, two or more, of rows, and "
            f"received {counts.size} conditions with {counts.min()} to {counts.max()} rows: targets= gives the "
            "condition of every row, and the r-th row of each condition belongs to fold r; drop rows, or use "
            "rdm='mahalanobis'."
        )


def fold_matrix(x: Array, repeats: Repeats) -> Array:
    """Rows of `x` (n, d) by condition and fold, (K, R, d): the r-th row of a condition is in fold r."""
    xp = namespace(x)
    order = beside(np.argsort(repeats.condition, kind="stable"), x)
    count = int(repeats.counts[0])
    return xp.reshape(xp.take(x, order, axis=0), (repeats.counts.size, count, x.shape[1]))


def whitened(x: Array, shrinkage: float, repeats: Repeats | None) -> tuple[Array, Array]:
    """Centred `x` (n, d) in coordinates, at most n, in which the noise has unit covariance; and a flaw, 0-d.

    The noise is what varies within conditions or, with no `repeats`, everything that varies. Its covariance Σ is
    shrunk to (1 − s) Σ + s (tr Σ / d) I. Directions in which nothing varies are left out.
    """
    xp = namespace(x)
    n, d = x.shape
    x = xp.linalg.qr(x.T).R.T if d > n else x  # a rotation; the rest of the d dimensions is empty
    noise, freedom = (x, n - 1) if repeats is None else _within(x, repeats)
    _, s, vh = xp.linalg.svd(noise, full_matrices=False)
    turned = matmul(x, vh.T)
    variance = s * s / max(freedom, 1)
    variance = (1 - shrinkage) * variance + shrinkage * xp.sum(variance) / d
    tolerance = max(n, d) * epsilon(x)
    zero, one = xp.zeros_like(s[0]), xp.ones_like(s[0])
    if shrinkage > 0:
        some = variance > 0
        return turned / xp.sqrt(xp.where(some, variance, one)) * xp.where(some, one, zero), zero
    some = s > tolerance * s[0]
    largest = xp.max(xp.abs(turned), axis=0)
    lost = xp.any(~some & (largest > tolerance * xp.max(largest)))
    flaw = xp.where(lost, SINGULAR * one, zero)
    if repeats is None:  # as many directions as samples can span: a simplex, whatever the data
        full = xp.sum(xp.astype(some, x.dtype)) > n - 1.5
        flaw = xp.where(full, EQUIDISTANT * one, flaw)
    return turned / xp.sqrt(xp.where(some, variance, one)) * xp.where(some, one, zero), flaw


def _within(x: Array, repeats: Repeats) -> tuple[Array, int]:
    """`x` less the mean of its condition, and the degrees of freedom that are left."""
    xp = namespace(x)
    k = repeats.counts.size
    member = xp.astype(beside(repeats.condition[:, None] == np.arange(k)[None, :], x), x.dtype)  # (n, K)
    counts = xp.sum(member, axis=0)
    means = matmul(member.T, x) / counts[:, None]
    return x - matmul(member, means), x.shape[0] - k


def beside(values: np.ndarray[Any, Any], like: Array) -> Array:
    """Return `values` in the library and on the device of `like`."""
    xp = namespace(like)
    if array_api_compat.is_jax_array(like):  # JAX places arrays itself, and a traced one has no device
        return xp.asarray(values)
    return xp.asarray(values, device=array_api_compat.device(like))

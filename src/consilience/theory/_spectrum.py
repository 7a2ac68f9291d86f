"""Checked inputs and the effective ridge: what every formula of the package starts from."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from consilience.errors import ConsilienceError

__all__ = [
    "Floats",
    "Spectrum",
    "covariance",
    "effective_ridge",
    "level",
    "levels",
    "spectrum",
    "whole_numbers",
]

Floats = NDArray[np.float64]

_HALVINGS = 64


class Spectrum(NamedTuple):
    """Distinct input variances, how often each occurs, and the teacher's weight on each.

    `values` (q,) are the eigenvalues above zero, `counts` (q,) their multiplicities and `power` (q, k, k) the
    sums of β βᵀ over the directions of one eigenvalue, for k outputs.
    """

    values: Floats  # (q,)
    counts: Floats  # (q,)
    power: Floats  # (q, k, k)

    @property
    def rank(self) -> float:
        """Number of directions in which inputs vary."""
        return float(self.counts.sum())

    @property
    def outputs(self) -> int:
        """Number of outputs k."""
        return int(self.power.shape[-1])

    def moment(self, weights: Floats) -> Floats:
        """Sum of `weights` (..., q) times β βᵀ over directions: (..., k, k)."""
        return np.tensordot(weights, self.power, axes=1)  # (..., k, k)

    def signal(self) -> Floats:
        """Covariance of the linear part of the targets, β Σ βᵀ (k, k)."""
        return self.moment(self.values)


def spectrum(eigenvalues: ArrayLike, beta: ArrayLike) -> Spectrum:
    """Check eigenvalues (d,) and teacher (d,) or (k, d); directions without variance are dropped.

    Raises
    ------
    ConsilienceError
        On wrong shapes, values that are not finite, negative eigenvalues, or no eigenvalue above zero.
    """
    values = levels("eigenvalues", eigenvalues)
    teacher = np.atleast_2d(np.asarray(beta, dtype=np.float64))  # (k, d)
    if teacher.ndim != 2 or teacher.shape[1] != values.size or teacher.shape[0] == 0:
        raise ConsilienceError(
            f"beta has shape {np.shape(beta)} while there are {values.size} eigenvalues: give one coefficient for "
            "each eigenvalue, (d,), or one such row for each output, (k, d)"
        )
    if not np.isfinite(teacher).all():
        raise ConsilienceError("beta holds a NaN or an infinity: every coefficient must be finite")
    kept = values > 0
    if not kept.any():
        raise ConsilienceError("every eigenvalue is zero: inputs that never vary cannot be learned from")
    teacher = teacher[:, kept]
    return Spectrum(values[kept], np.ones(int(kept.sum())), np.einsum("iq,jq->qij", teacher, teacher))


def effective_ridge(values: Floats, counts: Floats, n_train: Floats, ridge: float) -> Floats:
    """Effective ridge κ (N,): the root of κ = μ + (κ/n) Σ λ/(λ+κ), to about 1e-13 relative.

    Zero when μ = 0 and n reaches the rank. Found by halving an interval of log κ that must hold the root.
    """
    order = np.argsort(-values)
    values, counts = values[order], counts[order]
    scale = float(values[0])
    values, penalty = values / scale, ridge / scale
    n = np.asarray(n_train, dtype=np.float64)  # (N,)
    below = np.searchsorted(np.cumsum(counts), n, side="right")  # class of eigenvalue number n + 1
    unlearned = np.where(below < values.size, values[np.minimum(below, values.size - 1)], 0.0)
    # With κ = λ_{n+1}/n the n+1 largest eigenvalues alone count for n degrees of freedom, so κ is no less.
    lowest = np.maximum(penalty, unlearned / n)
    solvable = lowest > 0
    low = np.log(np.where(solvable, lowest, 1.0))
    high = np.log(np.where(solvable, penalty + float(values @ counts) / n, 1.0))
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        too_small = _excess(np.exp(middle), values, counts, n, penalty) < 0
        low, high = np.where(too_small, middle, low), np.where(too_small, high, middle)
    return np.where(solvable, np.exp(0.5 * (low + high)), 0.0) * scale


def _excess(kappa: Floats, values: Floats, counts: Floats, n: Floats, penalty: float) -> Floats:
    """n − df1(κ) − nμ/κ, increasing in κ.

    Learned directions (λ > κ) enter as one minus a small number and the ones are counted exactly, so that
    nothing is lost when κ lies in a wide gap of the spectrum.
    """
    total = values + kappa[:, None]  # (N, q)
    learned = values > kappa[:, None]
    missing = np.where(learned, kappa[:, None] / total, -values / total)
    # Not as a product of matrices: threads that start 64 times over can cost a hundred times the sum itself.
    known, missing = (np.einsum("nq,q->n", x, counts) for x in (learned, missing))  # (N,)
    return (n - known) + missing - n * penalty / kappa


def whole_numbers(name: str, value: ArrayLike) -> Floats:
    """Check a scalar or (N,) of counts: whole numbers from 1."""
    n = np.asarray(value, dtype=np.float64)
    if n.ndim > 1 or n.size == 0 or not np.isfinite(n).all() or (n < 1).any() or (n % 1 != 0).any():
        raise ConsilienceError(
            f"{name} is {value!r}: give a whole number from 1 up, or a one-dimensional sequence of them"
        )
    return n


def levels(name: str, value: ArrayLike, *, above_zero: bool = False, infinite: bool = False) -> Floats:
    """Check a scalar or (S,) of numbers from zero up; `above_zero` and `infinite` set which ends are allowed."""
    array = np.asarray(value, dtype=np.float64)
    bad = np.isnan(array) | (array <= 0 if above_zero else array < 0)
    if not infinite:
        bad = bad | np.isinf(array)
    if array.ndim > 1 or array.size == 0 or bad.any():
        allowed = ("above zero" if above_zero else "zero or above") + ("" if infinite else " and finite")
        shown = f"{array[bad].flat[0]:g} among its values" if bad.any() else f"shape {array.shape}"
        raise ConsilienceError(f"{name} has {shown}: give a number {allowed}, or a one-dimensional array of them")
    return array


def level(name: str, value: float) -> float:
    """Check one finite number from zero up."""
    array = levels(name, value)
    if array.ndim:
        raise ConsilienceError(f"{name} has shape {array.shape}: give one number")
    return float(array)


def covariance(name: str, value: ArrayLike, outputs: int) -> Floats:
    """Covariance (k, k) from one variance for every output, a variance for each (k,), or the matrix itself."""
    array = np.asarray(value, dtype=np.float64)
    if array.shape not in ((), (outputs,), (outputs, outputs)) or not np.isfinite(array).all():
        raise ConsilienceError(
            f"{name} has shape {array.shape} or a value that is not finite: give one variance, a variance for each "
            f"of the {outputs} outputs, or their covariance ({outputs}, {outputs})"
        )
    matrix = array if array.ndim == 2 else np.eye(outputs) * array
    if not np.allclose(matrix, matrix.T) or np.linalg.eigvalsh(matrix).min() < -1e-10 * max(1.0, np.trace(matrix)):
        raise ConsilienceError(f"{name} is no covariance: it must be symmetric without negative eigenvalues")
    return matrix

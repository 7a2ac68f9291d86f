"""Covariance of inputs, best linear map and misfit, estimated from samples.

With many rows (N above three times the rank) least squares is enough: the misfit is the residual covariance with
the degrees of freedom of the fit taken off. With fewer rows sample eigenvalues spread, least squares fits noise,
and both are undone by what ridge regression of all rows does as its penalty μ changes: with degrees of freedom
df(μ) = Σ l/(l+μ) of the sample eigenvalues l, f = 1 − df/N and κ = μ/f, ::

    Σ λ/(λ+κ)                = df(μ)
    Σ κ β²λ/(λ+κ) + σ_s²     = y'(I−H)y / (N f)
    (Σ κ² β²λ/(λ+κ)² + σ_s²) = y'(I−H)²y / (N f²) · (1 − g)

up to O(1/√N) (generalized cross-validation: Golub, Heath & Wahba 1979; Wei, Hu & Steinhardt, arXiv 2203.06176;
Atanasov et al., arXiv 2408.04607). Non-negative least squares finds a spectrum and a power that fulfil them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.linalg
import scipy.optimize

from consilience.errors import ConsilienceError
from consilience.theory._spectrum import Floats

__all__ = ["Estimate", "estimate"]

_TALL = 3  # rows for each direction, from which least squares is left as it is
_ROUNDING = float(np.finfo(np.float32).eps) ** 2  # of the largest eigenvalue: inputs may have been float32
_ATOMS, _PENALTIES = 60, 80


class Estimate(NamedTuple):
    """What `estimate` finds, in the form `alignment` takes.

    - `eigenvalues` (d,): of the covariance of the inputs, ascending; zero where inputs do not vary
    - `beta` (k, d): best linear map in the eigenbasis
    - `misfit` (k, k): covariance of what no linear map reaches, the targets' own noise included
    - `variance`: mean over outputs of the variance of the targets
    - `rank`: number of directions in which the rows given vary, at most rows − 1
    - `rows`: N
    """

    eigenvalues: Floats
    beta: Floats
    misfit: Floats
    variance: float
    rank: int
    rows: int


class _Sample(NamedTuple):
    """Sample covariance in its eigenbasis."""

    values: Floats  # (r,) ascending
    scores: Floats  # (r, k) uᵢ'y/√N: what each direction explains
    total: Floats  # (k, k) covariance of the targets
    freedom: int  # N − 1: the mean was taken off


def estimate(x: Floats, y: Floats) -> Estimate:
    """Estimate spectrum, map and misfit from x (N, d) and y (N, k).

    Raises
    ------
    ConsilienceError
        When no input or no target varies.
    """
    sample = _sample(x, y)
    rank, width = len(sample.values), x.shape[1]
    variance = float(np.trace(sample.total)) / y.shape[1]
    if rank == 0:
        raise ConsilienceError(f"the {width} inputs do not vary over {len(x)} rows: there is nothing to learn from")
    if variance <= 0:
        raise ConsilienceError(f"the targets do not vary over {len(y)} rows: there is nothing to learn")
    found = _by_least_squares(sample) if sample.freedom > _TALL * rank else _by_penalties(sample, width)
    values, beta, misfit = found
    missing = width - len(values)
    return Estimate(
        eigenvalues=np.pad(values, (missing, 0)),
        beta=np.pad(beta, ((0, 0), (missing, 0))),
        misfit=misfit,
        variance=variance,
        rank=rank,
        rows=len(x),
    )


def _sample(x: Floats, y: Floats) -> _Sample:
    count = len(x) - 1
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    if x.shape[1] <= len(x):
        values, basis = scipy.linalg.eigh(x.T @ x / count)
        kept = values > _ROUNDING * values[-1]
        values, basis = values[kept], basis[:, kept]
        scores = basis.T @ (x.T @ y) / (count * np.sqrt(values)[:, None])
    else:
        values, left = scipy.linalg.eigh(x @ x.T / count)
        kept = values > _ROUNDING * values[-1]
        values, left = values[kept], left[:, kept]
        scores = left.T @ y / np.sqrt(count)
    return _Sample(values, scores, y.T @ y / count, count)


def _by_least_squares(sample: _Sample) -> tuple[Floats, Floats, Floats]:
    """Eigenvalues, map and misfit; the map is scaled to the variance the misfit leaves, since it fits misfit too."""
    spare = sample.freedom - len(sample.values)
    fitted = sample.scores.T @ sample.scores  # (k, k)
    misfit = (sample.total - fitted) * sample.freedom / spare
    misfit = (misfit + misfit.T) / 2
    signal, found = np.maximum(np.diag(sample.total - misfit), 0.0), np.diag(fitted)
    scale = np.sqrt(np.divide(signal, found, out=np.zeros_like(found), where=found > 0))
    return sample.values, (sample.scores / np.sqrt(sample.values)[:, None] * scale).T, _no_negative(misfit)


def _no_negative(matrix: Floats) -> Floats:
    """The nearest covariance: an exact fit leaves rounding of either sign."""
    value, vector = np.linalg.eigh(matrix)
    return (vector * np.maximum(value, 0.0)) @ vector.T


def _by_penalties(sample: _Sample, width: int) -> tuple[Floats, Floats, Floats]:
    """The same from the equations above: eigenvalues as quantiles of the fitted spectrum, one for each input.

    The power of each direction is the fitted one; how it divides over several outputs is taken from the sample
    direction of the same rank, in turn where there are more inputs than those.
    """
    values, explained = sample.values, np.sum(sample.scores**2, axis=1)
    total = float(np.trace(sample.total))
    mu = np.geomspace(1e-6, 1e3, _PENALTIES)[:, None] * values.mean()
    share = values / (values + mu)  # (M, r)
    df, slope = share.sum(axis=1), -np.sum(share / (values + mu), axis=1)
    free = 1 - df / sample.freedom
    usable = free > 1e-3
    mu, share, df, slope, free = mu[usable, 0], share[usable], df[usable], slope[usable], free[usable]
    kappa = mu / free
    rate = 1 / free + mu / free**2 * slope / sample.freedom  # dκ/dμ
    second = np.maximum(df + kappa * slope / rate, 0.0)  # Σ λ²/(λ+κ)²
    atoms = np.geomspace(max(kappa[0] / 10, _ROUNDING * values[-1]), 2 * values[-1], _ATOMS)
    a = atoms / (atoms + kappa[:, None])  # (M, atoms)
    counts = _non_negative(np.vstack([a, 1e-2 * np.ones_like(atoms)]), np.append(df, 1e-2 * width))
    b = 1 - a
    missed = (total - share @ explained) / free
    error = (total - (1 - (1 - share) ** 2) @ explained) / free**2 * (1 - second / sample.freedom)
    design = np.vstack([np.column_stack([b, np.ones(len(b))]), np.column_stack([b**2, np.ones(len(b))])])
    power = _non_negative(design, np.concatenate([missed, error]))  # λβ² at each atom, then σ_s²
    return _spread(atoms, counts, power[:-1], sample, width, misfit=power[-1])


def _non_negative(matrix: Floats, wanted: Floats) -> Floats:
    size = np.maximum(np.abs(wanted), 1e-12 * np.abs(wanted).max())
    return np.asarray(scipy.optimize.nnls(matrix / size[:, None], wanted / size)[0], dtype=np.float64)


def _spread(
    atoms: Floats, counts: Floats, power: Floats, sample: _Sample, width: int, *, misfit: float
) -> tuple[Floats, Floats, Floats]:
    """Give every input direction an eigenvalue, a quantile of the spectrum, and its part of the power."""
    k = sample.total.shape[0]
    middle = (np.arange(width) + 0.5) / width * counts.sum()
    where = np.minimum(np.searchsorted(np.cumsum(counts), middle), len(atoms) - 1)
    values = atoms[where]  # ascending
    values *= sample.values.sum() / values.sum()
    # Atoms that got power but no direction hand it to the direction nearest in eigenvalue.
    nearest = np.argmin(np.abs(np.log(values)[None, :] - np.log(atoms)[:, None]), axis=1)
    same = values[None, :] == values[nearest][:, None]  # (atoms, d)
    strength = (power / same.sum(axis=1)) @ same  # (d,) λβ²
    shape = sample.scores[::-1]  # leading direction first
    shape = shape / np.maximum(np.linalg.norm(shape, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    direction = shape[np.arange(width)[::-1] % len(shape)]  # (d, k)
    beta = direction * np.sqrt(strength / values)[:, None]
    residual = sample.total / np.trace(sample.total) if k > 1 else np.ones((1, 1))
    return values, beta.T, misfit * residual

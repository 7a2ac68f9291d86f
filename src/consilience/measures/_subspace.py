"""Orthonormal bases of the directions in which features vary, and what canonical correlations need of them.

Directions whose deviation is below max(n, d)·ε times the largest are rounding, not data, and are left out; nothing
else is, and no ridge is added unless asked for.
"""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np

from consilience._array import Array, epsilon, is_numpy, is_traced, matmul, namespace, stop_gradient
from consilience.measures._rotation import within_samples
from consilience.registry import DegenerateWarning

__all__ = [
    "Subspace",
    "column_space",
    "damped_space",
    "fixed_correlations",
    "no_room",
    "principal_axes",
    "rank_of_products",
    "warn_of_room",
    "whitening",
]

_WELL_CONDITIONED = 1e6  # bound on the condition number up to which products of features give a basis to rounding


class Subspace(NamedTuple):
    """Directions in the space of samples, as columns."""

    basis: Array  # (n, r), orthonormal; where the rank is not known (under jit) columns beyond it are zero
    rank: Array  # 0-d, how many columns there are, as a floating-point number


def column_space(x: Array) -> Subspace:
    """Return an orthonormal basis of the columns of centred `x` (n, d)."""
    xp = namespace(x)
    if is_numpy(x) and x.shape[0] >= 2 * x.shape[1]:
        basis = _basis_by_products(x)
        if basis is not None:
            return Subspace(basis, np.asarray(float(x.shape[1]), dtype=x.dtype))
    n, d = x.shape
    q, r = xp.linalg.qr(within_samples(x))
    # of full rank, every rotation of q will do: this one is a constant to automatic differentiation
    u, s, _ = xp.linalg.svd(stop_gradient(r))
    kept = xp.astype(s > max(n, d) * epsilon(x) * s[0], x.dtype)
    rank = xp.sum(kept)
    if is_traced(x):
        return Subspace(matmul(q, u * kept[None, :]), rank)
    count = int(rank)
    if count == d:
        return Subspace(q, rank)
    first = slice(0, max(count, 1))  # where nothing varies, one column of zeros
    return Subspace(matmul(q, u[:, first] * kept[None, first]), rank)


def principal_axes(x: Array) -> tuple[Array, Array]:
    """Left singular vectors (n, r) and singular values (r,) of centred `x` (n, d), largest first; r is the rank."""
    basis, _ = column_space(x)
    u, s, _ = namespace(x).linalg.svd(matmul(basis.T, x), full_matrices=False)
    return matmul(basis, u), s


def damped_space(x: Array, ridge: float) -> Subspace:
    """x (xᵀx + k I)^−½ up to a rotation on its right, k being `ridge` times the largest eigenvalue of xᵀx.

    It is the upper block of Q in the QR decomposition of x above √k I, which squares no condition number.
    """
    xp = namespace(x)
    n, d = x.shape
    x = within_samples(x)
    s = xp.linalg.svdvals(x)
    rank = xp.sum(xp.astype(s > max(n, d) * epsilon(x) * s[0], x.dtype))
    damping = ridge**0.5 * s[0] * _identity_like(x)
    return Subspace(xp.linalg.qr(xp.concat([x, damping])).Q[:n, :], rank)


def whitening(products: Array, n: int, ridge: float = 0.0) -> tuple[Array, Array]:
    """Eigenvectors V (d, d) of `products` xᵀx and (λ + k)^−½, zero for directions left out: x V (λ + k)^−½ is white.

    Products hold singular values only down to √(max(n, d)·ε) of the largest: smaller ones are left out. k is `ridge`
    times the largest eigenvalue.
    """
    xp = namespace(products)
    scale = xp.max(xp.abs(products))
    scale = xp.where(scale > 0, scale, xp.ones_like(scale))
    values, axes = xp.linalg.eigh(products / scale)
    kept = values > max(n, products.shape[0]) * epsilon(products) * values[-1]
    damped = xp.where(kept, values + ridge * values[-1], xp.ones_like(values))
    inverse = xp.where(kept, 1 / xp.sqrt(damped), xp.zeros_like(values))
    return axes, inverse / xp.sqrt(scale)


def rank_of_products(products: Array, n: int) -> int:
    """How many directions `whitening` keeps."""
    _, inverse = whitening(products, n)
    return int(namespace(products).sum(namespace(products).astype(inverse > 0, products.dtype)))


def no_room(n: int, rank: int) -> str | None:
    """Why a representation of this rank has no canonical correlations on `n` samples, or None."""
    if rank == 0:
        return "every feature is constant"
    if rank < n - 1:
        return None
    return (
        f"the features span all {n - 1} directions in which {n} samples can vary, so that every canonical correlation "
        "is 1: use more samples or fewer directions (svcca), or a ridge (cca with reg)"
    )


def fixed_correlations(n: int, rank_x: int, rank_y: int) -> str | None:
    """Why canonical correlations between subspaces of these ranks are 1 whatever the data, or None."""
    shared = rank_x + rank_y - (n - 1)
    if shared <= 0:
        return None
    return (
        f"{n} samples vary in {n - 1} directions, of which the features span {rank_x} and {rank_y}: whatever the data, "
        f"{shared} of {min(rank_x, rank_y)} canonical correlations equal 1; use more samples"
    )


def warn_of_room(label: str, n: int, rank_x: int, rank_y: int) -> bool:
    """Warn, while streaming, of ranks too large for `n` samples; true if there is no score."""
    for name, rank in (("x", rank_x), ("y", rank_y)):
        reason = no_room(n, rank)
        if reason:
            warnings.warn(f"{label} is NaN: in {name}, {reason}", DegenerateWarning, stacklevel=4)
            return True
    caveat = fixed_correlations(n, rank_x, rank_y)
    if caveat:
        warnings.warn(f"{label}: {caveat}", DegenerateWarning, stacklevel=4)
    return False


def _basis_by_products(x: Array) -> Array | None:
    """Return an orthonormal basis from xᵀx, a third of the time of a QR decomposition; None unless well conditioned.

    The Cholesky factor gives columns that are orthonormal up to ε times the squared condition number; each step
    ``q − q (qᵀq − I) / 2`` (Newton-Schulz) squares what is missing.
    """
    try:
        inverse = np.linalg.inv(np.linalg.cholesky(x.T @ x))
    except np.linalg.LinAlgError:
        return None
    if not np.linalg.norm(inverse) * np.linalg.norm(x) < _WELL_CONDITIONED:
        return None
    q = x @ inverse.T
    for _ in range(3):
        excess = q.T @ q
        excess[np.diag_indices_from(excess)] -= 1
        missing = float(np.linalg.norm(excess))
        if not missing < 0.1:
            return None
        q = q - q @ (excess / 2)
        if missing * missing < epsilon(x):
            return q
    return None


def _identity_like(x: Array) -> Array:
    """Return the identity of as many rows as `x` has columns, beside it."""
    xp = namespace(x)
    return xp.eye(x.shape[1], dtype=x.dtype) + xp.zeros_like(x[:1, :])

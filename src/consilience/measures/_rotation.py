"""Representations up to rotation: what the Procrustes distance and its relatives share."""

from __future__ import annotations

from typing import NamedTuple

from consilience._array import Array, centred, epsilon, is_traced, matmul, namespace, stop_gradient, unit_scaled
from consilience.measures._nuclear import nuclear_norm
from consilience.registry import Moments

__all__ = [
    "ProcrustesState",
    "angle",
    "beyond_rotation",
    "cross_cosine",
    "fills_samples",
    "in_principal_axes",
    "of_unit_norm",
    "rotated",
    "squared_residual",
    "squared_residual_of_moments",
    "within_samples",
]

# Below this relative residual, 1 − ‖XᵀY‖_* has lost digits to cancellation and the rotation is carried out.
_CANCELLING = 1e-2
# Below this ratio of singular values of XᵀY, rounding of the largest shows in the directions of the smallest.
_GRADED = 1e-4


class ProcrustesState(NamedTuple):
    """A centred representation, rotated into at most n dimensions, and its squared Frobenius norm."""

    x: Array  # (n, min(n, d))
    energy: Array  # 0-d; one after normalisation, zero if no feature varies


def rotated(x: Array, *, unit: bool) -> ProcrustesState:
    """Centre `x` (n, d), scale it to unit norm if `unit`, rotate it into at most n dimensions."""
    x = centred(x)
    x = within_samples(of_unit_norm(x) if unit else x)
    return ProcrustesState(x, namespace(x).sum(x * x))


def of_unit_norm(x: Array) -> Array:
    """`x` divided by its Frobenius norm; zeros stay zero."""
    xp = namespace(x)
    x = unit_scaled(x)
    energy = xp.sum(x * x)
    return x / xp.sqrt(xp.where(energy > 0, energy, xp.ones_like(energy)))


def within_samples(x: Array) -> Array:
    """`x` (n, d) itself or, if d > n, rotated into n dimensions: (n, min(n, d))."""
    n, d = x.shape
    return namespace(x).linalg.qr(x.T).R.T if d > n else x


def in_principal_axes(x: Array) -> tuple[Array, Array]:
    """`x` (n, d) rotated onto its right singular vectors, (n, min(n, d)), and its singular values, largest first.

    Columns that are zero to rounding are set to zero. Where some rows are many times longer than the others, products
    of features hold the others only to rounding of the longest; those of columns that are graded like this hold every
    entry to rounding of that entry, and so the best rotation of all rows. The axes are constants to automatic
    differentiation.
    """
    xp = namespace(x)
    _, s, vh = xp.linalg.svd(stop_gradient(x), full_matrices=False)
    kept = xp.astype(s > max(x.shape) * epsilon(x) * s[0], x.dtype)
    return matmul(x, vh.T * kept[None, :]), s * kept


def squared_residual(a: ProcrustesState, b: ProcrustesState) -> Array:
    """min ‖aQ − b‖² over orthogonal Q, the narrower padded with zero columns."""
    xp = namespace(a.x)
    if a is b:
        return xp.zeros_like(a.energy)
    if a.x.shape[1] > b.x.shape[1]:
        a, b = b, a
    cross = matmul(a.x.T, b.x)  # (p, q), p ≤ q
    if is_traced(cross):  # the value decides nothing: take the route that is accurate everywhere
        return _residual_of_best_rotation(a.x, b.x, cross)
    size = a.energy + b.energy
    residual = size - 2 * nuclear_norm(cross)
    if bool(residual < _CANCELLING * size):
        return _residual_of_best_rotation(a.x, b.x, cross)
    return residual


def beyond_rotation(n: int, *full: bool) -> str | None:
    """Why the best rotation of two representations says little, if the features of both are `full`, or None."""
    if not all(full):
        return None
    return (
        f"both representations have at least as many independent features as samples less one ({n - 1}): a rotation "
        "brings even unrelated ones close; use more samples, or cka"
    )


def fills_samples(x: Array) -> bool:
    """Whether the features of centred `x` (n, d), d ≤ n, are independent in all n − 1 directions of n samples."""
    n, d = x.shape
    if d < n - 1:
        return False
    xp = namespace(x)
    lower = d == n and not bool(xp.any(xp.triu(x, k=1) != 0))  # as `within_samples` leaves it
    # how far each row but the last, which is less the sum of the others, is from the span of those before it
    apart = xp.abs(xp.linalg.diagonal(x if lower else xp.linalg.qr(x.T).R))[: n - 1]
    return bool(xp.all(apart > n * epsilon(x) * xp.max(apart)))


def angle(squared: Array) -> Array:
    """Angle between vectors of unit norm from their squared distance, keeping the digits of a small one."""
    xp = namespace(squared)
    return 2 * xp.asin(xp.sqrt(squared) / 2)


def cross_cosine(xy: Array, energy_x: Array, energy_y: Array) -> Array:
    """‖xᵀy‖_* over the norms of x and y, the cosine of the Procrustes angle, from the products `xy` (p, q)."""
    xp = namespace(xy)
    return nuclear_norm(xy / xp.sqrt(energy_x) / xp.sqrt(energy_y))


def squared_residual_of_moments(m: Moments, *, unit: bool) -> Array:
    """Squared residual of the best rotation, after scaling to unit norm if `unit`, from second moments.

    They do not hold the residual itself, so this is accurate to rounding of the squared norms, not of the residual.
    """
    xp = namespace(m.xy)
    energy_x, energy_y = (xp.sum(xp.linalg.diagonal(each)) for each in (m.xx, m.yy))
    lack = 1 - cross_cosine(m.xy, energy_x, energy_y)
    lack = xp.where(lack > 0, lack, xp.zeros_like(lack))  # rounding may leave it below zero, which no distance is
    if unit:
        return 2 * lack
    norm_x, norm_y = xp.sqrt(energy_x), xp.sqrt(energy_y)
    return (norm_x - norm_y) ** 2 + 2 * norm_x * norm_y * lack


def _residual_of_best_rotation(x: Array, y: Array, cross: Array) -> Array:
    """‖xQ − y‖² with Q = UVᵀ from the singular vectors of xᵀy = USVᵀ.

    Q is a constant to automatic differentiation: at the optimum the residual does not change with it to first order.
    """
    xp = namespace(x)
    u, s, vh = xp.linalg.svd(stop_gradient(cross), full_matrices=False)
    if not is_traced(s) and bool(s[-1] < _GRADED * s[0]):
        x, y = in_principal_axes(x)[0], in_principal_axes(y)[0]
        u, _, vh = xp.linalg.svd(stop_gradient(matmul(x.T, y)), full_matrices=False)
    difference = matmul(x, matmul(u, vh)) - y
    return xp.sum(difference * difference)

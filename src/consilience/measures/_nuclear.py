"""The nuclear norm, the sum of singular values: what most measures of rotations and subspaces come down to."""

from __future__ import annotations

import math

import numpy as np

from consilience._array import Array, epsilon, is_numpy, namespace

__all__ = ["nuclear_norm"]

_WORTHWHILE = 64  # below this width eigenvalues are not found faster than singular values
_ACCURATE = 5e-11  # largest relative error that is let pass


def nuclear_norm(matrix: Array) -> Array:
    """Sum of the singular values of `matrix` (p, q), 0-d.

    Large NumPy matrices: half the time of an SVD where the spectrum lets the error be bounded by 5e-11 of the sum,
    and is otherwise computed to rounding.
    """
    if is_numpy(matrix) and min(matrix.shape) >= _WORTHWHILE:
        found = _from_products(matrix)
        if found is not None:
            return np.asarray(found, dtype=matrix.dtype)
    xp = namespace(matrix)
    return xp.sum(xp.linalg.svdvals(matrix))


def _from_products(matrix: Array) -> float | None:
    """Sum of the roots of the eigenvalues of ``A Aᵀ``, or None if rounding in the products may show in it.

    Computed eigenvalues are off by no more than δ = u (√q Σλ + p λ_max), u being the unit roundoff: rounding of the
    products, whose inner length is q, and of the eigenvalues (Weyl). As |√a − √b| ≤ |a − b| / √a, the sum of roots
    is then off by no more than δ Σ 1/√λ, which is large only if some singular values are tiny.
    """
    narrow = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    p, q = narrow.shape
    values = np.linalg.eigvalsh(narrow @ narrow.T)
    if not values[0] > 0:
        return None
    roots = np.sqrt(values)
    total = float(roots.sum())
    rounding = epsilon(matrix) / 2 * (math.sqrt(q) * float(values.sum()) + p * float(values[-1]))
    return total if rounding * float((1 / roots).sum()) <= _ACCURATE * total else None

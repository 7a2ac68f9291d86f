"""Distance between what ridge regressions from two representations can predict."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from consilience._array import Array, centred, epsilon, matmul, namespace
from consilience.errors import ConsilienceError
from consilience.measures._kernels import squared_products
from consilience.measures._subspace import rank_of_products
from consilience.registry import DegenerateWarning, Family, Invariance, Kind, Measure, Moments, per_instance, register

__all__ = ["GULP", "GULPState"]

_STACKED_BYTES = 2**28  # largest matrix of all features against all features


class GULPState(NamedTuple):
    """A factor of the hat matrix of ridge regression: hat = factor · factorᵀ."""

    factor: Array  # (n, min(n, d))
    size: Array  # 0-d, ‖hat‖²
    rank: Array  # 0-d, number of directions that vary


@register
@dataclass(frozen=True)
class GULP(Measure):
    """Squared distance between ridge regression predictors.

    For x (n, p) and y (n, q), columns centred and each representation scaled to total variance one, with
    Σx = xᵀx/n, Σy = yᵀy/n and Σxy = xᵀy/n::

        gulp = tr((Σx+λ)⁻¹Σx(Σx+λ)⁻¹Σx) + tr((Σy+λ)⁻¹Σy(Σy+λ)⁻¹Σy) − 2 tr((Σx+λ)⁻¹Σxy(Σy+λ)⁻¹Σyx)

    It is the squared Frobenius distance ‖Hx − Hy‖² between the hat matrices Hx = x(xᵀx + nλ)⁻¹xᵀ: the mean squared
    difference of what ridge regressions from x and from y predict, summed over targets in all directions of sample
    space. A number of dimensions in [0, ∞), at most the sum of the degrees of freedom. Its square root is a metric.

    Parameters
    ----------
    penalty : float
        λ, relative to the total variance of each representation, as in the article, where it normalises that to one.
        0 compares the spanned subspaces: p + q − 2 Σ ρ² in the canonical correlations ρ, if both have full rank.

    Notes
    -----
    From singular values, with a relative tolerance for the rank, so that a small penalty costs no digits; streams
    take the eigenvalues of xᵀx, whose smaller half is lost to rounding. With ``penalty=0`` a representation of rank
    n − 1 predicts every target and is reported as having no score. O(n·p·min(n, p)) for each representation and
    O(n·p·q) for each pair.

    References
    ----------
    Boix-Adserà, Lawrence, Stepaniants, Rigollet, "GULP: a prediction-based metric between representations", NeurIPS
    2022.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(0).standard_normal((100, 4))
    >>> y = x + 0.3 * np.random.default_rng(1).standard_normal((100, 4))
    >>> print(f"{GULP()(x, 5 - 2 * x[:, ::-1]):.3f} {GULP()(x, y):.3f}")
    0.000 0.537
    """

    title = "GULP distance"
    reference = "boixadsera2022"
    family = Family.REGRESSION
    cost = "O(n p q + n p min(n, p) + n q min(n, q))"
    use = "When a representation is good for what can be regressed on it, and the strength of that regression is known."
    avoid = "When the sample is small against p and q and the penalty is small: then all predict everything."
    kind = Kind.DISTANCE
    bounds = (0.0, float("inf"))
    symmetric = True
    invariances = per_instance(
        lambda self: frozenset(
            {
                Invariance.TRANSLATION,
                Invariance.ISOTROPIC_SCALING,
                Invariance.ORTHOGONAL if self.penalty else Invariance.INVERTIBLE_LINEAR,
            }
        )
    )

    penalty: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.penalty < float("inf"):
            raise ConsilienceError(f"penalty of gulp is {self.penalty}; it must be zero or positive, and finite.")

    @property
    def min_samples(self) -> int:
        """Three: two samples vary in one direction, and the score is the same whatever the data."""
        return 3

    def prepare(self, x: Array, /) -> GULPState:
        """Left singular vectors, weighted."""
        xp = namespace(x)
        x = centred(x, unit=True)
        n, d = x.shape
        u, s, _ = xp.linalg.svd(x, full_matrices=False)
        share, varies = self._shares(s * s, (max(n, d) * epsilon(x)) ** 2)
        return GULPState(u * xp.sqrt(share)[None, :], xp.sum(share * share), xp.sum(xp.astype(varies, x.dtype)))

    def compare(self, a: GULPState, b: GULPState, /) -> Array:
        """‖Hx‖² + ‖Hy‖² − 2⟨Hx, Hy⟩."""
        if a is b:
            return namespace(a.size).zeros_like(a.size)
        product = matmul(a.factor.T, b.factor)  # (p, q)
        return _distance(a.size, b.size, namespace(product).sum(product * product))

    def compare_all(self, states: Sequence[GULPState], /) -> Array:
        """One product of all factors with all factors, if it is not too large."""
        width = sum(state.factor.shape[1] for state in states)
        if 8 * width * width > _STACKED_BYTES:
            return super().compare_all(states)
        xp = namespace(states[0].factor)
        sizes = xp.stack([state.size for state in states])
        found = _distance(sizes[:, None], sizes[None, :], squared_products([state.factor for state in states]))
        same = xp.eye(len(states), dtype=found.dtype) > 0
        return xp.where(same, xp.zeros_like(found), found)

    def from_moments(self, *folds: Moments) -> Array:
        """The same in the eigenvectors of xᵀx."""
        (m,) = folds
        xp = namespace(m.xx)
        if self.penalty == 0 and max(rank_of_products(m.xx, m.n), rank_of_products(m.yy, m.n)) >= m.n - 1:
            warnings.warn(f"{self.label} is NaN: {_FULL_RANK}", DegenerateWarning, stacklevel=3)
            return xp.zeros_like(m.xx[0, 0]) + float("nan")
        factors, sizes = [], []
        for products in (m.xx, m.yy):
            values, vectors = xp.linalg.eigh(products)
            share, varies = self._shares(values, products.shape[0] * epsilon(products))
            root = xp.sqrt(share / xp.where(varies, values, xp.ones_like(values)))
            factors.append(vectors * root[None, :])  # (p, p)
            sizes.append(xp.sum(share * share))
        product = matmul(factors[0].T, matmul(m.xy, factors[1]))
        return _distance(sizes[0], sizes[1], xp.sum(product * product))

    def degenerate(self, state: GULPState, /) -> str | None:
        """No feature varies, or without penalty every target can be predicted."""
        if not bool(state.rank > 0):
            return "every feature is constant"
        if self.penalty == 0 and int(state.rank) >= state.factor.shape[0] - 1:
            return _FULL_RANK
        return None

    def _shares(self, values: Array, tolerance: float) -> tuple[Array, Array]:
        """Eigenvalues of the hat matrix, λᵢ/(λᵢ + λ), and which λᵢ are not zero relative to the largest."""
        xp = namespace(values)
        varies = values > tolerance * xp.max(values)
        kept = xp.where(varies, values, xp.zeros_like(values))
        total = kept + self.penalty * xp.sum(kept)
        return kept / xp.where(varies, total, xp.ones_like(total)), varies


_FULL_RANK = "there are as many independent features as samples less one, which predict any target exactly"


def _distance(size_a: Array, size_b: Array, inner: Array) -> Array:
    """Squared distance; where rounding leaves it below zero, zero."""
    xp = namespace(inner)
    squared = size_a + size_b - 2 * inner
    return xp.where(squared > 0, squared, xp.zeros_like(squared))

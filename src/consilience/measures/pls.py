"""Correlations of the latent variables of partial least squares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from consilience._array import Array, epsilon, matmul, namespace, within_one
from consilience.measures._rotation import ProcrustesState, beyond_rotation, fills_samples, rotated
from consilience.registry import Family, Invariance, Kind, Measure, Moments, register

__all__ = ["PLS", "Weighting"]

Weighting: TypeAlias = Literal["covariance", "equal"]


@register
@dataclass(frozen=True)
class PLS(Measure):
    """Partial least squares correlation (PLS-SVD).

    For x (n, p) and y (n, q), columns centred, with the singular value decomposition xᵀy = Σ σᵢ uᵢ vᵢᵀ, the pairs of
    latent variables x uᵢ and y vᵢ have covariance σᵢ and correlation::

        ρᵢ = σᵢ / (‖x uᵢ‖ ‖y vᵢ‖),   pls = Σ wᵢ ρᵢ / Σ wᵢ

    A number without unit in [0, 1]; 1 for representations that agree up to the invariances.

    Parameters
    ----------
    weighting : {"covariance", "equal"}
        wᵢ = σᵢ, so that each pair counts by how much covariance it holds; or 1 for every pair with σᵢ > 0, the
        plain mean.

    Notes
    -----
    Partial least squares gives singular values and directions but names no single score. Those in use either divide
    singular values by the sizes of the representations, which is `nbs` (their sum) or `cka` (their squares), or
    correlate the latent variables, which is this one: each singular value over the largest that the deviations of
    its two latent variables allow. Weights by covariance keep pairs that hold next to nothing from counting like the
    first. Pairs with σᵢ below max(n, p, q)·ε times σ₁ are rounding and left out. If p > n, features are first rotated
    into n dimensions. O(n·p·q + n·min(p, q)·(p + q)).

    References
    ----------
    Krishnan, Williams, McIntosh, Abdi, "Partial least squares (PLS) methods for neuroimaging: A tutorial and review",
    NeuroImage 56, 2011.

    Examples
    --------
    >>> import numpy as np
    >>> x, noise = np.random.default_rng(0).standard_normal((2, 300, 4))
    >>> x = x * np.asarray([5.0, 1.0, 1.0, 1.0])
    >>> y = x + noise * np.asarray([1.0, 3.0, 3.0, 3.0])
    >>> print(f"{PLS()(x, y):.2f} {PLS(weighting='equal')(x, y):.2f}")
    0.91 0.46
    """

    title = "Partial least squares"
    reference = "krishnan2011"
    family = Family.CCA
    cost = "O(n p q + n min(p, q) (p + q))"
    use = "As CCA, when shared directions should be found by covariance, which noise of small variance cannot move."
    avoid = "When p and q exceed n: latent variables of unrelated representations then correlate almost perfectly."
    aliases = {"pls_svd": {}}
    kind = Kind.SIMILARITY
    bounds = (0.0, 1.0)
    symmetric = True
    differentiable = True
    invariances = frozenset({Invariance.TRANSLATION, Invariance.ORTHOGONAL, Invariance.ISOTROPIC_SCALING})

    weighting: Weighting = "covariance"

    @property
    def min_samples(self) -> int:
        """Three: two samples vary in one direction, and the score is the same whatever the data."""
        return 3

    def prepare(self, x: Array, /) -> ProcrustesState:
        """Centre, scale, rotate into at most n dimensions."""
        return rotated(x, unit=True)

    def compare(self, a: ProcrustesState, b: ProcrustesState, /) -> Array:
        """Correlate latent variables."""
        xp = namespace(a.x)
        u, s, vh = xp.linalg.svd(matmul(a.x.T, b.x), full_matrices=False)
        left, right = matmul(a.x, u), matmul(b.x, vh.T)  # (n, min(p, q))
        variances = xp.sum(left * left, axis=0) * xp.sum(right * right, axis=0)
        size = max(*a.x.shape, b.x.shape[1])
        return self._average(s, xp.sum(left * right, axis=0), variances, size)

    def from_moments(self, *folds: Moments) -> Array:
        """The same from products of features."""
        (m,) = folds
        xp = namespace(m.xy)
        root_x, root_y = (xp.sqrt(xp.sum(xp.linalg.diagonal(each))) for each in (m.xx, m.yy))
        u, s, vh = xp.linalg.svd(m.xy / root_x / root_y, full_matrices=False)
        variances_x = xp.sum(u * matmul(m.xx / root_x / root_x, u), axis=0)
        variances_y = xp.sum(vh.T * matmul(m.yy / root_y / root_y, vh.T), axis=0)
        return self._average(s, s, variances_x * variances_y, max(m.n, *m.xy.shape))

    def degenerate(self, state: ProcrustesState, /) -> str | None:
        """No feature varies."""
        return None if bool(state.energy > 0) else "every feature is constant"

    def caveat(self, a: ProcrustesState, b: ProcrustesState, /) -> str | None:
        """With as many features as samples, rotations fit anything."""
        return beyond_rotation(a.x.shape[0], fills_samples(a.x), fills_samples(b.x))

    def _average(self, s: Array, covariances: Array, variances: Array, size: int) -> Array:
        xp = namespace(s)
        used = (s > size * epsilon(s) * s[0]) & (variances > 0)
        safe = xp.where(used, variances, xp.ones_like(s))
        correlations = xp.where(used, covariances / xp.sqrt(safe), xp.zeros_like(s))
        weights = xp.where(used, s if self.weighting == "covariance" else xp.ones_like(s), xp.zeros_like(s))
        total = xp.sum(weights)
        return within_one(xp.sum(weights * correlations) / xp.where(total > 0, total, xp.ones_like(total)))

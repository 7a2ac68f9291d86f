"""Canonical correlations between the leading principal components."""

from __future__ import annotations

from dataclasses import dataclass

from consilience._array import Array, arange, centred, is_traced, matmul, namespace
from consilience._resampling import Orders
from consilience.errors import ConsilienceError
from consilience.measures._subspace import (
    Subspace,
    fixed_correlations,
    no_room,
    principal_axes,
    warn_of_room,
    whitening,
)
from consilience.measures.cca import Summary, mean_correlation
from consilience.registry import Family, Invariance, Kind, Measure, Moments, register

__all__ = ["SVCCA"]


@register
@dataclass(frozen=True)
class SVCCA(Measure):
    """Singular vector canonical correlation.

    For x (n, p) and y (n, q), columns centred, x = U S Vᵀ, keep of U the fewest columns that hold the share
    `variance` of it, and the same for y::

        k_x = min { k : Σ_{i≤k} sᵢ² ≥ variance · Σᵢ sᵢ² }
        svcca = 1/min(k_x, k_y) Σ ρᵢ,   ρᵢ = singular values of U[:, :k_x]ᵀ W[:, :k_y]

    with W the left singular vectors of y. A number without unit in [0, 1].

    Parameters
    ----------
    variance : float
        Share of the variance to keep, in (0, 1]; the component that crosses it is kept.
    k : int, optional
        Keep this many components instead (all of them if the rank is lower).
    summary : {"mean", "mean_squared"}
        Average of the correlations, or of their squares.

    Notes
    -----
    Shares are of variance, Σ s²: software that adds up singular values s, or compares a share with an absolute
    amount, keeps other components and gets other scores. A cut between components of equal variance is arbitrary.
    O(n·(p² + q²) + n·k_x·k_y).

    References
    ----------
    Raghu, Gilmer, Yosinski, Sohl-Dickstein, "SVCCA: Singular vector canonical correlation analysis for deep learning
    dynamics and interpretability", NeurIPS 2017.

    Examples
    --------
    >>> import numpy as np
    >>> signal = np.random.default_rng(0).standard_normal((200, 3))
    >>> x, y = (
    ...     signal @ np.random.default_rng(s).standard_normal((3, 30))
    ...     + 0.05 * np.random.default_rng(s).standard_normal((200, 30))
    ...     for s in (1, 2)
    ... )
    >>> print(f"{SVCCA()(x, y):.2f} {SVCCA(k=3)(x, y):.2f} {SVCCA(variance=1.0)(x, y):.2f}")
    1.00 1.00 0.39
    """

    title = "SVCCA"
    reference = "raghu2017"
    family = Family.CCA
    cost = "O(n (p² + q²))"
    use = "As CCA, when directions of little variance are noise that should not count."
    avoid = "When the cut decides: components just below it count for nothing, those just above it in full."
    kind = Kind.SIMILARITY
    bounds = (0.0, 1.0)
    symmetric = True
    differentiable = True
    invariances = frozenset({Invariance.TRANSLATION, Invariance.ORTHOGONAL, Invariance.ISOTROPIC_SCALING})

    variance: float = 0.99
    k: int | None = None
    summary: Summary = "mean"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.variance <= 1:
            raise ConsilienceError(f"variance of svcca is {self.variance}; it is a share, above 0 and at most 1.")
        if self.k is not None and (type(self.k) is not int or self.k < 1):  # True is an int too
            raise ConsilienceError(f"k of svcca is {self.k!r}; it must be a whole number, 1 or more, or None.")

    def prepare(self, x: Array, /) -> Subspace:
        """Find the leading principal components, of unit norm."""
        axes, deviations = principal_axes(centred(x, unit=True))
        xp = namespace(x)
        kept = self._kept(deviations * deviations)
        count = xp.sum(kept)
        if is_traced(x):
            return Subspace(axes * kept[None, :], count)
        return Subspace(axes[:, : int(count)], count)

    def compare(self, a: Subspace, b: Subspace, /) -> Array:
        """Average over the canonical correlations."""
        return mean_correlation(matmul(a.basis.T, b.basis), a.rank, b.rank, self.summary)

    def from_moments(self, *folds: Moments) -> Array:
        """The same with principal components from products."""
        (m,) = folds
        xp = namespace(m.xy)
        (white_x, count_x), (white_y, count_y) = (self._leading(each, m.n) for each in (m.xx, m.yy))
        if warn_of_room(self.label, m.n, int(count_x), int(count_y)):
            return xp.zeros_like(m.xy[0, 0]) + float("nan")
        return mean_correlation(matmul(white_x.T, matmul(m.xy, white_y)), count_x, count_y, self.summary)

    def reordered(self, state: Subspace, order: Orders, /) -> Subspace:
        """Reorder the rows of the basis."""
        return state._replace(basis=state.basis[order])

    def degenerate(self, state: Subspace, /) -> str | None:
        """No feature varies, or the components kept span everything."""
        return no_room(state.basis.shape[0], int(state.rank))

    def caveat(self, a: Subspace, b: Subspace, /) -> str | None:
        """Too many components for the number of samples."""
        return fixed_correlations(a.basis.shape[0], int(a.rank), int(b.rank))

    def _kept(self, variances: Array) -> Array:
        """One for the components to keep, of `variances` (r,) in decreasing order, and zero for the others."""
        xp = namespace(variances)
        if self.k is not None:
            kept = arange(variances.shape[0], like=variances) < self.k
        elif self.variance == 1:
            kept = variances >= 0
        else:
            before = xp.cumulative_sum(variances) - variances
            kept = before < self.variance * xp.sum(variances)
        return xp.astype(kept & (variances > 0), variances.dtype)

    def _leading(self, products: Array, n: int) -> tuple[Array, Array]:
        """What the features are multiplied by to give the components, (p, p), and how many of these there are."""
        xp = namespace(products)
        axes, inverse = (xp.flip(each, axis=-1) for each in whitening(products, n))  # largest first
        positive = inverse > 0
        variances = xp.where(positive, 1 / xp.where(positive, inverse, xp.ones_like(inverse)) ** 2, inverse)
        kept = self._kept(variances)
        return axes * (kept * inverse)[None, :], xp.sum(kept)

"""Canonical correlations weighted by how much of a representation they account for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from consilience._array import Array, arange, centred, matmul, namespace
from consilience._resampling import Orders
from consilience.measures._subspace import (
    column_space,
    fixed_correlations,
    no_room,
    rank_of_products,
    warn_of_room,
    whitening,
)
from consilience.registry import Family, Invariance, Kind, Measure, Moments, per_instance, register

__all__ = ["PWCCA", "ProjectionState", "Side"]

Side: TypeAlias = Literal["mean", "x", "y"]


class ProjectionState(NamedTuple):
    """A basis of the columns of a representation, and the representation in it."""

    basis: Array  # (n, r), orthonormal
    rank: Array  # 0-d
    loadings: Array  # (r, d), basisᵀ x


@register
@dataclass(frozen=True)
class PWCCA(Measure):
    """Projection-weighted canonical correlation.

    For x (n, p) and y (n, q), columns centred, with canonical correlations ρᵢ and the canonical variates hᵢ = Q_x uᵢ
    (n,) of x, of unit norm, where Q_xᵀ Q_y = Σ ρᵢ uᵢ vᵢᵀ for orthonormal bases Q of the columns::

        pwcca = Σ αᵢ ρᵢ / Σ αᵢ,   αᵢ = Σ_j |⟨hᵢ, x_j⟩|,   i ≤ min(rank x, rank y)

    A number without unit in [0, 1].

    Parameters
    ----------
    side : {"mean", "x", "y"}
        Whose variates and features make the weights: x is the original, which is not symmetric; y swaps the roles;
        mean is the average of both.

    Notes
    -----
    Weights are sums of magnitudes over features and so depend on the axes: rotating the features changes the score
    slightly. Variates of equal canonical correlations are not unique, nor are their weights: where only some
    correlations are equal, as for want of samples, the score is arbitrary to that extent, which is flagged. Widths
    need not agree, on either side. Streamed, directions below about √(nε) of the largest deviation are left out.
    O(n·(p² + q² + p·q) + max(p, q)³).

    References
    ----------
    Morcos, Raghu, Bengio, "Insights on representational similarity in neural networks with canonical correlation",
    NeurIPS 2018.

    Examples
    --------
    >>> import numpy as np
    >>> x, noise = np.random.default_rng(0).standard_normal((2, 500, 4))
    >>> y = x + noise * np.asarray([0.1, 0.1, 10.0, 10.0])
    >>> print(f"{PWCCA()(x, y):.2f} {PWCCA(side='x')(x, y):.2f} {PWCCA(side='y')(x, y):.2f}")
    0.39 0.56 0.22
    """

    title = "PWCCA"
    reference = "morcos2018"
    family = Family.CCA
    cost = "O(n (p² + q² + p q) + max(p, q)³)"
    use = "As CCA, when directions that matter more to the features should count more, without a cut."
    avoid = "When n is not many times p + q, or where a rotation of the features must not matter."
    kind = Kind.SIMILARITY
    bounds = (0.0, 1.0)
    symmetric = per_instance(lambda self: self.side == "mean")
    invariances = frozenset({Invariance.TRANSLATION, Invariance.PERMUTATION, Invariance.ISOTROPIC_SCALING})

    side: Side = "mean"

    def prepare(self, x: Array, /) -> ProjectionState:
        """Find a basis and the coordinates in it."""
        x = centred(x, unit=True)
        basis, rank = column_space(x)
        return ProjectionState(basis, rank, matmul(basis.T, x))

    def compare(self, a: ProjectionState, b: ProjectionState, /) -> Array:
        """Decompose the products of the bases and weigh."""
        return self._weighed(matmul(a.basis.T, b.basis), a.rank, b.rank, a.loadings, b.loadings)

    def from_moments(self, *folds: Moments) -> Array:
        """The same with whitening by eigenvectors of products."""
        (m,) = folds
        xp = namespace(m.xy)
        ranks = rank_of_products(m.xx, m.n), rank_of_products(m.yy, m.n)
        if warn_of_room(self.label, m.n, *ranks):
            return xp.zeros_like(m.xy[0, 0]) + float("nan")
        white_x, white_y = (
            axes * inverse[None, :] for axes, inverse in (whitening(each, m.n) for each in (m.xx, m.yy))
        )
        rank_x, rank_y = (xp.zeros_like(m.xy[0, 0]) + rank for rank in ranks)
        cross = matmul(white_x.T, matmul(m.xy, white_y))
        return self._weighed(cross, rank_x, rank_y, matmul(white_x.T, m.xx), matmul(white_y.T, m.yy))

    def reordered(self, state: ProjectionState, order: Orders, /) -> ProjectionState:
        """Reorder the rows of the basis: loadings stay."""
        return state._replace(basis=state.basis[order])

    def degenerate(self, state: ProjectionState, /) -> str | None:
        """No feature varies, or features span everything."""
        return no_room(state.basis.shape[0], int(state.rank))

    def caveat(self, a: ProjectionState, b: ProjectionState, /) -> str | None:
        """Two wide representations share directions whatever the data."""
        reason = fixed_correlations(a.basis.shape[0], int(a.rank), int(b.rank))
        return reason and f"{reason}; the weights of equal correlations are not unique"

    def _weighed(self, cross: Array, rank_x: Array, rank_y: Array, loadings_x: Array, loadings_y: Array) -> Array:
        xp = namespace(cross)
        u, s, vh = xp.linalg.svd(cross, full_matrices=False)
        # singular values beyond the smaller rank are zero and their vectors arbitrary
        used = xp.astype(xp.astype(arange(s.shape[0], like=s), s.dtype) < xp.minimum(rank_x, rank_y), s.dtype)
        sides: list[Array] = []
        for side, axes, loadings in (("x", u.T, loadings_x), ("y", vh, loadings_y)):
            if self.side in (side, "mean"):
                weights = used * xp.sum(xp.abs(matmul(axes, loadings)), axis=1)
                sides.append(xp.sum(weights * s) / xp.sum(weights))
        return sum(sides) / len(sides)

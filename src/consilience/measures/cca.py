"""Canonical correlations of two representations, averaged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from consilience._array import Array, centred, is_traced, matmul, namespace, within_one
from consilience._resampling import Floats, Orders
from consilience.errors import ConsilienceError
from consilience.measures._nuclear import nuclear_norm
from consilience.measures._subspace import (
    Subspace,
    column_space,
    damped_space,
    fixed_correlations,
    no_room,
    rank_of_products,
    warn_of_room,
    whitening,
)
from consilience.registry import Family, Invariance, Kind, Measure, Moments, per_instance, register

__all__ = ["CCA", "Summary", "mean_correlation"]

Summary: TypeAlias = Literal["mean", "mean_squared"]


@register
@dataclass(frozen=True)
class CCA(Measure):
    """Mean canonical correlation.

    For x (n, p) and y (n, q), columns centred, with orthonormal bases Q_x and Q_y of their columns::

        ρ₁ ≥ ρ₂ ≥ … = singular values of Q_xᵀ Q_y,   r = min(rank x, rank y)
        mean = 1/r Σ ρᵢ,   mean_squared = 1/r Σ ρᵢ²

    A number without unit in [0, 1]; 1 if one representation is a linear function of the other. Unrelated ones do not
    score 0: with n samples the mean of squares is then max(rank x, rank y) / (n − 1).

    Parameters
    ----------
    summary : {"mean", "mean_squared"}
        What is averaged. The mean of squares is also called Yanai's coefficient; it takes one product.
    reg : float
        Canonical ridge, relative: reg times the largest eigenvalue of xᵀx (and of yᵀy) is added to all. Directions
        of small variance then count less, and a representation with itself scores below 1.

    Notes
    -----
    Bases come from products of features where these are well conditioned, else from QR and SVD; directions below
    max(n, p)·ε times the largest deviation are left out. The average is over min(rank x, rank y): other software
    divides by p, which differs if p > q. Features that span all directions in which n samples vary (rank ≥ n − 1)
    have no score, as every correlation is 1; two that share directions for want of samples are flagged. Streamed,
    directions below about √(nε) of the largest deviation are left out. O(n·(p² + q² + p·q) + min(p, q)²·max(p, q)).

    References
    ----------
    Hotelling, "Relations between two sets of variates", Biometrika 28, 1936; Ramsay, ten Berge, Styan, "Matrix
    correlation", Psychometrika 49, 1984 (mean of squares); Vinod, "Canonical ridge and econometrics of joint
    production", Journal of Econometrics 4, 1976 (reg).

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(0).standard_normal((1000, 4))
    >>> y = x @ np.random.default_rng(1).standard_normal((4, 4)) + np.random.default_rng(2).standard_normal((1000, 4))
    >>> print(f"{CCA()(x, y):.2f} {CCA(summary='mean_squared')(x, y):.2f} {CCA()(x, y[::-1]):.2f}")
    0.64 0.45 0.06
    """

    title = "Mean canonical correlation"
    reference = "hotelling1936"
    family = Family.CCA
    cost = "O(n (p² + q² + p q) + min(p, q)² max(p, q))"
    use = "When what is linearly decodable counts and the variance that a network gives to it does not."
    avoid = "When n is not many times p + q: noise directions count as much as signal, and scores approach one."
    aliases = {
        "cca_mean": {},
        "cca_r2": {"summary": "mean_squared"},
        "yanai": {"summary": "mean_squared"},
    }
    kind = Kind.SIMILARITY
    bounds = (0.0, 1.0)
    symmetric = True
    differentiable = True
    invariances = per_instance(lambda self: _DAMPED if self.reg > 0 else _EXACT)

    summary: Summary = "mean"
    reg: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.reg < float("inf"):
            raise ConsilienceError(f"reg of cca is {self.reg}; it must be zero or positive, and finite.")

    def self_score(self, n: int) -> float | None:
        """One; with a ridge it depends on the spectrum."""
        del n
        return None if self.reg > 0 else 1.0

    def prepare(self, x: Array, /) -> Subspace:
        """Find the basis, damped with a ridge."""
        x = centred(x, unit=True)
        return damped_space(x, self.reg) if self.reg > 0 else column_space(x)

    def compare(self, a: Subspace, b: Subspace, /) -> Array:
        """Average over singular values of the products of the bases."""
        return mean_correlation(matmul(a.basis.T, b.basis), a.rank, b.rank, self.summary)

    def from_moments(self, *folds: Moments) -> Array:
        """The same with whitening by eigenvectors of products."""
        (m,) = folds
        xp = namespace(m.xy)
        ranks = rank_of_products(m.xx, m.n), rank_of_products(m.yy, m.n)
        if self.reg == 0 and warn_of_room(self.label, m.n, *ranks):
            return xp.zeros_like(m.xy[0, 0]) + float("nan")
        white_x, white_y = (
            axes * inverse[None, :] for axes, inverse in (whitening(each, m.n, self.reg) for each in (m.xx, m.yy))
        )
        rank_x, rank_y = (xp.zeros_like(m.xy[0, 0]) + rank for rank in ranks)
        return mean_correlation(matmul(white_x.T, matmul(m.xy, white_y)), rank_x, rank_y, self.summary)

    def reordered(self, state: Subspace, order: Orders, /) -> Subspace:
        """Reorder the rows of the basis."""
        return state._replace(basis=state.basis[order])

    def chance(self, a: Subspace, b: Subspace, /) -> float | None:
        """max(rank x, rank y) / (n − 1) for the mean of squares; not known for the mean."""
        if self.summary == "mean":
            return None
        energies = float(np.sum(a.basis * a.basis)) * float(np.sum(b.basis * b.basis))  # ranks, but for a ridge
        return energies / (a.basis.shape[0] - 1) / min(float(a.rank), float(b.rank))

    def held_out(self, x: Floats, y: Floats, x_test: Floats, y_test: Floats, /) -> float:
        """Mean correlation of the test samples along canonical directions of the others; squares keep their sign."""
        maps: list[Floats] = []
        bases: list[Floats] = []
        for each in (x, y):
            moved = centred(each)
            u, s, vh = np.linalg.svd(moved, full_matrices=False)
            kept = s > max(moved.shape) * np.finfo(s.dtype).eps * s[0]
            root = np.sqrt(s[kept] ** 2 + self.reg * s[0] ** 2)
            maps.append(vh[kept].T / root)
            bases.append(u[:, kept] * (s[kept] / root))
        left, _, right = np.linalg.svd(bases[0].T @ bases[1], full_matrices=False)
        a, b = (
            centred(test) @ one @ turn for test, one, turn in zip((x_test, y_test), maps, (left, right.T), strict=True)
        )
        norms = np.sqrt((a * a).sum(axis=0) * (b * b).sum(axis=0))
        found = (a * b).sum(axis=0) / np.where(norms > 0, norms, 1.0)
        return float(np.mean(found if self.summary == "mean" else found * np.abs(found)))

    def degenerate(self, state: Subspace, /) -> str | None:
        """No feature varies, or features span everything."""
        rank, n = int(state.rank), state.basis.shape[0]
        return no_room(n, rank) if self.reg == 0 or rank == 0 else None

    def caveat(self, a: Subspace, b: Subspace, /) -> str | None:
        """Two wide representations share directions whatever the data."""
        return fixed_correlations(a.basis.shape[0], int(a.rank), int(b.rank)) if self.reg == 0 else None


def mean_correlation(cross: Array, rank_x: Array, rank_y: Array, summary: Summary) -> Array:
    """Mean of the singular values of `cross` or of their squares, over the smaller rank."""
    xp = namespace(cross)
    if summary == "mean":
        total = nuclear_norm(cross)
    elif is_traced(cross):
        # XLA for CPUs (JAX 0.10) fuses a product of products with the sum of its squares, and at some shapes wrongly
        roots = xp.linalg.svdvals(cross)
        total = xp.sum(roots * roots)
    else:
        total = xp.sum(cross * cross)
    return within_one(total / xp.minimum(rank_x, rank_y))


_DAMPED = frozenset({Invariance.TRANSLATION, Invariance.ORTHOGONAL, Invariance.ISOTROPIC_SCALING})
_EXACT = frozenset({Invariance.TRANSLATION, Invariance.INVERTIBLE_LINEAR})

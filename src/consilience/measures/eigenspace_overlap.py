"""Overlap of the spaces that representations span."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from consilience._array import Array, centred, epsilon, matmul, namespace, unit_scaled, within_one
from consilience.registry import Family, Invariance, Kind, Measure, per_instance, register

__all__ = ["EigenspaceOverlap", "SpanState"]


class SpanState(NamedTuple):
    """An orthonormal basis of the columns, zeros beyond the rank, and the rank."""

    basis: Array  # (n, min(n, d))
    rank: Array  # 0-d


@register
@dataclass(frozen=True)
class EigenspaceOverlap(Measure):
    """Eigenspace overlap score.

    With U (n, r) an orthonormal basis of the columns of x (n, p), r its rank, and V (n, s) of those of y (n, q)::

        overlap = ‖UᵀV‖² / max(r, s)

    In [0, 1], without unit: the mean squared cosine of the principal angles between the spaces, those that the wider
    space has in excess counting as right angles. min(r, s)/n on average for unrelated spaces.

    Parameters
    ----------
    center : bool
        Whether columns are centred first. By default they are used as given, as where the score was proposed.

    Notes
    -----
    The rank counts singular values above max(n, p)·ε·σ_max, so that copied or constant columns add nothing.
    O(n(p² + q²)). Centred, the score is max(r, s) times less than the sum of squared canonical correlations.

    References
    ----------
    May, Zhang, Dao, Ré, "On the downstream performance of compressed word embeddings", NeurIPS 2019.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(0).standard_normal((50, 4))
    >>> print(f"{EigenspaceOverlap()(x, x[:, :2]):.3f}")
    0.500
    """

    title = "Eigenspace overlap"
    reference = "may2019"
    family = Family.CCA
    cost = "O(n (p² + q²))"
    use = "When a linear predictor on top is what matters: whatever can be read out linearly counts equally."
    avoid = "When n is not well above p and q: spaces that fill the sample space overlap whatever the data."
    aliases = {"eigenspace_overlap_score": {}}
    kind = Kind.SIMILARITY
    bounds = (0.0, 1.0)
    symmetric = True
    defined_for_constants = per_instance(lambda self: not self.center)
    invariances = per_instance(
        lambda self: frozenset(
            {Invariance.INVERTIBLE_LINEAR} | ({Invariance.TRANSLATION} if self.center else set[Invariance]())
        )
    )

    center: bool = False

    def prepare(self, x: Array, /) -> SpanState:
        """Left singular vectors, up to the rank."""
        xp = namespace(x)
        x = unit_scaled(centred(x) if self.center else x)
        u, s, _ = xp.linalg.svd(x, full_matrices=False)
        kept = xp.astype(s > max(x.shape) * epsilon(x) * s[0], x.dtype)
        return SpanState(u * kept[None, :], xp.sum(kept))

    def compare(self, a: SpanState, b: SpanState, /) -> Array:
        """Squared cosines, summed, over the larger rank."""
        xp = namespace(a.basis)
        cosines = matmul(a.basis.T, b.basis)
        return within_one(xp.sum(cosines * cosines) / xp.maximum(a.rank, b.rank))

    def degenerate(self, state: SpanState, /) -> str | None:
        """Nothing spans a space."""
        if bool(state.rank > 0):
            return None
        return "every feature is constant" if self.center else "every feature is zero"

    def caveat(self, a: SpanState, b: SpanState, /) -> str | None:
        """Both span everything that n samples can."""
        whole = a.basis.shape[0] - int(self.center)
        if float(a.rank) < whole or float(b.rank) < whole:
            return None
        return "both have as many independent features as there are samples, and so overlap whatever they are"

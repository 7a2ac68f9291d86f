"""Cosines between samples after the best rotation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from consilience._array import Array, centred, epsilon, matmul, namespace, stop_gradient, unit_scaled
from consilience.measures._rotation import beyond_rotation, in_principal_axes
from consilience.registry import Family, Invariance, Kind, Measure, per_instance, register

__all__ = ["AlignedCosine", "AlignedState"]


class AlignedState(NamedTuple):
    """Rows of a representation in its principal axes, at most n, and how long they are."""

    x: Array  # (n, min(n, d))
    deviations: Array  # (min(n, d),), its singular values
    lengths: Array  # (n,)
    varies: Array  # 0-d, zero if all rows are the same


@register
@dataclass(frozen=True)
class AlignedCosine(Measure):
    """Mean cosine after rotation.

    For x (n, p) and y (n, q), the narrower padded with zero columns, with rows xᵢ and yᵢ::

        aligned_cosine = 1/n Σᵢ cos(xᵢ Q, yᵢ),   Q = UVᵀ from xᵀy = USVᵀ, which minimizes ‖xQ − y‖

    over orthogonal Q. In [−1, 1]; 1 for representations that agree up to the invariances.

    Parameters
    ----------
    center : bool
        Subtract column means first. By default rows are used as given, as published.

    Notes
    -----
    Rows that are zero in one representation count as cosine 0; those that are zero in both are left out of the mean.
    Directions in which xᵀy vanishes to rounding are not rotated onto anything: which rotation is best there is not
    determined. Features are first rotated onto principal axes, at most n, so that one row many times longer than the
    others does not decide how these are rotated. O(n·p·q + min(p, q)²·max(p, q)), and O(n·p·min(n, p)) for each
    representation.

    References
    ----------
    Hamilton, Leskovec, Jurafsky, "Diachronic word embeddings reveal statistical laws of semantic change", ACL 2016.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(0).standard_normal((100, 3))
    >>> rotation = np.linalg.qr(np.random.default_rng(1).standard_normal((3, 3)))[0]
    >>> y = x + np.random.default_rng(2).standard_normal((100, 3))
    >>> print(f"{AlignedCosine()(x, 2 * x @ rotation):.6f} {AlignedCosine()(x, y):.2f}")
    1.000000 0.64
    """

    title = "Aligned cosine similarity"
    reference = "hamilton2016"
    family = Family.SHAPE
    cost = "O(n p q + min(p, q)² max(p, q) + n p min(n, p) + n q min(n, q))"
    use = "When every sample should count the same, whatever its length, as for embeddings compared by cosine."
    avoid = "For features with a large common offset, which alone gives high cosines: use center=True or procrustes."
    kind = Kind.SIMILARITY
    bounds = (-1.0, 1.0)
    symmetric = True
    differentiable = True
    invariances = per_instance(
        lambda self: frozenset(
            {Invariance.ORTHOGONAL, Invariance.ISOTROPIC_SCALING} | ({Invariance.TRANSLATION} if self.center else set())
        )
    )

    center: bool = False

    @property
    def min_samples(self) -> int:
        """Three if centred: two samples then vary in one direction, and the score is 1 whatever the data; else two."""
        return 3 if self.center else 2

    def prepare(self, x: Array, /) -> AlignedState:
        """Scale, rotate onto principal axes, measure the rows."""
        xp = namespace(x)
        deviations = centred(x)
        varies = xp.max(xp.abs(deviations))
        x, spread = in_principal_axes(unit_scaled(deviations if self.center else x))
        squares = xp.sum(x * x, axis=1)
        positive = squares > 0
        lengths = xp.where(positive, xp.sqrt(xp.where(positive, squares, xp.ones_like(squares))), squares)
        return AlignedState(x, spread, lengths, varies)

    def compare(self, a: AlignedState, b: AlignedState, /) -> Array:
        """Rotate, then average over rows."""
        xp = namespace(a.x)
        cross = matmul(a.x.T, b.x)
        u, _, vh = xp.linalg.svd(cross, full_matrices=False)
        # its rank, judged at equal deviations: those of the data say nothing of which directions are shared
        shared = xp.linalg.svdvals(stop_gradient(_per(_per(cross, b.deviations).T, a.deviations)))
        kept = xp.astype(shared > max(*a.x.shape, b.x.shape[1]) * epsilon(shared) * shared[0], shared.dtype)
        dots = xp.sum(matmul(a.x, u * kept[None, :]) * matmul(b.x, vh.T), axis=1)
        lengths = a.lengths * b.lengths
        both = lengths > 0
        cosines = xp.where(both, dots / xp.where(both, lengths, xp.ones_like(lengths)), xp.zeros_like(dots))
        counted = xp.astype((a.lengths > 0) | (b.lengths > 0), dots.dtype)
        return xp.sum(cosines) / xp.sum(counted)

    def degenerate(self, state: AlignedState, /) -> str | None:
        """All rows are the same."""
        return None if bool(state.varies > 0) else "every feature is constant"

    def caveat(self, a: AlignedState, b: AlignedState, /) -> str | None:
        """With as many features as samples, rotations fit anything."""
        xp, n = namespace(a.x), a.x.shape[0]
        return beyond_rotation(n, *(int(xp.sum(xp.astype(s.deviations > 0, s.x.dtype))) >= n - 1 for s in (a, b)))


def _per(columns: Array, deviations: Array) -> Array:
    """`columns` divided by their `deviations`; those of deviation zero are zero."""
    xp = namespace(columns)
    return columns / xp.where(deviations > 0, deviations, xp.ones_like(deviations))[None, :]

"""Distances after the best rotation (orthogonal Procrustes)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from consilience._array import Array, namespace
from consilience._resampling import Orders
from consilience.measures._rotation import (
    ProcrustesState,
    angle,
    beyond_rotation,
    fills_samples,
    rotated,
    squared_residual,
    squared_residual_of_moments,
)
from consilience.registry import Family, Invariance, Kind, Measure, Moments, per_instance, register

__all__ = ["Form", "Procrustes", "ProcrustesState"]

Form: TypeAlias = Literal["angular", "euclidean", "squared", "size_and_shape"]


@register
@dataclass(frozen=True)
class Procrustes(Measure):
    """Orthogonal Procrustes distance.

    For x (n, p) and y (n, q), columns centred, the narrower padded with zero columns::

        size_and_shape = min over orthogonal Q of ‖xQ − y‖ = √(‖x‖² + ‖y‖² − 2 ‖xᵀy‖_*)

    with ‖·‖ the Frobenius and ‖·‖_* the nuclear norm. With x and y scaled to ‖x‖ = ‖y‖ = 1 first, and
    cos θ = ‖xᵀy‖_* (the normalized Bures similarity)::

        angular = θ,   euclidean = √(2 − 2 cos θ),   squared = 2 − 2 cos θ

    Zero for representations that agree up to the invariances. `angular`, `euclidean` and `size_and_shape` are
    metrics (they satisfy the triangle inequality); `squared` is not.

    Parameters
    ----------
    form : {"angular", "euclidean", "squared", "size_and_shape"}
        Range, in the same order: [0, π/2] radians, [0, √2], [0, 2], [0, ∞) in units of the features.

    Notes
    -----
    θ is 2 arcsin(euclidean / 2), and for nearly equal representations the residual is computed after rotating one
    onto the other: arccos would lose half of the digits. Where some rows are many times longer than the others, that
    is done in principal axes (not under ``jax.jit``), so that the distance keeps the digits which its rows have. If
    p > n, features are first rotated into n dimensions.
    O(n·p·q + min(p, q)²·max(p, q)). Streamed, only products of features are known and the residual is not: then
    distances below 1e-7 of the norms are lost in rounding.

    References
    ----------
    Williams, Kunz, Kornblith, Linderman, "Generalized shape metrics on neural representations", NeurIPS 2021.
    Ding, Denain, Steinhardt, "Grounding representation similarity with statistical testing", NeurIPS 2021 (squared).

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(0).standard_normal((50, 4))
    >>> rotation = np.linalg.qr(np.random.default_rng(1).standard_normal((4, 4)))[0]
    >>> float(Procrustes()(x, 2 * x @ rotation + 3)) < 1e-14
    True
    >>> y = x + 1e-9 * np.random.default_rng(2).standard_normal((50, 4))
    >>> print(f"{Procrustes()(x, y):.1e}")
    9.9e-10
    """

    title = "Procrustes distance"
    reference = "williams2021"
    family = Family.SHAPE
    cost = "O(n p q + min(p, q)² max(p, q))"
    use = (
        "When a true distance is needed (clustering, embedding, averages of networks): it satisfies the "
        "triangle inequality."
    )
    avoid = "When n is not well above p and q: a rotation then fits noise, and unrelated representations come close."
    aliases = {
        "procrustes_angular": {},
        "procrustes_normalized": {"form": "euclidean"},
        "procrustes_size_shape": {"form": "size_and_shape"},
    }
    kind = Kind.DISTANCE
    symmetric = True
    differentiable = True
    bounds = per_instance(lambda self: (0.0, _LARGEST[self.form]))
    invariances = per_instance(
        lambda self: frozenset(
            {Invariance.TRANSLATION, Invariance.ORTHOGONAL}
            | (set() if self.form == "size_and_shape" else {Invariance.ISOTROPIC_SCALING})
        )
    )

    form: Form = "angular"

    @property
    def min_samples(self) -> int:
        """Three where only shape counts: two samples vary in one direction and have all the same; else two."""
        return 3 if self._unit else 2

    def prepare(self, x: Array, /) -> ProcrustesState:
        """Centre, scale to unit norm unless size counts, rotate into at most n dimensions."""
        return rotated(x, unit=self._unit)

    def compare(self, a: ProcrustesState, b: ProcrustesState, /) -> Array:
        """Turn the squared residual of the best rotation into the chosen form."""
        return self._in_form(squared_residual(a, b))

    def from_moments(self, *folds: Moments) -> Array:
        """The same from the nuclear norm of the products of features."""
        (m,) = folds
        return self._in_form(squared_residual_of_moments(m, unit=self._unit))

    def reordered(self, state: ProcrustesState, order: Orders, /) -> ProcrustesState:
        """Reorder the rows."""
        return state._replace(x=state.x[order])

    def degenerate(self, state: ProcrustesState, /) -> str | None:
        """No feature varies: there is no shape to compare."""
        return None if bool(state.energy > 0) else "every feature is constant"

    def caveat(self, a: ProcrustesState, b: ProcrustesState, /) -> str | None:
        """With as many features as samples, rotations fit anything."""
        return beyond_rotation(a.x.shape[0], fills_samples(a.x), fills_samples(b.x))

    @property
    def _unit(self) -> bool:
        return self.form != "size_and_shape"

    def _in_form(self, residual: Array) -> Array:
        if self.form == "squared":
            return residual
        return angle(residual) if self.form == "angular" else namespace(residual).sqrt(residual)


_LARGEST = {
    "angular": 1.5707963267948966,
    "euclidean": 1.4142135623730951,
    "squared": 2.0,
    "size_and_shape": float("inf"),
}

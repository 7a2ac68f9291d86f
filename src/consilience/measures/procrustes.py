"""Distances after the best rotation (orthogonal Procrustes)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from consilience._array import (
    Array,
    centred,
    is_traced,
    matmul,
    namespace,
    stop_gradient,
    unit_scaled,
)
from consilience.registry import Family, Invariance, Kind, Measure, per_instance, register

__all__ = ["Form", "Procrustes", "ProcrustesState"]

Form: TypeAlias = Literal["angular", "euclidean", "squared", "size_and_shape"]

# Below this relative residual, 1 − ‖XᵀY‖_* has lost digits to cancellation and the rotation is carried out.
_CANCELLING = 1e-4


class ProcrustesState(NamedTuple):
    """A centred representation, rotated into at most n dimensions, and its squared Frobenius norm."""

    x: Array  # (n, min(n, d))
    energy: Array  # 0-d; one after normalisation, zero if no feature varies


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
    onto the other: arccos would lose half of the digits. If p > n, features are first rotated into n dimensions.
    O(n·p·q + min(p, q)²·max(p, q)).

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

    def prepare(self, x: Array, /) -> ProcrustesState:
        """Centre, scale to unit norm unless size counts, rotate into at most n dimensions."""
        xp = namespace(x)
        x = centred(x)
        if self.form != "size_and_shape":
            x = unit_scaled(x)
            energy = xp.sum(x * x)
            x = x / xp.sqrt(xp.where(energy > 0, energy, xp.ones_like(energy)))
        n, d = x.shape
        if d > n:
            x = xp.linalg.qr(x.T).R.T
        return ProcrustesState(x, xp.sum(x * x))

    def compare(self, a: ProcrustesState, b: ProcrustesState, /) -> Array:
        """Turn the squared residual of the best rotation into the chosen form."""
        xp = namespace(a.x)
        if a is b:
            return xp.zeros_like(a.energy)
        residual = _squared_residual(a, b)
        if self.form == "squared":
            return residual
        distance = xp.sqrt(residual)
        return 2 * xp.asin(distance / 2) if self.form == "angular" else distance

    def degenerate(self, state: ProcrustesState, /) -> str | None:
        """No feature varies: there is no shape to compare."""
        return None if bool(state.energy > 0) else "every feature is constant"


_LARGEST = {
    "angular": 1.5707963267948966,
    "euclidean": 1.4142135623730951,
    "squared": 2.0,
    "size_and_shape": float("inf"),
}


def _squared_residual(a: ProcrustesState, b: ProcrustesState) -> Array:
    """min ‖aQ − b‖² over orthogonal Q."""
    xp = namespace(a.x)
    if a.x.shape[1] > b.x.shape[1]:
        a, b = b, a
    cross = matmul(a.x.T, b.x)  # (p, q), p ≤ q
    if is_traced(cross):  # the value decides nothing: take the route that is accurate everywhere
        return _residual_of_best_rotation(a.x, b.x, cross)
    size = a.energy + b.energy
    residual = size - 2 * xp.sum(xp.linalg.svdvals(cross))
    if bool(residual < _CANCELLING * size):
        return _residual_of_best_rotation(a.x, b.x, cross)
    return residual


def _residual_of_best_rotation(x: Array, y: Array, cross: Array) -> Array:
    """‖xQ − y‖² with Q = UVᵀ from the singular vectors of xᵀy = USVᵀ.

    Q is a constant to automatic differentiation: at the optimum the residual does not change with it to first order.
    """
    xp = namespace(x)
    u, _, vh = xp.linalg.svd(stop_gradient(cross), full_matrices=False)
    difference = matmul(x, matmul(u, vh)) - y
    return xp.sum(difference * difference)

"""Relatives of the Procrustes distance: normalized Bures similarity, Bures distance, partial whitening."""

from __future__ import annotations

from dataclasses import dataclass

from consilience._array import Array, centred, matmul, namespace, stop_gradient, within_one
from consilience._resampling import Orders
from consilience.errors import ConsilienceError
from consilience.measures._nuclear import nuclear_norm
from consilience.measures._rotation import (
    ProcrustesState,
    angle,
    beyond_rotation,
    cross_cosine,
    fills_samples,
    of_unit_norm,
    rotated,
    squared_residual,
    squared_residual_of_moments,
)
from consilience.measures._subspace import (
    fixed_correlations,
    no_room,
    principal_axes,
    rank_of_products,
    warn_of_room,
    whitening,
)
from consilience.registry import Family, Invariance, Kind, Measure, Moments, per_instance, register

__all__ = ["NBS", "Bures", "ShapeMetric"]


@register
@dataclass(frozen=True)
class NBS(Measure):
    """Normalized Bures similarity.

    For x (n, p) and y (n, q), columns centred, with K = xxᵀ, L = yyᵀ::

        nbs = tr (K^½ L K^½)^½ / √(tr K tr L) = ‖xᵀy‖_* / (‖x‖ ‖y‖)

    with ‖·‖_* the nuclear and ‖·‖ the Frobenius norm. The fidelity of the two Gram matrices, and the cosine of the
    Procrustes angle. In [0, 1]; 1 for representations that agree up to the invariances.

    Notes
    -----
    Computed from products of features, without a matrix square root: roots of the eigenvalues of (n, n) matrices
    lose half of the digits. O(n·p·q + min(p, q)²·max(p, q)).

    References
    ----------
    Tang, Maddox, Dickens, Diethe, Damianou, "Similarity of neural networks with gradients", 2020 (arXiv 2003.11498);
    Harvey, Larsen, Williams, "Duality of Bures and shape distances with implications for comparing neural
    representations", UniReps 2023.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(0).standard_normal((100, 5))
    >>> y = x + np.random.default_rng(1).standard_normal((100, 5))
    >>> print(f"{NBS()(x, 3 - 2 * x):.6f} {NBS()(x, y):.2f}")
    1.000000 0.74
    """

    title = "Normalized Bures similarity"
    reference = "tang2020"
    family = Family.SHAPE
    cost = "O(n p q + min(p, q)² max(p, q))"
    use = "As CKA, when directions of small variance should count for more than their squares do."
    avoid = "When n is not well above p and q: unrelated representations then score far above zero."
    aliases = {"normalized_bures_similarity": {}}
    kind = Kind.SIMILARITY
    bounds = (0.0, 1.0)
    symmetric = True
    differentiable = True
    invariances = frozenset({Invariance.TRANSLATION, Invariance.ORTHOGONAL, Invariance.ISOTROPIC_SCALING})

    @property
    def min_samples(self) -> int:
        """Three: two samples vary in one direction, and the score is the same whatever the data."""
        return 3

    def prepare(self, x: Array, /) -> ProcrustesState:
        """Centre, scale to unit norm, rotate into at most n dimensions."""
        return rotated(x, unit=True)

    def compare(self, a: ProcrustesState, b: ProcrustesState, /) -> Array:
        """Nuclear norm of the products of features."""
        return within_one(nuclear_norm(matmul(a.x.T, b.x)))

    def from_moments(self, *folds: Moments) -> Array:
        """The same from streamed products."""
        (m,) = folds
        xp = namespace(m.xy)
        return cross_cosine(m.xy, *(xp.sum(xp.linalg.diagonal(each)) for each in (m.xx, m.yy)))

    def reordered(self, state: ProcrustesState, order: Orders, /) -> ProcrustesState:
        """Reorder the rows."""
        return state._replace(x=state.x[order])

    def degenerate(self, state: ProcrustesState, /) -> str | None:
        """No feature varies."""
        return None if bool(state.energy > 0) else "every feature is constant"

    def caveat(self, a: ProcrustesState, b: ProcrustesState, /) -> str | None:
        """With as many features as samples, rotations fit anything."""
        return beyond_rotation(a.x.shape[0], fills_samples(a.x), fills_samples(b.x))


@register
@dataclass(frozen=True)
class Bures(Measure):
    """Bures distance.

    For x (n, p) and y (n, q), columns centred, with K = xxᵀ, L = yyᵀ::

        bures² = tr K + tr L − 2 tr (K^½ L K^½)^½ = min over orthogonal Q of ‖xQ − y‖²

    the Bures (2-Wasserstein) distance between the Gram matrices, which is the Procrustes distance of size and shape.
    In [0, ∞), in units of the features (squared with `squared`); zero for representations that agree up to the
    invariances.

    Parameters
    ----------
    squared : bool
        Return the square, which is not a metric (no triangle inequality).

    Notes
    -----
    Computed as the Procrustes residual: no root of an (n, n) matrix is taken, and nearly equal representations are
    rotated onto each other, so that small distances keep their digits; where some rows are many times longer than the
    others, in principal axes (not under ``jax.jit``), and they keep the digits which the rows have.
    O(n·p·q + min(p, q)²·max(p, q)). Streamed,
    distances below 1e-7 of the norms are lost in rounding.

    References
    ----------
    Bhatia, Jain, Lim, "On the Bures-Wasserstein distance between positive definite matrices", Expositiones
    Mathematicae 37, 2019; Harvey, Larsen, Williams, UniReps 2023 (equality with Procrustes).

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(0).standard_normal((100, 5))
    >>> x = (x - x.mean(0)) / np.linalg.norm(x - x.mean(0))
    >>> print(f"{Bures()(x, 3 * x):.6f} {Bures(squared=True)(x, 3 * x):.6f}")
    2.000000 4.000000
    """

    title = "Bures distance"
    reference = "bhatia2019"
    family = Family.SHAPE
    cost = "O(n p q + min(p, q)² max(p, q))"
    use = "When the size of the features carries meaning and a true distance between Gram matrices is needed."
    avoid = "When representations come from networks whose scales differ for no reason: use procrustes or nbs."
    aliases = {"bures_distance": {}}
    kind = Kind.DISTANCE
    bounds = (0.0, float("inf"))
    symmetric = True
    differentiable = True
    invariances = frozenset({Invariance.TRANSLATION, Invariance.ORTHOGONAL})

    squared: bool = False

    def prepare(self, x: Array, /) -> ProcrustesState:
        """Centre, rotate into at most n dimensions."""
        return rotated(x, unit=False)

    def compare(self, a: ProcrustesState, b: ProcrustesState, /) -> Array:
        """Residual of the best rotation."""
        return self._in_form(squared_residual(a, b))

    def from_moments(self, *folds: Moments) -> Array:
        """The same from streamed products."""
        (m,) = folds
        return self._in_form(squared_residual_of_moments(m, unit=False))

    def reordered(self, state: ProcrustesState, order: Orders, /) -> ProcrustesState:
        """Reorder the rows."""
        return state._replace(x=state.x[order])

    def degenerate(self, state: ProcrustesState, /) -> str | None:
        """No feature varies."""
        return None if bool(state.energy > 0) else "every feature is constant"

    def caveat(self, a: ProcrustesState, b: ProcrustesState, /) -> str | None:
        """With as many features as samples, rotations fit anything."""
        return beyond_rotation(a.x.shape[0], fills_samples(a.x), fills_samples(b.x))

    def _in_form(self, residual: Array) -> Array:
        return residual if self.squared else namespace(residual).sqrt(residual)


@register
@dataclass(frozen=True)
class ShapeMetric(Measure):
    """Angular shape metric after partial whitening.

    For x (n, p) and y (n, q), columns centred, the narrower padded with zero columns::

        φ(x) = x (α I + (1 − α) (xᵀx)^−½),   θ = arccos ‖φ(x)ᵀφ(y)‖_* / (‖φ(x)‖ ‖φ(y)‖)

    In [0, π/2] radians; zero for representations that agree up to the invariances. A metric for every α.

    Parameters
    ----------
    alpha : float
        1 is no whitening, the Procrustes angle. 0 is whitening: cos θ = Σρᵢ / √(rank x · rank y) with ρᵢ the canonical
        correlations. Between them x and (xᵀx)^−½ are mixed as they are: the score then depends on the scale of
        the features and, as xᵀx is a sum over samples, on their number.

    Notes
    -----
    Whitening uses the singular values of x, those below max(n, p)·ε times the largest being taken as zero: no
    floor is added to small ones. Angles near zero come from the residual of the rotation, not from an arccos.
    O(n·p·q + n·p² + min(p, q)²·max(p, q)). With α = 0 and more features than samples everything is equal, which
    is flagged. Streamed, whitening goes by eigenvalues of xᵀx, and directions below 1e-7 of the largest deviation
    are dropped.

    References
    ----------
    Williams, Kunz, Kornblith, Linderman, "Generalized shape metrics on neural representations", NeurIPS 2021.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(0).standard_normal((100, 3))
    >>> stretched = x * np.asarray([1.0, 10.0, 0.1])
    >>> print(" ".join(f"{ShapeMetric(alpha=a)(x, stretched):.2f}" for a in (1.0, 0.5, 0.0)))
    0.88 0.86 0.00
    """

    title = "Shape metric"
    reference = "williams2021"
    family = Family.SHAPE
    cost = "O(n (p² + q² + p q) + min(p, q)² max(p, q))"
    use = "To move in steps, all of them metrics, from Procrustes (alpha=1) to canonical correlation (alpha=0)."
    avoid = "With 0 < alpha < 1 on representations of different scale or sample size: scores are not comparable."
    aliases = {"cca_partial_whiten": {"alpha": 0.5}}
    kind = Kind.DISTANCE
    bounds = (0.0, 1.5707963267948966)
    symmetric = True
    differentiable = True
    invariances = per_instance(lambda self: _INVARIANCES.get(self.alpha, _SOME))

    alpha: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.alpha <= 1:
            raise ConsilienceError(f"alpha of shape_metric is {self.alpha}; it must be between 0 and 1.")

    @property
    def min_samples(self) -> int:
        """Three: two samples vary in one direction, and the score is the same whatever the data."""
        return 3

    def prepare(self, x: Array, /) -> ProcrustesState:
        """Centre, whiten partially, scale to unit norm. A rotation of φ(x) will do: its right factor is left out."""
        if self.alpha == 1:
            return rotated(x, unit=True)
        xp = namespace(x)
        x = centred(x)
        scale = stop_gradient(xp.max(xp.abs(x)))
        scale = xp.where(scale > 0, scale, xp.ones_like(scale))
        axes, deviations = principal_axes(x / scale)  # the mixture is divided by the scale as a whole
        weight = self.alpha * deviations + (1 - self.alpha) / scale
        x = of_unit_norm(axes * (xp.ones_like(weight) if self.alpha == 0 else weight)[None, :])
        return ProcrustesState(x, xp.sum(x * x))

    def compare(self, a: ProcrustesState, b: ProcrustesState, /) -> Array:
        """Angle from the residual of the best rotation."""
        return angle(squared_residual(a, b))

    def from_moments(self, *folds: Moments) -> Array:
        """The same with the whitening from streamed products."""
        (m,) = folds
        if self.alpha == 1:
            return angle(squared_residual_of_moments(m, unit=True))
        xp = namespace(m.xy)
        ranks = rank_of_products(m.xx, m.n), rank_of_products(m.yy, m.n)
        if self.alpha == 0 and warn_of_room(self.label, m.n, *ranks):
            return xp.zeros_like(m.xy[0, 0]) + float("nan")
        mix_x, mix_y = self._mixing(m.xx, m.n), self._mixing(m.yy, m.n)
        energies = [xp.sum(mix * matmul(each, mix)) for mix, each in ((mix_x, m.xx), (mix_y, m.yy))]
        cosine = cross_cosine(matmul(mix_x.T, matmul(m.xy, mix_y)), *energies)
        lack = 1 - cosine
        return angle(2 * xp.where(lack > 0, lack, xp.zeros_like(lack)))

    def _mixing(self, products: Array, n: int) -> Array:
        """α I + (1 − α) (xᵀx)^−½ up to a rotation on its right, (p, p)."""
        axes, inverse = whitening(products, n)
        xp = namespace(products)
        kept = xp.astype(inverse > 0, products.dtype)
        return axes * (self.alpha * kept + (1 - self.alpha) * inverse)[None, :]

    def reordered(self, state: ProcrustesState, order: Orders, /) -> ProcrustesState:
        """Reorder the rows."""
        return state._replace(x=state.x[order])

    def degenerate(self, state: ProcrustesState, /) -> str | None:
        """No feature varies or, once whitened, the features span everything."""
        if not bool(state.energy > 0):
            return "every feature is constant"
        return no_room(*state.x.shape) if self.alpha == 0 else None

    def caveat(self, a: ProcrustesState, b: ProcrustesState, /) -> str | None:
        """Once whitened, wide representations share directions whatever the data; else rotations fit anything."""
        n = a.x.shape[0]
        if self.alpha == 0:
            return fixed_correlations(n, a.x.shape[1], b.x.shape[1])
        return beyond_rotation(n, fills_samples(a.x), fills_samples(b.x))


_SOME = frozenset({Invariance.TRANSLATION, Invariance.ORTHOGONAL})
_INVARIANCES = {
    1: _SOME | {Invariance.ISOTROPIC_SCALING},
    0: frozenset({Invariance.TRANSLATION, Invariance.INVERTIBLE_LINEAR}),
}

"""Mean correlation of features that are matched one to one, or each with its best."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

from consilience._array import Array, centred, matmul, namespace, on_host, stop_gradient, within_one
from consilience.measures._transport import assignment
from consilience.registry import Family, Invariance, Kind, Measure, register

__all__ = ["CorrelationMatching", "CorrelationState", "Matching", "unit_columns", "varying"]

Matching: TypeAlias = Literal["hard", "soft"]
Matrix: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"


class CorrelationState(NamedTuple):
    """Features ready to be correlated."""

    x: Array  # (n, d), columns centred and of unit norm; zero where a feature is constant


@register
@dataclass(frozen=True)
class CorrelationMatching(Measure):
    """Correlation of matched features.

    With r_ab the Pearson correlation of feature a of x (n, p) and feature b of y (n, q), signed::

        hard = max over one-to-one matchings m of  1/min(p, q) Σ_a r_{a m(a)}
        soft = ½ ( 1/p Σ_a max_b r_ab + 1/q Σ_b max_a r_ab )

    A correlation in [−1, 1]; 1 if the features agree one by one up to order, offset and positive factors. It looks at
    single features: a rotation of them changes it. Features without a counterpart in a narrower representation are
    left out by `hard`. Features that are constant, such as dead units, have no correlation: they are left out of both
    sides, and p and q count the others.

    Parameters
    ----------
    matching : {"hard", "soft"}
        One to one, or each feature of either side with its best of the other, averaged over both directions.

    Notes
    -----
    `hard` solves the assignment problem exactly, on the host, in O(min(p, q)² max(p, q)); gradients take the matching
    as constant, which it is almost everywhere. Unrelated representations have the expected maximum of many
    correlations, about √(2 log q / n) for `soft`, not 0. Magnitudes of correlations are not used: for features with
    sign symmetry, compare x with ``[y, −y]``.

    References
    ----------
    Li, Yosinski, Clune, Lipson, Hopcroft, "Convergent learning: do different neural networks learn the same
    representations?", ICLR 2016.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(0).standard_normal((100, 4))
    >>> y = np.roll(x, 1, axis=1) * [1, 2, 3, 4] - 5
    >>> rotation = np.linalg.qr(np.random.default_rng(1).standard_normal((4, 4)))[0]
    >>> print(f"{CorrelationMatching()(x, y):.3f} {CorrelationMatching()(x, x @ rotation):.3f}")
    1.000 0.416
    """

    title = "Correlation of matched features"
    reference = "li2016"
    family = Family.MATCHING
    cost = "O(n p q + min(p, q)² max(p, q)); soft O(n p q)"
    use = "When single units matter: whether two networks have the same features, not only the same space of them."
    avoid = "When n is small against the number of features: the best of many chance correlations is not small."
    aliases = {"hard_correlation_match": {}, "soft_correlation_match": {"matching": "soft"}}
    kind = Kind.SIMILARITY
    bounds = (-1.0, 1.0)
    symmetric = True
    differentiable = True
    invariances = frozenset({Invariance.PERMUTATION, Invariance.TRANSLATION, Invariance.ISOTROPIC_SCALING})

    matching: Matching = "hard"

    def prepare(self, x: Array, /) -> CorrelationState:
        """Centre, and scale every feature to unit norm."""
        return CorrelationState(unit_columns(x))

    def compare(self, a: CorrelationState, b: CorrelationState, /) -> Array:
        """Mean of the matched correlations."""
        xp = namespace(a.x)
        correlations = matmul(a.x.T, b.x)  # (p, q)
        p, q = correlations.shape
        live_x, live_y = varying(a.x), varying(b.x)
        count_x, count_y = _count(live_x), _count(live_y)
        both = live_x[:, None] * live_y[None, :]
        # below every correlation: no best is found among constant features
        correlations = xp.where(both > 0, correlations, xp.full_like(correlations, -2.0))
        if self.matching == "soft":
            best_x, best_y = xp.max(correlations, axis=1), xp.max(correlations, axis=0)
            return within_one((xp.sum(live_x * best_x) / count_x + xp.sum(live_y * best_y) / count_y) / 2)
        matched = both * on_host(_assignment, correlations, live_x, live_y, shape=(p, q), like=correlations)
        return within_one(xp.sum(matched * correlations) / xp.minimum(count_x, count_y))

    def degenerate(self, state: CorrelationState, /) -> str | None:
        """No feature varies."""
        return None if bool(namespace(state.x).any(state.x != 0)) else "every feature is constant"


def varying(x: Array) -> Array:
    """One for each column of `x` (n, d) that is not zero, and zero for the others, (d,)."""
    xp = namespace(x)
    return xp.astype(xp.any(x != 0, axis=0), x.dtype)


def _count(live: Array) -> Array:
    """How many columns vary, one at least: where there are none the score is reported as NaN, not divided by zero."""
    xp = namespace(live)
    return xp.maximum(xp.sum(live), xp.ones_like(live[0]))


def _assignment(gain: Matrix, live_x: Matrix, live_y: Matrix) -> Matrix:
    """`assignment` of the features that vary; zero for the others."""
    plan = np.zeros(gain.shape)
    inside = np.ix_(live_x > 0, live_y > 0)
    plan[inside] = assignment(gain[inside])
    return plan


def unit_columns(x: Array) -> Array:
    """`x` (n, d) with every column centred and of unit norm; a constant column is zero."""
    xp = namespace(x)
    x = centred(x)
    size = stop_gradient(xp.max(xp.abs(x), axis=0, keepdims=True))  # it cancels
    x = x / xp.where(size > 0, size, xp.ones_like(size))
    norm = xp.sqrt(xp.sum(x * x, axis=0, keepdims=True))
    return x / xp.where(size > 0, norm, xp.ones_like(norm))

"""Maximum match of features: those that the other network's matched features span."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import numpy as np

from consilience._array import Array, centred, namespace, on_host, to_numpy, unit_scaled
from consilience.errors import ConsilienceError
from consilience.registry import Family, Invariance, Kind, Measure, per_instance, register

__all__ = ["SubspaceMatch", "SubspaceState"]

Matrix = np.ndarray[Any, np.dtype[Any]]


class SubspaceState(NamedTuple):
    """Features of unit norm."""

    x: Array  # (n, d); zero columns where a feature is zero throughout
    varies: Array  # 0-d, whether any feature does


@register
@dataclass(frozen=True)
class SubspaceMatch(Measure):
    """Maximum matching similarity.

    A set X of features of x (n, p) and a set Y of features of y (n, q), columns of the arrays, are an ε-match if every
    feature of either set lies near the span of the other::

        dist(x_a, span Y) ≤ ε ‖x_a‖  for all a in X,    dist(y_b, span X) ≤ ε ‖y_b‖  for all b in Y

    The union of two matches is one; so there is a largest, (X*, Y*), the ε-maximum match, and::

        subspace_match = (|X*| + |Y*|) / (p + q)

    The share of features that take part, in [0, 1]; 1 if each representation spans the features of the other, as
    identical ones do, and 0 if no sets match.

    Parameters
    ----------
    epsilon : float
        Largest distance relative to the norm of the feature, in [0, 1): the sine of its angle with the subspace.
    center : bool
        Whether features are centred first. The article takes activations as they are; then the mean, where it is large,
        is a direction that all features share.

    Notes
    -----
    The maximum match is found as in the article, by starting from all features and removing those that are too far
    from the span of what remains on the other side, until none is. All of them go at once here: what remains only
    shrinks, so that the order changes nothing. At most p + q rounds of O(min(n, p + q) · (p + q)²), on the host. A
    feature that is zero lies in every span, that of nothing excepted: where no other features match, neither does it.
    With n ≤ p and n ≤ q everything matches, whatever the data.

    References
    ----------
    Wang, Hu, Gu, Hu, Wu, He, Hopcroft, "Towards understanding learning representations: to what extent do different
    neural networks learn the same representation", NeurIPS 2018.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(0).standard_normal((100, 6))
    >>> y = np.concatenate([x[:, :3] @ np.random.default_rng(1).standard_normal((3, 3)), x[::-1, 3:]], axis=1)
    >>> print(f"{SubspaceMatch()(x, y):.2f} {SubspaceMatch()(x, x):.2f}")
    0.50 1.00
    """

    title = "Maximum matching similarity"
    reference = "wang2018"
    family = Family.MATCHING
    cost = "O(n (p + q)²) for each round of removals, at most p + q and usually few"
    use = "To ask what share of the features of two networks is the same up to linear recombination of some of them."
    avoid = (
        "When n is not well above p and q, or a graded score is needed: it counts features, all or nothing, at one ε."
    )
    aliases = {"max_matching_similarity": {}}
    kind = Kind.SIMILARITY
    bounds = (0.0, 1.0)
    symmetric = True
    invariances = per_instance(
        lambda self: frozenset(
            {Invariance.PERMUTATION, Invariance.ISOTROPIC_SCALING}
            | ({Invariance.TRANSLATION} if self.center else set())
        )
    )

    epsilon: float = 0.3
    center: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.epsilon < 1:
            raise ConsilienceError(
                f"epsilon of subspace_match is {self.epsilon}; it is the sine of an angle below 90 degrees, in [0, 1)."
            )

    def prepare(self, x: Array, /) -> SubspaceState:
        """Scale every feature to unit norm."""
        xp = namespace(x)
        moved = centred(x)
        varies = xp.any(moved != 0)
        x = unit_scaled(moved if self.center else x)
        size = xp.max(xp.abs(x), axis=0, keepdims=True)
        x = x / xp.where(size > 0, size, xp.ones_like(size))
        norm = xp.sqrt(xp.sum(x * x, axis=0, keepdims=True))
        return SubspaceState(x / xp.where(norm > 0, norm, xp.ones_like(norm)), varies)

    def compare(self, a: SubspaceState, b: SubspaceState, /) -> Array:
        """Count the features of the maximum match."""
        epsilon = self.epsilon
        return on_host(lambda x, y: _share(x, y, epsilon), a.x, b.x, shape=(), like=a.x)

    def degenerate(self, state: SubspaceState, /) -> str | None:
        """No feature varies."""
        return None if bool(state.varies) else "every feature is constant"

    def caveat(self, a: SubspaceState, b: SubspaceState, /) -> str | None:
        """With few samples all features are in every span."""
        n = a.x.shape[0] - self.center
        if n <= min(a.x.shape[1], b.x.shape[1]) and all(np.linalg.matrix_rank(to_numpy(s.x)) >= n for s in (a, b)):
            return "each representation spans all of sample space, so that all features match; use more samples"
        return None


def _share(x: Matrix, y: Matrix, epsilon: float) -> float:
    """Share of columns, of unit norm, of `x` (n, p) and `y` (n, q) in their maximum match."""
    p, q = x.shape[1], y.shape[1]
    if len(x) > p + q:  # angles are the same in the space that the features span
        together = cast(Matrix, np.linalg.qr(np.concatenate([x, y], axis=1), mode="r"))
        x, y = together[:, :p], together[:, p:]
    in_x, in_y = np.ones(p, dtype=bool), np.ones(q, dtype=bool)
    while in_x.any() and in_y.any():
        near_x, near_y = _near(x, y[:, in_y], epsilon), _near(y, x[:, in_x], epsilon)
        if not (in_x & ~near_x).any() and not (in_y & ~near_y).any():
            return float(in_x.sum() + in_y.sum()) / (p + q)
        in_x, in_y = in_x & near_x, in_y & near_y
    return 0.0


def _near(features: Matrix, spanning: Matrix, epsilon: float) -> Matrix:
    """Whether each column of `features`, of unit norm, is within `epsilon` of the span of the columns of `spanning`."""
    basis, s, _ = np.linalg.svd(spanning, full_matrices=False)
    rounding = max(spanning.shape) * np.finfo(features.dtype).eps
    basis = basis[:, s > rounding * s.max(initial=0)]
    rest = features - basis @ (basis.T @ features)
    return np.linalg.norm(rest, axis=0) <= max(epsilon, rounding)

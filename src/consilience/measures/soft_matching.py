"""Optimal transport between the features of two representations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

from consilience._array import Array, centred, matmul, namespace, on_host, within_one
from consilience.measures._transport import transport_edges
from consilience.measures.correlation_matching import unit_columns, varying
from consilience.registry import Family, Invariance, Kind, Measure, per_instance, register

__all__ = ["SoftMatching", "SoftMatchingForm", "SoftMatchingState"]

SoftMatchingForm: TypeAlias = Literal["correlation", "distance"]
Matrix: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"


class SoftMatchingState(NamedTuple):
    """Features ready to be transported."""

    x: Array  # (n, d), columns centred; of unit norm for the correlation


@register
@dataclass(frozen=True)
class SoftMatching(Measure):
    """Soft matching of features.

    Every feature x_a of x (n, p) carries mass 1/p and every feature y_b of y (n, q) mass 1/q; T(p, q) is the set of
    plans P ≥ 0 that move the one to the other, with row sums 1/p and column sums 1/q. With centred features::

        distance    = min over P ∈ T of √( Σ_ab P_ab ‖x_a − y_b‖² )
        correlation = max over P ∈ T of    Σ_ab P_ab corr(x_a, y_b)

    `distance` is a metric, in [0, ∞) and in units of the features times √n; it is the 2-Wasserstein distance between
    the two populations of features. `correlation` is in [−1, 1] and without unit; √(2 − 2 · correlation) is the same
    metric between features of unit norm. For p = q both are reached by a one-to-one matching; for p ≠ q, unlike in
    `correlation_matching`, no feature that varies is left out. `correlation` leaves constant features, such as dead
    units, which have no correlation, out of both sides: p and q count the others. In `distance` they are points at the
    origin like any other.

    Parameters
    ----------
    form : {"correlation", "distance"}
        A similarity, or a distance.

    Notes
    -----
    Exact, on the host: an assignment problem for p = q, else the transportation problem as a linear program whose
    edges are generated as its dual prices ask for them (1000 to 1024 features in about a second). Gradients take the
    plan as constant, which it is almost everywhere. O(n·p·q) besides.

    References
    ----------
    Khosla, Williams, "Soft matching distance: a metric on neural representations that captures single-neuron tuning",
    UniReps 2023, PMLR 243, 2024.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(0).standard_normal((100, 4))
    >>> twice = np.concatenate([x, x], axis=1)
    >>> print(f"{SoftMatching()(x, twice):.3f} {SoftMatching()(x, x[:, :3]):.3f}")
    1.000 0.757
    >>> print(f"{SoftMatching(form='distance')(x, x + np.eye(100)[:, :4]):.3f}")
    0.995
    """

    title = "Soft matching of features"
    reference = "khosla2024"
    family = Family.MATCHING
    cost = "O(n p q) and an exact transportation problem of p and q features"
    use = "When single units matter and representations differ in width: a metric between populations of units."
    avoid = "When only the space that the features span should count: a rotation of the features changes the score."
    aliases = {"soft_matching_distance": {"form": "distance"}}
    kind = per_instance(lambda self: Kind.DISTANCE if self.form == "distance" else Kind.SIMILARITY)
    bounds = per_instance(lambda self: (0.0, float("inf")) if self.form == "distance" else (-1.0, 1.0))
    symmetric = True
    differentiable = True
    invariances = per_instance(
        lambda self: frozenset(
            {Invariance.PERMUTATION, Invariance.TRANSLATION}
            | (set() if self.form == "distance" else {Invariance.ISOTROPIC_SCALING})
        )
    )

    form: SoftMatchingForm = "correlation"

    def prepare(self, x: Array, /) -> SoftMatchingState:
        """Centre; scale to unit norm if correlations are asked for."""
        return SoftMatchingState(centred(x) if self.form == "distance" else unit_columns(x))

    def compare(self, a: SoftMatchingState, b: SoftMatchingState, /) -> Array:
        """Find the plan, and the mean it gives over its edges."""
        xp = namespace(a.x)
        products = matmul(a.x.T, b.x)  # (p, q)
        live = [varying(x) if self.form == "correlation" else xp.ones_like(x[0, :]) for x in (a.x, b.x)]
        edges = on_host(_edges, products, *live, shape=(3, sum(products.shape) - 1), like=products)
        index = xp.astype(edges[:2, :], xp.int32)
        x, y = xp.take(a.x, index[0, :], axis=1), xp.take(b.x, index[1, :], axis=1)  # (n, p + q − 1)
        if self.form == "correlation":
            return within_one(xp.sum(edges[2, :] * xp.sum(x * y, axis=0)))
        # from differences: the norms and products of nearly equal features would cancel
        squared = xp.sum(edges[2, :] * xp.sum((x - y) ** 2, axis=0))
        positive = squared > 0  # the root has no slope at zero
        return xp.where(positive, xp.sqrt(xp.where(positive, squared, xp.ones_like(squared))), xp.zeros_like(squared))

    def degenerate(self, state: SoftMatchingState, /) -> str | None:
        """No feature varies."""
        return None if bool(namespace(state.x).any(state.x != 0)) else "every feature is constant"


def _edges(gain: Matrix, live_x: Matrix, live_y: Matrix) -> Matrix:
    """`transport_edges` between the features marked in `live_x` (p,) and `live_y` (q,); the others hold no mass."""
    edges = np.zeros((3, sum(gain.shape) - 1))
    rows, columns = np.flatnonzero(live_x), np.flatnonzero(live_y)
    if len(rows) and len(columns):
        found = transport_edges(gain[np.ix_(rows, columns)])
        row, column = found[:2].astype(int)
        edges[:, : found.shape[1]] = rows[row], columns[column], found[2]
    return edges

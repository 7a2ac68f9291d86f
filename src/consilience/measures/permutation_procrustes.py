"""Distances after the best one-to-one matching of features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from scipy.optimize import linear_sum_assignment

from consilience._array import Array, arange, centred, check_memory, matmul, namespace, on_host
from consilience.measures._rotation import of_unit_norm
from consilience.registry import Family, Invariance, Kind, Measure, per_instance, register

__all__ = ["PermutationForm", "PermutationProcrustes"]

PermutationForm: TypeAlias = Literal["angular", "euclidean"]


@register
@dataclass(frozen=True)
class PermutationProcrustes(Measure):
    """Procrustes distance over permutations of features.

    For x (n, p) and y (n, q), columns centred, the narrower padded with zero columns, both of unit Frobenius norm::

        euclidean = min over permutations Π of ‖xΠ − y‖,   angular = 2 arcsin(euclidean / 2)

    Zero for representations that agree up to order of features, offset and scale; both forms are metrics.

    Parameters
    ----------
    form : {"angular", "euclidean"}
        Range: [0, π] radians, or [0, 2].

    Notes
    -----
    The best permutation maximizes the sum of products of matched features and is found exactly (linear assignment),
    for every library on the host; gradients take it as a constant. Every feature of the narrower representation is
    matched, even where leaving it alone would be better. Angles come from the residual, which keeps the digits of
    small ones. O(n·p·q + min(p, q)²·max(p, q)), with p·q products held.

    References
    ----------
    Williams, Kunz, Kornblith, Linderman, "Generalized shape metrics on neural representations", NeurIPS 2021.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(0).standard_normal((50, 4))
    >>> rotation = np.linalg.qr(np.random.default_rng(1).standard_normal((4, 4)))[0]
    >>> measure = PermutationProcrustes()
    >>> print(f"{measure(x, 2 * x[:, ::-1] + 1):.6f} {measure(x, x @ rotation):.2f}")
    0.000000 1.22
    """

    title = "Permutation Procrustes distance"
    reference = "williams2021"
    family = Family.MATCHING
    cost = "O(n p q + min(p, q)² max(p, q))"
    use = "When single units matter: it asks whether networks have the same features, not only the same subspace."
    avoid = "For wide layers, or where axes mean nothing (residual streams): rotations count as differences."
    aliases = {"permutation_angular": {}}
    kind = Kind.DISTANCE
    symmetric = True
    differentiable = True
    bounds = per_instance(lambda self: (0.0, 3.141592653589793 if self.form == "angular" else 2.0))
    invariances = frozenset({Invariance.TRANSLATION, Invariance.PERMUTATION, Invariance.ISOTROPIC_SCALING})

    form: PermutationForm = "angular"

    def prepare(self, x: Array, /) -> Array:
        """Centre, scale to unit norm."""
        return of_unit_norm(centred(x))

    def compare(self, a: Array, b: Array, /) -> Array:
        """Match features and take the residual."""
        xp = namespace(a)
        if a.shape[1] > b.shape[1]:
            a, b = b, a
        (n, p), q = a.shape, b.shape[1]
        check_memory(8 * q * (2 * p + 2 * n), f"matching {p} with {q} features")
        order = on_host(_assignment, matmul(a.T, b), shape=(q,), like=b)
        padded = xp.concat([a, xp.zeros_like(b[:, : q - p])], axis=1) if p < q else a
        matched = xp.take(padded, xp.astype(order, arange(1, like=b).dtype), axis=1)  # (n, q)
        distance = _norm(matched - b)
        # an arcsine would lose the digits of angles near π as an arccosine does those of angles near zero
        return 2 * xp.atan2(distance, _norm(matched + b)) if self.form == "angular" else distance

    def degenerate(self, state: Array, /) -> str | None:
        """No feature varies."""
        return None if bool(namespace(state).any(state != 0)) else "every feature is constant"


def _norm(x: Array) -> Array:
    xp = namespace(x)
    return xp.sqrt(xp.sum(x * x))


def _assignment(products: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """For each of q columns the matched one of p ≤ q rows; columns left over get p, p + 1, … (the padding)."""
    p, q = products.shape
    if not np.isfinite(products).all():  # the score is NaN whatever the order, as it should be
        return np.arange(q)
    rows, columns = linear_sum_assignment(products, maximize=True)
    order = np.full(q, -1)
    order[columns] = rows
    order[order < 0] = np.arange(p, q)
    return order

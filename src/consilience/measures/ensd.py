"""The effective number of shared dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from consilience._array import Array, namespace
from consilience.measures.cka import CKA, CKAState
from consilience.registry import Family, Invariance, Kind, Measure, Moments, register

__all__ = ["ENSD", "ENSDState"]


class ENSDState(NamedTuple):
    """What inner products of Gram matrices need, and the factor that makes a count of dimensions of them."""

    products: CKAState
    weight: Array  # 0-d, tr K / ‖K‖²


@register
@dataclass(frozen=True)
class ENSD(Measure):
    """Effective number of shared dimensions.

    For x (n, p) and y (n, q), columns centred, with Gram matrices K = xxᵀ and L = yyᵀ::

        ensd = tr(KL) · tr K · tr L / (tr K² · tr L²)

    A number of dimensions in [0, ∞). A representation with itself has its participation ratio,
    PR(x) = (tr K)² / tr K², which is d when d directions carry equal variance and the others none; representations
    without a common direction have 0. Two that share s of their equally strong directions have s.
    ``ensd(x, y) = √(PR(x) PR(y)) · cka(x, y, estimator="biased")``.

    Notes
    -----
    Being the count and not its normalised form (which is `cka`), it is not largest for identical inputs. Like every
    biased estimate it grows with p and q when n is small: for unrelated x and y its mean over permutations of rows is
    PR(x) PR(y) / (n − 1). Costs are those of `cka`.

    References
    ----------
    Giaffar, Rullán Buxó, Aoi, "The effective number of shared dimensions between paired datasets", AISTATS 2024.

    Examples
    --------
    >>> import numpy as np
    >>> basis = np.linalg.qr(np.random.default_rng(0).standard_normal((100, 11)) - 0.1)[0]
    >>> basis = np.linalg.qr(basis - basis.mean(0))[0]
    >>> x, y = basis[:, :6], basis[:, 3:11]
    >>> round(float(ENSD()(x, x)), 6), round(float(ENSD()(x, y)), 6)
    (6.0, 3.0)
    """

    title = "Effective number of shared dimensions"
    reference = "giaffar2024"
    family = Family.KERNEL
    cost = "O(n p q) or O(n² (p + q)), whichever is less"
    use = "When the question is how many dimensions two representations have in common, not what fraction of each."
    avoid = "When pairs of different dimensionality are to be ranked: the count grows with it; `cka` divides it out."
    kind = Kind.SIMILARITY
    bounds = (0.0, float("inf"))
    symmetric = True
    differentiable = True
    invariances = frozenset({Invariance.TRANSLATION, Invariance.ISOTROPIC_SCALING, Invariance.ORTHOGONAL})

    @property
    def min_samples(self) -> int:
        """Three: two samples vary in one direction, and the score is the same whatever the data."""
        return 3

    def self_score(self, n: int) -> float | None:
        """None: it is the participation ratio of the representation."""
        del n

    def prepare(self, x: Array, /) -> ENSDState:
        """Prepare as for biased `cka`."""
        xp = namespace(x)
        products = _ALIGNMENT.prepare(x)
        some = products.norm > 0
        norm = xp.where(some, products.norm, xp.ones_like(products.norm))
        return ENSDState(products, xp.sum(products.diagonal) / norm)

    def compare(self, a: ENSDState, b: ENSDState, /) -> Array:
        """Inner product of Gram matrices, counted in dimensions."""
        return _ALIGNMENT.inner(a.products, b.products) * a.weight * b.weight

    def compare_all(self, states: Sequence[ENSDState], /) -> Array:
        """All inner products at once."""
        weights = namespace(states[0].weight).stack([state.weight for state in states])
        return _ALIGNMENT.inner_all([state.products for state in states]) * weights[:, None] * weights[None, :]

    def from_moments(self, *folds: Moments) -> Array:
        """Inner products of Gram matrices from the products of features."""
        (m,) = folds
        xp = namespace(m.xx)
        xx, xy, yy = _ALIGNMENT.inner_of_moments(m)
        return xy * xp.sum(xp.linalg.diagonal(m.xx)) / xx * xp.sum(xp.linalg.diagonal(m.yy)) / yy

    def degenerate(self, state: ENSDState, /) -> str | None:
        """No feature varies."""
        return None if bool(state.weight > 0) else "every feature is constant"


_ALIGNMENT = CKA(estimator="biased")

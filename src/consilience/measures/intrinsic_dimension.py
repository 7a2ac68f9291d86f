"""Intrinsic dimension from the distances to nearest neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from consilience._array import Array, arange, epsilon, is_traced, namespace, on_host, power_of_two, row_blocks
from consilience.errors import ConsilienceError
from consilience.measures._nearness import direct_keys, neighbours, points
from consilience.registry import Descriptor, Invariance, register

__all__ = ["DimensionEstimator", "IntrinsicDimension"]

DimensionEstimator: TypeAlias = Literal["two_nn", "two_nn_ml", "gride"]

_BISECTIONS = 60


@register
@dataclass(frozen=True)
class IntrinsicDimension(Descriptor):
    """Intrinsic dimension.

    With r₁ < r₂ < … the distances of a sample of x (n, p) to its nearest neighbours, μ = r_{n2} / r_{n1}, and a density
    that hardly changes over r_{n2}, μ depends on the dimension d alone::

        p(μ) ∝ d (μᵈ − 1)^{n2 − n1 − 1} / μ^{(n2 − 1) d + 1},   for n1 = 1, n2 = 2:   P(μ > m) = m^{−d}

    A number of dimensions. Unlike `participation_ratio` it follows curved surfaces. As a measure of two
    representations, x (n, p) and y (n, q), the absolute difference.

    Parameters
    ----------
    estimator : {"two_nn", "two_nn_ml", "gride"}
        two_nn
            n1 = 1, n2 = 2. Slope through the origin of −log(1 − i/n) against log μ, i the place of μ in increasing
            order, without the largest (Facco et al. 2017).
        two_nn_ml
            n1 = 1, n2 = 2. Maximum likelihood, made unbiased: (n − 1) / Σ log μ; standard error d/√n.
        gride
            Maximum likelihood for any n1 < n2 (Denti et al. 2022); for n1 = 1, n2 = 2 it is n / Σ log μ.
    discard : float
        Fraction of the largest μ that two_nn leaves out, for they come from outliers.
    n1, n2 : int
        Places of the two neighbours in gride. Larger ones look at a larger scale, and average out noise; n2 = 2 n1 is
        common.

    Notes
    -----
    Copies have no distance, and no μ. Samples closer than rounding count as one: of each such group the first is kept.
    The likelihood equation of gride has one root, which is bracketed and bisected. Dimensions above about 15 are
    underestimated unless samples are very many, for the density is not constant then. O(n² p) time in blocks of rows;
    in ``jax.jit`` it runs on the host, without gradients.

    References
    ----------
    Facco, d'Errico, Rodriguez, Laio, "Estimating the intrinsic dimension of datasets by a minimal neighborhood
    information", Sci. Rep. 7, 2017; Denti, Doimo, Laio, Mira, "The generalized ratios intrinsic dimension estimator",
    Sci. Rep. 12, 2022.

    Examples
    --------
    >>> import numpy as np
    >>> plane = np.random.default_rng(0).random((1000, 2))
    >>> curved = np.column_stack([np.sin(2 * plane[:, 0]), np.cos(2 * plane[:, 0]), plane[:, 1]])
    >>> print(f"{IntrinsicDimension()(curved):.2f} {IntrinsicDimension(estimator='gride', n1=2, n2=4)(curved):.2f}")
    1.95 1.96
    """

    title = "Intrinsic dimension"
    reference = "facco2017"
    cost = "O(n² p), in blocks of rows"
    use = "To say how many degrees of freedom a representation has, whatever the surface it lies on."
    avoid = "For fewer than some hundred samples, or dimensions above about 15, where it is biased low."
    aliases = {"two_nn": {}, "gride": {"estimator": "gride"}}
    invariances = frozenset({Invariance.ORTHOGONAL, Invariance.ISOTROPIC_SCALING, Invariance.TRANSLATION})

    estimator: DimensionEstimator = "two_nn"
    discard: float = 0.1
    n1: int = 1
    n2: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.discard < 1:
            raise ConsilienceError(
                f"discard of intrinsic_dimension is {self.discard}; it must be above 0 and below 1 (for the largest "
                "ratio of all the fit has no value; estimator 'two_nn_ml' uses every ratio)."
            )
        if not 1 <= self.n1 < self.n2:
            raise ConsilienceError(
                f"n1 and n2 of intrinsic_dimension are {self.n1} and {self.n2}; they must satisfy 1 <= n1 < n2."
            )
        if self.estimator != "gride" and (self.n1, self.n2) != (1, 2):
            raise ConsilienceError(
                f"estimator {self.estimator!r} of intrinsic_dimension uses the first two neighbours: "
                "use estimator 'gride' for others."
            )

    @property
    def min_samples(self) -> int:
        """n2 + 2: below that, every sample has all others for neighbours."""
        return self.n2 + 2

    def describe(self, x: Array, /) -> Array:
        """Estimate from the logarithms of the ratios; NaN of too few samples, infinite if no ratio is above one."""
        if is_traced(x):  # how many samples are copies decides the shapes of all that follows
            return on_host(self._described, x, shape=(), like=x)
        xp = namespace(x)
        log_mu = self._log_ratios(x)
        if log_mu is None:
            return xp.asarray(float("nan"), dtype=x.dtype)
        used = _kept(log_mu, self.discard) if self.estimator == "two_nn" else log_mu
        if not bool(xp.max(used) > 0):  # no finite dimension; `degenerate` tells it from too few samples
            return xp.asarray(float("inf"), dtype=x.dtype)
        if self.estimator == "two_nn":
            return _fitted(used, log_mu.shape[0])
        if self.estimator == "two_nn_ml":
            return (log_mu.shape[0] - 1) / xp.sum(log_mu)
        return _most_likely(log_mu, self.n1, self.n2)

    def degenerate(self, state: Array, /) -> str | None:
        """There is nothing to estimate from."""
        xp = namespace(state)
        if bool(xp.isinf(state)):
            return (
                "the neighbours of every sample that counts are equally far, as on a grid, where ratios of distances "
                "say nothing"
            )
        if not bool(xp.isnan(state)):
            return None
        return (
            f"fewer than {self.min_samples} samples are left when copies count once (all are alike, if every feature "
            "is constant)"
        )

    def _described(self, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        found = self.describe(np.asarray(x, dtype=np.float64))
        return np.where(np.isinf(found), np.nan, found)

    def _log_ratios(self, x: Array) -> Array | None:
        """log μ of every sample, one of each group of copies; None if too few are left."""
        xp = namespace(x)
        x = x / power_of_two(xp.max(xp.abs(x)))  # squares neither overflow nor vanish
        while x.shape[0] >= self.min_samples:
            lists, squared = _near(x, self.n2)
            size = xp.sum(x * x, axis=1)
            copy = squared[:, 0] <= (8 * epsilon(x)) ** 2 * size
            if not bool(xp.any(copy)):
                return (xp.log(squared[:, self.n2 - 1]) - xp.log(squared[:, self.n1 - 1])) / 2
            # the first of a group stays; where rounding hides which it is, the next round finds out
            later = copy & (lists[:, 0] < arange(x.shape[0], like=x))
            x = xp.take(x, xp.nonzero(~later)[0], axis=0)
        return None


def _near(x: Array, k: int) -> tuple[Array, Array]:
    """Neighbours of each sample, (n, k), nearest first, and their squared distances, from differences."""
    xp = namespace(x)
    near = points(x, "euclidean")
    lists = neighbours(near, k)
    index = arange(x.shape[0], like=x)
    near = near._replace(original=x)  # distances in the units of x
    squared = [direct_keys(near, index[start:stop], lists[start:stop, :]) for start, stop in row_blocks(x)]
    return lists, xp.sort(xp.concat(squared), axis=1)


def _kept(log_mu: Array, discard: float) -> Array:
    """`log_mu` (n,) in increasing order, without the fraction `discard` of the largest."""
    n = log_mu.shape[0]
    return namespace(log_mu).sort(log_mu)[: max(1, int(n * (1 - discard)))]


def _fitted(x: Array, n: int) -> Array:
    """Slope through the origin of −log(1 − i/n) against `x`, the smallest of n values log μ in increasing order."""
    xp = namespace(x)
    place = xp.astype(arange(x.shape[0], like=x), x.dtype) + 1
    y = -xp.log1p(-place / n)
    return xp.sum(x * y) / xp.sum(x * x)


def _most_likely(log_mu: Array, n1: int, n2: int) -> Array:
    """Root d of n/d + (n2 − n1 − 1) Σ log μ / (1 − μ⁻ᵈ) − (n2 − 1) Σ log μ, which decreases in d."""
    xp = namespace(log_mu)
    n = log_mu.shape[0]
    total = xp.sum(log_mu)
    # 1 ≤ 1/(1 − e⁻ᵘ) ≤ 1 + 1/u brackets the root
    low, high = n / (n1 * total), n * (n2 - n1) / (n1 * total)
    some = log_mu > 0
    safe = xp.where(some, log_mu, xp.ones_like(log_mu))
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        terms = xp.where(some, -safe / xp.expm1(-middle * safe), 1 / middle)
        slope = n / middle + (n2 - n1 - 1) * xp.sum(terms) - (n2 - 1) * total
        low, high = xp.where(slope > 0, middle, low), xp.where(slope > 0, high, middle)
    return (low + high) / 2

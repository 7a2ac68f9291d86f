"""Hilbert-Schmidt independence criterion: centered kernel alignment before it is normalised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from consilience._array import Array, centred, namespace, stop_gradient
from consilience._resampling import Floats, Orders
from consilience.measures._kernels import Kernel, check_bandwidth
from consilience.measures.cka import CKA, CKAState
from consilience.registry import Family, Invariance, Kind, Measure, Moments, per_instance, register

__all__ = ["HSIC", "HSICEstimator", "HSICState"]

HSICEstimator: TypeAlias = Literal["unbiased", "biased"]


class HSICState(NamedTuple):
    """What the inner products of kernels need, and the unit they were taken in."""

    products: CKAState
    unit: Array  # 0-d: factor of the kernel that scaling the features took away


@register
@dataclass(frozen=True)
class HSIC(Measure):
    """Hilbert-Schmidt independence criterion.

    With K = k(x_i, x_j) and L = k(y_i, y_j) for x (n, p) and y (n, q), H = I − 11ᵀ/n, and K̃, L̃ the same matrices with
    zeros on the diagonal::

        biased    =  tr(KHLH) / (n−1)²
        unbiased  =  [ tr(K̃L̃) + 1ᵀK̃1 · 1ᵀL̃1 / ((n−1)(n−2)) − 2/(n−2) · 1ᵀK̃L̃1 ] / (n(n−3))

    In units of the kernels: for the linear kernel, squared units of x times squared units of y; for the others, whose
    values lie in [0, 1], none. `biased` is in [0, ∞), `unbiased` in (−∞, ∞) with mean zero for independent samples;
    it is returned as estimated and may be negative. What the largest value is depends on the data, so that scores of
    different pairs are not comparable; `cka` is this score over the geometric mean of those of x and y with
    themselves.

    Parameters
    ----------
    kernel : {"linear", "rbf", "laplace"}
        xᵀx', exp(−‖x−x'‖²/2σ²) or exp(−‖x−x'‖/σ).
    bandwidth : float
        σ as a multiple, from 1e-6 to 1e6, of the median distance between rows i < j of that representation. Not used
        by the linear kernel.
    estimator : {"unbiased", "biased"}
        The U-statistic of Song et al. (2012) or the V-statistic of Gretton et al. (2005).

    Notes
    -----
    Features are centred in two passes and scaled before any product, and the scale is put back at the end. Costs are
    those of `cka`: products of features or of Gram matrices, whichever is cheaper, in blocks of rows.

    References
    ----------
    Gretton, Bousquet, Smola, Schölkopf, "Measuring statistical dependence with Hilbert-Schmidt norms", ALT 2005.
    Song, Smola, Gretton, Bedo, Borgwardt, "Feature selection via dependence maximization", JMLR 13, 2012 (unbiased).

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(0).standard_normal((200, 3))
    >>> y = np.random.default_rng(1).standard_normal((200, 3))
    >>> print(f"{HSIC(kernel='rbf')(x, x**2):.4f} {HSIC(kernel='rbf')(x, y):.4f}")
    0.0056 0.0003
    """

    title = "Hilbert-Schmidt independence criterion"
    reference = "gretton2005"
    family = Family.KERNEL
    cost = "O(n p q) or O(n² (p + q)), whichever is less; other kernels O(n² (p + q))"
    use = "To test or train for statistical dependence, where an estimate that is unbiased and zero for none is wanted."
    avoid = "To say how alike two representations are: it has units and no largest value; `cka` is its normalised form."
    aliases = {"hsic_biased": {"estimator": "biased"}, "hsic_rbf": {"kernel": "rbf"}}
    kind = Kind.SIMILARITY
    symmetric = True
    differentiable = True
    bounds = per_instance(lambda self: (0.0 if self.estimator == "biased" else -float("inf"), float("inf")))
    invariances = per_instance(
        lambda self: frozenset(
            {Invariance.TRANSLATION, Invariance.ORTHOGONAL}
            | (set() if self.kernel == "linear" else {Invariance.ISOTROPIC_SCALING})
        )
    )

    kernel: Kernel = "linear"
    bandwidth: float = 1.0
    estimator: HSICEstimator = "unbiased"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_bandwidth(self.bandwidth, self.name)

    @property
    def min_samples(self) -> int:
        """Two, or four where the estimate divides by n − 3."""
        return 2 if self.estimator == "biased" else 4

    def self_score(self, n: int) -> float | None:
        """None: it depends on the samples."""
        del n

    def prepare(self, x: Array, /) -> HSICState:
        """Prepare as for `cka`, and keep the scale of the features where the kernel has units."""
        xp = namespace(x)
        products = self._alignment.prepare(x)
        if self.kernel != "linear":
            return HSICState(products, xp.ones_like(products.norm))
        scale = stop_gradient(xp.max(xp.abs(centred(x))))  # a constant there, so here too
        return HSICState(products, scale * scale)

    def compare(self, a: HSICState, b: HSICState, /) -> Array:
        """Inner product of the centred kernels."""
        count = self._count(a.products.diagonal.shape[0])
        return self._alignment.inner(a.products, b.products) / count * a.unit * b.unit

    def compare_all(self, states: Sequence[HSICState], /) -> Array:
        """All inner products at once."""
        xp = namespace(states[0].unit)
        units = xp.stack([state.unit for state in states])
        inner = self._alignment.inner_all([state.products for state in states])
        return inner / self._count(states[0].products.diagonal.shape[0]) * units[:, None] * units[None, :]

    def from_moments(self, *folds: Moments) -> Array:
        """Inner products of linear kernels from the products of features."""
        if self.kernel != "linear":
            return super().from_moments(*folds)
        (m,) = folds
        return self._alignment.inner_of_moments(m)[1] / self._count(m.n)

    @property
    def streams(self) -> bool:
        """Only the linear kernel has features to accumulate."""
        return self.kernel == "linear"

    def permuted(self, a: HSICState, b: HSICState, orders: Orders, /) -> Floats:
        """Inner products with reordered rows."""
        found = self._alignment.inner_permuted(a.products, b.products, orders)
        return found / self._count(a.products.x.shape[0]) * float(a.unit * b.unit)

    def cycled(self, a: HSICState, b: HSICState, cycle: Orders, /) -> Floats:
        """Inner products with rows moved along a cycle."""
        found = self._alignment.inner_cycled(a.products, b.products, cycle)
        return found / self._count(a.products.x.shape[0]) * float(a.unit * b.unit)

    def chance(self, a: HSICState, b: HSICState, /) -> float:
        """Zero if unbiased."""
        found = self._alignment.inner_by_chance(a.products, b.products)
        return found / self._count(a.products.x.shape[0]) * float(a.unit * b.unit)

    def without_each(self, x: Floats, y: Floats, /) -> Floats:
        """Leave rows out of the inner products; the bandwidth stays."""
        a, b = (self.prepare(each) for each in (x, y))
        found = self._alignment.inner_without_each(a.products, b.products)
        return found / self._count(x.shape[0] - 1) * float(a.unit * b.unit)

    def degenerate(self, state: HSICState, /) -> str | None:
        """No feature varies, or the bandwidth is zero. An estimate of zero is a score."""
        if not bool(namespace(state.unit).any(state.products.x != 0)):
            return "every feature is constant"
        if state.products.profile is not None and not bool(state.products.profile.sigma > 0):
            return "more than half of the pairs of rows coincide, so that the median distance is zero"
        return None

    @property
    def _alignment(self) -> CKA:
        """The measure that shares the inner product."""
        return CKA(self.kernel, self.bandwidth, "biased" if self.estimator == "biased" else "debiased")

    def _count(self, n: int) -> int:
        """Return by how much the inner product exceeds the estimate."""
        return (n - 1) ** 2 if self.estimator == "biased" else n * (n - 3)

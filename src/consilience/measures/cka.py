"""Centered kernel alignment and its estimators."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from consilience._array import Array, centred, epsilon, matmul, namespace, row_blocks, within_one
from consilience._resampling import Floats, Orders
from consilience.errors import ConsilienceError
from consilience.measures._kernels import (
    Kernel,
    KernelProfile,
    centred_gram_rows,
    check_bandwidth,
    kernel_profile,
    squared_products,
)
from consilience.measures._resampled import (
    Centred,
    inner_cycled,
    inner_left_out,
    inner_permuted,
    inner_permuted_coarsely,
    own_features_left_out,
)
from consilience.registry import Family, Invariance, Kind, Measure, Moments, per_instance, register

__all__ = ["CKA", "CKAState", "Estimator"]

Estimator: TypeAlias = Literal["debiased", "biased", "lange", "depcols"]

_CACHED_ROWS = 1024  # up to here a Gram matrix (8 MiB) is kept with the representation
_MOSTLY_CHANCE = 0.5  # from here on, a biased score that chance alone would reach on average is said to be one
_STACKED_BYTES = 2**28  # largest matrix of all features against all features


class CKAState(NamedTuple):
    """A centred representation, with what its inner products with others need."""

    x: Array  # (n, d), columns centred, scaled to unit magnitude
    gram: Array | None  # (n, n), HKH, where it pays to keep it
    profile: KernelProfile | None  # None for the linear kernel
    diagonal: Array  # (n,), of HKH
    norm: Array  # 0-d, the self inner product the score is normalised by
    uncorrected: Array  # 0-d, ‖HKH‖²


@register
@dataclass(frozen=True)
class CKA(Measure):
    """Centered kernel alignment.

    With K = k(x_i, x_j) and L = k(y_i, y_j), both centred (HKH, H = I − 11ᵀ/n), for x (n, p) and y (n, q)::

        cka = ⟨K, L⟩ / √(⟨K, K⟩ ⟨L, L⟩),   ⟨K, L⟩ = Σᵢⱼ KᵢⱼLᵢⱼ − c₁ Σᵢ KᵢᵢLᵢᵢ + c₂ tr K tr L

    A number without unit; 1 for representations that agree up to the invariances, about 0 for unrelated ones. It
    is returned as estimated: a debiased estimate may be negative and is not clamped.

    Parameters
    ----------
    kernel : {"linear", "rbf", "laplace"}
        xᵀx', exp(−‖x−x'‖²/2σ²) or exp(−‖x−x'‖/σ).
    bandwidth : float
        σ as a multiple, from 1e-6 to 1e6, of the median distance between rows i < j of that representation, so that
        the scale of the features does not matter. Above 4096 rows the lower median is found to rounding by counting,
        and gradients take it as a constant. Not used by the linear kernel.
    estimator : {"debiased", "biased", "lange", "depcols"}
        debiased
            c₁ = n/(n−2), c₂ = 1/((n−1)(n−2)): ⟨K, L⟩ is n(n−3) times the unbiased estimate of HSIC (Song et al.
            2012), the inner product of U-centred matrices (Székely & Rizzo 2014). Independent representations give
            0 on average, whatever their width. In [−1, 1].
        biased
            c₁ = c₂ = 0: close to 1 for unrelated representations with more features than samples, which is flagged
            where reordered rows would score 0.5 or more on average. In [0, 1].
        lange
            c₁ = 1, c₂ = 0: off-diagonal entries of the centred matrices only (Lange et al. 2023). In [−1, 1].
        depcols
            Linear kernel only: the features too are a sample (of neurons). The self inner products leave out what a
            feature has in common with itself: ⟨K, K⟩ → p/(p−1) · (⟨K, K⟩ − Σ_a ⟨K_a, K_a⟩) with K_a the Gram matrix
            of feature a, all debiased (Chun et al. 2025, arXiv 2502.15104). Not bounded, not 1 for identical
            inputs, and, depending on which features were sampled, not invariant to rotations.

    Notes
    -----
    Features are centred in two passes and scaled before any product. Linear kernels use the products of features
    XᵀY or the Gram matrices, whichever costs less: O(n·p·q) or O(n²(p + q)); other kernels O(n²(p + q)), in blocks of
    rows. In JAX without ``jax_enable_x64`` everything is float32 at highest precision, good to about 1e-5, less
    where features far outnumber samples.

    References
    ----------
    Kornblith, Norouzi, Lee, Hinton, "Similarity of neural network representations revisited", ICML 2019.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(0).standard_normal((100, 5))
    >>> y = np.random.default_rng(1).standard_normal((100, 200))
    >>> round(float(CKA()(x, 3 * x[:, ::-1] + 1)), 6)
    1.0
    >>> print(f"{CKA()(x, y):.2f} {CKA(estimator='biased')(x, y):.2f}")
    -0.01 0.17
    """

    title = "Centered kernel alignment"
    reference = "kornblith2019"
    family = Family.KERNEL
    cost = "O(n p q) or O(n² (p + q)), whichever is less; other kernels O(n² (p + q))"
    use = (
        "The default for hidden layers of any width: it ignores rotation, scale and offset, and is zero "
        "on average for unrelated representations."
    )
    avoid = "When the directions of small variance matter: the few largest principal components dominate it."
    aliases = {
        "cka_linear": {"estimator": "biased"},
        "rv_coefficient": {"estimator": "biased"},
        "cka_debiased": {},
        "cka_lange": {"estimator": "lange"},
        "cka_depcols": {"estimator": "depcols"},
        "cka_rbf": {"kernel": "rbf"},
        "cka_laplace": {"kernel": "laplace"},
    }
    kind = Kind.SIMILARITY
    symmetric = True
    differentiable = True
    bounds = per_instance(lambda self: _BOUNDS[self.estimator])
    invariances = per_instance(
        lambda self: frozenset(
            {
                Invariance.TRANSLATION,
                Invariance.ISOTROPIC_SCALING,
                Invariance.PERMUTATION if self.estimator == "depcols" else Invariance.ORTHOGONAL,
            }
        )
    )

    kernel: Kernel = "linear"
    bandwidth: float = 1.0
    estimator: Estimator = "debiased"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_bandwidth(self.bandwidth, self.name)
        if self.estimator == "depcols" and self.kernel != "linear":
            raise ConsilienceError(
                f"cka with estimator 'depcols' treats features one by one, which kernel {self.kernel!r} cannot: "
                "use kernel 'linear', or estimator 'debiased'."
            )

    @property
    def min_samples(self) -> int:
        """Three, as two samples always have biased scores of 1, or four where the estimate divides by n − 3."""
        return 3 if self.estimator == "biased" else 4

    def self_score(self, n: int) -> float | None:
        """One, except that ``depcols`` depends on the features."""
        del n
        return None if self.estimator == "depcols" else 1.0

    def prepare(self, x: Array, /) -> CKAState:
        """Centre; measure the kernel; take the inner product with itself."""
        xp = namespace(x)
        x = centred(x, unit=True)
        n, d = x.shape
        profile = None if self.kernel == "linear" else kernel_profile(x, self.kernel, self.bandwidth)
        keep = n <= _CACHED_ROWS and (profile is not None or 4 * d >= n)
        gram = centred_gram_rows(x, self.kernel, profile, 0, n) if keep else None
        diagonal = xp.sum(x * x, axis=1) if profile is None else 1 - 2 * profile.row_means + profile.mean
        state = CKAState(x, gram, profile, diagonal, diagonal[0], diagonal[0])
        uncorrected = self._entries(state, state)
        norm = self._correct(uncorrected, state, state)
        if self.estimator == "depcols":
            norm = self._without_own_features(norm, x)
        return state._replace(norm=norm, uncorrected=uncorrected)

    def compare(self, a: CKAState, b: CKAState, /) -> Array:
        """⟨K, L⟩ over the geometric mean of ⟨K, K⟩ and ⟨L, L⟩."""
        xp = namespace(a.x)
        return self._within_bounds(self.inner(a, b) / (xp.sqrt(a.norm) * xp.sqrt(b.norm)))

    def compare_all(self, states: Sequence[CKAState], /) -> Array:
        """All inner products, over the geometric means of those with themselves."""
        xp = namespace(states[0].x)
        root = xp.sqrt(xp.stack([state.norm for state in states]))
        return self._within_bounds(self.inner_all(states) / (root[:, None] * root[None, :]))

    def inner(self, a: CKAState, b: CKAState) -> Array:
        """⟨K, L⟩ of the class docstring, a 0-d array."""
        return self._correct(self._entries(a, b), a, b)

    def inner_all(self, states: Sequence[CKAState]) -> Array:
        """⟨K, L⟩ of all pairs, (M, M).

        One product of all features with all features, or of all Gram matrices, block by block of rows.
        """
        xp = namespace(states[0].x)
        width = sum(state.x.shape[1] for state in states)
        entries = (
            squared_products([state.x for state in states])
            if 8 * width * width <= _STACKED_BYTES and _features_are_cheaper(states, width * width)
            else self._entries_by_samples(states)
        )
        diagonals = xp.stack([state.diagonal for state in states])  # (M, n)
        traces = xp.sum(diagonals, axis=1)
        c1, c2 = self._corrections(diagonals.shape[1])
        return entries - c1 * matmul(diagonals, diagonals.T) + c2 * traces[:, None] * traces[None, :]

    def from_moments(self, *folds: Moments) -> Array:
        """Inner products of Gram matrices from the products of features."""
        if self.kernel != "linear" or self.estimator == "depcols":
            return super().from_moments(*folds)
        (m,) = folds
        xp = namespace(m.xx)
        xx, xy, yy = self.inner_of_moments(m)
        return xy / (xp.sqrt(xx) * xp.sqrt(yy))

    def inner_of_moments(self, m: Moments) -> tuple[Array, Array, Array]:
        """⟨K, K⟩, ⟨K, L⟩ and ⟨L, L⟩ of linear kernels, in the units of the features."""
        xp = namespace(m.xx)
        c1, c2 = self._corrections(m.n)
        trace_x, trace_y = (xp.sum(xp.linalg.diagonal(each)) for each in (m.xx, m.yy))

        def inner(products: Array, fourth: Array, traces: Array) -> Array:
            return xp.sum(products * products) - c1 * fourth + c2 * traces

        return (
            inner(m.xx, m.fourth_xx, trace_x * trace_x),
            inner(m.xy, m.fourth_xy, trace_x * trace_y),
            inner(m.yy, m.fourth_yy, trace_y * trace_y),
        )

    @property
    def streams(self) -> bool:
        """Only the linear kernel has features to accumulate."""
        return self.kernel == "linear" and self.estimator != "depcols"

    def permuted(self, a: CKAState, b: CKAState, orders: Orders, /) -> Floats:
        """The norms do not change with the order of rows."""
        return self.inner_permuted(a, b, orders) / np.sqrt(a.norm) / np.sqrt(b.norm)

    def permuted_coarsely(self, a: CKAState, b: CKAState, orders: Orders, /) -> tuple[Floats, float] | None:
        """From products of features in single precision."""
        found = inner_permuted_coarsely(self._centred(a), self._centred(b), orders, self._corrections(a.x.shape[0]))
        if found is None:
            return None
        root = float(np.sqrt(a.norm) * np.sqrt(b.norm))
        return found[0] / root, found[1] / root

    def cycled(self, a: CKAState, b: CKAState, cycle: Orders, /) -> Floats:
        """All moves of the rows along a cycle at once, from Gram matrices."""
        return self.inner_cycled(a, b, cycle) / np.sqrt(a.norm) / np.sqrt(b.norm)

    def chance(self, a: CKAState, b: CKAState, /) -> float:
        """tr K tr L / (n − 1) over the norms if biased, zero if debiased."""
        return self.inner_by_chance(a, b) / float(np.sqrt(a.norm) * np.sqrt(b.norm))

    def without_each(self, x: Floats, y: Floats, /) -> Floats:
        """Leave rows out of the inner products; the bandwidth stays."""
        a, b = (self.prepare(each) for each in (x, y))
        norms = self._norm_without_each(a), self._norm_without_each(b)
        with np.errstate(invalid="ignore"):  # estimates of norms may be negative: there is no score then
            return self.inner_without_each(a, b) / np.sqrt(norms[0]) / np.sqrt(norms[1])

    def inner_permuted(self, a: CKAState, b: CKAState, orders: Orders) -> Floats:
        """⟨K, L⟩ with the rows of `b` in each of `orders` (P, n): (P,)."""
        return inner_permuted(self._centred(a), self._centred(b), orders, self._corrections(a.x.shape[0]))

    def inner_cycled(self, a: CKAState, b: CKAState, cycle: Orders) -> Floats:
        """⟨K, L⟩ with the rows of `b` moved along `cycle`, (n,)."""
        return inner_cycled(self._centred(a), self._centred(b), cycle, self._corrections(a.x.shape[0]))

    def inner_by_chance(self, a: CKAState, b: CKAState) -> float:
        """Mean of ⟨K, L⟩ over all orders of the rows of `b`."""
        n = a.x.shape[0]
        c1, c2 = self._corrections(n)
        rest = 0.0 if self.estimator in ("debiased", "depcols") else 1 / (n - 1) - c1 / n + c2
        return float(np.sum(a.diagonal) * np.sum(b.diagonal)) * rest

    def inner_without_each(self, a: CKAState, b: CKAState) -> Floats:
        """⟨K, L⟩ with each row left out, (n,)."""
        return inner_left_out(self._centred(a), self._centred(b), self._corrections)

    def _norm_without_each(self, state: CKAState) -> Floats:
        norm = self.inner_without_each(state, state)
        if self.estimator != "depcols":
            return norm
        d = state.x.shape[1]
        return d / (d - 1) * (norm - own_features_left_out(state.x, self._corrections))

    def _centred(self, state: CKAState) -> Centred:
        def rows(start: int, stop: int) -> Floats:
            if state.gram is not None:
                return state.gram[start:stop]
            return centred_gram_rows(state.x, self.kernel, state.profile, start, stop)

        return Centred(state.x if state.profile is None else None, rows, state.diagonal)

    def degenerate(self, state: CKAState, /) -> str | None:
        """No feature varies, the bandwidth is zero, or nothing is left after the correction."""
        if not bool(namespace(state.x).any(state.x != 0)):
            return "every feature is constant"
        if state.profile is not None and not bool(state.profile.sigma > 0):
            return "more than half of the pairs of rows coincide, so that the median distance is zero"
        if not bool(state.norm > 1e4 * epsilon(state.x) * state.uncorrected):
            if self.estimator == "depcols":
                return "the features have nothing in common with each other (estimator depcols needs two that do)"
            return f"the {self.estimator} inner product with itself is zero to rounding"
        return None

    def caveat(self, a: CKAState, b: CKAState, /) -> str | None:
        """Biased scores of representations that fill the space of samples are large whatever the data."""
        if self.estimator != "biased":
            return None
        xp = namespace(a.x)
        traces = xp.sum(a.diagonal) * xp.sum(b.diagonal)
        chance = float(traces / (xp.sqrt(a.norm) * xp.sqrt(b.norm))) / (a.x.shape[0] - 1)
        if chance < _MOSTLY_CHANCE:
            return None
        return (
            f"with its rows in random order this pair would have a score of {chance:.2f} on average, as it varies in "
            f"about as many directions as {a.x.shape[0]} samples can; use more samples, or estimator 'debiased'"
        )

    def _within_bounds(self, scores: Array) -> Array:
        """By Cauchy and Schwarz, as inner products of (U-)centred matrices, but for the norms of ``depcols``."""
        return scores if self.estimator == "depcols" else within_one(scores)

    def _corrections(self, n: int) -> tuple[float, float]:
        """c₁ and c₂ of the class docstring."""
        if self.estimator == "biased":
            return 0.0, 0.0
        if self.estimator == "lange":
            return 1.0, 0.0
        return n / (n - 2), 1 / ((n - 1) * (n - 2))

    def _correct(self, entries: Array, a: CKAState, b: CKAState) -> Array:
        xp = namespace(a.diagonal)
        c1, c2 = self._corrections(a.diagonal.shape[0])
        return entries - c1 * xp.sum(a.diagonal * b.diagonal) + c2 * xp.sum(a.diagonal) * xp.sum(b.diagonal)

    def _entries(self, a: CKAState, b: CKAState) -> Array:
        """Σᵢⱼ KᵢⱼLᵢⱼ by whichever route is cheaper."""
        xp = namespace(a.x)
        if _features_are_cheaper((a, b), a.x.shape[1] * b.x.shape[1]):
            product = matmul(a.x.T, b.x)  # (p, q)
            return xp.sum(product * product)
        return self._entries_by_samples((a,) if b is a else (a, b))[0, -1]

    def _entries_by_samples(self, states: Sequence[CKAState]) -> Array:
        """Inner products of the Gram matrices, which are symmetric: what is right of the diagonal counts twice."""
        xp = namespace(states[0].x)
        total = xp.zeros_like(states[0].diagonal[0])
        for start, stop in row_blocks(states[0].x, arrays=len(states)):
            own = self._flat(states, start, stop, start, stop)
            total = total + matmul(own, own.T)
            if stop < states[0].x.shape[0]:
                right = self._flat(states, start, stop, stop, None)
                total = total + 2 * matmul(right, right.T)
        return total

    def _flat(self, states: Sequence[CKAState], start: int, stop: int, first: int, last: int | None) -> Array:
        """Part of the centred Gram matrix of each state, rows ``start:stop`` and columns ``first:last``, (M, …)."""
        parts = [
            centred_gram_rows(state.x, self.kernel, state.profile, start, stop, first, last)
            if state.gram is None
            else state.gram[start:stop, first:last]
            for state in states
        ]
        xp = namespace(states[0].x)
        return xp.stack([xp.reshape(part, (-1,)) for part in parts])

    def _without_own_features(self, norm: Array, x: Array) -> Array:
        xp = namespace(x)
        n, d = x.shape
        if d == 1:
            return xp.zeros_like(norm)
        c1, c2 = self._corrections(n)
        squares = x * x
        trace = xp.sum(squares, axis=0)  # (d,)
        own = xp.sum((1 + c2) * trace * trace - c1 * xp.sum(squares * squares, axis=0))
        return d / (d - 1) * (norm - own)


_BOUNDS = {
    "debiased": (-1.0, 1.0),
    "biased": (0.0, 1.0),
    "lange": (-1.0, 1.0),
    "depcols": (-float("inf"), float("inf")),
}


def _features_are_cheaper(states: Sequence[CKAState], products: int) -> bool:
    """Whether n · products operations on features beat making and multiplying the Gram matrices."""
    if states[0].profile is not None:
        return False
    n = states[0].x.shape[0]
    missing = sum(state.x.shape[1] for state in states if state.gram is None)
    return products < n * (missing + len(states) ** 2)

"""Alignment of kernels over nearest neighbours that two representations share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from consilience._array import Array, arange, epsilon, namespace, unit_scaled
from consilience.errors import ConsilienceError
from consilience.measures._nearness import neighbours, points, unit_rows
from consilience.registry import Family, Invariance, Kind, Measure, per_instance, register

__all__ = ["CKNNA", "CKNNAState", "Similarity"]

Similarity: TypeAlias = Literal["cosine", "inner"]

_GATHERED_ELEMENTS = 2**20  # neighbours of neighbours held at once


class CKNNAState(NamedTuple):
    """The kernel of one representation on its neighbour lists."""

    lists: Array  # (n, k) integers
    values: Array  # (n, k), kernel of each sample with its neighbours
    norm: Array  # 0-d, the inner product of the kernel on its lists with itself
    uncorrected: Array  # 0-d, the sum of magnitudes that went into it


@register
@dataclass(frozen=True)
class CKNNA(Measure):
    """Centered kernel nearest-neighbour alignment.

    With K_ij = xᵢ·xⱼ for x (n, p), L_ij = yᵢ·yⱼ for y (n, q), N_x(i) the k nearest of the other samples to i in x, and
    masks α_ij = 1 if j ∈ N_x(i), β_ij = 1 if j ∈ N_y(i), else 0::

        cknna = h(αβK, αβL) / √( h(αK, αK) h(βL, βL) )
        h(A, B) = Σ A_ij B_ji + ΣA ΣB / ((n−1)(n−2)) − (1ᵀAB1 + 1ᵀBA1) / (n−2)

    h is n(n−3) times the unbiased estimate of HSIC (Song et al. 2012). A number without unit; 1 for representations
    that agree up to the invariances, about 0 for unrelated ones, and usually in between. It is not bounded: masks are
    not symmetric and differ between numerator and denominator, so that the inequality that bounds `cka` does not apply.

    Parameters
    ----------
    k : int
        Number of neighbours, at least 2 and at most n − 2.
    metric : {"cosine", "inner"}
        What K and L are and neighbours are largest in: products of rows as given, scaled to norm one or not.
    symmetrized : bool
        False takes 2 · 1ᵀAB1 in place of 1ᵀAB1 + 1ᵀBA1, as the published code does. For symmetric matrices the two are
        the same. Neighbour masks are not symmetric, and the score of (y, x) then differs from that of (x, y).

    Notes
    -----
    Published values come from the authors' code, ``symmetrized=False``, which also adds 1e-6 to the denominator: with
    rows of norm one and small n this takes 1e-5 from the score, with unscaled features nothing or everything. Here
    nothing is added. The article's own formula centres the rows of K and L before masking; its code, and this, mask
    first. A sample is never its own neighbour; ties are taken in order of index.

    O(n²(p + q)) in blocks of rows for the lists, O(n k²) for a pair; no (n, n) array is kept.

    References
    ----------
    Huh, Cheung, Wang, Isola, "The platonic representation hypothesis", ICML 2024.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(0).standard_normal((200, 5))
    >>> y = x + 0.1 * np.random.default_rng(1).standard_normal((200, 5))
    >>> print(f"{CKNNA()(x, y):.2f} {CKNNA()(x, y[::-1]):.2f}")
    0.86 0.05
    """

    title = "Centered kernel nearest-neighbour alignment"
    reference = "huh2024"
    family = Family.KERNEL
    cost = "O(n² (p + q) + n k²), in blocks of rows"
    use = "To compare with work on the platonic representation hypothesis, or where only near samples should count."
    avoid = (
        "When scores at different n or k are to be compared, or a bounded score with a known chance level is needed."
    )
    kind = Kind.SIMILARITY
    bounds = (-float("inf"), float("inf"))
    symmetric = per_instance(lambda self: self.symmetrized)
    invariances = frozenset({Invariance.ORTHOGONAL, Invariance.ISOTROPIC_SCALING})

    k: int = 10
    metric: Similarity = "cosine"
    symmetrized: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.k < 2:
            raise ConsilienceError(f"k of cknna is {self.k}; there must be at least two neighbours.")

    @property
    def min_samples(self) -> int:
        """k + 2, as with k + 1 all samples are neighbours; at least four for the estimate."""
        return max(4, self.k + 2)

    def self_score(self, n: int) -> float | None:
        """One, although other pairs are not bounded by it."""
        del n
        return 1.0

    def prepare(self, x: Array, /) -> CKNNAState:
        """Find the neighbours and their kernel values; take the inner product with itself."""
        xp = namespace(x)
        rows = unit_rows(x) if self.metric == "cosine" else unit_scaled(x)
        lists = neighbours(points(rows, "inner"), self.k)
        n, k = lists.shape
        step = max(1, _GATHERED_ELEMENTS // (k * x.shape[1]))
        values: list[Array] = []
        for start in range(0, n, step):
            block = lists[start : min(start + step, n), :]
            others = xp.reshape(xp.take(rows, xp.reshape(block, (-1,)), axis=0), (*block.shape, x.shape[1]))
            values.append(xp.sum(others * rows[start : start + block.shape[0], None, :], axis=2))
        kernel = xp.concat(values)
        norm, size = self._inner(lists, kernel, kernel)
        return CKNNAState(lists, kernel, norm, size)

    def compare(self, a: CKNNAState, b: CKNNAState, /) -> Array:
        """Inner product on the shared neighbours, over the geometric mean of those on the own ones."""
        xp = namespace(a.values)
        n = a.lists.shape[0]
        step = max(1, _GATHERED_ELEMENTS // (a.lists.shape[1] * b.lists.shape[1]))
        first: list[Array] = []
        second: list[Array] = []
        for start in range(0, n, step):
            stop = min(start + step, n)
            shared = a.lists[start:stop, :, None] == b.lists[start:stop, None, :]  # (rows, k, k)
            shared = xp.astype(shared, a.values.dtype)
            first.append(a.values[start:stop, :] * xp.sum(shared, axis=2))
            second.append(xp.sum(shared * b.values[start:stop, None, :], axis=2))
        inner, _ = self._inner(a.lists, xp.concat(first), xp.concat(second))
        return inner / (xp.sqrt(a.norm) * xp.sqrt(b.norm))

    def degenerate(self, state: CKNNAState, /) -> str | None:
        """Nothing distinguishes neighbours, or too few of them are mutual."""
        xp = namespace(state.values)
        spread = xp.max(state.values) - xp.min(state.values)
        if not bool(spread > 1e4 * epsilon(state.values) * xp.max(xp.abs(state.values))):
            return "all neighbours have the same product with each other, as when every feature is constant"
        if not bool(state.norm > 1e4 * epsilon(state.values) * state.uncorrected):
            return "the inner product of the kernel on its neighbours with itself is not positive"
        return None

    def _inner(self, lists: Array, first: Array, second: Array) -> tuple[Array, Array]:
        """h(A, B) of the class docstring, and the sum of magnitudes in it, for A and B given on `lists` (n, k)."""
        xp = namespace(first)
        n = lists.shape[0]
        sums_a, sums_b = xp.sum(first, axis=1), xp.sum(second, axis=1)  # (n,), of rows
        mutual = xp.sum(first * _transposed(lists, second))
        total = xp.sum(sums_a) * xp.sum(sums_b) / ((n - 1) * (n - 2))
        chain = _along(lists, first, sums_b)  # 1ᵀAB1 = Σ A_ij (B1)_j
        back = _along(lists, second, sums_a) if self.symmetrized else chain
        chain = (chain + back) / (n - 2)
        return mutual + total - chain, xp.abs(mutual) + xp.abs(total) + xp.abs(chain)


def _along(lists: Array, values: Array, sums: Array) -> Array:
    """Σᵢⱼ Aᵢⱼ sⱼ for A given as `values` on `lists`."""
    xp = namespace(values)
    gathered = xp.reshape(xp.take(sums, xp.reshape(lists, (-1,)), axis=0), lists.shape)
    return xp.sum(values * gathered)


def _transposed(lists: Array, values: Array) -> Array:
    """Bⱼᵢ at the places (i, j) of `lists` (n, k), for B given as `values` there; zero if i is no neighbour of j."""
    xp = namespace(values)
    n, k = lists.shape
    index = xp.astype(arange(n, like=values), lists.dtype)
    step = max(1, _GATHERED_ELEMENTS // (k * k))
    found: list[Array] = []
    for start in range(0, n, step):
        flat = xp.reshape(lists[start : min(start + step, n), :], (-1,))
        shape = (flat.shape[0] // k, k, k)
        theirs = xp.reshape(xp.take(lists, flat, axis=0), shape)
        weights = xp.reshape(xp.take(values, flat, axis=0), shape)
        own = index[start : start + shape[0], None, None]
        found.append(xp.sum(xp.where(theirs == own, weights, xp.zeros_like(weights)), axis=2))
    return xp.concat(found)

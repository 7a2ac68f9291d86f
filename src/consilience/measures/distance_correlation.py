"""Distance correlation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from consilience._array import Array, centred, epsilon, matmul, namespace, row_blocks, with_own, within_one
from consilience._resampling import Floats, Orders
from consilience.measures._rdm import euclidean_form, finished, rows_of
from consilience.measures._resampled import Centred, inner_left_out, matrix_cycled, matrix_permuted, whole_matrix
from consilience.registry import Family, Invariance, Kind, Measure, per_instance, register

__all__ = ["DistanceCorrelation", "DistanceEstimator", "DistanceState"]

DistanceEstimator: TypeAlias = Literal["biased", "bias_corrected"]

_CACHED_ROWS = 1024  # up to here the centred distances (8 MiB) are kept with the representation


class DistanceState(NamedTuple):
    """A representation with what centring its distances needs."""

    x: Array  # (n, d), columns centred, scaled to unit magnitude
    offsets: Array  # (n,), taken from a row and from a column of distances
    shift: Array  # 0-d, given back to every entry
    matrix: Array | None  # (n, n), centred distances, where it pays to keep them
    norm: Array  # 0-d, their inner product with themselves
    uncentred: Array  # 0-d, the same of the distances


@register
@dataclass(frozen=True)
class DistanceCorrelation(Measure):
    """Distance correlation.

    With A (n, n) the Euclidean distances of the rows of x (n, p), doubly centred, and B those of y (n, q)::

        biased = √( ⟨A, B⟩ / √(⟨A, A⟩ ⟨B, B⟩) ),   bias_corrected = ⟨Ã, B̃⟩ / √(⟨Ã, Ã⟩ ⟨B̃, B̃⟩)

    with ⟨·, ·⟩ the sum of products of entries, and Ã, B̃ distances that are U-centred. Without unit, 1 for
    representations that agree up to the invariances. Unlike a correlation it is zero in the limit of many samples only
    if the representations are independent.

    Parameters
    ----------
    estimator : {"biased", "bias_corrected"}
        biased
            The root, in [0, 1], as the name is used most often. Far above zero for unrelated representations
            with many features.
        bias_corrected
            Not a root: it estimates the square, is 0 on average for independent representations, may be negative
            and is not clamped. In [−1, 1].

    Notes
    -----
    Centred in two passes and scaled before any product. O(n²(p + q)) in blocks of rows; up to 1024 samples the
    (n, n) matrix is kept. U-centring takes a_i/(n−2) and a_j/(n−2), sums of a row and a column, from d_ij, adds
    a/((n−1)(n−2)), a the sum of all, and sets the diagonal to zero.

    References
    ----------
    Székely, Rizzo, Bakirov, "Measuring and testing dependence by correlation of distances", Ann. Statist. 35, 2007.
    Székely & Rizzo, "The distance correlation t-test of independence in high dimension", J. Multivar. Anal. 117, 2013.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(0).standard_normal((300, 1))
    >>> y = np.random.default_rng(4).standard_normal((300, 200))
    >>> for other in (x**2, y):
    ...     scores = [DistanceCorrelation(estimator)(x, other) for estimator in ("biased", "bias_corrected")]
    ...     print(f"{scores[0]:.2f} {scores[1]:.2f}")
    0.53 0.27
    0.30 0.01
    """

    title = "Distance correlation"
    reference = "szekely2007"
    family = Family.DISSIMILARITY
    cost = "O(n² (p + q)), in blocks of rows"
    use = "When any dependence should count, not only a linear one."
    avoid = "With the biased estimator when features are many: it is near one for unrelated representations too."
    aliases = {
        "dcor": {},
        "distance_correlation_bias_corrected": {"estimator": "bias_corrected"},
    }
    kind = Kind.SIMILARITY
    symmetric = True
    differentiable = True
    bounds = per_instance(lambda self: (0.0 if self.estimator == "biased" else -1.0, 1.0))
    invariances = frozenset({Invariance.TRANSLATION, Invariance.ISOTROPIC_SCALING, Invariance.ORTHOGONAL})

    estimator: DistanceEstimator = "biased"

    @property
    def min_samples(self) -> int:
        """Three, as two samples always have the same score, or four where the estimate divides by n − 3."""
        return 3 if self.estimator == "biased" else 4

    def prepare(self, x: Array, /) -> DistanceState:
        """Sums of the rows of distances, and the inner product of the centred distances with themselves."""
        xp = namespace(x)
        x = centred(x, unit=True)
        n = x.shape[0]
        sums, squares = [], xp.zeros_like(x[0, 0])
        for start, stop in row_blocks(x, arrays=2):
            rows = _distances(x, start, stop)
            sums.append(xp.sum(rows, axis=1))
            squares = squares + xp.sum(rows * rows)
        by_row = xp.concat(sums)
        total = xp.sum(by_row)
        offsets, shift = (
            (by_row / n, total / (n * n))
            if self.estimator == "biased"
            else (by_row / (n - 2), total / ((n - 1) * (n - 2)))
        )
        state = DistanceState(x, offsets, shift, None, squares, squares)
        if n <= _CACHED_ROWS:
            state = state._replace(matrix=self._rows(state, 0, n))
        return state._replace(norm=self._inner((state,))[0, 0])

    def compare(self, a: DistanceState, b: DistanceState, /) -> Array:
        """Inner product of centred distances, over the geometric mean of those with themselves."""
        return self.compare_all((a, b))[0, 1]

    def compare_all(self, states: Sequence[DistanceState], /) -> Array:
        """Each block of rows is computed once for all pairs."""
        xp = namespace(states[0].x)
        root = xp.sqrt(xp.stack([_or_one(state.norm) for state in states]))
        squared = within_one(self._inner(states) / (root[:, None] * root[None, :]))
        if self.estimator == "bias_corrected":
            return squared
        positive = squared > 0  # as it is but for rounding
        return xp.where(positive, xp.sqrt(xp.where(positive, squared, xp.ones_like(squared))), 0 * squared)

    def permuted(self, a: DistanceState, b: DistanceState, orders: Orders, /) -> Floats:
        """Inner products of centred distances, with rows and columns of those of `b` reordered."""
        n = a.offsets.size
        first, second = (whole_matrix(self._centred(each).rows, n) for each in (a, b))
        return self._in_form(matrix_permuted(first, second, orders), a.norm, b.norm)

    def cycled(self, a: DistanceState, b: DistanceState, cycle: Orders, /) -> Floats:
        """The same for all moves of rows and columns along a cycle."""
        n = a.offsets.size
        first, second = (whole_matrix(self._centred(each).rows, n) for each in (a, b))
        return self._in_form(matrix_cycled(first, second, cycle), a.norm, b.norm)

    def chance(self, a: DistanceState, b: DistanceState, /) -> float | None:
        """Zero if corrected; of the root it is not known."""
        del a, b
        return 0.0 if self.estimator == "bias_corrected" else None

    def without_each(self, x: Floats, y: Floats, /) -> Floats:
        """Centred distances of the others follow from those of all."""
        biased = type(self)("biased")  # its centred distances have rows that sum to zero
        a, b = (biased._centred(biased.prepare(each)) for each in (x, y))
        products = [inner_left_out(*pair, self._corrections) for pair in ((a, b), (a, a), (b, b))]
        return self._in_form(*products)

    def _in_form(self, inner: Floats, norm_a: Floats, norm_b: Floats) -> Floats:
        squared = inner / np.sqrt(norm_a) / np.sqrt(norm_b)
        return squared if self.estimator == "bias_corrected" else np.sqrt(np.maximum(squared, 0.0))

    def _corrections(self, n: int) -> tuple[float, float]:
        """What takes products of centred to those of U-centred distances."""
        return (0.0, 0.0) if self.estimator == "biased" else (n / (n - 2), 1 / ((n - 1) * (n - 2)))

    def _centred(self, state: DistanceState) -> Centred:
        return Centred(None, lambda start, stop: self._rows(state, start, stop), state.shift - 2 * state.offsets)

    def degenerate(self, state: DistanceState, /) -> str | None:
        """No feature varies, or distances are all equal and U-centring leaves nothing."""
        if not bool(state.uncentred > 0):
            return "every feature is constant"
        if not bool(state.norm > 1e4 * epsilon(state.x) * state.uncentred):
            return "all distances are equal, and nothing is left after centring"
        return None

    def _inner(self, states: Sequence[DistanceState]) -> Array:
        """Inner products of centred distances, (M, M)."""
        xp = namespace(states[0].x)
        total = xp.zeros_like(states[0].norm)
        for start, stop in row_blocks(states[0].x, arrays=len(states)):
            flat = xp.stack([xp.reshape(self._rows(state, start, stop), (-1,)) for state in states])
            total = total + matmul(flat, flat.T)
        return total

    def _rows(self, state: DistanceState, start: int, stop: int) -> Array:
        if state.matrix is not None:
            return state.matrix[start:stop, :]
        rows = _distances(state.x, start, stop) - state.offsets[start:stop, None] - state.offsets[None, :] + state.shift
        return rows if self.estimator == "biased" else with_own(rows, start, 0.0)


def _distances(x: Array, start: int, stop: int) -> Array:
    form = euclidean_form(x)
    return finished("euclidean", rows_of(form, start, stop), form)


def _or_one(norm: Array) -> Array:
    xp = namespace(norm)
    return xp.where(norm > 0, norm, xp.ones_like(norm))

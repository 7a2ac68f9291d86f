"""How dissimilarity matrices are compared: each becomes a vector once, and all pairs of vectors share the work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

from consilience._array import Array, arange, epsilon, is_numpy, matmul, namespace, on_host
from consilience.errors import ConsilienceError
from consilience.measures._noise import EQUIDISTANT, SINGULAR
from consilience.measures._ranks import average_ranks, dense_ranks, kendall_matrix
from consilience.measures._rdm import (
    CROSS_VALIDATED,
    Form,
    Rdm,
    finished,
    full_matrix,
    pair_places,
    pair_values,
    reach_of,
    rounding,
    upper,
)

__all__ = ["FLAWS", "Comparison", "distance", "inner_products", "summary", "taus"]

Comparison: TypeAlias = Literal[
    "spearman",
    "pearson",
    "cosine",
    "tau_a",
    "tau_b",
    "rho_a",
    "whitened_cosine",
    "whitened_pearson",
    "euclidean",
]

FLAWS = {
    1.0: "every feature is constant, or all rows are at distance zero from each other",
    2.0: "all dissimilarities are equal",
    SINGULAR: (
        "the covariance of the noise is singular in directions in which conditions differ, so that their distance is "
        "infinite: shrinkage, say 0.1, makes it regular"
    ),
    EQUIDISTANT: (
        "there are as many features as n samples can tell apart (n − 1), so that all Mahalanobis distances are equal "
        "whatever the data: shrinkage, say 0.1, changes that"
    ),
}

_UNCENTRED = frozenset({"cosine", "whitened_cosine", "euclidean"})  # equal dissimilarities are no matter for these
_COLUMNS = 2**15  # of vectors, multiplied at once: M of them stay in cache
_EXACT_IN_SINGLE = 2**24


def summary(comparison: Comparison, rdm: Rdm, form: Form) -> tuple[Array, Array]:
    """Return the vector of a matrix for `comparison`, and its flaw, 0-d: a key of `FLAWS`, or zero."""
    if comparison in ("whitened_cosine", "whitened_pearson"):
        vector, flaw = _whitened_vector(comparison, rdm, form)
        return _unit(vector), flaw
    values = pair_values(form, signed=rdm in CROSS_VALIDATED)
    flaw = _flaw(comparison, values, form)
    if comparison in ("spearman", "rho_a", "tau_a", "tau_b"):  # every last step is increasing: ranks need none
        return _ranked(comparison, values, form), flaw
    values = finished(rdm, values, form)
    if comparison == "euclidean":
        return values, flaw
    return _unit(_less_mean(values) if comparison == "pearson" else values), flaw


def inner_products(vectors: Sequence[Array]) -> Array:
    """Inner products of all pairs of vectors, (M, M)."""
    xp = namespace(vectors[0])
    m = vectors[0].shape[0]
    step = _COLUMNS if is_numpy(vectors[0]) else m
    total = xp.zeros((len(vectors), len(vectors)), dtype=vectors[0].dtype) if is_numpy(vectors[0]) else 0.0
    for start in range(0, m, step):
        block = xp.stack([vector[start : start + step] for vector in vectors])
        total = total + matmul(block, block.T)
    return total


def distance(a: Array, b: Array) -> Array:
    """Euclidean distance of two vectors."""
    xp = namespace(a)
    difference = a - b
    return xp.sqrt(xp.sum(difference * difference))


def taus(vectors: Sequence[Array], *, corrected: bool) -> Array:
    """Kendall's tau of all pairs of vectors of dense ranks, (M, M), computed on the host."""
    m = len(vectors)

    def called(*ranks: Any) -> Any:
        return kendall_matrix(ranks, corrected=corrected)

    return on_host(called, *vectors, shape=(m, m), like=vectors[0])


def _ranked(comparison: Comparison, values: Array, form: Form) -> Array:
    m = values.shape[0]
    tolerance, largest = _tolerance(values, form)
    if comparison in ("tau_a", "tau_b"):
        if epsilon(values) > 1e-8 and m >= _EXACT_IN_SINGLE:
            raise ConsilienceError(
                f"rsa with {comparison} counts {m} dissimilarities, more than float32 can number: enable float64 "
                "(jax_enable_x64), or use fewer samples."
            )
        return dense_ranks(values, tolerance, largest)
    ranks = average_ranks(values, tolerance, largest)
    if comparison == "spearman":
        return _unit(ranks)
    # what the squares of centred ranks sum to when there are no ties, or ties are broken
    return ranks / ((float(m) ** 3 - m) / 12) ** 0.5


def _tolerance(values: Array, form: Form) -> tuple[Any, Array]:
    """How far rounding may have moved values, given their positions; and the most for any.

    In single precision many values lie within rounding of the next, and only equal ones are tied.
    """
    xp = namespace(values)
    k = form.half.shape[0]
    if epsilon(values) > 1e-8:
        zero = xp.zeros_like(values[0])
        return (lambda _: xp.zeros_like(values)), zero
    reach = reach_of(form) * rounding(values)
    largest = 2 * xp.max(reach)
    if is_numpy(values):

        def at(positions: Any) -> Any:
            rows, columns = pair_places(positions, k)
            return reach[rows] + reach[columns]

        return at, largest
    everything = upper(reach[:, None] + reach[None, :])
    return (lambda positions: xp.take(everything, positions)), largest


def _flaw(comparison: Comparison, values: Array, form: Form) -> Array:
    xp = namespace(values)
    bound = 2 * rounding(values) * xp.max(reach_of(form))
    low, high = xp.min(values), xp.max(values)
    one = xp.ones_like(low)
    flaw = xp.zeros_like(low)
    if comparison not in _UNCENTRED:
        flaw = xp.where(high - low <= bound, 2 * one, flaw)
    nothing = xp.maximum(xp.abs(high), xp.abs(low)) <= bound
    return xp.where(form.flaw > 0, form.flaw, xp.where(nothing, one, flaw))


def _whitened_vector(comparison: Comparison, rdm: Rdm, form: Form) -> tuple[Array, Array]:
    """Coordinates in which the errors of dissimilarities are independent and of equal variance.

    If the measurements of k conditions have independent noise, the covariance of squared distances is, up to a
    factor, the square, elementwise, of C Cᵀ with C the contrasts of all pairs. Its inverse takes the matrix D to
    HDH, H = I − 11ᵀ/k: d V⁻¹ d' ∝ ⟨HDH, HD'H⟩. Entries off the diagonal stand for two.
    """
    xp = namespace(form.half)
    k = form.half.shape[0]
    squared = full_matrix(form, signed=rdm in CROSS_VALIDATED)
    flaw = _flaw(comparison, upper(squared), form)
    matrix = finished(rdm, squared, form)
    index = arange(k, like=matrix)
    if comparison == "whitened_pearson":
        shift = xp.sum(matrix) / (k * (k - 1))
        matrix = xp.where(index[:, None] == index[None, :], matrix, matrix - shift)
    means = xp.mean(matrix, axis=1)
    matrix = matrix - means[:, None] - means[None, :] + xp.mean(means)
    return xp.concat([upper(matrix) * 2**0.5, xp.linalg.diagonal(matrix)]), flaw


def _less_mean(values: Array) -> Array:
    xp = namespace(values)
    return values - xp.mean(values)


def _unit(vector: Array) -> Array:
    """`vector`, which with NumPy is written to, divided by its norm; zeros stay zero."""
    xp = namespace(vector)
    energy = matmul(vector, vector)
    norm = xp.sqrt(xp.where(energy > 0, energy, xp.ones_like(energy)))
    if is_numpy(vector):
        vector /= norm
        return vector
    return vector / norm

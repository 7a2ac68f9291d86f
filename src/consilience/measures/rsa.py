"""Representational similarity analysis: dissimilarity matrices, compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from consilience._array import Array, is_traced, matmul, namespace, to_numpy, within_one
from consilience._resampling import Floats, Orders
from consilience.errors import ConsilienceError
from consilience.measures._noise import Repeats, check_balanced, repeats_of
from consilience.measures._rdm import CROSS_VALIDATED, Prior, Rdm, form_of
from consilience.measures._rdm_compare import FLAWS, Comparison, distance, inner_products, summary, taus
from consilience.measures._rdm_resampled import folded, left_out, of_pairs, rank_correlation_left_out, square
from consilience.measures._resampled import matrix_cycled, matrix_permuted
from consilience.registry import Family, Invariance, Kind, Measure, per_instance, register

__all__ = ["RSA", "RSAState"]


class RSAState(NamedTuple):
    """The dissimilarities of one representation, ready for the comparison, and whether they have a meaning."""

    vector: Array  # (m,) with m = n(n − 1)/2; whitened ones have n more
    flaw: Array  # 0-d, a key of `FLAWS` or zero


@register
@dataclass(frozen=True)
class RSA(Measure):
    """Representational similarity analysis.

    With d_ij, i < j, the dissimilarities of the rows of x (n, p), and d'_ij those of the rows of y (n, q), each m =
    n(n − 1)/2 numbers::

        rsa = Σ r_ij r'_ij / √(Σ r_ij² Σ r'_ij²),   r = rank(d) less its mean       (comparison "spearman")

    A number without unit, 1 for dissimilarities in the same order. It is about 0 for unrelated representations, except
    with comparison "cosine" or "whitened_cosine", where positive dissimilarities alone make it positive.

    Parameters
    ----------
    rdm : {"euclidean", "sqeuclidean", "correlation", "cosine", "mahalanobis", "crossnobis", "poisson", \
"poisson_cv", "gaussian"}
        euclidean, sqeuclidean
            ‖xᵢ − xⱼ‖, ‖xᵢ − xⱼ‖².
        cosine, correlation
            1 − cosine of the rows as given; of the rows less their means over features. A row of zeros is at 1.
        mahalanobis
            (xᵢ − xⱼ)ᵀ Σ⁻¹ (xᵢ − xⱼ), squared, Σ the covariance of the samples or, with targets, that within classes.
        crossnobis
            Mahalanobis between conditions, which targets tell, estimated across repeats: products of differences
            from different repeats. Zero on average (but for the error of Σ) where conditions do not differ, and
            negative where noise wins. K conditions with R ≥ 2 rows each.
        poisson
            Σ_k (λᵢ − λⱼ)(log λᵢ − log λⱼ), the symmetrised Kullback-Leibler divergence of Poisson rates λ =
            (x + prior_rate · prior_weight) / (1 + prior_weight), x ≥ 0.
        poisson_cv
            The same between conditions, rates and logarithms from different repeats, averaged over all folds.
        gaussian
            1 − exp(−‖xᵢ − xⱼ‖² / 2v), v the total variance of the representation, divided by n and not n − 1.
    comparison : {"spearman", "pearson", "cosine", "tau_a", "tau_b", "rho_a", "whitened_cosine", \
"whitened_pearson", "euclidean"}
        spearman, rho_a
            Rank correlation with average ranks for ties; what it is on average if ties are broken at random (divided
            by (m³ − m)/12, so that ties lower it).
        tau_a, tau_b
            Concordant less discordant pairs of dissimilarities over all; or corrected for ties.
        pearson, cosine
            Correlation and cosine of the m dissimilarities.
        whitened_cosine, whitened_pearson
            The same after removing the correlations that dissimilarities have because they share rows. Whitened
            cosine of sqeuclidean is biased linear CKA.
        euclidean
            √Σ (d_ij − d'_ij)², a distance in units of d, in [0, ∞).
    center : bool
        Whether columns are centred before rows are compared by cosine or correlation. The other kinds are either
        unchanged by it or (poisson) not defined.
    shrinkage : float
        Σ → (1 − s) Σ + s (tr Σ / p) I in mahalanobis and crossnobis, in [0, 1]; 1 gives Euclidean distances.
    prior_rate, prior_weight : float
        Of poisson and poisson_cv; both positive.

    Notes
    -----
    Distances come from one matrix product of centred features. Those that differ by no more than its rounding are
    ties (in single precision, equal ones only), so that a grid of stimuli has the ties it should have. Rows of one
    condition are in fold 0, 1, … in the order in which they come. Kendall's tau takes O(m log m). What is kept of a
    representation is m numbers; mahalanobis with as many features as n − 1 has no score unless it is shrunk.

    References
    ----------
    Kriegeskorte, Mur, Bandettini, "Representational similarity analysis", Front. Syst. Neurosci. 2:4, 2008.
    Walther et al., "Reliability of dissimilarity measures for multi-voxel pattern analysis", NeuroImage 137, 2016.
    Diedrichsen et al., "Comparing representational geometries using whitened unbiased-distance-matrix similarity",
    Neurons, Behavior, Data analysis, and Theory 5(3), 2021. Schütt et al., "Statistical inference on
    representational geometries", eLife 12:e82566, 2023 (rho-a).

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(0).standard_normal((100, 5))
    >>> y = x + np.random.default_rng(1).standard_normal((100, 5))
    >>> print(f"{RSA()(x, y):.3f} {RSA(rdm='cosine', comparison='tau_a')(x, y):.3f}")
    0.514 0.349
    >>> targets = np.repeat(np.arange(20), 5)  # five measurements of each of 20 conditions
    >>> print(f"{RSA(rdm='crossnobis')(x + 3 * x[targets], y + 3 * x[targets], targets=targets):.2f}")
    0.94
    """

    title = "Representational similarity analysis"
    reference = "kriegeskorte2008"
    family = Family.DISSIMILARITY
    cost = "O(n² (p + q) + n² log n) time, O(n²) memory"
    use = "When only the order of distances should count, or results are to be set beside published ones of brain data."
    avoid = "When n is above about 7000, whose pairs do not fit in memory, or distances are concentrated (p ≫ n)."
    aliases = {
        "representational_similarity_analysis": {},
        "rsa_correlation": {"rdm": "correlation"},
        "rsa_cosine": {"rdm": "cosine"},
        "whitened_unbiased_cosine": {"rdm": "crossnobis", "comparison": "whitened_cosine"},
    }
    kind = per_instance(lambda self: Kind.DISTANCE if self.comparison == "euclidean" else Kind.SIMILARITY)
    bounds = per_instance(lambda self: _bounds(self))
    symmetric = True
    needs_targets = per_instance(lambda self: self.rdm in CROSS_VALIDATED)
    rows_are_samples = per_instance(lambda self: self.rdm not in CROSS_VALIDATED)
    differentiable = per_instance(
        lambda self: self.comparison in _SMOOTH and self.rdm not in ("mahalanobis", *CROSS_VALIDATED)
    )
    invariances = per_instance(lambda self: _invariances(self))

    rdm: Rdm = "euclidean"
    comparison: Comparison = "spearman"
    center: bool = False
    shrinkage: float = 0.0
    prior_rate: float = 1.0
    prior_weight: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.shrinkage <= 1:
            raise ConsilienceError(f"shrinkage of rsa is {self.shrinkage}; it must be between 0 and 1.")
        for name in ("prior_rate", "prior_weight"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ConsilienceError(f"{name} of rsa is {getattr(self, name)}; it must be positive and finite.")
        if self.center and self.rdm in ("poisson", "poisson_cv"):
            raise ConsilienceError(f"rsa with rdm {self.rdm!r} takes rates, which cannot be centred: use center=False.")

    @property
    def min_samples(self) -> int:
        """Three, for more than one dissimilarity; four where two conditions are measured twice."""
        return 4 if self.needs_targets else 3

    def self_score(self, n: int) -> float | None:
        """One, or zero for a distance; where ties lower the score it depends on them."""
        return None if self.comparison in ("tau_a", "rho_a") else super().self_score(n)

    def check_input(self, x: Array, name: str, /) -> None:
        """Rates are not negative."""
        if self.rdm not in ("poisson", "poisson_cv") or is_traced(x):
            return
        xp = namespace(x)
        if bool(xp.any(x < 0)):
            raise ConsilienceError(
                f"{name} holds {float(xp.min(x)):.6g}; rsa with rdm {self.rdm!r} takes counts or rates, which are not "
                "negative: pass those, or choose another rdm."
            )

    def checked(
        self, values: Sequence[Any], names: Sequence[str], targets: Any = None
    ) -> tuple[list[Array], Array | None]:
        """Check as every measure does; classes stay in NumPy, known also under ``jax.jit``: they decide shapes."""
        arrays, found = super().checked(values, names, targets)
        if found is None or not is_traced(found):
            return arrays, found
        if is_traced(targets):
            raise ConsilienceError(
                f"measure {self.label} must know the targets, which decide shapes: make them a static argument of jit."
            )
        return arrays, np.asarray(targets)

    def prepare(self, x: Array, /) -> RSAState:
        """Compute the dissimilarities; rank, normalise or whiten them."""
        return self._summary(x, None)

    def prepare_with_targets(self, x: Array, targets: Array, /) -> RSAState:
        """Do as `prepare`; dissimilarities of conditions, or whitened by what varies within them."""
        if self.rdm not in ("mahalanobis", *CROSS_VALIDATED):
            return self.prepare(x)
        repeats = repeats_of(to_numpy(targets))
        if self.rdm in CROSS_VALIDATED:
            check_balanced(repeats, self.label)
        return self._summary(x, repeats)

    def compare(self, a: RSAState, b: RSAState, /) -> Array:
        """Inner product, distance or Kendall's tau of two vectors."""
        if self.comparison == "euclidean":
            return distance(a.vector, b.vector)
        if self.comparison in ("tau_a", "tau_b"):
            return taus((a.vector, b.vector), corrected=self.comparison == "tau_b")[0, 1]
        return within_one(matmul(a.vector, b.vector))

    def compare_all(self, states: Sequence[RSAState], /) -> Array:
        """One product of all vectors."""
        if self.comparison == "euclidean":
            return super().compare_all(states)
        vectors = [state.vector for state in states]
        if self.comparison in ("tau_a", "tau_b"):
            return taus(vectors, corrected=self.comparison == "tau_b")
        return within_one(inner_products(vectors))

    def permuted(self, a: RSAState, b: RSAState, orders: Orders, /) -> Floats:
        """Reorder rows and columns of the dissimilarities."""
        if self.comparison in ("tau_a", "tau_b"):
            other = square(b.vector)
            some = (b._replace(vector=of_pairs(other, order)) for order in orders)
            return np.asarray([float(self.compare(a, each)) for each in some])
        return self._of_products(a, b, lambda first, second: matrix_permuted(first, second, orders))

    def cycled(self, a: RSAState, b: RSAState, cycle: Orders, /) -> Floats | None:
        """All moves of rows and columns along a cycle at once."""
        if self.comparison in ("tau_a", "tau_b"):
            return None
        return self._of_products(a, b, lambda first, second: matrix_cycled(first, second, cycle))

    def chance(self, a: RSAState, b: RSAState, /) -> float | None:
        """Zero for correlations: every dissimilarity is as likely to stand anywhere."""
        if self.comparison == "cosine":
            return float(np.sum(a.vector) * np.sum(b.vector)) / a.vector.size
        return 0.0 if self.comparison in ("spearman", "pearson", "rho_a", "tau_a", "tau_b") else None

    def without_each(self, x: Floats, y: Floats, /) -> Floats | None:
        """Leave out rows and columns, where the other dissimilarities do not depend on them."""
        ranked = self.comparison == "spearman"
        local = self.rdm in _OF_PAIRS or (self.rdm in ("cosine", "correlation") and not self.center)
        if not (local or (ranked and self.rdm == "gaussian")):
            return None
        a, b = (self.prepare(each).vector for each in (x, y))
        if ranked:
            return rank_correlation_left_out(a, b) if x.shape[0] <= _RANKED_ROWS else None
        if self.comparison not in ("pearson", "cosine", "euclidean"):
            return None
        cross, left, right = left_out(a, b, centre=self.comparison == "pearson")
        if self.comparison == "euclidean":
            return np.sqrt(np.maximum(left + right - 2 * cross, 0.0))
        return cross / np.sqrt(left * right)

    def degenerate(self, state: RSAState, /) -> str | None:
        """Nothing varies, nothing is left to correlate, or the covariance of the noise cannot be inverted."""
        return FLAWS.get(float(state.flaw))

    def _of_products(self, a: RSAState, b: RSAState, products: Callable[[Floats, Floats], Floats]) -> Floats:
        whitened = self.comparison in ("whitened_cosine", "whitened_pearson")
        first, second = (folded(each.vector, diagonal=whitened) for each in (a, b))
        found = products(first, second)
        if self.comparison != "euclidean":
            return found
        return np.sqrt(np.maximum(a.vector @ a.vector + b.vector @ b.vector - 2 * found, 0.0))

    def _summary(self, x: Array, repeats: Repeats | None) -> RSAState:
        form = form_of(
            self.rdm,
            x,
            scale=self.comparison != "euclidean",
            center=self.center,
            shrinkage=self.shrinkage,
            prior=Prior(self.prior_rate, self.prior_weight),
            repeats=repeats,
        )
        return RSAState(*summary(self.comparison, self.rdm, form))


_SMOOTH = ("pearson", "cosine", "whitened_cosine", "whitened_pearson", "euclidean")


def _bounds(measure: RSA) -> tuple[float, float]:
    if measure.comparison == "euclidean":
        return 0.0, float("inf")
    positive = measure.rdm not in CROSS_VALIDATED and measure.comparison == "cosine"
    # centred matrices of negative type have non-negative eigenvalues, up to sign, and so products
    geometric = measure.rdm not in ("poisson", *CROSS_VALIDATED) and measure.comparison == "whitened_cosine"
    return (0.0, 1.0) if positive or geometric else (-1.0, 1.0)


def _invariances(measure: RSA) -> frozenset[Invariance]:
    rdm, found = measure.rdm, {Invariance.PERMUTATION}
    if rdm in ("mahalanobis", "crossnobis") and measure.shrinkage == 0:
        return frozenset({Invariance.INVERTIBLE_LINEAR, Invariance.TRANSLATION})
    if rdm not in ("correlation", "poisson", "poisson_cv"):
        found.add(Invariance.ORTHOGONAL)
    if rdm not in ("poisson", "poisson_cv") and (measure.comparison != "euclidean" or rdm not in _IN_UNITS):
        found.add(Invariance.ISOTROPIC_SCALING)
    if measure.center or rdm not in ("cosine", "correlation", "poisson", "poisson_cv"):
        found.add(Invariance.TRANSLATION)
    return frozenset(found)


_IN_UNITS = ("euclidean", "sqeuclidean")
_RANKED_ROWS = 400  # above, ranking all pairs anew for each sample costs more than groups of samples do
_OF_PAIRS = ("euclidean", "sqeuclidean", "poisson")  # these depend on the two samples alone

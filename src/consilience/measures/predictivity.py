"""How well one representation predicts the other by linear or ridge regression."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, NamedTuple

from consilience._array import Array, arange, epsilon, matmul, namespace
from consilience.errors import ConsilienceError
from consilience.measures._regression import (
    Coefficients,
    Folds,
    Spectrum,
    Target,
    Training,
    check_cv,
    check_state,
    held_out,
    moment_score,
    reduced,
    score,
    spectrum,
    spectrum_of_moments,
    split,
    target,
    training_factors,
)
from consilience.measures._subspace import rank_of_products
from consilience.registry import DegenerateWarning, Family, Invariance, Kind, Measure, Moments, per_instance, register

__all__ = ["InSampleState", "LinearPredictivity", "PredictorState", "RidgePredictivity"]


class InSampleState(NamedTuple):
    """Both roles of a representation that is fitted and scored on the same samples."""

    x: Array  # (n, d), columns centred
    basis: Array  # (n, min(n, d)), orthonormal columns that span x, and zeros
    rank: Array  # 0-d, how many are not zero
    energy: Array  # 0-d, ‖x‖²


class PredictorState(NamedTuple):
    """Both roles of a representation in cross-validation."""

    folds: Folds
    spectra: tuple[Spectrum, ...]  # of the training set of each fold
    rows: tuple[Array, ...]  # held-out rows times the weights of its spectrum, (n_f, r)
    target: Target


@register
@dataclass(frozen=True)
class LinearPredictivity(Measure):
    """Linear predictivity.

    The share of the variance of y (n, q) that an affine function of x (n, p) predicts: the second argument from the
    first. With fold f the rows i ≡ f (mod cv), and the least-squares fit to all other rows, of minimum norm where it is
    not unique::

        R² = 1 − Σ_f ‖Y_f − Ŷ_f‖² / Σ_f ‖Y_f − Ȳ_{−f}‖²

    where Ŷ_f is the prediction for fold f and Ȳ_{−f} the mean of y over the rows it was fitted to: variances are pooled
    over all columns of y. No unit; 1 is perfect, 0 is no better than the mean, and a fit that generalises worse than
    the mean is below 0, without limit.

    Parameters
    ----------
    cv : int
        Number of folds, at least 2; samples should be in random order, or in an order that has nothing to do with cv.
        0 fits and scores the same samples, ‖Q_xᵀy‖²/‖y‖² in [0, 1] with Q_x an orthonormal basis of centred x.

    Notes
    -----
    ``linear_predictivity(x, y)`` and ``linear_predictivity(y, x)`` are different questions. Singular values below
    max(n, p) · 2⁻⁵² of the largest count as zero. Every representation is factorized once for each fold, O(n p²);
    a pair costs O(n p q + cv · p² q). Features beyond n are first rotated into n dimensions. Streams work from the
    eigenvalues of xᵀx, where directions with less than 1e-8 of the largest deviation are lost to rounding.

    Without cross-validation the score of unrelated representations is p/(n − 1) on average, and 1 if p ≥ n − 1.

    References
    ----------
    Kornblith, Norouzi, Lee, Hinton, "Similarity of neural network representations revisited", ICML 2019 (in sample).
    Yamins, Hong, Cadieu, Solomon, Seibert, DiCarlo, "Performance-optimized hierarchical models predict neural responses
    in higher visual cortex", PNAS 111, 2014 (cross-validated).

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(0).standard_normal((100, 20))
    >>> y = x[:, :3] + np.random.default_rng(1).standard_normal((100, 3))
    >>> print(f"{LinearPredictivity()(x, y):.2f} {LinearPredictivity()(y, x):.2f}")
    0.34 0.04
    >>> print(f"{LinearPredictivity(cv=0)(x, y):.2f} {LinearPredictivity(cv=0)(x, y[::-1]):.2f}")
    0.61 0.20
    """

    title = "Linear predictivity"
    reference = "kornblith2019"
    family = Family.REGRESSION
    cost = "O(cv (n p² + p² q) + n p q)"
    use = "When one representation is a model of the other, and what a linear readout can recover is the question."
    avoid = "When samples are not several times the features of the predictor: use `ridge_predictivity`."
    aliases = {"linear_regression": {"cv": 0}}
    kind = Kind.SIMILARITY
    bounds = per_instance(lambda self: (-float("inf") if self.cv else 0.0, 1.0))
    symmetric = False
    invariances = frozenset({Invariance.TRANSLATION, Invariance.ISOTROPIC_SCALING, Invariance.ORTHOGONAL})

    cv: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_cv(self.cv, self.name, 0)

    @property
    def min_samples(self) -> int:
        """Two for each fold, so that streams and arrays ask for the same."""
        return max(3, 2 * self.cv)

    @property
    def folds(self) -> int:
        """Return the number of folds."""
        return max(self.cv, 1)

    def self_score(self, n: int) -> float | None:
        """One in sample; held out, None, as it is one only if there are more samples than features."""
        del n
        return None if self.cv else 1.0

    def prepare(self, x: Array, /) -> PredictorState | InSampleState:
        """Factorize, in sample or for each training set."""
        x = reduced(x)
        if self.cv:
            return _prepared(x, self.cv)
        xp = namespace(x)
        u, s, _ = xp.linalg.svd(x, full_matrices=False)
        kept = xp.astype(s > max(x.shape) * epsilon(x) * xp.max(s), x.dtype)
        return InSampleState(x, u * kept[None, :], xp.sum(kept), xp.sum(x * x))

    def compare(self, a: Any, b: Any, /) -> Array:
        """Predict `b` from `a`, two `InSampleState` or two `PredictorState`."""
        if not self.cv:
            return _explained(a, b)
        return score(a.folds, b.target, a.rows, lambda fold, data: _loadings(a.spectra[fold], data))

    def from_moments(self, *folds: Moments) -> Array:
        """The same fit from the second moments of the folds."""
        if self.cv:
            return moment_score(folds, _least_squares)
        (m,) = folds
        xp = namespace(m.xx)
        if rank_of_products(m.xx, m.n) >= m.n - 1:
            warnings.warn(f"{self.label}: {_FULL_RANK}", DegenerateWarning, stacklevel=3)
        loadings = matmul(spectrum_of_moments(m.xx).weights.T, m.xy)
        return xp.sum(loadings * loadings) / xp.sum(xp.linalg.diagonal(m.yy))

    def degenerate(self, state: PredictorState | InSampleState, /) -> str | None:
        """No feature varies."""
        return None if bool(_energy(state) > 0) else "every feature is constant"

    def caveat(self, a: PredictorState | InSampleState, b: PredictorState | InSampleState, /) -> str | None:
        """In sample, a predictor of full rank fits everything."""
        del b
        if isinstance(a, InSampleState) and int(a.rank) >= a.x.shape[0] - 1:
            return _FULL_RANK
        return None


_FULL_RANK = (
    "the first representation has as many independent features as there are samples less one, which fit any target "
    "exactly; use cv=5"
)


@register
@dataclass(frozen=True)
class RidgePredictivity(Measure):
    """Ridge predictivity.

    As `linear_predictivity`, with ridge regression: the share of the variance of y (n, q) that a penalised affine
    function of x (n, p) predicts in held-out rows. With fold f the rows i ≡ f (mod cv)::

        R² = 1 − Σ_f ‖Y_f − Ŷ_f‖² / Σ_f ‖Y_f − Ȳ_{−f}‖²,   Ŷ_f = Ȳ_{−f} + (X_f − X̄_{−f}) (X'X + λ_f)⁻¹ X'Y

    where X and Y are the centred rows outside fold f. The penalty λ_f is chosen in those rows alone, by generalised
    cross-validation pooled over the columns of y: it minimises ‖Y − HY‖² / (m − 1 − tr H)², H = X(X'X + λ)⁻¹X', for m
    rows. No unit; 1 is perfect, 0 is no better than the mean, and below 0 without limit is worse.

    Parameters
    ----------
    cv : int
        Number of folds, at least 2; samples should be in random order, or in an order that has nothing to do with cv.
    smallest, largest : float
        Ends of the grid of penalties, relative to the mean of the eigenvalues of X'X that are not zero.
    penalties : int
        How many there are, evenly spaced on a logarithmic scale; 1 leaves `smallest` only, and chooses nothing.

    Notes
    -----
    Generalised cross-validation is the form of leave-one-out that does not depend on the axes of sample space; it needs
    no further fit, only the squared projections of Y on the singular vectors of X, and therefore streams too. One
    penalty serves all columns of y, so that a rotation of y changes nothing. Cost as `linear_predictivity`.

    References
    ----------
    Golub, Heath, Wahba, "Generalized cross-validation as a method for choosing a good ridge parameter", Technometrics
    21, 1979.
    Schrimpf et al., "Brain-Score: which artificial neural network for object recognition is most brain-like?", bioRxiv
    407007, 2018 (predictivity).

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(0).standard_normal((100, 70))
    >>> y = x[:, :20] @ np.ones((20, 2)) + np.random.default_rng(1).standard_normal((100, 2))
    >>> print(f"{RidgePredictivity()(x, y):.2f} {LinearPredictivity()(x, y):.2f}")
    0.87 0.67
    >>> print(f"{RidgePredictivity()(x, y[::-1]):.2f} {LinearPredictivity()(x, y[::-1]):.2f}")
    0.05 -5.50
    """

    title = "Ridge predictivity"
    reference = "schrimpf2018"
    family = Family.REGRESSION
    cost = "O(cv (n p² + p² q) + n p q), p and q at most n"
    use = "To ask what a linear readout of one representation recovers of another when features are many."
    avoid = "When both directions should count alike, or single features: it is directed and pools all of them."
    kind = Kind.SIMILARITY
    bounds = (-float("inf"), 1.0)
    symmetric = False
    invariances = frozenset({Invariance.TRANSLATION, Invariance.ISOTROPIC_SCALING, Invariance.ORTHOGONAL})

    cv: int = 5
    smallest: float = 1e-6
    largest: float = 1e6
    penalties: int = 25

    def __post_init__(self) -> None:
        super().__post_init__()
        check_cv(self.cv, self.name, 2)
        if not 0 < self.smallest <= self.largest < float("inf"):
            raise ConsilienceError(
                f"penalties of ridge_predictivity go from smallest={self.smallest} to largest={self.largest}; both "
                "must be positive and finite, and in that order."
            )
        if self.penalties < 1:
            raise ConsilienceError(f"penalties of ridge_predictivity is {self.penalties}; it takes at least one.")

    @property
    def min_samples(self) -> int:
        """Two for each fold."""
        return 2 * self.cv

    @property
    def folds(self) -> int:
        """Return the number of folds."""
        return self.cv

    def self_score(self, n: int) -> float | None:
        """None: it is one only up to the penalty, and only if there are more samples than features."""
        del n

    def prepare(self, x: Array, /) -> PredictorState:
        """Factorize each training set."""
        return _prepared(reduced(x), self.cv)

    def compare(self, a: PredictorState, b: PredictorState, /) -> Array:
        """Predict `b` from `a`."""
        return score(a.folds, b.target, a.rows, lambda fold, data: self._loadings(a.spectra[fold], data))

    def from_moments(self, *folds: Moments) -> Array:
        """The same fit from the second moments of the folds."""

        def fit(products: Array, data: Training) -> Coefficients:
            found = spectrum_of_moments(products)
            return found.weights, self._loadings(found, data)

        return moment_score(folds, fit)

    def degenerate(self, state: PredictorState, /) -> str | None:
        """No feature varies."""
        return None if bool(state.target.total > 0) else "every feature is constant"

    def _loadings(self, found: Spectrum, data: Training) -> Array:
        """Loadings of the least-squares fit, shrunk by the penalty that generalised cross-validation chooses."""
        xp = namespace(data.cross)
        loadings = _loadings(found, data)  # (r, q)
        values = found.values
        count = xp.sum(found.kept)
        mean = xp.sum(values) / xp.where(count > 0, count, xp.ones_like(count))
        mean = xp.where(mean > 0, mean, xp.ones_like(mean))
        steps = xp.astype(arange(self.penalties, like=values), values.dtype) / max(1, self.penalties - 1)
        grid = mean * self.smallest * (self.largest / self.smallest) ** steps  # (L,)
        left = found.kept[None, :] * grid[:, None] / (values[None, :] + grid[:, None])  # (L, r), 1 − share kept
        squares = xp.sum(loadings * loadings, axis=1)
        outside = data.energy - xp.sum(squares)
        # what rounding leaves of nothing would otherwise decide between penalties that all fit exactly
        outside = xp.where(outside > data.n * epsilon(values) * data.energy, outside, xp.zeros_like(outside))
        freedom = (data.n - 1 - count) + xp.sum(left, axis=1)
        error = (outside + matmul(left * left, squares[:, None])[:, 0]) / (freedom * freedom)
        best = xp.take(left, xp.reshape(xp.argmin(error), (1,)), axis=0)[0, :]  # (r,)
        return (1 - best)[:, None] * loadings


def _prepared(x: Array, cv: int) -> PredictorState:
    check_state(x, cv)
    folds = split(x, cv)
    n = x.shape[0]
    spectra = tuple(spectrum(factor, n) for factor in training_factors(folds))
    rows = tuple(matmul(held_out(folds, fold), spectra[fold].weights) for fold in range(cv))
    return PredictorState(folds, spectra, rows, target(folds))


def _loadings(found: Spectrum, data: Training) -> Array:
    return matmul(found.weights.T, data.cross)


def _least_squares(products: Array, data: Training) -> Coefficients:
    found = spectrum_of_moments(products)
    return found.weights, _loadings(found, data)


def _energy(state: PredictorState | InSampleState) -> Array:
    return state.energy if isinstance(state, InSampleState) else state.target.total


def _explained(a: InSampleState, b: InSampleState) -> Array:
    """‖Qᵀy‖² / ‖y‖²."""
    loadings = matmul(a.basis.T, b.x)
    return namespace(loadings).sum(loadings * loadings) / b.energy

"""How well one representation predicts the other by partial least squares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

from consilience._array import Array, epsilon, is_numpy, is_traced, matmul, namespace
from consilience.errors import ConsilienceError
from consilience.measures._regression import (
    Coefficients,
    Folds,
    Target,
    Training,
    check_cv,
    check_state,
    held_out,
    moment_score,
    reduced,
    score,
    split,
    target,
    training_factors,
)
from consilience.registry import Family, Invariance, Kind, Measure, Moments, register

__all__ = ["PLSPredictivity", "PLSState"]

_DENSE = 64  # up to here all singular vectors are found where one is needed


class PLSState(NamedTuple):
    """Both roles of a representation."""

    folds: Folds
    factors: tuple[Array, ...]  # (m, p) each: rows with the second moments of the training set of a fold
    target: Target


@register
@dataclass(frozen=True)
class PLSPredictivity(Measure):
    """Partial-least-squares predictivity.

    As `linear_predictivity`, with a regression on few components: the share of the variance of y (n, q) that it
    predicts from x (n, p) in held-out rows. With fold f the rows i ≡ f (mod cv)::

        R² = 1 − Σ_f ‖Y_f − Ŷ_f‖² / Σ_f ‖Y_f − Ȳ_{−f}‖²

    where Ŷ_f is the least-squares prediction from the scores t_k = X r_k, k ≤ components, of the centred rows outside
    fold f. Direction r_k maximises the covariance ‖Y'Xr‖ over unit vectors r that leave t_k uncorrelated with earlier
    scores. No unit; 1 is perfect, 0 is no better than the mean, and below 0 without limit is worse.

    Parameters
    ----------
    components : int
        How many, at least 1; as many as there are where p, or the rows of a training set less one, are fewer.
    cv : int
        Number of folds, at least 2; samples should be in random order, or in an order that has nothing to do with cv.

    Notes
    -----
    The variant is SIMPLS (de Jong 1993), which solves the stated maximisation. It is the same as PLS1 for a y of one
    column and as ordinary least squares once all components are used; in between, for several columns, the PLS2 of
    NIPALS (scikit-learn's ``PLSRegression``, Brain-Score's 25 components) deflates x instead of the covariance and
    differs slightly. Streamed, directions in which x has less than about 1e-8 of its largest deviation are left out.
    Features are centred and not standardised, as in Brain-Score; scores there are a median of Pearson
    correlations, not R². Each component needs the largest singular vector of a (p, q) matrix:
    O(cv · components · p min(p, q)) or a little more, besides O(n p (p + q)).

    References
    ----------
    de Jong, "SIMPLS: an alternative approach to partial least squares regression", Chemometrics and Intelligent
    Laboratory Systems 18, 1993.
    Schrimpf et al., "Brain-Score: which artificial neural network for object recognition is most brain-like?", bioRxiv
    407007, 2018.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(0).standard_normal((100, 80)) * np.linspace(3, 0.1, 80)
    >>> y = x[:, :10] @ np.ones((10, 2)) + 3 * np.random.default_rng(1).standard_normal((100, 2))
    >>> print(f"{PLSPredictivity(components=2)(x, y):.2f} {PLSPredictivity()(x, y):.2f}")
    0.80 0.65
    """

    name = "pls_predictivity"
    title = "Partial-least-squares predictivity"
    reference = "schrimpf2018"
    family = Family.REGRESSION
    cost = "O(cv components p min(p, q) + n p (p + q)), p and q at most n"
    use = "To compare with Brain-Score and other work on neural data, where PLS with 25 components is customary."
    avoid = "When the number of components is not given by custom: `ridge_predictivity` chooses its penalty itself."
    kind = Kind.SIMILARITY
    bounds = (-float("inf"), 1.0)
    symmetric = False
    invariances = frozenset({Invariance.TRANSLATION, Invariance.ISOTROPIC_SCALING, Invariance.ORTHOGONAL})

    components: int = 25
    cv: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_cv(self.cv, self.name, 2)
        if self.components < 1:
            raise ConsilienceError(f"components of pls_predictivity is {self.components}; it takes at least one.")

    @property
    def min_samples(self) -> int:
        """Two for each fold."""
        return 2 * self.cv

    @property
    def folds(self) -> int:
        """Return the number of folds."""
        return self.cv

    def self_score(self, n: int) -> float | None:
        """None: it is one only if all components are used."""
        del n

    def prepare(self, x: Array, /) -> PLSState:
        """Put the training sets together."""
        x = reduced(x)
        check_state(x, self.cv)
        folds = split(x, self.cv)
        return PLSState(folds, tuple(training_factors(folds)), target(folds))

    def compare(self, a: PLSState, b: PLSState, /) -> Array:
        """Predict `b` from `a`."""
        rows = [held_out(a.folds, fold) for fold in range(self.cv)]
        return score(a.folds, b.target, rows, lambda fold, data: self._fit(a.factors[fold], data))

    def from_moments(self, *folds: Moments) -> Array:
        """The same fit from the second moments of the folds."""

        def fit(products: Array, data: Training) -> Coefficients:
            xp = namespace(products)
            values, vectors = xp.linalg.eigh(products)
            # smaller ones are rounding of the largest: a score that rests on them would be divided by their root
            kept = values > 4 * products.shape[0] * epsilon(products) * xp.max(values)
            root = xp.sqrt(xp.where(kept, values, xp.zeros_like(values)))
            inside = vectors * xp.astype(kept, values.dtype)[None, :]
            cross = matmul(inside, matmul(vectors.T, data.cross))
            return self._fit(root[:, None] * vectors.T, data._replace(cross=cross))

        return moment_score(folds, fit)

    def degenerate(self, state: PLSState, /) -> str | None:
        """No feature varies."""
        return None if bool(state.target.total > 0) else "every feature is constant"

    def _fit(self, factor: Array, data: Training) -> Coefficients:
        """Directions (p, k) and what y is made of in their scores (k, q)."""
        xp = namespace(factor)
        tolerance = max(data.n, factor.shape[1]) * epsilon(factor)
        # the rows of the covariance matter, its columns only up to a rotation
        cross = xp.linalg.qr(data.cross.T).R.T if data.cross.shape[1] > data.cross.shape[0] else data.cross
        first, size = _norm(cross), _norm(factor)
        directions: list[Array] = []
        spent: list[Array] = []  # orthonormal basis of the loadings of x, which later directions avoid
        for _ in range(min(self.components, factor.shape[1], data.n - 1)):
            direction = _leading(cross)
            scores = matmul(factor, direction)  # (m, 1)
            alive = (_norm(cross) > tolerance * first) & (_norm(scores) > tolerance * size)
            if not is_traced(alive) and not bool(alive):
                break
            length = xp.where(alive, _norm(scores), xp.ones_like(size))
            directions.append(direction / length * xp.astype(alive, size.dtype))
            loading = _apart(matmul(factor.T, scores), spent)
            length = _norm(loading)
            spent.append(loading / xp.where(length > 0, length, xp.ones_like(length)))
            cross = cross - matmul(spent[-1], matmul(spent[-1].T, cross))
        if not directions:
            directions = [xp.zeros_like(factor[:1, :]).T]
        weights = xp.concat(directions, axis=1)  # (p, k)
        return weights, matmul(weights.T, data.cross)


def _norm(x: Array) -> Array:
    xp = namespace(x)
    return xp.sqrt(xp.sum(x * x))


def _apart(vector: Array, basis: Sequence[Array]) -> Array:
    """`vector` (p, 1) less its projection on the orthonormal columns of `basis`, twice to be exact."""
    if not basis:
        return vector
    together = namespace(vector).concat(list(basis), axis=1)
    for _ in range(2):
        vector = vector - matmul(together, matmul(together.T, vector))
    return vector


def _leading(cross: Array) -> Array:
    """Left singular vector (p, 1) of the largest singular value of `cross` (p, q)."""
    if is_numpy(cross) and min(cross.shape) > _DENSE:
        found = _leading_by_iteration(cross)
        if found is not None:
            return found
    return namespace(cross).linalg.svd(cross, full_matrices=False)[0][:, :1]


def _leading_by_iteration(cross: np.ndarray[Any, Any]) -> np.ndarray[Any, Any] | None:
    """The same by Lanczos iteration, to rounding; None if that does not converge or there is nothing to find."""
    start = cross[:, np.argmax(np.sum(cross * cross, axis=0))]
    scale = float(np.abs(cross).max())
    if not scale > 0:
        return None
    cross = cross / scale
    operator = LinearOperator((len(cross), len(cross)), matvec=lambda v: cross @ (cross.T @ v), dtype=cross.dtype)
    try:
        return eigsh(operator, k=1, v0=start / scale)[1]
    except ArpackNoConvergence:
        return None

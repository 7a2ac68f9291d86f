"""Numbers that describe where the samples of one representation lie: their mean, their directions, their spread."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from consilience._array import (
    Array,
    centred,
    epsilon,
    matmul,
    namespace,
    row_blocks,
    stop_gradient,
    unit_scaled,
    with_own,
)
from consilience.errors import ConsilienceError
from consilience.measures._nearness import unit_rows
from consilience.registry import Descriptor, Invariance, register

__all__ = ["Concentricity", "Magnitude", "ParticipationRatio", "SpectrumEstimator", "Uniformity"]

SpectrumEstimator: TypeAlias = Literal["biased", "debiased"]


@register
@dataclass(frozen=True)
class ParticipationRatio(Descriptor):
    """Participation ratio of the covariance spectrum.

    With λ the eigenvalues of the covariance C of the features of x (n, p)::

        participation_ratio = (Σ λ)² / Σ λ² = (tr C)² / tr C²

    A number of dimensions, from 1 to min(n − 1, p): how many directions of equal variance would spread it as evenly.
    As a measure of two representations, x (n, p) and y (n, q), the absolute difference.

    Parameters
    ----------
    estimator : {"biased", "debiased"}
        biased
            The value of the samples themselves. Too small where n is not large against it: at most n − 1.
        debiased
            (tr C)² and tr C² replaced by their unbiased estimates from the samples (Himeno & Yamada 2014), which need
            no assumption on the distribution; the ratio is right up to O(1/n) and not bounded.

    Notes
    -----
    No eigenvalue is computed: tr C² is a sum over the smaller of XᵀX and XXᵀ, in blocks of rows.
    O(n p min(n, p)) time.

    References
    ----------
    Gao, Trautmann, Yu, Santhanam, Ryu, Shenoy, Ganguli, "A theory of multineuronal dimensionality, dynamics and
    measurement", bioRxiv 214262, 2017; Himeno, Yamada, "Estimations for some functions of covariance matrix in high
    dimension under non-normality and its applications", J. Multivariate Anal. 130, 2014.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(0).standard_normal((100, 50))
    >>> print(f"{ParticipationRatio()(x):.1f} {ParticipationRatio(estimator='debiased')(x):.1f}")
    33.5 51.1
    >>> print(f"{ParticipationRatio()(x, x[:, :10]):.1f}")
    24.3
    """

    title = "Participation ratio"
    reference = "gao2017"
    cost = "O(n p min(n, p))"
    use = "To say how many linear dimensions a representation fills, or compare that between layers."
    avoid = "When it lies on a curved surface, whose dimension is smaller: see `intrinsic_dimension`."
    differentiable = True
    invariances = frozenset({Invariance.ORTHOGONAL, Invariance.ISOTROPIC_SCALING, Invariance.TRANSLATION})

    estimator: SpectrumEstimator = "biased"

    @property
    def min_samples(self) -> int:
        """Three, as two samples always have the same score, or four where the estimate divides by n − 3."""
        return 3 if self.estimator == "biased" else 4

    def describe(self, x: Array, /) -> Array:
        """(tr C)² over tr C²; NaN if either estimate is not positive."""
        xp = namespace(x)
        x = centred(x, unit=True)
        n = x.shape[0]
        squares = xp.sum(x * x, axis=1)  # (n,)
        trace = xp.sum(squares)
        above, below = trace * trace, _squared_norm_of_gram(x)
        small = 1e3 * epsilon(x) * below
        if self.estimator == "debiased":
            fourth = n * (n - 1) * xp.sum(squares * squares)
            scale = 1 / (n * (n - 2) * (n - 3))
            raw = above
            above = scale * (2 * below + (n * n - 3 * n + 1) * raw - fourth)
            below = scale * ((n - 1) * (n - 2) * below + raw - fourth)
        some = (below > small) & (above > small)
        ratio = above / xp.where(some, below, xp.ones_like(below))
        return xp.where(some, ratio, xp.asarray(float("nan"), dtype=x.dtype))

    def degenerate(self, state: Array, /) -> str | None:
        """Nothing varies, or the estimated spectrum is not positive."""
        if not bool(namespace(state).isnan(state)):
            return None
        if self.estimator == "biased":
            return "every feature is constant"
        return "every feature is constant, or the debiased estimate of the squared spectrum is not positive"


@register
@dataclass(frozen=True)
class Magnitude(Descriptor):
    """Length of the mean sample.

    For samples xᵢ, the rows of x (n, p)::

        magnitude = ‖ 1/n Σᵢ xᵢ ‖

    In the unit of the features, zero or more. As a measure of two representations, x (n, p) and y (n, q), the absolute
    difference.

    Notes
    -----
    O(n p) time.

    References
    ----------
    Wang, Rao, Guo, Wang, Liu, Guan, "Towards understanding the instability of network embedding", IEEE Trans. Knowl.
    Data Eng. 34, 2022.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([[3.0, 0.0], [3.0, 8.0]])
    >>> float(Magnitude()(x)), float(Magnitude()(x, 2 * x))
    (5.0, 5.0)
    """

    title = "Magnitude"
    reference = "wang2022"
    cost = "O(n p)"
    use = "To see how far a representation as a whole lies from the origin."
    avoid = "When the scale of the features is arbitrary, as after a layer that is normalised."
    differentiable = True
    defined_for_constants = True
    invariances = frozenset({Invariance.ORTHOGONAL})

    def describe(self, x: Array, /) -> Array:
        """Norm of the mean, scaled so that squares neither overflow nor vanish."""
        xp = namespace(x)
        mean = xp.mean(x, axis=0)
        size = stop_gradient(xp.max(xp.abs(mean)))
        some = size > 0
        scaled = mean / xp.where(some, size, xp.ones_like(size))
        squared = xp.sum(scaled * scaled)
        return xp.where(some, size * xp.sqrt(xp.where(some, squared, xp.ones_like(squared))), xp.zeros_like(size))


@register
@dataclass(frozen=True)
class Concentricity(Descriptor):
    """Mean cosine between samples and their mean.

    For samples xᵢ, the rows of x (n, p), and their mean m::

        concentricity = 1/n Σᵢ xᵢ·m / (‖xᵢ‖ ‖m‖)

    Without unit, in [−1, 1]; near 1 if all samples point the same way (anisotropy), below 0 only where few long samples
    outweigh most others in the mean. A row of zeros has cosine 0. As a measure of two representations, x (n, p) and
    y (n, q), the absolute difference.

    Notes
    -----
    Undefined, and NaN, if the mean is zero to rounding: centred representations have none. O(n p) time.

    References
    ----------
    Wang, Rao, Guo, Wang, Liu, Guan, "Towards understanding the instability of network embedding", IEEE Trans. Knowl.
    Data Eng. 34, 2022.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([[1.0, 1.0], [1.0, -1.0]])
    >>> round(float(Concentricity()(x)), 6)
    0.707107
    """

    title = "Concentricity"
    reference = "wang2022"
    cost = "O(n p)"
    use = "To see how narrow the cone is in which the samples of a representation lie."
    avoid = "For centred representations, whose mean is zero."
    bounds = (0.0, 2.0)
    differentiable = True
    defined_for_constants = True
    invariances = frozenset({Invariance.ORTHOGONAL, Invariance.ISOTROPIC_SCALING})

    def describe(self, x: Array, /) -> Array:
        """Mean of the unit rows along the direction of the mean."""
        xp = namespace(x)
        x = unit_scaled(x)
        mean = xp.mean(x, axis=0)  # (p,)
        squared = xp.sum(mean * mean)
        some = squared > (64 * epsilon(x)) ** 2 * stop_gradient(xp.max(xp.sum(x * x, axis=1)))
        direction = mean / xp.sqrt(xp.where(some, squared, xp.ones_like(squared)))
        alpha = xp.sum(xp.mean(unit_rows(x), axis=0) * direction)
        return xp.where(some, alpha, xp.asarray(float("nan"), dtype=x.dtype))

    def degenerate(self, state: Array, /) -> str | None:
        """There is no mean to compare with."""
        return "the mean of the samples is zero to rounding" if bool(namespace(state).isnan(state)) else None


@register
@dataclass(frozen=True)
class Uniformity(Descriptor):
    """Uniformity on the sphere.

    With uᵢ the rows of x (n, p) divided by their norms::

        uniformity = log( 2 / (n (n − 1)) Σ_{i < j} exp(−t ‖uᵢ − uⱼ‖²) )

    A logarithm, from −4t to 0: the lower, the more evenly directions cover the sphere; 0 if all are the same. A row of
    zeros stays zero. As a measure of two representations, x (n, p) and y (n, q), the absolute difference.

    Parameters
    ----------
    t : float
        Sharpness: directions closer than about 1/√t count as near.

    Notes
    -----
    Over pairs of different samples, as in the paper; some implementations do not normalise the rows, or add the n pairs
    of a sample with itself. The logarithm is taken of a sum scaled by its largest term, so that no t underflows.
    O(n² p) time in blocks of rows.

    References
    ----------
    Wang, Isola, "Understanding contrastive representation learning through alignment and uniformity on the
    hypersphere", ICML 2020.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([[1.0, 0.0], [-3.0, 0.0]])
    >>> round(float(Uniformity()(x)), 6)
    -8.0
    """

    title = "Uniformity"
    reference = "wang2020"
    cost = "O(n² p), in blocks of rows"
    use = "For embeddings that are compared by cosine, as contrastive learning trains them."
    avoid = "When norms carry information: it looks at directions only."
    differentiable = True
    defined_for_constants = True
    invariances = frozenset({Invariance.ORTHOGONAL, Invariance.ISOTROPIC_SCALING})

    t: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.t < float("inf"):
            raise ConsilienceError(f"t of uniformity is {self.t}; it must be positive and finite.")

    def describe(self, x: Array, /) -> Array:
        """Logarithm of the mean, block by block, each scaled by the largest term so far."""
        xp = namespace(x)
        u = unit_rows(x)
        n = x.shape[0]
        squares = xp.sum(u * u, axis=1)
        largest, total = xp.asarray(-float("inf"), dtype=x.dtype), xp.zeros_like(x[0, 0])
        for start, stop in row_blocks(u):
            apart = squares[start:stop, None] + squares[None, :] - 2 * matmul(u[start:stop, :], u.T)
            exponent = -self.t * xp.where(apart > 0, apart, xp.zeros_like(apart))
            exponent = with_own(exponent, start, -float("inf"))
            most = stop_gradient(xp.max(exponent))
            most = xp.where(most > largest, most, largest)
            total = total * xp.exp(largest - most) + xp.sum(xp.exp(exponent - most))
            largest = most
        return xp.log(total / (n * (n - 1))) + largest


def _squared_norm_of_gram(x: Array) -> Array:
    """‖xᵀx‖² = ‖xxᵀ‖², from whichever is smaller, in blocks of rows."""
    xp = namespace(x)
    left = x if x.shape[0] <= x.shape[1] else x.T
    total = xp.zeros_like(x[0, 0])
    for start, stop in row_blocks(left):
        gram = matmul(left[start:stop, :], left.T)
        total = total + xp.sum(gram * gram)
    return total

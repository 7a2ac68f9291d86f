"""Synthetic data: known distributions, as many samples as asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from consilience.data.source import (
    CLASSIFICATION,
    REGRESSION,
    LinearTruth,
    SyntheticSource,
    Table,
    Task,
    register_source,
    require_at_least,
    require_between,
)
from consilience.errors import ConsilienceError

__all__ = ["GaussianMixture", "LinearTeacher", "MLPTeacher"]

Floats = NDArray[np.float64]


def _streams(seed: int, n: int) -> list[np.random.Generator]:
    """Independent generators: what is drawn once, and each thing that is drawn per sample."""
    return [np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(n)]


def _unit_rows(rng: np.random.Generator, k: int, d: int) -> Floats:
    """Return k random orthonormal rows (k, d)."""
    return np.linalg.qr(rng.standard_normal((d, k)))[0].T


def _names(d: int) -> tuple[str, ...]:
    return tuple(f"x{i}" for i in range(d))


@register_source
@dataclass(frozen=True)
class LinearTeacher(SyntheticSource):
    r"""Linear targets of Gaussian inputs, plus a nonlinear part of known size.

    With z ~ N(0, I), the inputs are x = Λ^½ z and target a is

    .. math:: y_a = \beta_a^\top x + \sqrt{m} \sum_i c_{ai} (z_i^2 - 1) / \sqrt 2, \qquad |c_a| = 1,

    with βᵀΛβ = 1 − m: unit variance, of which no linear map fits the fraction m = `misfit` (squares are
    uncorrelated with every odd function). The vectors c of the outputs are orthonormal, so their nonlinear
    parts are uncorrelated. The direction of each β is uniform on the sphere.

    Parameters
    ----------
    n_features
        d.
    covariance
        "isotropic": Λ = I. "power-law": λ_i ∝ i^−`exponent`, scaled to mean 1.
    exponent
        Decay of the power law; not used by "isotropic".
    n_outputs
        Number of targets k, at most d.
    misfit
        Fraction of each target's variance that is nonlinear, 0 to 1 (1 excluded).

    Examples
    --------
    >>> table = LinearTeacher(n_features=3, covariance="power-law").sample(4, seed=0)
    >>> table.inputs.shape, table.targets.shape
    ((4, 3), (4, 1))
    >>> truth = table.truth
    >>> round(float(truth.beta[0] ** 2 @ truth.eigenvalues), 12)
    1.0
    """

    name: ClassVar[str] = "linear-teacher"
    title: ClassVar[str] = "Gaussian inputs, linear targets, optionally with a part that no linear map fits"
    tasks: ClassVar[frozenset[Task]] = REGRESSION

    n_features: int = 100
    covariance: Literal["isotropic", "power-law"] = "isotropic"
    exponent: float = 1.0
    n_outputs: int = 1
    misfit: float = 0.0

    def __post_init__(self) -> None:
        require_at_least("n_features", self.n_features, 1)
        require_at_least("n_outputs", self.n_outputs, 1)
        require_between("exponent", self.exponent, 0, 10)
        if not 0 <= self.misfit < 1:
            raise ConsilienceError(f"misfit = {self.misfit}: must be 0 or more and below 1")
        if self.n_outputs > self.n_features:
            raise ConsilienceError(
                f"n_outputs = {self.n_outputs}: more than n_features = {self.n_features}, so the outputs "
                "could not differ in direction"
            )
        if self.covariance not in ("isotropic", "power-law"):
            raise ConsilienceError(f"covariance = {self.covariance!r}: choose 'isotropic' or 'power-law'")

    def truth(self, *, seed: int) -> LinearTruth:
        """Return what the targets' linear part is, without drawing samples."""
        return self._teacher(seed)[0]

    def _teacher(self, seed: int) -> tuple[LinearTruth, Floats]:
        """Return the linear part, and the vectors c (k, d) of the nonlinear part."""
        rng, _ = _streams(seed, 2)
        d, k = self.n_features, self.n_outputs
        decay = self.exponent if self.covariance == "power-law" else 0.0
        eigenvalues = np.arange(1, d + 1, dtype=np.float64) ** -decay
        eigenvalues /= eigenvalues.mean()
        beta = rng.standard_normal((k, d))
        beta *= np.sqrt((1 - self.misfit) / (beta**2 @ eigenvalues))[:, None]
        return LinearTruth(eigenvalues, beta, self.misfit), _unit_rows(rng, k, d)

    def sample(self, n: int, *, seed: int) -> Table:
        """Draw n samples."""
        truth, quadratic = self._teacher(seed)
        z = _streams(seed, 2)[1].standard_normal((n, self.n_features))  # (n, d)
        inputs = z * np.sqrt(truth.eigenvalues)
        targets = inputs @ truth.beta.T  # (n, k)
        if self.misfit:
            targets += np.sqrt(self.misfit / 2) * ((z**2 - 1) @ quadratic.T)
        shape = f"{self.covariance} covariance" + (
            f" of exponent {self.exponent:g}" if self.covariance == "power-law" else ""
        )
        return Table(
            inputs=inputs,
            targets=targets,
            task="regression",
            classes=(),
            image_shape=None,
            feature_names=_names(self.n_features),
            origin=f"linear teacher in {self.n_features} dimensions, {shape}, misfit {self.misfit:g}",
            truth=truth,
        )


@register_source
@dataclass(frozen=True)
class MLPTeacher(SyntheticSource):
    r"""Targets computed by a random network with one hidden layer of tanh units, from Gaussian inputs.

    .. math:: y_a = s_a^{-1} \sum_j v_{aj} \tanh(w_j^\top x), \qquad x \sim N(0, I_d),
        \quad w_j \sim N(0, \mathrm{gain}^2 I / d), \quad v_{aj} \sim N(0, 1)

    The scale s_a makes the population variance 1. It, the best linear map β = E[x y] and the misfit 1 − |β|²
    come from the Hermite expansion of tanh (Mehler's formula), not from samples.

    Parameters
    ----------
    n_features, hidden, n_outputs
        Sizes of the three layers.
    gain
        Root-mean-square input of a hidden unit: the targets are almost linear below 0.5, and as far from it
        as tanh allows above 3.

    Examples
    --------
    >>> teacher = MLPTeacher(n_features=20, hidden=20, gain=2)
    >>> 0.1 < teacher.sample(1, seed=0).truth.misfit < 0.4
    True
    """

    name: ClassVar[str] = "mlp-teacher"
    title: ClassVar[str] = "Gaussian inputs, targets from a random network with one hidden tanh layer"
    tasks: ClassVar[frozenset[Task]] = REGRESSION

    n_features: int = 20
    hidden: int = 20
    n_outputs: int = 1
    gain: float = 2.0

    def __post_init__(self) -> None:
        for field in ("n_features", "hidden", "n_outputs"):
            require_at_least(field, getattr(self, field), 1)
        require_between("gain", self.gain, 0.01, 10)

    def _teacher(self, seed: int) -> tuple[Floats, Floats, LinearTruth]:
        """Return w (h, d), v (k, h) scaled to unit variance, and the linear part."""
        rng, _ = _streams(seed, 2)
        w = rng.standard_normal((self.hidden, self.n_features)) * self.gain / np.sqrt(self.n_features)
        v = rng.standard_normal((self.n_outputs, self.hidden))
        covariance, slope = _tanh_moments(w)
        v /= np.sqrt(np.einsum("ai,ij,aj->a", v, covariance, v))[:, None]
        beta = (v * slope) @ w  # (k, d)
        misfit = 1 - float(np.sum(beta**2)) / self.n_outputs
        return w, v, LinearTruth(np.ones(self.n_features), beta, max(misfit, 0.0))

    def sample(self, n: int, *, seed: int) -> Table:
        """Draw n samples."""
        w, v, truth = self._teacher(seed)
        x = _streams(seed, 2)[1].standard_normal((n, self.n_features))  # (n, d)
        return Table(
            inputs=x,
            targets=np.tanh(x @ w.T) @ v.T,
            task="regression",
            classes=(),
            image_shape=None,
            feature_names=_names(self.n_features),
            origin=f"tanh teacher {self.n_features}-{self.hidden}-{self.n_outputs}, gain {self.gain:g}",
            truth=truth,
        )


def _tanh_moments(w: Floats, *, terms: int = 120) -> tuple[Floats, Floats]:
    """Covariance E[tanh(w_i·x) tanh(w_j·x)] (h, h) and mean slope E[tanh'(w_j·x)] (h,) for x ~ N(0, I).

    With tanh(s z) = Σ_n c_n(s) h_n(z) in orthonormal Hermite polynomials and r the cosine of w_i and w_j, the
    covariance is Σ_n c_n(|w_i|) c_n(|w_j|) rⁿ and the mean slope c_1(s)/s. The c_n are integrals of smooth
    functions over z, for which the trapezoidal rule converges exponentially.
    """
    scale = np.linalg.norm(w, axis=1)  # (h,)
    z = np.linspace(-12, 12, 2401)
    weight = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi) * (z[1] - z[0])
    activation = np.tanh(scale[:, None] * z)  # (h, nodes)
    previous, hermite = np.zeros_like(z), np.ones_like(z)
    coefficients = np.empty((terms, len(scale)))
    for n in range(terms):
        previous, hermite = hermite, (z * hermite - np.sqrt(n) * previous) / np.sqrt(n + 1)
        coefficients[n] = activation @ (weight * hermite)  # of h_{n+1}
    cosine = np.clip((w @ w.T) / np.outer(scale, scale), -1, 1)
    covariance, power = np.zeros_like(cosine), np.ones_like(cosine)
    for c in coefficients:
        power = power * cosine
        covariance += np.outer(c, c) * power
    # On the diagonal the series converges slowest, and the integral is at hand.
    np.fill_diagonal(covariance, activation**2 @ weight)
    return covariance, coefficients[0] / scale


@register_source
@dataclass(frozen=True)
class GaussianMixture(SyntheticSource):
    """Classes that are Gaussian clouds of unit covariance with equidistant, randomly rotated centres.

    Every two centres are `separation` within-class standard deviations apart: for two classes the best
    possible error is Φ(−separation/2). Classes are equally likely. Inputs are divided by the root of their
    mean variance 1 + separation² (1 − 1/C) / (2d), which keeps the clouds round.

    Parameters
    ----------
    n_features
        d.
    n_classes
        C, from 2 to d.
    separation
        Distance between two centres.

    Examples
    --------
    >>> table = GaussianMixture(n_features=5, n_classes=3).sample(100, seed=0)
    >>> sorted(set(table.targets.tolist()))
    [0, 1, 2]
    """

    name: ClassVar[str] = "gaussian-mixture"
    title: ClassVar[str] = "Classes that are round Gaussian clouds with equidistant centres"
    tasks: ClassVar[frozenset[Task]] = CLASSIFICATION

    n_features: int = 20
    n_classes: int = 4
    separation: float = 3.0

    def __post_init__(self) -> None:
        require_at_least("n_classes", self.n_classes, 2)
        require_between("separation", self.separation, 0, 1e3)
        if self.n_features < self.n_classes:
            raise ConsilienceError(
                f"n_features = {self.n_features}: {self.n_classes} equidistant centres (n_classes) need "
                f"{self.n_classes} or more"
            )

    def sample(self, n: int, *, seed: int) -> Table:
        """Draw n samples."""
        d, k = self.n_features, self.n_classes
        teacher, labels_rng, inputs_rng = _streams(seed, 3)
        centres = _unit_rows(teacher, k, d) * self.separation / np.sqrt(2)  # (k, d)
        centres -= centres.mean(axis=0)
        labels = labels_rng.integers(k, size=n)
        inputs = centres[labels] + inputs_rng.standard_normal((n, d))
        inputs /= np.sqrt(1 + np.sum(centres**2) / (k * d))
        return Table(
            inputs=inputs,
            targets=labels,
            task="classification",
            classes=tuple(f"class {i}" for i in range(k)),
            image_shape=None,
            feature_names=_names(d),
            origin=f"{k} Gaussian clouds in {d} dimensions, {self.separation:g} standard deviations apart",
        )

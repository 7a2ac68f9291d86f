"""Alignment of linear predictors trained on noisy targets, in closed form."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from consilience.errors import ConsilienceError
from consilience.theory._fluctuations import correlation, output_alignment
from consilience.theory._grid import Grid, grid, noise_levels
from consilience.theory._spectrum import Floats, Spectrum, levels, spectrum, whole_numbers

__all__ = ["Alignment", "alignment", "isotropic"]


class Alignment(NamedTuple):
    """Agreement of two members, each array (S, N): noise level by n_train, scalars dropped.

    - `alignment`: ρ = `overlap` / `self_overlap`, correlation of the members' outputs on fresh inputs, [0, 1]
    - `squared_cosine`: expected linear CKA of the outputs at finite size (squared cosine for one output),
      [0, 1]; what a measured CKA is to be compared with, never ρ²
    - `risk`: excess test error against the best linear map, mean over outputs, in target variance; without
      ridge the mean at this size, see `alignment`
    - `kappa`: effective ridge κ, in units of the eigenvalues
    - `degrees_of_freedom`: Σ λ/(λ+κ), [0, d]
    - `overlap`, `self_overlap`: tr W₁ΣW₂ᵀ/k and tr W₁ΣW₁ᵀ/k for k outputs, in target variance

    At the interpolation threshold (n equal to the rank, no ridge) with noise, `risk` and `self_overlap` are
    infinite and `overlap` is infinite where members share noise or misfit; `risk` also one sample away from it.
    """

    alignment: Floats
    squared_cosine: Floats
    risk: Floats
    kappa: Floats
    degrees_of_freedom: Floats
    overlap: Floats
    self_overlap: Floats


def alignment(
    eigenvalues: ArrayLike,
    beta: ArrayLike,
    n_train: ArrayLike,
    noise: ArrayLike | None = None,
    snr: ArrayLike | None = None,
    ridge: float = 0.0,
    misfit: ArrayLike = 0.0,
    noise_correlation: float = 0.0,
    shared_inputs: bool = True,
) -> Alignment:
    """Alignment of ridge regressions that differ by the noise of their targets, for any input covariance.

    Targets are y = βx + s + ε: a linear part, a misfit s that members share and noise ε drawn for each. With
    κ = μ + κ df1(κ)/n, df1 = Σ λ/(λ+κ), g = (1/n) Σ λ²/(λ+κ)², B = κ² Σ β²λ/(λ+κ)², S = Σ β²λ³/(λ+κ)² and
    v = g/(1−g)::

        C = S + B·v + (σ_s² + rσ²)·v     overlap, shared inputs (independent inputs: C = S)
        Q = S + B·v + (σ_s² + σ²)·v      self-overlap
        ρ = C/Q,   risk = (B + (σ² + σ_s²)·g)/(1−g)

    Without ridge the risk has noise times g/(1−g−s/n) instead, s = Σa²/Σa with a = λ/(λ+κ): the mean at finite
    size, exact for n above the rank, d/(n−d−1), and for equal eigenvalues, n/(d−n−1) below.

    Parameters
    ----------
    eigenvalues : (d,)
        Eigenvalues λ of the input covariance. Zeros are directions without variance: set to zero what is only
        rounding, since the rank decides where the threshold lies.
    beta : (d,) or (k, d)
        Coefficients of the best linear map in the eigenbasis, one row per output.
    n_train : scalar or (N,)
        Training-set sizes.
    noise, snr : scalar or (S,)
        One of them: the noise variance σ² of each output, or SNR = (mean over outputs of βΣβᵀ)/σ²; infinite
        SNR is no noise.
    ridge : float
        μ of the total penalty n·μ‖w‖²; 0 is the minimum-norm interpolator.
    misfit : scalar, (k,) or (k, k)
        Variance per output of what no linear map reaches, or its covariance.
    noise_correlation : float
        r, correlation of two members' noise, from 0 to 1.
    shared_inputs : bool
        Whether members train on the same inputs.

    Returns
    -------
    Alignment
        Arrays (S, N); the axis of an argument given as a scalar is dropped.

    Raises
    ------
    ConsilienceError
        On shapes that do not fit and values out of range, naming the argument.

    Notes
    -----
    Assumes inputs close to Gaussian and n, d large. Over the 3600 settings of benchmarks/theory.py away from
    |n − d| ≤ d/10 without ridge, `alignment` and `squared_cosine` are within .01 + .1(k+1)/n of the simulated mean,
    give or take its error, in 99.8 %, and `risk` within that fraction of it in all. Next to the threshold the same
    holds for 99 % (`alignment` within .21, `squared_cosine` within .23); n = 3 of a steep spectrum leaves `risk` up
    to 15 % too high. Real, heavier-tailed inputs without ridge are less aligned than predicted, by up to .15 around
    the threshold; with μ ≥ 1e-3 the error is about .03. A misfit is treated as noise that members share.

    κ and risk: Dobriban & Wager (Ann. Statist. 2018), Hastie, Montanari, Rosset & Tibshirani
    (arXiv 1903.08560). The overlaps and the finite-size terms are derived here from the same equivalents.

    Examples
    --------
    >>> import numpy as np
    >>> theory = alignment(1 / np.arange(1, 101), np.ones(100), [10, 100, 1000], snr=[1, 4], ridge=1e-3)
    >>> theory.alignment.shape
    (2, 3)
    >>> theory.alignment.round(2)
    array([[0.52, 0.31, 0.91],
           [0.81, 0.65, 0.97]])
    """
    teacher = spectrum(eigenvalues, beta)
    return _alignment(
        grid(
            teacher,
            n_train,
            noise_levels(teacher, noise, snr),
            ridge=ridge,
            misfit=misfit,
            noise_correlation=noise_correlation,
            shared_inputs=shared_inputs,
        )
    )


def isotropic(
    n_train: ArrayLike,
    n_features: int,
    snr: ArrayLike,
    ridge: float = 0.0,
    shared_inputs: bool = True,
) -> Alignment:
    """Alignment for inputs of covariance I in d dimensions and a target of variance 1.

    Without ridge and with shared inputs it is, on both sides of n = d, ::

        ρ = SNR / (SNR + d/|n−d|)

    zero at n = d, SNR/(SNR+1) as n → 0 and 1 as n → ∞. With inputs of their own members have the same ρ for
    n > d and n/d times it below. `risk` is the exact mean for Gaussian inputs, max(0, 1 − n/d) +
    min(n, d)/(|n−d|−1)/SNR (Belkin, Hsu & Xu, arXiv 1903.07571).

    Parameters
    ----------
    n_train : scalar or (N,)
        Training-set sizes.
    n_features : int
        Input dimension d.
    snr : scalar or (S,)
        Target variance over noise variance; infinity is no noise.
    ridge : float
        μ of the total penalty n·μ, in units of the input variance.
    shared_inputs : bool
        Whether members train on the same inputs.

    Raises
    ------
    ConsilienceError
        On values out of range, naming the argument.

    Examples
    --------
    Lowest at the interpolation threshold:

    >>> isotropic([30, 90, 100, 150, 300, 1000], 100, 1.0).alignment.round(4)
    array([0.4118, 0.0909, 0.    , 0.3333, 0.6667, 0.9   ])
    """
    if np.ndim(n_features):
        raise ConsilienceError(f"n_features is {n_features!r}: give one number of input dimensions")
    dimension = whole_numbers("n_features", n_features)
    teacher = Spectrum(np.ones(1), np.atleast_1d(dimension), np.ones((1, 1, 1)))
    ratios = levels("snr", snr, above_zero=True, infinite=True)
    return _alignment(grid(teacher, n_train, 1 / ratios, ridge=ridge, shared_inputs=shared_inputs))


def _alignment(cells: Grid) -> Alignment:
    members, moments = cells.members, cells.moments
    return Alignment(
        alignment=cells.fill(correlation(members)),
        squared_cosine=cells.fill(output_alignment(members)),
        risk=cells.fill(cells.mean_variance(members.risk)),
        kappa=cells.fill(moments.kappa),
        degrees_of_freedom=cells.fill(moments.df1),
        overlap=cells.fill(_unscaled(cells.mean_variance(members.cross), members.scale)),
        self_overlap=cells.fill(_unscaled(cells.mean_variance(members.own), members.scale)),
    )


def _unscaled(average: Floats, scale: Floats) -> Floats:
    """Averages divided by the gap they were multiplied by; infinite where it is closed, unless they vanish."""
    closed = scale == 0
    return np.where(closed, np.where(average > 0, np.inf, 0.0), average / np.where(closed, 1.0, scale))

"""Deterministic equivalents of ridge regression: the second moments of one and of two trained members.

Inputs are Gaussian with covariance Σ (eigenvalues λ), targets y = β x + misfit + noise. With the effective
ridge κ every average below is a sum over directions of powers of the share learned a = λ/(λ+κ) and the
share missed b = κ/(λ+κ). Quantities that diverge at the interpolation threshold, where the gap
1 − g = 1 − (1/n) Σ a² closes, are kept multiplied by the gap, so that ratios of them stay exact there.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from consilience.theory._spectrum import Floats, Spectrum, effective_ridge

__all__ = ["Equivalents", "Fluctuation", "Pair", "equivalents", "pair"]


class Equivalents(NamedTuple):
    """Averages over training inputs for N sample sizes and k outputs; `gap` is 1 − g."""

    n: Floats  # (N,)
    kappa: Floats  # (N,) effective ridge
    df1: Floats  # (N,) degrees of freedom Σ a
    g: Floats  # (N,) (1/n) Σ a²
    gap: Floats  # (N,)
    missed: Floats  # (N, k, k) B = Σ b² λ ββᵀ
    learned: Floats  # (N, k, k) S = Σ a² λ ββᵀ
    weights: Floats  # (N, k, k) Σ a² ββᵀ
    gain: Floats  # (N,) h = (1/n) Σ a²/λ: squared weight norm per unit of noise, times the gap
    along: Floats  # (N, k, k) gap² · wᵀΣKKᵀΣw: noise that falls along the shared signal
    participation: Floats  # (N,) (tr T)²/tr T² of T = KᵀΣK: how many directions the noise of a member fills
    along_apart: Floats  # (N, k, k) as `along`, for members with inputs of their own
    spread_apart: Floats  # (N,) (1/n²) Σ a⁴


class Fluctuation(NamedTuple):
    """Covariance of an overlap F of two maps: cov(F_jk, F_il) = N_ji P_kl + P_ji N_kl + N_ji N_kl τ."""

    noise: Floats  # (S, N, k, k) N
    along: Floats  # (S, N, k, k) P, noise that falls along the signal
    spread: Floats  # (S, N) τ, noise that falls along noise


class Pair(NamedTuple):
    """Two members' maps: averages times the gap, fluctuations times its square; S noise levels, N sizes."""

    cross: Floats  # (S, N, k, k) C = W₁ΣW₂ᵀ
    own: Floats  # (S, N, k, k) Q = W₁ΣW₁ᵀ
    norm: Floats  # (S, N, k, k) A = W₁W₁ᵀ
    private: Fluctuation  # of C, by what members do not share
    common: Fluctuation  # of C, by what they share: misfit and the signal that inputs leave out
    within: Fluctuation  # of Q, by all of it
    edge: Floats  # (S, N) g where members share inputs: how uneven the directions of the noise are
    resampled: Floats  # (S, N) share of the overlap owed to which inputs were drawn
    scale: Floats  # (S, N) what averages were multiplied by
    risk: Floats  # (S, N, k, k) excess risk, not multiplied


def equivalents(spectrum: Spectrum, n_train: Floats, ridge: float) -> Equivalents:
    """Averages for sample sizes (N,) at total penalty n·ridge, in the notation of `alignment`."""
    n = n_train
    kappa = effective_ridge(spectrum.values, spectrum.counts, n, ridge)
    total = spectrum.values + kappa[:, None]  # (N, q)
    a, b = spectrum.values / total, kappa[:, None] / total  # (N, q)

    def average(x: Floats) -> Floats:
        return (x @ spectrum.counts) / n  # (N,)

    df1, g = average(a) * n, average(a**2)
    # 1 − df1/n = μ/κ: no subtraction of nearly equal numbers near the threshold.
    gap = np.where(kappa > 0, ridge / np.where(kappa > 0, kappa, 1.0) + average(a * b), 1 - spectrum.rank / n)
    values = spectrum.values
    return Equivalents(
        n=n,
        kappa=kappa,
        df1=df1,
        g=g,
        gap=gap,
        missed=spectrum.moment(values * b**2),
        learned=spectrum.moment(values * a**2),
        weights=spectrum.moment(a**2),
        gain=average(a**2 / values),
        along=_along(spectrum, a, b, n, gap),
        participation=_participation(spectrum, a, b, n, g, gap),
        along_apart=(gap / n)[:, None, None] * spectrum.moment(values * a**4),
        spread_apart=average(a**4) / n,
    )


def _along(spectrum: Spectrum, a: Floats, b: Floats, n: Floats, gap: Floats) -> Floats:
    """gap² · (Aβ)ᵀ Σ K Kᵀ Σ Aβ with A = (X'X + nμ)⁻¹X'X and K = (X'X + nμ)⁻¹X': (N, k, k).

    K Kᵀ is (1/n) d/dμ of μ(Ŝ+μ)⁻¹, so this is the derivative by the middle penalty of a product of three
    resolvents with Σ between them, whose equivalent follows from the 3 × 3 block resolvent.
    """
    # Where the gap closes, b and the averages that hold b vanish with it: only their ratios to it enter. Each
    # difference is taken in the form that loses no digits, be the gap near 0 or the ridge so large that a is.
    gap = gap[:, None]  # (N, 1)
    e = np.where(gap > 0, 1 / np.where(gap > 0, gap, 1.0), 0.0)

    def average(x: Floats) -> Floats:
        return (x @ spectrum.counts / n)[:, None]  # (N, 1)

    g, g1, eb = average(a**2), e * average(a**2 * b), e * b
    rest = np.where(a < 0.5, e * (a - g), 1 - eb)  # (a − g)/gap
    narrow, wide = g - 2 * g1 + e * average(a**2 * b**2), e * (average(a**4) - g**2)  # equal
    terms = (a * rest) ** 2 + 2 * g1 * a * eb * rest + eb**2 * (np.where(gap < 0.5, narrow, wide) + 2 * g1**2)
    return (gap / n[:, None])[..., None] * spectrum.moment(spectrum.values * terms)


def _participation(spectrum: Spectrum, a: Floats, b: Floats, n: Floats, g: Floats, gap: Floats) -> Floats:
    """(tr T)²/tr T² of T = KᵀΣK (N,), from tr Σ(Ŝ+μ₁)⁻¹Σ(Ŝ+μ₂)⁻¹ differentiated by both penalties.

    Within a few samples of the threshold T is ruled by the few smallest singular values, whose law is
    universal: the ratio tends to 1.43 there instead of 0. The correction `edge`, in x = n·gap (|n − d| for
    isotropic inputs), was fitted to simulated Wishart matrices and holds within 5 %.
    """

    def total(x: Floats) -> Floats:
        return x @ spectrum.counts

    open_gap = np.where(gap > 0, gap, 1.0)
    slope = total(a**2 * b) / (n * open_gap)
    # gap³ n² tr T²
    second = total(a**4) + g * total(a**2 * b**2) / open_gap - 2 * total(a**3) * slope + 2 * n * g * slope**2
    x = n * gap
    edge = (1 - gap) * (1.43 - 3.1 * x / (x + 4))
    return np.maximum(g**2 * n / second * (x + edge), 1.0)


def pair(moments: Equivalents, noise: Floats, shared: Floats, *, correlation: float, shared_inputs: bool) -> Pair:
    """Moments of two members for noise variances (S,) per output and shared misfit covariance (k, k)."""
    k = shared.shape[-1]
    one = np.eye(k)
    fresh = noise[:, None, None, None] * one  # (S, 1, k, k)
    every = shared + fresh  # (S, 1, k, k) noise of one member
    # No noise at all: members are the teacher at the threshold, and nothing diverges.
    quiet = np.einsum("...ii->...", every) == 0  # (S, 1)
    scale = np.where((moments.gap == 0) & quiet, 1.0, moments.gap)  # (S, N)
    wide, g = scale[..., None, None], moments.g[:, None, None]
    learned = wide * moments.learned + np.zeros_like(scale)[..., None, None]  # (S, N, k, k)
    signal = learned + g * moments.missed
    error = moments.missed + every  # variance that acts as noise: what inputs leave out does, too
    spread = np.broadcast_to(moments.g**2 / moments.participation, scale.shape)
    tau = spread[..., None, None]
    along = moments.along - tau * moments.missed  # noise along what is learned on average
    within = Fluctuation(error, along, spread)
    if shared_inputs:
        both = shared + correlation * fresh
        cross = signal + g * both
        private = Fluctuation((1 - correlation) * fresh + 0 * error, moments.along + tau * both, spread)
        common = Fluctuation(moments.missed + both, along, spread)
        edge, resampled = np.broadcast_to(moments.g, scale.shape), 1 - _ratio(learned, cross)
    else:
        cross = learned
        apart = np.broadcast_to(moments.spread_apart, scale.shape)
        private = Fluctuation(error, moments.along_apart + 0 * error, apart)
        common = Fluctuation(0 * error, along, spread)
        edge = resampled = np.zeros_like(scale)
    return Pair(
        cross=cross,
        own=signal + g * every,
        norm=wide * moments.weights + error * moments.gain[:, None, None],
        private=private,
        common=common,
        within=within,
        edge=edge,
        resampled=resampled,
        scale=scale,
        risk=_risk(error, moments, wide),
    )


def _ratio(top: Floats, bottom: Floats) -> Floats:
    """tr top / tr bottom, with 1 for 0/0 (no signal left and no noise)."""
    numerator, denominator = np.einsum("...ii->...", top), np.einsum("...ii->...", bottom)
    empty = denominator == 0
    return np.where(empty, 1.0, numerator / np.where(empty, 1.0, denominator))


def _risk(error: Floats, moments: Equivalents, scale: Floats) -> Floats:
    """(B + noise·g)/(1 − g), infinite where the gap is closed and there is noise."""
    top = moments.missed + (error - moments.missed) * moments.g[:, None, None]
    closed = scale == 0
    diagonal = np.eye(top.shape[-1], dtype=bool)
    return np.where(closed, np.where(diagonal, np.inf, 0.0), top / np.where(closed, 1.0, scale))

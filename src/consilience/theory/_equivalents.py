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

__all__ = ["Equivalents", "Family", "Fluctuation", "Pair", "equivalents", "pair"]


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
    along_mixed: Floats  # (N, k, k) as `along`, of wᵀΣKKᵀw, and
    along_norm: Floats  # (N, k, k) of wᵀKKᵀw
    along_mixed_apart: Floats  # (N, k, k)
    mixed: Floats  # (N,) tr T T₀ / tr T², T₀ = KᵀK
    plain: Floats  # (N,) tr T₀² / tr T²
    noise_gain: Floats  # (N,) E tr T at this size: risk per unit of noise, infinite within a sample of the rank


class Fluctuation(NamedTuple):
    """Covariance of two overlaps F, F' of maps: cov(F_jk, F'_il) = N_ji P_kl + P_ji N_kl + N_ji N_kl τ."""

    noise: Floats  # (S, N, k, k) N
    along: Floats  # (S, N, k, k) P, noise that falls along the signal
    spread: Floats  # (S, N) τ, noise that falls along noise


class Family(NamedTuple):
    """One kind of fluctuation by its origin."""

    private: Fluctuation  # by what members do not share, of an overlap of two
    common: Fluctuation  # by what they share: misfit and the signal that inputs leave out
    within: Fluctuation  # by all of it, of one member


class Pair(NamedTuple):
    """Two members' maps: averages times the gap, fluctuations times its square; S noise levels, N sizes."""

    cross: Floats  # (S, N, k, k) C = W₁ΣW₂ᵀ
    own: Floats  # (S, N, k, k) Q = W₁ΣW₁ᵀ
    norm: Floats  # (S, N, k, k) A = W₁W₁ᵀ
    overlaps: Family  # fluctuations of C and Q
    mixed: Family  # of them with A
    plain: Family  # of A
    edge: Floats  # (S, N) g where members share inputs: how uneven the directions of the noise are
    resampled: Floats  # (S, N) share of the overlap owed to which inputs were drawn
    weight_directions: Floats  # (S, N) (tr T₀)²/tr T₀²: how many directions noise fills in weights
    mixed_directions: Floats  # (S, N) tr T tr T₀/tr TT₀
    shared_inputs: bool
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
        along=(along := _along(spectrum, a, b, n, gap)),
        participation=_participation(spectrum, a, b, n, gap),
        along_apart=(apart := (gap / n)[:, None, None] * spectrum.moment(values * a**4)),
        spread_apart=average(a**4) / n,
        **_with_norm(spectrum, a, b, n, gap, along - apart),
        noise_gain=_noise_gain(spectrum, a, n, g, gap, ridge),
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


def _products(spectrum: Spectrum, a: Floats, b: Floats, n: Floats, gap: Floats) -> tuple[Floats, Floats, Floats]:
    """gap³ n² times tr T², tr T T₀ and tr T₀² (N,), with T = KᵀΣK and T₀ = KᵀK.

    The equivalent of tr A(Ŝ+μ₁)⁻¹B(Ŝ+μ₂)⁻¹ is κ₁κ₂/(μ₁μ₂) [tr A G₁BG₂ + tr(AG₁ΣG₂) tr(BG₁ΣG₂)/(n gap)] with
    G = (Σ+κ)⁻¹, and KKᵀ is (1/n) d/dμ of μ(Ŝ+μ)⁻¹: differentiated by both penalties, for A, B = Σ or 1.
    """
    open_gap = np.where(gap > 0, gap, 1.0)

    def total(x: Floats) -> Floats:
        return x @ spectrum.counts

    g1, g2 = total(a**2 * b) / (n * open_gap), total(a**2 * b**2) / (n * open_gap)
    shares = a**2, a**2 / spectrum.values  # by Σ, by 1
    sums = [(total(x), total(x * b), total(x * b**2)) for x in shares]

    def product(i: int, j: int) -> Floats:
        (a0, a1, a2), (b0, b1, b2) = sums[i], sums[j]
        crossed, straight = a1 * b0 + a0 * b1, a0 * b0
        ladder = straight - 2 * crossed + a2 * b0 + 2 * a1 * b1 + a0 * b2
        ladder = ladder + 2 * g1 * (crossed - straight) + straight * (g2 + 2 * g1**2)
        return gap * total(shares[i] * shares[j]) + ladder / n

    return product(0, 0), product(0, 1), product(1, 1)


def _participation(spectrum: Spectrum, a: Floats, b: Floats, n: Floats, gap: Floats) -> Floats:
    """(tr T)²/tr T² of T = KᵀΣK (N,).

    Within a few samples of the threshold T is ruled by the few smallest singular values, whose law is
    universal: the ratio tends to 1.43 there instead of 0. The correction `edge`, in x = n·gap (|n − d| for
    isotropic inputs), was fitted to simulated Wishart matrices and holds within 5 %.
    """
    trace = a**2 @ spectrum.counts
    x = n * gap
    edge = (1 - gap) * (1.43 - 3.1 * x / (x + 4))
    return np.maximum(trace**2 / (n * _products(spectrum, a, b, n, gap)[0]) * (x + edge), 1.0)


def _with_norm(spectrum: Spectrum, a: Floats, b: Floats, n: Floats, gap: Floats, shaped: Floats) -> dict[str, Floats]:
    """Fluctuations of the weights' plain norms WWᵀ, and of overlaps with them.

    Along the signal they are the sums over directions that inputs of their own have; what shared inputs add
    to wᵀΣKKᵀΣw (`shaped`) is taken to be norm to overlap as noise is, exact for isotropic inputs.
    """
    squares, mixed, plain = _products(spectrum, a, b, n, gap)
    rate = ((a**2 / spectrum.values) @ spectrum.counts / (a**2 @ spectrum.counts))[:, None, None]
    share = (gap / n)[:, None, None]
    apart = share * spectrum.moment(a**4)
    return {
        "along_mixed": apart + rate * shaped,
        "along_norm": share * spectrum.moment(a**4 / spectrum.values) + rate**2 * shaped,
        "along_mixed_apart": apart,
        "mixed": mixed / squares,
        "plain": plain / squares,
    }


def _noise_gain(spectrum: Spectrum, a: Floats, n: Floats, g: Floats, gap: Floats, ridge: float) -> Floats:
    """E tr T (N,): g/(1−g), and without ridge g/(1 − g − s/n) with s = Σa²/Σa.

    The second is exact for n > rank, where it is d/(n−d−1), and for isotropic inputs below, n/(d−n−1); the mean
    is infinite where n and the rank differ by one or not at all (Belkin, Hsu & Xu, arXiv 1903.07571).
    """
    if ridge > 0:
        return g / gap
    left = gap - (a**2 @ spectrum.counts) / (a @ spectrum.counts) / n
    finite = (np.abs(n - spectrum.rank) > 1) & (left > 0)
    return np.where(finite, g / np.where(finite, left, 1.0), np.inf)


def pair(moments: Equivalents, noise: Floats, shared: Floats, *, correlation: float, shared_inputs: bool) -> Pair:
    """Moments of two members for noise variances (S,) per output and shared misfit covariance (k, k)."""
    fresh = noise[:, None, None, None] * np.eye(shared.shape[-1])  # (S, 1, k, k)
    every = shared + fresh  # noise of one member
    both = shared + correlation * fresh if shared_inputs else 0 * every  # noise of both
    # No noise at all: members are the teacher at the threshold, and nothing diverges.
    quiet = np.einsum("...ii->...", every) == 0  # (S, 1)
    scale = np.where((moments.gap == 0) & quiet, 1.0, moments.gap)  # (S, N)
    wide, g, even = scale[..., None, None], moments.g[:, None, None], np.zeros_like(scale)
    learned = wide * moments.learned + even[..., None, None]  # (S, N, k, k)
    error = moments.missed + every  # variance that acts as noise: what inputs leave out does, too
    cross = learned + g * (both + shared_inputs * moments.missed)
    rate = moments.gain / moments.g
    sources = _Sources(error, every - both, both, shared_inputs)
    return Pair(
        cross=cross,
        own=learned + g * error,
        norm=wide * moments.weights + error * moments.gain[:, None, None],
        overlaps=_family(moments, sources, moments.along, moments.along_apart, even + 1),
        mixed=_family(moments, sources, moments.along_mixed, moments.along_mixed_apart, even + moments.mixed),
        plain=_family(moments, sources, moments.along_norm, moments.along_norm, even + moments.plain),
        edge=even + moments.g * shared_inputs,
        resampled=1 - _ratio(learned, cross) if shared_inputs else even,
        weight_directions=even
        + np.maximum(moments.participation * (moments.gain / moments.g) ** 2 / moments.plain, 1.0),
        mixed_directions=even + moments.participation * rate / moments.mixed,
        shared_inputs=shared_inputs,
        scale=scale,
        risk=_risk(moments, every, scale),
    )


class _Sources(NamedTuple):
    """What acts as noise (S, N, k, k): all of it, of one member alone, of both; and whether inputs are shared."""

    error: Floats
    fresh: Floats
    both: Floats
    shared_inputs: bool


def _family(moments: Equivalents, sources: _Sources, along: Floats, along_apart: Floats, kind: Floats) -> Family:
    """Fluctuations of one kind; `kind` (S, N) is their spread relative to that of overlaps."""
    error, fresh, both, shared_inputs = sources
    spread = kind * moments.g**2 / moments.participation
    tau = spread[..., None, None]
    learned = along - tau * moments.missed  # noise along what is learned on average
    within = Fluctuation(error, learned, spread)
    if shared_inputs:
        private = Fluctuation(fresh + 0 * error, along + tau * both, spread)
        return Family(private, Fluctuation(moments.missed + both, learned, spread), within)
    private = Fluctuation(error, along_apart + 0 * error, kind * moments.spread_apart)
    return Family(private, Fluctuation(0 * error, learned, spread), within)


def _ratio(top: Floats, bottom: Floats) -> Floats:
    """tr top / tr bottom, with 1 for 0/0 (no signal left and no noise)."""
    numerator, denominator = np.einsum("...ii->...", top), np.einsum("...ii->...", bottom)
    empty = denominator == 0
    return np.where(empty, 1.0, numerator / np.where(empty, 1.0, denominator))


def _risk(moments: Equivalents, noise: Floats, scale: Floats) -> Floats:
    """B/(1−g) plus noise times its gain: infinite where the mean over inputs is."""
    wide = scale[..., None, None]
    missed = np.where(wide == 0, 0.0, moments.missed / np.where(wide == 0, 1.0, wide))
    gain = np.broadcast_to(moments.noise_gain[:, None, None], missed.shape)
    heard = noise != 0
    return missed + np.where(heard, noise, 0.0) * np.where(heard, gain, 0.0)

"""Expected CKA of outputs and of hidden layers at finite size, from the moments of two members.

Noise falls on few directions, those where the inputs that members share have little variance, so two
members agree by chance: with m directions filled, CKA of k pure-noise outputs is about k/m, not 0. The
leading order of every formula is derived; the next order, below, was fitted to simulated Gaussian inputs.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import hyp2f1

from consilience.theory._equivalents import Equivalents, Fluctuation, Pair
from consilience.theory._second_order import hidden_shares
from consilience.theory._spectrum import Floats

__all__ = ["Scatter", "correlation", "hidden_alignment", "output_alignment", "scatter"]


class Scatter(NamedTuple):
    """Standard deviations (S, N) over data sets of what members of one data set show on average."""

    correlation: Floats
    output: Floats
    hidden: Floats


def correlation(members: Pair) -> Floats:
    """ρ = tr C / tr Q (S, N); 1 where neither signal nor noise is left."""
    return _share(_trace(members.cross), _trace(members.own))


def output_alignment(members: Pair) -> Floats:
    """Expected linear CKA of two members' outputs, E ‖F‖²/(‖Q₁‖‖Q₂‖) (S, N); squared cosine for one output."""
    k = members.cross.shape[-1]
    if k == 1:  # the hidden layer of a network with one output has rank one: the same cosine
        return hidden_alignment(members, 0.0)
    parts = (members.overlaps.private, members.overlaps.common, members.overlaps.within)
    private, common, within = (_even(part, members.edge) for part in parts)
    weight = _trace(members.own) ** 2
    overlap = _square(members.cross) + _fluctuation(private, np.eye(k)) + _self_fluctuation(common)
    own = _square(members.own) + _self_fluctuation(within)
    # Each is divided by the product of traces it goes with: one training sample then gives exactly 1.
    overlap_share = _share(overlap, weight + _trace_variance(common))
    return np.minimum(_share(overlap_share, _share(own, weight + _trace_variance(within))), 1.0)


def hidden_alignment(members: Pair, delta: float) -> Floats:
    """Expected linear CKA of hidden layers of Gram G = Wᵀψ(WWᵀ)W, ψ(A) = 1/(δ/2 + √(δ²/4 + A)) (S, N).

    The mean part is what members share; the rest, noise of two members on the same directions, is written k/m
    of what is left, which defines m, the directions that noise fills, and the next order replaces m.
    """
    k = members.cross.shape[-1]
    if k == 1:  # rank one: the size of the weights cancels
        own, shared = (_square(x) for x in (members.own, members.cross))
        noise = _fluctuation(members.overlaps.private, np.eye(1))
    else:
        own, shared, noise = hidden_shares(members, delta)
    mean, excess = _share(shared, own), _share(noise, own)
    loose = (excess > 0) & (mean < 1)
    mean = np.where(loose, mean, np.minimum(mean, 1.0))
    m = np.maximum(np.where(loose, k * (1 - mean) / np.where(loose, excess, 1.0), 1.0), 1.0)
    slope = 0.25 * (1 - 1 / k) if members.shared_inputs else 0.0
    uneven = _unevenness(m, slope + members.edge * (1 + 1 / k))
    filled = np.maximum(m, k) + np.minimum(m, k) * uneven
    chance = mean + (1 - mean) * k / filled
    if k == 1:
        private = members.overlaps.private
        pulled = _share(_trace(private.noise @ private.along), _trace(members.own) ** 2)
        chance = _resample(mean, filled, pulled, members)
    return np.where(loose, chance, mean)


def scatter(members: Pair, moments: Equivalents, count: int) -> Scatter:
    """Standard deviation over data sets, each with inputs that its `count` members share.

    To first order, with q = tr Q: the shared signal's size fluctuates, noise of members does not average out
    over few of them, and the noise power tr T does as if the threshold lay √(2g) samples elsewhere.
    """
    rho, weight = correlation(members), _trace(members.own)
    private, k = members.overlaps.private, members.cross.shape[-1]
    signal = (1 - rho) ** 2 * _share(_trace_variance(members.overlaps.common), weight**2, empty=0.0)
    along = _trace(private.noise @ private.along)
    across = _square(private.noise) * private.spread
    drawn = 4 / count * ((1 - rho) ** 2 * along + 0.5 * rho**2 * across) + 2 / (count * (count - 1)) * across
    displaced = np.sqrt(2 * moments.g) / moments.n
    opened = displaced[:, None, None] * moments.learned
    quieter = _share(_trace(members.cross + opened), _trace(members.own + opened))
    sd = np.sqrt(signal + _share(drawn, weight**2, empty=0.0) + (quieter - rho) ** 2)
    pairs = count * (count - 1) / 2
    chance = np.sqrt(2 / (pairs * k**2) + 7 * moments.g / (moments.n * moments.gap + 3) ** 2)

    def of_cka(value: Floats) -> Floats:
        return np.hypot(2 * rho * sd, np.maximum(value - rho**2, 0) * chance)

    return Scatter(sd, of_cka(output_alignment(members)), of_cka(hidden_alignment(members, 0.0)))


def _unevenness(m: Floats, slope: Floats) -> Floats:
    """Correction to m filled directions that vanishes for one direction, where members agree exactly."""
    return slope * (1 - m**-1.5)


def _resample(square: Floats, m: Floats, pulled: Floats, members: Pair) -> Floats:
    """Squared cosine of one output, with norms that fluctuate along with the overlap.

    Given the inputs, second order of 1/(q₁q₂) adds 4ρ²(1−ρ²)/m − 8ρ·N·P/q² to ρ² + (1−ρ²)/m (`pulled` is
    N·P/q²); near the threshold the fitted m has that in it. Where the draw of inputs decides the length of
    the shared signal, n ≪ d, predictions are n Gaussian numbers of correlation ρ, and the mean is that of a
    squared sample correlation, 1 − ((m−1)/m)(1−ρ²) ₂F₁(1, 1; m/2+1; ρ²). The two are mixed by the share of
    the overlap that the draw decides.
    """
    r2 = np.minimum(square, 1 - 1e-12)
    sampled = 1 - (m - 1) / m * (1 - r2) * hyp2f1(1.0, 1.0, m / 2 + 1, r2)
    norms = (1 - members.edge) * (1 - 1 / m) * (4 * r2 * (1 - r2) / m - 8 * np.sqrt(r2) * pulled)
    fixed = np.clip(r2 + (1 - r2) / m + norms, r2, 1.0)
    return members.resampled * sampled + (1 - members.resampled) * fixed


def _even(part: Fluctuation, edge: Floats) -> Fluctuation:
    """The fluctuation once norms of outputs, which fluctuate with it, are divided out."""
    k = part.noise.shape[-1]
    m = np.maximum(_share(edge**2, part.spread), 1.0)
    return part._replace(spread=part.spread * m / (m + _unevenness(m, 2 * edge / k)))


def _fluctuation(part: Fluctuation, gate: Floats) -> Floats:
    """E tr[H δF H δFᵀ] for two members' independent noise: 2 tr(HN) tr(HP) + tr(HN)² τ, H = `gate`."""
    through = _trace(gate @ part.noise)
    return 2 * through * _trace(gate @ part.along) + through**2 * part.spread


def _self_fluctuation(part: Fluctuation) -> Floats:
    """E ‖δQ‖² where one and the same noise enters both sides of the overlap."""
    noise, along = part.noise, part.along
    crossed = _trace(noise) * _trace(along) + _trace(noise @ along)
    return 2 * crossed + (_trace(noise) ** 2 + _square(noise)) * part.spread


def _trace_variance(part: Fluctuation) -> Floats:
    """Variance of tr Q by the same noise."""
    return 4 * _trace(part.noise @ part.along) + 2 * _square(part.noise) * part.spread


def _share(top: Floats, bottom: Floats, empty: float = 1.0) -> Floats:
    """top / bottom, with `empty` for 0/0."""
    vanishes = bottom == 0
    return np.where(vanishes, empty, top / np.where(vanishes, 1.0, bottom))


def _trace(x: Floats) -> Floats:
    return np.einsum("...ii->...", x)


def _square(x: Floats) -> Floats:
    return np.einsum("...ij,...ij->...", x, x)

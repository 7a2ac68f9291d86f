"""Hidden layers of several outputs, to second order in what differs from one draw of the data to the next.

With the k×k overlaps Q = WΣWᵀ of one member and C = W₁ΣW₂ᵀ of two, and the norm A = WWᵀ, hidden layers of
Gram Wᵀψ(A)W have products tr[ψ(A)Qψ(A)Q] and tr[ψ(A₁)Cψ(A₂)Cᵀ] and the trace tr[ψ(A)Q]. All are expanded
around the averages, in the eigenbasis of the average A, where derivatives of ψ are divided differences.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from consilience.theory._equivalents import Fluctuation, Pair
from consilience.theory._spectrum import Floats

__all__ = ["Shares", "gate", "hidden_shares"]


class Shares(NamedTuple):
    """Products of hidden layers over the mean product of the traces they go with, each (S, N)."""

    own: Floats  # of one member with itself
    shared: Floats  # of two members, but for noise of the one on noise of the other
    chance: Floats  # that noise, to leading order


class _Frame(NamedTuple):
    """Eigenbasis of the average norm A, and ψ there; A and the overlaps are divided by tr A and tr Q."""

    basis: Floats  # (S, N, k, k)
    first: Floats  # (S, N, k) ψ(αᵢ)
    slope: Floats  # (S, N, k, k) ψ[αᵢ, αⱼ]
    bend: Floats  # (S, N, k, k) ψ[αᵢ, αᵢ, αⱼ]
    norm: Floats  # (S, N, 1, 1) tr A
    own: Floats  # (S, N, 1, 1) tr Q

    def turn(self, matrix: Floats) -> Floats:
        """Matrices (S, N, k, k) in the eigenbasis."""
        return np.swapaxes(self.basis, -1, -2) @ matrix @ self.basis


class _Moments(NamedTuple):
    """Second moments (S, N, k, k): of entries (i, j), and of diagonal entries i with j."""

    entries: Floats
    diagonal: Floats


class _Source(NamedTuple):
    """Moments by one origin: of A with A, of A with the overlap, of the overlap with itself."""

    plain: _Moments
    mixed: _Moments
    overlap: _Moments


def gate(norm: Floats, delta: float, scale: Floats) -> tuple[Floats, Floats, Floats]:
    """Eigenvectors (S, N, k, k) of A, ψ and √(δ²/4 + A) (S, N, k), from A times the gap, up to a factor.

    Directions without weight get ψ = 0.
    """
    value, vector = np.linalg.eigh(norm)
    kept = value > 1e-14 * value[..., -1:]
    value = np.where(kept, value, 1.0)
    half = 0.5 * delta * np.sqrt(scale)[..., None]
    root = np.hypot(half, np.sqrt(value))
    # The two forms are equal; each adds where the other would subtract.
    return vector, kept * (1 / (half + root) if delta >= 0 else (root - half) / value), root


def hidden_shares(members: Pair, delta: float) -> Shares:
    """Shares of hidden layers with Gram Wᵀψ(WWᵀ)W, ψ(A) = 1/(δ/2 + √(δ²/4 + A)), for k > 1 outputs.

    CKA does not see the size of layers, hence the traces. The expansion is in ε = (k+1)/m₀ with m₀ the number
    of directions that noise fills in weights, and is faded out as 1/(1+ε²) where ε is not small.
    """
    k = members.cross.shape[-1]
    frame = _frame(members, delta)
    within, common = (_source(frame, members, name) for name in ("within", "common"))
    private = _half(frame, members)
    own, cross = (frame.turn(x) / frame.own for x in (members.own, members.cross))
    crowded = (k + 1) / members.weight_directions
    fade = 1 / (1 + crowded**2)
    product = _product(frame, own) + fade * _product_change(frame, own, within, within, within.mixed.entries)
    mixed = common.mixed.entries + private
    shared = _product(frame, cross) + fade * _product_change(frame, cross, within, common, mixed)
    trace = np.einsum("...i,...ii->...", frame.first, own)
    drift, own_spread = _trace_change(frame, own, within, within)
    _, common_spread = _trace_change(frame, own, within, common)
    size = trace**2 + fade * 2 * trace * drift
    own_share = np.clip(product / (size + fade * own_spread), 1 / k, 1.0)
    both = size + fade * common_spread
    return Shares(own_share, np.clip(shared / both, 0.0, own_share), _chance(frame, members) / both)


def _frame(members: Pair, delta: float) -> _Frame:
    norm, own = (np.einsum("...ii->...", x)[..., None, None] for x in (members.norm, members.own))
    norm, own = (np.where(x == 0, 1.0, x) for x in (norm, own))
    vector, first, root = gate(members.norm / norm, delta, members.scale / norm[..., 0, 0])
    half = 0.5 * delta * np.sqrt(members.scale / norm[..., 0, 0])[..., None, None]
    left, right = root[..., :, None], root[..., None, :]
    slope = -first[..., :, None] * first[..., None, :] / (left + right)
    bend = -first[..., :, None] * slope * (half + 2 * left + right) / (2 * left * (left + right))
    return _Frame(vector, first, slope, bend, norm, own)


def _source(frame: _Frame, members: Pair, name: str) -> _Source:
    """Moments of one origin; those of A are divided by tr A for each A, those of overlaps by tr Q."""
    parts = [getattr(family, name) for family in (members.plain, members.mixed, members.overlaps)]
    sizes = [frame.norm**2, frame.norm * frame.own, frame.own**2]
    return _Source(*(_moments(frame, part, size) for part, size in zip(parts, sizes, strict=True)))


def _moments(frame: _Frame, part: Fluctuation, size: Floats) -> _Moments:
    """Moments of F + Fᵀ-symmetric fluctuations: one and the same noise N enters on both sides of WΣWᵀ."""
    noise, along = frame.turn(part.noise), frame.turn(part.along)
    spread = part.spread[..., None, None]
    n, p = np.einsum("...ii->...i", noise), np.einsum("...ii->...i", along)
    crossed = p[..., :, None] * n[..., None, :]
    entries = crossed + np.swapaxes(crossed, -1, -2) + 2 * along * noise
    entries = entries + spread * (n[..., :, None] * n[..., None, :] + noise**2)
    return _Moments(entries / size, (4 * along * noise + 2 * spread * noise**2) / size)


def _half(frame: _Frame, members: Pair) -> Floats:
    """Moments of A with the overlap of two members, by noise of the one that A belongs to: half of the terms."""
    part = members.mixed.private
    still = part._replace(spread=0 * part.spread)
    return 0.5 * _moments(frame, still, frame.norm * frame.own).entries


def _product(frame: _Frame, overlap: Floats) -> Floats:
    return np.einsum("...i,...ij,...j,...ij->...", frame.first, overlap, frame.first, overlap)


def _product_change(frame: _Frame, overlap: Floats, one: _Source, two: _Source, mixed: Floats) -> Floats:
    """Mean change of tr[ψ(A₁)Fψ(A₂)Fᵀ] (S, N), F = `overlap`: `one` varies A, `two` moves A₁, A₂ and F together."""
    first, diagonal = frame.first, np.einsum("...ii->...i", overlap)
    gated = first * diagonal  # (S, N, k)
    through = np.einsum("...ij,...j,...ij->...i", overlap, first, overlap)  # diagonal of FψFᵀ
    squares = np.where(np.eye(overlap.shape[-1], dtype=bool), 0.0, overlap**2)
    products = diagonal[..., :, None] * diagonal[..., None, :] + squares
    change = first[..., :, None] * first[..., None, :] * two.overlap.entries
    change = change + frame.slope**2 * products * two.plain.entries
    change = change + 2 * frame.slope * (gated[..., :, None] + gated[..., None, :]) * mixed
    return np.sum(change + 2 * frame.bend * through[..., :, None] * one.plain.entries, axis=(-1, -2))


def _trace_change(frame: _Frame, own: Floats, one: _Source, two: _Source) -> tuple[Floats, Floats]:
    """Mean change of t = tr[ψ(A)Q] by `one`, and covariance of two members' traces by `two`, each (S, N)."""
    diagonal = np.einsum("...ii->...i", own)
    drift = frame.bend * diagonal[..., :, None] * one.plain.entries + frame.slope * one.mixed.entries
    pull = np.einsum("...ii->...i", frame.slope) * diagonal
    by_overlap = frame.first[..., :, None] * frame.first[..., None, :] * two.overlap.diagonal
    by_both = 2 * pull[..., :, None] * frame.first[..., None, :] * two.mixed.diagonal
    by_norm = pull[..., :, None] * pull[..., None, :] * two.plain.diagonal
    return np.sum(drift, axis=(-1, -2)), np.sum(by_overlap + by_both + by_norm, axis=(-1, -2))


def _chance(frame: _Frame, members: Pair) -> Floats:
    """E tr[ψδFψδFᵀ] by noise of two members, over (tr Q)² (S, N), with the change of ψ that noise makes.

    ψ falls where noise is large: that takes (k+1)/m_x, m_x the directions that weights and outputs fill alike,
    and adds 3/4 (k+1)/m₀, m₀ those that weights fill. The closed form for layers of equal directions counts
    m₀ as equal to m_x and is kept; the exponential carries the difference, bounded where ε is not small.
    """
    k, part = members.cross.shape[-1], members.overlaps.private
    noise, along = frame.turn(part.noise), frame.turn(part.along)
    through, pulled = (np.einsum("...i,...ii->...", frame.first, x) / frame.own[..., 0, 0] for x in (noise, along))
    alike, filled = 1 / members.mixed_directions, 1 / members.weight_directions
    weakened = np.exp(-(k + 1) * (alike - filled) / (1 + (k + 1) * filled))
    if not members.shared_inputs:
        # With shared inputs the directions that are left count this, see `hidden_alignment`.
        m = members.weight_directions
        weakened = weakened * m / (np.maximum(m, k) + 0.25 * (1 - 1 / k) * np.minimum(m, k))
    return (2 * through * pulled + through**2 * part.spread) * weakened

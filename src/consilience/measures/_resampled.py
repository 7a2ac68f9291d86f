"""Inner products of centred kernel matrices when rows are left out or reordered.

For K (n, n) symmetric with rows that sum to zero (a centred kernel matrix, or centred distances) leaving out row i
and centring again gives, with m = n − 1, K_jl + (K_ij + K_il)/m + K_ii/m². All sums over that follow from sums over K.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from consilience._array import check_memory, row_blocks
from consilience._resampling import Floats, Orders

__all__ = [
    "Centred",
    "Corrections",
    "inner_cycled",
    "inner_left_out",
    "inner_permuted",
    "inner_permuted_coarsely",
    "matrix_cycled",
    "matrix_permuted",
    "whole_matrix",
]

Corrections = Callable[[int], tuple[float, float]]  # c₁ and c₂ for n samples, see `cka`

# Gathering an entry of a matrix takes as long as this many multiply-adds of a matrix product (measured: 60 to 150).
_GATHER = 100
_MUCH = 2**17  # multiply-adds for one order, from which single precision saves time
_STACKED = 2**19  # entries worked on at once, which stay in cache


class Centred(NamedTuple):
    """A centred kernel matrix, as features x (n, d) with K = xxᵀ, or by rows."""

    x: Floats | None
    rows: Callable[[int, int], Floats]  # rows(start, stop) of K, (stop − start, n)
    diagonal: Floats  # (n,), of K


def inner_left_out(a: Centred, b: Centred, corrections: Corrections) -> Floats:
    """⟨K, L⟩ = Σ KᵢⱼLᵢⱼ − c₁ Σ KᵢᵢLᵢᵢ + c₂ tr K tr L of the n − 1 other samples, for each sample left out: (n,).

    O(n p q) with features, else O(n²).
    """
    k, l = a.diagonal, b.diagonal  # noqa: E741
    n = k.size
    m = n - 1
    entries, rows, across, back = _sums(a, b)
    both = k * l
    diagonals = (
        (k @ l - both)
        + 2 / m * (back + across - 2 * both)
        + (l * (k.sum() - k) + k * (l.sum() - l)) / m**2
        + 4 / m**2 * (rows - both)
        - 3 * both / m**3
    )
    scale = n / m
    c1, c2 = corrections(m)
    inner = entries - 2 * scale * rows + scale**2 * both
    return inner - c1 * diagonals + c2 * (k.sum() - scale * k) * (l.sum() - scale * l)


def _sums(a: Centred, b: Centred) -> tuple[float, Floats, Floats, Floats]:
    """Σᵢⱼ KᵢⱼLᵢⱼ and, for each i, Σⱼ KᵢⱼLᵢⱼ, Σⱼ Kᵢⱼ Lⱼⱼ and Σⱼ Lᵢⱼ Kⱼⱼ."""
    if (
        a.x is not None
        and b.x is not None
        and a.x.shape[1] * b.x.shape[1] <= a.x.shape[0] * sum(each.x.shape[1] for each in (a, b) if each.x is not None)
    ):
        products = a.x.T @ b.x
        rows = np.einsum("ij,ij->i", a.x @ products, b.x)
        return float(np.sum(products * products)), rows, a.x @ (a.x.T @ b.diagonal), b.x @ (b.x.T @ a.diagonal)
    n = a.diagonal.size
    rows, across, back = np.empty(n), np.empty(n), np.empty(n)
    for start, stop in row_blocks(a.diagonal[:, None], arrays=2):
        k, l = a.rows(start, stop), b.rows(start, stop)  # noqa: E741
        rows[start:stop] = np.einsum("ij,ij->i", k, l)
        across[start:stop], back[start:stop] = k @ b.diagonal, l @ a.diagonal
    return float(rows.sum()), rows, across, back


def inner_permuted(a: Centred, b: Centred, orders: Orders, corrections: tuple[float, float]) -> Floats:
    """The same inner products for K and L with its rows and columns in each of `orders` (P, n): (P,)."""
    n = a.diagonal.size
    if a.x is not None and b.x is not None and _features_pay(a.x, b.x):
        entries = _squared_products(a.x, b.x, orders)
    else:
        entries = matrix_permuted(whole_matrix(a.rows, n), whole_matrix(b.rows, n), orders)
    return _corrected(entries, a, b, orders, corrections)


def inner_permuted_coarsely(
    a: Centred, b: Centred, orders: Orders, corrections: tuple[float, float]
) -> tuple[Floats, float] | None:
    """`inner_permuted` from features in single precision, twice as fast, and what it is off by at most.

    Rounding errors of a sum of n products are below 8 √n u of what Cauchy and Schwarz allow but for a chance of 1e-13
    (Higham & Mary, SIAM Journal on Scientific Computing 41 (2019), A2815-A2835), u being 6e-8. None without features,
    and where the products are no work to speak of.
    """
    n = a.diagonal.size
    if a.x is None or b.x is None or not _features_pay(a.x, b.x) or n * a.x.shape[1] * b.x.shape[1] < _MUCH:
        return None
    features = a.x.shape[1]
    entries = _squared_products(a.x.astype(np.float32), b.x.astype(np.float32), orders)
    unit = 8 * float(np.finfo(np.float32).eps) / 2
    products = unit * np.sqrt(n) * np.sqrt(a.diagonal.sum() * b.diagonal.sum())  # of xᵀy
    largest = float(entries.max())
    error = 2 * np.sqrt(largest) * products + products**2 + unit * np.sqrt(features) * largest
    return _corrected(entries, a, b, orders, corrections), float(error)


def _features_pay(x: Floats, y: Floats) -> bool:
    """Whether products of features take less time than reordering Gram matrices."""
    return x.shape[1] * y.shape[1] <= _GATHER * x.shape[0]


def _corrected(entries: Floats, a: Centred, b: Centred, orders: Orders, corrections: tuple[float, float]) -> Floats:
    c1, c2 = corrections
    diagonals = b.diagonal[orders] @ a.diagonal if c1 else 0.0
    return entries - c1 * diagonals + c2 * a.diagonal.sum() * b.diagonal.sum()


def _squared_products(x: Any, y: Any, orders: Orders) -> Floats:
    """‖xᵀ y[order]‖² for each order, from one matrix product of x with many reorderings of y."""
    n, q = y.shape
    step = max(1, min(_STACKED // (n * q), len(orders)))
    found = np.empty(len(orders))
    held: Any = np.empty((n, step, q), dtype=y.dtype)
    for start in range(0, len(orders), step):
        some = orders[start : start + step]
        stacked = held if len(some) == step else np.empty((n, len(some), q), dtype=y.dtype)
        np.take(y, some.T, axis=0, out=stacked, mode="clip")  # "clip" writes into `out` without a copy
        products = (stacked.reshape(n, -1).T @ x).reshape(len(some), q, -1)  # (s, q, p)
        found[start : start + step] = np.einsum("iqp,iqp->iq", products, products).sum(1, dtype=np.float64)
    return found


def whole_matrix(rows: Callable[[int, int], Floats], n: int) -> Floats:
    """Return all n rows at once, where there is memory for it and for two copies."""
    check_memory(8 * 4 * n * n, f"reordering the {n} × {n} matrices of two representations")
    return rows(0, n)


def matrix_permuted(k: Floats, other: Floats, orders: Orders) -> Floats:
    """Σᵢⱼ KᵢⱼLᵢⱼ for K and L (n, n), with rows and columns of L in each of `orders` (P, n): (P,)."""
    flat = np.ascontiguousarray(k).ravel()
    some: Any = np.empty_like(other)
    both: Any = np.empty_like(other)
    found = np.empty(len(orders))
    for i, order in enumerate(orders):
        np.take(other, order, axis=0, out=some, mode="clip")
        np.take(some, order, axis=1, out=both, mode="clip")
        found[i] = np.einsum("i,i->", flat, both.ravel())  # on one thread: this waits for memory
    return found


def inner_cycled(a: Centred, b: Centred, cycle: Orders, corrections: tuple[float, float]) -> Floats:
    """Inner products as in `inner_permuted`, rows and columns of L moved along `cycle` by 0 … n − 1 places: (n,)."""
    n = a.diagonal.size
    entries = matrix_cycled(whole_matrix(a.rows, n), whole_matrix(b.rows, n), cycle)
    c1, c2 = corrections
    spectra = [np.fft.rfft(each.diagonal[cycle]) for each in (a, b)]
    diagonals = np.fft.irfft(np.conj(spectra[0]) * spectra[1], n)
    return entries - c1 * diagonals + c2 * a.diagonal.sum() * b.diagonal.sum()


def matrix_cycled(k: Floats, other: Floats, cycle: Orders) -> Floats:
    """Σᵢⱼ KᵢⱼLᵢⱼ for symmetric K and L (n, n), rows and columns of L moved along `cycle` by 0 … n − 1 places: (n,).

    Entry (i, i + t) of the one meets entry (i + s, i + s + t) of the other, for all i: for every t that is a circular
    correlation. All n of them, for all s, take O(n² log n) by Fourier transforms, instead of O(n³). Diagonals t and
    n − t hold the same entries.
    """
    n = cycle.size
    total = np.zeros(n // 2 + 1, dtype=np.complex128)
    step = max(1, _STACKED // (4 * n))
    for start in range(0, n // 2 + 1, step):
        shift = np.arange(start, min(start + step, n // 2 + 1))
        weight = np.where((shift == 0) | (2 * shift == n), 1.0, 2.0)
        partner = cycle[(np.arange(n)[None, :] + shift[:, None]) % n]  # (t, n)
        spectra = [np.fft.rfft(each[cycle[None, :], partner], axis=1) for each in (k, other)]
        total += np.einsum("t,tf,tf->f", weight, np.conj(spectra[0]), spectra[1])
    return np.fft.irfft(total, n)


def own_features_left_out(x: Floats, corrections: Corrections) -> Floats:
    """Σ over features a of ⟨K_a, K_a⟩, K_a the kernel matrix of feature a alone, for each sample left out: (n,).

    `x` (n, d) is centred. Without sample i the others are x_j + x_i/m, whose powers are expanded.
    """
    n = x.shape[0]
    m = n - 1
    squares = x * x
    second, third, fourth = squares.sum(0), (squares * x).sum(0), (squares * squares).sum(0)  # (d,)
    step = x / m  # by how much centring again moves the others
    powers = (
        (fourth - squares * squares)
        + 4 * step * (third - squares * x)
        + 6 * step**2 * (second - squares)
        - 4 * step**3 * x
        + m * step**4
    )
    traces = second - n / m * squares
    c1, c2 = corrections(m)
    return ((1 + c2) * traces * traces - c1 * powers).sum(axis=1)

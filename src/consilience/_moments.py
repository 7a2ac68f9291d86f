"""Second moments of two representations, gathered in one pass: what streaming measures need.

Sums are taken of samples less a fixed shift (the mean of the first batch), so that a large common offset costs no
digits, and are moved to the true mean at the end, exactly.
"""

from __future__ import annotations

from typing import NamedTuple

from consilience._array import Array, epsilon, matmul, namespace

__all__ = ["Moments", "Sums", "moments", "start", "update"]


class Moments(NamedTuple):
    """Moments of x (n, p) and y (n, q), columns centred; sums over samples, not divided by n."""

    n: int
    mean_x: Array  # (p,)
    mean_y: Array  # (q,)
    xx: Array  # (p, p), xᵀx
    xy: Array  # (p, q), xᵀy
    yy: Array  # (q, q), yᵀy
    fourth_xx: Array  # 0-d, Σᵢ ‖xᵢ‖⁴
    fourth_xy: Array  # 0-d, Σᵢ ‖xᵢ‖² ‖yᵢ‖²
    fourth_yy: Array  # 0-d, Σᵢ ‖yᵢ‖⁴

    @property
    def swapped(self) -> Moments:
        """The moments of (y, x)."""
        return Moments(
            self.n,
            self.mean_y,
            self.mean_x,
            self.yy,
            namespace(self.xy).matrix_transpose(self.xy),
            self.xx,
            self.fourth_yy,
            self.fourth_xy,
            self.fourth_xx,
        )


class _Cross(NamedTuple):
    """Sums over samples of two shifted sides a (n, p) and b (n, q), with s = ‖a‖² and t = ‖b‖² of each sample."""

    products: Array  # (p, q), aᵀb
    first: Array  # (p,), Σ t a
    second: Array  # (q,), Σ s b
    fourth: Array  # 0-d, Σ s t


class Sums(NamedTuple):
    """What has been gathered so far."""

    n: int
    shift_x: Array
    shift_y: Array
    sum_x: Array  # (p,), of shifted samples
    sum_y: Array
    largest_x: Array  # (p,), magnitude of the samples as given
    largest_y: Array
    xx: _Cross
    xy: _Cross
    yy: _Cross


def start(x: Array, y: Array) -> Sums:
    """No samples yet; shifts from the first batch `x` (b, p) and `y` (b, q)."""
    xp = namespace(x)
    zero_x, zero_y = xp.zeros_like(x[0, :]), xp.zeros_like(y[0, :])
    empty = x[:0, :] - x[:0, :], y[:0, :] - y[:0, :]
    crosses = [_cross(empty[i], empty[j]) for i, j in ((0, 0), (0, 1), (1, 1))]
    return Sums(0, xp.mean(x, axis=0), xp.mean(y, axis=0), zero_x, zero_y, zero_x, zero_y, *crosses)


def update(sums: Sums, x: Array, y: Array) -> Sums:
    """Add the samples of a batch."""
    if x.shape[0] == 0:
        return sums
    xp = namespace(x)
    a, b = x - sums.shift_x, y - sums.shift_y
    return Sums(
        sums.n + x.shape[0],
        sums.shift_x,
        sums.shift_y,
        sums.sum_x + xp.sum(a, axis=0),
        sums.sum_y + xp.sum(b, axis=0),
        xp.maximum(sums.largest_x, xp.max(xp.abs(x), axis=0)),
        xp.maximum(sums.largest_y, xp.max(xp.abs(y), axis=0)),
        _add(sums.xx, _cross(a, a)),
        _add(sums.xy, _cross(a, b)),
        _add(sums.yy, _cross(b, b)),
    )


def moments(sums: Sums) -> Moments:
    """Move the sums to the mean of all samples. A column that is constant to rounding becomes exactly zero."""
    n = sums.n
    mean_x, mean_y = sums.sum_x / n, sums.sum_y / n  # of shifted samples
    keep_x = _varies(sums.xx.products, mean_x, n, sums.largest_x)
    keep_y = _varies(sums.yy.products, mean_y, n, sums.largest_y)
    xx, fourth_xx = _centred(sums.xx, mean_x, mean_x, sums.sum_x, sums.sum_x, sums.xx, sums.xx, n)
    xy, fourth_xy = _centred(sums.xy, mean_x, mean_y, sums.sum_x, sums.sum_y, sums.xx, sums.yy, n)
    yy, fourth_yy = _centred(sums.yy, mean_y, mean_y, sums.sum_y, sums.sum_y, sums.yy, sums.yy, n)
    return Moments(
        n,
        sums.shift_x + mean_x,
        sums.shift_y + mean_y,
        xx * keep_x[:, None] * keep_x[None, :],
        xy * keep_x[:, None] * keep_y[None, :],
        yy * keep_y[:, None] * keep_y[None, :],
        fourth_xx,
        fourth_xy,
        fourth_yy,
    )


def _cross(a: Array, b: Array) -> _Cross:
    xp = namespace(a)
    s, t = xp.sum(a * a, axis=1), xp.sum(b * b, axis=1)
    return _Cross(matmul(a.T, b), xp.sum(a * t[:, None], axis=0), xp.sum(b * s[:, None], axis=0), xp.sum(s * t))


def _add(old: _Cross, new: _Cross) -> _Cross:
    return _Cross(*(before + after for before, after in zip(old, new, strict=True)))


def _centred(
    cross: _Cross, mean_a: Array, mean_b: Array, sum_a: Array, sum_b: Array, aa: _Cross, bb: _Cross, n: int
) -> tuple[Array, Array]:
    """aᵀb and Σ ‖a‖² ‖b‖² of samples less their means, from sums of the samples.

    With δ, ε the means, ‖a − δ‖² = s − 2 δ·a + ‖δ‖², and the same for b; the product is multiplied out.
    """
    xp = namespace(cross.products)
    products = cross.products - mean_a[:, None] * sum_b[None, :]
    size_a, size_b = xp.sum(mean_a * mean_a), xp.sum(mean_b * mean_b)
    total_a, total_b = _trace(aa.products), _trace(bb.products)  # Σ s, Σ t
    fourth = (
        cross.fourth
        - 2 * xp.sum(mean_b * cross.second)
        + size_b * total_a
        - 2 * xp.sum(mean_a * cross.first)
        + 4 * xp.sum(mean_a[:, None] * cross.products * mean_b[None, :])
        - 2 * size_b * xp.sum(mean_a * sum_a)
        + size_a * total_b
        - 2 * size_a * xp.sum(mean_b * sum_b)
        + n * size_a * size_b
    )
    return products, fourth


def _trace(square: Array) -> Array:
    xp = namespace(square)
    return xp.sum(xp.linalg.diagonal(square))


def _varies(products: Array, mean: Array, n: int, largest: Array) -> Array:
    """One for columns that vary, zero for those that are constant to rounding."""
    xp = namespace(products)
    deviation = xp.linalg.diagonal(products) - n * mean * mean
    return xp.astype(deviation > n * (4 * epsilon(products) * largest) ** 2, products.dtype)

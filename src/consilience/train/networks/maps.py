"""Convolution, pooling and pixels as maps (channels, rows, columns, batch).

XLA's own convolution is slow on a CPU, and under `vmap` over networks, where every network has its own kernel, on a GPU
too. Here a convolution is one matrix product with the shifted copies of its input side by side, and its gradients are
two more. With the batch as the last axis every copy moves whole runs of it: of a step of a 1→16→32 network on 14×14
pixels, batch 64, channels last took 1.3 times as long, and a hand-written gradient no less.
"""

from __future__ import annotations

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from consilience.train.networks.base import Reduction, Sizes, times
from consilience.train.networks.parametrisation import Parametrisation, Role, scale

__all__ = ["Conv", "Downsample", "convolve", "downsample", "halved", "pixels", "reduced"]

Downsample = Literal["max", "mean", "stride", "none"]


def convolve(x: Array, weight: Array, *, kernel: int, stride: int = 1) -> Array:
    """Cross-correlate maps with a square kernel, zeros beyond the edge.

    Parameters
    ----------
    x : (channels, rows, columns, batch)
        Maps.
    weight : (outputs, kernel² · channels)
        For each output the kernel's rows, in them its columns, in them the channels.
    kernel
        Odd side k of the kernel; the map is padded by (k − 1) / 2 on all sides.
    stride
        Keep every stride-th row and column, from the first.

    Returns
    -------
    (outputs, ⌈rows / stride⌉, ⌈columns / stride⌉, batch)
    """
    channels, rows, columns, batch = x.shape
    margin = kernel // 2
    x = jnp.pad(x, ((0, 0), (margin, margin), (margin, margin), (0, 0)))
    shifted = [x[:, i : i + rows : stride, j : j + columns : stride] for i in range(kernel) for j in range(kernel)]
    patches = jnp.concatenate(shifted) if len(shifted) > 1 else shifted[0]  # (k² · channels, …)
    out = weight @ patches.reshape(kernel**2 * channels, -1)
    return out.reshape(-1, *patches.shape[1:3], batch)


class Conv(eqx.Module):
    """Convolution with a bias for each output channel, unless a normalisation follows that has one."""

    weight: Array  # (outputs, k² · channels)
    bias: Array | None  # (outputs,)
    kernel: int = eqx.field(static=True)
    stride: int = eqx.field(static=True)
    multiplier: float = eqx.field(static=True)
    bias_multiplier: float = eqx.field(static=True)

    def __init__(
        self,
        n_in: int,
        n_out: int,
        *,
        kernel: int,
        stride: int = 1,
        role: Role,
        parametrisation: Parametrisation,
        sizes: Sizes,
        gain: float,
        bias: bool,
        key: Array,
    ) -> None:
        """Weights N(0, gain² / (k² · channels)), or as the parametrisation says; biases zero."""
        fan_in = kernel**2 * n_in
        how = scale(parametrisation, role, fan_in=fan_in, n_in=n_in, n_out=n_out, gain=gain, optimizer=sizes.optimizer)
        self.weight = jax.random.normal(key, (n_out, fan_in)) * how.sd
        self.bias = jnp.zeros(n_out) if bias else None
        self.kernel, self.stride = kernel, stride
        self.multiplier, self.bias_multiplier = how.multiplier, how.bias

    def __call__(self, x: Array) -> Array:
        """Map (channels, rows, columns, batch) to (outputs, …, batch)."""
        y = times(self.multiplier, convolve(x, self.weight, kernel=self.kernel, stride=self.stride))
        return y if self.bias is None else y + times(self.bias_multiplier, self.bias)[:, None, None, None]


def pixels(x: Array, image_shape: tuple[int, ...]) -> Array:
    """Return rows of pixels (batch, rows · columns · channels) as maps (channels, rows, columns, batch)."""
    rows, columns, channels = sides_of(image_shape)
    return jnp.moveaxis(x.T.reshape(rows, columns, channels, -1), 2, 0)


def sides_of(image_shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Return rows, columns and channels; without channels an image has one.

    >>> sides_of((8, 6)), sides_of((32, 32, 3))
    ((8, 6, 1), (32, 32, 3))
    """
    rows, columns, channels = (*image_shape, 1)[:3]
    return rows, columns, channels


def halved(side: int, how: Downsample) -> int:
    """Return the side of a map after `downsample`, or after a convolution of stride 2 for "stride"."""
    if how == "none" or side == 1:
        return side
    return -(-side // 2) if how == "stride" else side // 2


def downsample(x: Array, how: Downsample) -> Array:
    """Take the largest or the mean of blocks of 2×2; a last odd row or column is dropped, a side of one stays."""
    if how in ("none", "stride"):
        return x
    for axis in (1, 2):
        side = x.shape[axis]
        if side > 1:
            even, odd = (jax.lax.slice_in_dim(x, first, side // 2 * 2, 2, axis) for first in (0, 1))
            x = jnp.maximum(even, odd) if how == "max" else (even + odd) / 2
    return x


def reduced(x: Array, reduction: Reduction) -> Array:
    """Return maps (channels, rows, columns, batch) as features: (batch, channels), or all side by side."""
    if reduction == "mean":
        return jnp.mean(x, axis=(1, 2)).T
    return jnp.moveaxis(x, (3, 0), (0, 3)).reshape(x.shape[3], -1)

"""Normalisation of single rows: over the units of a layer, or groups of channels. None looks at the batch."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from consilience.train.networks.base import times
from consilience.train.networks.parametrisation import Parametrisation, vector_multiplier

__all__ = ["Norm", "layer_norm", "map_norm"]

_EPSILON = 1e-5  # added to variances of activations of order one, as is usual; without it a dead layer divides by zero


class Norm(eqx.Module):
    """Learned gain 1 + m·g and shift m·s of each unit: g and s start at 0, which `init_scale` does not change."""

    gain: Array  # (units,)
    shift: Array  # (units,)
    multiplier: float = eqx.field(static=True)

    @classmethod
    def of(cls, units: int, parametrisation: Parametrisation, optimizer: str) -> Norm:
        """Return the identity."""
        return cls(jnp.zeros(units), jnp.zeros(units), vector_multiplier(parametrisation, units, optimizer))

    def __call__(self, x: Array) -> Array:
        """Apply to standardised values x (…, units)."""
        return x * (1 + times(self.multiplier, self.gain)) + times(self.multiplier, self.shift)


def layer_norm(norm: Norm, x: Array) -> Array:
    """Standardise over the last axis, then apply gain and shift."""
    mean = jnp.mean(x, axis=-1, keepdims=True)
    centred = x - mean
    variance = jnp.mean(centred**2, axis=-1, keepdims=True)
    return norm(centred * jax.lax.rsqrt(variance + _EPSILON))


def map_norm(norm: Norm, x: Array, groups: int) -> Array:
    """Standardise maps (channels, rows, columns, batch) over positions and the channels of each group."""
    grouped = x.reshape(groups, -1, x.shape[3])
    mean = jnp.mean(grouped, axis=1, keepdims=True)
    centred = grouped - mean
    variance = jnp.mean(centred**2, axis=1, keepdims=True)
    standard = (centred * jax.lax.rsqrt(variance + _EPSILON)).reshape(x.shape)
    return jnp.moveaxis(norm(jnp.moveaxis(standard, 0, 3)), 3, 0)

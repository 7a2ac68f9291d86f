"""Losses and errors: of single samples, and over whole sets in blocks of rows."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

from consilience.train.networks import Network
from consilience.train.realize import block, blocks_filled
from consilience.train.spec import Spec

__all__ = ["errors", "losses", "residuals", "whole_set"]


def residuals(spec: Spec, output: Array, y: Array) -> Array:
    """Outputs less their targets (batch, outputs), whose mean square is the squared-error loss."""
    return output - (jax.nn.one_hot(y, spec.n_outputs) - 1 / spec.n_outputs if spec.classification else y)


def losses(spec: Spec, output: Array, y: Array) -> Array:
    """Loss of each sample (batch,)."""
    if spec.classification:
        target = jax.nn.one_hot(y, spec.n_outputs)
        if spec.cross_entropy:
            return -jnp.sum(target * jax.nn.log_softmax(output), axis=1)
        y = target - 1 / spec.n_outputs
    return jnp.mean((output - y) ** 2, axis=1)


def errors(spec: Spec, output: Array, y: Array, target_variance: Array | float) -> Array:
    """Error of each sample (batch,): misclassified, or squared error over the variance of the target."""
    if spec.classification:
        return (jnp.argmax(output, axis=1) != y).astype(jnp.float32)
    return jnp.mean((output - y) ** 2, axis=1) / target_variance


def whole_set(
    spec: Spec, network: Network, x: Array, y: Array, n: Array | int, target_variance: Array | float
) -> tuple[Array, Array]:
    """Return mean loss and mean error over the first n rows."""

    def add(i: Array, sums: tuple[Array, Array]) -> tuple[Array, Array]:
        xb, yb, weight = block(i, x, y, n)
        output = network(xb)["output"]
        loss = jnp.sum(weight * losses(spec, output, yb))
        error = jnp.sum(weight * errors(spec, output, yb, target_variance))
        return sums[0] + loss, sums[1] + error

    loss, error = jax.lax.fori_loop(0, blocks_filled(n), add, (jnp.float32(0), jnp.float32(0)))
    return loss / n, error / n

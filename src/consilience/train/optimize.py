"""The training loop of one network, and its optimizer."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jax import Array

from consilience.train.losses import losses
from consilience.train.networks import Network
from consilience.train.options import TrainOptions
from consilience.train.realize import block, blocks_filled
from consilience.train.spec import Rows, Spec

__all__ = ["DRAWS", "optimize"]

# Batch indices are drawn for this many steps at once: a draw for each step costs as much as a small network's
# whole update. Part of the definition of a realization: another value gives other batches.
DRAWS = 32


def optimize(
    spec: Spec, row: Rows, network: Network, x: Array, y: Array, batches: Array, limit: Array
) -> tuple[Network, Array]:
    """Run all steps, `limit` at most; return the network and the first step with a non-finite loss, -1 if none."""
    options = spec.options
    steps = jnp.minimum(options.steps, limit)
    optimizer = _optimizer(options, row.learning_rate, row.weight_decay)
    full = options.batch == "full"

    def step(carry: Any, ids: Array) -> Any:
        network, state, t, diverged_at = carry
        if full:
            loss, gradient = _full_gradient(spec, network, x, y, row.n_train)
        else:
            loss, gradient = _gradient(spec, network, x[ids], y[ids])
        updates, state = optimizer.update(gradient, state, network)
        network = eqx.apply_updates(network, updates)
        diverged_at = jnp.where((diverged_at < 0) & ~jnp.isfinite(loss), t, diverged_at)
        return network, state, t + 1, diverged_at

    def draw_and_step(number: Array, carry: Any) -> Any:
        shape = (DRAWS, 1 if full else int(options.batch))
        ids = jax.random.randint(jax.random.fold_in(batches, number), shape, 0, row.n_train)
        # The last draw may serve fewer steps: a loop of variable length compiles the step once for all draws.
        count = jnp.minimum(DRAWS, steps - number * DRAWS)
        return jax.lax.fori_loop(0, count, lambda i, inner: step(inner, ids[i]), carry)

    carry = (network, optimizer.init(eqx.filter(network, eqx.is_array)), jnp.int32(0), jnp.int32(-1))
    carry = jax.lax.fori_loop(0, (steps + DRAWS - 1) // DRAWS, draw_and_step, carry)
    return carry[0], carry[3]


def _gradient(spec: Spec, network: Network, x: Array, y: Array) -> tuple[Array, Any]:
    return jax.value_and_grad(lambda net: jnp.mean(losses(spec, net(x)["output"], y)))(network)


def _full_gradient(spec: Spec, network: Network, x: Array, y: Array, n: Array) -> tuple[Array, Any]:
    """Return mean loss and its gradient over the first n rows, block by block."""

    def of_block(net: Network, i: Array) -> Array:
        xb, yb, weight = block(i, x, y, n)
        return jnp.sum(weight * losses(spec, net(xb)["output"], yb)) / n

    def add(i: Array, total: Any) -> Any:
        return jax.tree.map(jnp.add, total, jax.value_and_grad(of_block)(network, i))

    zero = (jnp.float32(0), jax.tree.map(jnp.zeros_like, network))
    return jax.lax.fori_loop(0, blocks_filled(n), add, zero)


def _optimizer(options: TrainOptions, learning_rate: Array, weight_decay: Array) -> optax.GradientTransformation:
    """Optax optimizer whose learning rate and weight decay are data of the program."""
    decay = [optax.add_decayed_weights(weight_decay)] if options.weight_decay else []
    if options.optimizer == "adam":
        parts = [optax.scale_by_adam(), *decay]
    else:
        parts = [*decay, *([optax.trace(options.momentum)] if options.momentum else [])]

    def cosine(count: Any) -> Any:
        return learning_rate * 0.5 * (1 + jnp.cos(jnp.pi * count / options.steps))

    rate: Any = cosine if options.schedule == "cosine" else learning_rate
    return optax.chain(*parts, optax.scale_by_learning_rate(rate))

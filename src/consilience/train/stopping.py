"""When a member stops before its last step, and which weights it keeps."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from consilience.train.losses import losses
from consilience.train.networks import Network
from consilience.train.realize import BLOCK, block, blocks_filled
from consilience.train.spec import Rows, Spec

__all__ = ["Watch", "look", "n_fitted", "unwatched", "watch"]


class Watch(NamedTuple):
    """What is remembered between checks."""

    done: Array  # bool
    stopped_at: Array  # int32: the step it stopped at, -1 before
    best: Network | None  # lowest loss on the held-out rows; None without such rows
    best_loss: Array
    kept_at: Array  # the step of the weights that are kept
    waited: Array  # checks since then


def n_fitted(spec: Spec, row: Rows) -> Array:
    """How many rows gradients are taken over: the training set less what is held out."""
    return row.n_train - row.n_held if spec.options.validation else row.n_train


def watch(spec: Spec, network: Network) -> Watch:
    """Return the state before the first step."""
    best = network if spec.options.validation else None
    return Watch(jnp.bool_(False), jnp.int32(-1), best, jnp.float32(jnp.inf), jnp.int32(0), jnp.int32(0))


def unwatched(steps: int) -> Watch:
    """Return what is known of a member that trains to its last step."""
    return Watch(jnp.bool_(True), jnp.int32(-1), None, jnp.float32(jnp.inf), jnp.int32(steps), jnp.int32(0))


def look(
    spec: Spec,
    row: Rows,
    x: Array,
    y: Array,
    seen: Watch,
    network: Network,
    t: Array,
    *,
    finished: Array,
    diverged: Array,
) -> Watch:
    """Check after step t whether the member stops; `finished` says that its optimizer can do no more."""
    stops, alive = finished, ~diverged
    fitted = n_fitted(spec, row)
    if spec.options.stop_loss:
        loss = _mean_loss(spec, network, x, y, 0, fitted)
        stops, alive = stops | (loss <= row.stop_loss), alive & jnp.isfinite(loss)
    if spec.options.validation:
        loss = _mean_loss(spec, network, x, y, fitted, row.n_train)
        better = loss < seen.best_loss
        waited = jnp.where(better, 0, seen.waited + 1)
        best = jax.tree.map(lambda new, old: jnp.where(better, new, old), network, seen.best)
        seen = seen._replace(
            best=best,
            best_loss=jnp.where(better, loss, seen.best_loss),
            kept_at=jnp.where(better, t, seen.kept_at),
            waited=waited,
        )
        stops = stops | (waited >= spec.options.patience)
    else:
        seen = seen._replace(kept_at=t)
    # A network that diverged goes no further either, but that is not called stopping.
    return seen._replace(done=stops | ~alive, stopped_at=jnp.where(stops & alive, t, seen.stopped_at))


def _mean_loss(spec: Spec, network: Network, x: Array, y: Array, start: Array | int, stop: Any) -> Array:
    """Mean loss over rows start to stop."""

    def add(i: Array, total: Array) -> Array:
        xb, yb, below = block(i, x, y, stop)
        weight = below * (i * BLOCK + jnp.arange(BLOCK) >= start)
        return total + jnp.sum(weight * losses(spec, network(xb)["output"], yb))

    total = jax.lax.fori_loop(jnp.asarray(start) // BLOCK, blocks_filled(stop), add, jnp.float32(0))
    return total / (stop - start)

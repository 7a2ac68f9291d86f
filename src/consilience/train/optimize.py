"""The training loop of one network: steps, checks between them, and looks at the network at chosen steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from consilience.train.losses import losses
from consilience.train.networks import Network
from consilience.train.optimizers import first_order
from consilience.train.realize import block, blocks_filled
from consilience.train.second_order import Iteration, levenberg_marquardt, limited_memory_bfgs
from consilience.train.spec import Rows, Spec
from consilience.train.stopping import Watch, look, n_fitted, unwatched, watch

__all__ = ["DRAWS", "Outcome", "optimize"]

# Batch indices are drawn for this many steps at once: a draw for each step costs as much as a small network's
# whole update. Part of the definition of a realization: another value gives other batches.
DRAWS = 32


class Outcome(NamedTuple):
    """What the loop leaves."""

    network: Network  # with the weights that are kept
    diverged_at: Array  # int32: the first step with a non-finite loss, -1 if none
    watch: Watch
    seen: Any  # what `observe` gave at each of the checkpoints, stacked; None without any


class _State(NamedTuple):
    network: Network
    optimizer: Any
    t: Array
    diverged_at: Array


class _Method(NamedTuple):
    """An optimizer in blocks of steps, between which members may stop."""

    init: Callable[[Network], Any]
    block: int
    run: Callable[[Any, Any, Any, _State], _State]  # block's number, first step in it, last and one, state
    finished: Callable[[Any], Array]  # of the optimizer's state


def optimize(
    spec: Spec,
    row: Rows,
    network: Network,
    x: Array,
    y: Array,
    batches: Array,
    limit: Array,
    *,
    observe: Callable[[Network], Any] | None = None,
) -> Outcome:
    """Run all steps, or those until the member stops; `observe` the network after each of `spec.checkpoints`.

    Steps beyond `limit` are left out, to measure the time they take.
    """
    method = _second_order(spec, row, x, y) if spec.options.second_order else _first_order(spec, row, x, y, batches)
    state = _State(network, method.init(network), jnp.int32(0), jnp.int32(-1))
    watched = watch(spec, network) if spec.options.may_stop else None
    steps = spec.options.steps
    if not spec.checkpoints or observe is None:
        last = jnp.minimum(steps, limit)
        state, watched = _advance(spec, row, method, x, y, (state, watched), 0, last)
        return Outcome(_kept(state, watched), _diverged(state, watched), watched or unwatched(steps), None)

    def segment(carry: tuple[_State, Watch | None], ends: tuple[Array, Array]) -> Any:
        carry = _advance(spec, row, method, x, y, carry, *ends)
        return carry, observe(_shown(*carry))

    stops = np.unique([*spec.checkpoints, steps]).astype(np.int32)
    starts = np.concatenate([[0], stops[:-1]]).astype(np.int32)
    ends = (jnp.minimum(starts, limit), jnp.minimum(stops, limit))
    (state, watched), seen = jax.lax.scan(segment, (state, watched), ends)
    seen = jax.tree.map(lambda stacked: stacked[: len(spec.checkpoints)], seen)
    return Outcome(_kept(state, watched), _diverged(state, watched), watched or unwatched(steps), seen)


def _kept(state: _State, watched: Watch | None) -> Network:
    """The network training results in: the best on held-out rows where there are any."""
    return state.network if watched is None or watched.best is None else watched.best


def _diverged(state: _State, watched: Watch | None) -> Array:
    """When the loss stopped being finite: on held-out rows that never was, the weights kept are none."""
    if watched is None or watched.best is None:
        return state.diverged_at
    return jnp.where((state.diverged_at < 0) & ~jnp.isfinite(watched.best_loss), state.t, state.diverged_at)


def _shown(state: _State, watched: Watch | None) -> Network:
    """The network at a checkpoint: the one in training, after it stopped the one that is kept."""
    if watched is None or watched.best is None:
        return state.network
    return jax.tree.map(lambda best, now: jnp.where(watched.done, best, now), watched.best, state.network)


def _advance(
    spec: Spec,
    row: Rows,
    method: _Method,
    x: Array,
    y: Array,
    carry: tuple[_State, Watch | None],
    start: Any,
    stop: Any,
) -> tuple[_State, Watch | None]:
    """Go from step `start` to step `stop`, numbers or data."""
    first, last = start // method.block, (stop + method.block - 1) // method.block

    def block_of_steps(number: Array, carry: tuple[_State, Watch | None]) -> tuple[_State, Watch | None]:
        state, watched = carry
        begin = 0 if isinstance(start, int) else jnp.maximum(start - number * method.block, 0)
        # The last block may serve fewer steps: a loop of variable length compiles the step once for all blocks.
        end = jnp.minimum(method.block, stop - number * method.block)
        state = method.run(number, begin, end, state)
        if watched is None:
            return state, None
        return state, _look_if_due(spec, row, method, x, y, state, watched)

    if carry[1] is None:
        return jax.lax.fori_loop(first, last, block_of_steps, carry)

    def goes_on(numbered: Any) -> Array:
        return (numbered[0] < last) & ~numbered[1][1].done

    def body(numbered: Any) -> Any:
        return numbered[0] + 1, block_of_steps(*numbered)

    return jax.lax.while_loop(goes_on, body, (jnp.int32(first), carry))[1]


def _look_if_due(spec: Spec, row: Rows, method: _Method, x: Array, y: Array, state: _State, watched: Watch) -> Watch:
    """Check every block, or once every pass through the training set where that is longer, and after the last step."""
    interval: Any = method.block
    if spec.options.batch != "full":
        per_pass = -(-n_fitted(spec, row) // int(spec.options.batch))
        interval = method.block * jnp.maximum(1, -(-per_pass // method.block))
    due = (state.t % interval == 0) | (state.t == spec.options.steps)
    return jax.lax.cond(
        due,
        lambda: look(
            spec,
            row,
            x,
            y,
            watched,
            state.network,
            state.t,
            finished=method.finished(state.optimizer),
            diverged=state.diverged_at >= 0,
        ),
        lambda: watched,
    )


def _first_order(spec: Spec, row: Rows, x: Array, y: Array, batches: Array) -> _Method:
    options = spec.options
    optimizer = first_order(options, row.learning_rate, row.weight_decay)
    full, n = options.batch == "full", n_fitted(spec, row)

    def step(state: _State, ids: Array) -> _State:
        if full:
            loss, gradient = _full_gradient(spec, state.network, x, y, n)
        else:
            loss, gradient = _gradient(spec, state.network, x[ids], y[ids])
        updates, inner = optimizer.update(gradient, state.optimizer, state.network)  # pyright: ignore[reportArgumentType]
        network = eqx.apply_updates(state.network, updates)
        return _State(network, inner, state.t + 1, _dated(state, loss))

    def run(number: Any, begin: Any, end: Any, state: _State) -> _State:
        shape = (DRAWS, 1 if full else int(options.batch))
        ids = jax.random.randint(jax.random.fold_in(batches, number), shape, 0, n)
        return jax.lax.fori_loop(begin, end, lambda i, inner: step(inner, ids[i]), state)

    def init(network: Network) -> Any:
        return optimizer.init(eqx.filter(network, eqx.is_array))

    return _Method(init, DRAWS, run, lambda _: jnp.bool_(False))


def _second_order(spec: Spec, row: Rows, x: Array, y: Array) -> _Method:
    make = levenberg_marquardt if spec.options.optimizer == "levenberg-marquardt" else limited_memory_bfgs
    iteration: Iteration = make(spec, x, y, n_fitted(spec, row))

    def run(number: Any, begin: Any, end: Any, state: _State) -> _State:
        del number

        def step(_: Any, state: _State) -> _State:
            network, inner, loss = iteration.step(state.network, state.optimizer)
            return _State(network, inner, state.t + 1, _dated(state, loss))

        return jax.lax.fori_loop(begin, end, step, state)

    return _Method(iteration.init, 1, run, lambda state: state.finished)


def _dated(state: _State, loss: Array) -> Array:
    """The first step whose loss is not finite."""
    return jnp.where((state.diverged_at < 0) & ~jnp.isfinite(loss), state.t, state.diverged_at)


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

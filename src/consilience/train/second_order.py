"""Second-order training on the whole training set, for small networks: one iteration is one step.

Levenberg-Marquardt minimises F = ‖r‖² over residuals r (n·k: outputs less targets) with Jacobian J (n·k, P): the
update solves (JᵀJ + λI) δ = −Jᵀr, equivalently δ = −Jᵀ(JJᵀ + λI)⁻¹r, whichever system is smaller. Both are
summed over blocks of rows, so that the cost follows n_train although n_train is not a shape.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.scipy.linalg
import numpy as np
import optax
from jax import Array
from jax.flatten_util import ravel_pytree

from consilience.train.losses import losses, residuals
from consilience.train.networks import Network
from consilience.train.realize import BLOCK, block, blocks_filled
from consilience.train.spec import Spec

__all__ = ["PARAMETER_LIMIT", "Iteration", "levenberg_marquardt", "limited_memory_bfgs", "residual_sizes"]

PARAMETER_LIMIT = 5000
"""Most parameters Levenberg-Marquardt takes: an iteration costs their cube, and memory their square."""

_RESOLUTION = float(np.finfo(np.float32).eps)
# Damping in units of the mean eigenvalue of JᵀJ on its range: at the start, and where no step is short enough.
_FIRST_DAMPING, _LARGEST_DAMPING = 0.01, 1e8
_IDLE = 10  # iterations without a lower loss after which L-BFGS has reached what float32 resolves


class Iteration(NamedTuple):
    """An optimizer as two pure functions; its state is a tuple whose first field says whether it is finished."""

    init: Callable[[Network], Any]
    step: Callable[[Network, Any], tuple[Network, Any, Array]]  # network, state -> network, state, loss before


class _Damping(NamedTuple):
    finished: Array  # bool: float32 allows no further decrease
    value: Array
    factor: Array  # by which a refused step raises it


def levenberg_marquardt(spec: Spec, x: Array, y: Array, n: Array) -> Iteration:
    """Damped Gauss-Newton iterations on the first n rows; a step that does not lower the loss is refused."""

    def init(network: Network) -> _Damping:
        del network
        return _Damping(jnp.bool_(False), jnp.float32(_FIRST_DAMPING), jnp.float32(2))

    def step(network: Network, damping: _Damping) -> tuple[Network, _Damping, Array]:
        weights, restore = ravel_pytree(network)
        fit = _Fit(spec, restore, x, y, n)
        change, before, expected = _solve(fit, weights, damping.value)
        moved = weights + change
        after = fit.sum_of_squares(moved)
        lower = after <= before * (1 + 8 * _RESOLUTION)  # and not NaN
        damping = _adapt(damping, before - after, expected, lower, before)
        return restore(jnp.where(lower, moved, weights)), damping, before / (n * spec.n_outputs)

    return Iteration(init, step)


class _Fit(NamedTuple):
    """A member's training set and network as residuals of a vector of weights, in blocks of rows, zero beyond n."""

    spec: Spec
    restore: Callable[[Array], Network]
    x: Array
    y: Array
    n: Array

    def residuals(self, weights: Array, i: Array) -> Array:
        """Residuals (BLOCK·k,) of block i."""
        xb, yb, weight = block(i, self.x, self.y, self.n)
        return (weight[:, None] * residuals(self.spec, self.restore(weights)(xb)["output"], yb)).ravel()

    def jacobian(self, weights: Array, i: Array) -> Array:
        """Their derivatives (BLOCK·k, P): each row's by itself, as no output depends on another row."""
        xb, _, weight = block(i, self.x, self.y, self.n)
        of_row = jax.jacrev(lambda vector, row: self.restore(vector)(row[None])["output"][0])
        slopes = jax.vmap(of_row, (None, 0))(weights, xb)  # (BLOCK, k, P)
        return (weight[:, None, None] * slopes).reshape(-1, weights.size)

    def sum_of_squares(self, weights: Array) -> Array:
        """‖r‖²."""

        def add(i: Array, total: Array) -> Array:
            return total + jnp.sum(self.residuals(weights, i) ** 2)

        return jax.lax.fori_loop(0, blocks_filled(self.n), add, jnp.float32(0))


def _adapt(damping: _Damping, decrease: Array, expected: Array, lower: Array, before: Array) -> _Damping:
    """Nielsen's rule: less damping the better the linear model foresaw the decrease, ever more after refusals."""
    gain = decrease / jnp.maximum(expected, jnp.finfo(jnp.float32).tiny)
    kept = damping.value * jnp.clip(1 - (2 * gain - 1) ** 3, 1 / 3, 2.0)
    value = jnp.where(lower, jnp.maximum(kept, _RESOLUTION**2), damping.value * damping.factor)
    factor = jnp.where(lower, 2.0, 2 * damping.factor)
    # Where the model itself expects no decrease that float32 can show, the step just taken was the last.
    settled = (lower & (expected <= _RESOLUTION * before)) | (before <= 0)
    return _Damping(settled | (value > _LARGEST_DAMPING) | ~jnp.isfinite(before), value, factor)


def residual_sizes(n_parameters: int, n_outputs: int, n_rows: int) -> list[int]:
    """Sizes of the systems over residuals: powers of two times a block, none larger than that over parameters."""
    sizes: list[int] = []
    size = BLOCK * n_outputs
    while size <= n_parameters:
        sizes.append(size)
        if size >= n_rows * n_outputs:
            break
        size *= 2
    return sizes


def _solve(fit: _Fit, weights: Array, damping: Array) -> tuple[Array, Array, Array]:
    """Return the update, ‖r‖² and the decrease of it the linear model expects."""
    n_outputs, n_rows = fit.spec.n_outputs, len(fit.x)
    sizes = residual_sizes(weights.size, n_outputs, n_rows)
    branches: list[Any] = [partial(_over_residuals, fit, size) for size in sizes]
    if not sizes or sizes[-1] < n_rows * n_outputs:
        branches.append(partial(_over_parameters, fit))
    if len(branches) == 1:
        return branches[0](weights, damping)
    which = jnp.searchsorted(jnp.array(sizes), fit.n * n_outputs)
    return jax.lax.switch(jnp.minimum(which, len(branches) - 1), branches, weights, damping)


def _over_residuals(fit: _Fit, size: int, weights: Array, damping: Array) -> tuple[Array, Array, Array]:
    """Solve for up to `size` residuals: JJᵀ (size, size)."""
    rows = BLOCK * fit.spec.n_outputs

    def fill(i: Array, found: tuple[Array, Array]) -> tuple[Array, Array]:
        r, jacobian = fit.residuals(weights, i), fit.jacobian(weights, i)
        return (
            jax.lax.dynamic_update_slice(found[0], r, (i * rows,)),
            jax.lax.dynamic_update_slice(found[1], jacobian, (i * rows, 0)),
        )

    empty = jnp.zeros(size), jnp.zeros((size, weights.size))
    r, jacobian = jax.lax.fori_loop(0, blocks_filled(fit.n), fill, empty)
    gram = jacobian @ jacobian.T
    shift = damping * jnp.trace(gram) / (fit.n * fit.spec.n_outputs)
    change = -jacobian.T @ _positive_solve(gram, shift, r)
    return change, jnp.sum(r**2), _expected(change, jacobian.T @ r, shift)


def _over_parameters(fit: _Fit, weights: Array, damping: Array) -> tuple[Array, Array, Array]:
    """Solve for any number of residuals: JᵀJ (P, P), summed over blocks."""

    def add(i: Array, sums: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        r, jacobian = fit.residuals(weights, i), fit.jacobian(weights, i)
        return sums[0] + jnp.sum(r**2), sums[1] + jacobian.T @ r, sums[2] + jacobian.T @ jacobian

    zeros = jnp.float32(0), jnp.zeros(weights.size), jnp.zeros((weights.size, weights.size))
    before, slope, gram = jax.lax.fori_loop(0, blocks_filled(fit.n), add, zeros)
    shift = damping * jnp.trace(gram) / weights.size
    change = -_positive_solve(gram, shift, slope)
    return change, before, _expected(change, slope, shift)


def _expected(change: Array, slope: Array, shift: Array) -> Array:
    """‖r‖² − ‖r + Jδ‖² = −δᵀ(2Jᵀr + JᵀJδ), which (JᵀJ + λI)δ = −Jᵀr makes δᵀ(λδ − Jᵀr)."""
    return shift * jnp.sum(change**2) - jnp.sum(change * slope)


def _positive_solve(gram: Array, shift: Array, right: Array) -> Array:
    """Solve (gram + shift·I) s = right by Cholesky, refined once; NaN where float32 finds it not positive."""
    factor = jax.scipy.linalg.cho_factor(gram + shift * jnp.eye(len(gram)), lower=True)
    found = jax.scipy.linalg.cho_solve(factor, right)
    return found + jax.scipy.linalg.cho_solve(factor, right - gram @ found - shift * found)


class _Memory(NamedTuple):
    finished: Array
    lowest: Array  # loss
    idle: Array  # iterations since it was reached
    optax: Any


def limited_memory_bfgs(spec: Spec, x: Array, y: Array, n: Array) -> Iteration:
    """L-BFGS on the mean loss of the first n rows, with optax's zoom line search."""
    solver: Any = optax.lbfgs()

    def init(network: Network) -> _Memory:
        weights, _ = ravel_pytree(network)
        return _Memory(jnp.bool_(False), jnp.float32(jnp.inf), jnp.int32(0), solver.init(weights))

    def step(network: Network, memory: _Memory) -> tuple[Network, _Memory, Array]:
        weights, restore = ravel_pytree(network)
        objective = _mean_loss(spec, restore, x, y, n)
        evaluate: Any = optax.value_and_grad_from_state(objective)
        value, slope = evaluate(weights, state=memory.optax)
        change, state = solver.update(slope, memory.optax, weights, value=value, grad=slope, value_fn=objective)
        idle = jnp.where(value < memory.lowest, 0, memory.idle + 1)
        finished = (idle >= _IDLE) | ~jnp.isfinite(value) | ~jnp.any(slope != 0)
        return restore(weights + change), _Memory(finished, jnp.minimum(value, memory.lowest), idle, state), value

    return Iteration(init, step)


def _mean_loss(spec: Spec, restore: Any, x: Array, y: Array, n: Array) -> Any:
    """Mean loss as a function of the weights, whose gradient is summed over as many blocks as n fills.

    The number of blocks is data, over which JAX cannot reverse a loop: hence the rule given here.
    """

    def of_block(weights: Array, i: Array) -> Array:
        xb, yb, weight = block(i, x, y, n)
        return jnp.sum(weight * losses(spec, restore(weights)(xb)["output"], yb)) / n

    def with_slope(weights: Array) -> tuple[Array, Array]:
        def add(i: Array, total: Any) -> Any:
            return jax.tree.map(jnp.add, total, jax.value_and_grad(of_block)(weights, i))

        return jax.lax.fori_loop(0, blocks_filled(n), add, (jnp.float32(0), jnp.zeros_like(weights)))

    @jax.custom_vjp
    def objective(weights: Array) -> Array:
        return jax.lax.fori_loop(0, blocks_filled(n), lambda i, total: total + of_block(weights, i), jnp.float32(0))

    objective.defvjp(with_slope, lambda slope, cotangent: (cotangent * slope,))
    return objective

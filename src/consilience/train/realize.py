"""A member's training set: which samples of the pool, with which noise, cut into blocks of rows."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray

from consilience.data import noise_keys
from consilience.train.networks import Linear
from consilience.train.options import TrainOptions
from consilience.train.spec import Arrays, Rows, Spec

__all__ = [
    "BATCHES",
    "BLOCK",
    "INIT",
    "block",
    "blocks_filled",
    "bootstrap",
    "pad",
    "realization",
    "realized",
    "stream",
    "subset",
    "training_set",
]

# Whole-set sums (full-batch gradients, final losses) run over blocks of this many rows, and over no more blocks
# than the training set fills, so that their cost follows n_train although n_train is not a shape.
BLOCK = 64
# Streams of random numbers of one study; the noise has its own, in consilience.data.
INIT, BATCHES, _ROWS = 1, 2, 0x726F7773


def stream(key: Array, stream: int, spec: Spec, what: str, member: Array) -> Array:
    """Random numbers of one purpose: the same for all members where they share it."""
    return jax.random.fold_in(jax.random.fold_in(key, stream), 0 if what in spec.shared else member + 1)


def pad(array: Array) -> Array:
    """Repeat zeros up to a whole number of blocks."""
    return jnp.pad(array, [(0, -array.shape[0] % BLOCK)] + [(0, 0)] * (array.ndim - 1))


def training_set(spec: Spec, row: Rows, data: Arrays, *, n_max: int) -> tuple[Array, Array]:
    """Return the member's noisy training pool (n_max padded to blocks); its first n_train rows are the set.

    Realized once per network rather than at each step: the same numbers, as they depend on (seed, member,
    sample) alone, and steps outnumber samples.
    """
    n_held = row.n_held if spec.options.validation else None
    x, y = realization(spec, row.member, row.level, row.n_train, data, n_max=n_max, n_held=n_held)
    return pad(x), pad(y)


def realization(
    spec: Spec,
    member: Array,
    level: Array,
    n_train: Array,
    data: Arrays,
    *,
    n_max: int,
    n_held: Array | None = None,
) -> tuple[Array, Array]:
    """Return the member's noisy training pool (n_max rows); its first n_train rows are the set.

    Of these the last `n_held` are held out of training (None: nothing is), and are no samples that it is fitted to.
    """
    n_pool = data.train_x.shape[0]
    if spec.resample == "bootstrap" and "inputs" not in spec.shared:
        key = stream(jax.random.key(data.seed, impl="threefry2x32"), _ROWS, spec, "inputs", member)
        ids = bootstrap(key, n_train, n_max=n_max, n_held=n_held)
    else:
        ids = subset(spec, member, n_pool=n_pool, n_max=n_max)
    return spec.process.apply(
        noise_keys(data.seed, member),
        ids,
        data.train_x[ids],
        data.train_y[ids],
        level,
        n_classes=spec.n_outputs,
        image_shape=spec.image_shape,
        state=data.noise,
    )


_realization = partial(jax.jit, static_argnums=0, static_argnames="n_max")(realization)


def realized(
    spec: Spec, member: int, level: float, n_train: int, data: Arrays, *, n_max: int
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the member's noisy training set (n_train rows) outside of a program: the same bits, and read-only."""
    # What does not change the training set is left out of the key of the compiled function; a user's x64 setting would
    # change what is drawn.
    plain = replace(spec, network=Linear(), options=TrainOptions(), checkpoints=())
    with jax.enable_x64(False):
        x, y = _realization(plain, np.uint32(member), np.float32(level), np.int32(n_train), data, n_max=n_max)
        return np.asarray(x[:n_train]), np.asarray(y[:n_train])


def subset(spec: Spec, member: Array, *, n_pool: int, n_max: int) -> Array:
    """Return the pool rows (n_max,) a member trains on, of which it uses the first n_train.

    The first rows for all where members share inputs. Otherwise members start at equal distances and wrap
    around: their sets are disjoint up to n_train = n_pool / members, and overlap as little as can be beyond.
    """
    start = 0 if "inputs" in spec.shared else member * (n_pool // spec.members)
    return (start + jnp.arange(n_max)) % n_pool


def bootstrap(key: Array, n_train: Array, *, n_max: int, n_held: Array | None = None) -> Array:
    """Return pool rows (n_max,), each drawn from the first n_train with replacement.

    With `n_held`, rows 0 … n_train − n_held − 1 are drawn from as many of the pool, and those held out after them are
    the pool's own, undrawn: drawn from the same rows, most of them would be among the rows fitted, with the same noise.

    Row i depends on key, i and the number drawn from alone. Samples of different n_train are not nested: they are drawn
    from different sets.
    """
    n_fitted = n_train if n_held is None else n_train - n_held

    def draw(i: Array) -> Array:
        return jax.random.randint(jax.random.fold_in(key, i), (), 0, n_fitted)

    rows = jnp.arange(n_max)
    drawn = jax.vmap(draw)(rows)
    return drawn if n_held is None else jnp.where(rows < n_fitted, drawn, rows)


def blocks_filled(n: Array | int) -> Array:
    """How many blocks `n` rows fill, the last perhaps in part."""
    return (jnp.asarray(n) + BLOCK - 1) // BLOCK


def block(i: Array, x: Array, y: Array, n: Array | int) -> tuple[Array, Array, Array]:
    """Return rows of block i and their weights: 1 below n, 0 beyond."""
    start = i * BLOCK
    weight = (start + jnp.arange(BLOCK) < n).astype(jnp.float32)
    # Rows beyond n are blanked, not only weighted by zero: 0 × inf would be NaN, in the gradient too.
    xb, yb = (_blank(jax.lax.dynamic_slice_in_dim(array, start, BLOCK), weight) for array in (x, y))
    return xb, yb, weight


def _blank(array: Array, weight: Array) -> Array:
    return jnp.where(weight.reshape(-1, *[1] * (array.ndim - 1)) > 0, array, 0)

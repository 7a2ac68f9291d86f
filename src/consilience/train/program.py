"""The compiled program: every network of one architecture, whatever its place in the grid, is a row of one call.

What differs between rows (training-set size, noise level, member, learning rate, …) is data, so one
compilation serves the whole grid. Rows are sharded over devices; inside a device they run one after another
on a CPU (a small network fills a core) and in vectorised chunks on a GPU. On a CPU a row's result depends on the
row alone, to the last bit: not on the other rows, the number of devices or the order of the calls.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.sharding import Mesh, PartitionSpec

from consilience.data import NoiseProcess, Splits, member_key
from consilience.train.devices import Device
from consilience.train.networks import Network, NetworkOptions
from consilience.train.options import TrainOptions

__all__ = ["Arrays", "Program", "Rows", "Spec", "Trained", "subset"]

# Batch indices are drawn for this many steps at once: a draw for each step costs as much as a small network's
# whole update. Part of the definition of a realization: another value gives other batches.
DRAWS = 32
# Whole-set sums (full-batch gradients, final losses) run over blocks of this many rows, and over no more blocks
# than the training set fills, so that their cost follows n_train although n_train is not a shape.
BLOCK = 64
# Streams of random numbers of one study; the noise has its own, in consilience.data.
_INIT, _BATCHES = 1, 2

# Wider vectors save 5 to 10 %; rows are the parallelism, so that products inside one use one thread.
_CPU_OPTIONS: dict[str, Any] = {"xla_cpu_prefer_vector_width": 512, "xla_cpu_multi_thread_eigen": False}


@dataclass(frozen=True)
class Spec:
    """Everything that shapes a program. Two cells with equal specs are rows of the same one."""

    network: NetworkOptions
    options: TrainOptions
    process: NoiseProcess
    shared: frozenset[str]  # of "inputs", "init", "batches"
    members: int
    classification: bool
    n_inputs: int
    n_outputs: int

    @property
    def cross_entropy(self) -> bool:
        """Whether the loss is cross-entropy."""
        return self.classification and self.options.loss in ("auto", "cross-entropy")


class Rows(NamedTuple):
    """What differs between the networks of one call: every field (rows,)."""

    n_train: Any
    member: Any
    level: Any
    target_variance: Any
    learning_rate: Any
    weight_decay: Any
    init_scale: Any


class Arrays(NamedTuple):
    """The data every row shares, on the device."""

    train_x: Array  # (n_pool, inputs)
    train_y: Array  # (n_pool,) classes or (n_pool, outputs)
    test_x: Array
    test_y: Array
    probe_x: Array  # (n_probe, inputs)
    seed: Array  # 0-d uint32

    @classmethod
    def of(cls, splits: Splits, seed: int) -> Arrays:
        """Copy the splits to the default device."""
        arrays = (splits.train_x, splits.train_y, splits.test_x, splits.test_y, splits.probe_x)
        return cls(*(jnp.asarray(array) for array in arrays), seed=jnp.uint32(seed))


class Trained(NamedTuple):
    """What training gives, one leading axis for networks."""

    layers: dict[str, Any]  # name -> (rows, n_probe, width); JAX sorts the names, `layer_widths` has their order
    train_loss: Any  # (rows,), on the noisy training set
    train_error: Any  # misclassified, or squared error / variance of the targets
    test_loss: Any  # against clean targets
    test_error: Any
    diverged_at: Any  # int32, -1 where the loss stayed finite


class Program:
    """One compiled training program for `rows_per_call` networks, a multiple of the number of devices."""

    def __init__(
        self,
        spec: Spec,
        arrays: Arrays,
        *,
        n_max: int,
        rows_per_call: int,
        devices: list[Device],
        chunk: int | None,
    ) -> None:
        mesh = Mesh(np.array(devices), ("rows",))
        split, whole = PartitionSpec("rows"), PartitionSpec()

        def shard(rows: Rows, data: Arrays) -> Trained:
            return jax.lax.map(lambda row: _train_row(spec, row, data, n_max=n_max), rows, batch_size=chunk)

        mapped = jax.shard_map(shard, mesh=mesh, in_specs=(split, whole), out_specs=split, check_vma=False)
        rows = Rows(*(jax.ShapeDtypeStruct((rows_per_call,), dtype) for dtype in _ROW_TYPES))
        compiler = _CPU_OPTIONS if devices[0].platform == "cpu" else {}
        self.rows_per_call = rows_per_call
        self._arrays = arrays
        # Accelerators multiply float32 with fewer bits unless told otherwise; a user's x64 setting is not ours.
        with jax.default_matmul_precision("highest"), jax.enable_x64(False):
            self._compiled = jax.jit(mapped).lower(rows, arrays).compile(compiler_options=compiler)

    def __call__(self, rows: Rows) -> Trained:
        """Start training `rows_per_call` networks; returns at once, reading the arrays waits."""
        typed = Rows(*(np.asarray(value, dtype) for value, dtype in zip(rows, _ROW_TYPES, strict=True)))
        return self._compiled(typed, self._arrays)


_ROW_TYPES = Rows(np.int32, np.uint32, *([np.float32] * 5))


def _train_row(spec: Spec, row: Rows, data: Arrays, *, n_max: int) -> Trained:
    """Train one network and describe it: every field of `row` is a scalar."""
    key = jax.random.key(data.seed, impl="threefry2x32")
    x, y = _training_set(spec, row, data, n_max=n_max)
    network = spec.network.build(spec.n_inputs, spec.n_outputs, key=_stream(key, _INIT, spec, "init", row.member))
    network = jax.tree.map(lambda weight: weight * row.init_scale, network)
    batches = _stream(key, _BATCHES, spec, "batches", row.member)
    network, diverged_at = _optimize(spec, row, network, x, y, batches)

    train_loss, train_error = _whole_set(spec, network, x, y, row.n_train, row.target_variance)
    test_x, test_y = _pad(data.test_x), _pad(data.test_y)
    test_loss, test_error = _whole_set(spec, network, test_x, test_y, data.test_x.shape[0], 1.0)
    layers = network(data.probe_x)
    # Only a finite network is a result: the loss may be finite at the last update and the update too large.
    finite = jnp.isfinite(train_loss) & jnp.isfinite(test_loss)
    diverged_at = jnp.where((diverged_at < 0) & ~finite, spec.options.steps, diverged_at)
    return Trained(layers, train_loss, train_error, test_loss, test_error, diverged_at)


def _stream(key: Array, stream: int, spec: Spec, what: str, member: Array) -> Array:
    """Random numbers of one purpose: the same for all members where they share it."""
    return jax.random.fold_in(jax.random.fold_in(key, stream), 0 if what in spec.shared else member + 1)


def _pad(array: Array) -> Array:
    """Repeat zeros up to a whole number of blocks."""
    return jnp.pad(array, [(0, -array.shape[0] % BLOCK)] + [(0, 0)] * (array.ndim - 1))


def _training_set(spec: Spec, row: Rows, data: Arrays, *, n_max: int) -> tuple[Array, Array]:
    """Return the member's noisy training pool (n_max padded to blocks); its first n_train rows are the set.

    Realized once per network rather than at each step: the same numbers, as they depend on (seed, member,
    sample) alone, and steps outnumber samples.
    """
    ids = subset(spec, row.member, n_pool=data.train_x.shape[0], n_max=n_max)
    x, y = data.train_x[ids], data.train_y[ids]
    noise = member_key(data.seed, row.member)
    x, y = spec.process.apply(noise, ids, x, y, row.level, n_classes=spec.n_outputs)
    return _pad(x), _pad(y)


def subset(spec: Spec, member: Array, *, n_pool: int, n_max: int) -> Array:
    """Return the pool rows (n_max,) a member trains on, of which it uses the first n_train.

    The first rows for all where members share inputs. Otherwise members start at equal distances and wrap
    around: their sets are disjoint up to n_train = n_pool / members, and overlap as little as can be beyond.
    """
    start = 0 if "inputs" in spec.shared else member * (n_pool // spec.members)
    return (start + jnp.arange(n_max)) % n_pool


def _losses(spec: Spec, output: Array, y: Array) -> Array:
    """Loss of each sample (batch,)."""
    if spec.classification:
        target = jax.nn.one_hot(y, spec.n_outputs)
        if spec.cross_entropy:
            return -jnp.sum(target * jax.nn.log_softmax(output), axis=1)
        y = target - 1 / spec.n_outputs
    return jnp.mean((output - y) ** 2, axis=1)


def _errors(spec: Spec, output: Array, y: Array, target_variance: Array | float) -> Array:
    """Error of each sample (batch,): misclassified, or squared error over the variance of the target."""
    if spec.classification:
        return (jnp.argmax(output, axis=1) != y).astype(jnp.float32)
    return jnp.mean((output - y) ** 2, axis=1) / target_variance


def _blocks(n: Array | int) -> Array:
    return (jnp.asarray(n) + BLOCK - 1) // BLOCK


def _block(i: Array, x: Array, y: Array, n: Array | int) -> tuple[Array, Array, Array]:
    """Return rows of block i and their weights: 1 below n, 0 beyond."""
    start = i * BLOCK
    weight = (start + jnp.arange(BLOCK) < n).astype(jnp.float32)
    # Rows beyond n are blanked, not only weighted by zero: 0 × inf would be NaN, in the gradient too.
    xb, yb = (_blank(jax.lax.dynamic_slice_in_dim(array, start, BLOCK), weight) for array in (x, y))
    return xb, yb, weight


def _blank(array: Array, weight: Array) -> Array:
    return jnp.where(weight.reshape(-1, *[1] * (array.ndim - 1)) > 0, array, 0)


def _whole_set(
    spec: Spec, network: Network, x: Array, y: Array, n: Array | int, target_variance: Array | float
) -> tuple[Array, Array]:
    """Return mean loss and mean error over the first n rows."""

    def add(i: Array, sums: tuple[Array, Array]) -> tuple[Array, Array]:
        xb, yb, weight = _block(i, x, y, n)
        output = network(xb)["output"]
        loss = jnp.sum(weight * _losses(spec, output, yb))
        error = jnp.sum(weight * _errors(spec, output, yb, target_variance))
        return sums[0] + loss, sums[1] + error

    loss, error = jax.lax.fori_loop(0, _blocks(n), add, (jnp.float32(0), jnp.float32(0)))
    return loss / n, error / n


def _optimize(spec: Spec, row: Rows, network: Network, x: Array, y: Array, batches: Array) -> tuple[Network, Array]:
    """Run all steps; return the network and the first step with a non-finite loss, -1 if none."""
    options = spec.options
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
        count = jnp.minimum(DRAWS, options.steps - number * DRAWS)
        return jax.lax.fori_loop(0, count, lambda i, inner: step(inner, ids[i]), carry)

    carry = (network, optimizer.init(eqx.filter(network, eqx.is_array)), jnp.int32(0), jnp.int32(-1))
    carry = jax.lax.fori_loop(0, -(-options.steps // DRAWS), draw_and_step, carry)
    return carry[0], carry[3]


def _gradient(spec: Spec, network: Network, x: Array, y: Array) -> tuple[Array, Any]:
    return jax.value_and_grad(lambda net: jnp.mean(_losses(spec, net(x)["output"], y)))(network)


def _full_gradient(spec: Spec, network: Network, x: Array, y: Array, n: Array) -> tuple[Array, Any]:
    """Return mean loss and its gradient over the first n rows, block by block."""

    def of_block(net: Network, i: Array) -> Array:
        xb, yb, weight = _block(i, x, y, n)
        return jnp.sum(weight * _losses(spec, net(xb)["output"], yb)) / n

    def add(i: Array, total: Any) -> Any:
        return jax.tree.map(jnp.add, total, jax.value_and_grad(of_block)(network, i))

    zero = (jnp.float32(0), jax.tree.map(jnp.zeros_like, network))
    return jax.lax.fori_loop(0, _blocks(n), add, zero)


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

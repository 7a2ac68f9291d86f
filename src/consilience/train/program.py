"""The compiled program: every network of one architecture, whatever its place in the grid, is a row of one call.

What differs between rows (training-set size, noise level, member, learning rate, …) is data, so one
compilation serves the whole grid. Rows are sharded over devices; inside a device they run one after another
on a CPU (a small network fills a core) and in vectorised chunks on a GPU. On a CPU a row's result depends on the
row alone, to the last bit: not on the other rows, the number of devices or the order of the calls.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh, PartitionSpec

from consilience.train.cache import kept_on_disk
from consilience.train.devices import Device
from consilience.train.losses import whole_set
from consilience.train.networks import Linear, Network
from consilience.train.optimize import optimize
from consilience.train.realize import BATCHES, INIT, pad, stream, training_set
from consilience.train.spec import Arrays, Rows, Spec, Trained, Trajectory, Weights
from consilience.train.stopping import n_fitted

__all__ = ["Program"]

# Wider vectors save 5 to 10 %; rows are the parallelism, so that products inside one use one thread.
_CPU_OPTIONS: dict[str, Any] = {"xla_cpu_prefer_vector_width": 512, "xla_cpu_multi_thread_eigen": False}


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
        with jax.default_matmul_precision("highest"), jax.enable_x64(False), kept_on_disk():
            self._compiled = jax.jit(mapped).lower(rows, arrays).compile(compiler_options=compiler)

    def __call__(self, rows: Rows, *, limit: int | None = None) -> Trained:
        """Start training `rows_per_call` networks; returns at once, reading the arrays waits.

        Fewer rows are filled up with repetitions, which come last. `limit` ends training after so many steps: to
        measure the time they take.
        """
        filled = (np.resize(value, self.rows_per_call) for value in rows)
        typed = Rows(*(value.astype(dtype) for value, dtype in zip(filled, _ROW_TYPES, strict=True)))
        arrays = self._arrays if limit is None else self._arrays._replace(limit=jnp.int32(limit))
        return self._compiled(typed, arrays)


_ROW_TYPES = Rows(np.int32, np.uint32, *([np.float32] * 6), n_held=np.int32)


def _train_row(spec: Spec, row: Rows, data: Arrays, *, n_max: int) -> Trained:
    """Train one network and describe it: every field of `row` is a scalar."""
    key = jax.random.key(data.seed, impl="threefry2x32")
    x, y = training_set(spec, row, data, n_max=n_max)
    network = spec.network.build(spec.sizes, key=stream(key, INIT, spec, "init", row.member))
    network = jax.tree.map(lambda weight: weight * row.init_scale, network)
    batches = stream(key, BATCHES, spec, "batches", row.member)
    start = network
    test_x, test_y = pad(data.test_x), pad(data.test_y)

    def describe(network: Network) -> tuple[Any, ...]:
        """Layers, then loss and error on the rows trained on and on the test set."""
        trained_on = whole_set(spec, network, x, y, n_fitted(spec, row), row.target_variance)
        on_test = whole_set(spec, network, test_x, test_y, data.test_x.shape[0], 1.0)
        return (network(data.probe_x), *trained_on, *on_test)

    outcome = optimize(spec, row, network, x, y, batches, data.limit, observe=describe)
    described = describe(outcome.network)
    layers, train_loss, train_error, test_loss, test_error = described
    # Only a finite network is a result: the loss may be finite at the last update and the update too large.
    finite = jnp.isfinite(train_loss) & jnp.isfinite(test_loss)
    last = outcome.watch.kept_at if spec.options.may_stop else spec.options.steps
    diverged_at = jnp.where((outcome.diverged_at < 0) & ~finite, last, outcome.diverged_at)
    weights = None
    if isinstance(spec.network, Linear) and spec.network.described:
        weights = Weights(*_matrices(outcome.network), initial=_matrices(start))
    trained = Trained(layers, train_loss, train_error, test_loss, test_error, diverged_at, weights)
    if spec.options.may_stop:
        trained = trained._replace(stopped_at=outcome.watch.stopped_at, kept_at=outcome.watch.kept_at)
    if spec.checkpoints:
        trained = trained._replace(trajectory=_trajectory(spec, outcome.seen, described))
    return trained


def _trajectory(spec: Spec, seen: Any, described: Any) -> Trajectory:
    """What was seen at the checkpoints; the last step, where it is one, is the result itself."""
    if spec.checkpoints[-1] == spec.options.steps:
        seen = jax.tree.map(lambda path, end: path.at[-1].set(end), seen, described)
    return Trajectory(jnp.array(spec.checkpoints, jnp.int32), *seen)


def _matrices(network: Any) -> tuple[Array, Array]:
    """W₁ (hidden, inputs) and W₂ (outputs, hidden) of a linear network, however its layers store them."""
    first, second = (dense.weight if dense.narrow else dense.weight.T for dense in network.dense)
    return first, second

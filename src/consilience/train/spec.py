"""What a compiled program is made for, what its rows are, what it reads and what it gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from consilience.data import NoiseProcess, Splits
from consilience.train.networks import NetworkOptions, Sizes
from consilience.train.options import TrainOptions

__all__ = ["Arrays", "Resample", "Rows", "Spec", "Trained", "Trajectory", "Weights"]

Resample = Literal["disjoint", "bootstrap"]


@dataclass(frozen=True)
class Spec:
    """Everything that shapes a program. Two cells with equal specs are rows of the same one."""

    network: NetworkOptions
    options: TrainOptions
    process: NoiseProcess
    shared: frozenset[str]  # of "inputs", "init", "batches"
    members: int
    classification: bool
    sizes: Sizes
    resample: Resample = "disjoint"  # where inputs are not shared
    checkpoints: tuple[int, ...] = ()  # steps after which the network is measured too, in order

    @property
    def n_inputs(self) -> int:
        """Number of inputs of the networks."""
        return self.sizes.n_inputs

    @property
    def n_outputs(self) -> int:
        """Number of outputs: classes, or targets."""
        return self.sizes.n_outputs

    @property
    def image_shape(self) -> tuple[int, ...] | None:
        """(rows, columns[, channels]) where inputs are images."""
        return self.sizes.image_shape

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
    stop_loss: Any
    n_held: Any  # rows of the training set that are held out


class Arrays(NamedTuple):
    """The data every row shares, on the device."""

    train_x: Array  # (n_pool, inputs)
    train_y: Array  # (n_pool,) classes or (n_pool, outputs)
    test_x: Array
    test_y: Array
    probe_x: Array  # (n_probe, inputs)
    seed: Array  # 0-d uint32
    limit: Array  # 0-d int32: steps taken at most; fewer than the options say only to measure their time
    noise: tuple[Array, ...] = ()  # what the noise process needs of the pool

    @classmethod
    def of(cls, splits: Splits, seed: int, noise: tuple[Any, ...] = ()) -> Arrays:
        """Copy the splits, and what `NoiseProcess.fitted` returned, to the default device."""
        arrays = (splits.train_x, splits.train_y, splits.test_x, splits.test_y, splits.probe_x)
        return cls(
            *(jnp.asarray(array) for array in arrays),
            seed=jnp.uint32(seed),
            limit=jnp.int32(np.iinfo(np.int32).max),
            noise=tuple(map(jnp.asarray, noise)),
        )


class Weights(NamedTuple):
    """The matrices of linear networks f(x) = W₂ W₁ x, after training and before."""

    first: Any  # (rows, hidden, inputs)
    second: Any  # (rows, outputs, hidden)
    initial: tuple[Any, Any] | None  # the same two before training; None where nothing was trained


class Trajectory(NamedTuple):
    """Networks on their way: what `Trained` has of the end, after each checkpoint."""

    steps: Any  # int32 (rows, checkpoints)
    layers: dict[str, Any]  # name -> (rows, checkpoints, n_probe, width)
    train_loss: Any  # (rows, checkpoints)
    train_error: Any
    test_loss: Any
    test_error: Any


class Trained(NamedTuple):
    """What training gives, one leading axis for networks."""

    layers: dict[str, Any]  # name -> (rows, n_probe, width); JAX sorts the names, `layer_widths` has their order
    train_loss: Any  # (rows,), on the noisy training set less what was held out of it
    train_error: Any  # misclassified, or squared error / variance of the targets
    test_loss: Any  # against clean targets
    test_error: Any
    diverged_at: Any  # int32, -1 where the loss stayed finite
    weights: Weights | None = None  # of linear networks only
    failed: Any = None  # (rows,) text: why there is no network, "" where there is one; None where none failed
    stopped_at: Any = None  # int32, step at which the member stopped, -1 where it did not; None where none may
    kept_at: Any = None  # int32, step of the weights that are measured; None likewise
    trajectory: Trajectory | None = None  # where the spec has checkpoints

"""Noise on inputs of any kind: Gaussian, and features that drop out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from numpy.typing import NDArray

from consilience.data.noise.base import (
    Corrupts,
    NoiseKeys,
    NoiseProcess,
    amplitude,
    normals,
    register_process,
    sample_keys,
)
from consilience.data.source import CLASSIFICATION, REGRESSION, Task
from consilience.errors import ConsilienceError, require

if TYPE_CHECKING:
    from jax import Array

__all__ = ["InputDropout", "InputGaussian"]


@register_process
@dataclass(frozen=True)
class InputGaussian(NoiseProcess):
    """Independent Gaussian noise on every input that varies: x + σε, ε ~ N(0, I), σ = 1/√SNR.

    Inputs that have one value in the whole training pool, as pixels at the border of images may, get none: they carry
    no signal, and noise on them would bring the SNR below the one asked for.

    >>> InputGaussian().level(4)
    0.5
    """

    name: ClassVar[str] = "input-gaussian"
    title: ClassVar[str] = "Gaussian noise on inputs"
    definition: ClassVar[str] = (
        "mean variance of the clean inputs that vary (1: standardised) / variance of the noise on each of them"
    )
    corrupts: ClassVar[Corrupts] = "inputs"
    tasks: ClassVar[frozenset[Task]] = CLASSIFICATION | REGRESSION

    def level(self, snr: float) -> float:
        """σ = 1/√SNR, in root-mean-square standard deviations of the inputs that vary."""
        return amplitude(snr)

    def fitted(
        self, x: NDArray[Any], y: NDArray[Any], *, n_classes: int, image_shape: tuple[int, ...] | None
    ) -> tuple[NDArray[Any], ...]:
        """Return which inputs vary, (d,), or nothing where all do.

        Raises
        ------
        ConsilienceError
            When none does.
        """
        del y, n_classes, image_shape
        if len(x) == 1:  # one sample says nothing about what varies
            return ()
        varies = x.min(axis=0) < x.max(axis=0)
        if not varies.any():
            raise ConsilienceError(
                f"noise process {self.name!r}: each of the {x.shape[1]} inputs has one value in all {len(x)} rows of "
                "the training pool, so there is no signal to set noise against; give other data, or more rows"
            )
        return () if varies.all() else (varies,)

    def apply(
        self,
        keys: NoiseKeys,
        ids: Array,
        x: Array,
        y: Array,
        level: float | Array,
        *,
        n_classes: int,
        image_shape: tuple[int, ...] | None = None,
        state: tuple[Any, ...] = (),
    ) -> tuple[Array, Array]:
        """Add noise to `x`."""
        del n_classes, image_shape
        noisy = x + level * normals(keys, ids, x, self.correlation)
        if not state:
            return noisy, y
        (varies,) = state
        jnp = require("jax.numpy", extra="study", purpose="drawing noise")
        return jnp.where(varies, noisy, x), y


@register_process
@dataclass(frozen=True)
class InputDropout(NoiseProcess):
    """Every input of every sample is set to its mean, 0, with probability p.

    A centred input x becomes m x with m = 1 at probability 1 − p, else 0. Its slope on x is E[m] = 1 − p, so that of
    its variance (1 − p) Var x a part (1 − p)² Var x is kept signal:

        SNR = (1 − p)² / ((1 − p) − (1 − p)²) = (1 − p) / p,    p = 1 / (1 + SNR),

    whatever the covariance of the inputs. Inputs dropped at a high SNR are among those dropped at a lower one. Nothing
    is rescaled. With `correlation` the members that use a sample's shared draw drop the same inputs.

    >>> InputDropout().level(1)  # half of the inputs
    0.5
    """

    name: ClassVar[str] = "input-dropout"
    title: ClassVar[str] = "Inputs set to their mean at random"
    definition: ClassVar[str] = "(1 - p) / p, p the probability that an input is set to its mean"
    corrupts: ClassVar[Corrupts] = "inputs"
    tasks: ClassVar[frozenset[Task]] = CLASSIFICATION | REGRESSION

    def level(self, snr: float) -> float:
        """p = 1 / (1 + SNR); SNR = 0 gives 1."""
        if not snr >= 0:
            raise ConsilienceError(f"snr = {snr}: must be 0 (every input dropped) or more (inf for no noise)")
        return 1 / (1 + snr)

    def apply(
        self,
        keys: NoiseKeys,
        ids: Array,
        x: Array,
        y: Array,
        level: float | Array,
        *,
        n_classes: int,
        image_shape: tuple[int, ...] | None = None,
        state: tuple[Any, ...] = (),
    ) -> tuple[Array, Array]:
        """Set some of the inputs `x` to 0."""
        del n_classes, image_shape, state
        jax = require("jax", extra="study", purpose="drawing noise")
        each = sample_keys(keys, ids, self.correlation)
        uniform = jax.vmap(lambda key: jax.random.uniform(key, x.shape[1:]))(each)  # (n, d)
        return jax.numpy.where(uniform < level, 0, x), y

"""Noise processes: what makes the training sets of two members differ.

The noise of sample i in member m is a pure function of (seed, m, i): a counter-based generator is asked for
it, nothing is stored. It is the same in whichever batch, order or subset the sample is asked for, and at
every SNR the same draw, only scaled (label flips: thresholded) by the level.
"""

from __future__ import annotations

import abc
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, TypeVar

import numpy as np

from consilience._catalogue import Catalogue
from consilience.data.source import CLASSIFICATION, REGRESSION, Task
from consilience.errors import ConsilienceError, require

if TYPE_CHECKING:
    from jax import Array

__all__ = [
    "PROCESSES",
    "InputGaussian",
    "LabelFlip",
    "LabelGaussian",
    "NoiseProcess",
    "member_key",
    "register_process",
]

# Keeps the noise apart from other random streams (initialization, batches) that start from the same seed.
_STREAM = 0x6E6F6973
_SEEDS = 2**32


def member_key(seed: int | Array, member: int | Array) -> Array:
    """Key of the noise of one member of the study with this seed; traceable, so members can be mapped over.

    Raises
    ------
    ConsilienceError
        When a Python `seed` lies outside 0 … 2³² − 1: the generator would silently drop its upper bits.

    >>> import jax
    >>> keys = jax.vmap(member_key, (None, 0))(0, jax.numpy.arange(8))
    >>> keys.shape
    (8,)
    """
    if isinstance(seed, int | np.integer) and not 0 <= seed < _SEEDS:
        raise ConsilienceError(f"seed = {seed}: must lie between 0 and {_SEEDS - 1}")
    random = require("jax.random", extra="study", purpose="drawing noise")
    return random.fold_in(random.fold_in(random.key(seed, impl="threefry2x32"), _STREAM), member)


@dataclass(frozen=True)
class NoiseProcess(abc.ABC):
    """How labels or inputs of the training set are corrupted.

    Attributes
    ----------
    name, title
        What a study file calls it; one line for tables.
    definition
        Its signal-to-noise ratio in words.
    corrupts
        "labels" or "inputs".
    tasks
        Tasks whose data it can corrupt.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    name: ClassVar[str]
    title: ClassVar[str]
    definition: ClassVar[str]
    corrupts: ClassVar[Literal["labels", "inputs"]]
    tasks: ClassVar[frozenset[Task]]

    @abc.abstractmethod
    def level(self, snr: float) -> float:
        """Strength of the noise at this SNR: a standard deviation σ, or a probability p. Infinity gives 0."""

    def target_variance(self, level: float) -> float:
        """Variance of a noisy regression target whose clean variance is 1; override where targets are corrupted."""
        del level
        return 1.0

    @abc.abstractmethod
    def apply(
        self, key: Array, ids: Array, x: Array, y: Array, level: float | Array, *, n_classes: int
    ) -> tuple[Array, Array]:
        """Corrupt samples; pure JAX, every argument but `n_classes` may be traced.

        Parameters
        ----------
        key
            From `member_key`.
        ids
            (n,) integers: which samples of the training pool these are.
        x, y
            Inputs (n, d); class numbers (n,) or standardised values (n, k).
        level
            From `level`.
        n_classes
            Number of classes; not used by processes that leave classes alone.
        """


PROCESSES: Catalogue[type[NoiseProcess]] = Catalogue("noise process")
"""Every noise process by the name a study file calls it."""

ProcessType = TypeVar("ProcessType", bound=type[NoiseProcess])


def register_process(cls: ProcessType) -> ProcessType:
    """Class decorator: list the process in `PROCESSES` under its `name`."""
    PROCESSES.register(cls.name, cls)
    return cls


def _sigma(snr: float) -> float:
    """σ = 1/√SNR."""
    if not snr > 0:
        raise ConsilienceError(f"snr = {snr}: Gaussian noise needs a number above 0 (inf for no noise)")
    return 1 / math.sqrt(snr)


def _gaussian(key: Array, ids: Array, clean: Array, sigma: float | Array) -> Array:
    """Add N(0, σ²) to every value of every sample."""
    jax = require("jax", extra="study", purpose="drawing noise")

    def draw(i: Array) -> Array:
        return jax.random.normal(jax.random.fold_in(key, i), clean.shape[1:], clean.dtype)

    return clean + sigma * jax.vmap(draw)(ids)


def _refuse_labels(name: str, y: Array, *, integer: bool) -> None:
    """A process met labels of the other task: dtypes are known while tracing, so this costs nothing."""
    if (y.dtype.kind in "iu") != integer:
        wanted = "integer class numbers (n,)" if integer else "real values (n, k)"
        raise ConsilienceError(
            f"noise process {name!r} corrupts {wanted} but y is {y.dtype} of shape {tuple(y.shape)}: "
            "choose a process for this task"
        )


@register_process
@dataclass(frozen=True)
class LabelGaussian(NoiseProcess):
    """Independent Gaussian noise on real-valued targets: y + σε, ε ~ N(0, 1), σ = 1/√SNR.

    >>> LabelGaussian().level(4)
    0.5
    """

    name: ClassVar[str] = "label-gaussian"
    title: ClassVar[str] = "Gaussian noise on targets"
    definition: ClassVar[str] = "variance of the clean target (1: targets are standardised) / variance of the noise"
    corrupts: ClassVar[Literal["labels", "inputs"]] = "labels"
    tasks: ClassVar[frozenset[Task]] = REGRESSION

    def level(self, snr: float) -> float:
        """σ = 1/√SNR, in standard deviations of the target."""
        return _sigma(snr)

    def target_variance(self, level: float) -> float:
        """1 + σ²."""
        return 1 + level**2

    def apply(
        self, key: Array, ids: Array, x: Array, y: Array, level: float | Array, *, n_classes: int
    ) -> tuple[Array, Array]:
        """Add noise to `y`."""
        del n_classes
        _refuse_labels(self.name, y, integer=False)
        return x, _gaussian(key, ids, y, level)


@register_process
@dataclass(frozen=True)
class InputGaussian(NoiseProcess):
    """Independent Gaussian noise on every input: x + σε, ε ~ N(0, I), σ = 1/√SNR.

    >>> InputGaussian().level(4)
    0.5
    """

    name: ClassVar[str] = "input-gaussian"
    title: ClassVar[str] = "Gaussian noise on inputs"
    definition: ClassVar[str] = "variance of each clean input that varies (1: standardised) / variance of the noise"
    corrupts: ClassVar[Literal["labels", "inputs"]] = "inputs"
    tasks: ClassVar[frozenset[Task]] = CLASSIFICATION | REGRESSION

    def level(self, snr: float) -> float:
        """σ = 1/√SNR, in root-mean-square standard deviations of the inputs."""
        return _sigma(snr)

    def apply(
        self, key: Array, ids: Array, x: Array, y: Array, level: float | Array, *, n_classes: int
    ) -> tuple[Array, Array]:
        """Add noise to `x`."""
        del n_classes
        return _gaussian(key, ids, x, level), y


@register_process
@dataclass(frozen=True)
class LabelFlip(NoiseProcess):
    """With probability p a label is replaced by a class drawn uniformly, the right one included.

    Replacement attenuates E[one-hot | x] by 1 − p, so for balanced classes a fraction (1 − p)² of the
    label's variance is signal:

        SNR = (1 − p)² / (1 − (1 − p)²),    p = 1 − √(SNR / (1 + SNR)),

    whatever the number of classes. Samples replaced at a high SNR are among those replaced at a lower one.

    >>> round(LabelFlip().level(1 / 3), 12)  # half of the labels replaced
    0.5
    """

    name: ClassVar[str] = "label-flip"
    title: ClassVar[str] = "Labels replaced by a random class"
    definition: ClassVar[str] = (
        "(1 - p)² / (1 - (1 - p)²), p the probability that a label is replaced by a uniformly random class"
    )
    corrupts: ClassVar[Literal["labels", "inputs"]] = "labels"
    tasks: ClassVar[frozenset[Task]] = CLASSIFICATION

    def level(self, snr: float) -> float:
        """p = 1 − √(SNR / (1 + SNR)); SNR = 0 gives 1."""
        if not snr >= 0:
            raise ConsilienceError(f"snr = {snr}: must be 0 (every label random) or more (inf for no noise)")
        # 1 − √(1/(1 + 1/SNR)) without the cancellation at high SNR.
        return 1.0 if snr == 0 else -math.expm1(-0.5 * math.log1p(1 / snr))

    def apply(
        self, key: Array, ids: Array, x: Array, y: Array, level: float | Array, *, n_classes: int
    ) -> tuple[Array, Array]:
        """Replace some of the labels `y`."""
        _refuse_labels(self.name, y, integer=True)
        jax = require("jax", extra="study", purpose="drawing noise")

        def draw(i: Array) -> tuple[Array, Array]:
            whether, which = jax.random.split(jax.random.fold_in(key, i))
            return jax.random.uniform(whether), jax.random.randint(which, (), 0, n_classes, y.dtype)

        uniform, replacement = jax.vmap(draw)(ids)  # (n,), (n,)
        return x, jax.numpy.where(uniform < level, replacement, y)

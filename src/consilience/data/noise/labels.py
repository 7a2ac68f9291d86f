"""Noise on labels that does not depend on the inputs: Gaussian on targets, replaced classes, or none at all."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from consilience.data.noise.base import (
    Corrupts,
    NoiseKeys,
    NoiseProcess,
    amplitude,
    normals,
    refuse_labels,
    register_process,
    sample_keys,
)
from consilience.data.source import CLASSIFICATION, REGRESSION, Task
from consilience.errors import ConsilienceError, require

if TYPE_CHECKING:
    from jax import Array

__all__ = ["LabelFlip", "LabelGaussian", "NoNoise", "one_minus_correlation"]


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
    corrupts: ClassVar[Corrupts] = "labels"
    tasks: ClassVar[frozenset[Task]] = REGRESSION

    def level(self, snr: float) -> float:
        """σ = 1/√SNR, in standard deviations of the target."""
        return amplitude(snr)

    def target_variance(self, level: float) -> float:
        """1 + σ²."""
        return 1 + level**2

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
        """Add noise to `y`."""
        del n_classes, image_shape, state
        refuse_labels(self.name, y, integer=False)
        return x, y + level * normals(keys, ids, y, self.correlation)


def one_minus_correlation(snr: float) -> float:
    """1 − ρ of the correlation ρ = √(SNR / (1 + SNR)) that noisy and clean labels have; SNR = 0 gives 1."""
    if not snr >= 0:
        raise ConsilienceError(f"snr = {snr}: must be 0 (every label random) or more (inf for no noise)")
    # 1 − √(1/(1 + 1/SNR)) without the cancellation at high SNR.
    return 1.0 if snr == 0 else -math.expm1(-0.5 * math.log1p(1 / snr))


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
    corrupts: ClassVar[Corrupts] = "labels"
    tasks: ClassVar[frozenset[Task]] = CLASSIFICATION

    def level(self, snr: float) -> float:
        """p = 1 − √(SNR / (1 + SNR)); SNR = 0 gives 1."""
        return one_minus_correlation(snr)

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
        """Replace some of the labels `y`."""
        del image_shape, state
        refuse_labels(self.name, y, integer=True)
        jax = require("jax", extra="study", purpose="drawing noise")

        def draw(key: Array) -> tuple[Array, Array]:
            whether, which = jax.random.split(key)
            return jax.random.uniform(whether), jax.random.randint(which, (), 0, n_classes, y.dtype)

        uniform, replacement = jax.vmap(draw)(sample_keys(keys, ids, self.correlation))  # (n,), (n,)
        return x, jax.numpy.where(uniform < level, replacement, y)


@register_process
@dataclass(frozen=True)
class NoNoise(NoiseProcess):
    """No noise: members differ by what they do not share (training inputs, initialization, batches) alone.

    The SNR of such a study is infinite and is the only one it can have: that of the labels, whatever resampling does.

    >>> NoNoise().level(float("inf"))
    0.0
    """

    name: ClassVar[str] = "none"
    title: ClassVar[str] = "No noise: members differ by their inputs, initialization or batches alone"
    definition: ClassVar[str] = "infinite"
    corrupts: ClassVar[Corrupts] = "labels"
    tasks: ClassVar[frozenset[Task]] = CLASSIFICATION | REGRESSION

    def level(self, snr: float) -> float:
        """0, and only for SNR = ∞."""
        if snr != math.inf:
            raise ConsilienceError(f"snr = {snr}: noise process {self.name!r} adds nothing; give snr = [inf] alone")
        return 0.0

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
        """Leave everything as it is."""
        del keys, ids, level, n_classes, image_shape, state
        return x, y

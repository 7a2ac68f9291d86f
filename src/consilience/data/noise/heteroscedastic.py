"""Gaussian noise on targets that is stronger on some inputs than on others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from consilience.data.noise.base import (
    Corrupts,
    NoiseKeys,
    NoiseProcess,
    amplitude,
    normals,
    refuse_labels,
    register_process,
)
from consilience.data.source import REGRESSION, Task
from consilience.errors import ConsilienceError

if TYPE_CHECKING:
    from jax import Array

__all__ = ["LabelHeteroscedastic"]

Floats = NDArray[np.float64]
_BLOCK = 8192  # rows made float64 at once


@register_process
@dataclass(frozen=True)
class LabelHeteroscedastic(NoiseProcess):
    """Gaussian noise on targets whose size depends on the input: y + σ h(x) ε, ε ~ N(0, 1), σ = 1/√SNR.

    The variance varies log-linearly along one direction z of the inputs, with mean one over the training pool: ::

        h(x)² = exp(s z(x)) / mean over the pool of exp(s z)

    `along` names z, standardised over the pool: "component", the first principal component of the inputs (its
    largest coefficient positive), or "norm", the length of the centred input. `strength` s = 0 is `label-gaussian`;
    s = 1 makes the variance e times larger for each standard deviation of z. Where z takes one value alone, h = 1.

    h depends on clean inputs of the pool, not on noise, member or n_train; the mean variance over a training set of few
    samples may differ from σ².

    >>> LabelHeteroscedastic(strength=0.5).level(4)
    0.5
    """

    name: ClassVar[str] = "label-heteroscedastic"
    title: ClassVar[str] = "Gaussian noise on targets, its variance depending on the input"
    definition: ClassVar[str] = "variance of the clean target / mean variance of the noise over the training pool"
    corrupts: ClassVar[Corrupts] = "labels"
    tasks: ClassVar[frozenset[Task]] = REGRESSION

    strength: float = 1.0
    along: Literal["component", "norm"] = "component"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.strength < np.inf:
            raise ConsilienceError(f"strength = {self.strength}: must be 0 (the same noise everywhere) or more")
        if self.along not in ("component", "norm"):
            raise ConsilienceError(f"along = {self.along!r}: must be 'component' or 'norm'")

    def level(self, snr: float) -> float:
        """σ = 1/√SNR: root-mean-square standard deviation of the noise over the pool."""
        return amplitude(snr)

    def target_variance(self, level: float) -> float:
        """1 + σ²."""
        return 1 + level**2

    def fitted(
        self, x: NDArray[Any], y: NDArray[Any], *, n_classes: int, image_shape: tuple[int, ...] | None
    ) -> tuple[NDArray[Any], ...]:
        """Return h (n_pool,)."""
        del y, n_classes, image_shape
        z = _along_component(x) if self.along == "component" else _along_norm(x)
        exponent = self.strength * _standardised(z)
        square = np.exp(exponent - exponent.max())
        return (np.sqrt(square / square.mean()).astype(np.float32),)

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
        del n_classes, image_shape
        refuse_labels(self.name, y, integer=False)
        (h,) = state
        return x, y + level * h[ids][:, None] * normals(keys, ids, y, self.correlation)


def _standardised(z: Floats) -> Floats:
    """(z − mean) / sd; 0 where z is constant up to rounding."""
    centred, sd = z - z.mean(), z.std()
    return centred / sd if sd > 1e-6 * np.abs(z).max() else 0 * z


def _blocks(x: NDArray[Any]) -> list[Floats]:
    return [part.astype(np.float64) for part in np.array_split(x, -(-len(x) // _BLOCK))]


def _along_component(x: NDArray[Any]) -> Floats:
    """Projection (n,) of the rows on their first principal component."""
    mean, d = x.mean(axis=0, dtype=np.float64), x.shape[1]
    covariance = np.zeros((d, d))
    for part in _blocks(x):
        covariance += (part - mean).T @ (part - mean)
    direction = scipy.linalg.eigh(covariance, subset_by_index=[d - 1, d - 1])[1][:, 0]
    direction *= np.sign(direction[np.argmax(np.abs(direction))])
    return np.concatenate([(part - mean) @ direction for part in _blocks(x)])


def _along_norm(x: NDArray[Any]) -> Floats:
    """Length (n,) of the centred rows."""
    mean = x.mean(axis=0, dtype=np.float64)
    return np.concatenate([np.linalg.norm(part - mean, axis=1) for part in _blocks(x)])

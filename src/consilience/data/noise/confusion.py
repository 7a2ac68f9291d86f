"""Labels replaced by classes that depend on the right one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from consilience.data.noise.base import (
    Corrupts,
    NoiseKeys,
    NoiseProcess,
    refuse_labels,
    register_process,
    sample_keys,
)
from consilience.data.noise.labels import one_minus_correlation
from consilience.data.source import CLASSIFICATION, Task
from consilience.errors import ConsilienceError, require

if TYPE_CHECKING:
    from jax import Array

__all__ = ["LabelConfusion"]

Floats = NDArray[np.float64]
_ROUNDED = 1e-6  # how far a row may be from adding up to one: numbers of a file are written with few digits


class _Shape(NamedTuple):
    """What of a confusion matrix its SNR depends on; see `LabelConfusion`."""

    q: float
    delta: float

    def probability(self, rest: Any, root: Any = np.sqrt, positive: Any = np.maximum) -> Any:
        """p at 1 − ρ² = `rest`: the smaller root of the quadratic equation, in the form that does not cancel."""
        return rest / (self.q + root((1 - rest) * positive(self.q**2 - self.delta * rest, 0.0)))

    def lowest(self) -> float:
        """ρ² at the largest p there is."""
        return 0.0 if self.q >= 1 else (1 - self.q) ** 2 / (1 - self.delta)


@register_process
@dataclass(frozen=True)
class LabelConfusion(NoiseProcess):
    """With probability p a label is replaced by one drawn from the row of a confusion matrix that the right class has.

    So T = (1 − p) I + p M is the matrix from true to given labels. `matrix` gives M, rows true, columns given, each row
    adding up to one; `pattern` names one: "next", class c becomes c + 1, the last the first; "pairs", classes 0
    and 1, 2 and 3, … are exchanged, and the last of an odd number keeps its label.

    **SNR.** Of C balanced classes, V = 1 − 1/C is the variance of a one-hot label (summed over its components). The
    slope of given on true labels is a = (tr T − 1)/(C − 1) = 1 − p q, and given labels, of frequencies
    π = Tᵀ1/C, have variance V′ = 1 − |π|² = V (1 − p² δ), where ::

        q = (C − tr M)/(C − 1),    δ = (|Mᵀ1/C|² − 1/C) / V

    so that kept signal over the rest is, with ρ the correlation of given and true labels, ::

        SNR = a² V / (V′ − a² V) = ρ²/(1 − ρ²),    ρ² = (1 − p q)² / (1 − p² δ)
        p = (1 − ρ²) / (q + ρ √(q² − δ (1 − ρ²)))

    With M uniform, q = 1 and δ = 0: this is `label-flip`. ρ falls with p as long as p q ≤ 1: with dⱼ = 1 − Mⱼⱼ and inⱼ
    the sum of column j off the diagonal, C² V δ = Σ(inⱼ − dⱼ)². Here inⱼ − dⱼ lies between −1 and C − 1 and what is
    positive adds up to what is negative, at most to D = Σdⱼ, so the sum is at most C D, δ ≤ q, and
    d log ρ²/dp = 2(pδ − q)/((1 − pq)(1 − p²δ)) ≤ 0. The smallest SNR is 0 where q ≥ 1, which means tr M ≤ 1, and that
    of p = 1 otherwise. Errors that depend on the right class count as noise, although all members make them on average.

    Samples replaced at a high SNR are among those replaced at a lower one.

    >>> round(LabelConfusion(pattern="next").probability(1 / 3, n_classes=5), 12)
    0.4
    """

    name: ClassVar[str] = "label-confusion"
    title: ClassVar[str] = "Labels replaced by classes that depend on the right one"
    definition: ClassVar[str] = (
        "r² / (1 - r²), r the correlation of given and true one-hot labels of balanced classes: label-flip's where "
        "confusion is uniform"
    )
    corrupts: ClassVar[Corrupts] = "labels"
    tasks: ClassVar[frozenset[Task]] = CLASSIFICATION

    pattern: Literal["next", "pairs"] = "next"
    matrix: tuple[tuple[float, ...], ...] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pattern not in ("next", "pairs"):
            raise ConsilienceError(f"pattern = {self.pattern!r}: must be 'next' or 'pairs'")
        if self.matrix is not None:
            object.__setattr__(self, "matrix", tuple(tuple(map(float, row)) for row in self.matrix))
            _check(self.matrix)

    def confusion(self, n_classes: int) -> Floats:
        """Return M (true, given).

        Raises
        ------
        ConsilienceError
            When `matrix` is of another number of classes.
        """
        if self.matrix is not None:
            found = np.array(self.matrix)
            if len(found) != n_classes:
                raise ConsilienceError(
                    f"matrix of {len(found)} × {len(found)}: these data have {n_classes} classes; give a row and a "
                    "column for each"
                )
            return found / found.sum(axis=1, keepdims=True)
        classes = np.arange(n_classes)
        given = (classes + 1) % n_classes if self.pattern == "next" else classes ^ 1
        return np.eye(n_classes)[np.where(given < n_classes, given, classes)]

    def level(self, snr: float) -> float:
        """1 − ρ, ρ = √(SNR / (1 + SNR)): the probability p of the uniform confusion that has this SNR.

        Raises
        ------
        ConsilienceError
            When labels confused as `matrix` says are never as noisy as that.
        """
        if self.matrix is not None:
            lowest = _shape(self.confusion(len(self.matrix))).lowest()
            if snr < lowest / (1 - lowest):
                raise ConsilienceError(
                    f"snr = {snr}: labels confused by this matrix, all of them, have SNR {lowest / (1 - lowest):.3g}; "
                    "ask for no less, or keep fewer on the diagonal"
                )
        return one_minus_correlation(snr)

    def probability(self, snr: float, *, n_classes: int) -> float:
        """Return p, the probability that a label is replaced by a draw from its class's row."""
        less = self.level(snr)
        return float(_shape(self.confusion(n_classes)).probability(less * (2 - less)))

    def fitted(
        self, x: NDArray[Any], y: NDArray[Any], *, n_classes: int, image_shape: tuple[int, ...] | None
    ) -> tuple[NDArray[Any], ...]:
        """Nothing; refuses a matrix of another number of classes."""
        del x, y, image_shape
        self.confusion(n_classes)
        return ()

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
        jnp = jax.numpy
        confusion = self.confusion(n_classes)
        p = _shape(confusion).probability(level * (2 - level), jnp.sqrt, jnp.maximum)
        ends = jnp.asarray(_ends(confusion), jnp.float32)

        def draw(key: Array) -> Array:
            return jax.random.uniform(key, (2,))

        whether, which = jax.vmap(draw)(sample_keys(keys, ids, self.correlation)).T
        replacement = jnp.sum(which[:, None] >= ends[y], axis=1).astype(y.dtype)
        return x, jnp.where(whether < p, replacement, y)


def _check(matrix: tuple[tuple[float, ...], ...]) -> None:
    """Refuse what is no matrix of probabilities, or confuses nothing."""
    size = len(matrix)
    if size < 2 or any(len(row) != size for row in matrix):
        raise ConsilienceError(
            f"matrix with rows of {[len(row) for row in matrix]}: must be square, a row for each class"
        )
    for number, row in enumerate(matrix):
        if not (min(row) >= 0 and math.isfinite(sum(row)) and abs(sum(row) - 1) <= _ROUNDED):
            raise ConsilienceError(
                f"matrix: row {number} is {list(row)}; give probabilities of the given label that add up to 1"
            )
    if all(row[i] == 1 for i, row in enumerate(matrix)):
        raise ConsilienceError("matrix: every class keeps its label; give one that confuses some, or noise of SNR inf")


def _shape(confusion: Floats) -> _Shape:
    classes = len(confusion)
    frequencies = confusion.mean(axis=0)
    variance = 1 - 1 / classes
    # |π|² − 1/C, without the cancellation.
    delta = float(np.sum((frequencies - 1 / classes) ** 2)) / variance
    return _Shape((classes - float(np.trace(confusion))) / (classes - 1), delta)


def _ends(confusion: Floats) -> Floats:
    """Cumulative probabilities (true, given); infinite from the last class a row can give on, so that rounding of the
    sum gives no other."""
    ends = np.cumsum(confusion, axis=1)
    last = confusion.shape[1] - 1 - np.argmax(confusion[:, ::-1] > 0, axis=1)
    return np.where(np.arange(confusion.shape[1]) >= last[:, None], np.inf, ends)

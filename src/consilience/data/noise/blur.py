"""Images blurred by widths that differ from sample to sample and from member to member."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from consilience.data.noise.base import (
    Corrupts,
    NoiseKeys,
    NoiseProcess,
    amplitude,
    register_process,
    sample_keys,
)
from consilience.data.source import CLASSIFICATION, REGRESSION, Task
from consilience.errors import ConsilienceError, require

if TYPE_CHECKING:
    from jax import Array

__all__ = ["InputBlur"]

Floats = NDArray[np.float64]
_BLOCK = 8192  # rows made float64 at once
# Mean widths tabulated, widths averaged over at each: SNR is within 0.02 % below 100, 1 % below 10⁵.
_WIDTHS, _NODES = 300, 48
_NARROWEST = 0.05  # pixels: weights of neighbours are below e⁻⁵⁰
_LEAST = 1e-5  # level: SNR 10¹⁰
_SHARP = 0.03  # pixels: narrower is no blur at all, exactly


@register_process
@dataclass(frozen=True)
class InputBlur(NoiseProcess):
    """Images blurred by a Gaussian whose widths along rows and along columns are random.

    Every sample of every member has two widths of its own, drawn uniformly from 0 to 2w pixels. Weights of the
    pixels are exp(−distance²/2 width²), divided by their sum over the pixels there are: a constant image remains
    what it is. The pixels are the standardised ones networks see.

    w is chosen so that over the training pool, and over the widths, ::

        SNR = a² E|x|² / (E|x′|² − a² E|x|²),    a = E⟨x′, x⟩ / E|x|²

    where x′ is the blurred image: variance that is kept over the rest. Both moments follow from the second moments
    of the pixels and are computed, not sampled. A blur keeps what is smooth: each set of images has an SNR below which
    none can bring it, and it is an error to ask for less. Part of what a blur does is the same for all members: the
    mean over widths. The members' difference is the other part.

    With `correlation` the members that use a sample's shared draw blur it alike. A sample's widths depend on (seed,
    member, sample) alone to the last bit; the blurred pixels do up to float32 rounding of their sums.

    >>> InputBlur().level(4)
    0.5
    """

    name: ClassVar[str] = "input-blur"
    title: ClassVar[str] = "Images blurred by random widths"
    definition: ClassVar[str] = (
        "r² / (1 - r²), r the correlation of blurred and clean pixels over the training pool and the random widths"
    )
    corrupts: ClassVar[Corrupts] = "inputs"
    tasks: ClassVar[frozenset[Task]] = CLASSIFICATION | REGRESSION

    def level(self, snr: float) -> float:
        """1/√SNR, from which `apply` finds the width by the table of `fitted`."""
        return amplitude(snr)

    def fitted(
        self, x: NDArray[Any], y: NDArray[Any], *, n_classes: int, image_shape: tuple[int, ...] | None
    ) -> tuple[NDArray[Any], ...]:
        """Return a table: 1/√SNR, increasing from 0, and the mean width w in pixels that has it.

        Raises
        ------
        ConsilienceError
            When the inputs are not images.
        """
        del y, n_classes
        if image_shape is None:
            raise ConsilienceError(
                f"noise process {self.name!r} blurs images, and these inputs are none (principal components are not); "
                "choose another process or data"
            )
        widths = np.geomspace(_NARROWEST, 2 * max(image_shape[:2]), _WIDTHS)
        levels = 1 / np.sqrt(_snr(x, image_shape, widths))
        # Below, rounding; and where a wider blur is no stronger (images made of stripes) the table ends.
        start = int(np.argmax(levels > _LEAST))
        if levels[start] <= _LEAST:
            raise ConsilienceError(f"noise process {self.name!r}: blurring changes nothing in these images")
        falls = np.append(np.diff(levels[start:]) <= 0, True)
        known = slice(start, start + int(np.argmax(falls)) + 1)
        table = np.append(0.0, levels[known]), np.append(0.0, widths[known])
        return table[0].astype(np.float32), table[1].astype(np.float32)

    def largest_level(self, state: tuple[NDArray[Any], ...]) -> float:
        """1/√SNR of the widest blur."""
        return float(state[0][-1])

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
        """Blur `x`."""
        del n_classes
        assert image_shape is not None  # `fitted` saw to it
        jax = require("jax", extra="study", purpose="drawing noise")
        width = jax.numpy.interp(level, *state)
        each = sample_keys(keys, ids, self.correlation)
        along = 2 * width * jax.vmap(lambda key: jax.random.uniform(key, (2,)))(each)  # (n, 2)
        rows, columns = image_shape[:2]
        down, across = (_smoothing(along[:, i], size=size, xp=jax.numpy) for i, size in enumerate((rows, columns)))
        images = x.reshape(len(x), rows, -1)  # channels beside each other, as rows are blurred alike
        # Sums that run along rows of memory: on a CPU faster than many small matrix products.
        images = jax.numpy.sum(down[:, :, :, None] * images[:, None, :, :], axis=2)
        # Each channel's row as one of its own.
        lines = images.reshape(len(x), rows, columns, -1).swapaxes(2, 3).reshape(len(x), -1, columns)
        lines = jax.numpy.sum(lines[:, :, :, None] * across.swapaxes(1, 2)[:, None, :, :], axis=2)
        return lines.reshape(len(x), rows, -1, columns).swapaxes(2, 3).reshape(x.shape), y


def _smoothing(width: Any, *, size: int, xp: Any) -> Any:
    """Return the matrix (size, size) that blurs by a Gaussian of this width; (…, size, size) for widths (…)."""
    distance = (np.arange(size)[:, None] - np.arange(size)) ** 2
    rate = 0.5 / xp.maximum(width, _SHARP) ** 2
    weights = xp.exp(-rate[..., None, None] * distance.astype(np.float32))
    return weights / weights.sum(axis=-1, keepdims=True)


def _snr(x: NDArray[Any], image_shape: tuple[int, ...], widths: Floats) -> Floats:
    """SNR of the blur at each mean width.

    With A and B the matrices that blur along columns and rows, independent of each other, and S the second moments of
    pixels, E⟨x′, x⟩ = ⟨E A ⊗ E B, S⟩ and E|x′|² = ⟨E AᵀA ⊗ E BᵀB, S⟩.
    """
    rows, columns = image_shape[:2]
    d = rows * columns
    moments = np.zeros((d, d))  # within channels only: pixels of different channels are never mixed
    for part in np.array_split(x, -(-len(x) // _BLOCK)):
        block = part.astype(np.float64).reshape(len(part), d, -1).swapaxes(1, 2).reshape(-1, d)
        moments += block.T @ block / len(x)
    variance = np.trace(moments)
    # (row, column, row, column) to (row pair, column pair)
    paired = moments.reshape(rows, columns, rows, columns).transpose(0, 2, 1, 3).reshape(rows**2, columns**2)
    down = _averages(rows, widths)
    across = down if rows == columns else _averages(columns, widths)
    kept, power = (np.sum((a @ paired) * b, axis=1) for a, b in zip(down, across, strict=True))  # (widths,)
    # kept² / (power · variance) is 1 − small: its complement from differences that do not cancel as badly.
    rest = (power * variance - kept**2) / variance
    return (kept**2 / variance) / np.maximum(rest, 1e-15 * variance)


def _averages(size: int, widths: Floats) -> tuple[Floats, Floats]:
    """Mean of the blur and of its product with itself, (widths, size²) each, over widths from 0 to twice the mean."""
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    blur, square = np.empty((len(widths), size**2)), np.empty((len(widths), size**2))
    for i, width in enumerate(widths):
        each = _smoothing(width * (1 + nodes), size=size, xp=np)  # (nodes, size, size)
        blur[i] = np.tensordot(weights / 2, each, 1).ravel()
        weighted = (np.sqrt(weights / 2)[:, None, None] * each).reshape(-1, size)
        square[i] = (weighted.T @ weighted).ravel()
    return blur, square

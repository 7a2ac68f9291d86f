"""From checked arguments to the moments of two members on a grid of noise levels and sample sizes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from consilience.errors import ConsilienceError
from consilience.theory._equivalents import Equivalents, Pair, equivalents, pair
from consilience.theory._spectrum import Floats, Spectrum, covariance, level, levels, whole_numbers

__all__ = ["Grid", "grid", "noise_levels"]


_LARGEST_RIDGE = 1e30  # fourth powers of λ/(λ+κ) must not underflow


class Grid(NamedTuple):
    """Moments on S noise levels and N sample sizes, and the shape the caller gets back."""

    members: Pair
    moments: Equivalents
    misfit: Floats  # (k, k)
    shape: tuple[int, ...]

    def fill(self, values: Floats) -> Floats:
        """Values (S, N), or (N,) for every noise level, in the caller's shape."""
        return np.broadcast_to(values, self.members.scale.shape).reshape(self.shape).copy()

    def mean_variance(self, matrices: Floats) -> Floats:
        """Mean over outputs of the diagonal of (..., k, k)."""
        return np.einsum("...ii->...", matrices) / matrices.shape[-1]


def grid(
    teacher: Spectrum,
    n_train: ArrayLike,
    noise: Floats,
    *,
    ridge: float = 0.0,
    misfit: ArrayLike = 0.0,
    noise_correlation: float = 0.0,
    shared_inputs: bool = True,
) -> Grid:
    """Check the remaining arguments and compute; `noise` is a checked scalar or (S,)."""
    sizes = whole_numbers("n_train", n_train)
    shared = covariance("misfit", misfit, teacher.outputs)
    if not 0 <= noise_correlation <= 1:
        raise ConsilienceError(f"noise_correlation is {noise_correlation!r}: give a number from 0 to 1")
    variance = np.trace(teacher.signal()) + np.trace(shared)
    if variance == 0 and (noise == 0).any():
        raise ConsilienceError("beta and misfit are zero and there is no noise: targets without variance teach nothing")
    penalty, largest = level("ridge", ridge), float(teacher.values.max())
    if penalty > _LARGEST_RIDGE * largest:
        raise ConsilienceError(
            f"ridge is {penalty:g} and the largest eigenvalue {largest:g}: weights are zero to rounding; give at most "
            f"{_LARGEST_RIDGE:g} times the largest eigenvalue"
        )
    moments = equivalents(teacher, np.atleast_1d(sizes), penalty)
    members = pair(moments, np.atleast_1d(noise), shared, correlation=noise_correlation, shared_inputs=shared_inputs)
    return Grid(members, moments, shared, noise.shape + sizes.shape)


def noise_levels(teacher: Spectrum, noise: ArrayLike | None, snr: ArrayLike | None) -> Floats:
    """Noise variance per output, as given or from SNR = mean over outputs of Var(linear part) / σ²."""
    if (noise is None) == (snr is None):
        raise ConsilienceError(
            f"{'neither' if noise is None else 'both'} of noise and snr given: give the noise variance of each output, "
            "noise=, or the ratio of signal to noise variance, snr="
        )
    if noise is not None:
        return levels("noise", noise)
    ratios = levels("snr", 1.0 if snr is None else snr, above_zero=True, infinite=True)
    variance = float(np.trace(teacher.signal())) / teacher.outputs
    if variance == 0:
        raise ConsilienceError("beta is zero, so snr= sets no noise level: give noise= instead")
    return variance / ratios

"""What the inverse questions are asked about: arguments of `alignment`, or a prediction and what its rows showed."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from consilience.errors import ConsilienceError
from consilience.theory._grid import grid, noise_levels
from consilience.theory._spectrum import Floats, levels, spectrum
from consilience.theory.linear import alignment
from consilience.theory.predict import Prediction

__all__ = ["Problem", "expit", "linear_in_noise", "logit", "noise_variances", "problem", "rho", "variance"]


class Problem(NamedTuple):
    """A checked question."""

    eigenvalues: Floats
    beta: Floats
    ridge: float
    misfit: Floats | float
    noise_correlation: float
    shared_inputs: bool
    total: float | None  # variance SNR refers to; the linear part's where None
    shift: Callable[[Floats], Floats] | None  # of the log odds of alignment, by n


def problem(
    source: ArrayLike | Prediction,
    beta: ArrayLike | None,
    ridge: float,
    misfit: ArrayLike,
    noise_correlation: float,
    shared_inputs: bool,
) -> Problem:
    """The question that the arguments of `required_n` or `required_snr` ask."""
    if isinstance(source, Prediction):
        given = beta is not None or ridge != 0 or np.any(misfit) or noise_correlation != 0 or not shared_inputs
        if given:
            raise ConsilienceError(
                "a prediction brings its own beta, ridge, misfit and sharing of inputs: leave these arguments out"
            )
        found = source.estimate
        return Problem(
            found.eigenvalues, found.beta, source.ridge, found.misfit, 0.0, source.shared_inputs, found.variance,
            _shift(source),
        )  # fmt: skip
    if beta is None:
        raise ConsilienceError("beta is missing: give eigenvalues and beta, or a prediction of theory.predict")
    return Problem(
        np.asarray(source, np.float64), np.asarray(beta, np.float64), ridge, np.asarray(misfit, np.float64),
        noise_correlation, shared_inputs, None, None,
    )  # fmt: skip


def _shift(prediction: Prediction) -> Callable[[Floats], Floats]:
    """What the rows add to the log odds of Gaussian formulas, by n: odds are C/(σ²v), so alike at every SNR."""
    n = np.atleast_1d(prediction.n_train)
    shape = (-1, len(n))
    rows, gaussian = prediction.alignment.reshape(shape), prediction.gaussian.alignment.reshape(shape)
    noisy = np.isfinite(np.atleast_1d(prediction.snr))
    inside = np.all((rows > 0) & (rows < 1) & (gaussian > 0) & (gaussian < 1) | ~noisy[:, None], axis=0)
    if not noisy.any() or not inside.any():
        return lambda sizes: np.zeros_like(sizes)
    shift = np.mean(logit(rows[noisy][:, inside]) - logit(gaussian[noisy][:, inside]), axis=0)
    order = np.argsort(n[inside])
    where, values = np.log(n[inside][order]), shift[order]
    return lambda sizes: np.interp(np.log(sizes), where, values)


def logit(rho: Floats) -> Floats:
    """Log odds of an alignment."""
    inner = np.clip(rho, 1e-15, 1 - 1e-15)
    return np.log(inner / (1 - inner))


def expit(odds: Floats) -> Floats:
    """The alignment with these log odds."""
    return 1 / (1 + np.exp(-odds))


def variance(asked: Problem) -> float:
    """Variance that SNR refers to."""
    if asked.total is not None:
        return asked.total
    teacher = spectrum(asked.eigenvalues, asked.beta)
    return float(np.trace(teacher.signal())) / teacher.outputs


def noise_variances(asked: Problem, noise: ArrayLike | None, snr: ArrayLike | None) -> Floats:
    """Noise variance per output, as given or from SNR."""
    if asked.total is None or snr is None or noise is not None:
        return noise_levels(spectrum(asked.eigenvalues, asked.beta), noise, snr)
    return asked.total / levels("snr", snr, above_zero=True, infinite=True)


def rho(asked: Problem, sizes: Floats, noise: Floats) -> Floats:
    """Alignment (S, M), corrected by what rows showed."""
    found = alignment(
        asked.eigenvalues,
        asked.beta,
        sizes,
        noise=noise,
        ridge=asked.ridge,
        misfit=asked.misfit,
        noise_correlation=asked.noise_correlation,
        shared_inputs=asked.shared_inputs,
    ).alignment
    if asked.shift is None:
        return found
    inside = (found > 0) & (found < 1)
    return np.where(inside, expit(logit(found) + asked.shift(sizes)), found)


def linear_in_noise(asked: Problem, sizes: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """C₀, Q₀, and what one unit of noise adds to each, up to a common factor that closes with the threshold."""
    teacher = spectrum(asked.eigenvalues, asked.beta)
    members = grid(
        teacher,
        sizes,
        np.array([1.0, 2.0]) * max(variance(asked), np.finfo(float).tiny),
        ridge=asked.ridge,
        misfit=asked.misfit,
        noise_correlation=asked.noise_correlation,
        shared_inputs=asked.shared_inputs,
    ).members
    cross, own = (np.einsum("snii->sn", overlap) for overlap in (members.cross, members.own))
    unit = max(variance(asked), np.finfo(float).tiny)
    return 2 * cross[0] - cross[1], 2 * own[0] - own[1], (cross[1] - cross[0]) / unit, (own[1] - own[0]) / unit

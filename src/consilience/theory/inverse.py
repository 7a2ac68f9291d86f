"""The sample size, or the noise reduction, that a given alignment takes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from consilience.errors import ConsilienceError
from consilience.theory._problem import (
    Problem,
    expit,
    linear_in_noise,
    logit,
    noise_variances,
    problem,
    rho,
    variance,
)
from consilience.theory._spectrum import Floats, whole_numbers
from consilience.theory.predict import Prediction

__all__ = ["RequiredN", "RequiredSNR", "required_n", "required_snr"]

_EVERY, _STEPS = 300, 600  # every sample size up to the first, then so many in equal ratios
_CERTAIN = 1e-12  # alignment is known to a few times this


class RequiredN(NamedTuple):
    """Answers of `required_n`, each (S,), or scalars for one noise level.

    - `exists`: whether some n up to `n_max` keeps alignment at the target from there on
    - `n`: the smallest such n; infinite where none exists
    - `first`: smallest n with the target reached at all; infinite where none is. Below `n` it opens a window
    - `until`: the last n of that window; equal to `n_max` where `first` equals `n`, 0 where there is none
    - `reason`: a sentence for each
    """

    exists: NDArray[np.bool_]
    n: Floats
    first: Floats
    until: Floats
    reason: tuple[str, ...]


class RequiredSNR(NamedTuple):
    """Answers of `required_snr`, each (N,), or scalars for one n_train.

    - `exists`: whether some SNR, infinity included, gives the target
    - `snr`: the lowest; 0 where any does, infinite where only targets without noise do, NaN where none does
    - `limit`: alignment without noise: the most there can be
    - `reason`: a sentence for each
    """

    exists: NDArray[np.bool_]
    snr: Floats
    limit: Floats
    reason: tuple[str, ...]


def required_n(
    target_alignment: float,
    source: ArrayLike | Prediction,
    beta: ArrayLike | None = None,
    *,
    noise: ArrayLike | None = None,
    snr: ArrayLike | None = None,
    ridge: float = 0.0,
    misfit: ArrayLike = 0.0,
    noise_correlation: float = 0.0,
    shared_inputs: bool = True,
    n_max: int = 1_000_000,
) -> RequiredN:
    """Smallest n_train from which alignment stays at or above a target.

    Alignment ρ(n) of `alignment` falls to a minimum near the interpolation threshold and rises after it: a target
    may be met in a window of small n, lost, and met again. The answer is the end of the last stretch below the
    target, found on every n up to 300 and 600 more in equal ratios, then by bisection.

    Parameters
    ----------
    target_alignment : float
        Correlation of two members' outputs, above 0 and up to 1.
    source : (d,) or Prediction
        Eigenvalues of the input covariance; or what `predict` returned: covariance, map, misfit, ridge and sharing
        of inputs are taken from there, and the log odds of alignment are corrected, between its sizes linearly in
        log n and beyond them as at the last, by what its rows showed against Gaussian formulas.
    beta : (d,) or (k, d)
        Best linear map in the eigenbasis; left out with a prediction.
    noise, snr : scalar or (S,)
        One of them, as in `alignment`. With a prediction `snr` is relative to the variance of its targets.
    ridge, misfit, noise_correlation, shared_inputs
        As in `alignment`; left out with a prediction.
    n_max : int
        Largest n considered.

    Raises
    ------
    ConsilienceError
        On values out of range, naming the argument.

    Notes
    -----
    As accurate as `alignment`; where ρ(n) is flat a small error of ρ is a large one of n.

    Examples
    --------
    Isotropic, d = 100, SNR 1: ρ = 1/(1 + 100/|n − 100|), so .45 is met up to n = 18 and again from 182 on.

    >>> import numpy as np
    >>> found = required_n(0.45, np.ones(100), np.full(100, 0.1), snr=1.0)
    >>> int(found.n), int(found.first), int(found.until)
    (182, 1, 18)
    """
    _check_target(target_alignment)
    largest = int(whole_numbers("n_max", n_max))
    asked = problem(source, beta, ridge, misfit, noise_correlation, shared_inputs)
    variances = noise_variances(asked, noise, snr)
    sizes = _candidates(asked, largest)
    found = rho(asked, sizes, np.atleast_1d(variances))  # (S, M)
    answers = [
        _answer(asked, target_alignment, float(level), sizes, row)
        for level, row in zip(np.atleast_1d(variances), found, strict=True)
    ]
    numbers = np.array([answer[:4] for answer in answers], dtype=np.float64).T
    exists, n, first, until = (column.reshape(variances.shape) for column in numbers)
    return RequiredN(exists > 0, n, first, until, tuple(answer[4] for answer in answers))


def required_snr(
    target_alignment: float,
    n_train: ArrayLike,
    source: ArrayLike | Prediction,
    beta: ArrayLike | None = None,
    *,
    ridge: float = 0.0,
    misfit: ArrayLike = 0.0,
    noise_correlation: float = 0.0,
    shared_inputs: bool = True,
) -> RequiredSNR:
    """Lowest SNR at which networks trained on n_train samples reach an alignment.

    Both overlaps of `alignment` are linear in the noise variance, C = C₀ + rσ²v and Q = Q₀ + σ²v, so that ::

        σ² = (C₀ − tQ₀) / ((t − r) v)

    is the most noise that leaves alignment t; with shared inputs C₀ = Q₀ and there is always such a level, with
    inputs of their own none where C₀/Q₀ < t.

    Parameters
    ----------
    target_alignment : float
        Correlation t of two members' outputs, above 0 and up to 1.
    n_train : scalar or (N,)
        Training-set sizes.
    source, beta, ridge, misfit, noise_correlation, shared_inputs
        As in `required_n`. SNR is relative to the linear part of the targets, with a prediction to their variance.

    Raises
    ------
    ConsilienceError
        On values out of range, naming the argument.

    Examples
    --------
    Isotropic, d = 100: ρ = SNR/(SNR + d/|n − d|), here with d/|n − d| of 1/2 and infinity.

    >>> import numpy as np
    >>> found = required_snr(0.5, [300, 100], np.ones(100), np.full(100, 0.1))
    >>> found.snr.round(6)
    array([0.5, inf])
    >>> found.reason[1]
    'alignment 0.5 at n_train = 100 takes targets without noise'
    """
    _check_target(target_alignment)
    sizes = whole_numbers("n_train", n_train)
    asked = problem(source, beta, ridge, misfit, noise_correlation, shared_inputs)
    at, total = np.atleast_1d(sizes), variance(asked)
    if total == 0:
        raise ConsilienceError("beta is zero: SNR is relative to the linear part of the targets, and there is none")
    cross, own, gain_cross, gain = linear_in_noise(asked, at)
    limit = np.where(own > 0, cross / np.where(own > 0, own, 1.0), 1.0)
    goal = np.full(at.shape, target_alignment)
    if asked.shift is not None:
        goal = expit(logit(goal) - asked.shift(at))
        limit = expit(logit(limit) + asked.shift(at))
    room, need = cross - goal * own, goal * gain - gain_cross
    always = (need <= 0) & (room >= 0)
    never = room < -_CERTAIN * (own + gain * total)
    with np.errstate(divide="ignore"):
        noise = np.where(always, np.inf, np.maximum(room, 0.0) / np.where(need > 0, need, 1.0))
        ratio = np.where(never, np.nan, np.where(noise > 0, total / np.where(noise > 0, noise, 1.0), np.inf))
    ratio = np.where(always, 0.0, ratio)
    reason = tuple(
        _snr_reason(target_alignment, int(n), float(r), float(most))
        for n, r, most in zip(at, ratio, limit, strict=True)
    )
    shape = sizes.shape
    return RequiredSNR((~never).reshape(shape), ratio.reshape(shape), limit.reshape(shape), reason)


def _snr_reason(target: float, n: int, snr: float, limit: float) -> str:
    what = f"alignment {target:g} at n_train = {n}"
    if np.isnan(snr):
        return f"{what} is out of reach: without any noise it is {limit:.3g}"
    if snr == 0:
        return f"{what} is reached whatever the noise"
    return f"{what} takes targets without noise" if np.isinf(snr) else f"{what} takes an SNR of {snr:.3g}"


def _check_target(target: float) -> None:
    if not (np.ndim(target) == 0 and 0 < target <= 1):
        raise ConsilienceError(f"target_alignment is {target!r}: give one number above 0 and up to 1")


def _candidates(asked: Problem, largest: int) -> Floats:
    """Sample sizes to look at: dense where alignment is not smooth, the rank and its neighbours included."""
    rank = int(np.count_nonzero(asked.eigenvalues))
    near = rank + np.arange(-20, 21)
    sizes = np.concatenate([np.arange(1, _EVERY + 1), np.geomspace(1, largest, _STEPS).round(), near, [largest]])
    return np.unique(sizes[(sizes >= 1) & (sizes <= largest)]).astype(np.float64)


def _answer(
    asked: Problem, target: float, noise: float, sizes: Floats, values: Floats
) -> tuple[bool, float, float, float, str]:
    """`RequiredN`'s fields at one noise level."""
    enough = values >= target - _CERTAIN
    largest = int(sizes[-1])
    what = f"alignment {target:g}"
    if not enough.any():
        return (
            False,
            np.inf,
            np.inf,
            0.0,
            f"{what} is not reached up to n_train = {largest}: at most {values.max():.3g}",
        )
    start = int(np.argmax(enough))
    first = _edge(asked, target, noise, sizes, start)
    if enough[start:].all():
        text = f"{what} is reached from n_train = {first} on" if first > 1 else f"{what} is reached at every n_train"
        return True, first, first, float(largest), text
    end = start + int(np.argmin(enough[start:]))  # first size below the target again
    until = _edge(asked, target, noise, sizes, end) - 1
    window = f"{what} is reached from n_train = {first} to {until}"
    if not enough[-1]:
        return False, np.inf, first, until, f"{window} but not kept: at n_train = {largest} it is {values[-1]:.3g}"
    last = len(sizes) - int(np.argmin(enough[::-1]))  # behind the last size below
    n = _edge(asked, target, noise, sizes, last)
    return True, n, first, until, f"{window}, lost around the interpolation threshold, and kept from {n} on"


def _edge(asked: Problem, target: float, noise: float, sizes: Floats, index: int) -> int:
    """The first n on the side of the target that sizes[index] is on, sizes[index − 1] being on the other."""
    if index == 0:
        return int(sizes[0])
    low, high = int(sizes[index - 1]), int(sizes[index])

    def enough(n: int) -> bool:
        return bool(rho(asked, np.array([float(n)]), np.array([noise]))[0, 0] >= target - _CERTAIN)

    side = enough(high)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) == side else (middle, high)
    return high

"""Cells against each other: along SNR, against test error, and against theory."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations as subsets
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from consilience.facts.curves import (
    ROUNDING,
    Selection,
    alignment_estimate,
    is_distance,
    pair_scores,
    per_member,
    predicted_scores,
)
from consilience.stats import Estimate, member_mean, pair_mean

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["Opposition", "SnrSteps", "TheoryGap", "error_opposition", "snr_steps", "theory_gap"]

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class SnrSteps:
    """Steps to the next SNR at equal n_train; *clear*: the interval of the difference excludes zero."""

    n: int
    up: int
    down: int
    clear_up: int
    clear_down: int
    has_se: bool
    """Whether every step has a standard error, so that the clear counts mean something."""


@dataclass(frozen=True)
class Opposition:
    """Pairs of cells at equal SNR: does the better aligned one have the larger test error?"""

    n: int
    opposed: int
    clear: int
    """Opposed pairs in which the intervals of both differences exclude zero."""
    has_se: bool
    example: tuple[float, int, int] | None
    """(SNR, n_train better aligned, n_train worse aligned) of the opposed pair with the largest product of
    the two differences."""


@dataclass(frozen=True)
class TheoryGap:
    """Distance between theory and measurement over the cells where both speak."""

    n: int
    mean: float
    """Mean absolute difference."""
    largest: float
    snr: float
    n_train: int
    """Where the difference is largest."""
    covered: int
    """Cells whose prediction lies inside the measured interval."""
    n_intervals: int
    """Cells that have an interval."""


def snr_steps(ds: xr.Dataset, selection: Selection, *, level: float = 0.95) -> SnrSteps:
    """How alignment changes with each step to the next higher SNR, n_train fixed."""
    order = np.argsort(ds["snr"].values)
    sign = -1.0 if is_distance(ds, selection.measure) else 1.0
    scores = sign * pair_scores(ds, selection)[order]  # (snr, n_train, pair)
    change = pair_mean(
        _beyond_rounding(np.diff(scores, axis=0)), ds["member_a"].values, ds["member_b"].values, level=level
    )
    measured = np.isfinite(change.mean)
    return SnrSteps(
        n=int(measured.sum()),
        up=int((change.mean > 0).sum()),
        down=int((change.mean < 0).sum()),
        clear_up=int((change.low > 0).sum()),
        clear_down=int((change.high < 0).sum()),
        has_se=bool(measured.any() and np.isfinite(change.se[measured]).all()),
    )


def error_opposition(ds: xr.Dataset, selection: Selection, *, level: float = 0.95) -> Opposition:
    """Among all pairs of n_train at equal SNR, those where more alignment goes with more test error."""
    sign = -1.0 if is_distance(ds, selection.measure) else 1.0
    left, right = np.array(list(subsets(range(ds.sizes["n_train"]), 2)), dtype=int).reshape(-1, 2).T
    scores = sign * pair_scores(ds, selection)
    errors = per_member(ds, "test_error", selection.at).astype(np.float64)
    aligned = pair_mean(
        _beyond_rounding(scores[:, left] - scores[:, right]),
        ds["member_a"].values,
        ds["member_b"].values,
        level=level,
    )  # (snr, cell pairs)
    worse = member_mean(_beyond_rounding(errors[:, left] - errors[:, right]), level=level)
    known = np.isfinite(aligned.mean) & np.isfinite(worse.mean)
    product = np.where(known, aligned.mean * worse.mean, -np.inf)
    opposed = product > 0
    example = None
    if opposed.any():
        row, column = (int(i) for i in np.unravel_index(np.argmax(product), product.shape))
        cells = (left[column], right[column]) if aligned.mean[row, column] > 0 else (right[column], left[column])
        better, poorer = (int(ds["n_train"].values[cell]) for cell in cells)
        example = (float(ds["snr"].values[row]), better, poorer)
    return Opposition(
        n=int(known.sum()),
        opposed=int(opposed.sum()),
        clear=int((opposed & _excludes_zero(aligned) & _excludes_zero(worse)).sum()),
        has_se=bool(known.any() and np.isfinite(aligned.se[known]).all() and np.isfinite(worse.se[known]).all()),
        example=example,
    )


def theory_gap(ds: xr.Dataset, selection: Selection, *, level: float = 0.95) -> TheoryGap | None:
    """Difference between predicted and measured score; None where theory does not speak."""
    measured = alignment_estimate(ds, selection, level=level)
    predicted = predicted_scores(ds, selection)
    gap = np.abs(measured.mean - predicted)
    both = np.isfinite(gap)
    if not both.any():
        return None
    row, column = (int(i) for i in np.unravel_index(np.argmax(np.where(both, gap, -1)), gap.shape))
    return TheoryGap(
        n=int(both.sum()),
        mean=float(gap[both].mean()),
        largest=float(gap[row, column]),
        snr=float(ds["snr"].values[row]),
        n_train=int(ds["n_train"].values[column]),
        covered=int((both & (measured.low <= predicted) & (predicted <= measured.high)).sum()),
        n_intervals=int((both & np.isfinite(measured.se)).sum()),
    )


def _beyond_rounding(differences: NDArray[np.float64]) -> NDArray[np.float64]:
    """Set to zero what may be rounding: of differences without spread any size would count as clear."""
    return np.where(np.abs(differences) < ROUNDING, 0.0, differences)


def _excludes_zero(estimate: Estimate) -> Bools:
    return (estimate.low > 0) | (estimate.high < 0)

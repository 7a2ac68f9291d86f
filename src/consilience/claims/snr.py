"""C1: alignment grows monotonically with SNR."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from consilience.claims.reading import Curves, read, untested
from consilience.claims.registry import claim
from consilience.claims.verdict import LEVEL, Outcome, Quantity, Verdict, interval_text, p_text
from consilience.facts.curves import ROUNDING, number_text
from consilience.stats import Trend, ordered_trend

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["grows_with_snr"]

_CLEAR = 0.04
"""Two-sided p below which alignment grows or falls: .05 is wrong in up to 5.9 % of simulated runs with few members."""


@claim("C1", "Alignment grows monotonically with SNR", each_combination=True)
def grows_with_snr(dataset: xr.Dataset) -> Verdict:
    """Test an ordered alternative along SNR at fixed n_train, combined over n_train.

    Supported: the trend (`consilience.stats.ordered_trend`) is up, two-sided p < .04, and no single step to the
    next SNR, at any n_train, falls clearly. Contradicted: the trend is down, or some step falls clearly after
    Holm's correction for all steps; for there being two ways, at half the level each. Effect: weighted mean of the high
    SNRs less that of the low ones, averaged over n_train.
    """
    curves = read(dataset)
    measured = curves.measured
    if not (measured.sum(0) >= 2).any():
        return untested(curves, "needs at least two SNR at the same n_train")
    trend = ordered_trend(curves.alignment, resolution=ROUNDING)
    low, high = (float(end) for end in trend.rise.interval(LEVEL))
    effect = Quantity("rise from low to high SNR", float(trend.rise.value), low, high)
    cells = curves.cells(measured & (measured.sum(0) >= 2))
    if not np.isfinite(trend.p):
        reason = "needs at least three members"
        return Verdict("inconclusive", f"{_levels(curves, effect)}. Not tested: {reason}.", effect, reason=reason)
    outcome, p = _judge(trend)
    return Verdict(
        outcome, f"{_levels(curves, effect)} ({p_text(trend.p)}); {_steps(curves, trend)}.", effect, p, cells
    )


def judge(curves: Curves) -> tuple[Outcome, float]:
    """The outcome and its p alone, of a run that can be tested."""
    return _judge(ordered_trend(curves.alignment, resolution=ROUNDING))


def _judge(trend: Trend) -> tuple[Outcome, float]:
    """The outcome and its p; one-sided p of falls are doubled, to be two-sided like the trend's."""
    falls = float(np.nanmin(trend.p_fall))
    down = min(1.0, 2 * min(2 * falls, trend.p if trend.rise.value < 0 else 1.0))
    if down < _CLEAR:
        return "contradicted", down
    return ("supported" if trend.p < _CLEAR and trend.rise.value > 0 else "inconclusive"), trend.p


def _levels(curves: Curves, effect: Quantity) -> str:
    if effect.value < 0:
        difference = interval_text(-effect.value, -effect.high, -effect.low)
        return f"Averaged over n_train, {curves.noun} falls from low to high SNR by {difference}"
    difference = interval_text(effect.value, effect.low, effect.high)
    return f"Averaged over n_train, {curves.noun} rises from low to high SNR by {difference}"


def _steps(curves: Curves, trend: Trend) -> str:
    clear = 4 * trend.p_fall < _CLEAR
    total = int(np.isfinite(trend.p_fall).sum())
    if not clear.any():
        return f"none of {total} steps to the next SNR falls clearly"
    row, column = np.unravel_index(np.nanargmin(trend.p_fall), trend.p_fall.shape)
    before, after = (number_text(float(curves.snr[i])) for i in (row, row + 1))
    fall = -float(trend.steps.value[row, column])
    return (
        f"{int(clear.sum())} of {total} steps to the next SNR clearly {'fall' if clear.sum() > 1 else 'falls'}, most "
        f"clearly from SNR {before} to {after} at n_train = {curves.n_train[column]}, by {fall:.3f}"
    )

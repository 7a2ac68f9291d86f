"""C5: in a linear network alignment can be computed; theory against measurement."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from consilience.claims.reading import Curves, read, untested
from consilience.claims.registry import claim
from consilience.claims.verdict import LEVEL, Outcome, Quantity, Verdict, interval_text, p_text
from consilience.facts.curves import ROUNDING, number_text
from consilience.facts.language import counted
from consilience.stats import Effect, jackknife

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["ACCURACY", "theory_predicts"]

Floats = NDArray[np.float64]

ACCURACY = 0.05
"""Root mean square difference, in units of the score, up to which theory counts as predicting alignment."""


@claim("C5", "Theory predicts the alignment of linear networks", each_combination=True)
def theory_predicts(dataset: xr.Dataset) -> Verdict:
    """Test that theory and measurement are equivalent on average over cells.

    Supported: the root mean square difference lies clearly below .05, and theory leaves clearly less unexplained than
    a constant would. Contradicted: it lies clearly above .05, after the sampling variance of the measurement is taken
    off. One-sided p of both are doubled, for there being two ways, and compared with .05. Effect: that difference,
    sampling variance included, so that few members make it hard to support theory as well as to contradict it. The
    interval is over members that share one draw of inputs, about which theory speaks on average only.
    """
    curves = read(dataset)
    both = curves.measured & np.isfinite(curves.predicted)
    if not both.any():
        return untested(curves, "theory does not speak about this layer and measure here")
    if not curves.has_se:
        return untested(curves, "needs at least three members")
    found = _found(curves, both)
    effect = _quantity("root mean square difference", found.gap)
    effect = replace(effect, low=max(effect.low, 0.0))
    share = _quantity("share of the variance between cells explained", found.explained)
    sentence = _sentence(curves, both, effect, share, found.p)
    return Verdict(found.outcome, sentence, effect, found.p, curves.cells(both), (share,))


def judge(curves: Curves) -> tuple[Outcome, float]:
    """The outcome and its p alone, of a run that can be tested."""
    found = _found(curves, curves.measured & np.isfinite(curves.predicted))
    return found.outcome, found.p


class _Found(NamedTuple):
    gap: Effect
    explained: Effect
    outcome: Outcome
    p: float


def _found(curves: Curves, both: NDArray[np.bool_]) -> _Found:
    gap, explained = _over_members(curves, both, _root), _over_members(curves, both, _explained)
    far, close = float(_unbiased(curves, both, gap).p_above(ACCURACY)), float(gap.p_below(ACCURACY))
    supports, contradicts = (min(1.0, 2 * p) for p in (max(close, float(explained.p_above())), far))
    if supports < 1 - LEVEL:
        return _Found(gap, explained, "supported", supports)
    if contradicts < 1 - LEVEL:
        return _Found(gap, explained, "contradicted", contradicts)
    return _Found(gap, explained, "inconclusive", supports)


def _over_members(curves: Curves, both: NDArray[np.bool_], function: Callable[[Floats, Floats], float]) -> Effect:
    """A function of measured and predicted scores with its standard error."""
    predicted, measured = curves.predicted[both], curves.alignment.mean[both]
    value = function(measured, predicted)
    without = [[function(measured + one[both], predicted) for one in factor] for factor in curves.alignment.changes]
    found = jackknife(value, *without, units=np.min(curves.alignment.units[both]), resolution=ROUNDING)
    return found._replace(value=np.asarray(value))


def _unbiased(curves: Curves, both: NDArray[np.bool_], root: Effect) -> Effect:
    """The root with what sampling alone adds to the mean square taken off, which a jackknife knows exactly.

    It is then as often too small as too large, so that it serves to contradict; used to support, it would do so too
    often (at one-sided level .05 in 15 % of simulated runs with 8 members whose difference is just .05).
    """
    value = _mean_square(curves.alignment.mean[both], curves.predicted[both])
    without = [
        [_mean_square(curves.alignment.mean[both] + one[both], curves.predicted[both]) for one in factor]
        for factor in curves.alignment.changes
    ]
    square = jackknife(value, *without, units=np.min(curves.alignment.units[both]))
    return root._replace(value=np.sqrt(np.maximum(square.value, 0.0)))


def _mean_square(measured: Floats, predicted: Floats) -> float:
    return float(((measured - predicted) ** 2).mean())


def _root(measured: Floats, predicted: Floats) -> float:
    return float(np.sqrt(_mean_square(measured, predicted)))


def _explained(measured: Floats, predicted: Floats) -> float:
    """1 - (what theory leaves) / (what a constant leaves); 0 where nothing varies."""
    spread = float(((measured - measured.mean()) ** 2).sum())
    return 1 - float(((measured - predicted) ** 2).sum()) / spread if spread > 0 else 0.0


def _quantity(name: str, found: Effect) -> Quantity:
    low, high = found.interval(LEVEL)
    return Quantity(name, float(found.value), float(low), float(high))


def _sentence(curves: Curves, both: NDArray[np.bool_], effect: Quantity, share: Quantity, p: float) -> str:
    gap = np.where(both, np.abs(curves.alignment.mean - curves.predicted), -1.0)
    row, column = np.unravel_index(np.argmax(gap), gap.shape)
    return (
        f"Over {counted(int(both.sum()), 'cell')} theory differs from measurement by a root mean square of "
        f"{interval_text(effect.value, effect.low, effect.high)} ({p_text(p)}), by {gap[row, column]:.3f} at "
        f"most (SNR {number_text(float(curves.snr[row]))}, n_train = {curves.n_train[column]}); it explains "
        f"{share.value:.1%} of the variance between cells."
    )

"""C2: alignment is non-monotonic in the size of the training set, lowest near the interpolation threshold."""

from __future__ import annotations

import json
import tomllib
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from consilience.claims.reading import Curves, read, untested
from consilience.claims.registry import claim
from consilience.claims.verdict import LEVEL, Outcome, Quantity, Verdict, interval_text, p_text
from consilience.facts.curves import ROUNDING, number_text
from consilience.facts.language import joined
from consilience.stats import Bracket, Dip, adjust, fall_then_rise, lowest_candidates, median_bracket

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["dips_at_the_threshold", "member_threshold", "parameters_per_output"]


NEAR = 4.0
"""Two n_train are near each other within this factor: two doublings, one or two steps of the built-in grids."""

Place = Literal["near", "far", "unknown"]


class _Curve(NamedTuple):
    """One SNR: its dip, where the bottom may be, and where members stop fitting."""

    row: int
    columns: NDArray[np.int64]  # those measured
    inside: NDArray[np.float64]  # n_train where a dip could be: all but the ends
    dip: Dip
    bottom: Bracket
    threshold: Bracket | None

    @property
    def place(self) -> Place:
        """Whether every n_train that may be the lowest is near the threshold, or none is."""
        if self.threshold is None:
            return "unknown"
        low, high = self.threshold.low / NEAR, self.threshold.high * NEAR
        if ((low <= self.inside) & (self.inside <= high)).all():
            return "unknown"  # wherever a dip could be seen on this grid, it would count as near
        if low <= self.bottom.low and self.bottom.high <= high:
            return "near"
        return "far" if self.bottom.high < low or high < self.bottom.low else "unknown"


@claim("C2", "Alignment dips along n_train, lowest near the interpolation threshold", each_combination=True)
def dips_at_the_threshold(dataset: xr.Dataset) -> Verdict:
    """Test for a fall followed by a rise at every SNR, and compare the place of its bottom with the threshold.

    Supported: at some SNR there is a dip (`consilience.stats.fall_then_rise`; Holm over SNR, p < .05) whose bottom is
    near the interpolation threshold, and at no SNR is there one that is far from it. Contradicted: at every SNR a dip
    deeper than a tenth of the change from end to end is excluded; or some dip is far from the threshold and none near.
    Near: every n_train that may be the lowest lies within a factor of four of the threshold's interval, which must not
    cover all n_train between the ends, as any dip would be near then; far: none does.
    Effect: depth of the clearest dip, corrected for having picked it.

    The bottom's interval holds every n_train that may be the lowest (`consilience.stats.lowest_candidates`); the
    threshold's is that of the median over members of the largest n_train each fits, up to the next on the grid
    (`consilience.stats.median_bracket`). Both are corrected for the number of SNR.
    """
    curves = read(dataset)
    rows = np.flatnonzero(curves.measured.sum(1) >= 3)
    if len(rows) == 0:
        return untested(curves, "needs at least three n_train at the same SNR")
    if not curves.has_se:
        return untested(curves, "needs at least three members")
    found = [_curve(curves, int(row), 1 - (1 - LEVEL) / len(rows)) for row in rows]
    outcome, p_verdict, dips = _judge(found)
    clearest = min(found, key=lambda one: (np.nan_to_num(one.dip.p, nan=1.0), -one.dip.depth))
    effect = Quantity("depth of the clearest dip", clearest.dip.depth, clearest.dip.low, clearest.dip.high)
    further = _places(curves, dips or [clearest])
    per_output = parameters_per_output(dataset)
    sentence = _depth(curves, dips, outcome, clearest, effect, p_verdict) + _where(curves, dips, per_output)
    cells = tuple(
        (float(curves.snr[one.row]), int(curves.n_train[one.columns[i]]))
        for one in dips or [clearest]
        for i in (one.dip.left, one.dip.bottom, one.dip.right)
    )
    if per_output is not None:
        further = (*further, Quantity("parameters per output", per_output))
    return Verdict(outcome, sentence, effect, p_verdict, cells, further)


def _curve(curves: Curves, row: int, level: float) -> _Curve:
    """Everything about one SNR; `level` is corrected for the number of SNR."""
    columns = np.flatnonzero(curves.measured[row])
    curve = curves.alignment.at(row, columns)
    n_train = curves.n_train[columns].astype(np.float64)
    candidates = n_train[lowest_candidates(curve, level=level, resolution=ROUNDING)]
    return _Curve(
        row=row,
        columns=columns,
        inside=n_train[1:-1],
        dip=fall_then_rise(curve, level=level, resolution=ROUNDING),
        bottom=Bracket(float(n_train[np.argmin(curve.mean)]), float(candidates[0]), float(candidates[-1]), level),
        threshold=member_threshold(curves, row, level),
    )


def member_threshold(curves: Curves, row: int, level: float = LEVEL) -> Bracket | None:
    """Interval of the largest n_train the typical member fits, at one SNR; None without a finished training."""
    last: list[float] = []
    first: list[float] = []
    for trained, fitted in zip(curves.trained[row].T, curves.fitted[row].T, strict=True):
        sizes = curves.n_train[trained]
        if len(sizes) == 0:
            continue
        fits = np.flatnonzero(fitted[trained])
        beyond = int(fits[-1]) + 1 if len(fits) else 0
        last.append(float(sizes[beyond - 1]) if beyond else 0.0)
        first.append(float(sizes[beyond]) if beyond < len(sizes) else float("inf"))
    return median_bracket(last, first, level=level) if last else None


def parameters_per_output(dataset: xr.Dataset) -> float | None:
    """Where the threshold would be by counting: trainable numbers ÷ outputs; of a linear map, its inputs.

    Each sample gives a regression one equation per output, and a network has as many unknowns as parameters. Layers
    of a linear network multiply to one map, whose unknowns are its entries. For classification it is a rule of
    thumb. None when parameters differ between cells, or the data do not say how many outputs there are.
    """
    data = json.loads(dataset.attrs["data"])
    counts = np.unique(dataset["n_parameters"].values)
    outputs = data.get("n_outputs")
    if len(counts) != 1 or not outputs:
        return None
    network = tomllib.loads(dataset.attrs["study"]).get("network", {})
    per_output = float(counts[0]) / float(outputs)
    return min(per_output, float(data["n_features"])) if network.get("kind") == "linear" else per_output


def judge(curves: Curves) -> tuple[Outcome, float]:
    """The outcome and its p alone, of a run that can be tested."""
    rows = np.flatnonzero(curves.measured.sum(1) >= 3)
    return _judge([_curve(curves, int(row), 1 - (1 - LEVEL) / len(rows)) for row in rows])[:2]


def _judge(found: list[_Curve]) -> tuple[Outcome, float, list[_Curve]]:
    """The outcome, its p, and the curves that clearly dip."""
    adjusted = adjust([one.dip.p for one in found])
    dips = [one for one, p in zip(found, adjusted, strict=True) if p < 1 - LEVEL]
    p = float(np.nanmin(adjusted)) if np.isfinite(adjusted).any() else float("nan")
    if not dips:
        # Every SNR must exclude a dip, so that no correction for their number is needed.
        flat = float(max(np.nan_to_num(one.dip.p_shallow, nan=1.0) for one in found))
        return ("contradicted", flat, dips) if flat < 1 - LEVEL else ("inconclusive", p, dips)
    places = {one.place for one in dips}
    if "near" in places and "far" in places:
        return "inconclusive", p, dips
    outcome: Outcome = "supported" if "near" in places else "contradicted" if "far" in places else "inconclusive"
    return outcome, p, dips


def _places(curves: Curves, shown: list[_Curve]) -> tuple[Quantity, ...]:
    """Where the bottom and the threshold are, at every SNR that is spoken of."""
    found: list[Quantity] = []
    for one in shown:
        at = f"at SNR {number_text(float(curves.snr[one.row]))}"
        for name, place in (("n_train of lowest alignment", one.bottom), ("interpolation threshold", one.threshold)):
            if place is not None:
                found.append(Quantity(f"{name} {at}", place.value, place.low, place.high))
    return tuple(found)


def _depth(curves: Curves, dips: list[_Curve], outcome: Outcome, clearest: _Curve, effect: Quantity, p: float) -> str:
    if not dips and outcome == "contradicted":
        return f"At no SNR is there a dip deeper than a tenth of the change from end to end ({p_text(p)})."
    snr = number_text(float(curves.snr[clearest.row]))
    left, bottom, right = (
        curves.n_train[clearest.columns[i]] for i in (clearest.dip.left, clearest.dip.bottom, clearest.dip.right)
    )
    depth = interval_text(effect.value, effect.low, effect.high)
    if dips:
        listed = joined([number_text(float(curves.snr[one.row])) for one in dips])
        return (
            f"Along n_train {curves.noun} clearly falls and rises again at SNR {listed}, most clearly at SNR {snr}, "
            f"n_train = {bottom}, by {depth} below both n_train = {left} and {right} ({p_text(p)})."
        )
    return (
        f"No dip along n_train is clear. The clearest is {depth} deep ({p_text(p)}): at SNR {snr}, n_train = {bottom} "
        f"against n_train = {left} and {right}."
    )


_PLACES = {"near": "near", "far": "far", "unknown": "whether that is near this grid cannot tell"}


def _where(curves: Curves, dips: list[_Curve], per_output: float | None) -> str:
    if not dips:
        return ""
    listed = [_place_text(curves, one) for one in dips]
    counted_at = f". Parameters ÷ outputs: {number_text(round(per_output))}" if per_output is not None else ""
    return f" It is lowest somewhere in n_train = {'; '.join(listed)}{counted_at}."


def _place_text(curves: Curves, one: _Curve) -> str:
    """``800 to 6000 at SNR 1 (near: fitting stops in 800 to 1500)``."""
    threshold = "" if one.threshold is None else f": fitting stops in {_range(one.threshold)}"
    return f"{_range(one.bottom)} at SNR {number_text(float(curves.snr[one.row]))} ({_PLACES[one.place]}{threshold})"


def _range(place: Bracket) -> str:
    low, high = number_text(place.low), number_text(place.high)
    if np.isinf(place.high):
        return f"more than {low}"
    if place.low == place.high:
        return low
    return f"{low} to {high}" if place.low > 0 else f"up to {high}"

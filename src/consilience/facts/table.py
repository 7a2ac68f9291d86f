"""The one table that sums a run up: a row for every SNR and every combination of the further axes."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from consilience.facts.curves import (
    Selection,
    alignment_estimate,
    combinations,
    extra_axes,
    headline,
    number_text,
    per_member,
)
from consilience.facts.lowest import Lowest, lowest_alignment
from consilience.facts.threshold import Threshold, interpolation_threshold
from consilience.facts.words import with_error

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["Table", "summary_table"]

_COLUMNS = (
    "lowest at",
    "there",
    "smallest n",
    "largest n",
    "dip",
    "fitted up to",
    "least test error",
    "diverged",
)


class Table(NamedTuple):
    """A table of text, ready for a terminal or a page."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]


def summary_table(ds: xr.Dataset, *, layer: str | None = None, measure: str | None = None) -> Table:
    """Where alignment is lowest, how deep, up to where members fit, and test error.

    Columns: SNR, the further axes, then n_train of lowest alignment, the score there and at both ends
    (mean ± standard error over members), whether the dip is clear, the bracket of the interpolation
    threshold, the least mean test error with its n_train, and the number of members that diverged.

    Parameters
    ----------
    ds
        A run.
    layer, measure
        What to show; by default what `headline` gives.
    """
    default_layer, default_measure = headline(ds)
    layer, measure = layer or default_layer, measure or default_measure
    lows = {(number_text(low.snr), *low.at.items()): low for low in lowest_alignment(ds, layer=layer, measure=measure)}
    thresholds = {(number_text(t.snr), *t.at.items()): t for t in interpolation_threshold(ds)}
    rows: list[tuple[str, ...]] = []
    for at in combinations(ds):
        selection = Selection(layer, measure, at)
        estimate = alignment_estimate(ds, selection)
        for row, snr in enumerate(ds["snr"].values.tolist()):
            key = (number_text(snr), *at.items())
            scores = {
                int(n): with_error(float(mean), float(se))
                for n, mean, se in zip(ds["n_train"].values, estimate.mean[row], estimate.se[row], strict=True)
            }
            axes = (number_text(value) for value in at.values())
            low = lows.get(key)
            where = (str(low.n_train), *(scores[n] for n in (low.n_train, low.first, low.last))) if low else ("–",) * 4
            diverged = int((per_member(ds, "diverged_at", at)[row] >= 0).sum())
            rows.append(
                (
                    number_text(snr),
                    *axes,
                    *where,
                    _dip_text(low),
                    _threshold_text(thresholds.get(key)),
                    _least_error(ds, at, row),
                    str(diverged),
                )
            )
    return Table(f"alignment at {layer} by {measure}", ("SNR", *extra_axes(ds), *_COLUMNS), rows)


def _dip_text(low: Lowest | None) -> str:
    if low is None:
        return "–"
    if not low.interior:
        return "no"
    return {True: "clear", False: "not clear", None: "no SE"}[low.clear]


def _threshold_text(threshold: Threshold | None) -> str:
    if threshold is None:
        return "–"
    if threshold.last_fitted is None:
        return f"< {threshold.first_unfitted}"
    return f"{threshold.last_fitted}" if threshold.first_unfitted else f"≥ {threshold.last_fitted}"


def _least_error(ds: xr.Dataset, at: dict[str, float | str], row: int) -> str:
    errors = per_member(ds, "test_error", at)[row].astype(np.float64)  # (n_train, member)
    known = np.flatnonzero(np.isfinite(errors).any(-1))
    if len(known) == 0:
        return "–"
    means = np.nanmean(errors[known], axis=-1)
    best = int(np.argmin(means))
    return f"{means[best]:.3f} (n = {ds['n_train'].values[known[best]]})"

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
from consilience.facts.lowest import Lowest, lowest_of
from consilience.facts.threshold import Threshold, thresholds_at

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["Table", "summary_table"]

# Short, so that a run with four SNRs fits into a terminal of 80 columns.
_COLUMNS = ("lowest n", "score", "at min n", "at max n", "dip", "fits to", "diverged")


class Table(NamedTuple):
    """A table of text, ready for a terminal or a page."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]


def summary_table(ds: xr.Dataset, *, layer: str | None = None, measure: str | None = None) -> Table:
    """Where alignment is lowest, how low, and up to where members fit.

    Columns: SNR, the further axes, then ``lowest n``, the n_train of lowest alignment, with its ``score``;
    the scores at the smallest (``at min n``) and largest n_train (``at max n``), all as mean ± standard error
    over members; whether the ``dip`` is clear; ``fits to``, the largest n_train that at least half of the
    members fit; how many members ``diverged``.

    Parameters
    ----------
    ds
        A run.
    layer, measure
        What to show; by default what `headline` gives.
    """
    default_layer, default_measure = headline(ds)
    layer, measure = layer or default_layer, measure or default_measure
    rows = [row for at in combinations(ds) for row in _rows(ds, Selection(layer, measure, at))]
    return Table(f"alignment at {layer} by {measure}", ("SNR", *extra_axes(ds), *_COLUMNS), rows)


def _rows(ds: xr.Dataset, selection: Selection) -> list[tuple[str, ...]]:
    """A row for every SNR at one value of the further axes."""
    lows = {low.snr: low for low in lowest_of(ds, selection)}
    thresholds = {t.snr: t for t in thresholds_at(ds, selection.at)}
    estimate = alignment_estimate(ds, selection)
    axes = [number_text(value) for value in selection.at.values()]
    diverged = (per_member(ds, "diverged_at", selection.at) >= 0).sum((1, 2))  # (snr,)
    rows: list[tuple[str, ...]] = []
    for row, snr in enumerate(ds["snr"].values.tolist()):
        scores = {
            int(n): _score_text(float(mean), float(se))
            for n, mean, se in zip(ds["n_train"].values, estimate.mean[row], estimate.se[row], strict=True)
        }
        low = lows.get(snr)
        where = (str(low.n_train), *(scores[n] for n in (low.n_train, low.first, low.last))) if low else ("–",) * 4
        dip, fits = _dip_text(low), _threshold_text(thresholds.get(snr))
        rows.append((number_text(snr), *axes, *where, dip, fits, str(diverged[row])))
    return rows


def _score_text(value: float, se: float) -> str:
    """``0.34±.01``: two decimals, and no zero before the point of an error below one.

    >>> _score_text(0.3412, 0.0123), _score_text(-12.3, 1.204), _score_text(0.3412, float("nan"))
    ('0.34±.01', '-12.30±1.20', '0.34')
    """
    return f"{value:.2f}±{f'{se:.2f}'.removeprefix('0')}" if np.isfinite(se) else f"{value:.2f}"


def _dip_text(low: Lowest | None) -> str:
    if low is None:
        return "–"
    if not low.interior:
        return "no"
    return {True: "clear", False: "unclear", None: "no SE"}[low.clear]


def _threshold_text(threshold: Threshold | None) -> str:
    if threshold is None:
        return "–"
    if threshold.last_fitted is None:
        return f"<{threshold.first_unfitted}"
    return f"{threshold.last_fitted}" if threshold.first_unfitted else f"≥{threshold.last_fitted}"

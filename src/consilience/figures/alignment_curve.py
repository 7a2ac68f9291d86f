"""Alignment against the number of training samples, a line for every SNR."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from consilience.facts import Selection, alignment_estimate, is_distance, number_text, selections
from consilience.facts.curves import pair_scores, predicted_scores
from consilience.figures._style import (
    THEORY,
    axes_or_new,
    chosen,
    log_n_axis,
    score_label,
    snr_colours,
    snr_legend,
    threshold_strip,
)
from consilience.figures.errors import threshold_data

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["alignment_curve_data", "grid_columns", "plot_alignment_curve"]

SPREAD = (0.1, 0.9)
"""Quantiles of the pairs of members that the band shows."""


def alignment_curve_data(ds: xr.Dataset, selection: Selection | None = None) -> pd.DataFrame:
    """A row for every cell that has a score or a prediction.

    Columns: the further axes, layer, measure, kind, snr, snr_text, n_train; `mean` over pairs with `se`,
    `low`, `high` (95 % interval over members); `pairs_low`, `pairs_high` (10th and 90th percentile of
    the pairs: spread, not uncertainty); `predicted`; `n_members`, `n_pairs`.

    Parameters
    ----------
    ds
        A run.
    selection
        Layer, measure and axis values; by default every selection that was measured.
    """
    wanted = selections(ds) if selection is None else [selection]
    frames = [_one(ds, item) for item in wanted]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def _one(ds: xr.Dataset, selection: Selection) -> pd.DataFrame:
    estimate = alignment_estimate(ds, selection)
    scores = pair_scores(ds, selection)
    low, high = _spread(scores)
    columns = {
        **dict(selection.at),
        "layer": selection.layer,
        "measure": selection.measure,
        "kind": "distance" if is_distance(ds, selection.measure) else "similarity",
        **grid_columns(ds),
        "mean": estimate.mean.ravel(),
        "se": estimate.se.ravel(),
        "low": estimate.low.ravel(),
        "high": estimate.high.ravel(),
        "pairs_low": low.ravel(),
        "pairs_high": high.ravel(),
        "predicted": predicted_scores(ds, selection).ravel(),
        "n_members": estimate.n_members.ravel(),
        "n_pairs": estimate.n_scores.ravel(),
    }
    frame = pd.DataFrame(columns)
    return frame[frame["mean"].notna() | frame["predicted"].notna()].reset_index(drop=True)


def grid_columns(ds: xr.Dataset) -> dict[str, Any]:
    """SNR (number and text) and n_train of every cell, in the order of a raveled (snr, n_train) array."""
    snr, n_train = np.meshgrid(ds["snr"].values, ds["n_train"].values, indexing="ij")
    return {
        "snr": snr.ravel(),
        "snr_text": [number_text(value) for value in snr.ravel().tolist()],
        "n_train": n_train.ravel(),
    }


def _spread(scores: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(snr, n_train) quantiles over pairs, NaN where there is none."""
    quantiles = np.full((2, *scores.shape[:-1]), np.nan)
    finite = np.isfinite(scores)
    whole, part = finite.all(-1), finite.any(-1) & ~finite.all(-1)
    # nanquantile goes cell by cell, so it is kept for the few cells that lost a member.
    quantiles[:, whole] = np.quantile(scores[whole], SPREAD, axis=-1)
    if part.any():
        quantiles[:, part] = np.nanquantile(scores[part], SPREAD, axis=-1)
    return quantiles[0], quantiles[1]


def plot_alignment_curve(ds: xr.Dataset, selection: Selection | None = None, *, ax: Any = None) -> Any:
    """Draw `alignment_curve_data`: means as lines with 95 % intervals over members, pairs as bands, theory dotted.

    A bar above the axes spans, for every SNR, the interval of n_train that holds the interpolation
    threshold.

    Parameters
    ----------
    ds
        A run.
    selection
        By default the headline layer and measure, at the first value of every further axis.
    ax
        Matplotlib axes to draw in; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    MissingDependencyError
        Without Matplotlib.
    """
    selection = chosen(ds, selection)
    data, colours = alignment_curve_data(ds, selection), snr_colours(ds["snr"].values.tolist())
    ax = axes_or_new(ax)
    for snr, colour in colours.items():
        line = data[data["snr"] == snr]
        ax.fill_between(line["n_train"], line["pairs_low"], line["pairs_high"], color=colour, alpha=0.16, lw=0)
        ax.plot(line["n_train"], line["mean"], color=colour, lw=1.5, marker="o", ms=3, mew=0)
        ax.vlines(line["n_train"], line["low"], line["high"], color=colour, lw=0.8)
        theory = line.dropna(subset=["predicted"])
        ax.plot(theory["n_train"], theory["predicted"], color=colour, **THEORY)
    log_n_axis(ax)
    ax.set_ylabel(score_label(ds, selection))
    threshold_strip(ax, threshold_data(ds, selection.at), colours)
    dotted = [("theory", {"color": "0.4", **THEORY})]
    snr_legend(ax, colours, dotted if data["predicted"].notna().any() else [])
    return ax

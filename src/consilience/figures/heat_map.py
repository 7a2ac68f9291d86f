"""Alignment over the grid of SNR and number of training samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from consilience.facts import Selection, is_distance, number_text
from consilience.figures._style import axes_or_new, chosen, score_label
from consilience.figures.alignment_curve import alignment_curve_data
from consilience.figures.errors import threshold_data

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["heat_map_data", "plot_heat_map"]


def heat_map_data(ds: xr.Dataset, selection: Selection | None = None) -> pd.DataFrame:
    """The measured cells of `alignment_curve_data`, without its columns on spread and theory."""
    data = alignment_curve_data(ds, selection)
    unwanted = ["pairs_low", "pairs_high", "predicted"]
    return data.dropna(subset=["mean"]).drop(columns=unwanted) if len(data) else data


def plot_heat_map(ds: xr.Dataset, selection: Selection | None = None, *, ax: Any = None) -> Any:
    """Draw `heat_map_data`: brighter is more aligned, blank is not measured.

    A white line in every row marks the interpolation threshold: it separates the largest n_train that at
    least half of the members fit from the next.

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
    """
    selection = chosen(ds, selection)
    snr, n_train = np.sort(ds["snr"].values).tolist(), np.sort(ds["n_train"].values).tolist()
    data = heat_map_data(ds, selection)
    table = data.pivot(index="snr", columns="n_train", values="mean").reindex(index=snr, columns=n_train)
    ax = axes_or_new(ax, (4.6, 0.9 + 0.42 * len(snr)))
    cmap = "viridis_r" if is_distance(ds, selection.measure) else "viridis"
    image = ax.imshow(table.to_numpy(), aspect="auto", origin="lower", cmap=cmap, interpolation="nearest")
    ax.set_xticks(range(len(n_train)), [str(n) for n in n_train], rotation=45, ha="right", rotation_mode="anchor")
    ax.set_yticks(range(len(snr)), [number_text(value) for value in snr])
    ax.spines[["left", "bottom"]].set_visible(False)
    ax.tick_params(length=0)
    ax.set_xlabel("training samples, n_train")
    ax.set_ylabel("SNR")
    for row in threshold_data(ds, selection.at).dropna(subset=["last_fitted"]).itertuples():
        edge, height = n_train.index(row.last_fitted) + 0.5, snr.index(row.snr)
        ax.plot([edge] * 2, [height - 0.5, height + 0.5], color="white", lw=1.6, solid_capstyle="butt")
    bar = ax.figure.colorbar(image, ax=ax, pad=0.02)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8, width=0.7, length=3)
    bar.set_label(score_label(ds, selection), size=8)
    return ax

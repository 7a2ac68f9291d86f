"""Theory against measurement, cell by cell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from consilience.facts import Selection, selections
from consilience.figures._style import GREY, axes_or_new, chosen, snr_colours, snr_legend
from consilience.figures.alignment_curve import alignment_curve_data

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["plot_theory", "theory_data"]


def theory_data(ds: xr.Dataset, selection: Selection | None = None) -> pd.DataFrame:
    """The cells of `alignment_curve_data` in which both theory and measurement speak; empty if none."""
    data = alignment_curve_data(ds, selection)
    return data.dropna(subset=["mean", "predicted"]).reset_index(drop=True) if len(data) else data


def plot_theory(ds: xr.Dataset, selection: Selection | None = None, *, ax: Any = None) -> Any:
    """Draw `theory_data`: measured mean with its 95 % interval against prediction.

    On the diagonal both agree.

    Parameters
    ----------
    ds
        A run.
    selection
        By default the first about which theory speaks.
    ax
        Matplotlib axes to draw in; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
    """
    selection = selection or _first_with_theory(ds)
    data, colours = theory_data(ds, selection), snr_colours(ds["snr"].values.tolist())
    ax = axes_or_new(ax, (4.2, 3.2))
    if len(data) == 0:
        ax.annotate(
            "no theory for this selection",
            (0.5, 0.5),
            xycoords="axes fraction",
            ha="center",
            fontsize=8,
            color=GREY,
        )
        return ax
    ends = [float(data[["mean", "predicted"]].min().min()), float(data[["mean", "predicted"]].max().max())]
    ax.plot(ends, ends, color=GREY, lw=0.8, zorder=0)
    for snr, colour in colours.items():
        cells = data[data["snr"] == snr]
        margin = [cells["mean"] - cells["low"], cells["high"] - cells["mean"]]
        ax.errorbar(
            cells["predicted"],
            cells["mean"],
            yerr=margin,
            fmt="o",
            ms=3.5,
            mew=0,
            color=colour,
            elinewidth=0.8,
        )
    ax.set_xlabel(f"predicted {selection.measure}")
    ax.set_ylabel(f"measured {selection.measure}")
    snr_legend(ax, colours)
    return ax


def _first_with_theory(ds: xr.Dataset) -> Selection:
    spoken = (item for item in selections(ds) if len(theory_data(ds, item)))
    return next(spoken, chosen(ds, None))

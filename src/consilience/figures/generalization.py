"""Alignment against test error: does stronger alignment go with better generalization?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from consilience.facts import Selection, extra_axes
from consilience.figures._style import axes_or_new, chosen, score_label, snr_colours, snr_legend
from consilience.figures.alignment_curve import alignment_curve_data
from consilience.figures.errors import drawn_error, error_axis, error_label, errors_data

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["generalization_data", "plot_generalization"]


def generalization_data(ds: xr.Dataset, selection: Selection | None = None) -> pd.DataFrame:
    """A row for every cell that has both a score and a test error.

    Columns: the further axes, layer, measure, kind, snr, snr_text, n_train; `mean`, `se` of the score over
    pairs of members; `test_error`, `test_error_se` over members.

    Parameters
    ----------
    ds
        A run.
    selection
        Layer, measure and axis values; by default every selection that was measured.
    """
    aligned = alignment_curve_data(ds, selection)
    if len(aligned) == 0:
        return aligned
    errors = errors_data(ds, None if selection is None else selection.at)
    errors = errors[errors["set"] == "test"].rename(columns={"mean": "test_error", "se": "test_error_se"})
    keys = [*extra_axes(ds), "snr", "snr_text", "n_train"]
    joined = aligned.merge(errors[[*keys, "test_error", "test_error_se"]], on=keys, how="inner")
    shown = [*extra_axes(ds), "layer", "measure", "kind", "snr", "snr_text", "n_train", "mean", "se"]
    complete = joined.dropna(subset=["mean", "test_error"])
    return complete[[*shown, "test_error", "test_error_se"]].reset_index(drop=True)


def plot_generalization(ds: xr.Dataset, selection: Selection | None = None, *, ax: Any = None) -> Any:
    """Draw `generalization_data`: a path for every SNR, whose dots grow with n_train.

    Bars are ± one standard error over members. In regression the axis of test error is logarithmic, and
    errors below 0.001 are drawn at 0.001.

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
    data, colours = generalization_data(ds, selection), snr_colours(ds["snr"].values.tolist())
    ax = axes_or_new(ax)
    sizes = _sizes(data["n_train"].to_numpy())
    for snr, colour in colours.items():
        here = (data["snr"] == snr).to_numpy()
        path = data[here]
        error, se = path["test_error"], path["test_error_se"]
        x, left, right = (drawn_error(ds, value) for value in (error, error - se, error + se))
        ax.plot(x, path["mean"], color=colour, lw=0.9, alpha=0.6)
        ax.errorbar(
            x, path["mean"], xerr=[x - left, right - x], yerr=path["se"], fmt="none",
            ecolor=colour, elinewidth=0.7, alpha=0.6,
        )  # fmt: skip
        ax.scatter(x, path["mean"], s=sizes[here], color=colour, lw=0, zorder=3)
    error_axis(ds, ax, "x")
    ax.set_xlabel(f"test error ({error_label(ds)})")
    ax.set_ylabel(score_label(ds, selection))
    n_train = sorted(data["n_train"].unique().tolist())
    ends = [n_train[0], n_train[-1]] if n_train else []
    dots: list[tuple[str, dict[str, Any]]] = [
        (f"n = {n}", {"color": "0.4", "ls": "", "marker": "o", "mew": 0, "ms": float(np.sqrt(size))})
        for n, size in zip(ends, _sizes(np.array(ends)), strict=True)
    ]
    snr_legend(ax, colours, dots)
    return ax


def _sizes(n_train: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Area of a dot in points², growing with log n_train."""
    if len(n_train) == 0:
        return np.zeros(0)
    position = np.log(n_train / n_train.min()) / max(float(np.log(n_train.max() / n_train.min())), 1e-12)
    return 6 + 44 * position

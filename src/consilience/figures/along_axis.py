"""Alignment against the number of training samples at one SNR, a line for every value of a further axis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from consilience._catalogue import suggestion
from consilience.errors import ConsilienceError
from consilience.facts import Selection, extra_axes, headline, is_distance, number_text
from consilience.facts.curves import AxisValue
from consilience.figures._style import THEORY, axes_or_new, log_n_axis, score_label, sequential_colours
from consilience.figures.alignment_curve import alignment_curve_data
from consilience.figures.errors import threshold_data

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["along_axis_data", "plot_along_axis"]


def along_axis_data(
    ds: xr.Dataset,
    axis: str,
    *,
    snr: float | None = None,
    layer: str | None = None,
    measure: str | None = None,
    at: dict[str, AxisValue] | None = None,
) -> pd.DataFrame:
    """A row for every value of `axis` and n_train that has a score or a prediction.

    Columns: those of `alignment_curve_data`; `lowest`, whether alignment is lowest there along n_train; `last_fitted`,
    the largest n_train that at least half of the members fit; `n_parameters` of the networks.

    Parameters
    ----------
    ds
        A run.
    axis
        One of its further axes.
    snr
        The lowest by default.
    layer, measure
        What `headline` gives by default.
    at
        Values of the other further axes; by default the first of each.
    """
    names = extra_axes(ds)
    if axis not in names:
        raise ConsilienceError(f"axis = {axis!r}: not a further axis of this run; {suggestion(axis, names)}")
    default_layer, default_measure = headline(ds)
    layer, measure = layer or default_layer, measure or default_measure
    chosen = float(ds["snr"].values.min() if snr is None else snr)
    others = {name: ds[name].values.tolist()[0] for name in names if name != axis} | (at or {})
    frames: list[pd.DataFrame] = []
    for value in ds[axis].values.tolist():
        place = {name: value if name == axis else others[name] for name in names}
        curve = alignment_curve_data(ds, Selection(layer, measure, place))
        curve = curve[curve["snr"] == chosen].copy()
        if len(curve):
            frames.append(_described(ds, curve, measure, place))
    if not frames:
        raise ConsilienceError(f"nothing was measured at SNR {number_text(chosen)} by {measure} at {layer}")
    return pd.concat(frames, ignore_index=True)


def _described(ds: xr.Dataset, curve: pd.DataFrame, measure: str, place: dict[str, Any]) -> pd.DataFrame:
    sign = -1 if is_distance(ds, measure) else 1
    thresholds = threshold_data(ds, place)
    fitted = thresholds[thresholds["snr"] == curve["snr"].iloc[0]]["last_fitted"]
    signed = sign * curve["mean"].to_numpy(dtype=np.float64)
    lowest = signed == np.nanmin(signed) if np.isfinite(signed).any() else np.zeros(len(signed), bool)
    at = {**place, "snr": curve["snr"].iloc[0], "n_train": curve["n_train"].to_numpy()}
    parameters: Any = ds["n_parameters"].sel(at)
    return curve.assign(
        lowest=lowest,
        last_fitted=float(fitted.iloc[0]) if len(fitted) else np.nan,
        n_parameters=np.asarray(parameters.values),
    )


def plot_along_axis(
    ds: xr.Dataset,
    axis: str,
    *,
    snr: float | None = None,
    layer: str | None = None,
    measure: str | None = None,
    at: dict[str, AxisValue] | None = None,
    title: str | None = None,
    ax: Any = None,
) -> Any:
    """Draw `along_axis_data`: means with 95 % intervals over members, a ring where alignment is lowest, theory dotted.

    Parameters are those of `along_axis_data`; `title` of the legend, the axis by default; `ax` to draw in.

    Returns
    -------
    matplotlib.axes.Axes
    """
    data = along_axis_data(ds, axis, snr=snr, layer=layer, measure=measure, at=at)
    ax = axes_or_new(ax)
    shown = [value for value in ds[axis].values.tolist() if (data[axis] == value).any()]
    for colour, value in zip(sequential_colours(len(shown), stop=0.85), shown, strict=True):
        line = data[data[axis] == value]
        spread = [line["mean"] - line["low"], line["high"] - line["mean"]]
        ax.errorbar(
            line["n_train"], line["mean"], yerr=spread, color=colour, lw=1.5, elinewidth=0.7, marker="o", ms=3,
            label=number_text(value),
        )  # fmt: skip
        if line["predicted"].notna().any():
            ax.plot(line["n_train"], line["predicted"], color=colour, **THEORY)
        low = line[line["lowest"]]
        ax.plot(low["n_train"], low["mean"], ls="", marker="o", ms=8, mfc="none", mec=colour, mew=1.2)
    log_n_axis(ax)
    first = data.iloc[0]
    ax.set_ylabel(score_label(ds, Selection(str(first["layer"]), str(first["measure"]))))
    ax.set_title(f"SNR {first['snr_text']}, {first['layer']}", fontsize=9, loc="left")
    ax.legend(
        title=title or axis, title_fontsize=7.5, fontsize=7.5, frameon=False, loc="upper left",
        bbox_to_anchor=(1.0, 1.0), handlelength=1.6, borderaxespad=0.2, alignment="left",
    )  # fmt: skip
    return ax

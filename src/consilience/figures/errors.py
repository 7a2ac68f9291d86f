"""Training and test error against the number of training samples, and the interpolation threshold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from consilience.facts import combinations, interpolation_threshold, number_text
from consilience.facts.curves import At, per_member, values
from consilience.facts.threshold import thresholds_at
from consilience.figures._style import DASHED, THEORY, axes_or_new, log_n_axis, snr_colours, snr_legend, threshold_strip
from consilience.stats import member_mean

if TYPE_CHECKING:
    import xarray as xr

__all__ = [
    "ERROR_FLOOR",
    "drawn_error",
    "error_axis",
    "error_label",
    "errors_data",
    "log_errors",
    "plot_errors",
    "threshold_data",
]

ERROR_FLOOR = 1e-3
"""Where the logarithmic axis of errors in regression ends: training errors up to here count as fitted."""

_TEST: dict[str, Any] = {"lw": 1.5, "marker": "o", "ms": 3, "mew": 0}
_TRAIN: dict[str, Any] = {"lw": 1.2, "ls": DASHED}


def error_label(ds: xr.Dataset) -> str:
    """What an error of this run counts."""
    return "misclassified fraction" if ds.attrs["task"] == "classification" else "squared error / variance of target"


def log_errors(ds: xr.Dataset) -> bool:
    """Whether errors are drawn on a logarithmic axis: in regression they span orders of magnitude."""
    return ds.attrs["task"] == "regression"


def drawn_error(ds: xr.Dataset, error: Any) -> Any:
    """Errors as they are drawn: on a logarithmic axis no smaller than `ERROR_FLOOR`."""
    return np.maximum(error, ERROR_FLOOR) if log_errors(ds) else error


def error_axis(ds: xr.Dataset, ax: Any, which: Literal["x", "y"]) -> None:
    """Scale and tick labels of the axis along which errors are drawn."""
    if log_errors(ds):
        ax.set(**{f"{which}scale": "log"})
        axis = ax.xaxis if which == "x" else ax.yaxis
        axis.set_major_formatter(_error_tick)
        low, high = axis.get_view_interval()
        axis.set_minor_formatter(_error_tick if high < 10 * low else "")


def _error_tick(value: float, _position: int | None) -> str:
    return f"≤ {ERROR_FLOOR:g}" if value <= ERROR_FLOOR * (1 + 1e-9) else number_text(value)


def errors_data(ds: xr.Dataset, at: At | None = None) -> pd.DataFrame:
    """A row for every cell and every kind of error, ``set`` being ``train`` or ``test``.

    Columns: the further axes, snr, snr_text, n_train, set; `mean` over members with `se`, `low`, `high`
    (95 % interval); `predicted` (test only); `fitted`, the share of members that fit their training set;
    `n_members`.

    Parameters
    ----------
    ds
        A run.
    at
        One value of every further axis; by default every combination.
    """
    wanted = combinations(ds) if at is None else [at]
    frames = [_one(ds, item, which) for item in wanted for which in ("train", "test")]
    return pd.concat(frames, ignore_index=True)


def _one(ds: xr.Dataset, at: At, which: str) -> pd.DataFrame:
    errors = per_member(ds, f"{which}_error", at)
    estimate = member_mean(errors)
    fitted = (per_member(ds, "converged", at).astype(bool) & np.isfinite(errors)).sum(-1)
    shape = estimate.mean.shape
    predicted = values(ds, "predicted_error", ("snr", "n_train"), at) if which == "test" else np.full(shape, np.nan)
    snr, n_train = np.meshgrid(ds["snr"].values, ds["n_train"].values, indexing="ij")
    columns = {
        **dict(at),
        "snr": snr.ravel(),
        "snr_text": [number_text(value) for value in snr.ravel().tolist()],
        "n_train": n_train.ravel(),
        "set": which,
        "mean": estimate.mean.ravel(),
        "se": estimate.se.ravel(),
        "low": estimate.low.ravel(),
        "high": estimate.high.ravel(),
        "predicted": predicted.ravel(),
        "fitted": (fitted / np.maximum(estimate.n_members, 1)).ravel(),
        "n_members": estimate.n_members.ravel(),
    }
    frame = pd.DataFrame(columns)
    return frame[frame["mean"].notna() | frame["predicted"].notna()].reset_index(drop=True)


def threshold_data(ds: xr.Dataset, at: At | None = None) -> pd.DataFrame:
    """The interval of n_train that holds the interpolation threshold, a row for every SNR.

    Columns: the further axes, snr, snr_text, `last_fitted`, `first_unfitted`; NaN where the threshold lies
    outside the grid.
    """
    names = ["snr", "snr_text", "last_fitted", "first_unfitted"]
    rows = [
        {
            **dict(t.at),
            "snr": t.snr,
            "snr_text": number_text(t.snr),
            "last_fitted": t.last_fitted,
            "first_unfitted": t.first_unfitted,
        }
        for t in (interpolation_threshold(ds) if at is None else thresholds_at(ds, at))
    ]
    frame = pd.DataFrame(rows) if rows else pd.DataFrame(columns=names)
    return frame.astype({"last_fitted": float, "first_unfitted": float})


def plot_errors(ds: xr.Dataset, at: At | None = None, *, ax: Any = None) -> Any:
    """Draw `errors_data`: test error as full lines with 95 % bands, training error dashed, theory dotted.

    In regression the axis is logarithmic and errors below 0.001 are drawn at 0.001, because without noise, and
    wherever the training set is fitted, they are zero up to rounding. A bar above the axes spans, for every
    SNR, the interval of n_train that holds the interpolation threshold.

    Parameters
    ----------
    ds
        A run.
    at
        One value of every further axis; by default the first of each.
    ax
        Matplotlib axes to draw in; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
    """
    at = combinations(ds)[0] if at is None else at
    data, colours = errors_data(ds, at), snr_colours(ds["snr"].values.tolist())
    ax = axes_or_new(ax)
    for snr, colour in colours.items():
        line = data[data["snr"] == snr]
        test, train = line[line["set"] == "test"], line[line["set"] == "train"]
        low, high, measured, predicted = (drawn_error(ds, test[name]) for name in ("low", "high", "mean", "predicted"))
        ax.fill_between(test["n_train"], low, high, color=colour, alpha=0.14, lw=0)
        ax.plot(test["n_train"], measured, color=colour, **_TEST)
        ax.plot(train["n_train"], drawn_error(ds, train["mean"]), color=colour, **_TRAIN)
        ax.plot(test["n_train"], predicted, color=colour, **THEORY)
    log_n_axis(ax)
    error_axis(ds, ax, "y")
    ax.set_ylabel(f"error ({error_label(ds)})")
    if not log_errors(ds):
        ax.set_ylim(bottom=0)
    threshold_strip(ax, threshold_data(ds, at), colours)
    kinds = [("test", _TEST), ("train", _TRAIN), ("theory (test)", THEORY)]
    shown = kinds if data["predicted"].notna().any() else kinds[:2]
    snr_legend(ax, colours, [(label, {"color": "0.4", **style}) for label, style in shown])
    return ax

"""Alignment and errors during training, a line for every SNR."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from consilience._catalogue import suggestion
from consilience.errors import ConsilienceError
from consilience.facts import Selection, alignment_estimate, is_distance, number_text, selections
from consilience.facts.curves import values
from consilience.figures._style import axes_or_new, chosen, score_label, snr_colours, snr_legend
from consilience.stats import member_mean, pair_mean

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["has_trajectories", "plot_trajectory", "trajectory_data", "trajectory_size"]


def has_trajectories(ds: xr.Dataset) -> bool:
    """Whether networks of this run were measured during training (``measure.steps``)."""
    return "trajectory" in ds


def trajectory_data(ds: xr.Dataset, selection: Selection | None = None) -> pd.DataFrame:
    """A row for every cell and step that has a score; no rows for runs without ``measure.steps``.

    Columns: the further axes, layer, measure, kind, snr, snr_text, n_train, step; `mean` over pairs with `se`, `low`,
    `high` (95 % interval over members); `n_members`, `n_pairs`; `train_error`, `test_error`, means over members.

    Parameters
    ----------
    ds
        A run.
    selection
        Layer, measure and axis values; by default every selection that was measured.
    """
    if not has_trajectories(ds):
        return pd.DataFrame()
    wanted = selections(ds) if selection is None else [selection]
    frames = [_one(ds, item) for item in wanted]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def _one(ds: xr.Dataset, selection: Selection) -> pd.DataFrame:
    where = {"layer": selection.layer, "measure": selection.measure, **selection.at}
    scores = values(ds, "trajectory", ("snr", "n_train", "step", "pair"), where)
    estimate = pair_mean(scores, ds["member_a"].values, ds["member_b"].values)
    errors = {
        name: member_mean(values(ds, f"{name}_at", ("snr", "n_train", "step", "member"), selection.at)).mean.ravel()
        for name in ("train_error", "test_error")
    }
    snr, n_train, step = (
        grid.ravel() for grid in np.meshgrid(*(ds[name].values for name in ("snr", "n_train", "step")), indexing="ij")
    )
    columns = {
        **dict(selection.at),
        "layer": selection.layer,
        "measure": selection.measure,
        "kind": "distance" if is_distance(ds, selection.measure) else "similarity",
        "snr": snr,
        "snr_text": [number_text(value) for value in snr.tolist()],
        "n_train": n_train,
        "step": step,
        "mean": estimate.mean.ravel(),
        "se": estimate.se.ravel(),
        "low": estimate.low.ravel(),
        "high": estimate.high.ravel(),
        "n_members": estimate.n_members.ravel(),
        "n_pairs": estimate.n_scores.ravel(),
        **errors,
    }
    frame = pd.DataFrame(columns)
    return frame[frame["mean"].notna()].reset_index(drop=True)


def trajectory_size(ds: xr.Dataset, selection: Selection) -> int:
    """The n_train to show first: where alignment after training is lowest, over all SNRs."""
    mean = alignment_estimate(ds, selection).mean * (-1 if is_distance(ds, selection.measure) else 1)
    lowest = np.where(np.isfinite(mean), mean, np.inf).min(axis=0)  # (n_train,)
    return int(ds["n_train"].values[np.argmin(lowest)])


def plot_trajectory(
    ds: xr.Dataset, selection: Selection | None = None, *, n_train: int | None = None, ax: Any = None
) -> Any:
    """Draw alignment against the step of training at one n_train: means with 95 % bands over members.

    Parameters
    ----------
    ds
        A run with ``measure.steps``.
    selection
        By default the headline layer and measure, at the first value of every further axis.
    n_train
        By default the one at which alignment after training is lowest.
    ax
        Matplotlib axes to draw in; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ConsilienceError
        When the run has no trajectories, or not this n_train.
    MissingDependencyError
        Without Matplotlib.
    """
    if not has_trajectories(ds):
        raise ConsilienceError("this run was measured after training only: set measure.steps, such as 12, in the study")
    selection = chosen(ds, selection)
    sizes: list[int] = ds["n_train"].values.tolist()
    n_train = trajectory_size(ds, selection) if n_train is None else n_train
    if n_train not in sizes:
        raise ConsilienceError(f"n_train = {n_train}: not in this run; {suggestion(str(n_train), map(str, sizes))}")
    data, colours = trajectory_data(ds, selection), snr_colours(ds["snr"].values.tolist())
    ax = axes_or_new(ax)
    for snr, colour in colours.items():
        line = data[(data["snr"] == snr) & (data["n_train"] == n_train)]
        ax.fill_between(line["step"], line["low"], line["high"], color=colour, alpha=0.16, lw=0)
        ax.plot(line["step"], line["mean"], color=colour, lw=1.5, marker="o", ms=3, mew=0)
    ax.set_xscale("log")
    ax.set_xlabel(f"training step, n_train = {n_train}")
    ax.set_ylabel(score_label(ds, selection))
    snr_legend(ax, colours)
    return ax

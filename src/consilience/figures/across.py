"""Alignment between variants of a study: a matrix at their best layers, and layer by layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from consilience._catalogue import suggestion
from consilience.errors import ConsilienceError
from consilience.facts import BestLayers, best_layers, layer_means, number_text
from consilience.facts.curves import AxisValue, values
from consilience.figures._style import axes_or_new

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["across_data", "across_layers_data", "across_matrix_data", "plot_across", "plot_across_layers"]


def across_data(ds: xr.Dataset) -> pd.DataFrame:
    """`consilience.facts.best_layers` as a table: a row for every pair of variants, place and measure.

    Columns: the axes the variants agree in; measure, variant_a, variant_b, layer_a, layer_b, mean, se, ceiling, share.

    Parameters
    ----------
    ds
        A run with ``[pairs] across``.
    """
    rows = [
        {**one.at, **{name: value for name, value in one._asdict().items() if name != "at"}} for one in best_layers(ds)
    ]
    return pd.DataFrame(rows, columns=[*_axes(ds), *(name for name in BestLayers._fields if name != "at")])


def across_matrix_data(ds: xr.Dataset, *, measure: str | None = None) -> pd.DataFrame:
    """`across_data` of one measure as the entries of symmetric matrices of variants, one for each place.

    Columns: the axes the variants agree in; place (their values as text), variant_a, variant_b, layer_a, layer_b, mean,
    se, ceiling, share, and dark: whether the entry's colour is, so that text on it must be light.

    Parameters
    ----------
    ds
        A run with ``[pairs] across``.
    measure
        The first one by default.
    """
    chosen, axes, data = _measure(ds, measure), _axes(ds), across_data(ds)
    one = data[data["measure"] == chosen].drop(columns="measure")
    one = one.assign(place=_texts(axes, list(one[axes].itertuples(index=False, name=None))))
    sides = {f"{name}_{side}": f"{name}_{other}" for name in ("variant", "layer") for side, other in ("ab", "ba")}
    mirrored = one[one["variant_a"] != one["variant_b"]].rename(columns=sides)
    both = pd.concat([one, mirrored], ignore_index=True)
    span = both.groupby("place")["mean"]
    below = both["mean"] <= (span.transform("min") + span.transform("max")) / 2
    return both.assign(dark=below != is_distance_across(ds, chosen))


def _texts(axes: list[str], places: list[tuple[AxisValue, ...]]) -> list[str]:
    """Each place in words, values in full where rounded ones would be the same."""
    short = {place: _title(dict(zip(axes, place, strict=True))) for place in places}
    if len(set(short.values())) == len(short):
        return [short[place] for place in places]
    return [", ".join(f"{axis} = {value!r}" for axis, value in zip(axes, place, strict=True)) for place in places]


def is_distance_across(ds: xr.Dataset, measure: str) -> bool:
    """Whether larger scores of `measure`, one of those compared across, mean less alignment."""
    return str(values(ds, "kind_across", (), {"measure_across": measure})) == "distance"


def across_layers_data(
    ds: xr.Dataset,
    variant_a: str,
    variant_b: str,
    *,
    measure: str | None = None,
    at: Mapping[str, AxisValue] | None = None,
) -> pd.DataFrame:
    """Mean scores over pairs of different members, layers of one variant (rows) by those of another (columns).

    Parameters
    ----------
    ds
        A run with ``[pairs] across``.
    variant_a, variant_b
        Names of `ds.variant_a`.
    measure
        The first one by default.
    at
        Values of the axes the variants agree in; by default the last of each.
    """
    place = {**_place(ds, at), "measure_across": _measure(ds, measure)}
    sides = tuple(f"{name}_{side}" for side in "ab" for name in ("variant", "layer", "network"))
    variants = [str(name) for name in ds["variant_a"].values]
    for name in (variant_a, variant_b):
        if name not in variants:
            raise ConsilienceError(f"this run has no variant {name!r}: choose from {', '.join(variants)}")
    means = layer_means(values(ds, "alignment_across", sides, place))
    block = means[variants.index(variant_a), :, variants.index(variant_b), :]
    names = [str(name) for name in ds["layer_a"].values]
    frame = pd.DataFrame(block, index=pd.Index(names, name=variant_a), columns=pd.Index(names, name=variant_b))
    return frame.dropna(how="all").dropna(axis=1, how="all")


def _axes(ds: xr.Dataset) -> list[str]:
    """The axes the variants agree in."""
    return [str(name) for name in ds["alignment_across"].dims[: ds["done_across"].ndim]]


def _measure(ds: xr.Dataset, measure: str | None) -> str:
    return measure or str(ds["measure_across"].values[0])


def _place(ds: xr.Dataset, at: Mapping[str, AxisValue] | None) -> dict[str, AxisValue]:
    for axis, value in (at or {}).items():
        if axis not in _axes(ds):
            raise ConsilienceError(f"at: variants of this run share no axis {axis!r}; {suggestion(axis, _axes(ds))}")
        if value not in (known := ds[axis].values.tolist()):
            raise ConsilienceError(f"at: {axis} = {value!r} is not in this run; it has {', '.join(map(str, known))}")
    return {axis: ds[axis].values.tolist()[-1] for axis in _axes(ds)} | dict(at or {})


def plot_across(
    ds: xr.Dataset, *, measure: str | None = None, at: Mapping[str, AxisValue] | None = None, ax: Any = None
) -> Any:
    """Draw the matrix of variants at one place: scores at the best layers, on the diagonal members of one variant.

    Below each score between variants, its share of the ceiling.

    Parameters
    ----------
    ds
        A run with ``[pairs] across``.
    measure
        The first one by default.
    at
        Values of the axes the variants agree in; by default the last of each.
    ax
        Matplotlib axes to draw in; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
    """
    place, chosen = _place(ds, at), _measure(ds, measure)
    data = across_matrix_data(ds, measure=chosen)
    for axis, value in place.items():
        data = data[data[axis] == value]
    variants = [str(name) for name in ds["variant_a"].values]
    matrix = data.pivot(index="variant_a", columns="variant_b", values="mean").reindex(variants, columns=variants)
    ax = axes_or_new(ax, (1.6 + 0.85 * len(variants), 1.1 + 0.75 * len(variants)))
    colours = "viridis_r" if is_distance_across(ds, chosen) else "viridis"
    image = ax.imshow(matrix.to_numpy(), cmap=colours, interpolation="nearest")
    for row in data.itertuples():
        x, y = variants.index(str(row.variant_b)), variants.index(str(row.variant_a))
        share = float(np.asarray(row.share))
        text = f"{row.mean:.2f}" + (f"\n{share:.0%}" if np.isfinite(share) else "")
        ax.text(x, y, text, ha="center", va="center", fontsize=8, color="white" if row.dark else "black")
    ax.set_xticks(range(len(variants)), variants, rotation=30, ha="right", rotation_mode="anchor")
    ax.set_yticks(range(len(variants)), variants)
    ax.spines[["left", "bottom"]].set_visible(False)
    ax.tick_params(length=0)
    ax.set_title(_title(place), fontsize=9, loc="left")
    bar = ax.figure.colorbar(image, ax=ax, pad=0.03)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8, width=0.7, length=3)
    bar.set_label(f"{chosen}, best layers", size=8)
    return ax


def plot_across_layers(
    ds: xr.Dataset,
    variant_a: str,
    variant_b: str,
    *,
    measure: str | None = None,
    at: Mapping[str, AxisValue] | None = None,
    ax: Any = None,
) -> Any:
    """Draw `across_layers_data`: layers of one variant against those of another.

    Parameters are those of `across_layers_data`, and `ax` to draw in.

    Returns
    -------
    matplotlib.axes.Axes
    """
    data = across_layers_data(ds, variant_a, variant_b, measure=measure, at=at)
    ax = axes_or_new(ax, (1.5 + 0.6 * data.shape[1], 1.0 + 0.5 * data.shape[0]))
    image = ax.imshow(data.to_numpy(), cmap="viridis", interpolation="nearest", aspect="auto")
    ax.set_xticks(range(data.shape[1]), data.columns, rotation=30, ha="right", rotation_mode="anchor")
    ax.set_yticks(range(data.shape[0]), data.index)
    ax.set_xlabel(variant_b)
    ax.set_ylabel(variant_a)
    ax.spines[["left", "bottom"]].set_visible(False)
    ax.tick_params(length=0)
    ax.set_title(_title(_place(ds, at)), fontsize=9, loc="left")
    bar = ax.figure.colorbar(image, ax=ax, pad=0.03)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8, width=0.7, length=3)
    bar.set_label(_measure(ds, measure), size=8)
    return ax


def _title(place: Mapping[str, Any]) -> str:
    names = {"snr": "SNR", "n_train": "n"}
    return ", ".join(f"{names.get(axis, axis)} = {number_text(value)}" for axis, value in place.items())

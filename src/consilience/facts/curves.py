"""Reading a run: its axes, what is measured where, and one slice of it as arrays."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from consilience._catalogue import suggestion
from consilience.errors import ConsilienceError, UnknownNameError
from consilience.stats import Estimate, Replicates, pair_mean, pair_replicates

if TYPE_CHECKING:
    import xarray as xr

__all__ = [
    "ROUNDING",
    "At",
    "AxisValue",
    "Selection",
    "alignment_estimate",
    "cell_replicates",
    "check_selection",
    "combinations",
    "extra_axes",
    "first_selection",
    "headline",
    "is_distance",
    "number_text",
    "pair_scores",
    "per_member",
    "predicted_scores",
    "selection_text",
    "selections",
    "values",
    "varies_over_probe_inputs",
]

# Networks are trained in float32: scores and errors that should be equal differ by less than this.
ROUNDING = 1e-6

AxisValue = float | str
At = Mapping[str, AxisValue]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Selection:
    """One layer, one measure, and one value of every further grid axis: a family of curves, one per SNR."""

    layer: str
    measure: str
    at: At = field(default_factory=dict[str, AxisValue])


def extra_axes(ds: xr.Dataset) -> tuple[str, ...]:
    """Names of the grid axes besides SNR and n_train, in order."""
    return tuple(json.loads(ds.attrs["axes"]))


def combinations(ds: xr.Dataset) -> list[dict[str, AxisValue]]:
    """Every combination of values of the further axes, in grid order; ``[{}]`` without such axes."""
    names = extra_axes(ds)
    levels = [ds[name].values.tolist() for name in names]
    return [dict(zip(names, combination, strict=True)) for combination in itertools.product(*levels)]


def headline(ds: xr.Dataset) -> tuple[str, str]:
    """The layer and measure to show first: the first measure with a score, at the last hidden layer it has one.

    The output layer stands in where no hidden layer has a score, as for measures of outputs, and where none is there
    in all networks of a grid that differ in their layers.
    """
    layers = [str(layer) for layer in ds["layer"].values]
    measures = [str(measure) for measure in ds["measure"].values]
    for measure in measures:
        scores = values(ds, "alignment", ("layer", *extra_axes(ds), ...), {"measure": measure})
        known = np.isfinite(scores).any(axis=tuple(range(1 + len(extra_axes(ds)), scores.ndim)))
        known = known.reshape(len(layers), -1)  # (layer, combination of further axes)
        if not known.any():
            continue
        anywhere, everywhere = known.any(axis=1), (known == known.any(axis=0)).all(axis=1)
        for wanted in (everywhere, anywhere):
            measured = [layers[i] for i in np.flatnonzero(wanted)]
            if measured:
                hidden = [layer for layer in measured if layer != "output"]
                return (hidden or measured)[-1], measure
    return layers[-1], measures[0]


def first_selection(ds: xr.Dataset) -> Selection:
    """The headline at the first value of every further axis where it has a score."""
    layer, measure = headline(ds)
    places = [Selection(layer, measure, at) for at in combinations(ds)]
    return next((place for place in places if np.isfinite(pair_scores(ds, place)).any()), places[0])


def selections(ds: xr.Dataset) -> list[Selection]:
    """Every selection with a finite score, in the order of layers, measures and axes."""
    everything = (
        Selection(str(layer), str(measure), at)
        for layer in ds["layer"].values
        for measure in ds["measure"].values
        for at in combinations(ds)
    )
    return [selection for selection in everything if np.isfinite(pair_scores(ds, selection)).any()]


def is_distance(ds: xr.Dataset, measure: str) -> bool:
    """Whether larger scores of `measure` mean less alignment."""
    return str(values(ds, "kind", (), {"measure": measure})) == "distance"


def check_selection(ds: xr.Dataset, selection: Selection) -> None:
    """Say which name of a selection the run does not have.

    Raises
    ------
    UnknownNameError, ConsilienceError
        For an unknown layer or measure; for a missing, unknown or unmeasured axis value.
    """
    for what, name in (("layer", selection.layer), ("measure", selection.measure)):
        names = [str(value) for value in ds[what].values]
        if name not in names:
            raise UnknownNameError(f"this run has no {what} {name!r}: {suggestion(name, names)}")
    names = extra_axes(ds)
    if set(selection.at) != set(names):
        raise ConsilienceError(
            f"a selection of this run fixes the axes {list(names)}, got {list(selection.at)}: give one value of each"
        )
    for name, value in selection.at.items():
        if value not in ds[name].values.tolist():
            raise ConsilienceError(
                f"axis {name} has no value {value!r} in this run: choose from {ds[name].values.tolist()}"
            )


def values(ds: xr.Dataset, variable: str, dims: tuple[Any, ...], at: Mapping[str, Any]) -> NDArray[Any]:
    """One variable or coordinate at fixed values of some dimensions, the others in the order of `dims`."""
    labelled: Any = ds[variable]
    return np.asarray(labelled.sel(dict(at)).transpose(*dims).values)


def pair_scores(ds: xr.Dataset, selection: Selection) -> Floats:
    """(snr, n_train, pair) scores of a selection, as measured."""
    check_selection(ds, selection)
    return values(ds, "alignment", ("snr", "n_train", "pair"), _cell(selection))


def predicted_scores(ds: xr.Dataset, selection: Selection) -> Floats:
    """(snr, n_train) scores that theory gives for a selection; NaN where it does not speak."""
    check_selection(ds, selection)
    return values(ds, "predicted", ("snr", "n_train"), _cell(selection))


def per_member(ds: xr.Dataset, variable: str, at: At) -> NDArray[Any]:
    """(snr, n_train, member) values of a per-member variable at one combination of the further axes."""
    return values(ds, variable, ("snr", "n_train", "member"), at)


def _cell(selection: Selection) -> dict[str, AxisValue]:
    return {"layer": selection.layer, "measure": selection.measure, **selection.at}


def alignment_estimate(ds: xr.Dataset, selection: Selection, *, level: float = 0.95) -> Estimate:
    """Mean score over pairs of members with its interval; fields of shape (snr, n_train)."""
    return pair_mean(pair_scores(ds, selection), ds["member_a"].values, ds["member_b"].values, level=level)


def cell_replicates(ds: xr.Dataset, selection: Selection) -> Replicates:
    """(snr, n_train) mean scores, ready for contrasts; turned so that more is more aligned.

    Their uncertainty is that over members and, where the run has scores on parts of the probe inputs everywhere it has
    scores, over those too.
    """
    parts = [_part_scores(ds, selection)] if varies_over_probe_inputs(ds, selection) else []
    cells = pair_replicates(pair_scores(ds, selection), ds["member_a"].values, ds["member_b"].values, *parts)
    return cells.signed(-1.0 if is_distance(ds, selection.measure) else 1.0)


def varies_over_probe_inputs(ds: xr.Dataset, selection: Selection) -> bool:
    """Whether the run knows how its scores vary over probe inputs: `alignment_by_part` wherever it has scores."""
    if "alignment_by_part" not in ds:
        return False
    scored = np.isfinite(pair_scores(ds, selection)).any(-1)
    return bool(scored.any() and np.isfinite(_part_scores(ds, selection)[scored]).all())


def _part_scores(ds: xr.Dataset, selection: Selection) -> Floats:
    """(snr, n_train, part) what each part of the probe inputs says of the mean score."""
    return values(ds, "alignment_by_part", ("snr", "n_train", "part"), _cell(selection))


def number_text(value: AxisValue) -> str:
    """An axis value as read by people: ``0.25``, ``adam``, infinity as ``∞``.

    >>> [number_text(v) for v in (0.25, 4.0, float("inf"), 20000, "adam")]
    ['0.25', '4', '∞', '20000', 'adam']
    """
    if isinstance(value, str):
        return value
    if np.isinf(value):
        return "∞" if value > 0 else "-∞"
    return f"{value:.0f}" if float(value).is_integer() and abs(value) < 1e9 else f"{value:.6g}"


def selection_text(at: At) -> str:
    """``train.solver = adam, train.weight_decay = 0.001``; empty without further axes."""
    return ", ".join(f"{name} = {number_text(value)}" for name, value in at.items())

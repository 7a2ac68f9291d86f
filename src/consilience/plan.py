"""A study with its data at hand: what each cell trains, and the shape of what comes out."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from consilience import train
from consilience._variants import axis_labels, key_of, thawed
from consilience.across import Across
from consilience.data import File, Splits, SyntheticSource, prepare
from consilience.errors import ConsilienceError
from consilience.overlay import Overlay, overlay
from consilience.provenance import hardware, versions
from consilience.registry import Kind, Measure
from consilience.store import ACROSS, REGIME, STOPPING, TRAJECTORY
from consilience.study import Cell, Study

__all__ = ["PARTS", "Plan"]

PARTS = 5
"""Parts of the probe inputs whose spread tells what another draw of them would change: four degrees of freedom, and a
part that is left out (see `consilience.values.scores_by_part`) still leaves most of the inputs."""

_CONVENTION = (
    "one score for each pair of members, on probe inputs no network was trained on; the mean of both directions "
    "where a measure is asymmetric; the choices of data, SNR and measure are Consilience's own"
)


class Plan:
    """Everything of a study that can be known, and checked, before a network is trained.

    Raises
    ------
    ConsilienceError
        When the data cannot be read, or do not allow what the study asks for.
    """

    def __init__(self, study: Study) -> None:
        self.study = study
        self._points: dict[str, Study] = {}
        self._ensembles: dict[str, train.Ensemble] = {}
        self._widths: dict[str, dict[str, int]] = {}
        for cell in study.cells():
            point = self.point(cell)
            ensemble = self.ensemble(cell)
            _check_measures("measure.measures", point.measure.measures, point, ensemble.splits)
            _check_measures("pairs.measures", study.pairs.measures, point, ensemble.splits)
            _check(point, ensemble)
            ensemble.spec(self.training(cell))
        tasks = {ensemble.splits.task for ensemble in self._ensembles.values()}
        if len(tasks) > 1:
            raise ConsilienceError(
                "data.source: classification and regression in one grid have errors that cannot be compared; make two "
                "studies of them"
            )
        self._widths = {key: self._layer_widths(point) for key, point in self._points.items()}
        self.layers = _merged([tuple(names) for names in self._widths.values()])
        self.across = Across.of(study)
        self.pairs = tuple(itertools.combinations(range(study.grid.members), 2))

    def _layer_widths(self, point: Study) -> dict[str, int]:
        """Return the width of every layer of the point's networks by name, in order."""
        ensemble = self._ensembles[_environment(point)]
        point.network.check(_sizes(point, ensemble))
        if isinstance(point.network, train.Foreign):
            if point.network.layers is not None:
                return dict.fromkeys(point.network.layers, 0)
            smallest = train.Cell(
                min(point.grid.n_train), _level(point, max(point.grid.snr)), point.network, point.train
            )
            return train.layers_of_trainer(ensemble, smallest, point.network)
        return train.layer_widths(point.network, _sizes(point, ensemble))

    def widths(self, cell: Cell) -> dict[str, int]:
        """Return the width of every layer of the cell's networks; 0 where only training tells."""
        return self._widths[self._key(cell)]

    def _key(self, cell: Cell) -> str:
        return key_of({key: cell.coordinates[key] for key in self.study.grid.axes})

    def point(self, cell: Cell) -> Study:
        """Return the study with the cell's further axes substituted."""
        axes = {key: cell.coordinates[key] for key in self.study.grid.axes}
        key = self._key(cell)
        if key not in self._points:
            self._points[key] = self.study.at(axes)
        return self._points[key]

    def ensemble(self, cell: Cell) -> train.Ensemble:
        """Return the data, noise and seed the cell trains on; cells that agree in them share one."""
        point = self.point(cell)
        key = _environment(point)
        if key not in self._ensembles:
            self._ensembles[key] = train.Ensemble(
                splits=_prepare(point),
                process=point.noise.process,
                shared=frozenset(point.noise.shared),
                members=point.grid.members,
                seed=point.seed,
                n_max=max(point.grid.n_train),
                resample=point.noise.resample,
            )
        return self._ensembles[key]

    def training(self, cell: Cell) -> train.Cell:
        """Return what the engine is asked to train for the cell."""
        point = self.point(cell)
        network = point.network
        if isinstance(network, train.Foreign) and self._key(cell) in self._widths:
            network = replace(network, layers=tuple(self.widths(cell)))  # a member that forgets one is told so
        level = _level(point, cell.coordinates["snr"])
        checkpoints = point.measure.checkpoints(point.train.steps)
        return train.Cell(cell.coordinates["n_train"], level, network, point.train, checkpoints)

    @property
    def steps(self) -> NDArray[np.int64]:
        """Every step on the way after which some cell is measured, in order."""
        points = self._points.values()
        every = {step for point in points for step in point.measure.checkpoints(point.train.steps)}
        return np.array(sorted(every), np.int64)

    @property
    def task(self) -> str:
        """ "classification" or "regression"."""
        return next(iter(self._ensembles.values())).splits.task

    def sizes(self, cell: Cell) -> train.Sizes:
        """Return what the cell's networks must fit."""
        return _sizes(self.point(cell), self.ensemble(cell))

    def template(self) -> xr.Dataset:
        """Return coordinates, attributes, and the variables that need no training: theory and parameter counts."""
        study, grid = self.study, self.study.grid
        cells = study.cells()
        cell_dims = ("snr", "n_train", *grid.axes)
        shape = tuple(len(values) for values in (grid.snr, grid.n_train, *grid.axes.values()))
        labels = [measure.label for measure in study.measure.measures]
        predicted = np.full((*shape, len(self.layers), len(labels)), np.nan)
        predicted_error = np.full(shape, np.nan)
        parameters = np.zeros(shape, np.int64)
        overlays = {key: self._overlay(point) for key, point in self._points.items()}
        for cell in cells:
            point = self.point(cell)
            if not isinstance(point.network, train.Foreign):
                parameters[cell.index] = train.count_parameters(point.network, self.sizes(cell))
            drawn = overlays[self._key(cell)]
            predicted_error[cell.index] = drawn.error[cell.index[:2]]
            for (layer, label), values in drawn.alignment.items():
                where = (*cell.index, self.layers.index(layer), labels.index(label))
                predicted[where] = values[cell.index[:2]]
        kinds = ["similarity" if m.kind is Kind.SIMILARITY else "distance" for m in study.measure.measures]
        coordinates: dict[str, Any] = {
            "snr": list(grid.snr),
            "n_train": list(grid.n_train),
            **{key: _coordinate(axis_labels(key, values)) for key, values in grid.axes.items()},
            "layer": np.array(self.layers, dtype=object),
            "measure": np.array(labels, dtype=object),
            "kind": ("measure", np.array(kinds, dtype=object)),
            "pair": np.arange(len(self.pairs)),
            "member_a": ("pair", [a for a, _ in self.pairs]),
            "member_b": ("pair", [b for _, b in self.pairs]),
            "member": np.arange(grid.members),
            "part": np.arange(PARTS),
            **self.across.coordinates(self.layers, grid.members),
        }
        if len(self.steps):
            coordinates["step"] = self.steps
        variables = {
            "predicted": ((*cell_dims, "layer", "measure"), predicted),
            "predicted_error": (cell_dims, predicted_error),
            "n_parameters": (cell_dims, parameters),
        }
        return xr.Dataset(variables, coordinates, self._attributes(overlays))

    @property
    def _any_linear(self) -> bool:
        networks = [point.network for point in self._points.values()]
        return any(isinstance(network, train.Linear) and network.described for network in networks)

    @property
    def optional(self) -> list[str]:
        """Variables of this run that not every run has."""
        stops = any(point.train.may_stop for point in self._points.values())
        return [
            "alignment_by_part",
            "failure",
            *(REGIME if self._any_linear else ()),
            *(STOPPING if stops else ()),
            *(TRAJECTORY if len(self.steps) else ()),
            *(ACROSS if self.across.groups else ()),
        ]

    def _overlay(self, point: Study) -> Overlay:
        return overlay(point, self._ensembles[_environment(point)].splits)

    def _attributes(self, overlays: Mapping[str, Overlay]) -> dict[str, Any]:
        study = self.study
        first = next(iter(self._points.values()))
        splits = self._ensembles[_environment(first)].splits
        data: dict[str, Any] = {
            "source": first.data.source.name,
            "origin": splits.origin,
            "n_features": splits.train_x.shape[1],
            "n_outputs": splits.n_outputs,
            "n_pool": len(splits.train_x),
            "n_test": len(splits.test_x),
            "n_probe": len(splits.probe_x),
            "classes": list(splits.classes),
            "fingerprint": " ".join(_fingerprint(ensemble.splits) for ensemble in self._ensembles.values()),
        }
        axes = study.grid.axes.items()
        described = {key: thawed(values[0]) for key, values in axes if key.startswith(("data.", "noise"))}
        if described:
            data["described at"] = described
        noise = {
            "process": study.noise.process.name,
            "definition": study.noise.process.definition,
            "shared": list(study.noise.shared),
            "resample": study.noise.resample,
            "correlation": study.noise.process.correlation,
        }
        sentences = dict.fromkeys(itertools.chain(*(drawn.sentences for drawn in overlays.values())))
        return {
            "name": study.name,
            "study": study.toml(),
            "axes": json.dumps(list(study.grid.axes)),
            "optional": json.dumps(self.optional),
            "across": json.dumps(self.across.description()),
            "task": splits.task,
            "seed": study.seed,
            "data": json.dumps(data),
            "noise": json.dumps(noise),
            "versions": json.dumps(versions()),
            "hardware": json.dumps(hardware()),
            "theory": " ".join(sentences),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "wall_seconds": 0.0,
            "alignment_convention": _CONVENTION,
        }


def _fingerprint(splits: Splits) -> str:
    """Return a hash of the samples themselves: whether a resumed run reads the same data."""
    digest = hashlib.sha256()
    for array in (splits.train_x, splits.train_y, splits.test_x, splits.test_y, splits.probe_x):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:16]


def _environment(point: Study) -> str:
    """Return a key of what cells must agree in to be members of one ensemble."""
    tables = point.tables()
    return json.dumps([tables["data"], tables["noise"], tables["seed"]])


def _prepare(point: Study) -> Splits:
    data = point.data
    # Members that do not share inputs each take their own part of the pool: make a synthetic one large enough.
    own_inputs = isinstance(data.source, SyntheticSource) and "inputs" not in point.noise.shared
    own_inputs = own_inputs and point.noise.resample == "disjoint"
    return prepare(
        data.source,
        n_train=point.grid.n_train,
        n_probe=data.n_probe,
        n_test=data.n_test,
        n_pool=point.grid.members * max(point.grid.n_train) if own_inputs else None,
        pool=data.pool,
        pca=data.pca,
        seed=point.seed,
    )


def _sizes(point: Study, ensemble: train.Ensemble) -> train.Sizes:
    return ensemble.sizes(point.train.optimizer)


def _merged(orders: list[tuple[str, ...]]) -> tuple[str, ...]:
    """Put the layers of all networks in one order, each network's own kept where they allow it; "output" is last.

    Deeper networks have the layers of shallower ones.
    """
    merged: list[str] = []
    for order in sorted(orders, key=len, reverse=True):
        place = 0
        for name in order:
            if name in merged:
                place = merged.index(name) + 1
            else:
                merged.insert(place, name)
                place += 1
    return (*(name for name in merged if name != "output"), "output")


def _check_measures(key: str, measures: Iterable[Measure], point: Study, splits: Splits) -> None:
    """Refuse measures, given under `key`, that need more probe samples or other data."""
    for measure in measures:
        if len(splits.probe_x) < measure.min_samples:
            raise ConsilienceError(
                f"data.n_probe = {len(splits.probe_x)}: {measure.label} needs {measure.min_samples} or more; set "
                f"data.n_probe, or leave this measure out of {key}"
            )
        if (measure.needs_classes or measure.needs_targets) and splits.task != "classification":
            raise ConsilienceError(
                f"{key}: {measure.label} needs classes, and {point.data.source.name} is {splits.task}; leave this "
                f"measure out"
            )


def _check(point: Study, ensemble: train.Ensemble) -> None:
    """Refuse noise or losses that do not fit the data."""
    splits = ensemble.splits
    process = point.noise.process
    if splits.task not in process.tasks:
        fitting = " or ".join(sorted(process.tasks))
        raise ConsilienceError(
            f"noise.process = {process.name!r}: corrupts {fitting} data, but {point.data.source.name} is {splits.task}"
            + (" as far as its target tells; data.task decides" if isinstance(point.data.source, File) else "")
        )
    largest = process.largest_level(ensemble.noise)
    for snr in point.grid.snr:
        if process.level(snr) > largest:
            raise ConsilienceError(
                f"grid.snr = {snr:g}: noise.process = {process.name!r} at its strongest leaves these data an SNR of "
                f"{largest**-2:.3g}; ask for no less, or take another process"
            )
    if splits.task == "regression" and point.train.loss == "cross-entropy":
        raise ConsilienceError(
            f"train.loss = 'cross-entropy': {point.data.source.name} is regression; use 'squared-error' or 'auto'"
        )


def _coordinate(values: list[Any]) -> Any:
    """Return labels as xarray can index them."""
    numbers = all(isinstance(value, int | float) for value in values)
    return np.array(values) if numbers else np.array(values, dtype=object)


def _level(point: Study, snr: float) -> float:
    return point.noise.process.level(snr)

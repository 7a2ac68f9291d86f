"""A study with its data at hand: what each cell trains, and the shape of what comes out."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from consilience import train
from consilience.data import File, Splits, SyntheticSource, prepare
from consilience.errors import ConsilienceError
from consilience.overlay import Overlay, overlay
from consilience.provenance import hardware, versions
from consilience.registry import Kind
from consilience.store import REGIME, STOPPING, TRAJECTORY
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
        for cell in study.cells():
            point = self.point(cell)
            ensemble = self.ensemble(cell)
            _check(point, ensemble.splits)
            ensemble.spec(self.training(cell))
        tasks = {ensemble.splits.task for ensemble in self._ensembles.values()}
        if len(tasks) > 1:
            raise ConsilienceError(
                "data.source: classification and regression in one grid have errors that cannot be compared; make two "
                "studies of them"
            )
        layers = (
            train.layer_widths(point.network, *_sizes(self._ensembles[_environment(point)].splits))
            for point in self._points.values()
        )
        # Deeper networks have the layers of shallower ones; "output" is last in all.
        self.layers = tuple(sorted(set(itertools.chain(*layers)), key=lambda name: (name == "output", len(name), name)))
        self.pairs = tuple(itertools.combinations(range(study.grid.members), 2))

    def point(self, cell: Cell) -> Study:
        """Return the study with the cell's further axes substituted."""
        axes = {key: cell.coordinates[key] for key in self.study.grid.axes}
        key = json.dumps(axes)
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
            )
        return self._ensembles[key]

    def training(self, cell: Cell) -> train.Cell:
        """Return what the engine is asked to train for the cell."""
        point = self.point(cell)
        level = point.noise.process.level(cell.coordinates["snr"])
        checkpoints = point.measure.checkpoints(point.train.steps)
        return train.Cell(cell.coordinates["n_train"], level, point.network, point.train, checkpoints)

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

    def sizes(self, cell: Cell) -> tuple[int, int]:
        """Return the numbers of inputs and outputs of the cell's networks."""
        return _sizes(self.ensemble(cell).splits)

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
            parameters[cell.index] = train.count_parameters(point.network, *_sizes(self.ensemble(cell).splits))
            drawn = overlays[json.dumps({key: cell.coordinates[key] for key in grid.axes})]
            predicted_error[cell.index] = drawn.error[cell.index[:2]]
            for (layer, label), values in drawn.alignment.items():
                where = (*cell.index, self.layers.index(layer), labels.index(label))
                predicted[where] = values[cell.index[:2]]
        kinds = ["similarity" if m.kind is Kind.SIMILARITY else "distance" for m in study.measure.measures]
        coordinates: dict[str, Any] = {
            "snr": list(grid.snr),
            "n_train": list(grid.n_train),
            **{key: _axis_values(values) for key, values in grid.axes.items()},
            "layer": np.array(self.layers, dtype=object),
            "measure": np.array(labels, dtype=object),
            "kind": ("measure", np.array(kinds, dtype=object)),
            "pair": np.arange(len(self.pairs)),
            "member_a": ("pair", [a for a, _ in self.pairs]),
            "member_b": ("pair", [b for _, b in self.pairs]),
            "member": np.arange(grid.members),
            "part": np.arange(PARTS),
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
        return any(isinstance(point.network, train.Linear) for point in self._points.values())

    @property
    def optional(self) -> list[str]:
        """Variables of this run that not every run has."""
        stops = any(point.train.may_stop for point in self._points.values())
        return [
            "alignment_by_part",
            *(REGIME if self._any_linear else ()),
            *(STOPPING if stops else ()),
            *(TRAJECTORY if len(self.steps) else ()),
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
        described = {key: values[0] for key, values in study.grid.axes.items() if key.startswith(("data.", "noise."))}
        if described:
            data["described at"] = described
        noise = {
            "process": study.noise.process.name,
            "definition": study.noise.process.definition,
            "shared": list(study.noise.shared),
        }
        sentences = dict.fromkeys(itertools.chain(*(drawn.sentences for drawn in overlays.values())))
        return {
            "name": study.name,
            "study": study.toml(),
            "axes": json.dumps(list(study.grid.axes)),
            "optional": json.dumps(self.optional),
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


def _sizes(splits: Splits) -> tuple[int, int]:
    return splits.train_x.shape[1], splits.n_outputs


def _check(point: Study, splits: Splits) -> None:
    """Refuse noise or losses that do not fit the task, and measures that need more probe samples."""
    for measure in point.measure.measures:
        if len(splits.probe_x) < measure.min_samples:
            raise ConsilienceError(
                f"data.n_probe = {len(splits.probe_x)}: {measure.label} needs {measure.min_samples} or more; set "
                f"data.n_probe, or leave this measure out"
            )
        if measure.needs_targets and splits.task != "classification":
            raise ConsilienceError(
                f"measure.measures: {measure.label} compares classifiers, and {point.data.source.name} is "
                f"{splits.task}: leave this measure out"
            )
    process = point.noise.process
    if splits.task not in process.tasks:
        fitting = " or ".join(sorted(process.tasks))
        raise ConsilienceError(
            f"noise.process = {process.name!r}: corrupts {fitting} data, but {point.data.source.name} is {splits.task}"
            + (" as far as its target tells; data.task decides" if isinstance(point.data.source, File) else "")
        )
    if splits.task == "regression" and point.train.loss == "cross-entropy":
        raise ConsilienceError(
            f"train.loss = 'cross-entropy': {point.data.source.name} is regression; use 'squared-error' or 'auto'"
        )


def _axis_values(values: tuple[Any, ...]) -> Any:
    """Return coordinate values xarray can index: numbers as they are, anything else as text."""
    if all(isinstance(value, int | float) for value in values):
        return np.array(values)
    return np.array([value if isinstance(value, str) else json.dumps(value) for value in values], dtype=object)

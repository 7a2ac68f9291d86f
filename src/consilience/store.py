"""The run directory: a study's results on disk.

Contract
--------
A run directory holds

- ``study.toml``, the study with every option resolved;
- ``results.zarr``, a Zarr v3 group that xarray opens as the run's Dataset, in which every variable has one
  chunk per cell;
- ``provenance.json``, one entry for each process that wrote: its times, cells, seed, versions and hardware. What
  the data are is an attribute of the Dataset.

A cell is written variable by variable and ``done`` last. Chunk writes are atomic renames, so a process killed
at any moment loses the cells in flight and nothing else: what is not ``done`` is computed again, what is done
is never touched. One process writes at a time; a lock file sees to it. Reading needs no lock.

The Dataset
-----------
Dimensions ``snr, n_train, *axes`` for cells, then ``layer, measure`` with ``pair`` or ``part``, or ``member``; ``axes``
are the grid's further keys, listed in ``attrs["axes"]`` (JSON).

============================================ =========================================================
``alignment`` (cell, layer, measure, pair)   scores as measured, ``kind`` (measure) says whether
                                             similarity or distance; NaN where a member diverged, where
                                             a measure does not apply to a layer, or the cell is not done.
                                             For asymmetric measures the mean of both directions.
``predicted`` (cell, layer, measure)         theory, NaN where it does not speak
``predicted_error`` (cell)                   theory for ``test_error``
``train_loss, train_error`` (cell, member)   on the noisy training set, less what was held out of it; error is the
                                             misclassified fraction, or squared error / variance of the targets
``test_loss, test_error`` (cell, member)     the same against clean targets
``converged`` (cell, member)                 the weights that are measured fit the noisy training set, less what was
                                             held out: ``train_error`` 0, or ≤ 1e-3 in regression
``diverged_at`` (cell, member)               step at which the loss stopped being finite, else -1
``n_parameters`` (cell), ``done`` (cell)     trainable numbers; whether the cell is finished
``note`` (cell)                              why scores are missing, one reason a line: members that diverged,
                                             representations a measure is not defined for
============================================ =========================================================

Not every run has the following; those it has are listed in ``attrs["optional"]`` (JSON). Runs written before a
variable was introduced lack it, and are read and resumed without.

================================================== ====================================================================
``alignment_by_part`` (cell, layer, measure, part) what each fifth of the probe inputs (sample i is in part i mod 5)
                                                   says of the mean score over pairs: the standard deviation over
                                                   parts / √5 is its standard error over draws of the probe inputs,
                                                   given the networks. Only differences between parts mean anything:
                                                   jackknife pseudo-values, or scores on the part alone
                                                   (`consilience.values.scores_by_part`).
``failure`` (cell, member)                         why there is no network: it diverged, its trainer raised, memory ran
                                                   out; "" where there is one
``alignment_across`` (group, measure_across,       runs with ``[pairs] across``: scores between members of cells that
variant_a, layer_a, network_a, variant_b,          differ in nothing but those axes, a before b where a measure is
layer_b, network_b)                                asymmetric; ``note_across`` and ``done_across`` (group) as for cells.
                                                   The dimensions of a group are the other axes, listed in
                                                   ``attrs["across"]`` (JSON); ``kind_across`` (measure_across)
``regime`` (cell, member)                          linear networks: which theory of the hidden layer holds
                                                   (`consilience.theory.regime`), "small-initialization", "balanced",
                                                   "lazy" or "between"; "" for other networks and members that
                                                   diverged, where the following are NaN
``imbalance`` (cell, member)                       half the mean eigenvalue of W₂ᵀW₂ − W₁W₁ᵀ, in size, over the
                                                   largest singular value of W₂W₁
``hidden_from_map`` (cell, member)                 CKA of W₁ᵀW₁ with the root of WᵀW, W = W₂W₁: 1 for small
                                                   initialization
``hidden_kept`` (cell, member)                     CKA of W₁ᵀW₁ after and before training; NaN in closed form
``stopped_at`` (cell, member)                      runs in which members may stop before the last step: the step at
                                                   which they did, else -1
``kept_at`` (cell, member)                         step of the weights that are measured: earlier than ``stopped_at``
                                                   where rows are held out
``trajectory`` (cell, step, layer, measure, pair)  runs with ``measure.steps``: ``alignment`` after ``step`` updates;
                                                   NaN at steps a cell is not measured at. A member that has
                                                   stopped counts with the weights it keeps; after its last step a
                                                   cell has its ``alignment``
``train_loss_at, train_error_at,                   the same for losses and errors
test_loss_at, test_error_at`` (cell, step, member)
================================================== ====================================================================
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import filelock
import numpy as np
import xarray as xr
import zarr

from consilience.across import Group
from consilience.errors import ConsilienceError
from consilience.study import Cell, Study

__all__ = ["ACROSS", "REGIME", "STOPPING", "TRAJECTORY", "RunStore", "open_run", "write_atomically"]

_STUDY, _RESULTS, _PROVENANCE, _LOCK = "study.toml", "results.zarr", "provenance.json", ".lock"
# Dimensions after those of the cell, type and fill value of what is written cell by cell.
_Variables = dict[str, tuple[tuple[str, ...], type, Any]]
_VARIABLES: _Variables = {
    "alignment": (("layer", "measure", "pair"), np.float64, np.nan),
    "train_loss": (("member",), np.float64, np.nan),
    "train_error": (("member",), np.float64, np.nan),
    "test_loss": (("member",), np.float64, np.nan),
    "test_error": (("member",), np.float64, np.nan),
    "converged": (("member",), np.bool_, False),
    "diverged_at": (("member",), np.int32, -1),
    "note": ((), str, ""),
    "done": ((), np.bool_, False),
}
_OPTIONAL: _Variables = {
    "alignment_by_part": (("layer", "measure", "part"), np.float64, np.nan),
    "failure": (("member",), str, ""),
    "regime": (("member",), str, ""),
    "imbalance": (("member",), np.float64, np.nan),
    "hidden_from_map": (("member",), np.float64, np.nan),
    "hidden_kept": (("member",), np.float64, np.nan),
    "stopped_at": (("member",), np.int32, -1),
    "kept_at": (("member",), np.int32, -1),
    "trajectory": (("step", "layer", "measure", "pair"), np.float64, np.nan),
    "train_loss_at": (("step", "member"), np.float64, np.nan),
    "train_error_at": (("step", "member"), np.float64, np.nan),
    "test_loss_at": (("step", "member"), np.float64, np.nan),
    "test_error_at": (("step", "member"), np.float64, np.nan),
}
REGIME = ("regime", "imbalance", "hidden_from_map", "hidden_kept")
"""Variables of runs that have linear networks."""
STOPPING = ("stopped_at", "kept_at")
"""Variables of runs in which members may stop before the last step."""
TRAJECTORY = ("trajectory", "train_loss_at", "train_error_at", "test_loss_at", "test_error_at")
"""Variables of runs that measure networks during training."""

_SIDES = ("variant_a", "layer_a", "network_a", "variant_b", "layer_b", "network_b")
_OF_GROUPS: _Variables = {
    "alignment_across": (("measure_across", *_SIDES), np.float64, np.nan),
    "note_across": ((), str, ""),
    "done_across": ((), np.bool_, False),
}
ACROSS = tuple(_OF_GROUPS)
"""Variables of runs that compare across cells: a group of cells in place of a cell."""


def _variables(attributes: Mapping[str, Any]) -> _Variables:
    """Return the variables of a run by its attributes, "done" last; what a later version added is left alone."""
    optional = json.loads(attributes.get("optional", "[]"))
    return {name: _OPTIONAL[name] for name in optional if name in _OPTIONAL} | _VARIABLES


def _variables_of_groups(attributes: Mapping[str, Any]) -> _Variables:
    """Return the variables of comparisons across cells, "done_across" last."""
    return _OF_GROUPS if "done_across" in json.loads(attributes.get("optional", "[]")) else {}


def _group_axes(attributes: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(json.loads(attributes.get("across", "{}")).get("axes", ()))


def open_run(path: str | Path) -> xr.Dataset:
    """Read a run directory, finished or not, as an xarray Dataset in memory.

    Raises
    ------
    ConsilienceError
        When `path` is not a run directory, or files of a finished cell are lost or damaged.
    """
    folder = Path(path)
    if not (folder / _RESULTS / "zarr.json").is_file():
        raise ConsilienceError(f"{folder}: not a run directory (it has no {_RESULTS}); `consilience run` makes one")
    try:
        lazy = xr.open_zarr(folder / _RESULTS, consolidated=False)
        if "done" in lazy:
            # First: a cell that another process finishes while the rest is read does not count yet.
            lazy = lazy.assign({name: lazy[name].load() for name in ("done", "done_across") if name in lazy})
        dataset = lazy.load()
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise ConsilienceError(f"{folder}: results cannot be read, a file is damaged ({error}); {_REPAIR}") from error
    _check_complete(folder, dataset)
    return _only_done(dataset)


def _only_done(dataset: xr.Dataset) -> xr.Dataset:
    """Blank what a killed process, or one still at work, has written of cells that are not done."""
    for done, variables in (
        ("done", _variables(dataset.attrs)),
        ("done_across", _variables_of_groups(dataset.attrs)),
    ):
        for name, (_, _, fill) in variables.items():
            if name != done:
                dataset[name] = dataset[name].where(dataset[done], fill).astype(dataset[name].dtype)
    return dataset


_REPAIR = "remove the run directory and run the study again"


def _check_complete(folder: Path, dataset: xr.Dataset) -> None:
    """Refuse a run with lost files: Zarr would give fill values in their place, as if they had been measured."""
    parts = {"done": _variables(dataset.attrs), "done_across": _variables_of_groups(dataset.attrs)}
    lost = [name for variables in parts.values() for name in variables if name not in dataset]
    if lost:
        raise ConsilienceError(f"{folder}: the results have no variable {lost[0]!r}, a file is lost; {_REPAIR}")
    for done, variables in parts.items():
        for index in np.argwhere(dataset[done].values) if variables else ():
            for name in variables:
                chunk = [*map(str, index), *["0"] * (dataset[name].ndim - len(index))]
                if not (folder / _RESULTS / name).joinpath("c", *chunk).is_file():
                    raise ConsilienceError(f"{folder}: {name} of the finished cell {index.tolist()} is lost; {_REPAIR}")


def write_atomically(path: Path, text: str) -> None:
    """Write the whole file or nothing: to a temporary file beside it, then rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _umask() -> int:
    """Return the process's mask of file modes: temporary files are private, results are as the user's others."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


class RunStore:
    """Writer of one run directory; a context manager that holds its lock."""

    def __init__(self, folder: Path, study: Study) -> None:
        self.folder = folder
        self.study = study
        self._lock = filelock.FileLock(str(folder / _LOCK), timeout=0)
        self._group: Any = None

    @classmethod
    def check(cls, folder: Path, study: Study) -> None:
        """Refuse a directory that holds another study or something else than a run.

        Raises
        ------
        ConsilienceError
            Naming the directory and the first key in which the studies differ.
        """
        above = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        if not above.is_dir():
            raise ConsilienceError(f"out = {folder}: {above} is a file; give another directory")
        if not (folder / _STUDY).is_file():
            if not _unfinished_layout(folder):
                raise ConsilienceError(f"out = {folder}: holds something else than a run; give another directory")
            return
        difference = _difference(Study.load(folder / _STUDY).tables(), study.tables())
        if difference:
            raise ConsilienceError(
                f"out = {folder}: holds a different study ({difference}); give another directory, or remove this one"
            )

    def __enter__(self) -> Self:
        self.check(self.folder, self.study)
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire()
        except filelock.Timeout:
            raise ConsilienceError(
                f"out = {self.folder}: another process is writing to this run; wait for it"
            ) from None
        try:
            self.check(self.folder, self.study)  # again: another process may have begun and ended here in between
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def create(self, template: xr.Dataset) -> None:
        """Lay the run out on disk, unless it is there already.

        Parameters
        ----------
        template
            Coordinates, attributes and the variables known before training; their names and sizes give the
            shapes of the rest. ``study.toml`` is written last and marks the layout as complete.
        """
        path = self.folder / _RESULTS
        if not (self.folder / _STUDY).is_file():
            template.to_zarr(path, mode="w", zarr_format=3, consolidated=False)
            group = zarr.open_group(path)
            cell_dims = ("snr", "n_train", *json.loads(template.attrs["axes"]))
            _create(group, template, cell_dims, _variables(template.attrs))
            _create(group, template, _group_axes(template.attrs), _variables_of_groups(template.attrs))
            write_atomically(self.folder / _STUDY, self.study.toml())
        self._group = zarr.open_group(path)
        before, now = (json.loads(attributes["data"]) for attributes in (self._group.attrs, template.attrs))
        if before["fingerprint"] != now["fingerprint"]:
            raise ConsilienceError(
                f"out = {self.folder}: the data have changed since this run began (then: {before['origin']}; "
                f"now: {now['origin']}); give another directory"
            )

    def missing(self) -> list[Cell]:
        """Return the cells that are not done, in order."""
        done = self._group["done"][...]
        return [cell for cell in self.study.cells() if not done[cell.index]]

    def missing_groups(self, groups: Sequence[Group]) -> list[Group]:
        """Return the groups whose comparisons are not done, in order."""
        if not _variables_of_groups(self._group.attrs):
            return []
        done = self._group["done_across"][...]
        return [group for group in groups if not done[group.index]]

    def write(self, place: Cell | Group, values: Mapping[str, Any]) -> None:
        """Write one finished cell, or group of cells: each variable's block, and then that it is done."""
        of_group = isinstance(place, Group)
        variables = (_variables_of_groups if of_group else _variables)(self._group.attrs)
        done = "done_across" if of_group else "done"
        # Chunks that equal the fill value are written too: a file that is not there is then a file that was lost.
        with zarr.config.set({"array.write_empty_chunks": True}):
            for name in variables:
                if name != done:
                    self._group[name][place.index] = values[name]
            self._group[done][place.index] = True

    def record(self, session: Mapping[str, Any]) -> None:
        """Append one process's times and environment to the provenance."""
        path = self.folder / _PROVENANCE
        try:
            sessions = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
        except json.JSONDecodeError as error:
            raise ConsilienceError(f"{path}: damaged ({error}); the results are complete, remove this file") from None
        sessions.append(dict(session))
        write_atomically(path, json.dumps(sessions, indent=2))
        self._group.attrs["wall_seconds"] = sum(entry["wall_seconds"] for entry in sessions)


def _create(group: Any, template: xr.Dataset, leading: tuple[str, ...], variables: _Variables) -> None:
    """Lay out variables, one chunk for each place on the leading dimensions."""
    for name, (further, dtype, fill) in variables.items():
        sizes = tuple(template.sizes[dim] for dim in further)
        group.create_array(
            name,
            shape=tuple(template.sizes[dim] for dim in leading) + sizes,
            chunks=(1,) * len(leading) + sizes,
            dtype=dtype,
            fill_value=fill,
            dimension_names=leading + further,
        )


def _unfinished_layout(folder: Path) -> bool:
    """Whether a directory is new, or what a process killed in `RunStore.create` left: no cell in it is done."""
    if not folder.exists():
        return True
    foreign = [name for name in os.listdir(folder) if not name.startswith((_LOCK, _RESULTS, f".{_STUDY}."))]
    return not foreign and not (folder / _RESULTS / "done" / "c").exists()


def _difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Return the first key in which two studies differ, with both values; empty when they are equal."""
    for table in {**old, **new}:
        before, after = old.get(table), new.get(table)
        if before == after:
            continue
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            key = next(key for key in {**before, **after} if before.get(key) != after.get(key))
            return f"{table}.{key} = {before.get(key)!r} there, {after.get(key)!r} here"
        return f"{table} = {before!r} there, {after!r} here"
    return ""

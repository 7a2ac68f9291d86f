from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr
from tests.studies import EXACT, contents, study

from consilience.errors import ConsilienceError
from consilience.plan import Plan
from consilience.store import RunStore, open_run, write_atomically

CELL = ("snr", "n_train")
DOCUMENTED = {
    "alignment": ((*CELL, "layer", "measure", "pair"), np.float64),
    "predicted": ((*CELL, "layer", "measure"), np.float64),
    "predicted_error": (CELL, np.float64),
    "train_loss": ((*CELL, "member"), np.float64),
    "train_error": ((*CELL, "member"), np.float64),
    "test_loss": ((*CELL, "member"), np.float64),
    "test_error": ((*CELL, "member"), np.float64),
    "converged": ((*CELL, "member"), np.bool_),
    "diverged_at": ((*CELL, "member"), np.int32),
    "n_parameters": (CELL, np.int64),
    "note": (CELL, np.dtypes.StringDType),
    "done": (CELL, np.bool_),
}
OPTIONAL = {
    "failure": ((*CELL, "member"), np.dtypes.StringDType),
    "alignment_by_part": ((*CELL, "layer", "measure", "part"), np.float64),
    "regime": ((*CELL, "member"), np.dtypes.StringDType),
    "imbalance": ((*CELL, "member"), np.float64),
    "hidden_from_map": ((*CELL, "member"), np.float64),
    "hidden_kept": ((*CELL, "member"), np.float64),
}
BEFORE = DOCUMENTED  # of runs that were written before anything was optional
DOCUMENTED = BEFORE | OPTIONAL
OLD_RUN = Path(__file__).parent / "golden" / "runs" / "first.zip"
FROM_TEMPLATE = {"predicted", "predicted_error", "n_parameters"}
WRITTEN = len(DOCUMENTED) - len(FROM_TEMPLATE)


class Killed(BaseException):
    """Stands for a process that ends at this line: nothing after it runs."""


@pytest.fixture(scope="module")
def plan():
    return Plan(study(EXACT))


@pytest.fixture(scope="module")
def template(plan):
    return plan.template()


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "run"


def block(template: xr.Dataset, seed: int) -> dict[str, np.ndarray]:
    """One cell's values, random, of the documented shapes."""
    rng = np.random.default_rng(seed)
    members = template.sizes["member"]
    shape = tuple(template.sizes[name] for name in ("layer", "measure", "pair"))
    losses = {name: rng.random(members) for name in ("train_loss", "train_error", "test_loss", "test_error")}
    flags = {"converged": rng.random(members) < 0.5, "diverged_at": rng.integers(-1, 9, members).astype(np.int32)}
    other = ("alignment_by_part", "failure", "regime")
    optional = {name: rng.random(members) for name in OPTIONAL if name not in other}
    optional["alignment_by_part"] = rng.random((*shape[:2], template.sizes["part"]))
    optional["failure"] = np.array(["", "diverged: its loss", ""], dtype=np.dtypes.StringDType())
    optional["regime"] = np.array(["lazy", "", "balanced"], dtype=np.dtypes.StringDType())
    return {"alignment": rng.random(shape), **losses, **flags, **optional, "note": f"reason {seed}\nanother"}


def type_of(variable: xr.DataArray) -> type:
    """The type of the elements, however text is held in memory."""
    return np.dtypes.StringDType if variable.dtype.kind in "TOU" else variable.dtype.type


def lay_out(folder: Path, plan: Plan, template: xr.Dataset) -> None:
    with RunStore(folder, plan.study) as store:
        store.create(template)


# --- the Dataset ---


def test_new_run_has_the_documented_variables_and_nothing_done(folder, plan, template):
    lay_out(folder, plan, template)
    ds = open_run(folder)
    assert {name: (ds[name].dims, type_of(ds[name])) for name in ds.data_vars} == DOCUMENTED
    assert not ds["done"].any()
    assert np.isnan(ds["alignment"]).all()
    assert (ds["diverged_at"] == -1).all()


def test_template_comes_back_as_it_was_given(folder, plan, template):
    lay_out(folder, plan, template)
    ds = open_run(folder)
    for name in template.variables:
        np.testing.assert_array_equal(ds[name].values, template[name].values)
    assert ds.attrs == template.attrs


def test_run_directory_holds_the_resolved_study(folder, plan, template):
    lay_out(folder, plan, template)
    assert (folder / "study.toml").read_text(encoding="utf-8") == plan.study.toml()


def test_every_variable_has_one_chunk_per_cell(folder, plan, template):
    lay_out(folder, plan, template)
    group = zarr.open_group(folder / "results.zarr", mode="r")
    for name in set(DOCUMENTED) - FROM_TEMPLATE:
        array = group[name]
        assert array.chunks == (1, 1, *array.shape[2:])


def test_written_cell_comes_back_and_no_other_changes(folder, plan, template):
    cells = plan.study.cells()
    values = block(template, 0)
    with RunStore(folder, plan.study) as store:
        store.create(template)
        store.write(cells[4], values)
        assert [cell.index for cell in store.missing()] == [cell.index for cell in cells if cell != cells[4]]
    ds = open_run(folder)
    for name, value in values.items():
        np.testing.assert_array_equal(ds[name].values[cells[4].index], value)
    assert ds["done"].sum() == 1
    assert np.isfinite(ds["train_loss"]).sum() == template.sizes["member"]


# --- runs of other versions ---


def test_run_written_before_anything_was_optional_still_opens(tmp_path):
    with zipfile.ZipFile(OLD_RUN) as archive:
        archive.extractall(tmp_path)
    ds = open_run(tmp_path)
    assert {name: (ds[name].dims, type_of(ds[name])) for name in ds.data_vars} == BEFORE
    assert ds["done"].all()
    cka = ds["alignment"].sel(layer="hidden_1", measure="cka", snr=0.5, n_train=3).values
    np.testing.assert_array_equal(cka.round(8), [0.94741829, 0.93226198, 0.95410689])


def test_unfinished_run_of_an_earlier_version_is_finished_without_what_is_new(folder, plan, template):
    old = template.drop_vars("part")
    old.attrs = {name: value for name, value in template.attrs.items() if name != "optional"}
    lay_out(folder, plan, old)
    values = block(template, 0)
    with RunStore(folder, plan.study) as store:
        store.create(template)
        for cell in store.missing():
            store.write(cell, values)
    ds = open_run(folder)
    assert ds["done"].all()
    assert {name: (ds[name].dims, type_of(ds[name])) for name in ds.data_vars} == BEFORE


def test_what_a_later_version_added_is_read_and_left_alone(folder, plan, template):
    with RunStore(folder, plan.study) as store:
        store.create(template)
        store.write(plan.study.cells()[0], block(template, 0))
    group = zarr.open_group(folder / "results.zarr")
    group.attrs["optional"] = json.dumps([*json.loads(group.attrs["optional"]), "later"])
    assert open_run(folder)["done"].sum() == 1


@pytest.mark.parametrize("name", OPTIONAL)
def test_lost_optional_variable_is_an_error_that_names_it(folder, plan, template, name):
    with RunStore(folder, plan.study) as store:
        store.create(template)
        store.write(plan.study.cells()[0], block(template, 0))
    array = folder / "results.zarr" / name
    chunk = array.joinpath("c", *["0"] * len(DOCUMENTED[name][0]))
    chunk.unlink()
    with pytest.raises(ConsilienceError, match=name):
        open_run(folder)
    (array / "zarr.json").unlink()
    with pytest.warns(UserWarning, match=name), pytest.raises(ConsilienceError, match=f"no variable '{name}'"):
        open_run(folder)


# --- what is refused, and that nothing is touched then ---


@pytest.mark.parametrize("name", ["absent", "empty", "file", "other"])
def test_what_is_not_a_run_cannot_be_opened(tmp_path, name):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("text", encoding="utf-8")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "study.toml").write_text("name = 'a'", encoding="utf-8")
    with pytest.raises(ConsilienceError, match="not a run directory") as caught:
        open_run(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)


def test_directory_with_other_files_is_refused_and_left_alone(folder, plan):
    folder.mkdir()
    (folder / "thesis.tex").write_text("ten years", encoding="utf-8")
    before = contents(folder)
    with pytest.raises(ConsilienceError, match="something else than a run") as caught, RunStore(folder, plan.study):
        pass
    assert f"out = {folder}" in str(caught.value)
    assert contents(folder) == before


def test_file_in_place_of_the_directory_is_refused(folder, plan):
    folder.write_text("text", encoding="utf-8")
    with pytest.raises(ConsilienceError, match="is a file"), RunStore(folder, plan.study):
        pass
    assert folder.read_text(encoding="utf-8") == "text"


def test_directory_below_a_file_is_refused(tmp_path, plan):
    (tmp_path / "file").write_text("text", encoding="utf-8")
    with pytest.raises(ConsilienceError, match="file"), RunStore(tmp_path / "file" / "run", plan.study):
        pass


def test_empty_directory_becomes_a_run(folder, plan, template):
    folder.mkdir()
    lay_out(folder, plan, template)
    assert not open_run(folder)["done"].any()


@pytest.mark.parametrize(
    ("changes", "axes", "difference"),
    [
        ({"seed": 1}, {}, "seed = 0 there, 1 here"),
        ({"grid.members": 4}, {}, "grid.members = 3 there, 4 here"),
        ({"train.ridge": 0.5}, {}, "train.ridge = 0.0 there, 0.5 here"),
        ({"network.hidden": [3]}, {}, "network.hidden = [2] there, [3] here"),
        ({"name": "other"}, {}, "name = 'exact' there, 'other' here"),
        ({"data.pca": 3}, {}, "data.pca = None there, 3 here"),
        ({}, {"train.ridge": [0, 1]}, "grid.train.ridge = None there, [0, 1] here"),
        ({"grid.snr": [1.0]}, {}, "grid.snr = [0.5, 2.0, inf] there, [1.0] here"),
    ],
)
def test_different_study_is_refused_naming_the_first_difference(folder, plan, template, changes, axes, difference):
    lay_out(folder, plan, template)
    before = contents(folder)
    with pytest.raises(ConsilienceError) as caught, RunStore(folder, study(EXACT, changes, axes=axes)):
        pass
    assert difference in str(caught.value)
    assert str(folder) in str(caught.value)
    assert contents(folder) == before


def test_broken_study_file_in_the_run_is_named(folder, plan, template):
    lay_out(folder, plan, template)
    (folder / "study.toml").write_text("[grid\n", encoding="utf-8")
    before = contents(folder)
    with pytest.raises(ConsilienceError, match=r"study\.toml"), RunStore(folder, plan.study):
        pass
    assert contents(folder) == before


# --- one writer ---


def test_second_writer_is_refused_while_the_first_writes(folder, plan, template):
    with RunStore(folder, plan.study) as first:
        first.create(template)
        before = contents(folder)
        with pytest.raises(ConsilienceError, match="another process") as caught, RunStore(folder, plan.study):
            pass
        assert str(folder) in str(caught.value)
        assert contents(folder) == before
    with RunStore(folder, plan.study) as second:
        second.create(template)


def test_a_study_that_came_while_waiting_for_the_lock_is_seen(folder, plan, template, monkeypatch):
    other = Plan(study(EXACT, {"seed": 9}))
    store = RunStore(folder, plan.study)
    acquire = store._lock.acquire

    def late():
        with RunStore(folder, other.study) as first:
            first.create(other.template())
        acquire()

    monkeypatch.setattr(store._lock, "acquire", late)
    with pytest.raises(ConsilienceError, match="holds a different study"), store:
        pass
    lay_out(folder, other, other.template())  # the lock is free


def test_lock_is_released_on_an_error(folder, plan, template):
    with pytest.raises(Killed), RunStore(folder, plan.study):
        raise Killed
    lay_out(folder, plan, template)


def test_a_run_is_read_while_it_is_written(folder, plan, template):
    with RunStore(folder, plan.study) as store:
        store.create(template)
        store.write(plan.study.cells()[0], block(template, 0))
        assert open_run(folder)["done"].sum() == 1


# --- killed at any moment ---


def countdown(monkeypatch, owner, name, calls):
    """Let the first `calls` calls of a function pass, and be killed in the next."""
    original = getattr(owner, name)
    left = iter(range(calls))

    def counted(*args, **kwargs):
        if next(left, None) is None:
            raise Killed
        return original(*args, **kwargs)

    monkeypatch.setattr(owner, name, counted)


@pytest.mark.parametrize("arrays", range(WRITTEN))
def test_layout_killed_between_two_arrays_is_completed(folder, plan, template, monkeypatch, arrays):
    with monkeypatch.context() as patch:
        countdown(patch, zarr.Group, "create_array", arrays)
        with pytest.raises(Killed):
            lay_out(folder, plan, template)
    lay_out(folder, plan, template)
    ds = open_run(folder)
    assert {name: (ds[name].dims, type_of(ds[name])) for name in ds.data_vars} == DOCUMENTED


@pytest.mark.parametrize("where", ["to_zarr", "replace"])
def test_layout_killed_before_it_begins_or_ends_is_completed(folder, plan, template, monkeypatch, where):
    with monkeypatch.context() as patch:
        countdown(patch, *{"to_zarr": (xr.Dataset, "to_zarr"), "replace": (os, "replace")}[where], 0)
        with pytest.raises(Killed):
            lay_out(folder, plan, template)
    assert not (folder / "study.toml").exists()
    lay_out(folder, plan, template)
    assert open_run(folder).sizes["pair"] == 3


def test_leftover_of_a_killed_write_does_not_make_the_directory_something_else(folder, plan, template):
    """A killed process cannot remove its temporary file."""
    folder.mkdir()
    (folder / ".study.toml.abc").write_text("name = ", encoding="utf-8")
    lay_out(folder, plan, template)


@pytest.mark.parametrize("writes", range(WRITTEN))
def test_cell_killed_between_two_variables_is_not_done_and_can_be_written_again(
    folder, plan, template, monkeypatch, writes
):
    cell, values = plan.study.cells()[0], block(template, 1)
    lay_out(folder, plan, template)
    with monkeypatch.context() as patch, RunStore(folder, plan.study) as store:
        store.create(template)
        countdown(patch, zarr.Array, "__setitem__", writes)
        with pytest.raises(Killed):
            store.write(cell, block(template, 0))
    assert not open_run(folder)["done"].any()
    with RunStore(folder, plan.study) as store:
        store.create(template)
        assert store.missing() == plan.study.cells()
        store.write(cell, values)
    ds = open_run(folder)
    assert ds["done"].values[cell.index]
    for name, value in values.items():
        np.testing.assert_array_equal(ds[name].values[cell.index], value)


# --- damage from outside ---


def damaged(folder: Path, plan: Plan, template: xr.Dataset) -> Path:
    """A run with one cell done, and the file of that cell's alignment."""
    with RunStore(folder, plan.study) as store:
        store.create(template)
        store.write(plan.study.cells()[0], block(template, 0))
    return folder / "results.zarr" / "alignment" / "c" / "0" / "0" / "0" / "0" / "0"


def test_lost_chunk_of_a_finished_cell_is_an_error_that_names_it(folder, plan, template):
    damaged(folder, plan, template).unlink()
    with pytest.raises(ConsilienceError, match="alignment") as caught:
        open_run(folder)
    assert str(folder) in str(caught.value)


def test_truncated_chunk_is_an_error_that_names_the_run(folder, plan, template):
    chunk = damaged(folder, plan, template)
    chunk.write_bytes(chunk.read_bytes()[:5])
    with pytest.raises(ConsilienceError) as caught:
        open_run(folder)
    assert str(folder) in str(caught.value)


@pytest.mark.filterwarnings("ignore:Object at done is not recognized")
def test_lost_array_is_an_error_that_names_the_run(folder, plan, template):
    damaged(folder, plan, template)
    (folder / "results.zarr" / "done" / "zarr.json").unlink()
    with pytest.raises(ConsilienceError, match="done"):
        open_run(folder)


# --- provenance ---


def test_sessions_are_appended_and_their_times_added(folder, plan, template):
    with RunStore(folder, plan.study) as store:
        store.create(template)
        store.record({"wall_seconds": 1.5, "cells": 2})
        store.record({"wall_seconds": 2.0, "cells": 3})
    sessions = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
    assert [session["cells"] for session in sessions] == [2, 3]
    assert open_run(folder).attrs["wall_seconds"] == 3.5


def test_truncated_provenance_is_an_error_that_names_the_file(folder, plan, template):
    with RunStore(folder, plan.study) as store:
        store.create(template)
        store.record({"wall_seconds": 1.5})
        path = folder / "provenance.json"
        path.write_text(path.read_text(encoding="utf-8")[:10], encoding="utf-8")
        with pytest.raises(ConsilienceError, match=r"provenance\.json"):
            store.record({"wall_seconds": 2.0})


# --- write_atomically ---


def test_write_atomically_makes_folders_and_replaces(tmp_path):
    path = tmp_path / "a" / "b" / "text"
    write_atomically(path, "one")
    write_atomically(path, "twö")
    assert path.read_text(encoding="utf-8") == "twö"
    assert os.listdir(path.parent) == ["text"]


@pytest.mark.parametrize("fail", ["write", "replace"])
def test_write_atomically_leaves_the_old_file_when_it_fails(tmp_path, monkeypatch, fail):
    path = tmp_path / "text"
    write_atomically(path, "old")
    if fail == "replace":
        countdown(monkeypatch, os, "replace", 0)
    with pytest.raises((Killed, UnicodeEncodeError)):
        write_atomically(path, "new" if fail == "replace" else "\ud800")  # a lone surrogate is no UTF-8
    assert path.read_text(encoding="utf-8") == "old"
    assert os.listdir(tmp_path) == ["text"]


def test_what_was_written_of_an_unfinished_cell_is_not_shown(folder, plan, template, monkeypatch):
    """A process killed between two variables of a cell leaves scores that belong to nothing finished."""
    cell = plan.study.cells()[0]
    with RunStore(folder, plan.study) as store:
        store.create(template)
        countdown(monkeypatch, zarr.Array, "__setitem__", WRITTEN - 2)
        with pytest.raises(Killed):
            store.write(cell, block(template, 1))
    ds = open_run(folder)
    assert not ds["done"].any()
    assert np.isnan(ds["alignment"]).all()
    assert np.isnan(ds["train_error"]).all()
    assert not ds["converged"].any()
    assert (ds["diverged_at"] == -1).all()

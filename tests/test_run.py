from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
import warnings

import jax
import numpy as np
import psutil
import pytest
from tests.studies import (
    DESCENT,
    EXACT,
    GRADIENT,
    INF,
    assert_same_bits,
    compiled_once,  # noqa: F401
    contents,
    python,
    study,
    study_file,
    tables,
    without_times,
)

import consilience.values
from consilience import theory, train
from consilience.errors import ConsilienceError
from consilience.plan import Plan
from consilience.registry import get_measure
from consilience.run import default_folder, estimate, run, unfinished
from consilience.store import REGIME, open_run
from consilience.study import Study

BASES = {"exact": EXACT, "descent": DESCENT, "gradient": GRADIENT}
every_solver = pytest.mark.parametrize("base", BASES.values(), ids=BASES)
# Scores of float64 arithmetic over 50 probe samples, computed pair by pair instead of all at once.
ROUNDING = 1e-10


@pytest.fixture(scope="module")
def finished(tmp_path_factory, compiled_once):  # noqa: F811
    """Each study run to its end without interruption, by its name."""
    root = tmp_path_factory.mktemp("finished")
    return {name: run(study(base), root / name) for name, base in BASES.items()}


@pytest.fixture
def trained(monkeypatch):
    """The cells that were asked to be trained, and what came out."""
    seen = []
    original = train.train

    def spy(ensemble, cells, **options):
        for index, result in original(ensemble, cells, **options):
            seen.append((cells[index], result))
            yield index, result

    monkeypatch.setattr(train, "train", spy)
    return seen


def altered(monkeypatch, change):
    """Let `change` rewrite what training returns."""
    original = train.train

    def wrapper(ensemble, cells, **options):
        for index, result in original(ensemble, cells, **options):
            yield index, change(result)

    monkeypatch.setattr(train, "train", wrapper)


def interrupt_after(cells):
    def progress(done, total):
        if done == cells:
            raise KeyboardInterrupt

    return progress


# --- what a run holds ---


@every_solver
def test_finished_run_has_a_score_everywhere(finished, base):
    ds = finished[base["name"]]
    assert ds["done"].all()
    assert (ds["diverged_at"] == -1).all()
    outputs = ds["alignment"].sel(layer="output")
    assert np.isfinite(outputs).all()
    for name in ("train_loss", "train_error", "test_loss", "test_error"):
        assert np.isfinite(ds[name]).all()
        assert (ds[name] >= 0).all()


def test_run_returns_what_open_run_reads(tmp_path, finished):
    again = run(study(EXACT), tmp_path / "run")
    assert open_run(tmp_path / "run").identical(again)
    assert without_times(again).identical(without_times(finished["exact"]))


def test_study_has_run_as_a_method(tmp_path, finished):
    assert_same_bits(study(EXACT).run(tmp_path / "run"), finished["exact"])


def test_default_folder_is_runs_slash_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small = study(EXACT, {"grid.snr": [1.0], "grid.n_train": [8], "name": "here"})
    assert str(default_folder(small)) == os.path.join("runs", "here")
    run(small)
    assert (tmp_path / "runs" / "here" / "study.toml").is_file()


def test_networks_without_noise_on_shared_inputs_are_the_same(finished):
    """The exact solution is unique: without noise all members are one network."""
    clean = finished["exact"].sel(snr=INF)
    scores = clean["alignment"].sel(measure=["cka", "output_correlation"], layer="output")
    np.testing.assert_allclose(scores.values, 1, rtol=ROUNDING)
    assert (clean["test_loss"].std("member") < ROUNDING).all()  # of targets of variance 1


def test_converged_means_that_the_training_set_is_fitted(finished):
    """Least squares in 5 dimensions fits 3 samples whatever their noise, 20 only without noise."""
    converged = finished["exact"]["converged"].all("member")
    assert converged.sel(n_train=3).all()
    assert converged.sel(n_train=20).values.tolist() == [False, False, True]


def test_clean_linear_targets_are_learned_from_more_samples_than_dimensions(finished):
    error = finished["exact"]["test_error"].sel(snr=INF)
    assert (error.sel(n_train=[8, 20]) < 1e-9).all()  # float32 inputs, float64 solution: eps(float32)² × 5² / 20
    assert (error.sel(n_train=3) > 0.01).all()


def test_alignment_is_what_pairwise_says_of_the_layers(tmp_path, trained):
    ds = run(study(GRADIENT), tmp_path / "run")
    assert len(trained) == ds["done"].size
    plan = Plan(study(GRADIENT))
    for cell in plan.study.cells():
        (result,) = [layers for asked, layers in trained if asked == plan.training(cell)]
        for layer, measure in itertools.product(ds["layer"].values, ds["measure"].values):
            matrix = consilience.pairwise(list(np.asarray(result.layers[layer])), measure)
            wanted = [matrix[a, b] for a, b in itertools.combinations(range(3), 2)]
            at = ds["alignment"].sel(layer=layer, measure=measure).values[cell.index]
            np.testing.assert_array_equal(at, wanted)


def test_asymmetric_measures_are_averaged_over_both_directions(tmp_path, trained):
    name = "information_imbalance"
    measure = get_measure(name)
    assert not measure.symmetric
    ds = run(study(EXACT, {"grid.snr": [0.5], "grid.n_train": [20]}), tmp_path / "run")
    ((_, result),) = trained
    for pair, (a, b) in enumerate(itertools.combinations(range(3), 2)):
        x, y = result.layers["output"][a], result.layers["output"][b]
        forth, back = float(measure(x, y)), float(measure(y, x))
        assert forth != back
        found = float(ds["alignment"].sel(layer="output", measure=name, pair=pair).squeeze())
        assert found == pytest.approx((forth + back) / 2, rel=ROUNDING)


def test_layers_that_a_network_lacks_have_no_score(tmp_path):
    changes = {"network": {"kind": "mlp", "hidden": [4]}, "grid.snr": [1.0], "grid.n_train": [8], "train.steps": 32}
    deep = run(study(DESCENT, changes, axes={"network.hidden": [[4], [4, 4]]}), tmp_path / "run")
    scores = deep["alignment"].sel(measure="cka")
    assert np.isnan(scores.sel({"network.hidden": "[4]", "layer": "hidden_2"})).all()
    assert np.isfinite(scores.sel({"network.hidden": "[4, 4]"})).all()
    assert np.isfinite(scores.sel(layer=["hidden_1", "output"])).all()
    assert deep["done"].all()
    assert (deep["note"] == "").all()


def test_measures_of_outputs_are_not_applied_to_hidden_layers(finished):
    scores = finished["exact"]["alignment"].sel(measure="output_correlation")
    assert np.isnan(scores.sel(layer="hidden_1")).all()
    assert np.isfinite(scores.sel(layer="output")).all()


def test_measures_of_mistakes_get_the_true_classes_of_the_probe_set(tmp_path):
    changes = {"measure.measures": ["error_consistency", "disagreement"], "grid.snr": [1.0], "grid.n_train": [60]}
    asked = study(GRADIENT, changes)
    ds = run(asked, tmp_path / "run").sel(layer="output").squeeze()
    plan = Plan(asked)
    (cell,) = asked.cells()
    ensemble = plan.ensemble(cell)
    ((_, trained),) = train.train(ensemble, [plan.training(cell)])
    right = trained.layers["output"].argmax(axis=2) == ensemble.splits.probe_y
    found = ds["alignment"].sel(measure="error_consistency").values
    for score, (a, b) in zip(found, itertools.combinations(range(3), 2), strict=True):
        p, q = right[a].mean(), right[b].mean()
        chance = p * q + (1 - p) * (1 - q)
        assert score == pytest.approx(((right[a] == right[b]).mean() - chance) / (1 - chance), rel=1e-9)
    assert np.isfinite(ds["alignment"].sel(measure="disagreement")).all()


def test_a_measure_that_refuses_the_outputs_is_noted_and_the_others_stay(tmp_path):
    changes = {"measure.measures": ["cka", {"name": "jsd", "inputs": "probabilities"}], "grid.snr": [1.0]}
    ds = run(study(GRADIENT, {**changes, "grid.n_train": [60]}), tmp_path / "run")
    assert np.isfinite(ds["alignment"].sel(measure="cka")).all()
    assert np.isnan(ds["alignment"].sel(measure="jsd(inputs=probabilities)")).all()
    assert "rows that sum to 1" in str(ds["note"].squeeze().values) or "no probability" in str(ds["note"].values)


@every_solver
def test_every_score_says_how_it_varies_over_probe_inputs(finished, base):
    ds = finished[base["name"]]
    scored = np.isfinite(ds["alignment"]).any("pair")
    assert (np.isfinite(ds["alignment_by_part"]) == scored).all()
    assert ds.sizes["part"] == 5


def test_linear_networks_have_a_regime_and_others_do_not(finished):
    exact, descent = finished["exact"], finished["descent"]
    assert "regime" not in finished["gradient"]
    assert (exact["regime"] == "small-initialization").all()
    assert (exact["imbalance"] < ROUNDING).all()
    assert (exact["hidden_from_map"] > 1 - ROUNDING).all()
    assert np.isnan(exact["hidden_kept"]).all()  # nothing was trained
    assert set(descent["regime"].values.ravel()) <= {"small-initialization", "balanced", "lazy", "between"}
    for name in ("imbalance", "hidden_from_map", "hidden_kept"):
        assert np.isfinite(descent[name]).all()


def test_the_regime_of_a_member_is_that_of_its_weights(tmp_path, trained):
    large = {"network.init_scale": 1.0, "network.hidden": [40]}
    of = study(DESCENT, {**large, "grid.snr": [1.0], "grid.n_train": [8]})
    ds = run(of, tmp_path / "run").squeeze()
    ((_, result),) = trained
    weights = result.weights
    for member in range(3):
        start = tuple(each[member] for each in weights.initial)
        found = theory.regime(weights.first[member], weights.second[member], start)
        assert str(ds["regime"].values[member]) == found.kind
        assert found.kind != "small-initialization"
        for name, value in zip(REGIME[1:], (found.imbalance, found.small, found.kept), strict=True):
            assert float(ds[name][member]) == pytest.approx(value, rel=ROUNDING)


def test_other_networks_and_members_that_diverged_have_no_regime(tmp_path, monkeypatch):
    def diverge(result):
        return result._replace(diverged_at=np.array([-1, 7, -1], np.int32))

    altered(monkeypatch, diverge)
    small = {"grid.snr": [1.0], "grid.n_train": [8], "train.steps": 32}
    ds = run(study(DESCENT, small, axes={"network.kind": ["linear", "mlp"]}), tmp_path / "run").squeeze()
    regimes = ds["regime"].transpose("network.kind", "member").values
    assert (regimes == "").tolist() == [[False, True, False], [True] * 3]
    assert (np.isnan(ds["imbalance"].transpose("network.kind", "member")) == (regimes == "")).all()


def test_a_map_of_zero_has_no_regime_and_a_note(tmp_path, monkeypatch):
    def kill(result):
        first = np.array(result.weights.first)
        first[1] = 0
        return result._replace(weights=result.weights._replace(first=first))

    altered(monkeypatch, kill)
    ds = run(study(EXACT, {"grid.snr": [1.0], "grid.n_train": [8]}), tmp_path / "run").squeeze()
    assert (ds["regime"] == "").values.tolist() == [False, True, False]
    assert str(ds["note"].values).startswith("member 1 has no regime of the hidden layer: the map")


@every_solver
def test_run_without_missing_scores_has_no_notes(finished, base):
    assert (finished[base["name"]]["note"] == "").all()


# --- progress ---


def test_progress_counts_cells_that_are_on_disk(tmp_path):
    calls = []

    def progress(done, total):
        on_disk = int(open_run(tmp_path / "run")["done"].sum())
        calls.append((done, total, on_disk))

    run(study(EXACT), tmp_path / "run", progress=progress)
    assert calls == [(done, 9, done) for done in range(10)]
    calls.clear()
    run(study(EXACT), tmp_path / "run", progress=progress)
    assert calls == [(9, 9, 9)]


# --- resume, order, devices: bit-identical ---


@every_solver
def test_finished_run_is_not_computed_again(tmp_path, base, trained):
    once = run(study(base), tmp_path / "run")
    before = contents(tmp_path / "run")
    n_trained = len(trained)
    again = run(study(base), tmp_path / "run")
    assert n_trained == once["done"].size
    assert len(trained) == n_trained
    assert again.identical(once)
    assert contents(tmp_path / "run") == before


@every_solver
def test_interrupted_run_goes_on_where_it_stopped(tmp_path, base, finished, trained):
    with pytest.raises(KeyboardInterrupt):
        run(study(base), tmp_path / "run", progress=interrupt_after(1))
    assert open_run(tmp_path / "run")["done"].sum() == 1
    trained.clear()
    resumed = run(study(base), tmp_path / "run")
    assert len(trained) == resumed["done"].size - 1
    assert_same_bits(resumed, finished[base["name"]])


def test_run_interrupted_after_every_cell_is_bit_identical(tmp_path, finished):
    for cells in range(1, 9):
        with pytest.raises(KeyboardInterrupt):
            run(study(EXACT), tmp_path / "run", progress=interrupt_after(cells))
    assert_same_bits(run(study(EXACT), tmp_path / "run"), finished["exact"])


@every_solver
def test_order_of_cells_does_not_matter(tmp_path, base, finished):
    shuffled = run(study(base), tmp_path / "run", order=lambda cells: random.Random(1).sample(cells, len(cells)))
    assert_same_bits(shuffled, finished[base["name"]])


@every_solver
def test_number_of_devices_does_not_matter(tmp_path, base, finished):
    assert len(jax.devices()) >= 2
    assert_same_bits(run(study(base), tmp_path / "one", devices=1), finished[base["name"]])
    assert_same_bits(run(study(base), tmp_path / "two", devices=2), finished[base["name"]])


def test_members_that_share_nothing_are_bit_identical_in_any_order(tmp_path):
    own = study(EXACT, {"noise.shared": [], "noise.process": "input-gaussian"})
    once = run(own, tmp_path / "once")
    assert_same_bits(run(own, tmp_path / "reversed", order=lambda cells: cells[::-1]), once)


def test_cell_does_not_depend_on_the_rest_of_the_grid(tmp_path, finished):
    """What one content hash stands for."""
    alone = run(study(EXACT, {"grid.snr": [2.0], "grid.n_train": [20]}), tmp_path / "run")
    whole = finished["exact"].sel(snr=[2.0], n_train=[20])
    for name in ("alignment", "train_error", "test_error"):
        np.testing.assert_array_equal(alone[name].values, whole[name].values)


def test_another_seed_gives_other_results(tmp_path, finished):
    other = run(study(EXACT, {"seed": 1}), tmp_path / "run")
    noisy = {"snr": [0.5, 2.0]}
    assert (other["test_error"].sel(noisy) != finished["exact"]["test_error"].sel(noisy)).all()


# --- kill -9 ---

MANY = {"grid.snr": [0.1 * 1.5**i for i in range(12)], "grid.n_train": list(range(3, 15)), "measure.measures": ["cka"]}
SUICIDE = """
import os, signal, sys
from consilience.run import run
from consilience.study import Study

def progress(done, total):
    if done == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)

run(Study.load(sys.argv[1]), sys.argv[2], progress=progress)
"""


def done_files(folder):
    return contents(folder / "results.zarr" / "done" / "c") if (folder / "results.zarr").is_dir() else {}


@every_solver
def test_run_killed_after_some_cells_resumes_bit_identical(tmp_path, base, finished, trained):
    path, folder = study_file(tmp_path / "study.toml", base), tmp_path / "run"
    killed = python(SUICIDE, str(path), str(folder), "2")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert open_run(folder)["done"].sum() == 2
    before = done_files(folder)
    resumed = run(Study.load(path), folder)
    assert len(trained) == resumed["done"].size - 2
    assert before.items() <= done_files(folder).items(), "a finished cell was written again"
    assert_same_bits(resumed, finished[base["name"]])


def killed_at_random(path, folder, seconds):
    """Start the command, kill it some time after its first new cell is on disk; return whether it was killed."""
    before = len(done_files(folder))
    process = subprocess.Popen(
        [sys.executable, "-m", "consilience.cli", "run", str(path), "--out", str(folder)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while process.poll() is None and len(done_files(folder)) == before:
        time.sleep(0.002)
    time.sleep(seconds)
    process.kill()
    return process.wait() == -signal.SIGKILL


def test_command_killed_at_a_random_moment_resumes_bit_identical(tmp_path):
    path, folder = study_file(tmp_path / "study.toml", EXACT, MANY), tmp_path / "run"
    assert killed_at_random(path, folder, random.Random(0).uniform(0, 0.3))
    before = done_files(folder)
    assert 0 < open_run(folder)["done"].sum() < open_run(folder)["done"].size
    resumed = run(Study.load(path), folder)
    assert before.items() <= done_files(folder).items(), "a finished cell was written again"
    assert_same_bits(resumed, run(Study.load(path), tmp_path / "whole"))


def test_networks_larger_than_the_machine_are_refused_before_anything_is_written(tmp_path):
    huge = study(DESCENT, {"network.hidden": [10**6, 10**6]})
    with pytest.raises(ConsilienceError, match=r"network: to train one of these networks takes about .* GiB"):
        run(huge, tmp_path / "run")
    with pytest.raises(ConsilienceError, match=r"GiB, and this machine has"):
        estimate(Plan(huge))
    assert not (tmp_path / "run").exists()


# --- members that diverged, layers with nothing to compare ---


def test_diverged_members_are_excluded_recorded_and_touch_no_other_cell(tmp_path, finished):
    rates = [0.05, 1e6]
    ds = run(study(DESCENT, axes={"train.learning_rate": rates}), tmp_path / "run")
    lost, kept = (ds.sel({"train.learning_rate": rate}, drop=True) for rate in reversed(rates))
    assert ds["done"].all()
    assert (lost["diverged_at"] >= 0).all()
    assert (lost["diverged_at"] <= DESCENT["train"]["steps"]).all()
    assert not lost["converged"].any()
    for name in ("alignment", "train_loss", "train_error", "test_loss", "test_error"):
        assert np.isnan(lost[name]).all()
    for note in lost["note"].values.ravel():
        assert [line.partition(" diverged")[0] for line in note.splitlines()] == ["member 0", "member 1", "member 2"]
    assert_same_bits(kept, finished["descent"])


@pytest.mark.parametrize("how", ["loss", "layer"])
def test_one_diverged_member_leaves_the_pairs_of_the_others(tmp_path, monkeypatch, finished, how):
    def diverge(result):
        if how == "loss":
            return result._replace(diverged_at=np.array([-1, 7, -1], np.int32))
        layers = {name: np.array(values) for name, values in result.layers.items()}
        layers["output"][1, 3, 0] = np.nan
        return result._replace(layers=layers)

    altered(monkeypatch, diverge)
    ds = run(study(EXACT), tmp_path / "run")
    whole = finished["exact"]
    touches = (ds["member_a"] == 1) | (ds["member_b"] == 1)
    assert np.isnan(ds["alignment"].values[..., touches.values]).all()
    outputs = ds["alignment"].sel(layer="output", measure=["cka", "output_correlation"])
    wanted = whole["alignment"].sel(layer="output", measure=["cka", "output_correlation"])
    np.testing.assert_allclose(outputs.values[..., 1], wanted.values[..., 1], rtol=ROUNDING)  # the pair (0, 2)
    assert np.isnan(ds["test_error"].sel(member=1)).all()
    np.testing.assert_array_equal(ds["test_error"].sel(member=[0, 2]), whole["test_error"].sel(member=[0, 2]))
    assert (ds["diverged_at"].sel(member=1) >= 0).all()
    assert (ds["diverged_at"].sel(member=[0, 2]) == -1).all()
    assert all("member 1" in note for note in ds["note"].values.ravel())
    if how == "loss":
        assert (ds["diverged_at"].sel(member=1) == 7).all()
    else:
        assert not any("step 0" in note for note in ds["note"].values.ravel()), "the loss was finite throughout"


def test_cell_with_one_member_left_has_no_score(tmp_path, monkeypatch):
    altered(monkeypatch, lambda result: result._replace(diverged_at=np.array([3, -1, 3], np.int32)))
    ds = run(study(EXACT), tmp_path / "run")
    assert ds["done"].all()
    assert np.isnan(ds["alignment"]).all()
    assert np.isfinite(ds["test_error"].sel(member=1)).all()


def test_dead_layer_of_one_member_is_noted_and_leaves_the_others(tmp_path, monkeypatch):
    def kill(result):
        layers = {name: np.array(values) for name, values in result.layers.items()}
        layers["hidden_1"][1] = 0.25
        return result._replace(layers=layers)

    altered(monkeypatch, kill)
    ds = run(study(EXACT), tmp_path / "run")
    hidden = ds["alignment"].sel(layer="hidden_1", measure="cka")
    assert np.isnan(hidden.sel(pair=[0, 2])).all()
    assert np.isfinite(hidden.sel(pair=1)).all()
    assert np.isfinite(ds["alignment"].sel(layer="output")).all()
    assert (ds["diverged_at"] == -1).all()
    for note in ds["note"].values.ravel():
        (line,) = [line for line in note.splitlines() if ", cka:" in line]
        assert line.startswith("hidden_1, cka: ")
        assert "member 1" in line


def test_layer_that_is_dead_in_all_members_is_noted_and_has_no_score(tmp_path, monkeypatch):
    def kill(result):
        return result._replace(layers={name: np.zeros_like(values) for name, values in result.layers.items()})

    altered(monkeypatch, kill)
    ds = run(study(EXACT, {"measure.measures": ["cka"]}), tmp_path / "run")
    assert np.isnan(ds["alignment"]).all()
    assert ds["done"].all()
    for note in ds["note"].values.ravel():
        assert {line.partition(", ")[0] for line in note.splitlines()} == {"hidden_1", "output"}
        assert all(f"member {member}" in note for member in range(3))


def test_other_warnings_of_a_measure_are_not_taken_for_notes(tmp_path, monkeypatch):
    original = consilience.values.pairwise

    def warning(*args, **options):
        warnings.warn("overflow", RuntimeWarning, stacklevel=1)
        return original(*args, **options)

    monkeypatch.setattr("consilience.values.pairwise", warning)
    with pytest.warns(RuntimeWarning, match="overflow"):
        ds = run(study(EXACT, {"grid.snr": [1.0], "grid.n_train": [8]}), tmp_path / "run")
    assert "overflow" not in str(ds["note"].values)


# --- nothing is written on an error ---


@pytest.mark.parametrize(
    ("base", "changes"),
    [
        (GRADIENT, {"noise.process": "label-gaussian"}),
        (GRADIENT, {"grid.n_train": [60, 5000]}),
        (EXACT, {"network.hidden": [1]}),
        (GRADIENT, {"network": {"kind": "linear", "hidden": [10]}, "train.solver": "exact"}),
        (EXACT, {"measure.measures": ["error_consistency"]}),
    ],
    ids=["process", "pool", "rank", "exact-cross-entropy", "classes"],
)
def test_nothing_is_written_when_the_data_do_not_allow_the_study(tmp_path, base, changes):
    with pytest.raises(ConsilienceError):
        run(study(base, changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_nothing_is_written_when_there_are_not_so_many_devices(tmp_path):
    with pytest.raises(ConsilienceError, match="devices = 99"):
        run(study(EXACT), tmp_path / "run", devices=99)
    assert not (tmp_path / "run").exists()


def test_nothing_is_written_when_the_directory_holds_another_study(tmp_path):
    run(study(EXACT), tmp_path / "run")
    before = contents(tmp_path / "run")
    with pytest.raises(ConsilienceError, match="seed = 0 there, 1 here"):
        run(study(EXACT, {"seed": 1}), tmp_path / "run")
    assert contents(tmp_path / "run") == before


def test_resume_on_changed_data_is_refused(tmp_path):
    """A study names its file; the run remembers what was in it."""
    rng = np.random.default_rng(0)
    path = tmp_path / "samples.npz"
    of_file = Study(**tables(EXACT) | {"data": {"source": "file", "path": str(path), "n_test": 9, "n_probe": 9}})

    def write():
        np.savez(path, X=rng.standard_normal((60, 5)), y=rng.standard_normal((60, 2)))

    write()
    with pytest.raises(KeyboardInterrupt):
        run(of_file, tmp_path / "run", progress=interrupt_after(4))
    before = contents(tmp_path / "run" / "results.zarr")
    write()
    with pytest.raises(ConsilienceError, match="data have changed"):
        run(of_file, tmp_path / "run")
    assert contents(tmp_path / "run" / "results.zarr") == before


# --- provenance ---


def sessions(folder):
    return json.loads((folder / "provenance.json").read_text(encoding="utf-8"))


def test_provenance_tells_versions_hardware_seed_and_time(tmp_path):
    start = time.perf_counter()
    ds = run(study(EXACT, {"seed": 3}), tmp_path / "run", devices=1)
    taken = time.perf_counter() - start
    (session,) = sessions(tmp_path / "run")
    assert session["cells"] == 9
    assert session["seed"] == 3
    assert session["versions"]["numpy"] == np.__version__
    assert session["versions"]["jax"] == jax.__version__
    assert session["hardware"]["devices"].startswith("1 ")
    assert session["hardware"]["memory_gib"] == pytest.approx(psutil.virtual_memory().total / 2**30, abs=0.1)
    assert 0 < session["wall_seconds"] <= taken
    assert ds.attrs["wall_seconds"] == session["wall_seconds"]


def test_interrupted_process_leaves_its_entry(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(study(EXACT), tmp_path / "run", progress=interrupt_after(4))
    ds = run(study(EXACT), tmp_path / "run")
    assert [session["cells"] for session in sessions(tmp_path / "run")] == [4, 5]
    assert ds.attrs["wall_seconds"] == pytest.approx(sum(s["wall_seconds"] for s in sessions(tmp_path / "run")))


# --- estimates ---


def test_estimate_counts_every_network_and_every_cell(monkeypatch):
    """With the cost of training given, what is left is the time of the measures."""
    of = study(DESCENT, {"measure.measures": ["cka"]}, axes={"train.learning_rate": [0.01, 0.05]})
    asked = []

    def cost(ensemble, cells, *, devices=None, workers=1):
        asked.append(len(cells))
        return train.Cost(10.0, 1000.0 * len(cells))

    monkeypatch.setattr(train, "training_cost", cost)
    found = estimate(Plan(of))
    assert asked == [2 * 9]
    assert found.networks == 2 * 9 * 3
    assert (found.compiling, found.training) == (10.0, 18_000.0)
    assert 0 < found.measuring < 18
    assert 18_010 <= found.seconds <= 18_010 + found.measuring
    assert psutil.Process().memory_info().rss / 2 < found.memory_bytes < psutil.Process().memory_info().rss + 2**30


def test_estimate_of_a_run_is_of_what_it_misses(tmp_path, monkeypatch):
    of = study(EXACT)
    assert unfinished(of, tmp_path / "run") == of.cells()
    with pytest.raises(KeyboardInterrupt):
        run(of, tmp_path / "run", progress=interrupt_after(4))
    left = unfinished(of, tmp_path / "run")
    # Cells of one n_train are solved together: three of the first, then one.
    assert [cell.index for cell in left] == [(0, 2), (1, 1), (1, 2), (2, 1), (2, 2)]
    monkeypatch.setattr(train, "training_cost", lambda ensemble, cells, **_: train.Cost(0.0, float(len(cells))))
    assert estimate(Plan(of), left).training == 5
    assert estimate(Plan(of), []).seconds == 0


def test_estimate_is_near_what_a_run_takes(tmp_path):
    """Within a factor of 30, since tests may share the machine: training and measuring, timed between cells."""
    longer = study(DESCENT, {"train.steps": 6400, "measure.measures": ["cka"]})
    moments = []
    found = estimate(Plan(longer))
    run(longer, tmp_path / "run", progress=lambda done, total: moments.append(time.perf_counter()))
    taken = (moments[-1] - moments[1]) * 9 / 8
    assert taken / 30 < found.seconds < taken * 30


def test_estimate_grows_with_the_study():
    small = study(EXACT, {"grid.snr": [1.0], "grid.n_train": [20]})
    large = Study(**tables(EXACT, {"grid.snr": [1.0 + i for i in range(40)], "grid.n_train": [20]}))
    one, many = (estimate(Plan(each)) for each in (small, large))
    assert (one.networks, many.networks) == (3, 120)
    assert many.seconds > 4 * one.seconds  # 40 times the cells

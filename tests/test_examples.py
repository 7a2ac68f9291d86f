"""The examples run, and PyTorch trains to what the engine trains to."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from consilience.run import run
from consilience.stats import member_mean, pair_mean
from consilience.study import Study

EXAMPLES = Path(__file__).parent.parent / "examples"
# Of eight differences (cells and quantities) none is beyond 4.5 standard errors by chance: t with 4 degrees of freedom
# puts 11 in 1000 there for each; with a fixed seed the outcome does not change from run to run.
BEYOND = 4.5


def example(name):
    """Import an example; under its own name, so that studies find its trainer again."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def test_sklearn_example_prints_a_line_for_every_pair_of_variants(tmp_path):
    done = subprocess.run(
        [sys.executable, EXAMPLES / "sklearn_trainer.py", "--members", "3", "--out", tmp_path / "run"],
        capture_output=True, text=True, timeout=300, check=True,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert len(lines) == 2 * 3 * 3
    assert lines[0].startswith("snr 1, n_train 50: 4 and 4 units 0.")


def test_pytorch_trains_to_what_the_engine_trains_to(tmp_path):
    """Same noise and samples, other initial weights and batches: means agree within their standard errors."""
    pytest.importorskip("torch")
    grid = {"snr": [0.25, 4], "n_train": [80, 640], "members": 5}
    own = example("pytorch_trainer").study(steps=300)
    own = Study(**{**own.tables(), "grid": grid, "measure": {"measures": ["cka"]}})
    options = {"grid.snr": grid["snr"], "grid.n_train": grid["n_train"], "grid.members": grid["members"]}
    engine = Study.load("demo", **options, **{"train.steps": 300, "measure.measures": ["cka"]})
    found = [run(study, tmp_path / study.name) for study in (own, engine)]
    torch, jax = (
        pair_mean(ds["alignment"].sel(layer="hidden_1", measure="cka").values, ds["member_a"], ds["member_b"])
        for ds in found
    )
    assert_alike(torch, jax)
    assert_alike(*(member_mean(ds["test_error"].values) for ds in found))
    assert np.all(found[0]["failure"] == "")


def assert_alike(one, other):
    z = (one.mean - other.mean) / np.hypot(one.se, other.se)
    assert np.abs(z).max() < BEYOND, z

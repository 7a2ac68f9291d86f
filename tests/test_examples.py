"""The examples run, and PyTorch trains to what the engine trains to."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.special
from sklearn.neural_network import MLPClassifier

from consilience._custom import resolve
from consilience.errors import ConsilienceError
from consilience.run import run
from consilience.stats import member_mean, pair_mean
from consilience.study import Study
from consilience.train import TrainingSet

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


@pytest.mark.parametrize("n_outputs", [2, 3])
def test_sklearn_outputs_are_the_logits_of_its_probabilities(n_outputs):
    """For two classes scikit-learn has one output; likewise where the training set lacks the third of three."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((120, 4)).astype(np.float32)
    y = (x[:, 0] > 0).astype(np.int32)
    training = TrainingSet(x, y, "classification", n_outputs, None, seed=0, member=0)
    output = example("sklearn_trainer").train(training, iterations=1000)(x)["output"]
    assert output.shape == (120, n_outputs)
    assert np.mean(np.argmax(output, axis=1) == y) > 0.95
    fitted = MLPClassifier((16,), max_iter=1000, random_state=0).fit(x, y)
    np.testing.assert_allclose(scipy.special.softmax(output, axis=1)[:, :2], fitted.predict_proba(x), atol=1e-5)


def test_sklearn_trains_two_classes_in_a_study(tmp_path):
    data = {"source": "gaussian-mixture", "n_classes": 2, "n_features": 4, "n_test": 40, "n_probe": 40}
    tables = example("sklearn_trainer").study(members=2, n_train=(60,)).tables()
    grid = {**tables["grid"], "snr": [float("inf")], "trainer.hidden": [16]}
    found = run(Study(**{**tables, "data": data, "grid": grid, "pairs": {}}), tmp_path / "run")
    assert np.all(found["failure"] == "")
    assert np.all(found["train_error"] < 0.2)


@pytest.mark.parametrize("name", ["pytorch_trainer", "sklearn_trainer"])
def test_usage_shows_every_option_with_its_default(name):
    text = (EXAMPLES / f"{name}.py").read_text()
    given = re.findall(r'add_argument\("(--\w+)".*default="?([^")]+)"?\)', text)
    assert re.findall(r"\[(--\w+) (\S+)\]", text) == given


def test_pytorch_trainer_is_found_by_name_from_its_folder_alone(tmp_path, monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    monkeypatch.delitem(sys.modules, "pytorch_trainer", raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConsilienceError, match="cannot import 'pytorch_trainer'"):
        resolve("pytorch_trainer:train", what="trainer")
    monkeypatch.chdir(EXAMPLES)
    assert callable(resolve("pytorch_trainer:train", what="trainer"))
    assert "is started in this folder" in sys.modules["pytorch_trainer"].__doc__


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

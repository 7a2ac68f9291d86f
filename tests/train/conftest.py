"""Small data sets drawn here, ensembles on them, and the realizations members are trained on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from consilience.data import PROCESSES, Splits, noise_keys
from consilience.train import MLP, Cell, Ensemble, Linear, Trained, TrainOptions, train

N_POOL, N_INPUTS, N_OUTPUTS = 150, 5, 3  # the pool is no whole number of the program's blocks of 64


def make_splits(task: str, *, n_pool: int = N_POOL, n_inputs: int = N_INPUTS, n_outputs: int = N_OUTPUTS) -> Splits:
    rng = np.random.default_rng(7)
    teacher = rng.standard_normal((n_inputs, n_outputs)) / np.sqrt(n_inputs)
    x = {part: rng.standard_normal((n, n_inputs)) for part, n in {"train": n_pool, "test": 70, "probe": 40}.items()}

    def targets(inputs):
        if task == "classification":
            return np.argmax(inputs @ teacher, axis=1).astype(np.int32)
        return (inputs @ teacher + 0.3 * inputs[:, :1] * inputs[:, 1:2]).astype(np.float32)

    return Splits(
        train_x=x["train"].astype(np.float32),
        train_y=targets(x["train"]),
        test_x=x["test"].astype(np.float32),
        test_y=targets(x["test"]),
        probe_x=x["probe"].astype(np.float32),
        n_outputs=n_outputs,
        task=task,
        classes=tuple("abcdefgh"[:n_outputs]) if task == "classification" else (),
        image_shape=None,
        feature_names=tuple(map(str, range(n_inputs))),
        origin="drawn by the tests",
        truth=None,
    )


def make_ensemble(task: str = "regression", process: str | None = None, **fields) -> Ensemble:
    """Two members with inputs in common and noisy labels, unless `fields` say otherwise."""
    splits = fields.pop("splits", None) or make_splits(task)
    process = process or ("label-flip" if task == "classification" else "label-gaussian")
    defaults = {"shared": frozenset({"inputs"}), "members": 2, "seed": 3, "n_max": splits.n_pool}
    return Ensemble(splits=splits, process=PROCESSES[process](), **(defaults | fields))


@partial(jax.jit, static_argnums=(0, 1))  # eagerly, each of its many operations would be compiled
def _noisy(process, n_classes, seed, member, level, x, y):
    return process.apply(noise_keys(seed, member), jnp.arange(len(x)), x, y, level, n_classes=n_classes)


STEPS = 71  # two whole draws of batches and a part of a third
SGD = TrainOptions(optimizer="sgd", learning_rate=0.1, steps=STEPS, batch=8)
HEAVY = replace(SGD, momentum=0.8, weight_decay=0.05, schedule="cosine")
ADAM = TrainOptions(learning_rate=0.01, steps=STEPS, batch=8)

# A compilation takes seconds: these programs, between them every option, serve all tests of gradient training.
# name: task, noise process, what members share, network, options
CASES = {
    "sgd": ("regression", "label-gaussian", {"inputs", "init", "batches"}, Linear((4,), init_scale=0.3), SGD),
    "heavy": (
        "regression",
        "label-gaussian",
        set(),
        MLP((6, 4), activation="tanh"),
        replace(HEAVY, nesterov=True, warmup=9),
    ),
    "adam": (
        "classification",
        "label-flip",
        {"inputs", "init"},
        MLP((5,), activation="gelu", init_scale=0.7),
        replace(ADAM, weight_decay=0.5, schedule="cosine"),
    ),
    "full heavy": (
        "regression",
        "input-gaussian",
        {"init"},
        MLP((6,), activation="tanh"),
        replace(HEAVY, batch="full"),
    ),
    "full adam": (
        "classification",
        "label-flip",
        {"inputs"},
        MLP((6,)),
        replace(ADAM, weight_decay=0.5, loss="squared-error", batch="full"),
    ),
}


def make_case(name: str, members: int = 2) -> tuple[Ensemble, Cell]:
    task, process, shared, network, options = CASES[name]
    return make_ensemble(task, process, shared=frozenset(shared), members=members), Cell(100, 0.6, network, options)


@pytest.fixture(scope="session", autouse=True)
def _identical_programs_compile_once(tmp_path_factory):
    settings = {
        "jax_compilation_cache_dir": str(tmp_path_factory.mktemp("compiled")),
        "jax_persistent_cache_min_compile_time_secs": 0.1,
    }
    before = {name: getattr(jax.config, name) for name in settings}
    for name, value in settings.items():
        jax.config.update(name, value)
    yield
    for name, value in before.items():
        jax.config.update(name, value)


@pytest.fixture
def case() -> Callable[..., tuple[Ensemble, Cell]]:
    """An ensemble and a cell of one of `CASES`."""
    return make_case


@pytest.fixture(params=CASES)
def any_case(request) -> tuple[Ensemble, Cell]:
    return make_case(request.param)


@pytest.fixture
def splits() -> Callable[..., Splits]:
    return make_splits


@pytest.fixture
def ensemble() -> Callable[..., Ensemble]:
    return make_ensemble


@pytest.fixture
def trained() -> Callable[..., list[Trained]]:
    """Train cells and return their results in the order of the cells."""

    def run(ensemble, cells, **options):
        found = dict(train(ensemble, cells, **options))
        assert sorted(found) == list(range(len(cells)))
        return [found[index] for index in range(len(cells))]

    return run


@pytest.fixture
def realization() -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """The noisy training set (x, y) of one member of a cell: members of their own inputs start at equal distances."""

    def realize(ensemble, cell, member):
        splits = ensemble.splits
        start = 0 if "inputs" in ensemble.shared else member * (splits.n_pool // ensemble.members)
        ids = np.arange(start, start + cell.n_train) % splits.n_pool
        pool = splits.train_x, splits.train_y
        x, y = _noisy(
            ensemble.process, splits.n_outputs, np.uint32(ensemble.seed), member, np.float32(cell.level), *pool
        )
        return np.asarray(x)[ids], np.asarray(y)[ids]

    return realize


@pytest.fixture
def with_pool_rows() -> Callable[..., Ensemble]:
    """The ensemble with rows of its training pool replaced."""

    def replaced(ensemble, rows, x, y):
        train_x, train_y = ensemble.splits.train_x.copy(), ensemble.splits.train_y.copy()
        train_x[rows], train_y[rows] = x, y
        return replace(ensemble, splits=replace(ensemble.splits, train_x=train_x, train_y=train_y))

    return replaced


@pytest.fixture
def assert_same_bits() -> Callable[[Trained, Trained], None]:
    def check(one, other):
        assert set(one.layers) == set(other.layers)
        for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(one), jax.tree.leaves(other), strict=True):
            assert (a.dtype, a.shape) == (b.dtype, b.shape), jax.tree_util.keystr(path)
            assert a.tobytes() == b.tobytes(), f"{jax.tree_util.keystr(path)} differs by {np.max(np.abs(a - b))}"

    return check

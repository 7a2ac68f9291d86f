"""Splits: disjoint, seeded, nested, and standardised by the training pool alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

from consilience.data import (
    SOURCES,
    Diabetes,
    Digits,
    GaussianMixture,
    LinearTeacher,
    MLPTeacher,
    RealSource,
    Splits,
    Table,
    Task,
    Wine,
    prepare,
)
from consilience.errors import ConsilienceError

EMBEDDED = ["digits", "wine", "breast-cancer", "diabetes"]


@dataclass(frozen=True)
class Rows(RealSource):
    """A source whose first input is the number of the row, so that splits can be traced."""

    name: ClassVar[str] = "rows"
    title: ClassVar[str] = "rows"
    tasks: ClassVar[frozenset[Task]] = frozenset({"regression"})
    n: int = 100

    def load(self) -> Table:
        rng = np.random.default_rng(0)
        rows = np.arange(self.n, dtype=np.float64)
        inputs = np.column_stack([rows, np.full(self.n, 0.1), np.where(rows == 3, 5.0, 0.0), rng.random(self.n)])
        return Table(inputs, np.column_stack([rows, -7 * rows + 3]), "regression", (), None, tuple("abcd"), "rows")


def rows(splits: Splits, part: str) -> np.ndarray:
    """The row numbers in a set, undoing the standardisation through the other sets' known union."""
    everything = np.concatenate([splits.train_x[:, 0], splits.test_x[:, 0], splits.probe_x[:, 0]])
    return np.searchsorted(np.sort(everything), getattr(splits, part)[:, 0])


@pytest.mark.parametrize("seed", [0, 1])
def test_sets_are_disjoint_and_cover_the_data(seed: int) -> None:
    splits = prepare(Rows(), n_train=10, seed=seed)
    sets = [set(rows(splits, part).tolist()) for part in ("train_x", "test_x", "probe_x")]
    assert [len(one) for one in sets] == [60, 20, 20]
    assert set.union(*sets) == set(range(100))


def test_split_is_a_function_of_the_seed() -> None:
    a, b, c = (prepare(Rows(), n_train=10, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(a.train_x, b.train_x)
    np.testing.assert_array_equal(a.probe_x, b.probe_x)
    assert set(rows(a, "probe_x")) != set(rows(c, "probe_x"))


def test_training_pool_is_in_random_order() -> None:
    order = rows(prepare(Rows(n=1000), n_train=10), "train_x")
    assert abs(np.corrcoef(order, np.arange(len(order)))[0, 1]) < 4 / np.sqrt(len(order))


def test_inputs_and_targets_stay_together() -> None:
    splits = prepare(Rows(), n_train=10)
    for x, y in ((splits.train_x, splits.train_y), (splits.test_x, splits.test_y)):
        # Both targets and the first input are linear in the row number.
        np.testing.assert_allclose(x[:, 0], y[:, 0], atol=1e-5)
        np.testing.assert_allclose(x[:, 0], -y[:, 1], atol=1e-5)


@pytest.mark.parametrize("name", EMBEDDED)
def test_standardised_by_the_training_pool(name: str) -> None:
    splits = prepare(SOURCES[name](), n_train=20)
    table = SOURCES[name]().load()
    varies = np.ptp(table.inputs, axis=0) > 0
    x = splits.train_x.astype(np.float64)
    np.testing.assert_allclose(x.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(x.std(axis=0)[varies], 1, atol=1e-5)
    assert splits.train_x.dtype == splits.test_x.dtype == splits.probe_x.dtype == np.float32
    if splits.task == "regression":
        np.testing.assert_allclose(splits.train_y.mean(axis=0), 0, atol=1e-5)
        np.testing.assert_allclose(splits.train_y.std(axis=0), 1, atol=1e-5)
        assert splits.train_y.dtype == np.float32
        # Not by its own statistics.
        assert abs(splits.test_y.std() - 1) > 1e-4
    else:
        assert splits.train_y.dtype == np.int32
        assert splits.n_outputs == len(splits.classes) == splits.train_y.max() + 1
    assert abs(splits.test_x.std(axis=0)[varies] - 1).max() > 1e-4
    assert splits.truth is None


def test_columns_constant_in_the_pool_are_zero_everywhere() -> None:
    seed = next(s for s in range(50) if 3 in rows(prepare(Rows(), n_train=1, seed=s), "probe_x"))
    splits = prepare(Rows(), n_train=1, seed=seed)  # column 2 varies in the probe set only
    for x in (splits.train_x, splits.test_x, splits.probe_x):
        assert not x[:, 1:3].any()
        assert np.isfinite(x).all()


def test_digits_are_those_of_scikit_learn() -> None:
    splits = prepare(Digits(), n_train=[10, 1000])
    data = load_digits()
    assert (splits.d, splits.n_pool, splits.n_outputs, splits.image_shape) == (64, 1079, 10, (8, 8))
    labels = np.concatenate([splits.test_y, splits.train_y])
    assert len(labels) == 1797 - 359
    assert splits.classes == tuple("0123456789")
    order = np.random.default_rng(0).permutation(1797)
    np.testing.assert_array_equal(splits.train_y, data.target[order[718:]])


def test_pool_averages_blocks() -> None:
    whole, pooled = prepare(Digits(), n_train=1, pool=1), prepare(Digits(), n_train=1, pool=2)
    assert pooled.image_shape == (4, 4)
    order = np.random.default_rng(0).permutation(1797)[718:]
    images = load_digits().images[order]
    expected = np.array([[images[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean(axis=(1, 2)) for j in range(4)]
                         for i in range(4)]).reshape(16, -1).T  # fmt: skip
    expected = (expected - expected.mean(axis=0)) / expected.std(axis=0)
    np.testing.assert_allclose(pooled.train_x, expected, atol=1e-5)
    np.testing.assert_array_equal(whole.train_y, pooled.train_y)


def test_pca_is_that_of_scikit_learn_at_mean_variance_one() -> None:
    whole, splits = prepare(Digits(), n_train=1), prepare(Digits(), n_train=1, pca=10)
    reference = PCA(10, svd_solver="full").fit(whole.train_x.astype(np.float64))
    scale = np.sqrt(reference.explained_variance_.mean() * (1 - 1 / splits.n_pool))
    for mine, x in ((splits.train_x, whole.train_x), (splits.probe_x, whole.probe_x)):
        np.testing.assert_allclose(np.abs(mine), np.abs(reference.transform(x)) / scale, atol=2e-4)
    variances = splits.train_x.var(axis=0, dtype=np.float64)
    assert variances.mean() == pytest.approx(1, abs=1e-5)
    assert variances[0] > 2 * variances[-1]  # not whitened
    assert splits.image_shape is None
    assert splits.d == 10


def test_pca_with_more_columns_than_rows() -> None:
    splits = prepare(LinearTeacher(n_features=40), n_train=15, n_test=5, n_probe=5, pca=14)
    whole = prepare(LinearTeacher(n_features=40), n_train=15, n_test=5, n_probe=5)
    assert splits.truth is None  # of the whole inputs, not of the components
    ratio = np.ptp(np.linalg.norm(splits.train_x - splits.train_x[0], axis=1)[1:]) / np.ptp(
        np.linalg.norm(whole.train_x - whole.train_x[0], axis=1)[1:]
    )  # all components: distances up to one scale
    one = splits.train_x - splits.train_x[0]
    other = (whole.train_x - whole.train_x[0]) * ratio
    np.testing.assert_allclose(one @ one.T, other @ other.T, atol=1e-4)


def test_synthetic_data_are_drawn_to_size_and_not_standardised_again() -> None:
    source = LinearTeacher(n_features=7, covariance="power-law", n_outputs=2)
    splits = prepare(source, n_train=[10, 300, 40], n_test=20, n_probe=30, seed=5)
    table = source.sample(350, seed=5)
    np.testing.assert_array_equal(splits.test_x, table.inputs[:20].astype(np.float32))
    np.testing.assert_array_equal(splits.probe_x, table.inputs[20:50].astype(np.float32))
    np.testing.assert_array_equal(splits.train_x, table.inputs[50:].astype(np.float32))
    np.testing.assert_array_equal(splits.train_y, table.targets[50:].astype(np.float32))
    assert splits.truth is not None
    np.testing.assert_allclose(splits.test_y, splits.test_x @ splits.truth.beta.T, atol=1e-5)


@pytest.mark.parametrize("source", [LinearTeacher(), MLPTeacher(), GaussianMixture()], ids=repr)
def test_a_larger_pool_keeps_probe_set_and_smaller_training_sets(source: Any) -> None:
    small, large = (
        prepare(source, n_train=20, n_test=50, n_probe=50),
        prepare(source, n_train=20, n_pool=500, n_test=50, n_probe=50),
    )
    assert (small.n_pool, large.n_pool) == (20, 500)
    np.testing.assert_array_equal(small.probe_x, large.probe_x)
    np.testing.assert_array_equal(small.train_x, large.train_x[:20])
    np.testing.assert_allclose(small.train_y, large.train_y[:20], atol=1e-6)


def test_defaults_of_synthetic_data() -> None:
    splits = prepare(MLPTeacher(), n_train=12)
    assert (len(splits.train_x), len(splits.test_x), len(splits.probe_x)) == (12, 1000, 1000)


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        (
            Digits(),
            {"n_train": [10, 5000]},
            r"grid.n_train = 5000 is beyond the training pool of 1079 rows "
            r"\(digits has 1797 rows: 359 test, 359 probe\)",
        ),
        (Digits(), {"n_train": 10, "n_test": 1000, "n_probe": 797}, "leaves 0 to train on"),
        (Rows(n=4), {"n_train": 1}, "0 test, 0 probe"),
        (Digits(), {"n_train": []}, r"n_train = \[\]"),
        (Digits(), {"n_train": [3, 0]}, r"n_train = \[3, 0\]"),
        (Digits(), {"n_train": 5, "n_probe": 0}, "n_probe = 0: must be 1 or more"),
        (Digits(), {"n_train": 5, "pool": 0}, "pool = 0: must be 1 or more"),
        (Digits(), {"n_train": 5, "pool": 3}, "pool = 3: does not divide images of 8×8"),
        (Wine(), {"n_train": 5, "pool": 2}, "pool = 2: these data are not images"),
        (Wine(), {"n_train": 5, "pca": 14}, "pca = 14: .* has rank 13"),
        (Digits(), {"n_train": 5, "pca": 64}, "pca = 64: .* has rank 61"),
        (Diabetes(), {"n_train": 5, "n_pool": 10}, "n_pool = 10: only for synthetic data"),
        (Diabetes(), {"n_train": 5, "seed": -1}, "seed = -1"),
    ],
)
def test_impossible_splits_are_refused(source: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConsilienceError, match=message):
        prepare(source, **options)


def test_a_constant_target_is_refused() -> None:
    class Constant(Rows):
        def load(self) -> Table:
            table = super().load()
            return Table(table.inputs, np.full((self.n, 1), 0.1), "regression", (), None, tuple("abcd"), "")

    with pytest.raises(ConsilienceError, match=r"target 0 of rows .*one value in all 6\d rows"):
        prepare(Constant(), n_train=5)

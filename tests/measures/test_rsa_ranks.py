from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from consilience._array import to_numpy
from consilience.measures import _ranks
from consilience.measures._ranks import average_ranks, dense_ranks, kendall_matrix
from consilience.measures._rdm import pair_places

RNG = np.random.default_rng


def exact(positions):
    return np.zeros(positions.shape)


def near(positions):
    return np.full(positions.shape, 1e-9)


@pytest.mark.parametrize("m", [1, 2, 3, 17, 1000, 70_000])
@pytest.mark.parametrize("draw", ["normal", "integers", "signed integers", "heavy", "constant", "close"])
def test_ranks_equal_those_of_scipy(m, draw):
    rng = RNG(m)
    values = {
        "normal": rng.standard_normal(m),
        "integers": rng.integers(0, max(m // 3, 2), m).astype(float),
        "signed integers": rng.integers(-3, 3, m) * 0.1,
        "heavy": np.exp(20 * rng.standard_normal(m)),  # most values share the upper bits of a key
        "constant": np.full(m, 2.5),
        "close": 1 + 1e-15 * rng.integers(0, 40, m),
    }[draw]
    ranks = average_ranks(values.copy(), exact, np.float64(0))
    assert (ranks == stats.rankdata(values) - (m + 1) / 2).all()
    dense = dense_ranks(values.copy(), exact, np.float64(0))
    assert (dense == stats.rankdata(values, method="dense") - 1).all()


def test_values_within_rounding_are_tied_whatever_their_order():
    rng = RNG(0)
    values = rng.integers(0, 50, 3000).astype(float)
    noisy = values + 1e-10 * rng.uniform(-1, 1, 3000)
    assert (average_ranks(noisy, near, np.float64(1e-9)) == stats.rankdata(values) - 1500.5).all()


def test_the_tolerance_of_a_pair_decides_not_the_largest():
    values = np.array([3.0, 1.0, 1.0 + 1e-10, 2.0, 2.0 + 1e-10])

    def tolerance(positions):
        return np.where(np.isin(positions, (1, 2)), 1e-9, 1e-12)

    assert average_ranks(values, tolerance, np.float64(1e-9)).tolist() == [2.0, -1.5, -1.5, 0.0, 1.0]


@pytest.mark.parametrize("library", ["torch", "jax.numpy", "array_api_strict"])
def test_other_libraries_rank_as_numpy_does(library):
    xp = pytest.importorskip(library)
    values = RNG(1).integers(0, 40, 200).astype(np.float32)
    there = xp.asarray(values)

    def tolerance(positions):
        return xp.zeros_like(there)

    expected = stats.rankdata(values) - 100.5
    assert (to_numpy(average_ranks(there, tolerance, there[0])) == expected).all()
    expected = stats.rankdata(values, method="dense") - 1
    assert (to_numpy(dense_ranks(there, tolerance, there[0])) == expected).all()


@pytest.mark.parametrize("m", [2, 5, 16, 17, 300, 60_000])
@pytest.mark.parametrize("levels", [3, 10**6])
def test_kendall_equals_scipy(m, levels):
    rng = RNG(m + levels)
    a = rng.integers(0, levels, m)
    b = (a + rng.integers(0, levels, m)) // 2
    a[:2], b[:2] = (0, 1), (1, 0)  # not constant
    ranks = [stats.rankdata(v, method="dense") - 1.0 for v in (a, b, -a)]
    tau_b = kendall_matrix(ranks, corrected=True)
    assert tau_b[0, 1] == tau_b[1, 0] == pytest.approx(stats.kendalltau(a, b).statistic, abs=1e-12)
    assert np.diag(tau_b) == pytest.approx(1, abs=1e-14)
    assert tau_b[0, 2] == pytest.approx(-1, abs=1e-14)
    if m <= 300:
        i, j = np.triu_indices(m, 1)
        expected = (np.sign(a[i] - a[j]) * np.sign(b[i] - b[j])).mean()
        assert kendall_matrix(ranks, corrected=False)[0, 1] == pytest.approx(expected, abs=1e-14)


def test_inversions_of_small_permutations():
    for m in range(1, 40):
        p = RNG(m).permutation(m)
        assert _ranks._inversions(p) == sum(p[i] > p[j] for i in range(m) for j in range(i + 1, m))


@pytest.mark.parametrize("k", [2, 3, 10])
def test_places_of_pairs(k):
    rows, columns = pair_places(np.arange(k * (k - 1) // 2), k)
    assert (np.array(np.triu_indices(k, 1)) == [rows, columns]).all()

"""Mutual nearest neighbours and information imbalance: against brute force, with ties, and in expectation."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from consilience import ConsilienceError, DegenerateWarning, get_measure, information_imbalance, mutual_knn, pairwise
from consilience._array import true_per_row
from consilience.testing.libraries import _converted

RNG = np.random.default_rng


def farness(x, metric):
    # rounded, so that exact copies tie exactly
    d = -(x @ x.T) if metric == "inner" else np.round(cdist(x, x, metric), 12)
    np.fill_diagonal(d, np.inf)
    return d


def brute_lists(x, k, metric):
    return np.argsort(farness(x, metric), axis=1, kind="stable")[:, :k]


def brute_overlap(x, y, k, metric):
    pairs = zip(brute_lists(x, k, metric), brute_lists(y, k, metric), strict=True)
    return np.mean([len(set(a) & set(b)) / k for a, b in pairs])


def brute_imbalance(x, y, k=1, metric="euclidean"):
    ranks = np.argsort(np.argsort(farness(y, metric), axis=1, kind="stable"), axis=1) + 1
    return 2 / len(x) * np.take_along_axis(ranks, brute_lists(x, k, metric), 1).mean()


def pair(n=70, seed=0):
    rng = RNG(seed)
    x = rng.standard_normal((n, 3))
    return x, np.column_stack([x[:, :2], rng.standard_normal((n, 4))])


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "inner"])
@pytest.mark.parametrize("k", [1, 3, 10])
@pytest.mark.parametrize("library", ["numpy", "torch", "jax"])
def test_generic_data_against_brute_force(metric, k, library):
    x, y = pair()
    a, b = (x, y) if library == "numpy" else (_converted(library, x), _converted(library, y))
    assert float(mutual_knn(a, b, k=k, metric=metric)) == pytest.approx(brute_overlap(x, y, k, metric), abs=1e-6)
    expected = brute_imbalance(x, y, k, metric)
    assert float(information_imbalance(a, b, k=k, metric=metric)) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("copies", [2, 5])
@pytest.mark.parametrize("library", ["numpy", "torch", "array_api_strict"])
def test_copies_are_neighbours_and_tie_by_index(metric, copies, library):
    x, y = pair(n=40)
    x, y = np.concatenate([x] * copies), np.concatenate([y[::-1]] * copies)
    a, b = (x, y) if library == "numpy" else (_converted(library, x), _converted(library, y))
    for k in (1, 3):
        overlap = float(mutual_knn(a, b, k=k, metric=metric))
        assert overlap == pytest.approx(brute_overlap(x, y, k, metric), abs=1e-12)
        imbalance = float(information_imbalance(a, b, k=k, metric=metric))
        assert imbalance == pytest.approx(brute_imbalance(x, y, k, metric), abs=1e-12)


def test_points_of_a_grid_tie_by_index():
    x = RNG(0).integers(0, 3, (60, 3)).astype(float)
    y = RNG(1).integers(0, 3, (60, 2)).astype(float)
    for k in (1, 4):
        assert mutual_knn(x, y, k=k, metric="euclidean") == pytest.approx(brute_overlap(x, y, k, "euclidean"))
        assert mutual_knn(x + 0.1, y, k=k, metric="euclidean") == pytest.approx(brute_overlap(x, y, k, "euclidean"))
        assert information_imbalance(x, y, k=k) == pytest.approx(brute_imbalance(x, y, k))


def test_duplicated_rows_do_not_push_the_imbalance_below_its_minimum():
    x, y = pair(n=60)
    x[30:], y[30:] = x[:30], y[:30]
    assert information_imbalance(x, x) == pytest.approx(2 / 60, abs=1e-15)
    assert information_imbalance(x, y) >= 2 / 60


def test_tight_clusters_far_apart_keep_their_neighbours():
    inside = RNG(0).standard_normal((40, 3))
    clusters = inside + 1e9 * (np.arange(40) % 2)[:, None]
    both = [np.where((np.arange(40) % 2 == side)[:, None], inside, 1e3 + inside) for side in (0, 1)]
    assert mutual_knn(clusters, both[0], k=5, metric="euclidean") == pytest.approx(1, abs=0.02)
    assert information_imbalance(clusters, both[0]) == pytest.approx(2 / 40, abs=5e-3)


@pytest.mark.parametrize(("k", "n"), [(1, 20), (5, 20), (10, 30)])
def test_unrelated_representations_in_expectation(k, n):
    repetitions = 300
    data = [(RNG([s, 0]).standard_normal((n, 3)), RNG([s, 1]).standard_normal((n, 4))) for s in range(repetitions)]
    overlap = np.array([mutual_knn(x, y, k=k) for x, y in data])
    assert abs(overlap.mean() - k / (n - 1)) < 4 * overlap.std(ddof=1) / np.sqrt(repetitions)
    imbalance = np.array([information_imbalance(x, y, k=k) for x, y in data])
    assert abs(imbalance.mean() - 1) < 4 * imbalance.std(ddof=1) / np.sqrt(repetitions)


def test_dimensions_left_out_make_the_imbalance_asymmetric():
    x = RNG(0).standard_normal((300, 3))
    assert information_imbalance(x, x[:, :1]) < 0.6 * information_imbalance(x[:, :1], x)


@pytest.mark.parametrize("name", ["mutual_knn", "information_imbalance"])
def test_small_blocks_and_many_samples(monkeypatch, name):
    x, y = pair(n=200)
    expected = pairwise([x, y], name)
    monkeypatch.setattr("consilience._array._BLOCK_BYTES_CPU", 8 * 200 * 9)
    monkeypatch.setattr("consilience._array._FEWEST_ROWS", 1)
    assert np.array_equal(pairwise([x, y], name), expected)


@pytest.mark.parametrize("name", ["mutual_knn", "information_imbalance"])
def test_no_square_array_is_kept(name):
    x, y = pair(n=3000)
    tracemalloc.start()
    get_measure(name)(x, y)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3000 * 3000 * 8 / 2


def test_rows_of_zeros_have_cosine_zero():
    x = np.array([[1.0, 0.0], [0.0, 0.0], [-1.0, -0.1], [0.9, 0.1]])
    measure = get_measure("mutual_knn", k=2)
    lists = [sorted(row) for row in measure.prepare(x).lists.tolist()]
    assert lists == [[1, 3], [0, 2], [0, 1], [0, 1]]


def test_parallel_rows_have_no_cosine_neighbours():
    one_feature = RNG(0).standard_normal((50, 1))
    rank_one = one_feature * RNG(1).standard_normal((1, 8))
    measure = get_measure("mutual_knn")
    for x in (one_feature, rank_one, np.zeros((50, 3))):
        assert "multiples of one vector" in measure.degenerate(measure.prepare(x))
    plane = rank_one + 1e-3 * RNG(2).standard_normal((50, 8))
    assert measure.degenerate(measure.prepare(plane)) is None


def test_parallel_rows_have_no_cosine_imbalance():
    with pytest.warns(DegenerateWarning, match="multiples of one vector"):
        assert np.isnan(information_imbalance(*RNG(0).standard_normal((2, 50, 1)), metric="cosine"))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("mutual_knn", {"metric": "euclidean"}),
        ("mutual_knn", {"metric": "inner"}),
        ("information_imbalance", {}),
        ("second_order_cosine", {"metric": "inner"}),
        ("second_order_cosine", {"metric": "euclidean", "profile": "distance"}),
        ("intrinsic_dimension", {}),
    ],
)
@pytest.mark.parametrize("scale", [1e-300, 1e150, 1e300])
def test_squares_that_overflow_or_vanish(name, options, scale):
    x, y = pair(n=60)
    measure = get_measure(name, **options)
    assert float(measure(x * scale, y)) == pytest.approx(float(measure(x, y)), rel=1e-9)


@pytest.mark.parametrize("scale", [1e-22, 1e22])
@pytest.mark.parametrize("compiled", [False, True])
def test_squares_that_overflow_or_vanish_in_single_precision(scale, compiled):
    jax = pytest.importorskip("jax")
    x, y = (each.astype(np.float32) for each in pair(n=60))
    for metric in ("euclidean", "inner"):
        measure = get_measure("mutual_knn", metric=metric)
        with jax.enable_x64(False) if hasattr(jax, "enable_x64") else jax.experimental.disable_x64():
            score = (jax.jit(measure) if compiled else measure)(*map(jax.numpy.asarray, (x * np.float32(scale), y)))
        assert float(score) == pytest.approx(float(measure(x, y)), abs=1e-3)


def test_exact_ties_stay_exact_beside_a_large_constant_feature():
    grid = np.stack(np.meshgrid(*2 * [np.arange(8) / 3]), axis=-1).reshape(-1, 2)
    beside = np.column_stack([grid * 2.0**-66, np.full(64, 1e250)])
    lists = [get_measure("mutual_knn", k=4, metric="euclidean").prepare(x).lists for x in (grid, beside)]
    np.testing.assert_array_equal(*lists)


@pytest.mark.parametrize("name", ["mutual_knn", "information_imbalance"])
def test_k_is_checked(name):
    x, y = pair(n=6)
    with pytest.raises(ConsilienceError, match="at least one"):
        get_measure(name, k=0)
    with pytest.raises(ConsilienceError, match="at least 7"):
        get_measure(name, k=5)(x, y)
    with pytest.raises(ConsilienceError, match="type int"):
        get_measure(name, k=2.5)


@pytest.mark.parametrize("n", [1, 7, 8, 9, 2039, 2040, 2041, 5000])
def test_counting_true_entries_in_words(n):
    mask = RNG(n).random((5, n)) < 0.9
    mask[0], mask[1] = True, False
    assert np.array_equal(true_per_row(mask), mask.sum(axis=1))

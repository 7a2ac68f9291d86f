"""Measures of neighbour lists: against brute force from the definitions, in special cases, and with ties."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from tests.measures.test_golden import golden_inputs
from tests.measures.test_neighbours import brute_imbalance, brute_lists, brute_overlap

from consilience import ConsilienceError, DegenerateWarning, get_measure, pairwise
from consilience._array import k_smallest
from consilience.testing.libraries import _converted

RNG = np.random.default_rng
METRICS = ["cosine", "euclidean", "inner"]
ORDERED = ["knn_jaccard", "rank_similarity", "joint_rank_jaccard", "lcs_knn", "edit_distance_knn"]


def jaccard(a, b):
    return len(set(a) & set(b)) / len(set(a) | set(b))


def rank_similarity(a, b):
    common = set(a) & set(b)
    if not common:
        return 0.0
    ranks = [(a.index(j) + 1, b.index(j) + 1) for j in common]
    total = sum(2 / ((1 + abs(r - s)) * (r + s)) for r, s in ranks)
    return total / sum(1 / r for r in range(1, len(common) + 1))


def longest_common_subsequence(a, b):
    table = np.zeros((len(a) + 1, len(b) + 1))
    for i, j in np.ndindex(len(a), len(b)):
        table[i + 1, j + 1] = table[i, j] + 1 if a[i] == b[j] else max(table[i, j + 1], table[i + 1, j])
    return table[-1, -1] / len(a)


def edit_similarity(a, b):
    table = np.add.outer(np.arange(len(a) + 1), np.arange(len(b) + 1))
    for i, j in np.ndindex(len(a), len(b)):
        table[i + 1, j + 1] = min(table[i, j] + (a[i] != b[j]), table[i, j + 1] + 1, table[i + 1, j] + 1)
    return 1 - table[-1, -1] / len(a)


BRUTE = {
    "knn_jaccard": jaccard,
    "rank_similarity": rank_similarity,
    "joint_rank_jaccard": lambda a, b: jaccard(a, b) * rank_similarity(a, b),
    "lcs_knn": longest_common_subsequence,
    "edit_distance_knn": edit_similarity,
}


def brute(name, x, y, k, metric):
    pairs = zip(brute_lists(x, k, metric).tolist(), brute_lists(y, k, metric).tolist(), strict=True)
    return np.mean([BRUTE[name](a, b) for a, b in pairs])


def pair(n=60, seed=0):
    rng = RNG(seed)
    x = rng.standard_normal((n, 3))
    return x, np.column_stack([x[:, :2], 0.7 * rng.standard_normal((n, 3))])


@pytest.mark.parametrize("name", ORDERED)
@pytest.mark.parametrize(("k", "metric"), [(1, "euclidean"), (4, "cosine"), (9, "inner"), (13, "euclidean")])
def test_lists_against_brute_force(name, k, metric):
    x, y = pair()
    found = get_measure(name, k=k, metric=metric)(x, y)
    assert found == pytest.approx(brute(name, x, y, k, metric), abs=1e-12)
    wide = RNG(1).standard_normal((60, 200))
    assert get_measure(name, k=k)(x, wide) == pytest.approx(brute(name, x, wide, k, "cosine"), abs=1e-12)


@pytest.mark.parametrize("name", ORDERED)
@pytest.mark.parametrize("library", ["numpy", "torch", "array_api_strict"])
def test_ties_in_lists_go_by_index(name, library):
    grid = RNG(0).integers(0, 3, (50, 3)).astype(float)
    x, y = pair(n=25)
    doubled = np.concatenate([x, x])
    for a, b in ((grid, doubled), (grid + 0.1, np.flip(grid, axis=0).copy()), (doubled, np.concatenate([y, y]))):
        expected = brute(name, a, b, 6, "euclidean")
        converted = (a, b) if library == "numpy" else (_converted(library, a), _converted(library, b))
        assert float(get_measure(name, k=6, metric="euclidean")(*converted)) == pytest.approx(expected, abs=1e-12)


def test_lists_are_in_order_of_distance():
    x, _ = pair(n=300)
    for metric in METRICS:
        lists = get_measure("mutual_knn", k=7, metric=metric).prepare(x).lists
        assert np.array_equal(lists, brute_lists(x, 7, metric))


def test_lists_without_a_common_entry_score_zero():
    x = np.concatenate([np.arange(6.0), 100 + np.arange(6.0)])[:, None]
    y = np.where(np.arange(12) % 2, 100.0, 0.0)[:, None] + x / 10  # neighbours of even samples are even
    for name in ORDERED:
        assert get_measure(name, k=1, metric="euclidean")(x, y) == 0


def test_reversed_lists():
    # neighbours of the first sample are 1 … 5 in one, 5 … 1 in the other; only its lists are looked at
    x = np.array([0.0, 1, 2, 4, 8, 16, 1000, 2000])[:, None]
    y = np.array([0.0, 16, 8, 4, 2, 1, 1000, 2000])[:, None]
    rows = {}
    for name in ORDERED:
        measure = get_measure(name, k=5, metric="euclidean")
        a, b = (measure.prepare(each).lists[:1] for each in (x, y))
        assert (a.tolist(), b.tolist()) == ([[1, 2, 3, 4, 5]], [[5, 4, 3, 2, 1]])
        rows[name] = float(measure.agreement(a, b, np.float64(0))[0])
    assert rows["knn_jaccard"] == 1
    assert rows["lcs_knn"] == pytest.approx(1 / 5)
    assert rows["edit_distance_knn"] == pytest.approx(1 / 5)  # the middle stays
    harmonic = sum(1 / r for r in range(1, 6))
    assert rows["rank_similarity"] == pytest.approx((2 * 2 / (5 * 6) + 2 * 2 / (3 * 6) + 2 / 6) / harmonic)


def test_common_subsequence_is_published_without_the_division_by_k():
    x, y = golden_inputs()
    assert 10 * get_measure("lcs_knn")(x, y) == pytest.approx(2.65, abs=1e-12)


@pytest.mark.parametrize("k", [1, 3, 10])
def test_cycles_against_brute_force(k):
    x, y = pair()
    a, b = brute_lists(x, k, "cosine"), brute_lists(y, k, "cosine")
    expected = np.mean([any(i in a[j] for j in b[i]) for i in range(60)])
    assert get_measure("cycle_knn", k=k)(x, y) == pytest.approx(expected, abs=1e-12)


def test_cycles_of_unrelated_representations():
    n, k = 400, 3
    values = [get_measure("cycle_knn")(RNG([s, 0]).random((n, 3)), RNG([s, 1]).random((n, 4))) for s in range(60)]
    chance = 1 - (1 - 1 / (n - 1)) ** (k * k)
    # neighbourhoods overlap, so that chance is an upper limit that is nearly reached
    assert 0.85 * chance < np.mean(values) < chance + 4 * np.std(values) / np.sqrt(60)


def brute_profiles(x, y, k, metric, profile):
    def nearness(z):
        if metric == "euclidean":
            return cdist(z, z)
        return (
            cdist(z, z, "cosine") if profile == "distance" else (z @ z.T if metric == "inner" else unit(z) @ unit(z).T)
        )

    a, b = brute_lists(x, k, metric), brute_lists(y, k, metric)
    s, t = nearness(x), nearness(y)
    unions = [np.union1d(a[i], b[i]) for i in range(len(x))]
    cosines = [s[i, u] @ t[i, u] / (np.linalg.norm(s[i, u]) * np.linalg.norm(t[i, u])) for i, u in enumerate(unions)]
    return np.mean(cosines)


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


@pytest.mark.parametrize(
    ("metric", "profile"),
    [("cosine", "similarity"), ("cosine", "distance"), ("euclidean", "distance"), ("inner", "similarity")],
)
def test_second_order_cosine_against_brute_force(metric, profile):
    x, y = pair()
    for k in (1, 5):
        measure = get_measure("second_order_cosine", k=k, metric=metric, profile=profile)
        assert measure(x, y) == pytest.approx(brute_profiles(x, y, k, metric, profile), abs=1e-12)


def test_second_order_cosine_as_published_is_of_distances():
    x, y = golden_inputs()
    assert brute_profiles(x, y, 10, "cosine", "distance") == pytest.approx(0.7764392130, abs=5e-11)
    similarity, distance = (get_measure("second_order_cosine", profile=p)(x, y) for p in ("similarity", "distance"))
    assert distance == pytest.approx(0.7764392130, abs=5e-11)
    assert abs(similarity - distance) > 0.01


def test_profiles_of_copies_and_of_rows_of_zeros():
    x = np.repeat(RNG(0).standard_normal((5, 3)), 4, axis=0)
    y = RNG(1).standard_normal((20, 3))
    measure = get_measure("second_order_cosine", k=3, metric="euclidean", profile="distance")
    assert measure(x, x) == 1  # every profile is zero
    assert 0 <= measure(x, y) < 1
    y[3] = 0
    measure = get_measure("second_order_cosine", k=3, profile="distance")
    state = measure.prepare(y)
    found = measure._profile(state, np.array([3, 0]), np.array([[0, 1], [3, 1]]))
    u = unit(y[[0, 1]])
    assert np.allclose(found, [[1, 1], [1, 1 - u[0] @ u[1]]], rtol=1e-14, atol=0)


def test_small_cosine_distances_keep_their_digits():
    direction = RNG(0).standard_normal(6)
    offsets = 1e-6 * RNG(1).standard_normal((30, 6))
    x = direction + offsets
    measure = get_measure("second_order_cosine", k=4, profile="distance")
    state = measure.prepare(x)
    rows = np.arange(30)
    found = measure._profile(state, rows, state.lists)
    across = offsets - np.outer(offsets @ direction, direction) / (direction @ direction)
    gaps = across[state.lists] - across[:, None, :]
    expected = np.sum(gaps**2, axis=2) / 2 / (direction @ direction)  # to first order
    assert np.allclose(found, expected, rtol=1e-4, atol=0)


def test_profiles_that_do_not_exist_are_refused():
    with pytest.raises(ConsilienceError, match="no similarity for metric 'euclidean'"):
        get_measure("second_order_cosine", metric="euclidean")
    with pytest.raises(ConsilienceError, match="no distance for metric 'inner'"):
        get_measure("second_order_cosine", metric="inner", profile="distance")


def test_overlap_adjusted_for_chance():
    x, y = pair()
    plain, chance = brute_overlap(x, y, 5, "cosine"), 5 / 59
    assert get_measure("mutual_knn", k=5, adjusted=True)(x, y) == pytest.approx((plain - chance) / (1 - chance))
    values = [
        get_measure("mutual_knn", k=5, adjusted=True)(RNG([s, 0]).random((40, 3)), RNG([s, 1]).random((40, 3)))
        for s in range(200)
    ]
    assert abs(np.mean(values)) < 4 * np.std(values) / np.sqrt(200)
    assert min(values) < 0  # not clamped


def test_imbalance_normalized_and_symmetric():
    x, y = pair()
    there, back = brute_imbalance(x, y, 3), brute_imbalance(y, x, 3)
    smallest = 4 / 60
    found = get_measure("information_imbalance", k=3, normalized=True)(x, y)
    assert found == pytest.approx((there - smallest) / (1 - smallest), abs=1e-12)
    mean = get_measure("information_imbalance", k=3, summary="mean")
    assert mean(x, y) == pytest.approx((there + back) / 2, abs=1e-12)
    assert np.allclose(pairwise([x, y], mean), pairwise([x, y], mean).T)


def test_largest_imbalance_is_two_when_normalized():
    # pairs that are nearest in x are farthest in y
    x = np.array([0.0, 1.0, 10.0, 11.0])[:, None]
    y = np.array([[0.0, 0.0], [1.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    measure = get_measure("information_imbalance", normalized=True)
    assert measure(x, y) == pytest.approx(2, abs=1e-12)
    assert measure(x, x) == 0


@pytest.mark.parametrize("sources", [1, 3, 4, 9])
def test_ranks_are_the_same_by_counting_and_by_sorting(sources, monkeypatch):
    reps = [RNG(s).standard_normal((50, 3)) for s in range(sources)]
    reps[-1] = np.round(reps[-1])  # with ties
    expected = np.array([[brute_imbalance(a, b, 2) for b in reps] for a in reps])
    assert np.allclose(pairwise(reps, "information_imbalance(k=2)"), expected, atol=1e-12)
    monkeypatch.setattr(sys.modules["consilience.measures.information_imbalance"], "_KEPT_BYTES", 0)
    assert np.allclose(pairwise(reps, "information_imbalance(k=2)"), expected, atol=1e-12)


@pytest.mark.parametrize("metric", METRICS)
def test_label_overlap_against_brute_force(metric):
    x, y = pair()
    targets = (x[:, 0] > 0) + 2 * (RNG(2).random(60) < 0.3)
    measure = get_measure("label_overlap", k=6, metric=metric)
    expected = [np.mean(targets[brute_lists(z, 6, metric)] == targets[:, None]) for z in (x, y)]
    assert measure(x, targets=targets) == pytest.approx(expected[0], abs=1e-12)
    assert measure(x, y, targets=targets) == pytest.approx(abs(expected[0] - expected[1]), abs=1e-12)


def test_label_overlap_of_chance_and_of_separated_classes():
    targets = np.repeat([0, 1, 2], [50, 30, 20])
    measure = get_measure("label_overlap")
    assert measure(targets[:, None] + 0.01 * RNG(0).random((100, 1)), targets=targets) == 1
    values = [measure(RNG(s).standard_normal((100, 3)), targets=targets) for s in range(200)]
    chance = (50 * 49 + 30 * 29 + 20 * 19) / (100 * 99)
    assert abs(np.mean(values) - chance) < 4 * np.std(values) / np.sqrt(200)


@pytest.mark.parametrize(("targets", "reason"), [(np.zeros(60, int), "equal"), (np.arange(60), "different")])
def test_label_overlap_of_one_class_or_of_all_samples_alone_has_no_value(targets, reason):
    x = RNG(0).standard_normal((60, 3))
    with pytest.warns(DegenerateWarning, match=f"all targets are {reason}"):
        assert np.isnan(get_measure("label_overlap")(x, targets=targets))


@pytest.mark.parametrize("name", [*ORDERED, "mutual_knn", "cycle_knn"])
def test_lists_that_hold_most_samples_are_flagged(name):
    x, y = RNG(0).standard_normal((2, 30, 4))
    with pytest.warns(DegenerateWarning, match="with k = 28 of 29 others"):
        get_measure(name, k=28)(x, y)
    measure = get_measure(name, k=2)
    assert measure.caveat(measure.prepare(x), measure.prepare(y)) is None


def test_label_overlap_needs_classes_and_samples_that_differ():
    x, _ = pair()
    with pytest.raises(ConsilienceError, match="targets="):
        get_measure("label_overlap")(x)
    with pytest.raises(ConsilienceError, match="targets="):
        get_measure("label_overlap").describe(x)
    with pytest.warns(UserWarning, match="multiples of one vector"):
        value = get_measure("label_overlap", metric="cosine")(x[:, :1], targets=np.arange(60) % 2)
    assert np.isnan(value)


@pytest.mark.parametrize("name", [*ORDERED, "cycle_knn", "second_order_cosine", "label_overlap"])
def test_lists_need_an_entry(name):
    with pytest.raises(ConsilienceError, match="at least one neighbour"):
        get_measure(name, k=0)


def test_many_samples_are_selected_by_strands():
    values = RNG(0).standard_normal((7, 5003))
    values[0] = np.arange(5003)
    values[1] = np.arange(5003)[::-1]
    values[2, 70:] = np.inf
    for k in (1, 2, 11, 60, 400):
        found = k_smallest(values, k)
        assert all(len(set(row)) == k for row in found.tolist())
        assert np.array_equal(np.sort(np.take_along_axis(values, found, 1), axis=1), np.sort(values, axis=1)[:, :k])

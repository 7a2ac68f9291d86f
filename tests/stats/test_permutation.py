from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from tests.stats.pairs import REORDERS, gaussian, related

from consilience import DegenerateWarning, get_measure, measures
from consilience.errors import ConsilienceError
from consilience.stats import permutation_test
from consilience.stats._orders import along_a_cycle, orders


def drawn(n, count, blocks=None, seed=0):
    return np.concatenate(list(orders(n, count, blocks, seed)))


@pytest.mark.parametrize("name", REORDERS)
@pytest.mark.parametrize("widths", [(4, 6), (15, 40)])
@pytest.mark.filterwarnings("ignore::consilience.registry.DegenerateWarning")
def test_reordered_states_score_as_reordered_rows(name, widths):
    measure = get_measure(name)
    x, y = related(name, widths=widths)
    a, b = measure.prepare(x), measure.prepare(y)
    if measure.degenerate(a) or measure.degenerate(b):
        pytest.skip("no score")
    some = drawn(24, 8)
    expected = [float(measure(x, y[order])) for order in some]
    assert measure.permuted(a, b, some) == pytest.approx(np.array(expected), rel=1e-7, abs=1e-9)


def test_both_ways_of_reordering_a_kernel_agree(monkeypatch):
    from consilience.measures import _resampled

    x, y = related(n=30, widths=(8, 50))
    measure = get_measure("cka")
    a, b = measure.prepare(x), measure.prepare(y)
    some = drawn(30, 40)
    found = []
    for cost in (1e-9, 1e9):
        monkeypatch.setattr(_resampled, "_GATHER", cost)
        monkeypatch.setattr(_resampled, "_STACKED", 30 * 50 * 7)
        found.append(measure.permuted(a, b, some))
    assert found[0] == pytest.approx(found[1], abs=1e-13)


@pytest.mark.parametrize(
    "name",
    [
        "cka",
        "cka(estimator=biased)",
        "cka(estimator=lange)",
        "cka(kernel=rbf, estimator=biased)",
        "hsic",
        "hsic(estimator=biased)",
        "cca(summary=mean_squared)",
        "mutual_knn(k=2)",
        "mutual_knn(k=2, adjusted=True)",
        "information_imbalance(k=2)",
        "information_imbalance(normalized=True, summary=mean)",
        "rsa",
        "rsa(comparison=pearson)",
        "rsa(comparison=cosine)",
        "rsa(comparison=tau_a)",
        "rsa(comparison=rho_a)",
        "distance_correlation(estimator=bias_corrected)",
        "output_correlation",
    ],
)
def test_chance_is_the_mean_over_all_orders(name):
    measure = get_measure(name)
    x, y = related(name, n=6, widths=(2, 3))
    a, b = measure.prepare(x), measure.prepare(y)
    everything = np.array(list(itertools.permutations(range(6))))
    assert measure.chance(a, b) == pytest.approx(measure.permuted(a, b, everything).mean(), abs=1e-12)


def test_all_measures_that_know_chance_are_tested_above():
    x, y = related(n=30, widths=(4, 4))
    known = set()
    for name in measures():
        measure = get_measure(name)
        if measure.needs_targets or measure.options.get("inputs") == "probabilities":
            continue
        if measure.chance(measure.prepare(x), measure.prepare(y)) is not None:
            known.add(name)
    assert known == {"cka", "hsic", "mutual_knn", "information_imbalance", "rsa", "output_correlation"}


@pytest.mark.parametrize("name", ["cka", "procrustes", "mutual_knn(k=3)", "correlation_matching"])
def test_everything_by_hand(name):
    measure = get_measure(name)
    x, y = related(name, n=16)
    found = permutation_test(name, x, y, n=99, seed=3, alpha=0.1)
    value = float(measure(x, y))
    null = np.array([float(measure(x, y[order])) for order in drawn(16, 99, seed=3)])
    sign = 1 if measure.kind == "similarity" else -1
    best = measure.self_score(16)
    assert found.value == value
    assert found.p == (1 + np.count_nonzero(sign * null >= sign * value)) / 100
    mean = found.null_mean
    assert mean == pytest.approx(null.mean(), abs=5 * null.std() / 10)
    assert found.null_sd == pytest.approx(null.std(ddof=1))
    assert found.z == pytest.approx(sign * (value - mean) / null.std(ddof=1))
    assert found.adjusted == pytest.approx((value - mean) / (best - mean))
    threshold = np.sort(sign * np.append(null, value))[90 - 1]  # ⌈.9 · 100⌉-th
    expected = np.clip((sign * value - threshold) / (sign * best - threshold), 0, 1)
    assert found.calibrated == pytest.approx(expected)
    assert found.n == 99


def test_seed_and_number_of_permutations():
    x, y = related()
    assert permutation_test("cka", x, y, n=50, seed=1) == permutation_test("cka", x, y, n=50, seed=1)
    assert permutation_test("cka", x, y, n=50, seed=1) != permutation_test("cka", x, y, n=50, seed=2)
    assert np.array_equal(drawn(5000, 600)[:500], drawn(5000, 500))  # parts do not show
    with pytest.raises(ConsilienceError, match="n is 0"):
        permutation_test("cka", x, y, n=0)
    one = permutation_test("cka", x, y, n=1)
    assert one.p in (0.5, 1.0)
    assert math.isnan(one.null_sd)


def test_orders_are_uniform():
    some = drawn(4, 24_000)
    _, counts = np.unique(some, axis=0, return_counts=True)
    assert len(counts) == 24
    assert ((counts - 1000) ** 2 / 1000).sum() < 23 + 5 * np.sqrt(46)  # chi-squared of 23 degrees of freedom


def test_blocks_are_kept():
    blocks = np.array(["a", "b", "a", "b", "c", "a", "b", "c"])
    some = drawn(8, 2000, blocks)
    assert (np.sort(some, axis=1) == np.arange(8)).all()
    assert (blocks[some] == blocks).all()
    assert len(np.unique(some, axis=0)) == 6 * 6 * 2
    x, y = related(n=8)
    with pytest.raises(ConsilienceError, match="one label for each"):
        permutation_test("cka", x, y, blocks=[0, 1])
    with pytest.raises(ConsilienceError, match="use larger blocks"):
        permutation_test("cka", x, y, blocks=np.arange(8))


def test_blocks_take_away_what_they_explain():
    rng = np.random.default_rng(0)
    classes = np.repeat(np.arange(4), 15)
    x, y = (3 * np.eye(4)[classes] + rng.standard_normal((60, 4)) for _ in range(2))
    assert permutation_test("cka", x, y, n=199).p == 0.005
    within = permutation_test("cka", x, y, n=199, blocks=classes)
    assert within.p > 0.05
    assert within.null_mean > 0.3  # of these permutations, not of all


def test_stopping_early_keeps_p_valid():
    rng = np.random.default_rng(0)
    x, y = gaussian(rng, 30, 4, 0.0)
    full, early = (permutation_test("cka", x, y, n=999, stop=stop) for stop in (None, 10))
    null = np.array([float(get_measure("cka")(x, y[order])) for order in drawn(30, 999)])
    last = np.flatnonzero(null >= full.value)[9] + 1
    assert early.n == last < 999
    assert early.p == 10 / last
    assert permutation_test("cka", x, x, n=199, stop=10).p == 0.005
    assert permutation_test("cka", x, x, n=199, stop=10).n == 199
    with pytest.raises(ConsilienceError, match="stop is 0"):
        permutation_test("cka", x, y, stop=0)


def test_equal_scores_count_whatever_rounding_does():
    x = np.repeat(np.random.default_rng(0).standard_normal((2, 3)) * np.pi, 4, axis=0)  # two kinds of rows
    for name in ("cka(estimator=biased)", "procrustes", "rsa(comparison=cosine)"):
        found = permutation_test(name, x, x @ np.linalg.qr(np.ones((3, 3)) + np.eye(3))[0], n=4000)
        exact = 2 / math.comb(8, 4)  # the share of orders that keep or swap the two kinds
        assert found.p == pytest.approx(exact, abs=5 * np.sqrt(exact / 4000))


@pytest.mark.parametrize("name", ["cka", "cka(estimator=biased)", "procrustes", "information_imbalance", "nbs"])
def test_a_true_null_is_rejected_as_often_as_it_should(name):
    rng = np.random.default_rng(1)
    p = [permutation_test(name, *gaussian(rng, 14, 6, 0.0), n=39, seed=i).p for i in range(300)]
    # p takes the values 1/40 … 1 equally often
    assert np.mean(np.array(p) <= 0.1 + 1e-9) == pytest.approx(0.1, abs=4 * np.sqrt(0.09 / 300))
    assert np.mean(p) == pytest.approx(0.5125, abs=4 * np.sqrt(1 / 12 / 300))


def test_nothing_to_compare_and_no_best_score():
    x, y = related()
    with pytest.warns(DegenerateWarning, match="in x, every feature is constant"):
        found = permutation_test("cka", np.ones((24, 2)), y)
    assert np.isnan(found[:7]).all()
    assert found.n == 0
    unbounded = permutation_test("hsic", x, y, n=19)
    assert math.isnan(unbounded.adjusted)
    assert math.isnan(unbounded.calibrated)
    with pytest.raises(ConsilienceError, match="repeated measurements"):
        permutation_test("rsa(rdm=crossnobis)", x, y, targets=np.arange(24) % 6)
    with pytest.raises(ConsilienceError, match="alpha is 5"):
        permutation_test("cka", x, y, alpha=5)


def test_targets_keep_their_places():
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 3, 40)
    x, y = (2 * np.eye(3)[targets] + rng.standard_normal((40, 3)) for _ in range(2))
    name = "error_consistency"
    measure = get_measure(name)
    found = permutation_test(name, x, y, n=19, targets=targets)
    null = [float(measure(x, y[order], targets=targets)) for order in drawn(40, 19)]
    assert found.null_mean == pytest.approx(np.mean(null))


@pytest.mark.parametrize("name", REORDERS)
@pytest.mark.parametrize("n", [15, 16])
@pytest.mark.filterwarnings("ignore::consilience.registry.DegenerateWarning")
def test_moves_along_a_cycle_are_permutations(name, n):
    measure = get_measure(name)
    x, y = related(name, n=n)
    cycle = np.random.default_rng(0).permutation(n)
    moves = np.concatenate(list(along_a_cycle(cycle, step=4)))
    assert (np.sort(moves, axis=1) == np.arange(n)).all()
    assert not (moves == np.arange(n)).any()
    assert moves[0][cycle] == pytest.approx(np.roll(cycle, -1))
    squared = moves[2][moves[2]]  # a group: moving by three places twice is moving by six
    assert (squared == moves[5]).all()
    a, b = measure.prepare(x), measure.prepare(y)
    if measure.degenerate(a) or measure.degenerate(b):
        pytest.skip("no score")
    found = measure.cycled(a, b, cycle)
    if found is not None:
        assert found[0] == pytest.approx(float(measure(x, y)), abs=1e-12)
        assert found[1:] == pytest.approx(measure.permuted(a, b, moves), rel=1e-9, abs=1e-9)
    test = permutation_test(name, x, y, design="cyclic")
    assert test.n == n - 1
    assert test.p * n == pytest.approx(round(test.p * n))


def test_a_cyclic_test_keeps_its_level_and_finds_what_is_there():
    rng = np.random.default_rng(2)
    p = np.array([permutation_test("cka", *gaussian(rng, 20, 4, 0.0), seed=i, design="cyclic").p for i in range(600)])
    assert np.mean(p <= 0.1 + 1e-9) == pytest.approx(0.1, abs=4 * np.sqrt(0.09 / 600))
    assert np.mean(p) == pytest.approx(0.525, abs=4 * np.sqrt(1 / 12 / 600))  # 1/20 … 1, equally often
    found = permutation_test("cka", *gaussian(rng, 40, 4, 0.85), design="cyclic")
    assert found.p == 1 / 40
    x, y = related()
    with pytest.raises(ConsilienceError, match="no blocks and no stop"):
        permutation_test("cka", x, y, design="cyclic", stop=10)
    with pytest.raises(ConsilienceError, match="design is 'sobol'"):
        permutation_test("cka", x, y, design="sobol")


@pytest.mark.parametrize("name", ["cka", "cka(estimator=biased)", "cka(estimator=lange)", "cka(estimator=depcols)"])
@pytest.mark.parametrize(("n", "widths", "offset"), [(150, (30, 30), 0.0), (300, (40, 12), 1e4)])
def test_coarse_scores_are_off_by_less_than_they_say(name, n, widths, offset):
    x, y = related(n=n, widths=widths)
    measure = get_measure(name)
    a, b = measure.prepare(x + offset), measure.prepare(y)
    some = drawn(n, 200)
    exact = measure.permuted(a, b, some)
    found, error = measure.permuted_coarsely(a, b, some)
    assert 0 < np.abs(found - exact).max() <= error
    assert error < 0.02 * exact.std()  # few are computed twice


@pytest.mark.parametrize("seed", range(3))
def test_p_is_that_of_double_precision(seed, monkeypatch):
    rng = np.random.default_rng(seed)
    # Four rows of 200 stand out in each: scores of most orders tie, which rounding must not decide.
    x = np.where(np.arange(200) < 4, 1.0, 0.0)[:, None] + 1e-9 * seed * rng.standard_normal((200, 30))
    y = np.where(np.arange(200) % 50 == 0, 1.0, 0.0)[:, None] + np.zeros((1, 30))
    test = permutation_test("cka", x, y, n=500, seed=seed)
    monkeypatch.setattr(type(get_measure("cka")), "permuted_coarsely", lambda *_: None)
    exact = permutation_test("cka", x, y, n=500, seed=seed)
    assert 0.1 < test.p == exact.p
    assert test[2:7] == pytest.approx(exact[2:7], rel=1e-5)


def test_without_features_nothing_is_coarse():
    x, y = related(n=12, widths=(50, 50))
    for name in ("cka", "cka(kernel=rbf)"):
        measure = get_measure(name)
        a, b = measure.prepare(x), measure.prepare(y)
        assert measure.permuted_coarsely(a, b, drawn(12, 3)) is None

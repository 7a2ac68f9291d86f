from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from consilience.errors import ConsilienceError
from consilience.stats import member_mean, pair_mean

MEMBERS = 8
A, B = np.array(list(itertools.combinations(range(MEMBERS), 2))).T
RNG = np.random.default_rng(0)


def node_effects(n, *, members=MEMBERS, edge=0.0, seed=0):
    """(n, pairs) scores mu + u_a + u_b + e_ab with mu = 0.6, Var u = 1."""
    rng = np.random.default_rng(seed)
    a, b = np.array(list(itertools.combinations(range(members), 2))).T
    u = rng.standard_normal((n, members))
    return 0.6 + u[:, a] + u[:, b] + edge * rng.standard_normal((n, len(a))), a, b


def jackknife_by_loop(scores, a, b):
    kept = np.isfinite(scores)
    members = np.unique(np.concatenate([a[kept], b[kept]]))
    left = np.array([scores[kept & (a != m) & (b != m)].mean() for m in members])
    return np.sqrt((len(members) - 1) / len(members) * np.sum((left - left.mean()) ** 2))


def test_mean_and_se_equal_a_plain_loop():
    scores = RNG.standard_normal((3, 2, len(A)))
    got = pair_mean(scores, A, B)
    assert got.mean.shape == (3, 2)
    np.testing.assert_allclose(got.mean, scores.mean(-1))
    expected = [[jackknife_by_loop(row, A, B) for row in block] for block in scores]
    np.testing.assert_allclose(got.se, expected)
    assert np.all(got.n_members == MEMBERS)
    assert np.all(got.n_scores == len(A))


def test_se_of_pure_member_effects_is_exact():
    u = RNG.standard_normal(MEMBERS)
    got = pair_mean(u[A] + u[B], A, B)
    assert got.se == pytest.approx(2 * u.std(ddof=1) / np.sqrt(MEMBERS))
    half = stats.t.ppf(0.975, MEMBERS - 1) * got.se
    assert (got.low, got.high) == pytest.approx((got.mean - half, got.mean + half))


def test_edge_noise_is_overstated_by_the_documented_factor():
    n, members = 20_000, 6
    rng = np.random.default_rng(1)
    a, b = np.array(list(itertools.combinations(range(members), 2))).T
    got = pair_mean(rng.standard_normal((n, len(a))), a, b)
    truth = 1 / len(a)
    expected = truth * 2 * (members - 1) / (members - 2)
    squared = got.se**2
    assert abs(squared.mean() - expected) < 4 * squared.std() / np.sqrt(n)
    assert abs(got.mean.var() - truth) < 4 * truth * np.sqrt(2 / n)


@pytest.mark.parametrize("members", [3, 5, 8])
def test_coverage_is_nominal_for_member_effects(members):
    n, level = 4000, 0.9
    got = pair_mean(*node_effects(n, members=members, seed=members), level=level)
    covered = np.mean((got.low <= 0.6) & (got.high >= 0.6))
    assert abs(covered - level) < 4 * np.sqrt(level * (1 - level) / n)


def test_coverage_with_edge_noise_is_at_least_nominal_and_pairs_as_units_fail():
    n, level = 4000, 0.95
    scores, a, b = node_effects(n, edge=1.0, seed=7)
    got = pair_mean(scores, a, b, level=level)
    covered = np.mean((got.low <= 0.6) & (got.high >= 0.6))
    assert covered > level - 4 * np.sqrt(level * (1 - level) / n)
    assert covered < 0.99  # and not by being useless
    naive = member_mean(scores, level=level)  # every pair taken for an independent draw
    assert np.mean((naive.low <= 0.6) & (naive.high >= 0.6)) < 0.8


def test_a_diverged_member_is_left_out_with_its_pairs():
    scores = RNG.standard_normal(len(A))
    without = np.where((A == 3) | (B == 3), np.nan, scores)
    kept = np.isfinite(without)
    got, small = pair_mean(without, A, B), pair_mean(scores[kept], A[kept], B[kept])
    np.testing.assert_allclose(got, small)
    assert got.n_members == MEMBERS - 1
    assert got.n_scores == len(A) - (MEMBERS - 1)


def test_scattered_missing_pairs_equal_a_plain_loop():
    scores = RNG.standard_normal(len(A))
    scores[[0, 9, 20]] = np.nan
    got = pair_mean(scores, A, B)
    assert got.mean == pytest.approx(np.nanmean(scores))
    assert got.se == pytest.approx(jackknife_by_loop(scores, A, B))


def test_too_few_members_have_no_standard_error():
    two = pair_mean([[0.4], [np.nan]], [0], [1])
    np.testing.assert_array_equal(two.mean, [0.4, np.nan])
    assert np.all(np.isnan([two.se, two.low, two.high]))
    np.testing.assert_array_equal(two.n_members, [2, 0])
    star = pair_mean([0.4, 0.5, np.nan], [0, 0, 1], [1, 2, 2])  # leaving out member 0 leaves no pair
    assert star.mean == pytest.approx(0.45)
    assert np.isnan(star.se)
    assert star.n_members == 3


def test_shift_scale_relabelling_and_pair_order():
    scores = RNG.standard_normal(len(A))
    base = pair_mean(scores, A, B)
    moved = pair_mean(1e6 + 3 * scores, A, B)
    assert moved.mean == pytest.approx(1e6 + 3 * base.mean)
    assert moved.se == pytest.approx(3 * base.se, rel=1e-8)
    order, names = RNG.permutation(len(A)), RNG.permutation(MEMBERS) * 10
    np.testing.assert_allclose(pair_mean(scores[order], names[B[order]], names[A[order]]), base)
    # and pairing scores with other members does change the standard error
    assert pair_mean(scores[order], A, B).se != pytest.approx(base.se)


def test_member_mean_is_the_textbook_mean():
    values = RNG.standard_normal((4, 9))
    got = member_mean(values)
    np.testing.assert_allclose(got.mean, values.mean(-1))
    np.testing.assert_allclose(got.se, stats.sem(values, axis=-1))
    low, high = stats.t.interval(0.95, 8, values.mean(-1), stats.sem(values, axis=-1))
    np.testing.assert_allclose((got.low, got.high), (low, high))
    values[0, 2] = np.nan
    assert member_mean(values).se[0] == pytest.approx(stats.sem(values[0], nan_policy="omit"))
    alone = member_mean([[2.0, np.nan], [np.nan, np.nan]])
    np.testing.assert_array_equal(alone.mean, [2.0, np.nan])
    assert np.all(np.isnan(alone.se))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: pair_mean([1.0, 2.0], [0], [1]), "shape"),
        (lambda: pair_mean([1.0], [0], [0]), "two different members"),
        (lambda: pair_mean([1.0, 1.0], [0, 1], [1, 0]), "occur once"),
        (lambda: pair_mean([], [], []), "no pair"),
        (lambda: pair_mean([1.0, np.inf, 0.0], [0, 0, 1], [1, 2, 2]), r"index \(1,\)"),
        (lambda: pair_mean([1.0], [0], [1], level=95), "level is 95"),
        (lambda: member_mean(3.0), "no member axis"),
        (lambda: member_mean([np.inf, 1.0]), "infinite"),
    ],
)
def test_errors_say_what_was_received(call, words):
    with pytest.raises(ConsilienceError, match=words):
        call()

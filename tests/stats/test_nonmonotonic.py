from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from consilience.errors import ConsilienceError
from consilience.stats import fall_then_rise, lowest_candidates, median_bracket, member_replicates

RNG = np.random.default_rng(0)


def curves(mean, n, *, members=8, sd=1.0, seed=0):
    """n curves around `mean`, members' effects half shared between points."""
    rng = np.random.default_rng(seed)
    shape = (n, len(mean), members)
    u = rng.standard_normal((n, 1, members)) + rng.standard_normal(shape)
    return np.asarray(mean)[:, None] + sd * u / np.sqrt(2)


def test_three_points_by_hand():
    values = curves([3.0, 0.0, 2.0], 1)[0]
    dip = fall_then_rise(member_replicates(values))
    assert (dip.left, dip.bottom, dip.right) == (0, 1, 2)
    tests = [stats.ttest_rel(values[end], values[1], alternative="greater").pvalue for end in (0, 2)]
    assert dip.p == pytest.approx(min(1, 2 * max(tests)))  # two families
    assert dip.depth == pytest.approx(min(values[0].mean(), values[2].mean()) - values[1].mean())


@pytest.mark.parametrize("seed", range(20))
def test_the_interval_excludes_zero_when_p_is_small(seed):
    dip = fall_then_rise(member_replicates(curves([0.9, 0.0, 0.5, 0.9], 1, seed=seed, sd=0.6)[0]))
    assert (dip.low > 0) == (dip.p < 0.05)
    assert dip.low <= dip.depth <= dip.high


def test_shoulders_need_not_be_ends():
    dip = fall_then_rise(member_replicates(curves([0.0, 5.0, 1.0, 6.0, 0.5], 1, sd=0.3)[0]))
    assert (dip.left, dip.bottom, dip.right) == (1, 2, 3)
    assert dip.p < 0.01


@pytest.mark.parametrize("members", [4, 8])
@pytest.mark.parametrize("mean", [np.zeros(6), np.linspace(0, 2, 6), np.linspace(2, 0, 6)], ids=["flat", "up", "down"])
def test_what_does_not_dip_is_seldom_said_to(members, mean):
    n, alpha = 800, 0.05
    found = [fall_then_rise(member_replicates(one)).p < alpha for one in curves(mean, n, members=members)]
    assert np.mean(found) < alpha + 4 * np.sqrt(alpha * (1 - alpha) / n)


def test_a_dip_is_seldom_called_shallow():
    n, alpha = 800, 0.05
    # As deep as the margin: a tenth of the change from 0 to 4 below the first point.
    mean = [0.0, -0.4, 1.0, 2.0, 3.0, 4.0]
    found = [fall_then_rise(member_replicates(one)).p_shallow < alpha for one in curves(mean, n, sd=0.3)]
    assert np.mean(found) < alpha + 4 * np.sqrt(alpha * (1 - alpha) / n)
    steady = [fall_then_rise(member_replicates(one)).p_shallow < alpha for one in curves(range(6), 100, sd=0.5)]
    assert np.mean(steady) > 0.9
    falling = fall_then_rise(member_replicates(curves([5, 4, 3, 2, 1, 0], 1, sd=0.3)[0]))
    assert falling.p_shallow < alpha


def test_without_standard_errors_only_the_depth_is_known():
    dip = fall_then_rise(member_replicates([[3.0], [1.0], [2.0]]))
    assert (dip.bottom, dip.depth) == (1, 1.0)
    assert np.isnan([dip.p, dip.low, dip.high, dip.p_shallow]).all()
    assert lowest_candidates(member_replicates([[3.0], [1.0]])).all()


def test_the_lowest_is_among_the_candidates():
    n, level = 1500, 0.9
    mean = [1.0, 0.4, 0.3, 0.5, 1.2]
    found = np.array([lowest_candidates(member_replicates(one), level=level) for one in curves(mean, n, sd=0.4)])
    assert found[:, 2].mean() > level - 4 * np.sqrt(level * (1 - level) / n)
    assert found[:, 4].mean() < 0.2  # and it is not by keeping all
    assert found.any(1).all()
    assert lowest_candidates(member_replicates(np.ones((3, 4)))).all()


@pytest.mark.parametrize(("members", "rank"), [(5, 1), (8, 1), (9, 2), (16, 4), (32, 10)])
def test_the_bracket_of_a_median_is_exact(members, rank):
    values = RNG.standard_normal(members)
    found = median_bracket(values, values)
    ordered = np.sort(values)
    assert (found.low, found.high) == (ordered[rank - 1], ordered[members - rank])
    assert found.coverage == pytest.approx(1 - 2 * stats.binom.cdf(rank - 1, members, 0.5))
    assert (found.coverage >= 0.95) == (members > 5)
    n = 1000
    x = np.random.default_rng(members).standard_normal((n, members))
    covered = np.mean([(b := median_bracket(row, row)).low <= 0 <= b.high for row in x])
    assert abs(covered - found.coverage) < 4 * np.sqrt(found.coverage * (1 - found.coverage) / n) + 1e-9


def test_brackets_hold_infinity_and_one_member():
    assert median_bracket([80, 80], [160, np.inf])[1:3] == (80, np.inf)
    assert median_bracket([80], [160]) == (80, 80, 160, 0.0)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: fall_then_rise(member_replicates(np.ones((2, 4)))), "2 points"),
        (lambda: median_bracket([], []), "one at least"),
        (lambda: median_bracket([2], [1]), "below the lower"),
    ],
)
def test_errors(call, words):
    with pytest.raises(ConsilienceError, match=words):
        call()

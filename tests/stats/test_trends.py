from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from consilience.errors import ConsilienceError
from consilience.stats import member_replicates, ordered_trend, ordered_weights, partial_rank_correlation

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("n", range(2, 9))
def test_weights_are_positive_for_everything_that_grows(n):
    w = ordered_weights(n)
    assert w.sum() == pytest.approx(0, abs=1e-12)
    assert w[w > 0].sum() == pytest.approx(1)
    assert (np.diff(w) > 0).all()
    steps = np.tri(n, n - 1, -1)  # every monotone sequence is a sum of single steps
    # The worst monotone alternative: the correlation with every single step is the same (Abelson & Tukey).
    correlation = (w @ steps) / (np.linalg.norm(w) * steps.std(0) * np.sqrt(n))
    np.testing.assert_allclose(correlation, correlation[0])


def test_two_levels_are_a_paired_t_test():
    values = RNG.standard_normal((2, 3, 6))
    trend = ordered_trend(member_replicates(values))
    test = stats.ttest_rel(values[1].mean(0), values[0].mean(0))
    assert trend.p == pytest.approx(test.pvalue)
    assert trend.rise.value == pytest.approx((values[1] - values[0]).mean())
    np.testing.assert_allclose(trend.steps.value, (values[1] - values[0]).mean(-1)[None])


def test_columns_use_the_levels_they_have():
    values = np.array([[1.0, 1.0, 1.0], [2.0, np.nan, 2.0], [4.0, 5.0, np.nan]])[..., None] + 0.1 * np.arange(4)
    values[1:, 2] = np.nan  # one level only: left out
    trend = ordered_trend(member_replicates(values))
    w = ordered_weights(3)
    assert trend.rise.value == pytest.approx((w @ [1, 2, 4] + 4) / 2)
    assert np.isnan(trend.steps.value[:, 1:]).all()
    assert np.isnan(trend.p_fall[1, 1])


@pytest.mark.parametrize("members", [4, 8])
def test_no_trend_is_found_as_often_as_stated(members):
    n, alpha = 3000, 0.05
    rng = np.random.default_rng(members)
    u = rng.standard_normal((n, 1, 1, members)) + rng.standard_normal((n, 4, 3, members))
    found = [ordered_trend(member_replicates(one)) for one in u[:1500]]
    p = np.array([one.p for one in found])
    se = np.sqrt(alpha * (1 - alpha) / len(p))
    assert abs(np.mean(p < alpha) - alpha) < 4 * se
    assert np.mean([one.p_fall.min() < alpha for one in found]) < alpha + 4 * se


def test_partial_rank_correlation_by_its_formula():
    x, y, z = RNG.standard_normal((3, 40))
    xy, xz, yz = (stats.spearmanr(*pair).statistic for pair in ((x, y), (x, z), (y, z)))
    expected = (xy - xz * yz) / np.sqrt((1 - xz**2) * (1 - yz**2))
    assert partial_rank_correlation(x, y, z) == pytest.approx(expected)
    assert partial_rank_correlation(x, y, []) == pytest.approx(xy)
    assert partial_rank_correlation(np.exp(x), -y, z**3) == pytest.approx(-expected)


def test_partial_rank_correlation_takes_the_common_cause_away():
    n = 4000
    z = RNG.standard_normal(n)
    x, y = z + 0.3 * RNG.standard_normal((2, n))
    assert stats.spearmanr(x, y).statistic > 0.8
    # Linear in ranks is not quite linear in z: .03 is left of the curvature, measured at n = 1e6.
    assert abs(partial_rank_correlation(x, y, z)) < 4 / np.sqrt(n) + 0.03
    assert np.isnan(partial_rank_correlation(x, np.ones(n), z))
    assert np.isnan(partial_rank_correlation([1, 2], [2, 1], [1, 2]))
    assert partial_rank_correlation([1, 2, 3, 4], [4, 3, 2, 1], [1, 1, np.inf, np.inf]) == pytest.approx(-1)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: ordered_weights(1), "at least two"),
        (lambda: ordered_trend(member_replicates(np.ones((1, 2, 4)))), "no column"),
        (lambda: partial_rank_correlation([1, 2], [1, 2, 3], []), "shape"),
        (lambda: partial_rank_correlation([1, np.nan, 2], [1, 2, 3], []), "finite"),
    ],
)
def test_errors(call, words):
    with pytest.raises(ConsilienceError, match=words):
        call()

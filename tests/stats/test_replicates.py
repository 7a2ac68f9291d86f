from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from consilience.errors import ConsilienceError
from consilience.stats import (
    Effect,
    contrast,
    jackknife,
    member_mean,
    member_replicates,
    p_not_both,
    pair_mean,
    pair_replicates,
)

MEMBERS = 8
A, B = np.array(list(itertools.combinations(range(MEMBERS), 2))).T
RNG = np.random.default_rng(0)


def test_one_cell_is_the_mean_and_its_jackknife():
    scores = RNG.standard_normal((3, len(A)))
    found = contrast(pair_replicates(scores, A, B), np.eye(3))
    expected = pair_mean(scores, A, B)
    np.testing.assert_allclose((found.value, found.se), (expected.mean, expected.se))
    np.testing.assert_allclose(found.interval(0.95), (expected.low, expected.high))
    values = RNG.standard_normal((3, MEMBERS))
    found, expected = contrast(member_replicates(values), np.eye(3)), member_mean(values)
    np.testing.assert_allclose((found.value, found.se), (expected.mean, expected.se))


def test_a_difference_of_cells_is_the_mean_of_differences():
    scores = RNG.standard_normal((2, 2, len(A))) + RNG.standard_normal(len(A))
    found = contrast(pair_replicates(scores, A, B), [[1, -1], [0, 0]])
    expected = pair_mean(scores[0, 0] - scores[0, 1], A, B)
    np.testing.assert_allclose((found.value, found.se), (expected.mean, expected.se))
    assert found.df == MEMBERS - 1
    difference, sd = RNG.standard_normal(MEMBERS), 2.0
    paired = contrast(member_replicates(np.stack([difference + sd, 2 * difference])), [1, -1])
    test = stats.ttest_1samp(sd - difference, 0)
    assert 2 * min(paired.p_above(), paired.p_below()) == pytest.approx(test.pvalue)


def test_a_second_factor_adds_its_variance():
    scores, parts = RNG.standard_normal((2, len(A))), RNG.standard_normal((2, 5))
    alone, both = pair_replicates(scores, A, B), pair_replicates(scores, A, B, parts)
    w = [1, -1]
    difference = parts[0] - parts[1]
    members, total = contrast(alone, w), contrast(both, w)
    assert total.value == members.value
    assert total.se**2 == pytest.approx(members.se**2 + difference.var(ddof=1) / 5)
    expected = total.se**4 / (members.se**4 / 7 + (difference.var(ddof=1) / 5) ** 2 / 4)
    assert total.df == pytest.approx(expected)


def test_two_factors_cover_as_stated():
    n, members, parts, level = 3000, 6, 5, 0.95
    rng = np.random.default_rng(2)
    u, g = rng.standard_normal((n, members)), rng.standard_normal((n, parts))
    both = 0.5 * rng.standard_normal((n, members, parts))
    cell = member_replicates(u + both.mean(-1))
    groups = g + both.mean(1)
    # Cells are the repetitions: the groups enter as the changes that leaving them out makes.
    changes = (*cell.changes, (groups.mean(-1, keepdims=True) - groups).T / (parts - 1))
    cell = cell._replace(mean=cell.mean + groups.mean(-1) - both.mean((1, 2)), changes=changes)
    found = [contrast(cell.at([i]), [1.0]).interval(level) for i in range(n)]
    covered = np.mean([low <= 0 <= high for low, high in found])
    se = np.sqrt(level * (1 - level) / n)
    # What varies with both counts twice: here .25/30 beside 1/6 + 1/5, so that coverage may exceed the level by 1 %.
    assert level - 4 * se < covered < level + 0.01 + 4 * se


@pytest.mark.parametrize("shared", [0.0, 0.8])
def test_coverage_of_a_difference_whether_cells_are_coupled_or_not(shared):
    n, members, level = 3000, 8, 0.95
    rng = np.random.default_rng(3)
    u = np.sqrt(shared) * rng.standard_normal((n, 1, members)) + np.sqrt(1 - shared) * rng.standard_normal(
        (n, 2, members)
    )
    cells = pair_replicates(u[..., A] + u[..., B], A, B)
    found = [contrast(cells.at(i), [1, -1]).interval(level) for i in range(n)]
    covered = np.mean([low <= 0 <= high for low, high in found])
    assert abs(covered - level) < 4 * np.sqrt(level * (1 - level) / n)


def test_the_bias_of_a_square_is_taken_off():
    n, members = 4000, 4
    values = RNG.standard_normal((n, members))  # the true mean is 0, and so is its square
    cells = member_replicates(values)
    square = jackknife(cells.mean**2, (cells.mean + cells.changes[0]) ** 2, units=np.full(n, members))
    raw = cells.mean**2
    assert raw.mean() == pytest.approx(1 / members, abs=4 * raw.std() / np.sqrt(n))
    assert abs(square.value.mean()) < 4 * square.value.std() / np.sqrt(n)


def test_missing_cells_members_and_spread():
    scores = RNG.standard_normal((3, len(A)))
    scores[2] = np.nan
    scores[1, (A == 3) | (B == 3)] = np.nan
    cells = pair_replicates(scores, A, B)
    found = contrast(cells, [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, -1, 0]])
    np.testing.assert_array_equal(np.isnan(found.value), [False, False, True, False])
    np.testing.assert_array_equal(found.df, [7, 6, np.nan, 6])
    two = contrast(pair_replicates([[0.4], [0.5]], [0], [1]), [1, -1])
    assert two.value == pytest.approx(-0.1)
    assert np.isnan(two.se)
    same = contrast(member_replicates(np.ones((2, 4))), [1, -1])
    assert (same.se, same.p_above(), same.p_below()) == (0, 1, 1)
    apart = contrast(member_replicates(np.ones((2, 4)) * [[1], [2]]), [1, -1])
    assert (apart.p_above(), apart.p_below()) == (1, 0)
    rounded = contrast(member_replicates(np.ones((2, 4)) * [[1], [1 + 1e-9]]), [1, -1], resolution=1e-6)
    assert rounded.p_below() > 0.4


def test_sign_and_selection():
    cells = pair_replicates(RNG.standard_normal((2, 3, len(A))), A, B)
    turned = cells.signed(-1.0)
    assert contrast(turned, np.ones((2, 3))).value == pytest.approx(-contrast(cells, np.ones((2, 3))).value)
    row = cells.at(1, [0, 2])
    assert contrast(row, [1, -1]).se == pytest.approx(contrast(cells, [[0, 0, 0], [1, 0, -1]]).se)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: contrast(member_replicates([[1.0, 2.0]]), [1, 1]), "shape of the cells"),
        (lambda: pair_replicates([[1.0]], [0], [1], [[1.0]]), "two parts"),
    ],
)
def test_errors(call, words):
    with pytest.raises(ConsilienceError, match=words):
        call()


def _means(values):
    """Effects (runs,) from values (runs, members)."""
    members = values.shape[1]
    return Effect(values.mean(1), values.std(1, ddof=1) / members**0.5, np.full(len(values), members - 1.0))


@pytest.mark.parametrize("members", [4, 16])
@pytest.mark.parametrize("correlation", [-0.7, 0.0, 0.7])
def test_one_of_two_effects_is_called_negative_no_more_often_than_said(members, correlation):
    runs, level = 20_000, 0.05
    rng = np.random.default_rng(3)
    u, v = rng.standard_normal((2, runs, members))
    other = correlation * u + (1 - correlation**2) ** 0.5 * v
    tolerance = 3.5 * (level * (1 - level) / runs) ** 0.5
    rates = []
    for shift in (0.0, 1.0, 2.0, 3.0, 5.0, 20.0):  # in standard errors of the second
        first, second = (_means(values) for values in (u, other + shift / members**0.5))
        rates.append(np.mean(p_not_both(first, second) <= level))
    assert max(rates) <= level + tolerance
    assert rates[-1] > 0.8 * level  # and is not simply Bonferroni's, which has half of that


def test_which_of_two_effects_counts():
    found = member_replicates([[-0.4, -0.5, -0.6], [-0.4, -0.6, -0.2], [9.0, 9.1, 9.2], [np.nan] * 3])
    low, lower, high, missing = (contrast(found.at(slice(i, i + 1)), [1.0]) for i in range(4))
    assert p_not_both(low, lower) == 2 * min(low.p_below(), lower.p_below())
    assert p_not_both(lower, high) == p_not_both(high, lower) == lower.p_below() + 0.005
    assert p_not_both(high, high) == 1
    assert np.isnan(p_not_both(missing, low))
    assert np.isnan(p_not_both(low, missing))

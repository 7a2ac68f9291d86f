from __future__ import annotations

import numpy as np
import pytest
from tests.stats.pairs import gaussian, related

from consilience import DegenerateWarning, get_measure
from consilience.errors import ConsilienceError
from consilience.stats import cross_validated, enough, interval, stability


def test_the_curve_by_hand():
    x, y = related(n=40)
    found = stability("procrustes", x, y, [10, 25], draws=4, seed=2)
    assert found.sizes.tolist() == [10, 25, 40]
    rng, measure = np.random.default_rng(2), get_measure("procrustes")
    for at, size in enumerate((10, 25)):
        some = [np.sort(rng.permutation(40)[:size]) for _ in range(4)]
        scores = [float(measure(x[rows], y[rows])) for rows in some]
        assert found.mean[at] == pytest.approx(np.mean(scores))
        assert found.sd[at] == pytest.approx(np.std(scores, ddof=1))
    assert found.mean[2] == float(measure(x, y))
    assert found.sd[2] == 0
    assert found.draws == 4


def test_the_curve_shows_bias_and_spread():
    rng = np.random.default_rng(0)
    x, y = gaussian(rng, 300, 20, 0.0)
    biased, debiased = (stability(name, x, y) for name in ("cka(estimator=biased)", "cka"))
    assert (np.diff(biased.mean) < 0).all()
    assert len(biased.sizes) == 6
    assert biased.sizes[0] == 19
    # 20 subsamples: five standard errors of their mean
    assert (np.abs(debiased.mean[:-1]) < 5 * debiased.sd[:-1] / np.sqrt(20) + abs(debiased.mean[-1])).all()


def test_sizes_that_cannot_be():
    x, y = related(n=40)
    with pytest.raises(ConsilienceError, match="needs 12, and there are 40"):
        stability("mutual_knn", x, y, [5])
    with pytest.raises(ConsilienceError, match="run from 40 to 41"):
        stability("cka", x, y, [41])
    with pytest.raises(ConsilienceError, match="draws is 1"):
        stability("cka", x, y, draws=1)
    with pytest.warns(DegenerateWarning):
        assert np.isnan(stability("cka", x, np.ones((40, 2)), [20], draws=2).mean).all()


def test_how_many_are_enough():
    rng = np.random.default_rng(0)
    x, y = gaussian(rng, 100, 5, 0.4)
    found = enough("cka", x, y, se=0.01)
    se = interval("cka", x, y).se
    assert found.se == se
    assert found.samples == int(np.ceil(100 * (se / 0.01) ** 2))
    assert not found.enough
    assert f"about {found.samples}" in found.reason
    there = enough("cka", x, y, se=0.5)
    assert there.enough
    assert "would do" in there.reason
    assert enough("mutual_knn", x, y, se=9).samples == 12  # what the measure needs
    with pytest.raises(ConsilienceError, match="se is 0"):
        enough("cka", x, y, se=0)


def test_so_many_give_the_standard_error_wanted():
    rng = np.random.default_rng(0)
    wanted = np.median([enough("cka", *gaussian(rng, 50, 5, 0.4), se=0.03).samples for _ in range(40)])
    scores = [float(get_measure("cka")(*gaussian(rng, int(wanted), 5, 0.4))) for _ in range(200)]
    # the sd of 200 scores has a relative standard error of 5 %; 15 % more for what 50 samples say of 350
    assert np.std(scores) == pytest.approx(0.03, rel=0.15 + 4 * 0.05)


def test_no_standard_error_no_number():
    x, _ = related(n=24)
    with pytest.warns(DegenerateWarning):
        found = enough("cka", x, np.ones((24, 2)))
    assert not found.enough
    assert "every feature is constant" in found.reason


def test_held_out_correlations_by_hand():
    x, y = related(n=60)
    found = cross_validated("cca", x, y, folds=3, seed=1)
    expected = []
    for part in np.array_split(np.random.default_rng(1).permutation(60), 3):
        rest = np.setdiff1d(np.arange(60), part)
        sides = [rep[rest] - rep[rest].mean(0) for rep in (x, y)]
        roots = [np.linalg.cholesky(np.linalg.inv(side.T @ side)) for side in sides]
        u, _, vh = np.linalg.svd(roots[0].T @ sides[0].T @ sides[1] @ roots[1])
        a, b = x[part] @ roots[0] @ u[:, :4], y[part] @ roots[1] @ vh.T[:, :4]
        expected.append(np.mean([np.corrcoef(a[:, i], b[:, i])[0, 1] for i in range(4)]))
    assert found.folds == pytest.approx(np.array(expected), abs=1e-10)
    assert found.score == pytest.approx(np.mean(expected))


def test_held_out_correlations_are_zero_by_chance_and_right_in_the_limit():
    rng = np.random.default_rng(0)
    for options in ("cca", "cca(summary=mean_squared)", "cca(reg=0.01)"):
        scores = [cross_validated(options, *gaussian(rng, 60, 8, 0.0)).score for _ in range(60)]
        assert np.mean(scores) == pytest.approx(0, abs=4 * np.std(scores) / np.sqrt(60))
    x, y = gaussian(rng, 4000, 3, 0.49)
    # true canonical correlations are all .7; standard error (1 − ρ²)/√n = .008 each, and p/n of overfitting
    assert cross_validated("cca", x, y).score == pytest.approx(0.7, abs=4 * 0.008)


def test_cross_validation_that_cannot_be():
    x, y = related(n=12)
    with pytest.raises(ConsilienceError, match="fits nothing"):
        cross_validated("cka", x, y, folds=3)
    with pytest.raises(ConsilienceError, match="folds is 5: give from 2 to 4"):
        cross_validated("cca", x, y, folds=5)

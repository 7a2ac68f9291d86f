from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.linalg

from consilience import ConsilienceError, DegenerateWarning, Invariance, Stream, get_measure, pairwise
from consilience.measures import pls_predictivity as pls_module
from consilience.measures.gulp import GULP
from consilience.measures.pls_predictivity import PLSPredictivity
from consilience.measures.predictivity import LinearPredictivity, RidgePredictivity
from consilience.testing import check_measure

RNG = np.random.default_rng


def related(n=60, p=4, q=6, seed=0, noise=1.0):
    rng = RNG(seed)
    x = rng.standard_normal((n, p)) + 2
    return x, x @ rng.standard_normal((p, q)) + noise * rng.standard_normal((n, q)) - 5


def cross_validated(x, y, cv, predict):
    """R² of `predict(x_train, y_train, x_test)`, which gets centred arrays, by explicit folds."""
    residual = total = 0.0
    for fold in range(cv):
        test = np.arange(len(x)) % cv == fold
        mx, my = x[~test].mean(0), y[~test].mean(0)
        found = predict(x[~test] - mx, y[~test] - my, x[test] - mx)
        residual += ((y[test] - my - found) ** 2).sum()
        total += ((y[test] - my) ** 2).sum()
    return 1 - residual / total


def least_squares(x, y, test):
    return test @ np.linalg.lstsq(x, y, rcond=max(x.shape) * np.finfo(float).eps)[0]


# --- linear


@pytest.mark.parametrize("cv", [2, 3, 5, 7])
@pytest.mark.parametrize(("n", "p", "q"), [(40, 3, 5), (43, 8, 2), (24, 30, 4), (24, 60, 70)])
def test_linear_predictivity_by_explicit_folds(cv, n, p, q):
    x, y = related(n=n, p=p, q=q)
    expected = cross_validated(x, y, cv, least_squares)
    assert LinearPredictivity(cv=cv)(x, y) == pytest.approx(expected, rel=1e-9, abs=1e-10)


def test_as_many_folds_as_pairs_of_samples():
    x, y = related(n=30)
    expected = cross_validated(x, y, 15, least_squares)
    assert LinearPredictivity(cv=15)(x, y) == pytest.approx(expected, abs=1e-11)


def test_in_sample_r2_is_that_of_least_squares():
    x, y = related()
    a, b = x - x.mean(0), y - y.mean(0)
    rest = b - a @ np.linalg.lstsq(a, b, rcond=None)[0]
    measure = LinearPredictivity(cv=0)
    assert measure(x, y) == pytest.approx(1 - (rest**2).sum() / (b**2).sum(), abs=1e-13)
    assert measure(x, x @ RNG(0).standard_normal((4, 9)) + 3) == pytest.approx(1, abs=1e-13)


def test_listed_in_sample_value_of_the_other_direction_is_rounded_up():
    # MEASURES lists 0.8913025906 where least squares gives 0.89130259053; the other direction agrees in all digits
    rng = RNG(0)
    z = rng.standard_normal((60, 6))
    x = z @ rng.standard_normal((6, 10)) + 0.7 * rng.standard_normal((60, 10)) + 1.5
    y = z @ rng.standard_normal((6, 12)) + 0.7 * rng.standard_normal((60, 12)) - 0.5
    basis = scipy.linalg.orth(x - x.mean(0))
    b = y - y.mean(0)
    expected = np.linalg.norm(basis.T @ b) ** 2 / np.linalg.norm(b) ** 2
    assert LinearPredictivity(cv=0)(x, y) == pytest.approx(expected, abs=1e-13)
    assert expected == pytest.approx(0.8913025906, abs=1e-10)


def test_identical_representations_predict_each_other_if_samples_suffice():
    x, _ = related(n=50, p=8)
    assert LinearPredictivity()(x, x) == pytest.approx(1, abs=1e-12)
    assert RidgePredictivity()(x, x) == pytest.approx(1, abs=1e-9)
    assert PLSPredictivity()(x, x) == pytest.approx(1, abs=1e-12)
    wide = RNG(0).standard_normal((50, 80))
    assert LinearPredictivity()(wide, wide) < 0.9


def test_dependent_features_change_nothing():
    x, y = related()
    copies = np.concatenate([x, x[:, :2] - x[:, 1:3], np.ones((60, 1))], axis=1)
    for cv in (0, 5):
        assert LinearPredictivity(cv=cv)(copies, y) == pytest.approx(LinearPredictivity(cv=cv)(x, y), abs=1e-10)


def test_a_feature_that_varies_in_one_fold_only():
    x, y = related(n=20)
    flag = np.zeros((20, 1))
    flag[3] = 1
    x = np.concatenate([x, flag], axis=1)
    assert LinearPredictivity()(x, y) == pytest.approx(cross_validated(x, y, 5, least_squares), abs=1e-11)


def test_badly_scaled_features_of_the_predictor_count():
    x, y = related(n=80)
    scaled = x * 10.0 ** np.array([0, -2, -4, -6])
    assert LinearPredictivity()(scaled, y) == pytest.approx(LinearPredictivity()(x, y), abs=1e-8)


def test_invertible_maps_of_the_predictor_change_nothing_and_of_the_target_do():
    x, y = related()
    mixing = RNG(4).standard_normal((4, 4))
    assert LinearPredictivity()(x @ mixing, y) == pytest.approx(LinearPredictivity()(x, y), abs=1e-12)
    assert abs(LinearPredictivity()(x, y @ np.diag([1, 2, 3, 4, 5, 6])) - LinearPredictivity()(x, y)) > 1e-3


def test_unrelated_representations():
    scores = [LinearPredictivity(cv=0)(*np.split(RNG(s).standard_normal((40, 9)), [5], axis=1)) for s in range(200)]
    assert abs(np.mean(scores) - 5 / 39) < 4 * np.std(scores, ddof=1) / np.sqrt(200)
    assert LinearPredictivity()(RNG(0).standard_normal((60, 30)), RNG(1).standard_normal((60, 3))) < 0


def test_full_rank_in_sample_is_flagged_in_the_direction_of_the_predictor_only():
    wide, narrow = RNG(0).standard_normal((20, 30)), RNG(1).standard_normal((20, 3))
    measure = LinearPredictivity(cv=0)
    with pytest.warns(DegenerateWarning, match="fit any target exactly"):
        assert measure(wide, narrow) == pytest.approx(1, abs=1e-13)
    a, b = measure.prepare(wide), measure.prepare(narrow)
    assert measure.caveat(a, b)
    assert measure.caveat(b, a) is None
    assert 0 < measure(narrow, wide) < 0.5


# --- ridge


def ridge_by_hand(smallest, largest, penalties):
    def predict(x, y, test):
        n = len(x)
        values = np.linalg.eigvalsh(x @ x.T)
        mean = values[values > 1e-10 * values.max()].mean()
        best = (np.inf, None)
        for penalty in mean * np.geomspace(smallest, largest, penalties):
            hat = x @ np.linalg.solve(x.T @ x + penalty * np.eye(x.shape[1]), x.T)
            error = ((y - hat @ y) ** 2).sum() / (n - 1 - np.trace(hat)) ** 2
            best = min(best, (error, penalty))
        return test @ np.linalg.solve(x.T @ x + best[1] * np.eye(x.shape[1]), x.T @ y)

    return predict


@pytest.mark.parametrize(("n", "p", "q"), [(40, 5, 3), (30, 25, 2), (24, 50, 4), (24, 50, 40)])
def test_ridge_predictivity_by_explicit_folds_and_penalties(n, p, q):
    x, y = related(n=n, p=p, q=q, noise=4)
    expected = cross_validated(x, y, 4, ridge_by_hand(1e-4, 1e3, 15))
    found = RidgePredictivity(cv=4, smallest=1e-4, largest=1e3, penalties=15)(x, y)
    assert found == pytest.approx(expected, abs=1e-8)


def test_one_penalty_is_ridge_regression_with_it():
    x, y = related(n=40, p=6)

    def predict(a, b, test):
        penalty = 0.3 * np.mean(np.linalg.eigvalsh(a.T @ a))
        return test @ np.linalg.solve(a.T @ a + penalty * np.eye(6), a.T @ b)

    found = RidgePredictivity(smallest=0.3, largest=0.3, penalties=1)(x, y)
    assert found == pytest.approx(cross_validated(x, y, 5, predict), abs=1e-12)


def test_penalty_is_chosen_without_the_held_out_rows(monkeypatch):
    x, y = related(n=40, p=20, noise=5)
    changed = y.copy()
    changed[::5] = RNG(1).standard_normal(changed[::5].shape) * 100
    original = RidgePredictivity._loadings
    seen = []
    monkeypatch.setattr(RidgePredictivity, "_loadings", lambda *given: seen.append(original(*given)) or seen[-1])
    for targets in (y, changed):
        RidgePredictivity()(x, targets)
    # both targets are scaled to unit magnitude, by different numbers, before anything else
    scales = [np.abs(z - z.mean(0)).max() for z in (y, changed)]
    assert seen[0] * scales[0] == pytest.approx(seen[5] * scales[1], rel=1e-9, abs=1e-9)
    assert seen[1] * scales[0] != pytest.approx(seen[6] * scales[1], rel=1e-2)


def test_ridge_is_no_worse_than_the_mean_by_much_where_least_squares_is():
    x, y = RNG(0).standard_normal((60, 50)), RNG(1).standard_normal((60, 3))
    assert LinearPredictivity()(x, y) < -1
    assert RidgePredictivity()(x, y) > -0.2


# --- partial least squares


def simpls_by_hand(components):
    """Directions of largest covariance with scores orthogonal to those before, by projecting these out."""

    def predict(x, y, test):
        chosen = np.empty((x.shape[1], 0))
        for _ in range(min(components, x.shape[1], len(x) - 1)):
            allowed = scipy.linalg.null_space((x.T @ x @ chosen).T) if chosen.shape[1] else np.eye(x.shape[1])
            direction = allowed @ np.linalg.svd(allowed.T @ x.T @ y)[0][:, :1]
            chosen = np.concatenate([chosen, direction], axis=1)
        return test @ chosen @ np.linalg.lstsq(x @ chosen, y, rcond=None)[0]

    return predict


@pytest.mark.parametrize("components", [1, 2, 4])
@pytest.mark.parametrize(("n", "p", "q"), [(40, 6, 3), (40, 6, 9), (24, 30, 5)])
def test_pls_predictivity_maximises_what_it_says(components, n, p, q):
    x, y = related(n=n, p=p, q=q, noise=3)
    expected = cross_validated(x, y, 4, simpls_by_hand(components))
    assert PLSPredictivity(components=components, cv=4)(x, y) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("components", [1, 3, 6])
def test_pls_of_one_target_is_that_of_scikit_learn(components):
    regression = pytest.importorskip("sklearn.cross_decomposition").PLSRegression
    x, y = related(n=50, p=12, q=1, noise=3)

    def predict(a, b, test):
        return regression(components, scale=False).fit(a, b[:, 0]).predict(test).reshape(-1, 1)

    found = PLSPredictivity(components=components)(x, y)
    assert found == pytest.approx(cross_validated(x, y, 5, predict), abs=1e-10)


def test_pls_with_all_components_is_least_squares():
    x, y = related(n=60, p=8)
    assert PLSPredictivity()(x, y) == pytest.approx(LinearPredictivity()(x, y), abs=1e-10)
    dependent = np.concatenate([x, x[:, :3]], axis=1)
    assert PLSPredictivity()(dependent, y) == pytest.approx(LinearPredictivity()(x, y), abs=1e-9)


def test_iteration_finds_the_same_singular_vectors(monkeypatch):
    x, y = related(n=50, p=20, q=15, noise=5)
    usual = PLSPredictivity(components=6)(x, y)
    monkeypatch.setattr(pls_module, "_DENSE", 2)
    assert PLSPredictivity(components=6)(x, y) == pytest.approx(usual, abs=1e-9)
    assert pls_module._leading_by_iteration(np.zeros((5, 4))) is None


# --- GULP


def gulp_by_hand(x, y, penalty):
    n = len(x)
    x, y = ((z - z.mean(0)) * np.sqrt(n) / np.linalg.norm(z - z.mean(0)) for z in (x, y))
    sx, sy, sxy = x.T @ x / n, y.T @ y / n, x.T @ y / n
    ix, iy = (np.linalg.inv(s + penalty * np.eye(len(s))) for s in (sx, sy))
    return np.trace(ix @ sx @ ix @ sx) + np.trace(iy @ sy @ iy @ sy) - 2 * np.trace(ix @ sxy @ iy @ sxy.T)


@pytest.mark.parametrize("penalty", [1e-4, 1e-2, 1.0])
@pytest.mark.parametrize(("p", "q"), [(4, 6), (100, 20)])
def test_gulp_from_its_definition(penalty, p, q):
    x, y = related(p=p, q=q)
    assert GULP(penalty=penalty)(x, y) == pytest.approx(gulp_by_hand(x, y, penalty), rel=1e-9)


def test_gulp_without_penalty_counts_canonical_correlations():
    x, y = related(p=4, q=6)
    a, b = (scipy.linalg.orth(z - z.mean(0)) for z in (x, y))
    assert GULP(penalty=0)(x, y) == pytest.approx(4 + 6 - 2 * np.linalg.norm(a.T @ b) ** 2, abs=1e-12)
    with pytest.warns(DegenerateWarning, match="samples less one"):
        assert np.isnan(GULP(penalty=0)(RNG(0).standard_normal((20, 30)), RNG(1).standard_normal((20, 3))))
    assert GULP(penalty=0).invariant_to(Invariance.INVERTIBLE_LINEAR)
    check_measure(GULP(penalty=0))


def test_gulp_is_the_mean_squared_difference_of_ridge_predictions():
    x, y = related(n=30)
    hats = []
    for z in (x, y):
        z = z - z.mean(0)
        penalty = 0.01 * (z**2).sum()
        hats.append(z @ np.linalg.solve(z.T @ z + penalty * np.eye(z.shape[1]), z.T))
    assert GULP()(x, y) == pytest.approx(((hats[0] - hats[1]) ** 2).sum(), rel=1e-11)


def test_root_of_gulp_satisfies_the_triangle_inequality():
    reps = [related(p=p, q=q, seed=p)[1] for p, q in ((3, 4), (4, 6), (5, 7), (2, 9))]
    d = np.sqrt(pairwise(reps, "gulp"))
    for i, j, k in itertools.permutations(range(4), 3):
        assert d[i, k] <= d[i, j] + d[j, k] + 1e-12


def test_gulp_of_copies_is_zero_and_never_negative():
    x, _ = related()
    assert GULP()(x, x.copy()) < 1e-13
    for seed in range(20):
        assert GULP()(x, x + 1e-10 * RNG(seed).standard_normal(x.shape)) >= 0


# --- all of them


@pytest.mark.parametrize(
    "label", ["linear_predictivity(cv=3)", "ridge_predictivity(cv=4)", "pls_predictivity(components=2)", "gulp"]
)
def test_streams_with_fewer_samples_than_features_and_offsets(label):
    x, y = related(n=26, p=30, q=4)
    x, y = x + 1e3, y - 1e3
    stream = Stream(label)
    for start in range(0, 26, 3):
        stream.update(x[start : start + 3], y[start : start + 3])
    assert stream.result() == pytest.approx(get_measure(label)(x, y), abs=1e-6)


@pytest.mark.filterwarnings("ignore::consilience.DegenerateWarning")
def test_in_sample_linear_predictivity_conforms():
    check_measure(LinearPredictivity(cv=0))


def test_state_beyond_the_memory_budget_is_refused(monkeypatch):
    monkeypatch.setenv("CONSILIENCE_MEMORY_GIB", "0.00001")
    with pytest.raises(ConsilienceError, match="regression of 5 folds"):
        LinearPredictivity()(*related(p=40))


@pytest.mark.parametrize(
    ("name", "options", "match"),
    [
        ("linear_predictivity", {"cv": 1}, "or 0 to fit"),
        ("linear_predictivity", {"cv": -2}, "2 or more"),
        ("ridge_predictivity", {"cv": 0}, "2 or more"),
        ("ridge_predictivity", {"smallest": 0.0}, "positive"),
        ("ridge_predictivity", {"smallest": 2.0, "largest": 1.0}, "in that order"),
        ("ridge_predictivity", {"penalties": 0}, "at least one"),
        ("pls_predictivity", {"components": 0}, "at least one"),
        ("pls_predictivity", {"cv": 1}, "2 or more"),
        ("gulp", {"penalty": -0.1}, "zero or positive"),
        ("gulp", {"penalty": float("nan")}, "zero or positive"),
    ],
)
def test_options_are_checked(name, options, match):
    with pytest.raises(ConsilienceError, match=match):
        get_measure(name, **options)


def test_too_few_samples_are_refused():
    with pytest.raises(ConsilienceError, match="at least 10"):
        LinearPredictivity()(np.eye(9), np.eye(9))

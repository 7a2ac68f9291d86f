from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from scipy import stats as distributions
from tests.stats.pairs import LEAVES_OUT, gaussian, related

from consilience import DegenerateWarning, get_measure, measures
from consilience.errors import ConsilienceError
from consilience.stats import interval
from consilience.stats.interval import _ends
from consilience.testing.libraries import _converted


def without(measure, x, y):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DegenerateWarning)
        return np.array([float(measure(np.delete(x, i, 0), np.delete(y, i, 0))) for i in range(len(x))])


@pytest.mark.parametrize("name", LEAVES_OUT)
@pytest.mark.parametrize("widths", [(4, 6), (40, 30)])
def test_rows_left_out_without_recomputing(name, widths):
    measure = get_measure(name)
    x, y = related(name, widths=widths)
    found, expected = measure.without_each(x, y), without(measure, x, y)
    defined = np.isfinite(expected)
    assert defined.sum() > 12
    assert found[defined] == pytest.approx(expected[defined], rel=1e-9, abs=1e-10)
    assert np.isnan(found[~defined]).all()


@pytest.mark.parametrize("name", ["mutual_knn(k=3, metric=euclidean)", "information_imbalance(k=2)", "rsa"])
def test_rows_left_out_with_ties(name):
    measure = get_measure(name)
    x, y = np.random.default_rng(0).integers(0, 3, (2, 20, 2)).astype(float)
    assert measure.without_each(x, y) == pytest.approx(without(measure, x, y), abs=1e-12)


def test_measures_that_offer_rows_left_out_are_all_tested():
    x, y = related(n=30, widths=(4, 4))
    offered = {
        name
        for name in measures()
        if not get_measure(name).needs_targets
        and get_measure(name).options.get("inputs") != "probabilities"
        and get_measure(name).without_each(x, y) is not None
    }
    assert offered == {get_measure(name).name for name in LEAVES_OUT}


def test_the_bandwidth_of_a_kernel_stays():
    x, y = related()
    grams = []
    for rep in (x, y):
        distances = np.linalg.norm(rep[:, None] - rep[None], axis=2)
        sigma = np.median(distances[np.triu_indices(len(rep), 1)])
        grams.append(np.exp(-((distances / sigma) ** 2) / 2))
    expected = []
    for i in range(len(x)):
        k, m = (np.delete(np.delete(each, i, 0), i, 1) for each in grams)
        k, m = (each - each.mean(0) - each.mean(1)[:, None] + each.mean() for each in (k, m))
        expected.append((k * m).sum() / np.sqrt((k * k).sum() * (m * m).sum()))
    found = get_measure("cka(kernel=rbf, estimator=biased)").without_each(x, y)
    assert found == pytest.approx(np.array(expected), abs=1e-12)


@pytest.mark.parametrize("name", ["cka", "rsa(comparison=pearson)"])
def test_the_standard_error_is_the_jackknife(name):
    x, y = related(n=40)
    found = interval(name, x, y, level=0.9)
    left = without(get_measure(name), x, y)
    se = np.sqrt(39 / 40 * ((left - left.mean()) ** 2).sum())
    assert found.se == pytest.approx(se, rel=1e-9)
    assert (found.level, found.method) == (0.9, "jackknife")
    value = float(get_measure(name)(x, y))
    step = distributions.t.ppf(0.95, 39) * se / (1 - value**2)
    assert (found.low, found.high) == pytest.approx(np.tanh(np.arctanh(value) + np.array([-step, step])))


def test_groups_of_one_are_the_jackknife():
    x, y = related(n=30)
    left = without(get_measure("procrustes"), x, y)
    expected = np.sqrt(29 / 30 * ((left - left.mean()) ** 2).sum())
    assert interval("procrustes", x, y).se == pytest.approx(expected, rel=1e-9)


def test_groups_of_unequal_size_by_hand():
    x, y = related(n=47)
    measure = get_measure("nbs")
    order = np.random.default_rng(5).permutation(47)
    value, terms, rest = float(measure(x, y)), [], []
    for group in np.array_split(order, 30):
        kept = np.setdiff1d(np.arange(47), group)
        h, score = 47 / len(group), float(measure(x[kept], y[kept]))
        terms.append((h, h * value - (h - 1) * score))
        rest.append((1 - 1 / h) * score)
    centre = 30 * value - sum(rest)
    variance = sum((pseudo - centre) ** 2 / (h - 1) for h, pseudo in terms) / 30
    assert interval(measure, x, y, seed=5).se == pytest.approx(np.sqrt(variance), rel=1e-9)


@pytest.mark.parametrize("name", ["mutual_knn(k=3)", "information_imbalance(k=2)"])
def test_scores_of_neighbours_take_a_mean_of_two_variances(name):
    measure = get_measure(name)
    x, y = related(n=40)
    left, shares = without(measure, x, y), measure.of_each_sample(x, y)
    assert shares.mean() == pytest.approx(float(measure(x, y)), abs=1e-12)
    jackknife = 39 / 40 * ((left - left.mean()) ** 2).sum()
    weight = 1 / 3 if name.startswith("information_imbalance") else 1 / 2
    expected = weight * jackknife + (1 - weight) * shares.var(ddof=1) / 40
    assert interval(name, x, y).se ** 2 == pytest.approx(expected)


@pytest.mark.parametrize("name", ["cka", "procrustes", "bures", "mutual_knn(k=3)", "rsa(comparison=euclidean)", "hsic"])
@pytest.mark.parametrize("method", ["jackknife", "subsample"])
def test_ends_lie_within_the_bounds_and_around_the_value(name, method):
    measure = get_measure(name)
    for seed in range(4):
        x, y = related(n=16, seed=seed)
        for pair in ((x, y), (x, x + 1e-6 * y[:, :4])):
            found = interval(measure, *pair, method=method, level=0.99)
            assert measure.bounds[0] <= found.low <= found.value <= found.high <= measure.bounds[1]


def test_identical_inputs_have_no_width():
    x, _ = related()
    for name, value in (("cka", 1.0), ("procrustes", 0.0), ("mutual_knn(k=3)", 1.0), ("cca", 1.0), ("svcca", 1.0)):
        assert interval(name, x, x)[:4] == pytest.approx((value, value, value, 0.0), abs=1e-7)


@pytest.mark.parametrize(
    ("name", "value"),
    [("procrustes", v) for v in (0.0, 3e-16, math.pi / 2 - 3e-16, math.pi / 2)]
    + [("cca", v) for v in (0.0, 1 - 2e-16, 1.0)]
    + [("rsa", v) for v in (-1.0, 2e-16 - 1, 1 - 2e-16)],
)
def test_rounding_at_a_bound_stays_rounding(name, value):
    low, high = _ends(get_measure(name), value, 1e-14)
    assert value - 2e-14 <= low <= value <= high <= value + 2e-14


def test_a_bootstrap_is_refused_with_the_reason():
    x, y = related()
    with pytest.raises(ConsilienceError, match="their own nearest neighbours"):
        interval("cka", x, y, method="bootstrap")
    with pytest.raises(ConsilienceError, match="'bca': give 'jackknife'"):
        interval("cka", x, y, method="bca")
    with pytest.raises(ConsilienceError, match="level is 95"):
        interval("cka", x, y, level=95)


def test_samples_must_be_left_and_rows_be_samples():
    x, y = related(n=12)
    with pytest.raises(ConsilienceError, match="of 12, 11 are left, and the measure needs 12"):
        interval("information_imbalance(k=10)", x, y)
    with pytest.raises(ConsilienceError, match="of 12, 6 are left"):
        interval("mutual_knn(k=5)", x, y, method="subsample")
    with pytest.raises(ConsilienceError, match="repeated measurements"):
        interval("rsa(rdm=crossnobis)", x, y, targets=np.arange(12) % 4)


def test_nothing_to_compare_is_nan_with_a_warning():
    x, _ = related()
    with pytest.warns(DegenerateWarning, match="in y, every feature is constant"):
        found = interval("cka", x, np.ones((24, 2)))
    assert np.isnan(found[:4]).all()
    lonely = np.zeros((24, 1))
    lonely[3] = 1.0  # without sample 3 nothing varies
    found = interval("procrustes", x, lonely)
    assert np.isfinite(found.value)
    assert np.isnan([found.se, found.low, found.high]).all()


def test_every_library_gives_the_same_interval_on_the_host():
    x, y = related()
    expected = interval("cka", x, y)
    for library in ("torch", "jax", "array_api_strict"):
        found = interval("cka", _converted(library, x), _converted(library, y))
        assert found[:4] == pytest.approx(expected[:4], abs=1e-5)
    jax = pytest.importorskip("jax")
    with pytest.raises(ConsilienceError, match=r"outside jax\.jit"):
        jax.jit(lambda x, y: interval("cka", x, y).low)(x, y)


def test_groups_and_halves_depend_on_the_seed_alone():
    x, y = related(n=50)
    for method in ("jackknife", "subsample"):
        one = interval("procrustes", x, y, method=method, seed=1)
        assert one == interval("procrustes", x, y, method=method, seed=1)
        assert one != interval("procrustes", x, y, method=method, seed=2)


def test_targets_are_left_out_with_their_samples():
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 3, 60)
    x, y = (np.eye(3)[targets] + rng.standard_normal((60, 3)) for _ in range(2))
    found = interval("accuracy_difference", x, y, targets=targets)
    assert found.low <= found.value <= found.high
    assert found.se > 0


@pytest.mark.parametrize(
    ("name", "squared", "n", "d", "method"),
    [
        ("cka", 0.4, 60, 5, "jackknife"),
        ("cka", 0.85, 40, 60, "jackknife"),
        ("procrustes", 0.4, 60, 5, "jackknife"),
        ("rsa(comparison=pearson)", 0.4, 60, 5, "jackknife"),
        ("information_imbalance", 0.4, 60, 5, "jackknife"),
        ("cka", 0.4, 60, 5, "subsample"),
    ],
)
def test_intervals_cover(name, squared, n, d, method):
    rng = np.random.default_rng([n, d])
    runs = 120 if name != "procrustes" else 60
    found = [interval(name, *gaussian(rng, n, d, squared), method=method) for _ in range(runs)]
    truth = squared if name == "cka" else np.mean([one.value for one in found])
    covered = np.mean([one.low <= truth <= one.high for one in found])
    # five standard errors of a share of .95, and .02 for what 60 samples lack (measured: .92 to .99)
    assert covered > 0.95 - 0.02 - 5 * np.sqrt(0.95 * 0.05 / runs)
    ratio = np.sqrt(np.mean([one.se**2 for one in found])) / np.std([one.value for one in found])
    assert 0.75 < ratio < 1.6  # measured .95 to 1.4; the sd of 60 to 120 scores has a standard error of 7 to 9 %

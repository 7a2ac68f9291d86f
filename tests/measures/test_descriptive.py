"""Numbers that describe one representation: against their definitions, known populations and special cases."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.spatial.distance import cdist, pdist

from consilience import ConsilienceError, get_measure
from consilience._array import to_numpy
from consilience.testing.libraries import _converted

RNG = np.random.default_rng
LIBRARIES = ["numpy", "torch", "array_api_strict"]


def sample(n=50, d=6, seed=0):
    rng = RNG(seed)
    return rng.standard_normal((n, d)) * np.linspace(0.5, 3, d) + rng.standard_normal(d)


@pytest.mark.parametrize("shape", [(50, 6), (10, 80)])
def test_participation_ratio_is_of_the_eigenvalues(shape):
    x = sample(*shape)
    eigenvalues = np.linalg.eigvalsh(np.cov(x.T))
    expected = eigenvalues.sum() ** 2 / (eigenvalues**2).sum()
    measure = get_measure("participation_ratio")
    assert measure(x) == pytest.approx(expected, rel=1e-12)
    assert measure(x, x[:, :3]) == pytest.approx(abs(expected - float(measure(x[:, :3]))), rel=1e-12)


def test_participation_ratio_of_equal_variances_and_of_one_direction():
    cube = np.array(np.meshgrid(*[[-1.0, 1.0]] * 4)).reshape(4, -1).T
    assert get_measure("participation_ratio")(cube) == pytest.approx(4, rel=1e-14)
    assert get_measure("participation_ratio")(np.outer(np.arange(9.0), [1, 2, 3])) == pytest.approx(1, rel=1e-14)


def unbiased_traces(x):
    """(tr C)² and tr C² by sums over tuples of different samples."""
    n = len(x)
    gram = x @ x.T
    square, norm = [], []
    for i, j, k, m in np.array(np.meshgrid(*[np.arange(n)] * 4)).reshape(4, -1).T:
        if len({i, j, k, m}) == 4:
            within = gram[i, i] + gram[j, j] - 2 * gram[i, j], gram[k, k] + gram[m, m] - 2 * gram[k, m]
            square.append(within[0] * within[1] / 4)
            norm.append((gram[i, k] - gram[i, m] - gram[j, k] + gram[j, m]) ** 2 / 4)
    return np.mean(square), np.mean(norm)


def test_debiased_participation_ratio_is_of_unbiased_estimates():
    x = sample(n=7, d=4) ** 3
    square, norm = unbiased_traces(x)
    assert get_measure("participation_ratio", estimator="debiased")(x) == pytest.approx(square / norm, rel=1e-10)


def test_debiased_participation_ratio_of_few_samples():
    # 40 samples of 60 equal variances: the samples themselves cannot give more than 39
    values = [[_participation(RNG(s).standard_normal((40, 60)), e) for e in ("biased", "debiased")] for s in range(100)]
    biased, debiased = np.mean(values, axis=0)
    assert biased < 30
    error = np.std([v[1] for v in values]) / 10
    assert abs(debiased - 60) < 4 * error + 60 * 2 / 40  # the ratio of unbiased estimates is biased by O(1/n)


def _participation(x, estimator):
    return float(get_measure("participation_ratio", estimator=estimator)(x))


def test_debiased_participation_ratio_that_does_not_exist():
    x = np.zeros((4, 2))
    x[0, 0], x[1, 1], x[2], x[3] = 1, 1, -1, 0  # an estimate of tr C² below zero needs few samples
    found = [RNG(s).standard_normal((4, 9)) for s in range(50)]
    missing = [z for z in found if unbiased_traces(z)[1] <= 0 or unbiased_traces(z)[0] <= 0]
    for z in missing:
        with pytest.warns(UserWarning, match="not positive"):
            assert np.isnan(_participation(z, "debiased"))
    assert all(np.isfinite(_participation(z, "debiased")) for z in found if not any(z is m for m in missing))


def test_magnitude_and_concentricity_from_their_definitions():
    x = sample()
    mean = x.mean(axis=0)
    assert get_measure("magnitude")(x) == pytest.approx(np.linalg.norm(mean), rel=1e-14)
    cosines = x @ mean / (np.linalg.norm(x, axis=1) * np.linalg.norm(mean))
    assert get_measure("concentricity")(x) == pytest.approx(cosines.mean(), rel=1e-13)


def test_magnitude_of_extreme_features_and_of_none():
    x = sample()
    for scale in (1e-200, 1e200):
        assert get_measure("magnitude")(x * scale) == pytest.approx(scale * np.linalg.norm(x.mean(axis=0)), rel=1e-13)
    assert get_measure("magnitude")(np.zeros((5, 2))) == 0


def test_concentricity_without_a_mean():
    x = sample()
    for centred in (x - x.mean(axis=0), np.zeros((9, 2)), np.concatenate([x, -x])):
        with pytest.warns(UserWarning, match="zero to rounding"):
            assert np.isnan(get_measure("concentricity")(centred))
    with_zero = np.concatenate([np.ones((3, 2)), np.zeros((1, 2))])
    assert get_measure("concentricity")(with_zero) == pytest.approx(3 / 4, rel=1e-14)


@pytest.mark.parametrize("t", [0.5, 2.0])
@pytest.mark.parametrize("n", [3, 50, 700])
def test_uniformity_from_its_definition(t, n):
    x = sample(n=n)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    expected = np.log(np.mean(np.exp(-t * pdist(unit, "sqeuclidean"))))
    assert get_measure("uniformity", t=t)(x) == pytest.approx(expected, rel=1e-11)


def test_uniformity_does_not_underflow():
    x = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]])
    # two pairs at squared distance 2, one at 4, of three
    assert get_measure("uniformity", t=1e4)(x) == pytest.approx(np.log(2 / 3) - 2e4, rel=1e-14)
    assert get_measure("uniformity")(np.ones((4, 3))) == pytest.approx(0, abs=1e-14)


def test_uniform_directions_have_the_value_of_the_sphere():
    # E exp(−t‖u − v‖²) on the circle is e^{−2t} I₀(2t)
    values = [float(get_measure("uniformity")(RNG(s).standard_normal((300, 2)))) for s in range(30)]
    expected = np.log(np.exp(-4) * np.i0(4))
    assert abs(np.mean(values) - expected) < 4 * np.std(values) / np.sqrt(30) + 1 / 300


@pytest.mark.parametrize("t", [0.0, -1.0, float("inf"), float("nan")])
def test_sharpness_is_checked(t):
    with pytest.raises(ConsilienceError, match="positive and finite"):
        get_measure("uniformity", t=t)


def ratios(x, n1=1, n2=2):
    distances = np.sort(cdist(x, x), axis=1)
    return np.log(distances[:, n2] / distances[:, n1])


def test_two_nn_is_the_slope_through_the_origin():
    x = sample(n=200, d=3)
    log_mu = np.sort(ratios(x))[:180]
    y = -np.log(1 - np.arange(1, 181) / 200)
    slope = np.linalg.lstsq(log_mu[:, None], y, rcond=None)[0][0]
    assert get_measure("intrinsic_dimension")(x) == pytest.approx(slope, rel=1e-10)
    log_mu, y = log_mu[:100], y[:100]
    slope = np.linalg.lstsq(log_mu[:, None], y, rcond=None)[0][0]
    assert get_measure("intrinsic_dimension", discard=0.5)(x) == pytest.approx(slope, rel=1e-10)


@pytest.mark.parametrize(("n1", "n2"), [(1, 2), (1, 3), (2, 4), (5, 20)])
def test_gride_maximises_its_likelihood(n1, n2):
    x = sample(n=150, d=4)
    log_mu = ratios(x, n1, n2)

    def slope(d):
        mu = np.exp(log_mu)
        return len(x) / d + (n2 - n1 - 1) * np.sum(mu**d * log_mu / (mu**d - 1)) - (n2 - 1) * log_mu.sum()

    expected = brentq(slope, 0.1, 100, xtol=1e-13)
    found = get_measure("intrinsic_dimension", estimator="gride", n1=n1, n2=n2)(x)
    assert found == pytest.approx(expected, rel=1e-9)


def test_likelihood_of_two_neighbours_is_corrected():
    x = sample(n=100, d=3)
    assert get_measure("intrinsic_dimension", estimator="two_nn_ml")(x) == pytest.approx(
        99 / ratios(x).sum(), rel=1e-11
    )
    gride = get_measure("intrinsic_dimension", estimator="gride")
    assert gride(x) == pytest.approx(100 / ratios(x).sum(), rel=1e-11)


def torus(n, d, rng):
    """Points of a flat torus of dimension d in 2d dimensions: no boundary."""
    angles = 2 * np.pi * rng.random((n, d))
    return np.concatenate([np.cos(angles), np.sin(angles)], axis=1)


def sphere(n, d, rng):
    x = rng.standard_normal((n, d + 1))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


@pytest.mark.parametrize("surface", [torus, sphere])
@pytest.mark.parametrize("d", [1, 2, 4])
def test_known_dimensions(surface, d):
    n, repetitions = 500, 12
    options = [{}, {"estimator": "two_nn_ml"}, {"estimator": "gride", "n1": 2, "n2": 4}]
    for option in options:
        measure = get_measure("intrinsic_dimension", **option)
        found = np.mean([float(measure(surface(n, d, RNG([d, s])))) for s in range(repetitions)])
        # standard error of maximum likelihood, d/√n each (that of the fit is a tenth larger), and curvature
        assert abs(found - d) < 4 * 1.2 * d / np.sqrt(n * repetitions) + 0.03 * d, option


def test_dimension_of_a_folded_sheet_is_not_that_of_its_spectrum():
    sheet = RNG(0).random((800, 2))
    x = np.column_stack([np.sin(9 * sheet[:, 0]), np.cos(9 * sheet[:, 0]), 3 * sheet[:, 0], 2 * sheet[:, 1]])
    assert get_measure("intrinsic_dimension")(x) == pytest.approx(2, abs=4 * 2 / np.sqrt(800))
    assert get_measure("participation_ratio")(x) > 2.5


@pytest.mark.parametrize("library", LIBRARIES)
def test_copies_count_once(library):
    x = sample(n=80, d=3)
    copies = np.concatenate([x, x[:30], x[:10], x[40:45]])[RNG(1).permutation(125)]
    # a rotation leaves copies that differ by rounding
    turned = copies @ np.linalg.qr(RNG(2).standard_normal((3, 3)))[0]
    for estimator in ("two_nn", "two_nn_ml", "gride"):
        measure = get_measure("intrinsic_dimension", estimator=estimator)
        expected = float(measure(x))
        for z in (copies, turned, turned + 1e-17 * RNG(3).standard_normal(turned.shape)):
            found = measure(z if library == "numpy" else _converted(library, z))
            assert float(to_numpy(found)) == pytest.approx(expected, rel=1e-9)


def test_dimensions_that_do_not_exist():
    few = np.repeat(sample(n=3, d=2), 10, axis=0)
    grid = np.array(np.meshgrid(np.arange(5.0), np.arange(5.0))).reshape(2, -1).T
    for x, reason in ((few, "fewer than 4 samples"), (grid, "equally far"), (np.arange(20.0)[:, None], "equally far")):
        with pytest.warns(UserWarning, match=reason) as caught:
            assert np.isnan(get_measure("intrinsic_dimension")(x))
        assert len(caught) == 1


def test_concentricity_may_be_negative():
    assert get_measure("concentricity")(np.array([[10.0], [-1.0], [-1.0], [-1.0]])) == -0.5


def test_two_samples_fill_one_dimension_whatever_they_are():
    with pytest.raises(ConsilienceError, match="at least 3"):
        get_measure("participation_ratio")(np.eye(2))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"discard": 0.0}, "above 0 and below 1"),
        ({"discard": 1.0}, "above 0 and below 1"),
        ({"estimator": "gride", "n1": 2, "n2": 2}, "1 <= n1 < n2"),
        ({"estimator": "gride", "n1": 0}, "1 <= n1 < n2"),
        ({"n2": 4}, "use estimator 'gride'"),
    ],
)
def test_options_of_the_dimension_are_checked(options, message):
    with pytest.raises(ConsilienceError, match=message):
        get_measure("intrinsic_dimension", **options)

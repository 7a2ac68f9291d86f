from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consilience.errors import ConsilienceError
from consilience.theory import alignment, isotropic


@pytest.mark.parametrize(("n", "expected"), [(30, 0.4118), (90, 0.0909), (150, 0.3333), (300, 0.6667), (1000, 0.9)])
def test_isotropic_values(n, expected):
    assert isotropic(n, 100, 1.0).alignment == pytest.approx(expected, abs=5e-5)


def test_isotropic_is_its_closed_form_on_both_sides():
    n, snr = np.array([1, 10, 99, 101, 400, 10**6]), np.array([0.1, 1.0, 30.0])
    expected = snr[:, None] / (snr[:, None] + 100 / np.abs(n - 100))
    np.testing.assert_allclose(isotropic(n, 100, snr).alignment, expected, rtol=1e-12)


def test_inputs_of_their_own_cost_members_alignment_below_the_threshold_only():
    n = np.array([1, 20, 90, 150, 1000])
    shared, apart = isotropic(n, 100, 2.0), isotropic(n, 100, 2.0, shared_inputs=False)
    np.testing.assert_allclose(apart.alignment, shared.alignment * np.minimum(1, n / 100), rtol=1e-12)


def test_alignment_does_not_tell_generalization():
    few, many = isotropic(20, 200, 2.0), isotropic(400, 200, 2.0)
    assert (few.alignment, many.alignment) == (pytest.approx(0.643, abs=5e-4), pytest.approx(0.667, abs=5e-4))
    assert (few.risk, many.risk) == (pytest.approx(0.956, abs=5e-4), pytest.approx(0.50, abs=5e-3))


def test_isotropic_risk_is_the_exact_mean():
    n, d, snr = np.array([1, 20, 98, 102, 150, 1000]), 100, np.array([0.5, 4.0])
    expected = np.maximum(0, 1 - n / d) + np.minimum(n, d) / (np.abs(n - d) - 1) / snr[:, None]
    np.testing.assert_allclose(isotropic(n, d, snr).risk, expected, rtol=1e-9)
    assert np.isinf(isotropic([99, 100, 101], d, 1.0).risk).all()
    assert np.isfinite(isotropic([99, 100, 101], d, 1.0, ridge=1e-9).risk).all()


def test_isotropic_equals_the_general_formula_for_any_direction_of_the_teacher():
    beta = np.random.default_rng(0).standard_normal(40)
    beta /= np.linalg.norm(beta)
    n, snr = [1, 7, 39, 40, 41, 300], [0.5, 4.0]
    for ridge in (0.0, 0.2):
        for one, other in zip(
            isotropic(n, 40, snr, ridge=ridge), alignment(np.ones(40), beta, n, snr=snr, ridge=ridge), strict=True
        ):
            np.testing.assert_allclose(one, other, rtol=1e-10)


def test_threshold_without_ridge():
    on = isotropic(100, 100, [1.0, np.inf])
    np.testing.assert_array_equal(on.alignment, [0.0, 1.0])
    np.testing.assert_array_equal(on.risk, [np.inf, 0.0])
    np.testing.assert_array_equal(on.squared_cosine[1:], [1.0])
    np.testing.assert_array_equal(on.self_overlap, [np.inf, 1.0])
    assert 0.3 < on.squared_cosine[0] < 0.6


def test_shared_misfit_leaves_its_share_of_alignment_at_the_threshold():
    on = alignment(np.ones(50), np.ones(50), 50, noise=0.5, misfit=1.5)
    assert on.alignment == pytest.approx(0.75)
    assert np.isinf(on.risk)
    assert np.isinf(on.overlap)


def test_rank_not_dimension_decides_the_threshold():
    values = np.r_[np.ones(30), np.zeros(70)]
    found = alignment(values, np.ones(100), [29, 30, 31, 90], snr=1.0)
    np.testing.assert_allclose(found.alignment, isotropic([29, 30, 31, 90], 30, 1.0).alignment, rtol=1e-12)


def test_no_noise_is_perfect_agreement_with_shared_inputs():
    values = np.arange(1, 31) ** -1.0
    found = alignment(values, np.ones(30), [1, 10, 29, 30, 31, 100], snr=np.inf, ridge=0.0)
    np.testing.assert_allclose(found.alignment, 1.0, rtol=1e-12)
    np.testing.assert_allclose(found.squared_cosine, 1.0, rtol=1e-12)
    np.testing.assert_allclose(found.risk[3:], 0.0, atol=1e-12)


def test_noise_that_members_share_is_no_disagreement():
    found = alignment(np.ones(30), np.ones((2, 30)), [10, 30, 90], noise=3.0, noise_correlation=1.0)
    np.testing.assert_allclose(found.alignment, 1.0, rtol=1e-12)
    np.testing.assert_allclose(found.squared_cosine, 1.0, rtol=1e-9)


def test_huge_ridge_reaches_its_limit():
    """κ ≫ λ: w ∝ βΣ̂ plus noise, so overlaps are those of the sample covariance; ρ no longer depends on μ."""
    values, beta = np.arange(1, 31.0) ** -1, np.ones(30)
    found = [alignment(values, beta, [5, 50], noise=2.0, ridge=mu) for mu in (1e8, 1e20, 1e29)]
    mean, total = np.sum(values**3), np.sum(values)
    for n, rho in zip([5, 50], found[0].alignment, strict=True):
        shared = mean + np.sum(values**2) * total / n
        assert rho == pytest.approx(shared / (shared + 2.0 * np.sum(values**2) / n), rel=1e-6)
    for other in found[1:]:
        np.testing.assert_allclose(other.alignment, found[0].alignment, rtol=1e-6)
        np.testing.assert_allclose(other.squared_cosine, found[0].squared_cosine, rtol=1e-6)


def test_shapes_follow_the_arguments():
    values, beta = np.ones(20), np.ones(20)
    assert alignment(values, beta, 5, noise=1.0).alignment.shape == ()
    assert alignment(values, beta, [5, 6], noise=1.0).risk.shape == (2,)
    assert alignment(values, beta, 5, snr=[1, 2, 3]).kappa.shape == (3,)
    found = alignment(values, beta, [5, 6], snr=[1, 2, 3])
    assert {array.shape for array in found} == {(3, 2)}
    one = alignment(values, beta, 6, snr=2)
    np.testing.assert_allclose([array[1, 1] for array in found], list(one), rtol=1e-13)


spectra = st.integers(0, 10**6).map(lambda seed: np.random.default_rng(seed).lognormal(sigma=2, size=25))


@settings(max_examples=40, deadline=None)
@given(spectra, st.integers(1, 80), st.sampled_from([0.0, 1e-3, 1.0]), st.floats(0.05, 20))
def test_invariances(values, n, ridge, noise):
    rng = np.random.default_rng(n)
    beta = rng.standard_normal((2, 25))
    base = alignment(values, beta, n, noise=noise, ridge=ridge)
    turned = beta * rng.choice([-1, 1], size=25)
    mixed = np.linalg.qr(rng.standard_normal((2, 2)))[0] @ beta
    order = rng.permutation(25)
    same = [
        alignment(values, turned, n, noise=noise, ridge=ridge),
        alignment(values, mixed, n, noise=noise, ridge=ridge),
        alignment(values[order], beta[:, order], n, noise=noise, ridge=ridge),
        alignment(9 * values, beta / 3, n, noise=noise, ridge=9 * ridge),
        alignment(values, 2 * beta, n, noise=4 * noise, ridge=ridge),
    ]
    for other in same:
        assert other.alignment == pytest.approx(base.alignment, rel=1e-8)
        assert other.squared_cosine == pytest.approx(base.squared_cosine, rel=1e-6)
    assert same[-1].risk == pytest.approx(4 * base.risk, rel=1e-8)
    if n == 25 and ridge == 0:  # the threshold, where alignment is zero whatever else
        assert base.alignment == 0
        return
    assert alignment(values, beta, n, noise=2 * noise, ridge=ridge).alignment < base.alignment
    assert alignment(values, beta, n + 3, noise=noise, ridge=ridge).alignment != base.alignment
    assert alignment(values[::-1], beta, n, noise=noise, ridge=ridge).alignment != base.alignment


@settings(max_examples=40, deadline=None)
@given(spectra, st.integers(1, 80), st.sampled_from([0.0, 1e-6, 0.1]))
def test_ranges_and_monotonicity_in_snr(values, n, ridge):
    snr = np.array([0.05, 0.5, 2.0, 20.0, np.inf])
    found = alignment(values, np.ones(25), n, snr=snr, ridge=ridge)
    assert np.all((found.alignment >= 0) & (found.alignment <= 1 + 1e-12))
    # Few samples may put the mean squared cosine below ρ², like that of a squared sample correlation.
    assert np.all((found.squared_cosine > 0) & (found.squared_cosine <= 1))
    assert np.all(np.diff(found.alignment) >= -1e-12)
    assert np.all(np.diff(found.risk[np.isfinite(found.risk)]) <= 1e-12)
    assert not any(np.isnan(array).any() for array in found)


def test_ridge_can_remove_the_dip_at_the_threshold(teacher):
    n, values = np.arange(20, 400, 2), np.arange(1, 101.0) ** -1.5
    beta = teacher(values, 1)
    assert n[alignment(values, beta, n, noise=1.0).alignment.argmin()] == 100
    assert np.all(np.diff(alignment(values, beta, n, noise=1.0, ridge=0.02).alignment) > 0)


@pytest.mark.parametrize("power", [0.0, 1.2])
@pytest.mark.parametrize("ridge", [0.0, 0.05])
@pytest.mark.parametrize("n", [10, 50, 85, 130, 400])
def test_correlation_and_risk_agree_with_simulation(simulate, teacher, z_score, power, ridge, n):
    values = np.arange(1, 101.0) ** -power
    beta = teacher(values, 1)
    found = simulate(values, beta, n, 0.5, ridge=ridge)
    theory = alignment(values, beta, n, noise=0.5, ridge=ridge)
    # The mean of a ratio is not the ratio of means: relative order 1/n, and 1/|n − d| without ridge.
    order = 0.3 / n + (0.0 if ridge else 0.3 / abs(n - 100))
    assert z_score(found.correlation, float(theory.alignment), order) < 4
    risk = float(theory.risk)
    assert z_score(found.risk, risk, risk * 0.3 / n) < 4


@pytest.mark.parametrize("power", [0.0, 1.2])
@pytest.mark.parametrize("ridge", [0.0, 0.05])
@pytest.mark.parametrize("noise", [0.1, 1.0])
def test_correlation_is_within_three_hundredths_at_every_size(simulate, teacher, power, ridge, noise):
    """d = 100, n from 10 to 1000 without 5 % around d, 40 repetitions: as quoted, plus the simulation's own error."""
    values = np.arange(1, 101.0) ** -power
    beta = teacher(values, 1)
    for n in (10, 30, 60, 90, 110, 160, 300, 1000):
        found = simulate(values, beta, n, noise, ridge=ridge).correlation
        error = 2 * np.std(found, ddof=1) / np.sqrt(len(found))
        theory = alignment(values, beta, n, noise=noise, ridge=ridge).alignment
        assert float(theory) == pytest.approx(np.mean(found), abs=0.03 + error)


@pytest.mark.parametrize("n", [20, 80, 150])
def test_shared_misfit_and_inputs_of_their_own_agree_with_simulation(simulate, teacher, z_score, n):
    values = np.arange(1, 101.0) ** -0.5
    beta = teacher(values, 1)
    for shared_inputs in (True, False):
        found = simulate(values, beta, n, 0.6, misfit=0.4, shared_inputs=shared_inputs)
        theory = alignment(values, beta, n, noise=0.6, misfit=0.4, shared_inputs=shared_inputs)
        assert z_score(found.correlation, float(theory.alignment), 0.3 / n + 0.3 / abs(n - 100)) < 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "neither of noise and snr"),
        ({"noise": 1.0, "snr": 1.0}, "both of noise and snr"),
        ({"noise": -1.0}, "noise has -1"),
        ({"snr": 0.0}, "snr has 0"),
        ({"noise": 1.0, "ridge": -0.1}, "ridge has -0.1"),
        ({"noise": 1.0, "ridge": np.inf}, "ridge has inf"),
        ({"noise": 1.0, "ridge": 1e31}, "ridge is 1e.31 and the largest eigenvalue 1"),
        ({"noise": 1.0, "noise_correlation": 1.5}, "noise_correlation is 1.5"),
        ({"noise": 1.0, "misfit": -1.0}, "misfit"),
    ],
)
def test_errors_name_the_argument(arguments, message):
    with pytest.raises(ConsilienceError, match=message):
        alignment(np.ones(5), np.ones(5), 3, **arguments)


@pytest.mark.parametrize("bad", [0, 2.5, [10, 20]])
def test_isotropic_takes_one_dimension(bad):
    with pytest.raises(ConsilienceError, match="n_features is"):
        isotropic(5, bad, 1.0)


def test_targets_without_variance_are_refused():
    with pytest.raises(ConsilienceError, match="beta is zero"):
        alignment(np.ones(5), np.zeros(5), 3, snr=1.0)
    with pytest.raises(ConsilienceError, match="without variance"):
        alignment(np.ones(5), np.zeros(5), 3, noise=[1.0, 0.0])
    assert alignment(np.ones(5), np.zeros(5), 3, noise=1.0).alignment == 0

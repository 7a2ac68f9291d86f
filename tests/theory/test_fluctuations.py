"""Finite size: expected squared cosine and output CKA."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import hyp2f1

from consilience.theory import alignment, isotropic, linear_network


@pytest.mark.parametrize(
    ("n", "simulated", "error"),
    [(160, 0.0329, 0.0010), (190, 0.0778, 0.0033), (210, 0.0770, 0.0040), (240, 0.0307, 0.0012)],
)
def test_bump_at_the_threshold(n, simulated, error):
    """E[cos²] at d = 200, SNR = .5, where ρ² is below .009; simulated with 8 members on 60 to 100 data sets."""
    found = isotropic(n, 200, 0.5)
    assert found.alignment**2 < 0.009
    # The law of the fluctuations at the threshold was fitted, to a tenth of its value.
    assert found.squared_cosine == pytest.approx(simulated, abs=3 * error + 0.1 * simulated)


@pytest.mark.parametrize(
    ("n", "first_order", "square", "simulated"),
    [(160, 0.035, 0.008, 0.030), (190, 0.101, 0.001, 0.080), (210, 0.101, 0.001, 0.088), (240, 0.034, 0.008, 0.031)],
)
def test_first_order_overstates_the_bump(n, first_order, square, simulated):
    """Numbers quoted for d = 200, SNR = .5: [a² + 2t/(d SNR) + nd/(|n−d|³ SNR²)]/(a + t/SNR)², and ρ²."""
    d, snr = 200, 0.5
    a, t = min(1, n / d), min(n, d) / abs(n - d)
    formula = (a**2 + 2 * t / (d * snr) + n * d / (abs(n - d) ** 3 * snr**2)) / (a + t / snr) ** 2
    assert formula == pytest.approx(first_order, abs=1e-3)
    found = isotropic(n, d, snr)
    assert found.alignment**2 == pytest.approx(square, abs=6e-4)
    # The quoted simulation had fewer data sets than that of `test_bump_at_the_threshold`, hence .012.
    assert found.squared_cosine == pytest.approx(simulated, abs=0.012)
    assert abs(found.squared_cosine - simulated) < abs(formula - simulated)


def test_minima_lie_on_either_side_of_the_bump():
    n = np.arange(100, 400, 2)
    curve = isotropic(n, 200, 0.5).squared_cosine
    left, right = curve[n < 200], curve[n > 200]
    assert 100 < n[n < 200][left.argmin()] < 190
    assert 210 < n[n > 200][right.argmin()] < 300
    assert curve[n == 200] > 5 * max(left.min(), right.min())


@pytest.mark.parametrize("snr", [0.01, 0.5, 3.0, 100.0])
def test_one_training_sample_gives_one(snr):
    assert isotropic(1, 500, snr).squared_cosine == pytest.approx(1.0, abs=0.005)
    values, beta = np.ones(500), np.eye(3, 500)
    three = linear_network(values, beta, 1, snr)
    assert three.output_cka == pytest.approx(1.0, abs=0.02)
    assert three.hidden_cka == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("n", [2, 5, 40])
@pytest.mark.parametrize("snr", [0.3, 3.0])
def test_few_samples_give_the_law_of_a_sample_correlation(n, snr):
    """n predictions of correlation SNR/(1+SNR) = ρ: mean squared sample correlation, known and drawn."""
    rho = snr / (1 + snr)
    exact = 1 - (n - 1) / n * (1 - rho**2) * hyp2f1(1, 1, n / 2 + 1, rho**2)
    a, b = np.random.default_rng(0).standard_normal((2, 200_000, n))
    b = rho * a + np.sqrt(1 - rho**2) * b
    cosine2 = np.sum(a * b, axis=1) ** 2 / (np.sum(a * a, axis=1) * np.sum(b * b, axis=1))
    assert np.mean(cosine2) == pytest.approx(exact, abs=4 * np.std(cosine2) / np.sqrt(len(cosine2)))
    # Of order n/d the prediction differs: the draw of inputs is not quite the only thing that matters.
    assert isotropic(n, 20_000, snr).squared_cosine == pytest.approx(exact, abs=0.004)


def test_large_size_leaves_the_square_of_the_correlation():
    n = np.array([20_000, 200_000])
    found = isotropic(n, 60_000, 1.0)
    np.testing.assert_allclose(found.squared_cosine, found.alignment**2, atol=1e-4)


def test_little_noise_costs_what_first_order_says():
    """1 − E[cos²] = 2σ²(tr T − wᵀΣKKᵀΣw/s)/s exactly to first order: (d − 1)/(n − d) for isotropic n > d."""
    found = isotropic(300, 100, 1e6)
    assert 1 - found.squared_cosine == pytest.approx(2e-6 * (100 - 1) / 200, rel=0.02)


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("power", [0.0, 0.8])
@pytest.mark.parametrize("n", [10, 30, 80, 95, 105, 130, 300])
def test_output_cka_agrees_with_simulation(simulate, teacher, z_score, outputs, power, n):
    values = np.arange(1, 101.0) ** -power
    beta = teacher(values, outputs)
    for noise in (0.25, 4.0):
        found = simulate(values, beta, n, noise, repeats=30, members=6)
        theory = alignment(values, beta, n, noise=noise)
        # Next order in 1/n; within ten samples of the threshold the fitted law holds to a tenth of CKA.
        allowance = 0.01 + (0.02 if n <= 30 else 0.0) + (0.1 * float(theory.squared_cosine) if abs(n - 100) < 10 else 0)
        assert z_score(found.output_cka, float(theory.squared_cosine), allowance) < 4


@pytest.mark.parametrize("outputs", [1, 3])
def test_threshold_itself_agrees_with_simulation(simulate, teacher, z_score, outputs):
    values = np.ones(60)
    beta = teacher(values, outputs)
    found = simulate(values, beta, 60, 1.0, repeats=150, members=4)
    theory = linear_network(values, beta, 60, 1.0)
    # Fitted law of the few smallest singular values: a tenth of CKA.
    assert z_score(found.output_cka, float(theory.output_cka), 0.1 * float(theory.output_cka)) < 4
    assert z_score(found.hidden_cka, float(theory.hidden_cka), 0.1 * float(theory.hidden_cka)) < 4


def test_measured_cka_is_not_the_square_of_the_correlation(simulate, teacher, z_score):
    values = np.ones(100)
    beta = teacher(values, 1)
    found = simulate(values, beta, 90, 4.0, members=6)
    theory = alignment(values, beta, 90, noise=4.0)
    assert z_score(found.output_cka, float(theory.alignment) ** 2, 0.0) > 8

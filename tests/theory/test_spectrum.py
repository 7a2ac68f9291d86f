from __future__ import annotations

from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest

from consilience.errors import ConsilienceError
from consilience.theory._spectrum import covariance, effective_ridge, levels, spectrum, whole_numbers


def excess(kappa, values, n, ridge):
    """κ − μ − κ df1(κ)/n in exact arithmetic: above zero to the right of the root, below to its left."""
    k, mu = Fraction(float(kappa)), Fraction(float(ridge))
    df1 = sum(Fraction(float(v)) / (Fraction(float(v)) + k) for v in values)
    return k - mu - k * df1 / int(n)


SPECTRA = {
    "isotropic": np.ones(40),
    "20 orders": np.logspace(0, -20, 40),
    "gap": np.r_[np.ones(20), np.full(20, 1e-20)],
    "tiny": np.logspace(-200, -210, 40),
    "huge": np.logspace(200, 190, 40),
    "unsorted": np.random.default_rng(0).permutation(np.logspace(0, -6, 40)),
}


@pytest.mark.parametrize("name", SPECTRA)
@pytest.mark.parametrize("relative_ridge", [0.0, 1e-30, 1e-12, 1e-3, 1.0, 1e12])
def test_effective_ridge_brackets_the_root_within_1e_12(name, relative_ridge):
    values = SPECTRA[name]
    ridge = relative_ridge * float(values.max())
    sizes = np.array([1.0, 5, 19, 20, 21, 39, 40, 41, 400])
    kappa = effective_ridge(values, np.ones(40), sizes, ridge)
    for k, n in zip(kappa, sizes, strict=True):
        if ridge == 0 and n >= 40:
            assert k == 0
        else:
            assert excess(k * (1 - 1e-12), values, n, ridge) < 0 < excess(k * (1 + 1e-12), values, n, ridge)


@pytest.mark.parametrize("ridge", [0.0, 0.3, 50.0])
def test_isotropic_effective_ridge_solves_its_quadratic(ridge):
    n, d = np.array([10.0, 99, 101, 500]), 100
    half = (ridge + d / n - 1) / 2
    expected = half + np.sqrt(half**2 + ridge)
    np.testing.assert_allclose(effective_ridge(np.ones(1), np.array([d]), n, ridge), expected, atol=1e-15)


@pytest.mark.parametrize("exponent", range(-30, 31, 6))
def test_isotropic_effective_ridge_to_1e_12_from_no_ridge_to_a_huge_one(exponent):
    """The positive root of κ² + (1 − μ − d/n)κ − μ = 0 with 100 digits, n from far below d to far above."""
    ridge, d, sizes = 10.0**exponent, 100, [1, 30, 99, 100, 101, 300, 10**6]
    found = effective_ridge(np.ones(1), np.array([float(d)]), np.array(sizes, dtype=float), ridge)
    with localcontext() as context:
        context.prec = 100
        for n, kappa in zip(sizes, found, strict=True):
            half = (Decimal(ridge) + Decimal(d) / n - 1) / 2
            root = half + (half**2 + Decimal(ridge)).sqrt()
            assert abs(Decimal(float(kappa)) / root - 1) < Decimal("1e-12")


@pytest.mark.parametrize("exponent", [-20, -10, -3, -1])
@pytest.mark.parametrize("ridge", [0.0, 1e-24, 1e-6, 1.0, 1e18])
def test_two_level_effective_ridge_solves_its_cubic_to_1e_12(exponent, ridge):
    """κ = μ + (κ/n)(p/(1+κ) + qε/(ε+κ)) by Newton with 80 digits, down to ε = 1e-20 and at n = p and n = p + q."""
    small, p, q, sizes = 10.0**exponent, 30, 50, [5, 29, 30, 31, 79, 80, 81, 500]
    found = effective_ridge(np.array([1.0, small]), np.array([p, q], dtype=float), np.array(sizes, dtype=float), ridge)
    with localcontext() as context:
        context.prec = 80
        eps, mu = Decimal(small), Decimal(ridge)
        for n, kappa in zip(sizes, found, strict=True):
            if ridge == 0 and n >= p + q:
                assert kappa == 0
                continue
            root = Decimal(float(kappa))
            for _ in range(60):
                value = n - p / (1 + root) - q * eps / (eps + root) - n * mu / root
                slope = p / (1 + root) ** 2 + q * eps / (eps + root) ** 2 + n * mu / root**2
                root -= value / slope
            assert root > 0
            assert abs(Decimal(float(kappa)) / root - 1) < Decimal("1e-12")


def test_effective_ridge_of_a_covariance_without_full_rank_is_that_of_its_range():
    values = np.r_[np.logspace(0, -20, 25), np.zeros(15)]
    one = spectrum(values, np.ones(40))
    sizes = np.array([1.0, 10, 24, 25, 26, 40, 41, 1000])
    np.testing.assert_array_equal(
        effective_ridge(one.values, one.counts, sizes, 0.0), effective_ridge(values[:25], np.ones(25), sizes, 0.0)
    )
    assert (effective_ridge(one.values, one.counts, sizes, 0.0) > 0).tolist() == [True] * 3 + [False] * 5


def test_effective_ridge_is_homogeneous_of_degree_one():
    values, n = np.logspace(0, -3, 30), np.array([7.0, 80.0])
    once = effective_ridge(values, np.ones(30), n, 0.1)
    np.testing.assert_allclose(effective_ridge(8 * values, np.ones(30), n, 0.8), 8 * once, rtol=1e-12)


def test_directions_without_variance_are_dropped():
    found = spectrum([2.0, 0.0, 1.0], [[1.0, 5.0, 3.0]])
    assert found.rank == 2
    assert found.signal() == pytest.approx(np.array([[2.0 + 9.0]]))


@pytest.mark.parametrize(
    ("eigenvalues", "beta", "message"),
    [
        ([1.0, -1.0], [1.0, 1.0], "eigenvalues has -1"),
        ([1.0, np.nan], [1.0, 1.0], "eigenvalues has nan"),
        ([1.0, np.inf], [1.0, 1.0], "eigenvalues has inf"),
        ([[1.0]], [1.0], r"eigenvalues has shape \(1, 1\)"),
        ([0.0, 0.0], [1.0, 1.0], "every eigenvalue is zero"),
        ([1.0, 1.0], [1.0], r"beta has shape \(1,\) while there are 2"),
        ([1.0, 1.0], [1.0, np.nan], "beta holds a NaN"),
    ],
)
def test_spectrum_says_what_is_wrong(eigenvalues, beta, message):
    with pytest.raises(ConsilienceError, match=message):
        spectrum(eigenvalues, beta)


@pytest.mark.parametrize("bad", [0, -3, 2.5, np.nan, np.inf, [], [[1, 2]]])
def test_counts_are_whole_numbers(bad):
    with pytest.raises(ConsilienceError, match="n_train is"):
        whole_numbers("n_train", bad)


def test_levels_name_the_argument_and_the_value():
    with pytest.raises(ConsilienceError, match="snr has 0 among its values: give a number above zero"):
        levels("snr", [1.0, 0.0], above_zero=True, infinite=True)
    assert np.isinf(levels("snr", np.inf, above_zero=True, infinite=True))


@pytest.mark.parametrize("bad", [-1.0, [1.0, 2.0, 3.0], [[1.0, 2.0], [2.0, 1.0]], [[1.0, 0.5], [0.0, 1.0]], np.nan])
def test_covariance_refuses_what_is_none(bad):
    with pytest.raises(ConsilienceError, match="misfit"):
        covariance("misfit", bad, 2)


def test_covariance_forms():
    np.testing.assert_array_equal(covariance("misfit", 2.0, 2), 2 * np.eye(2))
    np.testing.assert_array_equal(covariance("misfit", [1.0, 3.0], 2), np.diag([1.0, 3.0]))
    full = np.array([[1.0, 0.5], [0.5, 1.0]])
    np.testing.assert_array_equal(covariance("misfit", full, 2), full)

"""Kernels: the linear one is the linear theory, others against kernel machines trained here."""

from __future__ import annotations

import numpy as np
import pytest

from consilience.errors import ConsilienceError
from consilience.theory import alignment, kernel_features, kernel_spectrum, predict

# One in 16,000 by chance.
STANDARD_ERRORS = 4.0


def data(n, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 4))
    return x, np.sin(x @ np.ones(4))[:, None] + 0.2 * rng.standard_normal((n, 1))


def rbf(a, b):
    return np.exp(-np.sum((a[:, None] - b[None]) ** 2, axis=-1) / 8)


def test_features_of_the_linear_kernel_are_the_inputs():
    x, y = data(200)
    wanted = predict(x, y, 1.0, [3, 20, 100], groups=0)
    found = predict(kernel_features(x @ x.T), y, 1.0, [3, 20, 100], groups=0)
    np.testing.assert_allclose(found.alignment, wanted.alignment, rtol=1e-6)


def test_features_reproduce_the_centred_kernel():
    x, _ = data(50)
    kernel = rbf(x, x)
    features, centre = kernel_features(kernel), np.eye(50) - 1 / 50
    np.testing.assert_allclose(features @ features.T, centre @ kernel @ centre, atol=1e-4)
    assert (np.diff(np.sum(features**2, axis=0)) <= 0).all()


def kernel_machines(n, snr, ridge, repeats=40):
    """Correlation of two kernel ridge regressions on fresh inputs with their own noise, per repetition."""
    found, rng = [], np.random.default_rng(9)
    for seed in range(repeats):
        x, y = data(n + 300, seed=1000 + seed)
        train, probe = x[:n], x[n:]
        centre = np.mean(rbf(probe, x), axis=1)  # the machine works on centred features
        kernel, across = rbf(train, train), rbf(probe, train)
        overall, left = np.mean(rbf(x, x)), np.mean(rbf(train, x), axis=1)
        kernel = kernel - left[:, None] - left + overall
        across = across - centre[:, None] - left + overall
        noisy = [y[:n] + np.sqrt(y.var() / snr) * rng.standard_normal((n, 1)) for _ in range(2)]
        outputs = [across @ np.linalg.solve(kernel + n * ridge * np.eye(n), one) for one in noisy]
        found.append(np.corrcoef(np.concatenate(outputs, axis=1).T)[0, 1])
    return np.array(found)


@pytest.mark.parametrize("n", [20, 80])
def test_kernel_machines_are_predicted(n):
    x, y = data(600)
    ridge = 1e-2
    found = predict(kernel_features(rbf(x, x)), y, 1.0, [n], ridge, n_probe=300, groups=0)
    spectrum = kernel_spectrum(rbf(x, x), y)
    formulas = alignment(
        spectrum.eigenvalues, spectrum.beta, n, noise=spectrum.variance, misfit=spectrum.misfit, ridge=ridge
    )
    trained = kernel_machines(n, 1.0, ridge)
    error = trained.std(ddof=1) / np.sqrt(len(trained))
    # The pool of 600 has its own mean, known within its scatter over pools, about scatter·√(n/600).
    pool = float(found.scatter[0]) * np.sqrt(n / 600)
    assert abs(trained.mean() - found.alignment[0]) < STANDARD_ERRORS * np.hypot(error, pool)
    # Formulas leave terms of order 1/n, and take features for Gaussian.
    assert abs(float(formulas.alignment) - trained.mean()) < STANDARD_ERRORS * np.hypot(error, pool) + 1 / n


def test_spectrum_has_the_variance_of_the_targets_and_of_the_features():
    x, y = data(300)
    kernel = rbf(x, x)
    found = kernel_spectrum(kernel, y)
    centre = np.eye(300) - 1 / 300
    assert found.eigenvalues.sum() == pytest.approx(np.trace(centre @ kernel @ centre) / 299, rel=1e-4)
    explained = float(np.sum(found.beta**2 * found.eigenvalues)) + float(found.misfit[0, 0])
    # Power and misfit come from a fit; together they are the targets' variance within the resolution of its grid.
    assert explained == pytest.approx(found.variance, rel=0.1)


@pytest.mark.parametrize(
    ("kernel", "said"),
    [
        (np.ones((3, 2)), "shape"),
        (np.full((3, 3), np.nan), "not finite"),
        (np.triu(np.ones((3, 3))), "not symmetric"),
        (np.ones((4, 4)), "constant"),
        (-np.eye(4), "no kernel matrix"),
    ],
)
def test_what_is_no_kernel(kernel, said):
    with pytest.raises(ConsilienceError, match=said):
        kernel_features(kernel)

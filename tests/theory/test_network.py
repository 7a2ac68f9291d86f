from __future__ import annotations

import time

import numpy as np
import pytest

from consilience.errors import ConsilienceError
from consilience.theory import alignment, finite_size_allowance, hidden_cka, linear_network


def test_is_the_other_functions_with_noise_one_over_snr(teacher):
    values = np.arange(1, 81.0) ** -0.7
    beta, n, snr = teacher(values, 3, variance=0.7), [20, 80, 300], np.array([0.5, 4.0, np.inf])
    found = linear_network(values, beta, n, snr, misfit=0.3, ridge=1e-3)
    same = {"noise": 1 / snr, "misfit": 0.3, "ridge": 1e-3}
    expected = alignment(values, beta, n, **same)
    np.testing.assert_array_equal(found.output_correlation, expected.alignment)
    np.testing.assert_array_equal(found.output_cka, expected.squared_cosine)
    np.testing.assert_array_equal(found.hidden_cka, hidden_cka(values, beta, n, **same))
    np.testing.assert_allclose(found.risk, expected.risk + 0.3)


def test_scalars_drop_their_axis():
    values, beta = np.ones(10), np.full(10, 0.1**0.5)
    assert linear_network(values, beta, 5, 1.0).risk.shape == ()
    assert linear_network(values, beta, [5], 1.0).risk.shape == (1,)
    assert linear_network(values, beta, [5, 6], [1.0, 2.0, 3.0]).hidden_cka.shape == (3, 2)


def test_no_noise_leaves_only_the_misfit_to_disagree_about(simulate, teacher, z_score):
    values = np.ones(60)
    beta = teacher(values, 1, variance=0.5)
    for n in (30, 120):
        found = simulate(values, beta, n, 0.0, misfit=0.5)
        theory = linear_network(values, beta, n, np.inf, misfit=0.5)
        np.testing.assert_allclose(found.correlation, 1.0)
        assert theory.output_correlation == pytest.approx(1.0)
        assert z_score(found.risk + 0.5, float(theory.risk), float(theory.risk) / 20) < 4


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("n", [40, 85, 140, 300])
def test_agrees_with_simulation_with_misfit(simulate, teacher, z_score, outputs, n):
    values = np.arange(1, 101.0) ** -0.8
    beta = teacher(values, outputs, variance=0.8)
    for snr in (0.5, 4.0):
        found = simulate(values, beta, n, 1 / snr, misfit=0.2)
        theory = linear_network(values, beta, n, snr, misfit=0.2)
        allowance = 0.02 + 0.3 / abs(n - 100)  # next orders: fitted laws, mean of a ratio
        for field in ("output_cka", "hidden_cka"):
            assert z_score(getattr(found, field), float(getattr(theory, field)), allowance) < 4
        assert z_score(found.correlation, float(theory.output_correlation), allowance) < 4


def test_prediction_of_a_study_is_quick(teacher):
    values = np.arange(1, 201.0) ** -1
    beta, n = teacher(values, 3), np.unique(np.geomspace(10, 3000, 14).astype(int))
    times = []
    for _ in range(7):
        start = time.perf_counter()
        linear_network(values, beta, n, [0.25, 1, 4, np.inf])
        times.append(time.perf_counter() - start)
    assert min(times) < 0.02


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("power", [0.0, 0.8])
@pytest.mark.parametrize("n", [30, 80, 120, 300])
def test_allowance_is_the_scatter_of_data_sets(simulate, teacher, outputs, power, n):
    values = np.arange(1, 101.0) ** -power
    beta = teacher(values, outputs, variance=0.9)
    repeats = 40
    for snr in (0.5, 4.0):
        found = simulate(values, beta, n, 1 / snr, misfit=0.1, members=6, repeats=repeats)
        allowance = finite_size_allowance(values, beta, n, snr, members=6, misfit=0.1)
        # A standard deviation from 40 values is itself uncertain by 11 %; first order adds a third.
        ratio = np.std(found.correlation, ddof=1) / float(allowance.output_correlation)
        assert 0.6 < ratio < 1.5
        for field in ("output_cka", "hidden_cka"):
            assert 0.5 < np.std(getattr(found, field), ddof=1) / float(getattr(allowance, field)) < 2


def test_allowance_shrinks_with_members_and_size_and_without_noise():
    values, n = np.ones(100), [30, 100, 300]

    def of(**changes):
        beta = np.full(changes.pop("d", 100), 1.0)
        beta /= np.linalg.norm(beta)
        options = {"n_train": n, "snr": 1.0, "members": 4} | changes
        return finite_size_allowance(np.ones(len(beta)), beta, **options).output_correlation

    assert np.all(of(members=16) < of())
    assert np.all(of(d=1000, n_train=[300, 1000, 3000]) < of())
    np.testing.assert_allclose(of(snr=np.inf), 0, atol=1e-7)
    with pytest.raises(ConsilienceError, match="members is 1"):
        finite_size_allowance(values, values, n, 1.0, members=1)


@pytest.mark.parametrize("seed", range(8))
def test_nothing_breaks_at_any_scale(seed):
    """Spectra over 23 orders with zeros, sizes on and around the rank, ridge over 300 orders, noise over 12."""
    rng = np.random.default_rng(seed)
    d, k = int(rng.integers(2, 40)), int(rng.integers(1, 5))
    values = 10.0 ** rng.uniform(-20, 3, d) if seed % 3 else np.ones(d)
    values[1:][rng.random(d - 1) < 0.2] = 0
    beta, rank = rng.standard_normal((k, d)), int(np.sum(values > 0))
    n, snr = np.unique([1, max(1, rank - 1), rank, rank + 1, 10 * rank, 10**6]), [1e-6, 1.0, 1e6, np.inf]
    for ridge in np.array([0, 1e-280, 1e-25, 1e-3, 1e6, 1e28]) * values.max():
        for misfit in (0.0, 0.5):
            allowance = finite_size_allowance(values, beta, n, snr, ridge=ridge, misfit=misfit, members=3)
            assert all(np.isfinite(array).all() for array in allowance)
            for shared_inputs in (True, False):
                found = linear_network(values, beta, n, snr, ridge=ridge, misfit=misfit, shared_inputs=shared_inputs)
                assert not np.isnan(found.risk).any()
                for array in found[:3]:
                    assert np.all((array >= -1e-12) & (array <= 1 + 1e-9))

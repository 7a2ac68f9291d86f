"""Norms of differences of matrices, stress and distance correlation."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from scipy.spatial.distance import cdist, pdist

from consilience import ConsilienceError, distance_correlation, get_measure, pairwise, rsa, rsm_norm, stress
from consilience.measures import distance_correlation as module
from consilience.measures.distance_correlation import DistanceCorrelation
from consilience.measures.rsm_norm import RSMNorm
from consilience.registry import DegenerateWarning

RNG = np.random.default_rng


def related(n=20, p=4, q=6, seed=0):
    rng = RNG(seed)
    x = rng.standard_normal((n, p)) + 1
    return x, x @ rng.standard_normal((p, q)) + rng.standard_normal((n, q)) - 2


def golden_inputs():
    rng = RNG(0)
    n, dx, dy = 60, 10, 12
    z = rng.standard_normal((n, 6))
    x = z @ rng.standard_normal((6, dx)) + 0.7 * rng.standard_normal((n, dx)) + 1.5
    y = z @ rng.standard_normal((6, dy)) + 0.7 * rng.standard_normal((n, dy)) - 0.5
    return x, y


def u_centred(d):
    n = len(d)
    out = d - d.sum(0) / (n - 2) - d.sum(1)[:, None] / (n - 2) + d.sum() / ((n - 1) * (n - 2))
    np.fill_diagonal(out, 0)
    return out


def cosine(a, b):
    return (a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum())


@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize("rdm", ["euclidean", "sqeuclidean", "correlation", "cosine", "inner"])
def test_norms_equal_their_definitions(rdm, center):
    x, y = related()
    a, b = (
        (z @ z.T if rdm == "inner" else cdist(z, z, rdm))
        for z in ((x - x.mean(0), y - y.mean(0)) if center else (x, y))
    )
    assert rsm_norm(x, y, rdm=rdm, center=center) == pytest.approx(np.linalg.norm(a - b), rel=1e-12)
    expected = np.linalg.norm(a - b, 2)
    assert rsm_norm(x, y, rdm=rdm, center=center, norm="spectral") == pytest.approx(expected, rel=1e-12)


def test_the_norm_is_the_frobenius_norm_and_not_the_spectral():
    """ReSi gives the spectral norm, 215.4, for a measure defined with the Frobenius norm."""
    x, y = golden_inputs()
    assert rsm_norm(x, y) == pytest.approx(272.8, abs=0.05)
    assert rsm_norm(x, y, norm="spectral") == pytest.approx(215.366, abs=5e-4)
    assert rsm_norm(x + 5, y - 3) == pytest.approx(rsm_norm(x, y), rel=1e-12)  # ReSi declares that it is not


def test_norm_stress_and_euclidean_comparison_are_one_sum():
    x, y = related()
    total = rsa(x, y, comparison="euclidean")
    assert rsm_norm(x, y) == pytest.approx(np.sqrt(2) * total, rel=1e-13)
    assert stress(x, y) == pytest.approx(total / np.sqrt(190), rel=1e-13)
    assert stress(x, y) == pytest.approx(np.sqrt(np.mean((pdist(x) - pdist(y)) ** 2)), rel=1e-13)


def test_nearly_equal_matrices_keep_their_digits():
    x, _ = related(n=60)
    direction = RNG(1).standard_normal(x.shape)
    slopes = [float(measure(x, x + size * direction)) / size for measure in (rsm_norm, stress) for size in (1e-3, 1e-9)]
    assert slopes[1] == pytest.approx(slopes[0], rel=1e-2)
    assert slopes[3] == pytest.approx(slopes[2], rel=1e-2)
    for measure in ("rsm_norm", "rsm_norm(norm=spectral)", "rsm_norm(rdm=inner)", "stress"):
        assert get_measure(measure)(x, x.copy()) == 0


@pytest.mark.parametrize("name", ["rsm_norm", "stress", "rsm_norm(rdm=inner, norm=spectral)"])
def test_triangle_inequality(name):
    reps = [RNG(s).standard_normal((9, 1 + s % 4)) for s in range(10)]
    d = pairwise(reps, name)
    assert (d[:, None, :] <= d[:, :, None] + d[None, :, :] + 1e-12).all()


def test_constant_features_are_reported():
    x, _ = related()
    constant = np.full((20, 3), 0.1)
    for measure in (rsm_norm, stress):
        with pytest.warns(DegenerateWarning, match="constant"):
            assert np.isnan(measure(x, constant))
    with pytest.warns(DegenerateWarning, match="constant"):
        assert np.isnan(RSMNorm(rdm="cosine")(x, constant))
    expected = np.linalg.norm(x @ x.T - constant @ constant.T)
    assert rsm_norm(x, constant, rdm="inner") == pytest.approx(expected, rel=1e-12)


def test_directions_of_a_single_feature_have_no_norm():
    x, y = np.random.default_rng(0).standard_normal((2, 20, 1))
    for measure, inputs in ((RSMNorm(rdm="correlation"), (x, y)), (RSMNorm(rdm="cosine"), (abs(x), abs(y)))):
        with pytest.warns(DegenerateWarning, match="one direction, or none"):
            assert np.isnan(measure(*inputs))
    assert RSMNorm(rdm="cosine")(x, y) > 1  # directions are opposite


def test_blocks_of_rows_change_nothing_and_bound_memory():
    x, y = related(n=1500)
    tracemalloc.start()
    found = rsm_norm(x, y)
    correlation = distance_correlation(x, y)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * 1500 * 1500
    a, b = cdist(x, x), cdist(y, y)
    assert found == pytest.approx(np.linalg.norm(a - b), rel=1e-12)
    h = np.eye(1500) - 1 / 1500
    assert correlation == pytest.approx(np.sqrt(cosine(h @ a @ h, h @ b @ h)), rel=1e-12)


@pytest.mark.parametrize("q", [3, 60])
@pytest.mark.parametrize("keep", [True, False])
def test_distance_correlation_equals_its_definition(q, keep, monkeypatch):
    monkeypatch.setattr(module, "_CACHED_ROWS", 1024 if keep else 0)
    x, y = related(n=25, q=q)
    a, b = cdist(x, x), cdist(y, y)
    h = np.eye(25) - 1 / 25
    assert distance_correlation(x, y) == pytest.approx(np.sqrt(cosine(h @ a @ h, h @ b @ h)), abs=1e-13)
    expected = cosine(u_centred(a), u_centred(b))
    assert distance_correlation(x, y, estimator="bias_corrected") == pytest.approx(expected, abs=1e-12)


def test_bias_corrected_is_zero_on_average_for_independent_features_and_is_not_clamped():
    rng = RNG(0)
    scores = [
        float(
            distance_correlation(
                rng.standard_normal((20, 3)), rng.standard_normal((20, 40)), estimator="bias_corrected"
            )
        )
        for _ in range(200)
    ]
    assert abs(np.mean(scores)) < 4 * np.std(scores) / np.sqrt(200)
    assert min(scores) < -0.02


def test_distance_correlation_sees_dependence_without_correlation():
    x = np.linspace(-1, 1, 101)[:, None]
    assert abs(np.corrcoef(x[:, 0], x[:, 0] ** 2)[0, 1]) < 1e-12
    assert distance_correlation(x, x**2) > 0.4


def test_scale_does_not_count():
    """ReSi declares that it does."""
    x, y = golden_inputs()
    assert distance_correlation(3 * x, y) == pytest.approx(distance_correlation(x, y), abs=1e-14)


def test_equidistant_samples_have_no_bias_corrected_score():
    y = RNG(0).standard_normal((8, 3))
    with pytest.warns(DegenerateWarning, match="all distances are equal"):
        assert np.isnan(distance_correlation(np.eye(8), y, estimator="bias_corrected"))
    assert np.isfinite(distance_correlation(np.eye(8), y))


def test_few_samples_are_refused():
    with pytest.raises(ConsilienceError, match="at least 4"):
        DistanceCorrelation("bias_corrected")(np.eye(3), np.eye(3))
    with pytest.raises(ConsilienceError, match="at least 3"):
        DistanceCorrelation()(np.eye(2), np.eye(2))
    assert get_measure("dcor") == DistanceCorrelation()


def test_spectral_norm_checks_memory(monkeypatch):
    monkeypatch.setenv("CONSILIENCE_MEMORY_GIB", "0.001")
    with pytest.raises(ConsilienceError, match="similarity matrices of 300 samples"):
        rsm_norm(*related(n=300), norm="spectral")

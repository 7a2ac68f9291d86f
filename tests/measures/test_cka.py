from __future__ import annotations

import itertools
import tracemalloc

import array_api_strict as strict
import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist, pdist

from consilience import ConsilienceError, DegenerateWarning, UnknownNameError, cka, get_measure, pairwise
from consilience.measures import _kernels
from consilience.measures import cka as cka_module
from consilience.measures.cka import CKA

RNG = np.random.default_rng


def related(n=12, p=4, q=6, seed=0):
    rng = RNG(seed)
    x = rng.standard_normal((n, p))
    return x, x @ rng.standard_normal((p, q)) + rng.standard_normal((n, q))


def u_centred(k):
    """Székely & Rizzo's U-centring, from its definition."""
    n = len(k)
    k = k - np.diag(np.diag(k))
    out = k - k.sum(0) / (n - 2) - k.sum(1)[:, None] / (n - 2) + k.sum() / ((n - 1) * (n - 2))
    np.fill_diagonal(out, 0)
    return out


def gram(x, kernel, bandwidth=1.0):
    if kernel == "linear":
        return x @ x.T
    sigma = bandwidth * np.median(pdist(x))
    d = cdist(x, x)
    return np.exp(-(d**2) / (2 * sigma**2)) if kernel == "rbf" else np.exp(-d / sigma)


def cosine(a, b):
    return (a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum())


@pytest.mark.parametrize("kernel", ["linear", "rbf", "laplace"])
@pytest.mark.parametrize("q", [3, 40])
def test_estimators_equal_their_definitions_on_gram_matrices(kernel, q):
    x, y = related(n=15, p=4, q=q)
    k, m = gram(x, kernel), gram(y, kernel)
    h = np.eye(15) - 1 / 15
    below = np.tril_indices(15, -1)
    kc, mc = h @ k @ h, h @ m @ h
    assert cka(x, y, kernel=kernel, estimator="biased") == pytest.approx(cosine(kc, mc), abs=1e-13)
    assert cka(x, y, kernel=kernel) == pytest.approx(cosine(u_centred(k), u_centred(m)), abs=1e-12)
    assert cka(x, y, kernel=kernel, estimator="lange") == pytest.approx(cosine(kc[below], mc[below]), abs=1e-12)


def test_debiased_inner_product_is_the_four_sample_u_statistic():
    x, y = related(n=7)
    k, m = x @ x.T, y @ y.T

    def hsic(k, m):
        terms = [k[i, j] * (m[i, j] + m[q, r] - 2 * m[i, q]) for i, j, q, r in itertools.permutations(range(7), 4)]
        return np.mean(terms)

    expected = hsic(k, m) / np.sqrt(hsic(k, k) * hsic(m, m))
    assert cka(x, y) == pytest.approx(expected, abs=1e-12)


def test_depcols_equals_sums_over_pairs_of_different_features():
    x, y = related(n=10, p=4, q=5)

    def across(x):
        parts = [u_centred(np.outer(column, column)) for column in x.T]
        pairs = [(a * b).sum() for a, b in itertools.permutations(parts, 2)]
        return np.mean(pairs)

    between = np.mean([(u_centred(np.outer(a, a)) * u_centred(np.outer(b, b))).sum() for a in x.T for b in y.T])
    expected = between / np.sqrt(across(x) * across(y))
    assert cka(x, y, estimator="depcols") == pytest.approx(expected, abs=1e-12)


def inner_products(x, y):
    """⟨K, L⟩, ⟨K, K⟩ and ⟨L, L⟩ of depcols per pair of features, in the units of the features."""
    measure = CKA(estimator="depcols")
    a, b = measure.prepare(x), measure.prepare(y)
    scale_x, scale_y = (np.abs(z - z.mean(0)).max() ** 2 / z.shape[1] for z in (x, y))
    across = measure.compare(a, b) * np.sqrt(a.norm * b.norm)
    return np.array([across * scale_x * scale_y, a.norm * scale_x**2, b.norm * scale_y**2])


def test_depcols_is_unbiased_under_sampling_of_features_and_debiased_is_not():
    rng = RNG(5)
    n, population, sampled, repetitions = 100, 400, 12, 400
    latent = rng.standard_normal((n, 6)) * np.linspace(2, 0.2, 6)
    x = latent @ rng.standard_normal((6, population)) + 2 * rng.standard_normal((n, population))
    y = latent[:, ::-1] @ rng.standard_normal((6, population)) + x + rng.standard_normal((n, population))
    truth = inner_products(x, y)

    def subset(z):
        return z[:, rng.choice(population, sampled, replace=False)]

    draws = [(subset(x), subset(y)) for _ in range(repetitions)]
    found = np.array([inner_products(a, b) for a, b in draws])
    standard_error = found.std(axis=0, ddof=1) / np.sqrt(repetitions)
    assert (np.abs(found.mean(axis=0) - truth) < 4 * standard_error).all()
    across, self_x, self_y = found.mean(axis=0)
    pooled = across / np.sqrt(self_x * self_y)
    whole = cka(x, y, estimator="depcols")
    assert pooled == pytest.approx(whole, abs=0.05)
    assert np.mean([cka(a, b) for a, b in draws]) < whole - 0.2


@pytest.mark.parametrize("d", [5, 400])
def test_unrelated_representations_score_zero_on_average_whatever_the_width(d):
    pairs = [[RNG([seed, side]).standard_normal((50, d)) for side in (0, 1)] for seed in range(200)]
    scores = np.array([cka(x, y) for x, y in pairs])
    assert abs(scores.mean()) < 4 * scores.std(ddof=1) / np.sqrt(len(scores))


def test_debiased_is_small_and_biased_large_for_unrelated_wide_representations():
    x, y = RNG(0).standard_normal((50, 400)), RNG(1).standard_normal((50, 400))
    assert abs(cka(x, y)) < 0.06
    assert cka(x, y, estimator="biased") > 0.85


def test_mean_of_biased_cka_under_permutation_is_the_analytic_one():
    x, y = related(n=30)
    h = np.eye(30) - 1 / 30
    k, m = h @ x @ x.T @ h, h @ y @ y.T @ h
    expected = np.trace(k) * np.trace(m) / (29 * np.linalg.norm(k) * np.linalg.norm(m))
    rng = RNG(3)
    scores = np.array([cka(x, y[rng.permutation(30)], estimator="biased") for _ in range(400)])
    assert abs(scores.mean() - expected) < 4 * scores.std(ddof=1) / 20


def test_nearly_equal_wide_representations_score_one():
    a, b = RNG(0).standard_normal((50, 400)), RNG(1).standard_normal((50, 400))
    assert cka(a, a + 1e-9 * b) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("offset", [1e2, 1e3, 1e4])
def test_a_large_offset_of_float32_features_costs_only_their_own_rounding(offset):
    x, y = related(n=60, p=10, q=12)
    shifted = (x + offset).astype(np.float32), (y + offset).astype(np.float32)
    assert cka(*shifted) == pytest.approx(cka(x, y), abs=1e-5 * offset**0.5)
    assert cka(*shifted) == pytest.approx(cka(*(s.astype(float) - offset for s in shifted)), abs=1e-10)


def test_small_features_are_not_drowned_by_a_constant_in_the_denominator():
    x, y = related()
    for estimator in ("biased", "debiased"):
        assert cka(1e-3 * x, 1e-3 * y, estimator=estimator) == pytest.approx(cka(x, y, estimator=estimator), abs=1e-13)


def test_negative_estimates_are_not_clamped():
    scores = [cka(RNG([s, 0]).standard_normal((20, 30)), RNG([s, 1]).standard_normal((20, 30))) for s in range(20)]
    assert min(scores) < -0.01


@pytest.mark.parametrize("options", [{}, {"estimator": "biased"}, {"kernel": "rbf"}, {"estimator": "depcols"}])
@pytest.mark.parametrize("widths", [(4, 5, 6), (60, 70, 80), (4, 60, 300)])
def test_features_and_gram_matrices_give_the_same_scores(monkeypatch, options, widths):
    z = RNG(0).standard_normal((40, 5))
    reps = [z @ RNG(w).standard_normal((5, w)) + RNG([w, 1]).standard_normal((40, w)) for w in widths]
    usual = pairwise(reps, get_measure("cka", **options))
    monkeypatch.setattr(cka_module, "_CACHED_ROWS", 0)
    assert pairwise(reps, get_measure("cka", **options)) == pytest.approx(usual, abs=1e-12)
    for cheaper in (True, False):
        if "kernel" not in options:
            monkeypatch.setattr(cka_module, "_features_are_cheaper", lambda states, products, answer=cheaper: answer)
        assert pairwise(reps, get_measure("cka", **options)) == pytest.approx(usual, abs=1e-12)


def test_small_blocks_of_rows_give_the_same_scores(monkeypatch):
    x, y = related(n=50, q=80)
    measures = [CKA(), CKA(kernel="rbf"), CKA(kernel="laplace", estimator="biased")]
    usual = [pairwise([x, y], measure) for measure in measures]
    monkeypatch.setattr("consilience._array._BLOCK_BYTES_CPU", 8 * 50 * 7)
    monkeypatch.setattr(cka_module, "_CACHED_ROWS", 0)
    for measure, expected in zip(measures, usual, strict=True):
        assert pairwise([x, y], measure) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("n", [50, 51, 52, 53])
def test_median_by_counting_is_the_lower_median(monkeypatch, n):
    x = RNG(0).standard_normal((n, 3))
    x -= x.mean(0)
    distances = np.sort(pdist(x))
    monkeypatch.setattr(_kernels, "_SORTABLE_ROWS", 0)
    assert float(_kernels._median_distance(x)) == pytest.approx(distances[(len(distances) - 1) // 2], rel=1e-13)


@pytest.mark.parametrize("asarray", [np.asarray, torch.asarray, strict.asarray])
@pytest.mark.parametrize(("n", "rows"), [(60, 4096), (60, 0)])
def test_both_ways_find_a_median_that_is_zero_or_small(monkeypatch, asarray, n, rows):
    monkeypatch.setattr(_kernels, "_SORTABLE_ROWS", rows)
    x = RNG(0).standard_normal((n, 3))
    x[: n - 10] = RNG(2).standard_normal(3)
    assert _kernels._median_distance(asarray(x)) == 0
    assert np.isnan(cka_of_lumped(x + 1))
    x[: n - 10] = 1e-14 * RNG(1).standard_normal((n - 10, 3))
    distances = np.sort(pdist(x))
    median = distances[(len(distances) - 1) // 2 : len(distances) // 2 + 1].mean()
    assert float(_kernels._median_distance(asarray(x))) == pytest.approx(median, rel=1e-9)


def cka_of_lumped(x):
    with pytest.warns(DegenerateWarning, match="more than half of the pairs of rows coincide"):
        return CKA(kernel="rbf")(x, x)


def test_bandwidth_multiplies_the_median_distance():
    x, y = related(n=20)
    expected = cosine(u_centred(gram(x, "rbf", 0.5)), u_centred(gram(y, "rbf", 0.5)))
    assert cka(x, y, kernel="rbf", bandwidth=0.5) == pytest.approx(expected, abs=1e-12)
    # the Gaussian kernel approaches the linear one as its bandwidth grows
    assert cka(x, y, kernel="rbf", bandwidth=1e3) == pytest.approx(cka(x, y), abs=1e-4)


def test_no_gram_matrix_is_kept_for_many_samples():
    x = RNG(0).standard_normal((3000, 8))
    for measure in (CKA(), CKA(kernel="rbf")):
        state = measure.prepare(x)
        assert state.gram is None
        tracemalloc.start()
        measure.compare(state, state)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 3000 * 3000 * 8 / 2


def test_options_are_checked():
    with pytest.raises(ConsilienceError, match="depcols"):
        CKA(kernel="rbf", estimator="depcols")
    for bandwidth in (0, -1, 1e-300, 9e-7, 1.1e6, 1e300, float("inf"), float("nan")):
        with pytest.raises(ConsilienceError, match=r"bandwidth of cka is .* from 1e-6 to 1e6"):
            CKA(bandwidth=bandwidth)
    with pytest.raises(UnknownNameError, match="'debiased'"):
        CKA(estimator="debaised")
    with pytest.raises(ConsilienceError, match="at least 4"):
        cka(np.eye(3), np.eye(3))


def test_reasons_for_degenerate_representations():
    x = RNG(0).standard_normal((20, 3))
    lumped = np.zeros((20, 2))
    lumped[:3] = RNG(1).standard_normal((3, 2))
    assert "median" in CKA(kernel="rbf").degenerate(CKA(kernel="rbf").prepare(lumped))
    assert CKA().degenerate(CKA().prepare(lumped)) is None
    assert "depcols" in CKA(estimator="depcols").degenerate(CKA(estimator="depcols").prepare(x[:, :1]))

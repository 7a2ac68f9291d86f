from __future__ import annotations

import itertools
import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from scipy.spatial.distance import pdist, squareform

from consilience import ConsilienceError, cka, get_measure, pairwise, rsa
from consilience.measures import _rdm
from consilience.measures._noise import repeats_of
from consilience.measures._rdm import pair_values
from consilience.measures.rsa import RSA
from consilience.registry import DegenerateWarning

RNG = np.random.default_rng
FROZEN = json.loads((Path(__file__).parents[1] / "golden" / "measures" / "rsa.json").read_text())
COMPARISONS = (
    "spearman",
    "pearson",
    "cosine",
    "tau_a",
    "tau_b",
    "rho_a",
    "whitened_cosine",
    "whitened_pearson",
    "euclidean",
)


def golden_inputs():
    rng = RNG(0)
    n, dx, dy = 60, 10, 12
    z = rng.standard_normal((n, 6))
    x = z @ rng.standard_normal((6, dx)) + 0.7 * rng.standard_normal((n, dx)) + 1.5
    y = z @ rng.standard_normal((6, dy)) + 0.7 * rng.standard_normal((n, dy)) - 0.5
    return x, y


def tied_inputs():
    rng = RNG(7)
    p = rng.integers(0, 3, (25, 4))
    return p.astype(float), (p + (rng.random((25, 4)) < 0.3)).astype(float)


def related(n=20, p=4, q=6, seed=0):
    rng = RNG(seed)
    x = rng.standard_normal((n, p)) + 1
    return x, x @ rng.standard_normal((p, q)) + rng.standard_normal((n, q)) - 2


def within(x, targets):
    return x - np.stack([x[targets == t].mean(0) for t in targets])


def dissimilarities(x, rdm, targets=None, shrinkage=0.0):
    """From the definitions, pair by pair."""
    n, d = x.shape
    pairs = list(itertools.combinations(range(n), 2))
    if rdm in ("euclidean", "sqeuclidean", "correlation", "cosine"):
        return pdist(x, rdm)
    if rdm == "gaussian":
        return 1 - np.exp(-pdist(x, "sqeuclidean") / (2 * x.var(0).sum()))
    if rdm == "poisson":
        rates = (x + 0.1) / 1.1
        return np.array([(rates[i] - rates[j]) @ (np.log(rates[i]) - np.log(rates[j])) for i, j in pairs])
    noise = x - x.mean(0) if targets is None else within(x, targets)
    freedom = n - (1 if targets is None else len(set(targets)))
    covariance = noise.T @ noise / freedom
    covariance = (1 - shrinkage) * covariance + shrinkage * np.trace(covariance) / d * np.eye(d)
    inverse = np.linalg.inv(covariance)
    if rdm == "mahalanobis":
        return np.array([(x[i] - x[j]) @ inverse @ (x[i] - x[j]) for i, j in pairs])
    folds = np.stack([x[targets == t] for t in sorted(set(targets))])  # (K, R, d)
    k, r, _ = folds.shape
    found = []
    for i, j in itertools.combinations(range(k), 2):
        terms = []
        for test in range(r):
            train = [fold for fold in range(r) if fold != test]
            if rdm == "crossnobis":
                delta = (folds[i] - folds[j])[train].mean(0)
                terms.append(delta @ inverse @ (folds[i, test] - folds[j, test]))
            else:
                a, b = ((folds[c][train].mean(0) + 0.1) / 1.1 for c in (i, j))
                logs = np.log((folds[i, test] + 0.1) / 1.1) - np.log((folds[j, test] + 0.1) / 1.1)
                terms.append((a - b) @ logs)
        found.append(np.mean(terms))
    return np.array(found)


def compared(a, b, comparison):
    m = a.size
    if comparison in ("spearman", "rho_a"):
        ranks = [stats.rankdata(v) - (m + 1) / 2 for v in (a, b)]
        return stats.spearmanr(a, b)[0] if comparison == "spearman" else 12 * ranks[0] @ ranks[1] / (m**3 - m)
    if comparison == "pearson":
        return np.corrcoef(a, b)[0, 1]
    if comparison == "cosine":
        return a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    if comparison == "tau_b":
        return stats.kendalltau(a, b).statistic
    if comparison == "tau_a":
        i, j = np.triu_indices(m, 1)
        return (np.sign(a[i] - a[j]) * np.sign(b[i] - b[j])).mean()
    if comparison == "euclidean":
        return np.linalg.norm(a - b)
    # the covariance of squared distances under independent noise, and its inverse, in full
    k = len(squareform(a))
    contrasts = np.array([np.eye(k)[i] - np.eye(k)[j] for i, j in itertools.combinations(range(k), 2)])
    inverse = np.linalg.inv((contrasts @ contrasts.T) ** 2)
    if comparison == "whitened_pearson":
        a, b = a - a.mean(), b - b.mean()
    return a @ inverse @ b / np.sqrt((a @ inverse @ a) * (b @ inverse @ b))


@pytest.mark.parametrize("comparison", COMPARISONS)
@pytest.mark.parametrize(
    "rdm", ["euclidean", "sqeuclidean", "correlation", "cosine", "gaussian", "mahalanobis", "poisson"]
)
def test_every_matrix_and_comparison_equals_its_definition(rdm, comparison):
    x, y = related()
    if rdm == "poisson":
        x, y = abs(x), abs(y)
    expected = compared(dissimilarities(x, rdm), dissimilarities(y, rdm), comparison)
    measure = RSA(rdm=rdm, comparison=comparison)
    assert float(measure(x, y)) == pytest.approx(expected, rel=1e-11)
    assert pairwise([x, y, x], measure)[0, 1] == pytest.approx(expected, rel=1e-11)


@pytest.mark.parametrize("comparison", COMPARISONS)
@pytest.mark.parametrize("rdm", ["crossnobis", "poisson_cv"])
def test_cross_validated_matrices_equal_the_mean_over_folds(rdm, comparison):
    x, y = related(n=36)
    x, y = (abs(x), abs(y)) if rdm == "poisson_cv" else (x, y)
    targets = RNG(1).permutation(np.arange(36) % 9)
    a, b = (dissimilarities(z, rdm, targets) for z in (x, y))
    assert (a < 0).any()
    found = rsa(x, y, rdm=rdm, comparison=comparison, targets=targets)
    assert found == pytest.approx(compared(a, b, comparison), rel=1e-10)


@pytest.mark.parametrize("shrinkage", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("rdm", ["mahalanobis", "crossnobis"])
def test_noise_is_what_varies_within_classes_and_shrinks_to_a_sphere(rdm, shrinkage):
    x, y = related(n=36)
    targets = RNG(1).permutation(np.arange(36) % 9)
    a, b = (dissimilarities(z, rdm, targets, shrinkage) for z in (x, y))
    found = rsa(x, y, rdm=rdm, comparison="pearson", shrinkage=shrinkage, targets=targets)
    assert found == pytest.approx(compared(a, b, "pearson"), rel=1e-10)
    if shrinkage == 1 and rdm == "mahalanobis":
        assert found == pytest.approx(rsa(x, y, rdm="sqeuclidean", comparison="pearson"), rel=1e-12)


def test_shrunk_mahalanobis_of_wide_features_equals_its_definition():
    x, y = related(n=12, p=30, q=50)
    for targets in (None, np.arange(12) % 4):
        a, b = (dissimilarities(z, "mahalanobis", targets, 0.2) for z in (x, y))
        found = rsa(x, y, rdm="mahalanobis", comparison="pearson", shrinkage=0.2, targets=targets)
        assert found == pytest.approx(compared(a, b, "pearson"), rel=1e-9)


@pytest.mark.parametrize("entry", FROZEN["of_other_inputs"]["scores"], ids=lambda entry: entry["label"])
def test_values_of_rsatoolbox_on_rates_and_repeats(entry):
    x, y = golden_inputs()
    measure = get_measure(entry["label"])
    if measure.rdm == "poisson":
        assert float(measure(abs(x), abs(y))) == pytest.approx(entry["value"], abs=1e-12)
    else:
        assert float(measure(x, y, targets=np.arange(60) % 12)) == pytest.approx(entry["value"], abs=1e-12)


@pytest.mark.parametrize("entry", FROZEN["tied"]["scores"], ids=lambda entry: entry["label"])
def test_values_of_rsatoolbox_on_grids_with_ties(entry):
    assert float(get_measure(entry["label"])(*tied_inputs())) == pytest.approx(entry["value"], abs=1e-12)


def test_poisson_cv_averages_over_folds_where_rsatoolbox_keeps_the_last():
    x, y = (abs(z) for z in golden_inputs())
    frozen = FROZEN["poisson_cv_of_the_last_fold"]
    targets = np.arange(60) % 12

    def last_fold(x):
        folds = x.reshape(5, 12, -1)
        rates, logs = (folds[:4].mean(0) + 0.1) / 1.1, np.log((folds[4] + 0.1) / 1.1)
        return np.array([(rates[i] - rates[j]) @ (logs[i] - logs[j]) for i, j in itertools.combinations(range(12), 2)])

    assert compared(last_fold(x), last_fold(y), "pearson") == pytest.approx(frozen["value"], abs=1e-12)
    ours = get_measure(frozen["label"])(x, y, targets=targets)
    assert ours == pytest.approx(
        compared(*(dissimilarities(z, "poisson_cv", targets) for z in (x, y)), "pearson"), abs=1e-12
    )
    assert abs(ours - frozen["value"]) > 0.01


@pytest.mark.parametrize("p", [5, 90])
def test_whitened_cosine_of_squared_distances_is_biased_cka(p):
    x, y = related(n=40, p=p, q=7)
    found = rsa(x, y, rdm="sqeuclidean", comparison="whitened_cosine")
    assert found == pytest.approx(cka(x, y, estimator="biased"), abs=1e-12)


def test_orders_are_the_same_for_increasing_functions_of_the_distance():
    x, y = related(n=30)
    for comparison in ("spearman", "rho_a", "tau_a", "tau_b"):
        scores = [rsa(x, y, rdm=rdm, comparison=comparison) for rdm in ("euclidean", "sqeuclidean", "gaussian")]
        assert scores[0] == scores[1] == scores[2]


def test_without_ties_corrections_for_ties_do_nothing():
    x, y = related(n=30)
    assert rsa(x, y, comparison="rho_a") == pytest.approx(rsa(x, y), abs=1e-14)
    assert rsa(x, y, comparison="tau_a") == pytest.approx(rsa(x, y, comparison="tau_b"), abs=1e-14)


@pytest.mark.parametrize("comparison", ["spearman", "rho_a", "tau_a", "tau_b"])
def test_ties_survive_offsets_rotations_and_sums_over_many_features(comparison):
    rng = RNG(3)
    x = rng.integers(0, 2, (40, 300)).astype(float)
    y = rng.integers(0, 2, (40, 6)).astype(float)
    exact = [(z[:, None] - z[None]).astype(int) for z in (x, y)]
    a, b = (squareform((e**2).sum(-1)) for e in exact)
    assert len(set(a)) < a.size / 5
    expected = compared(a, b, comparison) if comparison != "tau_a" else compared_in_blocks(a, b)
    rotation = np.linalg.qr(rng.standard_normal((300, 300)))[0]
    for moved in (x, 0.1 * x + 0.7, x @ rotation):
        assert rsa(moved, y, comparison=comparison) == pytest.approx(expected, abs=1e-13)


def compared_in_blocks(a, b):
    m = a.size
    total = sum((np.sign(a[i] - a[:i]) * np.sign(b[i] - b[:i])).sum() for i in range(m))
    return total / (m * (m - 1) / 2)


def test_rho_a_is_the_mean_over_random_orders_of_ties():
    x, y = tied_inputs()
    a, b = pdist(x, "sqeuclidean"), pdist(y, "sqeuclidean")
    rng = RNG(0)
    draws = []
    for _ in range(400):
        ranks = [np.argsort(np.argsort(v + 1e-6 * rng.random(v.size))) for v in (a, b)]
        draws.append(np.corrcoef(*ranks)[0, 1])
    error = np.std(draws) / np.sqrt(len(draws))
    assert rsa(x, y, comparison="rho_a") == pytest.approx(np.mean(draws), abs=5 * error)


def test_products_of_different_repeats_are_zero_on_average_for_noise_and_distances_are_not():
    rng = RNG(0)
    repeats = repeats_of(np.repeat(np.arange(3), 4))
    crossed, plain = [], []
    for _ in range(2000):
        x = rng.standard_normal((12, 5))
        crossed.append(pair_values(_rdm._crossnobis(x, np.float64(0), repeats), signed=True).mean())
        plain.append(pdist(x.reshape(3, 4, 5).mean(1), "sqeuclidean").mean())
    assert abs(np.mean(crossed)) < 4 * np.std(crossed) / np.sqrt(2000)
    assert np.mean(plain) > 2


def test_correlation_distance_is_not_invariant_to_translation():
    """ReSi declares that it is; adding a constant vector changes the published value."""
    x, y = golden_inputs()
    assert rsa(x, y, rdm="correlation") == pytest.approx(0.6130761717577646, abs=1e-14)
    offset = RNG(1).standard_normal(10)
    assert abs(rsa(x + offset, y, rdm="correlation") - 0.613) > 0.01
    assert rsa(x + offset, y, rdm="correlation", center=True) == pytest.approx(
        rsa(x, y, rdm="correlation", center=True), abs=1e-12
    )


def test_the_score_of_many_samples_is_deterministic_and_uses_all_pairs():
    """Aristotelian draws pairs: 0.48172, then 0.48182."""
    x, y = related(n=300)
    assert rsa(x, y) == rsa(x, y) == pytest.approx(stats.spearmanr(pdist(x), pdist(y))[0], abs=1e-12)


def test_centring_equals_centring_first():
    x, y = related()
    for rdm in ("cosine", "correlation"):
        expected = rsa(x - x.mean(0), y - y.mean(0), rdm=rdm)
        assert rsa(x, y, rdm=rdm, center=True) == pytest.approx(expected, abs=1e-14)


def test_rows_of_zeros_have_a_place():
    x, y = related()
    x[3] = 0
    distances = 1 - (x @ x.T) / np.maximum(np.outer(*[np.linalg.norm(x, axis=1)] * 2), 1e-300)
    expected = np.corrcoef(distances[np.triu_indices(20, 1)], pdist(y, "cosine"))[0, 1]
    assert rsa(x, y, rdm="cosine", comparison="pearson") == pytest.approx(expected, abs=1e-12)


def test_duplicated_rows_and_an_outlier():
    x, y = related(n=30)
    x[7], y[9] = x[3], y[3]
    x[11] += 1e6
    expected = stats.spearmanr(pdist(x), pdist(y))[0]
    assert rsa(x, y) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("x", "options", "reason"),
    [
        (np.ones((6, 3)), {}, "every feature is constant"),
        (np.eye(6), {}, "all dissimilarities are equal"),
        (np.eye(6), {"comparison": "tau_b"}, "all dissimilarities are equal"),
        (np.eye(6), {"comparison": "whitened_pearson"}, "all dissimilarities are equal"),
        (np.outer(np.arange(1.0, 7), [1, 2, 3]), {"rdm": "cosine"}, "distance zero"),
        (np.outer(np.arange(1.0, 7), [1, 1, 1]), {"rdm": "correlation"}, "all dissimilarities are equal"),
        (RNG(0).standard_normal((6, 5)), {"rdm": "mahalanobis"}, "as many features as n samples"),
        (RNG(0).standard_normal((6, 9)), {"rdm": "mahalanobis"}, "as many features as n samples"),
        (RNG(0).standard_normal((6, 4)), {"rdm": "crossnobis", "targets": [0, 0, 1, 1, 2, 2]}, "singular"),
    ],
)
def test_what_has_no_score_is_nan_with_a_reason(x, options, reason):
    y = RNG(5).standard_normal((6, 3))
    with pytest.warns(DegenerateWarning, match=reason):
        assert np.isnan(rsa(x, y, **options))


def test_equal_distances_are_a_score_for_comparisons_that_do_not_centre():
    y = RNG(5).standard_normal((6, 3))
    assert rsa(np.eye(6), y, comparison="cosine") == pytest.approx(
        pdist(y).sum() / np.sqrt(15) / np.linalg.norm(pdist(y)), abs=1e-14
    )


def test_redundant_and_constant_features_do_not_break_mahalanobis():
    x, y = related()
    wider = np.column_stack([x, x[:, :2].sum(1), np.ones(20)])
    assert rsa(wider, y, rdm="mahalanobis") == pytest.approx(rsa(x, y, rdm="mahalanobis"), abs=1e-9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shrinkage": 1.5}, "between 0 and 1"),
        ({"prior_weight": 0.0}, "positive"),
        ({"prior_rate": float("inf")}, "finite"),
        ({"rdm": "poisson", "center": True}, "cannot be centred"),
        ({"rdm": "manhattan"}, "manhattan"),
        ({"comparison": "kendall"}, "kendall"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ConsilienceError, match=message):
        RSA(**options)


def test_negative_rates_are_refused_by_name():
    x, y = related()
    with pytest.raises(ConsilienceError, match=r"y holds -.*not\s+negative"):
        rsa(abs(x), y, rdm="poisson")


@pytest.mark.parametrize("targets", [[0, 0, 0, 1, 1, 2], [0, 0, 0, 0, 0, 0], [0, 1, 2, 3, 4, 5]])
def test_unbalanced_repeats_are_refused(targets):
    x, y = related(n=6)
    with pytest.raises(ConsilienceError, match="same number"):
        rsa(x, y, rdm="crossnobis", targets=targets)


def test_missing_targets_are_asked_for():
    with pytest.raises(ConsilienceError, match="targets"):
        rsa(*related(n=6), rdm="crossnobis")


def test_targets_may_be_known_but_not_traced_under_jit():
    jax = pytest.importorskip("jax")
    x, y = (z.astype(np.float32) for z in related(n=12))
    targets = np.repeat(np.arange(4), 3)
    measure = RSA(rdm="crossnobis", comparison="pearson", shrinkage=0.5)
    found = jax.jit(lambda x, y: measure(x, y, targets=targets))(x, y)
    assert float(found) == pytest.approx(float(measure(x, y, targets=targets)), abs=1e-3)
    with pytest.raises(ConsilienceError, match="static"):
        jax.jit(lambda x, y, t: measure(x, y, targets=t))(x, y, targets)


def test_too_many_samples_are_refused_before_memory_is_spent(monkeypatch):
    monkeypatch.setenv("CONSILIENCE_MEMORY_GIB", "0.001")
    with pytest.raises(ConsilienceError, match="dissimilarities of 300 rows"):
        rsa(*related(n=300))


def test_memory_is_a_few_vectors_of_pairs():
    x, y = related(n=700)
    tracemalloc.start()
    rsa(x, y)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6 * 8 * (700 * 699 // 2)


def test_many_representations_are_the_pairs_one_by_one():
    reps = [related(n=50, seed=seed)[1] for seed in range(5)]
    for comparison in ("spearman", "tau_b", "euclidean", "whitened_pearson"):
        matrix = pairwise(reps, RSA(comparison=comparison))
        alone = [[float(rsa(a, b, comparison=comparison)) for b in reps] for a in reps]
        assert matrix == pytest.approx(np.array(alone), abs=1e-11)


def test_euclidean_comparison_is_in_units_of_the_distances():
    x, y = related()
    assert rsa(x, 2 * x, comparison="euclidean") == pytest.approx(np.linalg.norm(pdist(x)), rel=1e-13)
    assert rsa(x, x, comparison="euclidean") == 0
    assert rsa(x, y, comparison="euclidean") == pytest.approx(np.linalg.norm(pdist(x) - pdist(y)), rel=1e-13)

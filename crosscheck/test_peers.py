"""Scores against other packages on fresh data: `make crosscheck`. A package that is not installed is skipped.

Where a package is known to be wrong, its right case is compared and the wrong one is a regression test in `tests`.
"""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import scipy.stats
from sklearn.cross_decomposition import CCA, PLSRegression
from sklearn.linear_model import LinearRegression
from sklearn.metrics import cohen_kappa_score

import consilience


def score(label, x, y, **more):
    return float(consilience.get_measure(label)(x, y, **more))


@pytest.fixture
def tensors(pair):
    torch = pytest.importorskip("torch")
    return [torch.from_numpy(z) for z in pair]


def test_pytorch_cka_debiased(pair, tensors):
    peer = pytest.importorskip("cka")
    assert float(peer.cka_from_features(*tensors)) == pytest.approx(score("cka", *pair), abs=1e-9)


@pytest.mark.parametrize(("unbiased", "label"), [(False, "cka(estimator=biased)"), (True, "cka")])
def test_ckatorch(pair, tensors, unbiased, label):
    core = pytest.importorskip("ckatorch.core")
    assert float(core.cka_base(*tensors, unbiased=unbiased)) == pytest.approx(score(label, *pair), abs=1e-9)


def test_shesha_biased_cka_and_procrustes(pair):
    sim = pytest.importorskip("shesha.sim")
    x, y = pair
    assert sim.cka_linear(x, y) == pytest.approx(score("cka(estimator=biased)", x, y), abs=1e-9)
    if x.shape == y.shape:
        assert sim.procrustes_similarity(x, y) == pytest.approx(score("nbs", x, y), abs=1e-9)


@pytest.mark.parametrize("metric", ["cosine", "correlation"])
def test_shesha_rdm_similarity(pair, metric):
    sim = pytest.importorskip("shesha.sim")
    expected = sim.rdm_similarity(*pair, metric=metric, method="spearman")
    assert score(f"rsa(rdm={metric})", *pair) == pytest.approx(expected, abs=1e-9)


RDMS = {"sqeuclidean": "euclidean", "correlation": "correlation"}
COMPARATORS = {
    "spearman": "spearman",
    "pearson": "corr",
    "cosine": "cosine",
    "tau_a": "tau-a",
    "tau_b": "tau-b",
    "rho_a": "rho-a",
    "whitened_cosine": "cosine_cov",
    "whitened_pearson": "corr_cov",
}


@pytest.mark.parametrize("compare", COMPARATORS)
@pytest.mark.parametrize("rdm", RDMS)
def test_rsatoolbox_grid(pair, rdm, compare):
    toolbox = pytest.importorskip("rsatoolbox")
    if len(pair[0]) > 100 and compare.startswith(("whitened", "tau")):
        pytest.skip("slow there")
    a, b = (toolbox.rdm.calc_rdm(toolbox.data.Dataset(z), method=RDMS[rdm]) for z in pair)
    expected = toolbox.rdm.compare(a, b, method=COMPARATORS[compare])[0, 0]
    assert score(f"rsa(rdm={rdm}, comparison={compare})", *pair) == pytest.approx(expected, abs=1e-8)


def test_rsatoolbox_poisson(pair):
    toolbox = pytest.importorskip("rsatoolbox")
    x, y = (np.exp(z / 3) for z in pair)
    a, b = (toolbox.rdm.calc_rdm(toolbox.data.Dataset(z), method="poisson") for z in (x, y))
    expected = toolbox.rdm.compare(a, b, method="spearman")[0, 0]
    assert score("rsa(rdm=poisson)", x, y) == pytest.approx(expected, abs=1e-8)


def test_rsatoolbox_crossnobis(rng):
    toolbox = pytest.importorskip("rsatoolbox")
    conditions, folds = np.tile(np.arange(12), 4), np.repeat(np.arange(4), 12)
    means = rng.standard_normal((12, 6))
    x, y = (np.tile(means @ rng.standard_normal((6, d)), (4, 1)) + rng.standard_normal((48, d)) for d in (8, 9))
    matrices = [
        toolbox.rdm.calc_rdm(
            toolbox.data.Dataset(z, obs_descriptors={"conds": conditions, "folds": folds}),
            method="crossnobis",
            descriptor="conds",
            cv_descriptor="folds",
        )
        for z in (x, y)
    ]
    expected = toolbox.rdm.compare(*matrices, method="cosine")[0, 0]
    found = score("rsa(rdm=crossnobis, comparison=cosine, shrinkage=1.0)", x, y, targets=conditions)
    assert found == pytest.approx(expected, abs=1e-8)


def test_rsatoolbox_bures(pair):
    toolbox = pytest.importorskip("rsatoolbox")
    a, b = (toolbox.rdm.calc_rdm(toolbox.data.Dataset(z), method="euclidean") for z in pair)
    # its square roots of eigenvalues cost half of the digits
    assert toolbox.rdm.compare(a, b, method="bures")[0, 0] == pytest.approx(score("nbs", *pair), abs=1e-5)


def test_canonical_correlations_by_the_generalized_eigenproblem(pair):
    x, y = (z - z.mean(0) for z in pair)
    if max(x.shape[1], y.shape[1]) * 2 > len(x):
        pytest.skip("needs more samples than features")
    p = x.shape[1]
    both = np.cov(np.column_stack([x, y]).T)
    within = scipy.linalg.block_diag(both[:p, :p], both[p:, p:])
    values = scipy.linalg.eigh(both - within, within, eigvals_only=True)
    rho = np.sort(values)[::-1][: min(p, y.shape[1])]
    assert score("cca", *pair) == pytest.approx(rho.mean(), abs=1e-9)
    assert score("cca(summary=mean_squared)", *pair) == pytest.approx((rho**2).mean(), abs=1e-9)


def test_first_canonical_correlation_of_scikit_learn(pair):
    x, y = pair
    if max(x.shape[1], y.shape[1]) * 2 > len(x):
        pytest.skip("needs more samples than features")
    one = x[:, :1]
    a, b = CCA(n_components=1, max_iter=5000).fit(one, y).transform(one, y)
    assert score("cca", one, y) == pytest.approx(abs(np.corrcoef(a[:, 0], b[:, 0])[0, 1]), abs=1e-6)


def test_linear_fit_of_scikit_learn(pair):
    x, y = pair
    if x.shape[1] * 2 > len(x):
        pytest.skip("a perfect fit")
    fit = LinearRegression().fit(x, y).predict(x)
    expected = 1 - np.sum((y - fit) ** 2) / np.sum((y - y.mean(0)) ** 2)
    assert score("linear_predictivity(cv=0)", x, y) == pytest.approx(expected, abs=1e-9)


def test_cross_validated_fit_of_scikit_learn(pair):
    x, y = pair
    if x.shape[1] * 2 > len(x):
        pytest.skip("not determined")
    fold = np.arange(len(x)) % 5
    residual, total = 0.0, 0.0
    for held in range(5):
        fit, test = fold != held, fold == held
        residual += np.sum((y[test] - LinearRegression().fit(x[fit], y[fit]).predict(x[test])) ** 2)
        total += np.sum((y[test] - y[fit].mean(0)) ** 2)
    assert score("linear_predictivity", x, y) == pytest.approx(1 - residual / total, abs=1e-9)


def test_partial_least_squares_of_scikit_learn_for_one_target(pair):
    x, y = pair
    y = y[:, :1]
    fold = np.arange(len(x)) % 5
    residual, total = 0.0, 0.0
    for held in range(5):
        fit, test = fold != held, fold == held
        model = PLSRegression(n_components=3, scale=False, tol=1e-12).fit(x[fit], y[fit])
        residual += np.sum((y[test] - model.predict(x[test]).reshape(-1, 1)) ** 2)
        total += np.sum((y[test] - y[fit].mean(0)) ** 2)
    assert score("pls_predictivity(components=3)", x, y) == pytest.approx(1 - residual / total, abs=1e-7)


def test_normalized_bures_similarity_by_square_roots_of_matrices(pair):
    x, y = (z - z.mean(0) for z in pair)
    k, m = x @ x.T, y @ y.T
    root = scipy.linalg.sqrtm(k + 1e-12 * np.trace(k) * np.eye(len(k))).real
    fidelity = np.sqrt(np.maximum(scipy.linalg.eigvalsh(root @ m @ root), 0)).sum()
    assert score("nbs", *pair) == pytest.approx(fidelity / np.sqrt(np.trace(k) * np.trace(m)), abs=1e-4)


def test_kappa_of_scikit_learn(pair):
    x, y = (z[:, :5] for z in pair)
    expected = cohen_kappa_score(x.argmax(1), y.argmax(1))
    assert score("cohen_kappa", x, y) == pytest.approx(expected, abs=1e-12)


def test_jensen_shannon_of_scipy(pair):
    from scipy.spatial.distance import jensenshannon

    x, y = (scipy.special.softmax(z[:, :5], axis=1) for z in pair)
    expected = np.mean(jensenshannon(x, y, axis=1, base=2) ** 2)
    assert score("jsd(inputs=probabilities)", x, y) == pytest.approx(expected, abs=1e-10)

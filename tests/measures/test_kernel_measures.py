from __future__ import annotations

import itertools
import tracemalloc

import numpy as np
import pytest
from scipy.spatial.distance import cdist, pdist

from consilience import ConsilienceError, DegenerateWarning, Stream, cka, get_measure, pairwise
from consilience.measures import cknna as cknna_module
from consilience.measures.cknna import CKNNA
from consilience.measures.ensd import ENSD
from consilience.measures.hsic import HSIC

RNG = np.random.default_rng


def related(n=12, p=4, q=6, seed=0):
    rng = RNG(seed)
    x = rng.standard_normal((n, p)) + 1
    return x, x @ rng.standard_normal((p, q)) + rng.standard_normal((n, q))


def golden_inputs():
    rng = RNG(0)
    z = rng.standard_normal((60, 6))
    x = z @ rng.standard_normal((6, 10)) + 0.7 * rng.standard_normal((60, 10)) + 1.5
    y = z @ rng.standard_normal((6, 12)) + 0.7 * rng.standard_normal((60, 12)) - 0.5
    return x, y


def gram(x, kernel):
    if kernel == "linear":
        return x @ x.T
    sigma, d = np.median(pdist(x)), cdist(x, x)
    return np.exp(-(d**2) / (2 * sigma**2)) if kernel == "rbf" else np.exp(-d / sigma)


# --- HSIC


@pytest.mark.parametrize("kernel", ["linear", "rbf", "laplace"])
def test_unbiased_hsic_is_the_four_sample_u_statistic(kernel):
    x, y = related(n=7)
    k, m = gram(x, kernel), gram(y, kernel)
    terms = [k[i, j] * (m[i, j] + m[q, r] - 2 * m[i, q]) for i, j, q, r in itertools.permutations(range(7), 4)]
    assert HSIC(kernel=kernel)(x, y) == pytest.approx(np.mean(terms), rel=1e-11, abs=1e-13)


@pytest.mark.parametrize("kernel", ["linear", "rbf", "laplace"])
@pytest.mark.parametrize("q", [3, 40])
def test_biased_hsic_is_the_trace_of_its_definition(kernel, q):
    x, y = related(n=15, q=q)
    h = np.eye(15) - 1 / 15
    expected = np.trace(gram(x, kernel) @ h @ gram(y, kernel) @ h) / 14**2
    assert HSIC(kernel=kernel, estimator="biased")(x, y) == pytest.approx(expected, rel=1e-12)


def test_cka_is_normalised_hsic():
    x, y = related(n=30)
    for kernel, estimator in itertools.product(("linear", "rbf"), ("unbiased", "biased")):
        measure = HSIC(kernel=kernel, estimator=estimator)
        ratio = measure(x, y) / np.sqrt(measure(x, x) * measure(y, y))
        expected = cka(x, y, kernel=kernel, estimator="debiased" if estimator == "unbiased" else "biased")
        assert ratio == pytest.approx(expected, abs=1e-13)


def test_unbiased_hsic_of_independent_samples_is_zero_on_average():
    scores = [HSIC(kernel="rbf")(*RNG(seed).standard_normal((2, 20, 3))) for seed in range(400)]
    assert abs(np.mean(scores)) < 4 * np.std(scores, ddof=1) / 20
    biased = [HSIC(kernel="rbf", estimator="biased")(*RNG(seed).standard_normal((2, 20, 3))) for seed in range(50)]
    assert np.mean(biased) > 4 * np.std(biased, ddof=1) / np.sqrt(50)


def test_linear_hsic_has_the_units_of_the_features():
    x, y = related(n=20)
    assert HSIC()(1e3 * x, 1e-2 * y) == pytest.approx(1e2 * HSIC()(x, y), rel=1e-12)
    reps = [x, 1e4 * y, y[:, :2]]
    matrix = pairwise(reps, "hsic")
    assert matrix == pytest.approx(np.array([[HSIC()(a, b) for b in reps] for a in reps]), rel=1e-12)


def test_hsic_options_and_degenerate_inputs():
    with pytest.raises(ConsilienceError, match="bandwidth of hsic"):
        HSIC(bandwidth=-1)
    assert not HSIC(kernel="rbf").streams
    with pytest.raises(ConsilienceError, match="cannot be streamed"):
        Stream("hsic(kernel=rbf)")
    lumped = np.zeros((20, 2))
    lumped[:3] = 1, 2
    with pytest.warns(DegenerateWarning, match="median distance is zero"):
        assert np.isnan(HSIC(kernel="rbf")(lumped, RNG(0).standard_normal((20, 2))))


# --- effective number of shared dimensions


@pytest.mark.parametrize(("p", "q"), [(4, 6), (30, 50)])
def test_ensd_from_its_definition(p, q):
    x, y = related(n=20, p=p, q=q)
    k, m = ((z - z.mean(0)) @ (z - z.mean(0)).T for z in (x, y))
    expected = np.trace(k @ m) * np.trace(k) * np.trace(m) / (np.trace(k @ k) * np.trace(m @ m))
    assert ENSD()(x, y) == pytest.approx(expected, rel=1e-12)


def test_ensd_with_itself_is_the_participation_ratio_and_it_is_cka_in_dimensions():
    x, y = related(n=50)
    ratios = [v.sum() ** 2 / (v**2).sum() for v in (np.linalg.eigvalsh(np.cov(z.T)) for z in (x, y))]
    assert ENSD()(x, x) == pytest.approx(ratios[0], rel=1e-12)
    assert ENSD()(x, y) == pytest.approx(np.sqrt(np.prod(ratios)) * cka(x, y, estimator="biased"), rel=1e-12)


def test_ensd_counts_common_directions():
    basis = RNG(0).standard_normal((80, 12))
    basis = np.linalg.qr(basis - basis.mean(0))[0]
    assert ENSD()(basis[:, :5], basis[:, 5:]) == pytest.approx(0, abs=1e-13)
    assert ENSD()(basis[:, :5], basis[:, 3:]) == pytest.approx(2, abs=1e-12)


def test_mean_of_ensd_under_permutation_is_the_documented_one():
    x, y = related(n=30)
    expected = ENSD()(x, x) * ENSD()(y, y) / 29
    rng = RNG(3)
    scores = np.array([ENSD()(x, y[rng.permutation(30)]) for _ in range(400)])
    assert abs(scores.mean() - expected) < 4 * scores.std(ddof=1) / 20


# --- centered kernel nearest-neighbour alignment


def masked(k, neighbours):
    k_hat = k.copy()
    np.fill_diagonal(k_hat, -np.inf)
    mask = np.zeros_like(k)
    np.put_along_axis(mask, np.argsort(-k_hat, axis=1, kind="stable")[:, :neighbours], 1, axis=1)
    return mask


def unbiased(a, b, *, both):
    n = len(a)
    chain = (a @ b).sum()
    back = (b @ a).sum() if both else chain
    return (a * b.T).sum() + a.sum() * b.sum() / ((n - 1) * (n - 2)) - (chain + back) / (n - 2)


def reference(x, y, k, *, both=True, added=0.0):
    n = len(x)
    kx, ky = x @ x.T, y @ y.T
    mx, my = masked(kx, k), masked(ky, k)
    cross, own_x, own_y = (
        unbiased(a, b, both=both) / (n * (n - 3))
        for a, b in ((mx * my * kx, mx * my * ky), (mx * kx, mx * kx), (my * ky, my * ky))
    )
    return cross / (np.sqrt(own_x * own_y) + added)


def unit_rows(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


@pytest.mark.parametrize("k", [2, 5, 10])
@pytest.mark.parametrize("both", [True, False])
def test_cknna_from_masked_gram_matrices(k, both):
    x, y = related(n=40)
    measure = CKNNA(k=k, symmetrized=both)
    assert measure(x, y) == pytest.approx(reference(unit_rows(x), unit_rows(y), k, both=both), abs=1e-12)
    inner = CKNNA(k=k, metric="inner", symmetrized=both)
    assert inner(x, y) == pytest.approx(reference(x, y, k, both=both), abs=1e-12)


def test_published_cknna_adds_to_the_denominator_and_takes_one_order_of_the_product():
    x, y = golden_inputs()
    a, b = unit_rows(x), unit_rows(y)
    listed = 0.5548283544
    assert reference(a, b, 10, both=False, added=1e-6) == pytest.approx(listed, abs=5e-11)
    one_order = float(CKNNA(symmetrized=False)(x, y))
    assert one_order == pytest.approx(reference(a, b, 10, both=False), abs=1e-12)
    assert 5e-6 < one_order - listed < 2e-5
    other_order = float(CKNNA(symmetrized=False)(y, x))
    assert abs(one_order - other_order) > 5e-4
    # numerators are averaged, and the denominators are the same
    assert CKNNA()(x, y) == pytest.approx((one_order + other_order) / 2, abs=1e-12)


def test_features_as_small_as_the_published_constant_change_nothing():
    x, y = related(n=40)
    assert CKNNA(metric="inner")(1e-3 * x, 1e-3 * y) == pytest.approx(CKNNA(metric="inner")(x, y), abs=1e-12)


def test_duplicated_samples_are_neighbours_and_a_sample_is_not_its_own():
    x, y = related(n=20)
    x, y = np.concatenate([x, x]), np.concatenate([y, y])
    assert CKNNA(k=3)(x, y) == pytest.approx(reference(unit_rows(x), unit_rows(y), 3), abs=1e-12)


def test_small_blocks_give_the_same_score(monkeypatch):
    x, y = related(n=50)
    usual = CKNNA()(x, y)
    monkeypatch.setattr(cknna_module, "_GATHERED_ELEMENTS", 700)
    assert CKNNA()(x, y) == pytest.approx(usual, abs=1e-13)


def test_no_gram_matrix_is_kept():
    x = RNG(0).standard_normal((3000, 8))
    measure = CKNNA()
    tracemalloc.start()
    state = measure.prepare(x)
    measure.compare(state, state)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3000 * 3000 * 8 / 2


def test_cknna_options_and_degenerate_inputs():
    with pytest.raises(ConsilienceError, match="two neighbours"):
        CKNNA(k=1)
    with pytest.raises(ConsilienceError, match="at least 12"):
        CKNNA()(np.eye(11), np.eye(11))
    line = np.outer(np.arange(1.0, 31), [1, 2, 3])
    with pytest.warns(DegenerateWarning, match="same product"):
        assert np.isnan(CKNNA()(line, RNG(0).standard_normal((30, 3))))


def test_symmetry_is_declared_as_it_is():
    assert get_measure("cknna").symmetric
    assert not get_measure("cknna", symmetrized=False).symmetric


def test_a_self_alignment_that_is_not_positive_has_a_reason():
    measure = CKNNA(k=3)
    state = measure.prepare(related(n=20)[0])
    assert measure.degenerate(state) is None
    assert "not positive" in measure.degenerate(state._replace(norm=-state.norm))

from __future__ import annotations

import array_api_compat.numpy
import jax
import numpy as np
import pytest
import scipy.linalg

from consilience import ConsilienceError, DegenerateWarning, Stream, cca, get_measure, pls, pwcca, svcca
from consilience.measures._nuclear import nuclear_norm
from consilience.measures._subspace import column_space
from consilience.measures.cca import CCA
from consilience.measures.svcca import SVCCA
from consilience.testing import check_measure

RNG = np.random.default_rng


def related(n, p, q, seed=0):
    rng = RNG(seed)
    z = rng.standard_normal((n, 3))
    x, y = (z @ rng.standard_normal((3, d)) + rng.standard_normal((n, d)) + rng.standard_normal(d) for d in (p, q))
    return x, y


def golden_pair():
    rng = RNG(0)
    z = rng.standard_normal((60, 6))
    x = z @ rng.standard_normal((6, 10)) + 0.7 * rng.standard_normal((60, 10)) + 1.5
    y = z @ rng.standard_normal((6, 12)) + 0.7 * rng.standard_normal((60, 12)) - 0.5
    return x, y


def canonical(x, y):
    """Correlations and weights of features from the generalized eigenproblem, largest first."""
    x, y = x - x.mean(0), y - y.mean(0)
    p, q = x.shape[1], y.shape[1]
    cross = np.block([[np.zeros((p, p)), x.T @ y], [y.T @ x, np.zeros((q, q))]])
    own = scipy.linalg.block_diag(x.T @ x, y.T @ y)
    values, vectors = scipy.linalg.eigh(cross, own)
    top = np.argsort(values)[::-1][: min(p, q)]
    return values[top], vectors[:p, top], vectors[p:, top]


def streamed(measure, x, y, batch=16):
    stream = Stream(measure)
    for start in range(0, len(x), batch):
        stream.update(x[start : start + batch], y[start : start + batch])
    return float(stream.result())


SHAPES = [(40, 4, 4), (40, 3, 7), (300, 20, 6), (25, 12, 5)]


@pytest.mark.parametrize(("n", "p", "q"), SHAPES)
def test_cca_is_the_mean_over_the_generalized_eigenproblem(n, p, q):
    x, y = related(n, p, q)
    rho = canonical(x, y)[0]
    assert cca(x, y) == pytest.approx(rho.mean(), rel=1e-11)
    assert cca(x, y, summary="mean_squared") == pytest.approx((rho**2).mean(), rel=1e-11)


@pytest.mark.parametrize("side", ["x", "y", "mean"])
@pytest.mark.parametrize(("n", "p", "q"), SHAPES)
def test_pwcca_weighs_variates_by_their_products_with_features(n, p, q, side):
    x, y = related(n, p, q)
    rho, a, b = canonical(x, y)
    sides = {}
    for name, rep, directions in (("x", x - x.mean(0), a), ("y", y - y.mean(0), b)):
        weights = []
        for direction in directions.T:
            variate = rep @ direction
            variate /= np.linalg.norm(variate)
            weights.append(sum(abs(variate @ rep[:, j]) for j in range(rep.shape[1])))
        sides[name] = np.average(rho, weights=weights)
    sides["mean"] = (sides["x"] + sides["y"]) / 2
    assert pwcca(x, y, side=side) == pytest.approx(sides[side], rel=1e-10)


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
@pytest.mark.parametrize(("n", "p", "q"), [*SHAPES, (40, 60, 90)])
def test_svcca_is_cca_of_the_components_that_reach_the_share(n, p, q, share):
    x, y = related(n, p, q)
    kept = []
    for rep in (x - x.mean(0), y - y.mean(0)):
        u, s, _ = np.linalg.svd(rep, full_matrices=False)
        count = next(k for k in range(1, len(s) + 1) if (s[:k] ** 2).sum() >= share * (s**2).sum())
        kept.append(u[:, :count])
    rho = np.linalg.svd(kept[0].T @ kept[1])[1]
    assert svcca(x, y, variance=share) == pytest.approx(rho.mean(), rel=1e-10)
    assert svcca(x, y, variance=share, summary="mean_squared") == pytest.approx((rho**2).mean(), rel=1e-10)


def test_svcca_with_everything_kept_is_cca():
    x, y = related(50, 4, 6)
    assert svcca(x, y, variance=1.0) == pytest.approx(cca(x, y), rel=1e-12)
    assert svcca(x, y, k=100) == pytest.approx(cca(x, y), rel=1e-12)
    assert svcca(x, y, k=1) == pytest.approx(
        abs(np.corrcoef(*(np.linalg.svd(rep - rep.mean(0))[0][:, 0] for rep in (x, y)))[0, 1]), rel=1e-12
    )


@pytest.mark.parametrize(("n", "p", "q"), [*SHAPES, (10, 25, 15)])
def test_pls_correlates_latent_variables(n, p, q):
    x, y = related(n, p, q)
    a, b = x - x.mean(0), y - y.mean(0)
    u, s, vh = np.linalg.svd(a.T @ b, full_matrices=False)
    count = min(p, q, n - 1)
    rho = [np.corrcoef(a @ u[:, i], b @ vh[i])[0, 1] for i in range(count)]
    assert pls(x, y) == pytest.approx(np.average(rho, weights=s[:count]), rel=1e-10)
    assert pls(x, y, weighting="equal") == pytest.approx(np.mean(rho), rel=1e-10)


def test_a_ridge_is_added_to_the_eigenvalues():
    x, y = related(60, 5, 7)
    for reg in (1e-12, 1e-3, 0.1, 10.0):
        whitened = []
        for rep in (x - x.mean(0), y - y.mean(0)):
            values, axes = np.linalg.eigh(rep.T @ rep)
            whitened.append(rep @ axes / np.sqrt(values + reg * values[-1]))
        rho = np.linalg.svd(whitened[0].T @ whitened[1])[1]
        assert cca(x, y, reg=reg) == pytest.approx(rho.mean(), rel=1e-11)
        assert cca(x, y, reg=reg, summary="mean_squared") == pytest.approx((rho**2).mean(), rel=1e-11)
        assert streamed(CCA(reg=reg), x, y) == pytest.approx(rho.mean(), rel=1e-9)
    wide = RNG(3).standard_normal((20, 50)), RNG(4).standard_normal((20, 30))
    k = [rep @ rep.T for rep in (rep - rep.mean(0) for rep in wide)]
    roots = [scipy.linalg.sqrtm(m @ np.linalg.inv(m + 0.1 * np.linalg.norm(m, 2) * np.eye(20))).real for m in k]
    assert cca(*wide, reg=0.1) == pytest.approx(np.linalg.svd(roots[0] @ roots[1])[1].sum() / 19, abs=1e-7)


@pytest.mark.parametrize("measure", [CCA(reg=0.1), SVCCA(k=2)], ids=lambda m: m.label)
def test_other_options_conform(measure):
    check_measure(measure)


def test_linear_functions_have_correlation_one_and_unrelated_ones_the_expected_mean_square():
    x = RNG(0).standard_normal((50, 4))
    map_ = RNG(1).standard_normal((4, 4))
    assert cca(x, x @ map_ + 3) == pytest.approx(1, abs=1e-12)
    assert pwcca(x, x @ map_) == pytest.approx(1, abs=1e-12)
    assert cca(x, (x @ map_)[:, :2]) == pytest.approx(1, abs=1e-12)
    n, p, q = 30, 3, 5
    scores = [cca(RNG(s).standard_normal((n, p)), RNG(999 + s).standard_normal((n, q)), summary="mean_squared")
              for s in range(400)]  # fmt: skip
    error = np.std(scores) / np.sqrt(len(scores))
    assert np.mean(scores) == pytest.approx(max(p, q) / (n - 1), abs=4 * error)


# Rank and conditioning


@pytest.mark.parametrize("condition", [1, 1e3, 1e5, 1e9, 1e12])
@pytest.mark.parametrize("n", [30, 200])
def test_bases_are_orthonormal_and_complete_whatever_the_conditioning(n, condition):
    x = RNG(0).standard_normal((n, 12)) * np.geomspace(1, 1 / condition, 12) @ RNG(1).standard_normal((12, 12))
    x -= x.mean(0)
    x /= np.abs(x).max()
    basis, rank = column_space(x)
    assert rank == 12
    assert np.abs(basis.T @ basis - np.eye(12)).max() < 1e-14
    assert np.abs(x - basis @ (basis.T @ x)).max() < 1e-14


def test_scores_survive_extreme_conditioning():
    x, y = related(100, 6, 8)
    u, _, vh = np.linalg.svd(RNG(5).standard_normal((6, 6)))
    for condition in (1e4, 1e8):
        bent = (x - x.mean(0)) @ u * np.geomspace(1, 1 / condition, 6) @ vh
        assert cca(bent, y) == pytest.approx(cca(x, y), abs=1e-15 * condition + 1e-12)
        assert cca(x * np.geomspace(1, condition, 6), y) == pytest.approx(cca(x, y), abs=1e-12)


@pytest.mark.parametrize("label", ["cca", "cca_r2", "svcca(variance=1.0)", "pwcca", "pwcca(side=y)"])
def test_dependent_features_change_nothing_but_weights(label):
    x, y = related(60, 5, 4)
    measure = get_measure(label)
    dependent = np.column_stack([x, np.zeros(60), np.full(60, 7.0)])
    assert measure(dependent, y) == pytest.approx(float(measure(x, y)), rel=1e-12)
    assert streamed(measure, dependent, y) == pytest.approx(float(measure(x, y)), rel=1e-9)
    if not label.startswith("pwcca"):
        dependent = np.column_stack([dependent, x[:, 0] - 2 * x[:, 1], x[:, 2]])
        # rotated, what is left of the dependent directions is rounding, which must not count
        rotated = dependent @ np.linalg.qr(RNG(0).standard_normal((9, 9)))[0]
        for each in (dependent, rotated):
            assert measure(each, y) == pytest.approx(float(measure(x, y)), rel=1e-11)
            assert measure(y, each) == pytest.approx(float(measure(x, y)), rel=1e-11)


@pytest.mark.parametrize("label", ["cca", "cca_r2", "svcca", "pwcca", "shape_metric(alpha=0.0)", "pls"])
def test_jitted_scores_of_low_rank_are_those_of_numpy(label):
    x, y = related(30, 4, 5)
    x = x @ RNG(0).standard_normal((4, 8))
    measure = get_measure(label)
    with jax.enable_x64(True):
        found = float(jax.jit(measure)(jax.numpy.asarray(x), jax.numpy.asarray(y)))
        swapped = float(jax.jit(measure)(jax.numpy.asarray(y), jax.numpy.asarray(x)))
    assert found == pytest.approx(float(measure(x, y)), rel=1e-10)
    assert swapped == pytest.approx(float(measure(y, x)), rel=1e-10)


@pytest.mark.parametrize("label", ["cca", "cca_r2", "svcca(summary=mean_squared)", "pwcca", "pls", "procrustes"])
def test_jitted_scores_of_wide_layers_are_those_of_numpy(label):
    x, y = RNG(0).standard_normal((500, 70)), RNG(1).standard_normal((500, 80))  # a shape that XLA has got wrong
    measure = get_measure(label)
    with jax.enable_x64(True):
        found = float(jax.jit(measure)(jax.numpy.asarray(x), jax.numpy.asarray(y)))
    assert found == pytest.approx(float(measure(x, y)), rel=1e-10)


@pytest.mark.parametrize("label", ["cca", "svcca(variance=1.0)", "pwcca", "shape_metric(alpha=0.0)"])
@pytest.mark.parametrize("width", [19, 50])
def test_features_that_span_all_directions_have_no_score(label, width):
    x, y = RNG(0).standard_normal((20, width)), RNG(1).standard_normal((20, 3))
    measure = get_measure(label)
    with pytest.warns(DegenerateWarning, match="in y, the features span all 19 directions"):
        assert np.isnan(measure(y, x))
    if measure.streams:
        with pytest.warns(DegenerateWarning, match="in x, the features span all 19 directions"):
            assert np.isnan(streamed(measure, x, y))


def test_too_few_samples_for_two_subspaces_are_flagged_with_the_number_of_certain_correlations():
    x, y = RNG(0).standard_normal((20, 12)), RNG(1).standard_normal((20, 10))
    bases = [np.linalg.qr(rep - rep.mean(0))[0] for rep in (x, y)]
    rho = np.linalg.svd(bases[0].T @ bases[1])[1]
    assert (rho > 1 - 1e-12).sum() == 3
    for label in ("cca", "svcca(variance=1.0)", "pwcca", "shape_metric(alpha=0.0)"):
        measure = get_measure(label)
        with pytest.warns(DegenerateWarning, match="whatever the data, 3 of 10 canonical correlations equal 1"):
            score = measure(x, y)
        assert np.isfinite(score)
        with pytest.warns(DegenerateWarning, match="3 of 10"):
            again = streamed(measure, x, y)
        # weights of the three equal correlations are not unique
        assert again == pytest.approx(float(score), rel=1e-2 if label == "pwcca" else 1e-7)


def test_a_ridge_makes_wide_representations_comparable():
    x, y = RNG(0).standard_normal((20, 50)), RNG(1).standard_normal((20, 50))
    assert 0 < cca(x, y, reg=1.0) < cca(x, y, reg=1e-3) < 1
    with pytest.warns(DegenerateWarning, match="every feature is constant"):
        cca(x, np.ones((20, 2)), reg=1.0)


# What other implementations get wrong


def test_components_are_counted_by_share_of_variance():
    x, y = golden_pair()
    assert svcca(x, y) == pytest.approx(0.7615465587, abs=5e-11)
    # comparing shares with 0.99 times the total variance, as one package does, keeps a single component
    assert svcca(x, y, k=1) == pytest.approx(0.5455, abs=5e-5)
    # sums of singular values instead of variances keep 10 and 12 components here: plain CCA
    sums = [np.cumsum(s) / s.sum() for s in (np.linalg.svd(rep - rep.mean(0))[1] for rep in (x, y))]
    assert [int((share < 0.99).sum()) + 1 for share in sums] == [10, 12]


def test_junk_of_low_variance_does_not_move_svcca():
    x, y = golden_pair()
    wide = [np.column_stack([rep, 1e-4 * RNG(s).standard_normal((60, 20))]) for s, rep in enumerate((x, y))]
    assert svcca(*wide, summary="mean_squared") == pytest.approx(0.6706635778, abs=1e-6)
    assert streamed(SVCCA(summary="mean_squared"), *wide) == pytest.approx(0.6706635778, abs=1e-6)


def test_correlations_are_not_trimmed_and_the_average_is_over_the_smaller_rank():
    x, y = golden_pair()
    rho = canonical(x, y)[0]
    assert rho[:-1].mean() == pytest.approx(0.778, abs=5e-4)  # without the last, as a package that trims gives
    assert rho.sum() / np.sqrt(10 * 12) == pytest.approx(0.6469, abs=5e-5)  # over the geometric mean of widths
    assert cca(x, y) == pytest.approx(rho.mean(), rel=1e-12)
    assert cca(y, x) == pytest.approx(rho.mean(), rel=1e-12)


def test_pwcca_is_not_svcca_and_takes_the_wider_first():
    x, y = golden_pair()
    assert pwcca(y, x, side="x") == pytest.approx(0.8791751973, abs=5e-11)
    assert abs(pwcca(x, y) - svcca(x, y)) > 0.1
    assert abs(pwcca(x, y, side="x") - 0.772) > 0.05
    assert abs(pwcca(x, y, side="y") - 0.751) > 0.05


# Nuclear norm


def spectra(d):
    rng = RNG(d)
    yield "random", np.linalg.svd(rng.standard_normal((d, d)))[1]
    yield "equal", np.ones(d)
    yield "graded", np.geomspace(1, 1e-3, d)
    yield "steep", np.geomspace(1, 1e-14, d)
    yield "low rank", np.where(np.arange(d) < 5, 1.0, 0.0)
    yield "one tiny", np.where(np.arange(d) < d - 1, 1.0, 1e-9)


@pytest.mark.parametrize("d", [20, 100])
def test_nuclear_norms_of_all_spectra_are_sums_of_singular_values(d):
    for name, s in spectra(d):
        for width in (d, d + 30):
            u = np.linalg.qr(RNG(1).standard_normal((d, d)))[0]
            v = np.linalg.qr(RNG(2).standard_normal((width, d)))[0]
            for matrix in (u * s @ v.T, (u * s @ v.T).T):
                assert float(nuclear_norm(matrix)) == pytest.approx(s.sum(), rel=2e-12), name


def test_nuclear_norms_use_eigenvalues_only_where_the_error_is_bounded(monkeypatch):
    full = RNG(0).standard_normal((100, 120))
    expected = np.linalg.svdvals(full).sum()

    def refuse(_):
        raise AssertionError("singular values were computed")

    monkeypatch.setattr(array_api_compat.numpy.linalg, "svdvals", refuse)
    assert float(nuclear_norm(full)) == pytest.approx(expected, rel=1e-12)
    with pytest.raises(AssertionError, match="singular values"):
        nuclear_norm(full[:, :50] @ full[:50])


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("cca", {"reg": -1.0}, "reg of cca is -1.0"),
        ("cca", {"reg": float("nan")}, "reg of cca is nan"),
        ("cca", {"summary": "median"}, "median"),
        ("svcca", {"variance": 0.0}, "variance of svcca is 0.0"),
        ("svcca", {"variance": 1.1}, "variance of svcca is 1.1"),
        ("svcca", {"k": 0}, "k of svcca is 0"),
        ("svcca", {"k": 2.5}, "k of svcca is 2.5"),
        ("svcca", {"k": True}, "k of svcca is True"),
        ("pwcca", {"side": "both"}, "both"),
        ("pls", {"weighting": "none"}, "none"),
        ("shape_metric", {"alpha": 1.5}, "alpha of shape_metric is 1.5"),
        ("shape_metric", {"alpha": float("nan")}, "alpha of shape_metric is nan"),
        ("permutation_procrustes", {"form": "squared"}, "squared"),
    ],
)
def test_bad_options_are_named(name, options, message):
    with pytest.raises(ConsilienceError, match=message):
        get_measure(name, **options)


def test_aliases():
    for alias, label in (
        ("cca_mean", "cca"),
        ("cca_r2", "cca(summary=mean_squared)"),
        ("yanai", "cca(summary=mean_squared)"),
        ("cca_partial_whiten", "shape_metric(alpha=0.5)"),
        ("permutation_angular", "permutation_procrustes"),
        ("bures_distance", "bures"),
        ("normalized_bures_similarity", "nbs"),
        ("pls_svd", "pls"),
    ):
        assert get_measure(alias).label == label

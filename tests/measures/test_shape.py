from __future__ import annotations

import itertools
import warnings

import jax
import numpy as np
import pytest
from scipy.linalg import orthogonal_procrustes, sqrtm

from consilience import (
    ConsilienceError,
    DegenerateWarning,
    Stream,
    aligned_cosine,
    bures,
    get_measure,
    nbs,
    pairwise,
    permutation_procrustes,
    procrustes,
    shape_metric,
)
from consilience.measures.permutation_procrustes import PermutationProcrustes
from consilience.measures.procrustes import Procrustes
from consilience.measures.shape import Bures, ShapeMetric
from consilience.testing import check_measure

RNG = np.random.default_rng
SHAPES = [(30, 4, 4), (30, 3, 7), (10, 25, 15), (10, 4, 40)]


def pair(n, p, q):
    return RNG(0).standard_normal((n, p)) + 1, RNG(1).standard_normal((n, q)) - 2


def centred(x):
    return x - x.mean(0)


def unit(x):
    return centred(x) / np.linalg.norm(centred(x))


def padded(x, width):
    return np.pad(x, ((0, 0), (0, width - x.shape[1])))


def streamed(measure, x, y, batch=16):
    stream = Stream(measure)
    for start in range(0, len(x), batch):
        stream.update(x[start : start + batch], y[start : start + batch])
    return float(stream.result())


@pytest.mark.parametrize(("n", "p", "q"), SHAPES)
def test_bures_and_nbs_are_the_fidelity_of_gram_matrices(n, p, q):
    x, y = pair(n, p, q)
    k, m = centred(x) @ centred(x).T, centred(y) @ centred(y).T
    root = sqrtm(k + 1e-14 * np.eye(n)).real
    fidelity = np.trace(sqrtm(root @ m @ root + 1e-14 * np.eye(n)).real)
    # a root of a rounding error of 1e-14 is 1e-7: what the definition itself is good for
    assert nbs(x, y) == pytest.approx(fidelity / np.sqrt(np.trace(k) * np.trace(m)), abs=1e-6)
    assert bures(x, y, squared=True) == pytest.approx(np.trace(k) + np.trace(m) - 2 * fidelity, rel=1e-6)


@pytest.mark.parametrize(("n", "p", "q"), SHAPES)
def test_bures_and_nbs_are_the_residual_of_scipys_rotation(n, p, q):
    x, y = pair(n, p, q)
    width = max(p, q)
    a, b = padded(centred(x), width), padded(centred(y), width)
    rotation, total = orthogonal_procrustes(a, b)
    assert bures(x, y) == pytest.approx(np.linalg.norm(a @ rotation - b), rel=1e-12)
    assert bures(x, y, squared=True) == pytest.approx(np.linalg.norm(a @ rotation - b) ** 2, rel=1e-12)
    assert nbs(x, y) == pytest.approx(total / np.linalg.norm(a) / np.linalg.norm(b), rel=1e-12)
    assert nbs(x, y) == pytest.approx(np.cos(procrustes(x, y)), rel=1e-12)


def test_bures_keeps_the_digits_of_small_distances():
    x = RNG(0).standard_normal((40, 5))
    for size in (1e-3, 1e-7, 1e-11):
        assert bures(x, (1 + size) * x) == pytest.approx(size * np.linalg.norm(centred(x)), rel=1e-4)


def wide_random(width):
    return RNG(width).standard_normal((400, width)) @ RNG(1).standard_normal((width, width))


def test_wide_representations_agree_with_the_rotation_wherever_the_distance_lies():
    x, y = wide_random(80), wide_random(90)
    for mix in (0.0, 0.5, 0.9, 0.99, 0.9999, 1.0 - 1e-9):
        other = mix * padded(unit(x), 90) + (1 - mix) * unit(y)
        a, b = padded(unit(x), 90), unit(other)
        rotation, _ = orthogonal_procrustes(a, b)
        expected = 2 * np.arcsin(np.linalg.norm(a @ rotation - b) / 2)
        assert procrustes(x, other) == pytest.approx(expected, rel=1e-9)


# Partial whitening


def mixture(x, alpha):
    values, axes = np.linalg.eigh(centred(x).T @ centred(x))
    return centred(x) @ (axes * (alpha + (1 - alpha) / np.sqrt(values))) @ axes.T


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.5, 0.99, 1.0])
@pytest.mark.parametrize(("n", "p", "q"), [(30, 4, 4), (60, 3, 7), (60, 20, 5)])
def test_shape_metric_is_the_angle_after_mixing(n, p, q, alpha):
    x, y = pair(n, p, q)
    a, b = mixture(x, alpha), mixture(y, alpha)
    cosine = np.linalg.svd(a.T @ b)[1].sum() / np.linalg.norm(a) / np.linalg.norm(b)
    assert shape_metric(x, y, alpha=alpha) == pytest.approx(np.arccos(cosine), rel=1e-11)
    assert streamed(ShapeMetric(alpha=alpha), x, y) == pytest.approx(np.arccos(cosine), rel=1e-9)


@pytest.mark.parametrize("alpha", [0.5, 0.0])
def test_other_mixtures_conform(alpha):
    check_measure(ShapeMetric(alpha=alpha))


def test_without_whitening_it_is_procrustes_to_the_last_bit():
    x, y = pair(30, 3, 7)
    assert shape_metric(x, y) == procrustes(x, y)


def test_a_mixture_depends_on_scale_which_the_ends_do_not():
    x, y = pair(40, 3, 5)
    for alpha in (0.0, 1.0):
        assert shape_metric(1000 * x, y, alpha=alpha) == pytest.approx(shape_metric(x, y, alpha=alpha), rel=1e-10)
    assert abs(shape_metric(1000 * x, y, alpha=0.5) - shape_metric(x, y, alpha=0.5)) > 1e-3


def test_partial_whitening_of_wide_representations_uses_the_directions_that_vary():
    x, y = pair(10, 25, 15)
    reduced = [u * s for u, s, _ in (np.linalg.svd(centred(each), full_matrices=False) for each in (x, y))]
    cosines = []
    a, b = (each[:, :9] for each in reduced)
    a, b = mixture(a, 0.5), mixture(b, 0.5)
    cosines = np.linalg.svd(a.T @ b)[1].sum() / np.linalg.norm(a) / np.linalg.norm(b)
    assert shape_metric(x, y, alpha=0.5) == pytest.approx(np.arccos(cosines), rel=1e-9)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_shape_metrics_satisfy_the_triangle_inequality(alpha):
    reps = [RNG(s).standard_normal((20, 1 + s % 4)) + RNG(0).standard_normal((20, 1)) for s in range(10)]
    d = pairwise(reps, ShapeMetric(alpha=alpha))
    assert (d[:, None, :] <= d[:, :, None] + d[None, :, :] + 1e-12).all()


# Streaming


@pytest.mark.parametrize("form", ["angular", "euclidean", "squared", "size_and_shape"])
@pytest.mark.parametrize(("n", "p", "q"), SHAPES)
def test_streamed_procrustes(n, p, q, form):
    x, y = pair(n, p, q)
    assert streamed(Procrustes(form=form), x, y) == pytest.approx(float(procrustes(x, y, form=form)), rel=1e-10)
    assert streamed(Bures(), x, y) == pytest.approx(float(bures(x, y)), rel=1e-10)


def test_streamed_distances_of_equals_are_zero_to_the_root_of_rounding_and_never_nan():
    for seed in range(5):
        x = RNG(seed).standard_normal((50, 6))
        rotation = np.linalg.qr(RNG(seed + 100).standard_normal((6, 6)))[0]
        assert 0 <= streamed("procrustes", x, x @ rotation + 3) < 1e-7
        assert 0 <= streamed("bures", x, x @ rotation) < 1e-7 * np.linalg.norm(x)
        assert 0 <= streamed("shape_metric(alpha=0.5)", x, x @ rotation) < 1e-7


def test_streams_of_huge_and_tiny_features_neither_overflow_nor_vanish():
    x, y = pair(50, 4, 6)
    for label in ("procrustes", "nbs", "cca", "svcca", "pwcca", "pls", "shape_metric(alpha=0.0)"):
        expected = float(get_measure(label)(x, y))
        for scale in (1e-60, 1e60):
            assert streamed(label, scale * x, y) == pytest.approx(expected, rel=1e-9), label


# Permutations


def best_permutation(x, y):
    width = max(x.shape[1], y.shape[1])
    a, b = padded(unit(x), width), padded(unit(y), width)
    return min(np.linalg.norm(a[:, list(order)] - b) for order in itertools.permutations(range(width)))


@pytest.mark.parametrize(("n", "p", "q"), [(20, 4, 4), (20, 2, 5), (20, 6, 3), (4, 5, 6), (12, 1, 3)])
def test_permutation_procrustes_is_the_best_of_all_permutations(n, p, q):
    for seed in range(3):
        x, y = RNG(seed).standard_normal((n, p)), RNG(seed + 50).standard_normal((n, q))
        distance = best_permutation(x, y)
        assert permutation_procrustes(x, y, form="euclidean") == pytest.approx(distance, rel=1e-12)
        assert permutation_procrustes(x, y) == pytest.approx(2 * np.arcsin(distance / 2), rel=1e-12)


def test_permuted_copies_are_at_zero_opposite_ones_at_the_bound_and_rotations_between():
    x = RNG(0).standard_normal((40, 6))
    assert permutation_procrustes(x, 5 * x[:, ::-1] - 1) < 1e-14
    assert permutation_procrustes(x, x) == 0
    assert permutation_procrustes(x, np.column_stack([x, np.ones(40)])[:, ::-1]) < 1e-14
    single = x[:, :1]
    assert permutation_procrustes(single, -single) == pytest.approx(np.pi, abs=1e-14)
    assert permutation_procrustes(single, -single, form="euclidean") == pytest.approx(2, abs=1e-14)
    rotation = np.linalg.qr(RNG(1).standard_normal((6, 6)))[0]
    assert permutation_procrustes(x, x @ rotation) > procrustes(x, x @ rotation) + 0.5


@pytest.mark.parametrize("size", [1e-4, 1e-8, 1e-12])
def test_permutation_angles_near_zero_and_pi_keep_their_digits(size):
    x = unit(RNG(0).standard_normal((40, 3)))
    change = centred(RNG(1).standard_normal((40, 3)))
    change -= x * (x * change).sum()
    expected = size * np.linalg.norm(change)
    tolerance = size + 1e-15 / size
    assert permutation_procrustes(x, (x + size * change)[:, [2, 0, 1]]) == pytest.approx(expected, rel=tolerance)
    one = unit(x[:, :1])
    change = change[:, :1] - one * (one * change[:, :1]).sum()
    gap = np.pi - permutation_procrustes(one, -one + size * change)
    assert gap == pytest.approx(size * np.linalg.norm(change), rel=tolerance, abs=1e-15)


def test_permutations_of_copies_of_features_are_matched_to_one_each():
    x = RNG(0).standard_normal((30, 3))
    doubled = x[:, [0, 0, 1, 2]]
    assert permutation_procrustes(doubled, doubled[:, [2, 0, 3, 1]]) < 1e-14
    # one copy is left over: its length is all that differs
    a, b = unit(doubled), padded(unit(x), 4)[:, [0, 3, 1, 2]]
    assert permutation_procrustes(doubled, x, form="euclidean") == pytest.approx(np.linalg.norm(a - b), rel=1e-12)


def test_permutations_of_inputs_that_are_not_numbers_are_nan_where_they_cannot_be_checked():
    x, y = (unit(each) for each in pair(10, 3, 4))
    x[0, 0] = np.nan
    with jax.enable_x64(True):
        a, b = jax.numpy.asarray(x), jax.numpy.asarray(y)
        assert np.isnan(jax.jit(PermutationProcrustes().compare)(a, b))


def test_permutations_keep_to_the_memory_budget(monkeypatch):
    monkeypatch.setenv("CONSILIENCE_MEMORY_GIB", "1e-5")
    with pytest.raises(ConsilienceError, match="matching 30 with 40 features"):
        permutation_procrustes(*pair(20, 30, 40))


# Cosines after rotation


@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize(("n", "p", "q"), [(30, 4, 4), (30, 3, 7), (30, 7, 3), (8, 25, 15)])
def test_aligned_cosine_is_the_mean_after_scipys_rotation(n, p, q, center):
    x, y = pair(n, p, q)
    a, b = (padded(centred(each) if center else each, max(p, q)) for each in (x, y))
    a = a @ orthogonal_procrustes(a, b)[0]
    cosines = [u @ v / np.linalg.norm(u) / np.linalg.norm(v) for u, v in zip(a, b, strict=True)]
    assert aligned_cosine(x, y, center=center) == pytest.approx(np.mean(cosines), rel=1e-11)


def test_rows_of_zeros_have_cosine_zero_unless_both_are():
    x, y = pair(20, 3, 3)
    x[0] = 0
    rest = aligned_cosine(x[1:], y[1:])
    assert aligned_cosine(x, y) == pytest.approx(19 / 20 * rest, rel=1e-12)
    y[0] = 0
    assert aligned_cosine(x, y) == pytest.approx(rest, rel=1e-12)
    assert aligned_cosine(x, x) == pytest.approx(1, abs=1e-14)


def test_aligned_cosine_of_low_rank_does_not_depend_on_an_arbitrary_rotation():
    x, y = pair(30, 2, 6)
    x = x @ RNG(2).standard_normal((2, 6))
    expected = float(aligned_cosine(x, y))
    for seed in range(4):
        rotation = np.linalg.qr(RNG(seed).standard_normal((6, 6)))[0]
        assert aligned_cosine(x @ rotation, y) == pytest.approx(expected, rel=1e-10)
    assert aligned_cosine(x, 2 * x) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("center", [False, True])
def test_one_long_row_does_not_decide_how_the_others_are_rotated(center):
    rng = RNG(0)
    x = rng.standard_normal((40, 8))
    y = x @ np.linalg.qr(rng.standard_normal((8, 8)))[0] + 0.1 * rng.standard_normal((40, 8))
    rest = aligned_cosine(x[1:], y[1:])
    assert rest > 0.95
    x[0], y[0] = 1e8 * x[0], 1e8 * y[0]
    assert aligned_cosine(x, x.copy(), center=center) == pytest.approx(1, abs=1e-12)
    if not center:
        assert aligned_cosine(x, y) == pytest.approx((39 * rest + 1) / 40, abs=0.01)
    x[0] /= 3e4
    single = jax.numpy.asarray(x, dtype=jax.numpy.float32)
    with jax.enable_x64(False) if hasattr(jax, "enable_x64") else jax.experimental.disable_x64():
        assert float(aligned_cosine(single, single + 0)) == pytest.approx(1, abs=1e-5)


def test_distances_of_copies_with_one_long_row_are_those_of_their_rounding():
    rng = RNG(0)
    x = rng.standard_normal((20, 7))
    x[0] *= 1e8
    rotation = np.linalg.qr(rng.standard_normal((7, 7)))[0]
    for distance in (bures, Procrustes(form="size_and_shape")):
        assert distance(x, x.copy()) < 1e-7
        assert distance(x, x @ rotation) < 1e-5  # a rounding of the long row is 1e-8
        moved = x + 1e-3 * rng.standard_normal(x.shape)
        assert 1e-3 < float(distance(x, moved)) < 1e-2 * np.sqrt(2)


def test_equal_rows_have_no_aligned_cosine():
    with pytest.warns(DegenerateWarning, match="every feature is constant"):
        assert np.isnan(aligned_cosine(RNG(0).standard_normal((10, 3)), np.full((10, 2), 3.0)))


WIDE = ["nbs", "pls", "procrustes", "bures", "shape_metric", "shape_metric(alpha=0.5)", "aligned_cosine"]


@pytest.mark.parametrize("label", WIDE)
def test_wide_representations_are_flagged_as_within_reach_of_a_rotation(label):
    measure = get_measure(label)
    x, y = pair(20, 50, 60)
    for a, b in ((x, y), (x[:, :20], y[:, :19])):
        with pytest.warns(DegenerateWarning, match=r"less one \(19\): a rotation brings even unrelated ones close"):
            measure(a, b)
    low = x[:, :9] @ RNG(2).standard_normal((9, 50))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for a, b in ((x, low), (low, y), (x[:, :18], y), (low[:, :20], y)):
            measure(a, b)


def test_biased_cka_is_flagged_where_chance_would_score_as_much():
    x, y = pair(50, 400, 400)
    with pytest.warns(DegenerateWarning, match=r"a score of 0\.89 on average"):
        get_measure("cka(estimator=biased)")(x, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        get_measure("cka")(x, y)
        get_measure("cka(estimator=biased)")(x[:, :10], y)


NOT_FOR_TWO = ["nbs", "pls", "ensd", "cka(estimator=biased)", "aligned_cosine(center=True)", "procrustes", "gulp"]


@pytest.mark.parametrize("label", [*NOT_FOR_TWO, "shape_metric", "shape_metric(alpha=0)"])
def test_two_samples_are_refused_where_they_all_score_the_same(label):
    x, y = pair(2, 3, 4)
    with pytest.raises(ConsilienceError, match="needs at least 3"):
        get_measure(label)(x, y)

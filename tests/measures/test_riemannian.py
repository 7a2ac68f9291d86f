from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import linalg, optimize

from consilience import ConsilienceError, pairwise, riemannian
from consilience.measures.riemannian import Riemannian
from consilience.registry import DegenerateWarning

RNG = np.random.default_rng
FROZEN = json.loads((Path(__file__).parents[1] / "golden" / "measures" / "rsa.json").read_text())


def related(n=14, p=4, q=5, seed=0):
    rng = RNG(seed)
    x = rng.standard_normal((n, p)) + 1
    return x, x @ rng.standard_normal((p, q)) + rng.standard_normal((n, q)) - 2


def distance(a, b):
    return np.sqrt((np.log(linalg.eigvalsh(b, a)) ** 2).sum())


def matrix(x, shrinkage, center, normalize):
    """From the definition; centred, in an orthonormal basis of what centring leaves."""
    n = len(x)
    s = x @ x.T
    if center:
        basis = linalg.null_space(np.ones((1, n)))  # (n, n − 1)
        s = basis.T @ s @ basis
    mean = np.trace(s) / len(s)
    s = (1 - shrinkage) * s + shrinkage * mean * np.eye(len(s))
    return s / mean if normalize else s


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("widths", [(4, 5), (4, 9), (4, 11), (4, 40), (30, 40)])
def test_it_equals_its_definition_for_all_widths(widths, center, normalize):
    x, y = related(p=widths[0], q=widths[1])
    options = {"center": center, "normalize": normalize}
    expected = distance(*(matrix(z, 0.1, **options) for z in (x, y)))
    assert riemannian(x, y, **options) == pytest.approx(expected, rel=1e-10)
    assert riemannian(y, x, **options) == pytest.approx(expected, rel=1e-10)


def test_unshrunk_distances_do_not_change_when_samples_are_mixed():
    rng = RNG(0)
    x, y = rng.standard_normal((8, 20)), rng.standard_normal((8, 25))
    mix = rng.standard_normal((8, 8)) + 3 * np.eye(8)
    options = {"shrinkage": 0.0, "center": False, "normalize": False}
    assert riemannian(mix @ x, mix @ y, **options) == pytest.approx(riemannian(x, y, **options), rel=1e-9)


def test_scale_counts_one_for_each_factor_e_and_direction():
    x, _ = related()
    scaled = riemannian(x, np.exp(0.5) * x, normalize=False)
    assert scaled == pytest.approx(np.sqrt(13), rel=1e-12)
    assert riemannian(x, np.exp(0.5) * x) < 1e-12


@pytest.mark.parametrize("size", [1e3, 1e-3, 1e6])
def test_scales_far_apart(size):
    x, y = related(q=40)
    options = {"center": True, "normalize": False}
    expected = distance(*(matrix(z, 0.1, **options) for z in (x, size * y)))
    assert riemannian(x, size * y, **options) == pytest.approx(expected, rel=1e-9)


def test_triangle_inequality():
    reps = [RNG(s).standard_normal((8, 1 + s)) for s in range(10)]
    d = pairwise(reps, "riemannian")
    assert (d[:, None, :] <= d[:, :, None] + d[None, :, :] + 1e-10).all()


def test_negative_riemannian_distance_of_rsatoolbox_is_a_minimum_over_scale_and_ridge_of_ours():
    rng = RNG(5)
    a = rng.standard_normal((8, 20))
    b = a @ rng.standard_normal((20, 20)) + rng.standard_normal((8, 20))
    frozen = FROZEN["negative_riemannian_distance"]["value"]
    s, t = (matrix(z, 0.0, True, False) / 20 for z in (a, b))

    def ridged(theta):
        return distance(t, np.exp(theta[0]) * s + np.exp(theta[1]) * np.eye(7))

    assert -optimize.minimize(ridged, (0, 0), method="Nelder-Mead").fun == pytest.approx(frozen, abs=1e-6)
    options = {"shrinkage": 0.0, "normalize": False}
    ours = riemannian(a, b, **options)
    assert ours == pytest.approx(ridged((0, -np.inf)), rel=1e-10)
    assert ours > -frozen


def test_a_singular_matrix_needs_shrinkage():
    x, y = related()
    with pytest.warns(DegenerateWarning, match="shrinkage"):
        assert np.isnan(riemannian(x, y, shrinkage=0.0))
    with pytest.raises(ConsilienceError, match=r"\[0, 1\)"):
        Riemannian(shrinkage=1.0)


def test_two_samples_differ_in_scale_alone():
    x, y = RNG(0).standard_normal((2, 2, 3))
    with pytest.raises(ConsilienceError, match="at least 3"):
        riemannian(x, y)
    assert riemannian(x, y, normalize=False) > 0


@pytest.mark.parametrize("shrinkage", [1e-300, 1e-16])
def test_shrinkage_below_rounding_is_refused(shrinkage):
    with pytest.raises(ConsilienceError, match="lost in the rounding"):
        Riemannian(shrinkage=shrinkage)


def test_constant_features_are_reported():
    x, _ = related()
    with pytest.warns(DegenerateWarning, match="constant"):
        assert np.isnan(riemannian(x, np.full((14, 3), 0.1)))
    with pytest.warns(DegenerateWarning, match="zero"):
        assert np.isnan(riemannian(x, np.zeros((14, 3)), center=False))

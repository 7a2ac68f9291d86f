from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import orthogonal_procrustes

from consilience import pairwise, procrustes
from consilience.measures.procrustes import Procrustes

RNG = np.random.default_rng


def unit(x):
    x = x - x.mean(0)
    return x / np.linalg.norm(x)


def padded(x, width):
    return np.pad(x, ((0, 0), (0, width - x.shape[1])))


@pytest.mark.parametrize(("n", "p", "q"), [(30, 4, 4), (30, 3, 7), (10, 25, 15), (10, 4, 40)])
def test_all_forms_equal_the_residual_of_scipys_rotation(n, p, q):
    x, y = RNG(0).standard_normal((n, p)), RNG(1).standard_normal((n, q))
    width = max(p, q)
    a, b = padded(x - x.mean(0), width), padded(y - y.mean(0), width)
    rotation, _ = orthogonal_procrustes(a, b)
    assert procrustes(x, y, form="size_and_shape") == pytest.approx(np.linalg.norm(a @ rotation - b), rel=1e-12)
    a, b = unit(a), unit(b)
    distance = np.linalg.norm(a @ orthogonal_procrustes(a, b)[0] - b)
    assert procrustes(x, y, form="euclidean") == pytest.approx(distance, rel=1e-12)
    assert procrustes(x, y, form="squared") == pytest.approx(distance**2, rel=1e-12)
    assert procrustes(x, y) == pytest.approx(np.arccos(1 - distance**2 / 2), rel=1e-12)


@pytest.mark.parametrize("size", [1e-2, 1e-5, 1e-9, 1e-12])
def test_angles_near_zero_keep_their_digits(size):
    x = unit(RNG(0).standard_normal((40, 5)))
    change = RNG(1).standard_normal((40, 5))
    change -= change.mean(0)
    # what remains of the change after removing scale and rotation, to first order
    change -= x * (x * change).sum()
    u, s, vt = np.linalg.svd(x, full_matrices=False)
    inner = u.T @ change @ vt.T
    antisymmetric = (s[:, None] * inner - (s[:, None] * inner).T) / (s[:, None] ** 2 + s[None, :] ** 2)
    expected = size * np.linalg.norm(change - u @ np.diag(s) @ antisymmetric @ vt)
    tolerance = 5 * size + 1e-15 / size
    assert procrustes(x, x + size * change) == pytest.approx(expected, rel=tolerance)


def test_rotated_copies_are_at_distance_zero_and_orthogonal_ones_at_the_bound():
    x = RNG(0).standard_normal((40, 5))
    rotation = np.linalg.qr(RNG(1).standard_normal((5, 5)))[0]
    assert procrustes(x, 3 * x @ rotation - 2) < 1e-14
    assert procrustes(x, x) < 1e-14
    basis = np.linalg.qr(np.column_stack([np.ones(10), RNG(2).standard_normal((10, 4))]))[0]
    assert procrustes(basis[:, 1:3], basis[:, 3:5]) == pytest.approx(np.pi / 2, abs=1e-14)


@pytest.mark.parametrize("form", ["angular", "euclidean", "size_and_shape"])
def test_the_metrics_satisfy_the_triangle_inequality(form):
    reps = [RNG(s).standard_normal((8, 1 + s % 4)) + RNG(0).standard_normal((8, 1)) for s in range(12)]
    d = pairwise(reps, Procrustes(form=form))
    assert (d[:, None, :] <= d[:, :, None] + d[None, :, :] + 1e-12).all()


def test_size_matters_only_for_size_and_shape():
    x = RNG(0).standard_normal((40, 5))
    norm = np.linalg.norm(x - x.mean(0))
    assert procrustes(x, 3 * x, form="size_and_shape") == pytest.approx(2 * norm, rel=1e-13)

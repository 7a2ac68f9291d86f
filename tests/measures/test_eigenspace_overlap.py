from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import orth, subspace_angles

from consilience import eigenspace_overlap
from consilience.registry import DegenerateWarning

RNG = np.random.default_rng


@pytest.mark.parametrize("center", [False, True])
def test_it_is_the_sum_of_squared_cosines_of_principal_angles(center):
    rng = RNG(0)
    x, y = rng.standard_normal((40, 5)) + 1, rng.standard_normal((40, 8)) - 1
    y[:, :3] += x[:, :3]
    a, b = (x - x.mean(0), y - y.mean(0)) if center else (x, y)
    expected = (np.cos(subspace_angles(orth(a), orth(b))) ** 2).sum() / 8
    assert eigenspace_overlap(x, y, center=center) == pytest.approx(expected, abs=1e-12)


def test_a_subspace_counts_by_the_wider_space_and_orthogonal_ones_not_at_all():
    basis = np.linalg.qr(RNG(0).standard_normal((30, 9)))[0]
    assert eigenspace_overlap(basis[:, :2], basis[:, :6]) == pytest.approx(1 / 3, abs=1e-14)
    assert eigenspace_overlap(basis[:, :3], basis[:, 3:]) == pytest.approx(0, abs=1e-14)


def test_rank_counts_and_not_width():
    x, y = RNG(0).standard_normal((30, 4)), RNG(1).standard_normal((30, 3))
    copied = np.column_stack([x, x, x @ RNG(2).standard_normal((4, 5))])
    assert eigenspace_overlap(copied, y) == pytest.approx(eigenspace_overlap(x, y), abs=1e-12)
    assert eigenspace_overlap(copied, x) == pytest.approx(1, abs=1e-12)


def test_mean_over_unrelated_spaces():
    rng = RNG(0)
    scores = [float(eigenspace_overlap(rng.standard_normal((30, 4)), rng.standard_normal((30, 6)))) for _ in range(500)]
    assert np.mean(scores) == pytest.approx(4 / 30, abs=4 * np.std(scores) / np.sqrt(500))


def test_spaces_that_fill_the_samples_are_reported():
    x, y = RNG(0).standard_normal((10, 10)), RNG(1).standard_normal((10, 12))
    with pytest.warns(DegenerateWarning, match="whatever they are"):
        assert eigenspace_overlap(x, y) == pytest.approx(1, abs=1e-12)
    with pytest.warns(DegenerateWarning, match="whatever they are"):
        assert eigenspace_overlap(x[:, :9], y[:, :9], center=True) == pytest.approx(1, abs=1e-12)


def test_zero_and_constant_features():
    y = RNG(1).standard_normal((10, 3))
    with pytest.warns(DegenerateWarning, match="zero"):
        assert np.isnan(eigenspace_overlap(np.zeros((10, 2)), y))
    with pytest.warns(DegenerateWarning, match="constant"):
        assert np.isnan(eigenspace_overlap(np.full((10, 2), 0.1), y, center=True))
    ones = np.full((10, 2), 0.1)
    expected = np.linalg.norm(orth(y).T @ np.full(10, 10**-0.5)) ** 2 / 3
    assert eigenspace_overlap(ones, y) == pytest.approx(expected, abs=1e-12)

"""Limits of floating-point numbers: scores whose bound of one is a theorem never exceed it; squares that overflow."""

from __future__ import annotations

import numpy as np
import pytest

from consilience import ConsilienceError, get_measure, pairwise
from consilience._array import within_one

BOUNDED = [
    "distance_correlation",
    "cka(estimator=lange)",
    "cka(estimator=biased)",
    "eigenspace_overlap",
    "cca",
    "cca(summary=mean_squared)",
    "svcca",
    "pls",
    "nbs",
    "rsa",
    "rsa(comparison=pearson)",
    "rsa(comparison=cosine)",
    "soft_matching",
    "correlation_matching",
    "correlation_matching(matching=soft)",
]


@pytest.mark.parametrize("name", BOUNDED)
def test_identical_representations_do_not_exceed_one(name):
    measure = get_measure(name)
    for seed in range(20):
        x = np.random.default_rng(seed).standard_normal((30, 6))
        scores = float(measure(x, x)), float(measure(x, -3 * x)), *np.ravel(pairwise([x, x + 0], measure)[0:1])
        assert max(scores) <= 1
        assert scores[0] == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(
    "name",
    [
        "bures",
        "procrustes(form=size_and_shape)",
        "riemannian(normalize=False)",
        "rsm_norm",
        "rsm_norm(norm=spectral)",
        "rsa(comparison=euclidean)",
        "soft_matching(form=distance)",
        "stress",
    ],
)
@pytest.mark.parametrize("scale", [1e200, 1e300])
def test_features_whose_squares_overflow_are_refused_where_scale_counts(name, scale):
    x, y = np.random.default_rng(0).standard_normal((2, 20, 4))
    measure = get_measure(name)
    with pytest.raises(ConsilienceError, match=r"y holds magnitudes up to .* divide all"):
        measure(x, y * scale)
    assert np.isfinite(measure(x * 1e100, y * 1e100))


def test_only_what_exceeds_one_is_changed_and_gradients_stay():
    beyond = 1 + 1e-15
    np.testing.assert_array_equal(within_one(np.array([beyond, -beyond, 0.3, np.nan])), [1, -1, 0.3, np.nan])
    torch = pytest.importorskip("torch")
    score = torch.tensor(beyond, dtype=torch.float64, requires_grad=True)
    within_one(score).backward()
    assert score.grad == 1

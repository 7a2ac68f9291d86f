"""Pairs of representations for tests of statistics."""

from __future__ import annotations

import numpy as np

from consilience import get_measure

# Every measure with a shortcut for rows left out or reordered, in options that go different ways.
LEAVES_OUT = [
    "cka",
    "cka(estimator=biased)",
    "cka(estimator=lange)",
    "cka(estimator=depcols)",
    "hsic",
    "hsic(estimator=biased)",
    "distance_correlation",
    "distance_correlation(estimator=bias_corrected)",
    "mutual_knn(k=3)",
    "mutual_knn(k=3, adjusted=True, metric=euclidean)",
    "knn_jaccard(k=3)",
    "rank_similarity(k=4)",
    "joint_rank_jaccard(k=4)",
    "lcs_knn(k=4)",
    "edit_distance_knn(k=4)",
    "information_imbalance",
    "information_imbalance(k=3, normalized=True)",
    "information_imbalance(k=2, summary=mean)",
    "rsa",
    "rsa(comparison=pearson)",
    "rsa(comparison=cosine)",
    "rsa(comparison=euclidean, rdm=sqeuclidean)",
    "rsa(rdm=correlation)",
    "rsa(rdm=gaussian)",
    "rsa(rdm=poisson, comparison=pearson)",
    "output_correlation",
]
REORDERS = [
    *LEAVES_OUT,
    "cka(kernel=rbf)",
    "cka(kernel=laplace, estimator=biased)",
    "hsic(kernel=rbf)",
    "procrustes",
    "procrustes(form=size_and_shape)",
    "nbs",
    "bures",
    "shape_metric(alpha=0.5)",
    "cca",
    "cca(summary=mean_squared)",
    "cca(summary=mean_squared, reg=0.1)",
    "svcca",
    "pwcca",
    "cycle_knn",
    "rsa(comparison=tau_b)",
    "rsa(comparison=rho_a)",
    "rsa(comparison=whitened_cosine, rdm=sqeuclidean)",
    "rsa(comparison=whitened_pearson, rdm=sqeuclidean)",
    "rsa(rdm=mahalanobis, shrinkage=0.1)",
]


def related(measure="cka", *, n=24, widths=(4, 6), seed=0):
    """Two related representations of positive numbers, as all measures above take them."""
    rng = np.random.default_rng(seed)
    if get_measure(measure).outputs_only:
        widths = (widths[0], widths[0])
    latent = rng.standard_normal((n, 3))
    return tuple(
        np.abs(latent @ rng.standard_normal((3, width)) + rng.standard_normal((n, width))) + 0.1 for width in widths
    )


def gaussian(rng, n, d, squared):
    """Two representations whose true linear CKA is `squared`."""
    scale = np.arange(1, d + 1.0) ** -0.5
    u, v = rng.standard_normal((2, n, d))
    return u * scale, (squared**0.5 * u + (1 - squared) ** 0.5 * v) * scale

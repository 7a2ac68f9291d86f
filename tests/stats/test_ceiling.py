from __future__ import annotations

import numpy as np
import pytest

from consilience.errors import ConsilienceError
from consilience.stats import noise_ceiling


def cosines(rng, members, truth, noise, d=400):
    """Cosines of members' vectors: a part of the group, `truth` the cosine of the two groups', plus noise."""
    first, other = np.linalg.qr(rng.standard_normal((d, 2)))[0].T * d**0.5
    centres = np.stack([first, truth * first + (1 - truth**2) ** 0.5 * other])
    group = np.repeat([0, 1], members)
    x = centres[group] + np.asarray(noise)[group][:, None] * rng.standard_normal((2 * members, d))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return x @ x.T, group


def test_shares_are_the_cosines_without_noise_and_intervals_cover():
    rng, runs, truth = np.random.default_rng(0), 400, 0.6
    found = [noise_ceiling(*cosines(rng, 6, truth, (0.5, 1.5))) for _ in range(runs)]
    share = np.array([one.share for one in found])
    assert share.mean() == pytest.approx(truth, abs=4 * share.std() / runs**0.5 + 0.002)  # ratios have a bias of 1/d
    assert np.mean([one.between for one in found]) < 0.35  # far below, uncorrected
    covered = np.mean([one.low <= truth <= one.high for one in found])
    assert covered > 0.95 - 4 * (0.05 * 0.95 / runs) ** 0.5


def test_replicates_of_one_kind_reach_the_ceiling():
    scores, group = cosines(np.random.default_rng(1), 8, 1.0, (0.7, 0.7))
    found = noise_ceiling(scores, group)
    assert found.low < 1 < found.high
    assert found.high - found.low < 0.2
    swapped = noise_ceiling(scores, 1 - group)
    assert swapped.within == found.within[::-1]
    assert (swapped.share, swapped.low) == pytest.approx((found.share, found.low))


def test_what_cannot_be_told():
    scores = np.full((4, 4), 0.5)
    two = noise_ceiling(scores, ["a", "a", "b", "b"])
    assert two.share == pytest.approx(1)
    assert np.isnan([two.low, two.high]).all()
    assert np.isnan(noise_ceiling(-scores, [0, 0, 1, 1]).share)
    for bad, group, match in [
        (scores, [0, 0, 1], "one label each"),
        (scores, [0, 0, 0, 1], "two groups of two"),
        (scores, [0, 1, 2, 2], "3 groups"),
        (np.where(np.arange(16).reshape(4, 4) == 1, np.nan, scores), [0, 0, 1, 1], "members 0 and 1"),
        (scores + np.arange(4), [0, 0, 1, 1], "symmetric"),
    ]:
        with pytest.raises(ConsilienceError, match=match):
            noise_ceiling(bad, group)

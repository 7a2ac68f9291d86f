from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
import pytest

from consilience.plan import PARTS
from consilience.registry import get_measure
from consilience.values import scores_by_part

MEMBERS = 4
PAIRS = list(itertools.combinations(range(MEMBERS), 2))
N_PROBE = 250
DRAWS = 200
# Scores vary a little more, or less, than as one over the number of samples, and parts have fewer. Measured for the
# networks below with 2000 draws, ± .02, standard errors are 1.03, 1.02, 1.04, 1.24 and 1.16 standard deviations.
FINITE_SIZE = {
    "cka": 0.03,
    "procrustes": 0.02,
    "output_correlation": 0.04,
    "mutual_knn": 0.24,
    "information_imbalance": 0.16,
}


class Ensemble(NamedTuple):
    """Networks of one hidden layer, alike in a part of their weights."""

    first: np.ndarray  # (members, inputs, hidden)

    def __call__(self, inputs):
        return [np.tanh(inputs @ weights).astype(np.float32) for weights in self.first]


@pytest.fixture(scope="module")
def networks():
    rng = np.random.default_rng(0)
    shared, own = rng.standard_normal((8, 6)), rng.standard_normal((MEMBERS, 8, 6))
    return Ensemble((shared + own) / 8**0.5)


def scores_of(reps, measure):
    both = [(float(measure(reps[a], reps[b])), float(measure(reps[b], reps[a]))) for a, b in PAIRS]
    return np.mean(both, axis=1)


def se_of(parts):
    return parts.std(ddof=1) / PARTS**0.5


@pytest.mark.parametrize("name", FINITE_SIZE)
def test_spread_over_parts_is_that_over_fresh_probe_sets(name, networks):
    rng = np.random.default_rng(1)
    measure = get_measure(name)
    means, variances = [], []
    for _ in range(DRAWS):
        reps = networks(rng.standard_normal((N_PROBE, 8)))
        scores = scores_of(reps, measure)
        means.append(scores.mean())
        variances.append(se_of(scores_by_part(reps, measure, scores)) ** 2)
    ratio = np.sqrt(np.mean(variances)) / np.std(means, ddof=1)
    # Relative standard errors of the two variances; a standard deviation has half of that.
    noise = 0.5 * np.hypot(np.std(variances) / np.mean(variances) / DRAWS**0.5, (2 / (DRAWS - 1)) ** 0.5)
    assert abs(ratio - 1) < 4 * noise + FINITE_SIZE[name]


def test_pseudo_values_of_a_mean_over_samples_are_the_means_of_the_parts(networks):
    """The jackknife of a plain mean is exact: disagreement counts samples."""
    rng = np.random.default_rng(2)
    reps = [np.eye(3)[rng.integers(3, size=100)] for _ in range(MEMBERS)]
    measure = get_measure("disagreement")
    found = scores_by_part(reps, measure, scores_of(reps, measure))
    expected = [scores_of([x[part::PARTS] for x in reps], measure).mean() for part in range(PARTS)]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize(("name", "n", "alone"), [("mutual_knn", 250, True), ("mutual_knn", 249, False)])
def test_all_against_all_is_measured_on_parts_alone_where_they_are_large_enough(name, n, alone, networks):
    reps, measure = networks(np.random.default_rng(3).standard_normal((n, 8))), get_measure(name)
    scores, part_of = scores_of(reps, measure), np.arange(n) % PARTS
    on_rows = [scores_of([x[(part_of == part) == alone] for x in reps], measure).mean() for part in range(PARTS)]
    expected = np.array(on_rows) if alone else PARTS * scores.mean() - (PARTS - 1) * np.array(on_rows)
    np.testing.assert_allclose(scores_by_part(reps, measure, scores), expected, rtol=1e-12)


def test_linear_kernels_are_left_out_of_and_others_measured_on_parts(networks):
    reps = networks(np.random.default_rng(4).standard_normal((N_PROBE, 8)))
    left_out, alone = (np.arange(N_PROBE) % PARTS == 0) == np.array([[False], [True]])
    for measure, rows in ((get_measure("cka"), left_out), (get_measure("cka", kernel="rbf"), alone)):
        scores = scores_of(reps, measure)
        on_rows = scores_of([x[rows] for x in reps], measure).mean()
        expected = on_rows if rows is alone else PARTS * scores.mean() - (PARTS - 1) * on_rows
        assert scores_by_part(reps, measure, scores)[0] == pytest.approx(expected, rel=1e-9)


def test_a_pair_without_a_score_is_left_out_of_all_parts(networks):
    reps = networks(np.random.default_rng(5).standard_normal((50, 8)))
    dead = reps[0].copy()
    dead[np.arange(50) % PARTS != 2] = 0.0  # without part 2 nothing varies: three of six pairs go
    measure = get_measure("procrustes")
    found = scores_by_part([dead, *reps[1:]], measure, scores_of([dead, *reps[1:]], measure))
    scores = np.array([float(measure(reps[a], reps[b])) for a, b in PAIRS[3:]])
    without = [
        np.mean([float(measure(reps[a][rows], reps[b][rows])) for a, b in PAIRS[3:]])
        for rows in (np.arange(50) % PARTS != part for part in range(PARTS))
    ]
    np.testing.assert_allclose(found, PARTS * scores.mean() - (PARTS - 1) * np.array(without), rtol=1e-9)


def test_where_nothing_can_be_said_parts_are_nan(networks):
    rng = np.random.default_rng(6)
    few = networks(rng.standard_normal((9, 8)))
    procrustes = get_measure("procrustes")
    assert np.isnan(scores_by_part(few, procrustes, scores_of(few, procrustes))).all()
    reps = networks(rng.standard_normal((14, 8)))
    knn = get_measure("mutual_knn")  # 14 rows are enough for ten neighbours, the 11 left without a part are not
    assert np.isnan(scores_by_part(reps, knn, np.ones(len(PAIRS)))).all()
    assert np.isnan(scores_by_part(reps, procrustes, np.full(len(PAIRS), np.nan))).all()
    single = [np.zeros((20, 2)) for _ in range(MEMBERS)]
    assert np.isnan(scores_by_part(single, procrustes, np.zeros(len(PAIRS)))).all()

"""Synthetic sources: population moments are what they claim, and so is the linear truth."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate
from scipy import stats as scipy_stats

from consilience.data import GaussianMixture, LinearTeacher, MLPTeacher, SyntheticSource, Table
from consilience.data.teachers import _tanh_moments
from consilience.errors import ConsilienceError

N = 100_000
LINEAR = [
    LinearTeacher(n_features=6),
    LinearTeacher(n_features=8, covariance="power-law", exponent=1.2, n_outputs=3),
    LinearTeacher(n_features=8, covariance="power-law", exponent=0.5, n_outputs=2, misfit=0.4),
]
TEACHERS = [*LINEAR, MLPTeacher(n_features=5, hidden=8, n_outputs=2), MLPTeacher(n_features=3, hidden=4, gain=6)]
EVERY = [*TEACHERS, GaussianMixture(n_features=6, n_classes=4, separation=2.0)]


def within(sample: np.ndarray, expected: np.ndarray | float, *, se: float = 4.5) -> None:
    """Columns of (n, …) have the expected mean, to standard errors of the sample itself."""
    error = sample.std(axis=0) / np.sqrt(len(sample))
    np.testing.assert_array_less(np.abs(sample.mean(axis=0) - expected), se * error + 1e-12)


@pytest.mark.parametrize("source", EVERY, ids=repr)
def test_inputs_have_mean_zero_and_mean_variance_one(source: SyntheticSource) -> None:
    x = source.sample(N, seed=0).inputs
    within(x, 0.0)
    within(np.mean(x**2, axis=1), 1.0)


@pytest.mark.parametrize("source", TEACHERS, ids=repr)
def test_targets_have_mean_zero_and_unit_variance(source: SyntheticSource) -> None:
    y = source.sample(N, seed=0).targets
    within(y, 0.0)
    within(y**2, 1.0)


@pytest.mark.parametrize("source", TEACHERS, ids=repr)
def test_truth_is_the_best_linear_map_and_misfit_what_it_leaves(source: SyntheticSource) -> None:
    table = source.sample(N, seed=3)
    truth = table.truth
    assert truth is not None
    within(table.inputs**2, truth.eigenvalues)
    residual = table.targets - table.inputs @ truth.beta.T  # (n, k)
    within(np.mean(residual**2, axis=1), truth.misfit)
    within(residual[:, :, None] * table.inputs[:, None, :], 0.0)  # uncorrelated with every input
    linear = truth.beta**2 @ truth.eigenvalues
    assert np.mean(linear) + truth.misfit == pytest.approx(1, abs=1e-12)


def test_without_misfit_targets_are_exactly_linear() -> None:
    table = LINEAR[1].sample(50, seed=0)
    assert table.truth is not None
    np.testing.assert_allclose(table.targets, table.inputs @ table.truth.beta.T, atol=1e-13)


def test_nonlinear_parts_of_outputs_are_uncorrelated() -> None:
    table = LINEAR[2].sample(N, seed=0)
    assert table.truth is not None
    misfit = table.targets - table.inputs @ table.truth.beta.T
    within(misfit[:, 0] * misfit[:, 1], 0.0)


def test_power_law_has_the_exponent_asked_for() -> None:
    eigenvalues = LinearTeacher(n_features=50, covariance="power-law", exponent=1.3).truth(seed=0).eigenvalues
    slope = np.polyfit(np.log(np.arange(1, 51)), np.log(eigenvalues), 1)[0]
    assert slope == pytest.approx(-1.3)
    assert eigenvalues.mean() == pytest.approx(1)


def test_linear_truth_is_that_of_the_samples() -> None:
    truth, table = LINEAR[1].truth(seed=4), LINEAR[1].sample(3, seed=4)
    assert table.truth is not None
    np.testing.assert_array_equal(truth.beta, table.truth.beta)


@pytest.mark.parametrize("gain", [0.3, 2.0, 8.0])
def test_tanh_moments_against_integrals_over_the_plane(gain: float) -> None:
    w = np.array([[1.0, 0.5], [-0.3, 1.2], [0.8, -0.9]]) * gain
    covariance, slope = _tanh_moments(w)
    axis = np.linspace(-8, 8, 1601)
    x = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1)  # (nodes, nodes, 2)
    density = scipy_stats.norm.pdf(axis)[:, None] * scipy_stats.norm.pdf(axis)

    def expectation(values: np.ndarray) -> float:
        return float(integrate.simpson(integrate.simpson(values * density, x=axis), x=axis))

    hidden = np.tanh(x @ w.T)  # (nodes, nodes, 3)
    for i in range(3):
        assert slope[i] == pytest.approx(expectation(1 - hidden[..., i] ** 2), rel=1e-5)
        for j in range(3):
            assert covariance[i, j] == pytest.approx(expectation(hidden[..., i] * hidden[..., j]), abs=1e-5)


def test_a_teacher_with_small_gain_is_linear_and_with_large_gain_is_not() -> None:
    misfits = [MLPTeacher(gain=gain).sample(1, seed=0).truth.misfit for gain in (0.05, 1, 2, 5)]  # type: ignore[union-attr]
    assert misfits[0] < 1e-5
    assert misfits == sorted(misfits)
    assert misfits[-1] > 0.2


def test_mixture_has_equidistant_centres_round_clouds_and_the_bayes_error_of_two() -> None:
    source = GaussianMixture(n_features=6, n_classes=4, separation=3.0)
    table = source.sample(N, seed=0)
    scale = np.sqrt(1 + 9 * 0.75 / 12)
    clouds = [table.inputs[table.targets == c] * scale for c in range(4)]
    for cloud in clouds:
        within((cloud - cloud.mean(axis=0)) ** 2, len(cloud) / len(cloud), se=5)
    for a in range(4):
        for b in range(a):
            distance = np.linalg.norm(clouds[a].mean(axis=0) - clouds[b].mean(axis=0))
            assert distance == pytest.approx(3, abs=5 * np.sqrt(2 * 4 / N))
    assert scipy_stats.chisquare(np.bincount(table.targets)).pvalue > 1e-3

    two = GaussianMixture(n_features=3, n_classes=2, separation=2.0).sample(N, seed=0)
    means = np.stack([two.inputs[two.targets == c].mean(axis=0) for c in range(2)])
    wrong = ((two.inputs - means.mean(axis=0)) @ (means[1] - means[0]) > 0) != (two.targets == 1)
    p = scipy_stats.norm.cdf(-1)
    assert abs(wrong.mean() - p) < 4 * np.sqrt(p * (1 - p) / N)


@pytest.mark.parametrize("source", EVERY, ids=repr)
def test_longer_draws_begin_with_shorter_ones_and_seeds_differ(source: SyntheticSource) -> None:
    def arrays(table: Table) -> list[np.ndarray]:
        return [table.inputs, table.targets.astype(float)]

    short, long, other = source.sample(10, seed=0), source.sample(97, seed=0), source.sample(10, seed=1)
    for a, b, c in zip(arrays(short), arrays(long), arrays(other), strict=True):
        # Products with a matrix may round differently for another number of rows.
        np.testing.assert_allclose(a, b[:10], rtol=1e-12, atol=1e-13)
        assert not np.array_equal(a, c)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LinearTeacher(n_features=0), r"^n_features = 0: must be 1 or more"),
        (lambda: LinearTeacher(n_features=2, n_outputs=3), r"^n_outputs = 3: more than n_features = 2"),
        (lambda: LinearTeacher(misfit=1.0), r"^misfit = 1.0"),
        (lambda: LinearTeacher(misfit=float("nan")), r"^misfit = nan"),
        (lambda: LinearTeacher(exponent=-1), r"^exponent = -1"),
        (lambda: LinearTeacher(covariance="cubic"), r"^covariance = 'cubic'"),  # type: ignore[arg-type]
        (lambda: MLPTeacher(hidden=0), r"^hidden = 0"),
        (lambda: MLPTeacher(gain=0), r"^gain = 0"),
        (lambda: GaussianMixture(n_classes=1), r"^n_classes = 1"),
        (lambda: GaussianMixture(n_features=3, n_classes=4), r"^n_features = 3: 4 equidistant centres"),
        (lambda: GaussianMixture(separation=-1), r"^separation = -1"),
    ],
)
def test_impossible_options_are_refused(make: object, message: str) -> None:
    with pytest.raises(ConsilienceError, match=message):
        make()  # type: ignore[operator]

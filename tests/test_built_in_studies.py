"""The built-in studies show what they are said to show."""

import os
from pathlib import Path

import numpy as np
import pytest

from consilience import theory
from consilience.data import prepare
from consilience.stats import member_mean, pair_mean
from consilience.study import Study, built_in_studies

D = 100  # dimensions of the linear teacher
# Around the threshold the smallest singular value of one draw of inputs decides, and theory is an average.
NEAR_THRESHOLD = 0.1 * D
# Standard errors over members that a measurement may lie from theory, beside what one draw of inputs may do.
STANDARD_ERRORS = 3.0
FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")


def scores(run, layer, measure, **at):
    """Mean over pairs and its standard error, (snr, n_train)."""
    chosen = run.alignment.sel(layer=layer, measure=measure, **at)
    return pair_mean(chosen.values, run.member_a.values, run.member_b.values)


@pytest.fixture(scope="module")
def linear(tmp_path_factory):
    study = Study.load("linear", **{"grid.train.solver": ["exact"]})
    return study.run(tmp_path_factory.mktemp("linear") / "run").squeeze("train.solver")


def allowance(run, measure):
    """One standard deviation, over draws of inputs and noise, of what the study measures at each cell.

    The named finite-size allowance: theory gives the average over draws of the inputs, a study has one draw.
    """
    study = Study.load("linear")
    truth = prepare(study.data.source, n_train=study.grid.n_train, n_test=4, n_probe=4, seed=study.seed).truth
    spread = theory.finite_size_allowance(
        truth.eigenvalues, truth.beta, run.n_train.values, run.snr.values, members=study.grid.members
    )
    return spread.output_correlation if measure == "output_correlation" else spread.output_cka


@pytest.mark.parametrize(
    ("layer", "measure"), [("output", "output_correlation"), ("output", "cka"), ("hidden_1", "cka")]
)
def test_linear_networks_are_as_aligned_as_theory_says(linear, layer, measure):
    found = scores(linear, layer, measure)
    predicted = linear.predicted.sel(layer=layer, measure=measure).values
    away = np.abs(linear.n_train.values - D) >= NEAR_THRESHOLD
    allowed = STANDARD_ERRORS * found.se + allowance(linear, measure)
    assert np.isfinite(predicted).all()
    assert (np.abs(found.mean - predicted) <= allowed + 1e-9)[:, away].all()
    assert allowed[:, away].max() < 0.35  # the allowance does not swallow the effect: the curves span 0 to 1


def test_linear_networks_are_least_aligned_at_the_threshold(linear):
    means = scores(linear, "output", "output_correlation").mean
    noisy = np.isfinite(linear.snr.values)
    assert (linear.n_train.values[means[noisy].argmin(axis=1)] == D).all()


def test_linear_networks_agree_more_the_larger_the_snr(linear):
    assert (
        np.diff(scores(linear, "output", "output_correlation").mean, axis=0)[:, linear.n_train.values != D] > 0
    ).all()


def test_linear_test_error_is_as_theory_says(linear):
    # A ratio of chi-squares: the test error of one draw of inputs scatters by about √(2/n) around its mean.
    away = np.abs(linear.n_train.values - D) >= 0.2 * D
    found = member_mean(linear.test_error.values).mean[:, away]
    predicted = linear.predicted_error.values[:, away]
    scatter = 4 * np.sqrt(2 / linear.n_train.values[away])
    assert (np.abs(found - predicted) <= scatter * predicted + 1e-9).all()


def test_gradient_descent_gives_the_networks_of_the_closed_form(tmp_path):
    n_train = [10, 60, 90, 120, 400]
    grid = {"grid.members": 3, "grid.n_train": n_train, "grid.snr": [1, float("inf")]}
    run = Study.load("linear", **grid).run(tmp_path / "run")
    exact, gradient = (run.sel({"train.solver": solver}) for solver in ("exact", "gradient"))
    # The initial weights, 0.002 in scale, leave a part of that size in directions no sample constrains.
    assert float(abs(exact.alignment - gradient.alignment).max()) < 0.002
    np.testing.assert_allclose(exact.test_error, gradient.test_error, rtol=0.005, atol=1e-4)
    assert bool((exact.converged == gradient.converged).all())


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    grid = {"grid.snr": [0.25, 1, float("inf")], "measure.measures": ["cka"]}
    return Study.load("demo", **grid).run(tmp_path_factory.mktemp("demo") / "run")


def test_demo_dips_where_the_noisy_training_set_stops_being_fitted(demo):
    for snr in (0.25, 1.0):
        at = demo.sel(snr=[snr])
        found = scores(at, "hidden_1", "cka")
        mean, se = found.mean[0], found.se[0]
        lowest = int(mean.argmin())
        assert 0 < lowest < len(mean) - 1
        for end in (0, -1):
            assert mean[end] - mean[lowest] > 3 * np.hypot(se[end], se[lowest])
        unfitted = at.train_error.mean("member").values[0] > 0.01
        assert abs(lowest - int(unfitted.argmax())) <= 2  # of the eight sizes, each twice the one before


def test_demo_is_more_aligned_without_noise(demo):
    found = scores(demo, "hidden_1", "cka")
    assert (found.mean[-1, 3:] > found.mean[0, 3:] + 3 * np.hypot(found.se[-1, 3:], found.se[0, 3:])).all()


def test_fashion_is_least_aligned_between_800_and_1500_samples(tmp_path):
    if not FASHION_MNIST.is_dir():
        if os.environ.get("CONSILIENCE_REQUIRE_FASHION_MNIST") == "1":
            pytest.fail(f"{FASHION_MNIST} is required here and is not there")
        pytest.skip("needs Debian's dataset-fashion-mnist")
    grid = {"grid.snr": [0.25, float("inf")], "grid.n_train": [10, 800, 1500, 20000], "grid.members": 5}
    run = Study.load("fashion", **grid, **{"measure.measures": ["cka"]}).run(tmp_path / "run")
    noisy, clean = scores(run, "hidden_1", "cka").mean
    dip = noisy[1:3].mean()
    assert dip < 0.45
    assert min(noisy[0], noisy[3]) > dip + 0.3
    assert clean.min() > 0.8


@pytest.mark.parametrize("name", sorted(built_in_studies()))
def test_built_in_study_says_in_its_first_comment_what_it_shows(name):
    assert built_in_studies()[name].read_text(encoding="utf-8").startswith("# ")

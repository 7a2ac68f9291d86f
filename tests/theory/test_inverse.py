"""Inverse questions: the closed form they invert, windows, and what has no answer."""

from __future__ import annotations

import numpy as np
import pytest

from consilience.errors import ConsilienceError
from consilience.theory import alignment, predict, required_n, required_snr

D = 100
FLAT = np.ones(D), np.full(D, 0.1)
STEEP = 1 / np.arange(1, D + 1.0), np.ones(D)


def isotropic_n(target, snr):
    """ρ = SNR/(SNR + d/|n−d|) reaches t where |n−d| = d t/((1−t) SNR)."""
    return D * target / ((1 - target) * snr)


@pytest.mark.parametrize(("target", "snr"), [(0.3, 1.0), (0.45, 1.0), (0.5, 1.0), (0.8, 0.5), (0.95, 10.0)])
def test_isotropic_answers_are_closed_form(target, snr):
    found = required_n(target, *FLAT, snr=snr)
    distance = isotropic_n(target, snr)
    assert found.exists
    assert found.n == np.ceil(D + distance - 1e-6)
    window = D - distance
    if window >= 1:
        assert found.first == 1
        assert found.until == np.floor(window + 1e-6)
        assert "lost around the interpolation threshold" in found.reason[0]
    else:
        assert found.first == found.n


@pytest.mark.parametrize("teacher", [FLAT, STEEP], ids=["flat", "steep"])
@pytest.mark.parametrize("ridge", [0.0, 1e-3, 1.0])
@pytest.mark.parametrize("misfit", [0.0, 0.5])
def test_from_n_on_alignment_stays_above_the_target(teacher, ridge, misfit):
    found = required_n(0.7, *teacher, snr=[0.5, 2.0], ridge=ridge, misfit=misfit, n_max=4000)
    for i, snr in enumerate([0.5, 2.0]):
        sizes = np.arange(1, 4001)
        rho = alignment(*teacher, sizes, snr=snr, ridge=ridge, misfit=misfit).alignment
        below = np.flatnonzero(rho < 0.7 - 1e-9)
        assert found.n[i] == (sizes[below[-1]] + 1 if len(below) else 1)
        assert found.first[i] == sizes[np.argmax(rho >= 0.7 - 1e-9)]


def test_a_target_beyond_every_n_says_so():
    found = required_n(0.9, *FLAT, snr=1.0, n_max=500)
    assert not found.exists
    assert found.n == found.first == np.inf
    assert "not reached up to n_train = 500: at most 0.8" in found.reason[0]


def test_a_window_without_return_says_so():
    found = required_n(0.45, *FLAT, snr=1.0, n_max=150)
    assert not found.exists
    assert (found.first, found.until, found.n) == (1, 18, np.inf)
    assert "not kept" in found.reason[0]


def test_no_noise_needs_one_sample():
    found = required_n(1.0, *FLAT, snr=np.inf)
    assert found.n == found.first == 1
    assert found.reason == ("alignment 1 is reached at every n_train",)


@pytest.mark.parametrize("teacher", [FLAT, STEEP], ids=["flat", "steep"])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("correlation", [0.0, 0.3])
def test_required_snr_gives_the_target_back(teacher, shared, correlation):
    sizes = [300, 3000]
    options = {"ridge": 1e-3, "misfit": 0.2, "shared_inputs": shared, "noise_correlation": correlation}
    found = required_snr(0.6, sizes, *teacher, **options)
    for n, snr, exists in zip(sizes, found.snr, found.exists, strict=True):
        assert exists
        assert alignment(*teacher, n, snr=snr, **options).alignment == pytest.approx(0.6, abs=1e-9)


def test_required_snr_of_isotropic_inputs():
    found = required_snr([0.5][0], [50, 100, 200, 1100], *FLAT)
    np.testing.assert_allclose(found.snr, [2, np.inf, 1, 0.1])
    assert "without noise" in found.reason[1]


def test_inputs_of_their_own_limit_what_can_be_reached():
    found = required_snr(0.8, 50, *FLAT, shared_inputs=False)
    assert not found.exists
    assert np.isnan(found.snr)
    assert found.limit == pytest.approx(alignment(*FLAT, 50, noise=0.0, shared_inputs=False).alignment)
    assert "out of reach" in found.reason[0]


def test_shared_noise_gives_its_correlation_at_any_level():
    found = required_snr(0.2, 300, *FLAT, noise_correlation=0.5)
    assert found.snr == 0
    assert "whatever the noise" in found.reason[0]


@pytest.fixture(scope="module")
def prediction():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3000, 30))
    return predict(x, x @ rng.standard_normal(30) + rng.standard_normal(3000), [0.5, 2.0], [10, 60, 300, 1000])


def test_a_prediction_is_a_source(prediction):
    """Its own grid is met: the shift between rows and formulas is exact there but for its mean over SNR."""
    for i, snr in enumerate([0.5, 2.0]):
        for j, n in enumerate([60, 300, 1000]):
            target = float(prediction.alignment[i, j + 1])
            assert required_snr(target, n, prediction).snr == pytest.approx(snr, rel=0.15)
            assert required_n(target, prediction, snr=snr).n == pytest.approx(n, rel=0.1)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda p: required_n(0.0, *FLAT, snr=1.0), "target_alignment"),
        (lambda p: required_n(0.5, FLAT[0], snr=1.0), "beta is missing"),
        (lambda p: required_n(0.5, *FLAT), "neither of noise and snr"),
        (lambda p: required_n(0.5, p, FLAT[1], snr=1.0), "leave these arguments out"),
        (lambda p: required_snr(0.5, 10, p, ridge=1.0), "leave these arguments out"),
        (lambda p: required_snr(0.5, 10, FLAT[0], np.zeros(D)), "beta is zero"),
        (lambda p: required_snr(0.5, 0, *FLAT), "n_train"),
    ],
)
def test_wrong_questions(prediction, call, said):
    with pytest.raises(ConsilienceError, match=said):
        call(prediction)

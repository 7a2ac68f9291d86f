"""Values that other implementations agree on, to the digits in which they agree."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from consilience import Stream, get_measure

FOLDER = Path(__file__).parents[1] / "golden" / "measures"
ENTRIES = [entry for path in sorted(FOLDER.glob("*.json")) for entry in json.loads(path.read_text())["scores"]]


def golden_inputs():
    rng = np.random.default_rng(0)
    n, dx, dy = 60, 10, 12
    z = rng.standard_normal((n, 6))
    x = z @ rng.standard_normal((6, dx)) + 0.7 * rng.standard_normal((n, dx)) + 1.5
    y = z @ rng.standard_normal((6, dy)) + 0.7 * rng.standard_normal((n, dy)) - 0.5
    return x, y


def tolerance(value):
    """Half a unit in the last printed digit, which for a whole double is its rounding."""
    digits = len(str(value).partition(".")[2])
    return 1e-12 * max(1, abs(value)) if digits > 12 or digits <= 2 else 0.5000001 * 10**-digits


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry["label"])
def test_golden_value(entry):
    x, y = golden_inputs()
    measure = get_measure(entry["label"])
    assert float(measure(x, y)) == pytest.approx(entry["value"], abs=tolerance(entry["value"]), rel=0)
    if "swapped" in entry:
        assert float(measure(y, x)) == pytest.approx(entry["swapped"], abs=tolerance(entry["swapped"]), rel=0)


def test_golden_inputs_are_the_published_ones():
    x, y = golden_inputs()
    assert x.sum() == pytest.approx(924.7166653644105, abs=1e-9)
    assert y.sum() == pytest.approx(-137.08189104746089, abs=1e-9)


def test_normalized_bures_similarity_is_the_cosine_of_the_angle():
    x, y = golden_inputs()
    assert np.cos(get_measure("procrustes")(x, y)) == pytest.approx(0.8164985188450843, abs=1e-13)


def test_angle_of_biased_cka():
    x, y = golden_inputs()
    assert np.arccos(get_measure("cka", estimator="biased")(x, y)) == pytest.approx(0.8614437177, abs=1e-10)


def test_one_minus_the_cosine_of_the_angle_is_half_the_squared_distance():
    x, y = golden_inputs()
    assert float(get_measure("procrustes", form="squared")(x, y)) / 2 == pytest.approx(0.1835014812, abs=1e-10)


def gaussian_cka(x, y, sigmas):
    """Biased CKA with Gaussian kernels of given bandwidths, from the definition."""
    h = np.eye(len(x)) - 1 / len(x)
    grams = [h @ np.exp(-(cdist(z, z) ** 2) / (2 * s * s)) @ h for z, s in zip((x, y), sigmas, strict=True)]
    k, m = grams
    return (k * m).sum() / np.sqrt((k * k).sum() * (m * m).sum())


def test_bandwidths_of_other_software_give_its_values_and_ours_differs_on_purpose():
    """Ours is the median over pairs of different samples, for each representation: no unit, no zero distances."""
    x, y = golden_inputs()
    ours = float(get_measure("cka", kernel="rbf", estimator="biased")(x, y))
    medians = [np.median(cdist(z, z)[np.triu_indices(60, 1)]) for z in (x, y)]
    assert ours == pytest.approx(gaussian_cka(x, y, medians), abs=1e-12)
    with_own = [np.sort(cdist(z, z), axis=None)[(60 * 60 - 1) // 2] for z in (x, y)]  # lower median, zeros included
    assert gaussian_cka(x, y, with_own) == pytest.approx(0.6834358274, abs=5e-9)  # there in single precision
    # there 1e-6 is added to a norm
    unit_rows = [z / np.linalg.norm(z, axis=1, keepdims=True) for z in (x, y)]
    assert gaussian_cka(*unit_rows, (1.0, 1.0)) == pytest.approx(0.6888722314, abs=1e-8)


@pytest.mark.parametrize("batches", [4, 8])
def test_a_representation_streamed_against_itself_scores_one(batches):
    x, _ = golden_inputs()
    stream = Stream("cka")
    for part in np.array_split(x, batches):
        stream.update(part, part)
    assert float(stream.result()) == pytest.approx(1, abs=1e-12)

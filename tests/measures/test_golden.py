"""Values that other implementations agree on, to the digits in which they agree."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from consilience import get_measure

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

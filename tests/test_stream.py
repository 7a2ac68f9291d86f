from __future__ import annotations

import tracemalloc
import warnings

import numpy as np
import pytest
from tests.quick import quick_compilation  # noqa: F401

from consilience import ConsilienceError, DegenerateWarning, Stream, get_measure, measures
from consilience._moments import moments, start, update
from consilience.testing import variants
from consilience.testing.libraries import _converted

RNG = np.random.default_rng
STREAMING = [variant for measure in measures().values() for variant in variants(measure) if variant.streams]


def pair(n=300, seed=0):
    rng = RNG(seed)
    x = rng.standard_normal((n, 6)) @ rng.standard_normal((6, 6)) + 5
    return x, np.tanh(x[:, :4]) + rng.standard_normal((n, 4)) - 2


def streamed(measure, x, y, batch):
    stream = Stream(measure)
    for first in range(0, len(x), batch):
        stream.update(x[first : first + batch], y[first : first + batch])
    return float(stream.result())


def test_moments_are_those_of_centred_data_whatever_the_batches():
    x, y = pair()
    x = x + 1e5
    sums = start(x[:1], y[:1])
    for first in range(0, 300, 7):
        sums = update(sums, x[first : first + 7], y[first : first + 7])
    found = moments(sums)
    a, b = x - x.mean(0), y - y.mean(0)
    s, t = (a * a).sum(1), (b * b).sum(1)
    assert found.n == 300
    assert np.allclose(found.mean_x, x.mean(0), rtol=1e-14)
    for name, expected in (("xx", a.T @ a), ("xy", a.T @ b), ("yy", b.T @ b)):
        assert np.allclose(getattr(found, name), expected, rtol=0, atol=1e-10 * np.abs(expected).max())
    for name, expected in (("fourth_xx", s @ s), ("fourth_xy", s @ t), ("fourth_yy", t @ t)):
        assert getattr(found, name) == pytest.approx(expected, rel=1e-10)
    assert np.array_equal(found.swapped.xy, found.xy.T)
    assert found.swapped.swapped.fourth_xx == found.fourth_xx


def test_a_constant_feature_is_exactly_zero():
    x, y = pair()
    x[:, 2] = 0.1
    sums = start(x[:3], y[:3])
    for first in range(0, 300, 11):
        sums = update(sums, x[first : first + 11], y[first : first + 11])
    found = moments(sums)
    assert not found.xx[2].any()
    assert not found.xx[:, 2].any()
    assert not found.xy[2].any()
    assert found.xx[1, 1] > 0


@pytest.mark.parametrize("measure", STREAMING, ids=lambda measure: measure.label)
def test_streams_equal_the_measure_in_memory(measure):
    x, y = pair()
    expected = float(measure(x, y))
    for batch in (1, 13, 300):
        assert streamed(measure, x, y, batch) == pytest.approx(expected, abs=1e-10)


def test_what_depends_on_second_moments_streams():
    names = {measure.name for measure in STREAMING}
    assert names >= {"cka", "cca", "svcca", "pwcca", "procrustes", "nbs", "linear_predictivity", "gulp"}
    assert get_measure("cka").streams
    assert not get_measure("cka", kernel="rbf").streams
    assert not get_measure("mutual_knn").streams


def test_an_offset_costs_nothing():
    x, y = pair()
    assert streamed("cka", x + 1e6, y, 50) == pytest.approx(float(get_measure("cka")(x, y)), abs=1e-8)


@pytest.mark.parametrize("library", ["torch", "array_api_strict", "jax"])
def test_other_libraries(library):
    x, y = pair(n=60)
    stream = Stream("cka")
    for first in (0, 30):
        stream.update(*(_converted(library, z[first : first + 30]) for z in (x, y)))
    result = stream.result()
    assert type(result) is type(_converted(library, x))
    assert float(result) == pytest.approx(float(get_measure("cka")(x, y)), abs=1e-4 if library == "jax" else 1e-12)


def test_memory_does_not_grow_with_samples():
    stream = Stream("cka")
    x = RNG(0).standard_normal((500, 40))
    stream.update(x, x)
    tracemalloc.start()
    for seed in range(30):
        batch = RNG(seed).standard_normal((500, 40))
        stream.update(batch, batch)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 * x.nbytes
    assert stream.n_samples == 31 * 500


def test_mistakes():
    x, y = pair(n=20)
    with pytest.raises(ConsilienceError, match="mutual_knn depends on more than second moments"):
        Stream("mutual_knn")
    stream = Stream("cka")
    with pytest.raises(ConsilienceError, match="has seen 0 samples and needs at least"):
        stream.result()
    stream.update(x, y)
    with pytest.raises(ConsilienceError, match=r"6 and 3 features, .* had 6 and 4"):
        stream.update(x, y[:, :3])
    with pytest.raises(ConsilienceError, match="one array library"):
        stream.update(_converted("torch", x), _converted("torch", y))
    with pytest.raises(ConsilienceError, match="y holds nan at row 3"):
        stream.update(x, np.where(np.arange(20)[:, None] == 3, np.nan, y))
    assert stream.n_samples == 20  # what was refused left nothing behind


def test_constant_representations_are_flagged():
    x, _ = pair(n=20)
    stream = Stream("cka")
    stream.update(x, np.full((20, 2), 0.3))
    with pytest.warns(DegenerateWarning, match="in y, every feature is constant"):
        assert np.isnan(stream.result())


@pytest.mark.parametrize(("label", "value"), [("gulp(penalty=0)", np.nan), ("linear_predictivity(cv=0)", 1.0)])
def test_too_few_samples_are_flagged_as_they_are_on_arrays(label, value):
    x, y = RNG(0).standard_normal((8, 9)), RNG(1).standard_normal((8, 3))
    stream = Stream(label)
    stream.update(x, y)
    with pytest.warns(DegenerateWarning, match="any target exactly"):
        assert float(stream.result()) == pytest.approx(value, nan_ok=True)
    with pytest.warns(DegenerateWarning, match="any target exactly"):
        assert float(get_measure(label)(x, y)) == pytest.approx(value, nan_ok=True)


@pytest.mark.parametrize("name", ["pls_predictivity", "linear_predictivity", "cca"])
def test_directions_drowned_by_distant_samples_are_reported(name):
    x = np.random.default_rng(0).standard_normal((60, 4))
    y = x[:, :3] + np.random.default_rng(1).standard_normal((60, 3))
    for shift in (0, 1e8, 1e9):
        far = x.copy()
        far[:7] += shift
        stream = Stream(name)
        for first in range(0, 60, 7):
            stream.update(far[first : first + 7], y[first : first + 7])
        if not shift:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                assert float(stream.result()) == pytest.approx(float(get_measure(name)(far, y)), abs=1e-10)
            continue
        with pytest.warns(DegenerateWarning, match="in x, 3 directions are below the rounding of the largest"):
            assert -0.1 < float(stream.result()) <= 1

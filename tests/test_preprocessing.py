from __future__ import annotations

import numpy as np
import pytest

import consilience
from consilience import ConsilienceError, Preprocessing, UnknownNameError, cka, compare, layerwise, pairwise, preprocess
from consilience._array import to_numpy
from consilience.testing.libraries import LIBRARIES, _converted

RNG = np.random.default_rng


def maps():
    return RNG(0).standard_normal((6, 3, 4, 5))  # (n, c, h, w)


def test_positions_of_maps():
    x = maps()
    assert np.allclose(preprocess(x, spatial="pool"), x.mean(axis=(2, 3)))
    assert np.array_equal(preprocess(x, spatial="flatten"), x.reshape(6, -1))
    samples = preprocess(x, spatial="as_samples")
    assert samples.shape == (6 * 20, 3)
    assert np.array_equal(samples[20 * 2 + 5 * 1 + 3], x[2, :, 1, 3])


def test_channels_last_are_the_same_maps():
    x = maps()
    last = np.moveaxis(x, 1, -1)
    for choice in ("pool", "as_samples"):
        assert np.allclose(preprocess(last, spatial=choice, channels="last"), preprocess(x, spatial=choice))


def test_tokens_of_sequences():
    x = RNG(0).standard_normal((4, 7, 3))
    assert np.allclose(preprocess(x, tokens="mean"), x.mean(1))
    assert np.array_equal(preprocess(x, tokens="last"), x[:, -1])
    assert np.array_equal(preprocess(x, tokens="cls"), x[:, 0])
    assert np.array_equal(preprocess(x, tokens="flatten"), x.reshape(4, 21))
    assert np.array_equal(preprocess(x, tokens="as_samples"), x.reshape(28, 3))


def test_clip_limits_magnitudes_to_the_mean_quantile_of_samples():
    x = RNG(0).standard_normal((8, 31))
    limit = np.quantile(np.abs(x), 0.95, axis=1).mean()
    assert np.allclose(preprocess(x, clip=0.95), np.clip(x, -limit, limit))
    assert np.abs(preprocess(x, clip=1.0)).max() == pytest.approx(np.abs(x).max(axis=1).mean())


def test_steps_come_in_their_order():
    x = RNG(0).standard_normal((20, 5)) + 3
    clipped = preprocess(x, clip=0.8)
    centred = clipped - clipped.mean(0)
    expected = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    assert np.allclose(preprocess(x, l2=True, center=True, clip=0.8), expected)


def test_unit_rows_of_zeros_and_of_huge_numbers():
    x = np.array([[0.0, 0.0], [3e200, 4e200], [3e-200, 4e-200]])
    assert np.allclose(preprocess(x, l2=True), [[0, 0], [0.6, 0.8], [0.6, 0.8]])


@pytest.mark.parametrize("library", LIBRARIES)
def test_every_library(library):
    x = maps()
    for options in ({"spatial": "pool", "clip": 0.9, "l2": True}, {"spatial": "as_samples", "center": True}):
        found = preprocess(_converted(library, x.astype(np.float32)), **options)
        assert type(found) is type(_converted(library, x))
        assert np.allclose(to_numpy(found), preprocess(x, **options), atol=1e-6)


def test_comparisons_take_the_steps_and_record_them():
    x, y = maps(), maps() ** 2
    comparison = compare(x, y, ["cka", "procrustes"], spatial="as_samples", l2=True)
    a, b = (preprocess(z, spatial="as_samples", l2=True) for z in (x, y))
    assert comparison["cka"].value == pytest.approx(float(cka(a, b)), abs=1e-14)
    assert comparison.preprocessing == Preprocessing(spatial="as_samples", l2=True)
    assert comparison.n_samples == 120
    assert str(comparison).endswith("after spatial=as_samples, l2")
    assert pairwise([x, y], spatial="as_samples", l2=True)[0, 1] == pytest.approx(float(cka(a, b)), abs=1e-14)


def test_layers_of_all_kinds_in_one_call():
    layers = {"conv": maps(), "tokens": RNG(1).standard_normal((6, 3, 2)), "head": RNG(2).standard_normal((6, 4))}
    found = layerwise(layers, layers, spatial="pool", tokens="mean")
    assert found.shape == (3, 3)
    assert np.allclose(np.diag(found), 1)
    assert "after" not in str(compare(layers["head"], layers["head"]))


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((6, 3, 4, 5), "spatial='pool', 'flatten' or 'as_samples'"),
        ((6, 3, 4), "tokens='mean', 'last', 'cls', 'flatten' or 'as_samples'"),
        ((6,), r"x\[:, None\]"),
        ((), "one row for each sample"),
    ],
)
def test_shapes_that_need_a_choice_say_which(shape, message):
    x = np.ones(shape)
    for call in (lambda: compare(x, x), lambda: cka(x, x), lambda: pairwise([x, x])):
        with pytest.raises(ConsilienceError, match=message):
            call()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"spatail": "pool"}, "no step 'spatail': did you mean 'spatial'"),
        ({"spatial": "mean"}, "no spatial 'mean': valid names: as_samples, flatten, pool"),
        ({"tokens": "lst"}, "did you mean 'last'"),
        ({"channels": None}, "no channels None"),
        ({"clip": 95}, "clip is 95"),
    ],
)
def test_mistakes_are_named(options, message):
    with pytest.raises(ConsilienceError, match=message):
        compare(maps(), maps(), **options)
    with pytest.raises(UnknownNameError):
        consilience.preprocess(maps(), spatail="pool")


def test_a_choice_for_the_other_kind_does_not_help():
    with pytest.raises(ConsilienceError, match="choose spatial="):
        preprocess(maps(), tokens="mean")

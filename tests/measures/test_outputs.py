from __future__ import annotations

import numpy as np
import pytest

from consilience import ConsilienceError, Family, layerwise, measures, output_correlation, pairwise

RNG = np.random.default_rng


def test_scalar_outputs_give_pearsons_correlation():
    x = RNG(0).standard_normal((50, 1)) + 5
    y = x + RNG(1).standard_normal((50, 1))
    assert output_correlation(x, y) == pytest.approx(np.corrcoef(x[:, 0], y[:, 0])[0, 1], abs=1e-14)


def test_several_outputs_give_the_correlation_of_centred_entries():
    x, y = RNG(0).standard_normal((30, 4)) + np.arange(4), RNG(1).standard_normal((30, 4))
    a, b = (x - x.mean(0)).ravel(), (y - y.mean(0)).ravel()
    assert output_correlation(x, y) == pytest.approx(np.corrcoef(a, b)[0, 1], abs=1e-14)


def test_widths_must_agree():
    with pytest.raises(ConsilienceError, match=r"\[2, 3\]"):
        output_correlation(np.eye(5)[:, :3], np.eye(5)[:, :2])
    with pytest.raises(ConsilienceError, match=r"\[2, 3\]"):
        pairwise([np.eye(5)[:, :3], np.eye(5)[:, :2]], "output_correlation")


def test_functional_measures_are_for_outputs_only():
    for measure in measures().values():
        assert measure.outputs_only is (measure.family is Family.FUNCTIONAL)


def test_measures_of_outputs_say_whether_they_read_them_as_classes():
    """Those that do refuse a column of numbers, which are no labels and no distributions."""
    x, y, targets = RNG(0).standard_normal((40, 1)), RNG(1).standard_normal((40, 1)), np.arange(40) % 2
    for name, measure in measures().items():
        if not measure.outputs_only:
            assert not measure.needs_classes
        elif measure.needs_classes:
            with pytest.raises(ConsilienceError, match=f"measure {name} .*class"):
                measure()(x, y, targets=targets)
        else:
            assert np.isfinite(measure()(x, y))


def test_layerwise_of_outputs():
    x = RNG(0).standard_normal((30, 2))
    assert layerwise([x, -x], [x], "output_correlation") == pytest.approx(np.array([[1.0], [-1.0]]))

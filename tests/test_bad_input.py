"""What every measure does with input that is wrong or unusual: it is right, or it says what was received."""

from __future__ import annotations

import subprocess
import sys
import warnings

import array_api_compat
import ml_dtypes
import numpy as np
import pytest

from consilience import ConsilienceError, Family, Invariance, compare, get_measure, measures, pairwise
from consilience.testing import generic_pair
from consilience.testing.libraries import _converted
from consilience.testing.measures import _state, _targets

NAMES = list(measures())


def call(name, x, y, targets=None):
    measure = get_measure(name)
    return measure(x, y, targets=_targets(measure, np.asarray(x)) if targets is None else targets)


def pair(name):
    return generic_pair(get_measure(name))


@pytest.mark.parametrize("name", NAMES)
def test_shapes_that_do_not_fit(name):
    x, y = pair(name)
    targets = _targets(get_measure(name), x)
    with pytest.raises(ConsilienceError, match="x has 40 rows and y has 39"):
        call(name, x, y[:-1], targets)
    with pytest.raises(ConsilienceError, match=r"y has shape \(40,\).*\[:, None\]"):
        call(name, x, y[:, 0], targets)
    with pytest.raises(ConsilienceError, match="y cannot be read as an array"):
        call(name, x, [[1.0, 2.0], [3.0]] * 20, targets)
    with pytest.raises(ConsilienceError, match=r"y has shape \(40, 0\)"):
        call(name, x, y[:, :0], targets)


@pytest.mark.parametrize("name", NAMES)
def test_too_few_rows(name):
    measure = get_measure(name)
    x, y = pair(name)
    few = measure.min_samples - 1
    with pytest.raises(ConsilienceError, match=f"x has {few} rows; measure .* needs at least {few + 1}"):
        measure(x[:few], y[:few], targets=np.zeros(few, int) if measure.needs_targets else None)
    enough = measure.min_samples
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a score or NaN with a reason
        score = float(measure(x[:enough], y[:enough], targets=_targets(measure, x[:enough])))
    reasons = [measure.degenerate(_state(measure, rep[:enough])) for rep in (x, y)]
    assert np.isfinite(score) != any(reasons)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers(name, value):
    x, y = pair(name)
    y = y.copy()
    y[17, 3] = value
    with pytest.raises(ConsilienceError, match=f"y holds {value} at row 17, column 3"):
        call(name, x, y)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [np.int16, np.uint8, np.bool_, np.float16, ml_dtypes.bfloat16], ids=str)
def test_other_types_are_computed_in_double_precision(name, dtype):
    x, y = (np.abs(np.round(rep * 8)) % 128 for rep in pair(name))
    if dtype is np.bool_:
        x, y = x > np.median(x), y > np.median(y)
    x, y = x.astype(dtype), y.astype(dtype)
    expected = float(call(name, x.astype(np.float64), y.astype(np.float64)))
    found = call(name, x, y)
    assert found.dtype == np.float64
    assert float(found) == expected


@pytest.mark.parametrize("name", NAMES)
def test_half_precision_of_pytorch(name):
    import torch

    x, y = (torch.asarray(rep).to(torch.bfloat16) for rep in pair(name))
    measure = get_measure(name)
    targets = _targets(measure, x)
    expected = float(measure(x.double().numpy(), y.double().numpy(), targets=targets))
    assert float(measure(x, y, targets=targets)) == pytest.approx(expected, abs=1e-9, rel=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_libraries_are_not_mixed(name):
    x, y = pair(name)
    with pytest.raises(ConsilienceError, match="x is an array of numpy and y of torch: convert them"):
        call(name, x, _converted("torch", y), targets=_targets(get_measure(name), x))


def test_devices_are_not_mixed():
    import jax
    import torch

    x = np.random.default_rng(0).standard_normal((8, 2))
    first, second = jax.devices("cpu")[:2]
    with pytest.raises(ConsilienceError, match=r"x is on device .* and y on"):
        compare(jax.device_put(x, first), jax.device_put(x, second))
    with pytest.raises(ConsilienceError, match="move both to one device"):
        pairwise([torch.asarray(x), torch.empty((8, 2), device="meta")])


CENTRED = [name for name in NAMES if get_measure(name).invariant_to(Invariance.TRANSLATION)]


@pytest.mark.parametrize("name", [name for name in CENTRED if get_measure(name).family is not Family.FUNCTIONAL])
def test_a_constant_feature_changes_nothing_where_offsets_change_nothing(name):
    x, y = pair(name)
    with_constant = np.column_stack([x, np.full(len(x), 3.0)])
    assert call(name, with_constant, y) == pytest.approx(call(name, x, y), abs=1e-9, rel=1e-9)


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (None, "needs the true class of every sample: pass targets="),
        (np.zeros(39, int), r"shape \(39,\) .* 40 rows"),
        (np.zeros((40, 2), int), r"shape \(40, 2\)"),
        (np.full(40, 0.5), "classes are integers from 0"),
        (np.array(["cat"] * 40), "numpy.unique"),
    ],
)
def test_targets(targets, message):
    needing = [measure for measure in measures().values() if measure.needs_targets]
    assert needing
    for measure in needing:
        with pytest.raises(ConsilienceError, match=message):
            measure()(*generic_pair(measure()), targets=targets)


def test_targets_may_be_whole_floats_or_of_another_library():
    measure = get_measure("error_consistency")
    x, y = generic_pair(measure)
    targets = _targets(measure, x)
    expected = float(measure(x, y, targets=targets))
    for given in (targets.astype(float), list(targets), _converted("torch", targets)):
        assert float(measure(x, y, targets=given)) == expected
    torch_score = measure(_converted("torch", x), _converted("torch", y), targets=targets)
    assert array_api_compat.is_torch_array(torch_score)


def test_importing_and_measuring_has_no_side_effects():
    code = (
        "import warnings, numpy as np, random\n"
        "import scipy.optimize, scipy.sparse, scipy.special, scipy.stats\n"  # have warnings filters of their own
        "np.random.seed(0); random.seed(0)\n"
        "before = (str(warnings.filters), np.get_printoptions(), np.geterr(),\n"
        "          str(np.random.get_state()), random.getstate())\n"
        "import consilience\n"
        "x = np.random.default_rng(0).standard_normal((40, 3))\n"
        "consilience.measures(); consilience.compare(x, x, ['cka', 'rsa', 'imd'])\n"
        "after = (str(warnings.filters), np.get_printoptions(), np.geterr(),\n"
        "         str(np.random.get_state()), random.getstate())\n"
        "print(before == after)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "True"

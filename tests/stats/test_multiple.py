from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from consilience.errors import ConsilienceError
from consilience.stats import adjust


def test_holm_by_hand():
    np.testing.assert_allclose(adjust([0.02, 0.001, 0.04, 0.03]), [0.06, 0.004, 0.06, 0.06])
    np.testing.assert_allclose(adjust([0.6, 0.7]), [1.0, 1.0])


def test_bh_equals_scipy():
    p = np.random.default_rng(0).random(50)
    np.testing.assert_allclose(adjust(p, "bh"), stats.false_discovery_control(p))
    np.testing.assert_array_equal(np.argsort(adjust(p, "bh"), kind="stable")[:1], [np.argmin(p)])


@pytest.mark.parametrize("method", ["holm", "bh"])
def test_shape_order_and_missing_tests(method):
    p = np.array([[0.01, np.nan], [0.04, 0.03]])
    found = adjust(p, method)
    assert found.shape == p.shape
    assert np.isnan(found[0, 1])
    np.testing.assert_allclose(found[np.isfinite(p)], adjust([0.01, 0.04, 0.03], method))
    assert (found[np.isfinite(p)] >= p[np.isfinite(p)]).all()
    assert adjust([], method).shape == (0,)
    assert adjust(0.2, method) == 0.2


def test_holm_rejects_a_true_null_no_more_often_than_stated():
    rng, n, alpha = np.random.default_rng(1), 4000, 0.05
    # Equicorrelated: Holm holds for any dependence.
    z = 0.6**0.5 * rng.standard_normal((n, 1)) + 0.4**0.5 * rng.standard_normal((n, 12))
    wrong = np.mean([(adjust(p) <= alpha).any() for p in stats.norm.sf(z)])
    assert wrong < alpha + 4 * np.sqrt(alpha * (1 - alpha) / n)


@pytest.mark.parametrize(
    ("p", "method", "words"), [([0.1], "sidak", "method"), ([1.2], "holm", "1.2"), ([-0.1], "bh", "-0.1")]
)
def test_errors(p, method, words):
    with pytest.raises(ConsilienceError, match=words):
        adjust(p, method)

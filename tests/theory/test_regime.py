from __future__ import annotations

import numpy as np
import pytest

from consilience.errors import ConsilienceError
from consilience.theory.regime import regime


def descend(first, second, x, y, rate=0.02, decay=0.0, steps=20_000):
    """Full-batch gradient descent on |y − x W₁ᵀW₂ᵀ|²/2n until the gradient of the map is small."""
    n = len(x)
    moment, target = x.T @ x / n, y.T @ x / n
    for _ in range(steps):
        pull = target - second @ first @ moment
        if np.sum(pull**2) < 1e-10:
            break
        first, second = (
            (1 - rate * decay) * first + rate * second.T @ pull,
            (1 - rate * decay) * second + rate * pull @ first.T,
        )
    return first, second


@pytest.fixture(scope="module")
def problem():
    """The data and the unscaled initial weights, N(0, 1/fan-in), of THEORY: d = 30, h = 40, k = 3, n = 20."""
    rng = np.random.default_rng(0)
    x, teacher = rng.standard_normal((20, 30)), rng.standard_normal((3, 30)) / 30**0.5
    y = x @ teacher.T + rng.standard_normal((20, 3))
    return x, y, rng.standard_normal((40, 30)) / 30**0.5, rng.standard_normal((3, 40)) / 40**0.5


@pytest.mark.parametrize(
    ("scale", "quoted", "within", "kind"),
    [
        (0.001, 1.000, 0.0005, "small-initialization"),
        (0.01, 1.000, 0.0005, "small-initialization"),
        (0.1, 0.999, 0.001, "small-initialization"),
        (1.0, 0.48, 0.04, "between"),  # draws of data and weights gave .49 to .52
    ],
)
def test_quoted_agreement_with_the_square_root_after_gradient_descent(problem, scale, quoted, within, kind):
    x, y, first, second = problem
    start = scale * first, scale * second
    found = regime(*descend(*start, x, y), start)
    assert found.small == pytest.approx(quoted, abs=within)
    assert found.kind == kind
    # Descent in steps of .02 keeps the invariant up to their square.
    assert found.drift < 0.01


def test_large_weights_stay_where_they_were(problem):
    x, y, first, second = problem
    start = 5 * first, 5 * second
    trained = descend(*start, x, y, rate=0.002)
    found = regime(*trained, start)
    assert found.kind == "lazy"
    assert found.kept > 0.99
    assert found.sentence.startswith("Lazy training: the Gram matrix of the hidden layer kept CKA 0.99")
    without = regime(*trained)
    assert without.kind == "lazy"
    assert np.isnan(without.kept)
    assert np.isnan(without.drift)
    assert without.used == pytest.approx(3 / 30, abs=0.05)


@pytest.mark.parametrize("delta", [-2.0, 3.0])
def test_balanced_weights_are_found_with_their_imbalance(delta):
    """W₂ᵀW₂ − W₁W₁ᵀ = δI exactly, with unequal singular values of the map."""
    rng = np.random.default_rng(1)
    left, middle, right = (np.linalg.qr(rng.standard_normal((size, 3)))[0] for size in (5, 3, 16))
    strength = np.array([1.5, 1.0, 0.5])
    first = np.sqrt(strength**2 - min(delta, 0))[:, None] * right.T
    second = left * np.sqrt(strength**2 + max(delta, 0))
    found = regime(middle @ first, second @ middle.T)
    assert found.delta == pytest.approx(delta)
    assert found.unevenness == pytest.approx(0, abs=1e-12)
    assert found.balanced == pytest.approx(1)
    assert found.kind == "balanced"
    assert found.small < 0.99
    assert f"δ = {delta:.3g}" in found.sentence


def test_weight_decay_shows_as_drift_of_the_invariant(problem):
    x, y, first, second = problem
    start = first, second
    kept, decayed = (regime(*descend(*start, x, y, decay=decay, steps=2000), start) for decay in (0.0, 0.05))
    assert kept.drift < 0.01
    assert decayed.drift > 10 * kept.drift


def test_hidden_units_may_be_rotated_and_a_member_rescaled():
    rng = np.random.default_rng(2)
    first, second = rng.standard_normal((6, 9)), rng.standard_normal((2, 6))
    turn = np.linalg.qr(rng.standard_normal((6, 6)))[0]
    one, other = regime(first, second), regime(turn @ first, second @ turn.T)
    np.testing.assert_allclose(one[1:7], other[1:7], rtol=1e-10)
    bigger = regime(2 * first, 2 * second)
    assert bigger.delta == pytest.approx(4 * one.delta)
    np.testing.assert_allclose(bigger[2:7], one[2:7], rtol=1e-10)


def test_errors_name_what_was_received():
    with pytest.raises(ConsilienceError, match=r"trained network have shapes \(3, 4\) and \(2, 5\)"):
        regime(np.ones((3, 4)), np.ones((2, 5)))
    with pytest.raises(ConsilienceError, match="W₂ of the trained network is nan at row 0, column 1"):
        regime(np.ones((2, 4)), [[1.0, np.nan]])
    with pytest.raises(ConsilienceError, match="is zero"):
        regime(np.ones((2, 4)), np.zeros((1, 2)))
    with pytest.raises(ConsilienceError, match="give those of the same network"):
        regime(np.ones((2, 4)), np.ones((1, 2)), (np.ones((3, 4)), np.ones((1, 3))))

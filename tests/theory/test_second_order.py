"""Hidden layers of several outputs: the expansion against drawn matrices, and what must cancel."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from consilience.theory import hidden_cka
from consilience.theory._equivalents import Family, Fluctuation
from consilience.theory._second_order import _frame, _product, _product_change, _source, _trace_change, gate


def power(matrices, exponent):
    value, vector = np.linalg.eigh(matrices)
    return (vector * value[..., None, :] ** exponent) @ np.swapaxes(vector, -1, -2)


def ensemble(outputs, weights, noise):
    """Averages and fluctuations of W = √noise N K with N standard normal: KᵀΣK = diag(outputs), KᵀK = diag(weights)."""
    k = len(noise)
    zero = np.zeros((1, 1, k, k))
    families = []
    for one, other in ((outputs, outputs), (outputs, weights), (weights, weights)):
        part = Fluctuation(noise[None, None], zero, np.full((1, 1), np.sum(one * other)))
        families.append(Family(part, part, part))
    return SimpleNamespace(
        own=np.sum(outputs) * noise[None, None],
        norm=np.sum(weights) * noise[None, None],
        scale=np.ones((1, 1)),
        overlaps=families[0],
        mixed=families[1],
        plain=families[2],
    )


@pytest.mark.parametrize("delta", [0.0, 1.0, -1.0])
def test_expansion_agrees_with_drawn_maps(delta):
    """Means of tr[ψ(A)Qψ(A)Q] and of tr[ψ(A)Q], and variance of the latter."""
    k, m = 3, 200
    outputs, weights = np.linspace(0.2, 2.0, m) / m, np.linspace(1.5, 0.3, m) / m
    noise = np.array([[1.0, 0.2, 0.0], [0.2, 0.6, 0.1], [0.0, 0.1, 1.4]])
    members = ensemble(outputs, weights, noise)
    frame = _frame(members, delta)
    source, own = _source(frame, members, "within"), frame.turn(members.own) / frame.own
    product = _product(frame, own) + _product_change(frame, own, source, source, source.mixed.entries)
    drift, spread = _trace_change(frame, own, source, source)

    drawn = np.linalg.cholesky(noise) @ np.random.default_rng(0).standard_normal((20_000, k, m))
    a = (drawn * weights) @ np.swapaxes(drawn, -1, -2) / frame.norm[0, 0]
    q = (drawn * outputs) @ np.swapaxes(drawn, -1, -2) / frame.own[0, 0]
    half = 0.5 * delta / np.sqrt(frame.norm[0, 0])
    psi = np.linalg.inv(half * np.eye(k) + power(half**2 * np.eye(k) + a, 0.5))
    trace = np.einsum("nij,nji->n", psi, q)
    found = np.einsum("nij,nji->n", psi @ q, psi @ q)
    # What the expansion leaves out is of order (k + 1)²/m² = .0004 of each, beside the error of the mean.
    left_out = 3 * ((k + 1) / m) ** 2
    error = 4 * found.std() / np.sqrt(len(found))
    assert float(product[0, 0]) == pytest.approx(found.mean(), abs=error + left_out * found.mean())
    mean = float((np.einsum("...i,...ii->...", frame.first, own) + drift)[0, 0])
    assert mean == pytest.approx(trace.mean(), abs=4 * trace.std() / 141 + left_out * trace.mean())
    assert float(spread[0, 0]) == pytest.approx(trace.var(), rel=0.06)
    # The change is what makes them agree.
    assert abs(float(_product(frame, own)[0, 0]) - found.mean()) > 2 * (error + left_out * found.mean())


def test_equal_spectra_of_outputs_and_weights_leave_the_product_alone():
    """Q = A: tr[A^−½QA^−½Q] = tr A, whose mean has no further orders."""
    members = ensemble(np.full(20, 0.05), np.full(20, 0.05), np.diag([1.0, 0.5]))
    frame = _frame(members, 0.0)
    source, own = _source(frame, members, "within"), frame.turn(members.own) / frame.own
    change = _product_change(frame, own, source, source, source.mixed.entries)
    np.testing.assert_allclose(change, 0, atol=1e-14)


def test_noise_alone_costs_what_the_difference_of_shares_says():
    """The product grows by 1 + (k+1) tr (T/tr T − T₀/tr T₀)²."""
    outputs, weights, k = np.linspace(0.1, 3.0, 50), np.linspace(2.0, 1.0, 50), 4
    members = ensemble(outputs, weights, np.eye(k))
    frame = _frame(members, 0.0)
    source, own = _source(frame, members, "within"), frame.turn(members.own) / frame.own
    change = _product_change(frame, own, source, source, source.mixed.entries) / _product(frame, own)
    difference = outputs / outputs.sum() - weights / weights.sum()
    assert float(change[0, 0]) == pytest.approx((k + 1) * np.sum(difference**2))


@pytest.mark.parametrize("delta", [0.0, 2.0, -2.0, 1e6, -1e6])
def test_gate_is_the_inverse_of_its_formula(delta):
    value = np.array([1e-6, 1.0, 50.0])
    basis, first, root = gate(np.diag(value)[None, None], delta, np.ones((1, 1)))
    np.testing.assert_allclose(root[0, 0], np.sqrt(delta**2 / 4 + value))
    np.testing.assert_allclose(
        first[0, 0] * (root[0, 0] + delta / 2 if delta >= 0 else 1), 1 if delta >= 0 else first[0, 0]
    )
    if delta < 0:  # 1/(√(δ²/4 + A) − |δ|/2) = (√(δ²/4 + A) + |δ|/2)/A
        np.testing.assert_allclose(first[0, 0], (root[0, 0] - delta / 2) / value)
    assert basis.shape == (1, 1, 3, 3)


def test_directions_without_weight_are_shut():
    _, first, _ = gate(np.diag([1.0, 0.0])[None, None], 0.0, np.ones((1, 1)))
    assert sorted(first[0, 0]) == [0.0, 1.0]


@pytest.mark.parametrize("ridge", [0.02, 0.3])
@pytest.mark.parametrize("n", [40, 130, 400])
def test_steep_spectrum_with_ridge_agrees_with_simulation(simulate, teacher, z_score, ridge, n):
    """Up to .18 too high without the second order."""
    values = np.arange(1, 101.0) ** -1.5
    for outputs in (3, 10):
        beta = teacher(values, outputs)
        found = simulate(values, beta, n, 4.0, ridge=ridge, repeats=20)
        theory = float(hidden_cka(values, beta, n, noise=4.0, ridge=ridge))
        assert z_score(found.hidden_cka, theory, 0.01 + 0.1 * (outputs + 1) / n) < 4


def test_own_inputs_few_samples_and_several_outputs(simulate, teacher, z_score):
    """Two independent subspaces of n = 3 out of 100 equal directions overlap by n/d, not by k/d."""
    values = np.ones(100)
    beta = teacher(values, 3)
    found = simulate(values, beta, 3, 1.0, shared_inputs=False, repeats=40)
    theory = float(hidden_cka(values, beta, 3, noise=1.0, shared_inputs=False))
    assert z_score(found.hidden_cka, theory, 0.01) < 4
    assert theory == pytest.approx(0.03, abs=0.01)

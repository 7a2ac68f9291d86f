"""Muon by the geometry of one step; second order against exact solutions and float64 linear algebra."""

from __future__ import annotations

import itertools
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from jax.flatten_util import ravel_pytree
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from consilience.errors import ConsilienceError
from consilience.train import MLP, Cell, Linear, TrainOptions, bytes_per_network, count_parameters
from consilience.train.realize import BLOCK
from consilience.train.second_order import _Fit, _over_parameters, _over_residuals, residual_sizes

EPS = float(np.finfo(np.float32).eps)
LM = TrainOptions(optimizer="levenberg-marquardt", batch="full", steps=60)
LBFGS = replace(LM, optimizer="lbfgs")
# More weights (273) than the residuals of 40 samples (120), fewer than those of 150 (450).
TANH = MLP((30,), activation="tanh")
SMALL, LARGE = 40, 150


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    """Two devices that factorize at once would share cores with each other's BLAS threads."""
    with threadpool_limits(1, user_api="blas"):
        yield


@pytest.fixture(scope="module")
def found():
    return {}


@pytest.fixture
def run(ensemble, trained, found):
    """Cells of one optimizer, trained once for all tests."""

    def train(options, network):
        if (options, network) not in found:
            cells = [Cell(n, 0.6, network, options) for n in (SMALL, LARGE)]
            found[options, network] = trained(ensemble(), cells)
        return found[options, network]

    return train


def test_muon_turns_gradients_of_matrices_into_orthogonal_steps(ensemble, trained, realization):
    """One step: singular vectors of the gradient, singular values all near one (Newton-Schulz: .68 to 1.14)."""
    study, rate = ensemble(), 0.01
    cell = Cell(100, 0.6, Linear((3,), init_scale=0.3), TrainOptions("gradient", "muon", rate, steps=1, batch="full"))
    (one,) = trained(study, [cell])
    for member in range(study.members):
        x, y = (part.astype(np.float64) for part in realization(study, cell, member))
        first, second = (matrix[member].astype(np.float64) for matrix in one.weights.initial)
        slope = 2 * (x @ first.T @ second.T - y) / y.size  # (n, outputs)
        gradients = (slope @ second).T @ x, slope.T @ (x @ first.T)
        for before, name, gradient in zip((first, second), ("first", "second"), gradients, strict=True):
            step = (before - getattr(one.weights, name)[member]) / (0.2 * rate * max(before.shape) ** 0.5)
            left, _, right = np.linalg.svd(gradient, full_matrices=False)
            turned = left.T @ step @ right.T
            assert np.all((np.diag(turned) > 0.6) & (np.diag(turned) < 1.25))
            np.testing.assert_allclose(turned, np.diag(np.diag(turned)), atol=2e-3)


def test_adamw_is_another_name_of_adam(case):
    study, cell = case("adam")
    renamed = cell._replace(options=replace(cell.options, optimizer="adamw"))
    assert study.spec(renamed) == study.spec(cell)


@pytest.mark.parametrize("optimizer", ["muon", "levenberg-marquardt", "lbfgs"])
def test_one_device_gives_the_bits_of_two(optimizer, ensemble, trained, assert_same_bits):
    options = TrainOptions(optimizer=optimizer, batch="full", steps=7)
    cells = [Cell(SMALL, 0.6, MLP((4,), activation="tanh"), options)]
    study = ensemble(members=3, n_max=SMALL)
    for one, two in zip(trained(study, cells, devices=1), trained(study, cells, devices=2), strict=True):
        assert_same_bits(one, two)


def test_levenberg_marquardt_fits_what_adam_in_as_many_steps_does_not(run):
    adam = replace(LM, optimizer="adam", learning_rate=0.01)
    fitted, approached = run(LM, TANH)[0], run(adam, TANH)[0]
    assert np.all(fitted.train_error <= 1e-6)
    assert np.all(approached.train_error > 1e-2)
    assert np.all((fitted.stopped_at > 0) | (fitted.kept_at == LM.steps))
    assert approached.stopped_at is None
    # Where no weights fit, what is left is a minimum: far below Adam, far above rounding.
    assert np.all(run(LM, TANH)[1].train_error < run(adam, TANH)[1].train_error)
    assert np.all(run(LM, TANH)[1].train_error > 1e-3)


def test_levenberg_marquardt_on_a_linear_network_is_least_squares(run):
    """It ends where the linear model expects ‖Jδ‖² ≤ ε‖r‖²: outputs are within √ε of the residuals, times what
    inputs of condition below 4 make of it on others."""
    network = Linear((4,), init_scale=0.3)
    for reached, solved in zip(run(LM, network), run(TrainOptions(solver="exact"), network), strict=True):
        tolerance = 4 * EPS**0.5 * float(np.sqrt(solved.train_loss.max()))
        np.testing.assert_allclose(reached.layers["output"], solved.layers["output"], rtol=0, atol=tolerance)
        np.testing.assert_allclose(reached.train_loss, solved.train_loss, rtol=1e-5)


def test_lbfgs_on_a_linear_network_is_logistic_regression(ensemble, trained, realization):
    """Without penalty, on labels that no map separates: convex in the map, and scikit-learn's minimum is the same.

    Near it the loss rises by half the square of what probabilities are off, and float32 resolves ε of it.
    """
    study = ensemble("classification")
    cell = Cell(LARGE, 0.5, Linear((4,), init_scale=0.3), LBFGS)
    (one,) = trained(study, [cell])
    for member in range(study.members):
        x, y = realization(study, cell, member)
        model = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-10, max_iter=10_000).fit(x, y)
        wanted = model.predict_proba(study.splits.probe_x)
        found = scipy.special.softmax(one.layers["output"][member].astype(np.float64), axis=1)
        np.testing.assert_allclose(found, wanted, rtol=0, atol=4 * EPS**0.5)
        loss = -np.mean(np.log(model.predict_proba(x)[np.arange(len(y)), y]))
        np.testing.assert_allclose(one.train_loss[member], loss, rtol=1e-5)
        assert one.train_error[member] == pytest.approx(np.mean(model.predict(x) != y), abs=1e-6)
        assert one.train_error[member] > 0.1


def test_both_systems_of_levenberg_marquardt_solve_the_damped_least_squares_problem(ensemble, splits):
    """min ‖r + Jδ‖² + λ‖δ‖² in float64, as an ordinary least-squares problem with rows √λ·I."""
    data = splits("regression")
    n = BLOCK + 30
    study = ensemble(splits=data)
    spec = study.spec(Cell(n, 0.0, TANH, LM))
    network = TANH.build(spec.sizes, key=jax.random.key(0))
    weights, restore = ravel_pytree(network)
    x, y = jnp.asarray(data.train_x[: 2 * BLOCK]), jnp.asarray(data.train_y[: 2 * BLOCK])
    fit = _Fit(spec, restore, x, y, jnp.int32(n))

    def r(vector):
        return (restore(vector)(x[:n])["output"] - y[:n]).ravel()

    residual, jacobian = (np.asarray(part, np.float64) for part in jax.jit(lambda w: (r(w), jax.jacfwd(r)(w)))(weights))
    solvers = {residual.size: partial(_over_residuals, fit, 512), weights.size: partial(_over_parameters, fit)}
    for (rank, solve), damping in itertools.product(((r, jax.jit(s)) for r, s in solvers.items()), (1e-3, 10.0)):
        change, before, expected = (np.asarray(part) for part in solve(weights, jnp.float32(damping)))
        shift = damping * np.sum(jacobian**2) / rank
        rows = np.vstack([jacobian, shift**0.5 * np.eye(weights.size)])
        wanted = np.linalg.lstsq(rows, -np.append(residual, np.zeros(weights.size)), rcond=None)[0]
        condition = (np.linalg.norm(jacobian, 2) ** 2 + shift) / shift
        np.testing.assert_allclose(change, wanted, rtol=0, atol=4 * condition * EPS * np.linalg.norm(wanted))
        np.testing.assert_allclose(before, np.sum(residual**2), rtol=1e-5)
        drop = np.sum(residual**2) - np.sum((residual + jacobian @ wanted) ** 2)
        np.testing.assert_allclose(expected, drop, rtol=1e-3)


@pytest.mark.parametrize(
    ("parameters", "outputs", "rows", "sizes"),
    [(273, 3, 192, [192]), (5000, 1, 10_000, [64, 128, 256, 512, 1024, 2048, 4096]), (5000, 1, 256, [64, 128, 256])],
)
def test_residual_systems_are_no_larger_than_needed(parameters, outputs, rows, sizes):
    assert residual_sizes(parameters, outputs, rows) == sizes


def test_what_levenberg_marquardt_cannot_do_is_refused(ensemble):
    study, classes = ensemble(), ensemble("classification")
    wide = MLP((1000,))
    with pytest.raises(ConsilienceError, match=r"9,003 parameters, .* up to 5,000 are allowed"):
        study.spec(Cell(10, 0.0, wide, LM))
    assert study.spec(Cell(10, 0.0, wide, LBFGS)).options.optimizer == "lbfgs"
    with pytest.raises(ConsilienceError, match=r"minimises squared errors; set train\.loss = 'squared-error'"):
        classes.spec(Cell(10, 0.0, TANH, LM))
    assert not classes.spec(Cell(10, 0.0, TANH, replace(LM, loss="squared-error"))).cross_entropy


def test_bytes_of_second_order_hold_its_matrices(ensemble):
    study = ensemble()
    weights = count_parameters(TANH, study.sizes("adam"))
    plain, lm, lbfgs = (
        bytes_per_network(study, study.spec(Cell(10, 0.0, TANH, options)))
        for options in (replace(LM, optimizer="adam"), LM, LBFGS)
    )
    assert lm - plain >= 4 * (2 * weights**2 + 192 * weights)
    assert lbfgs - plain == 4 * 20 * weights

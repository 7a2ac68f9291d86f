"""The closed form of linear networks against NumPy's least squares, normal equations and matrix square roots."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.linalg

from consilience.errors import ConsilienceError
from consilience.train import MLP, Cell, Linear, TrainOptions, train

EXACT = TrainOptions(solver="exact", loss="squared-error")
D, K = 12, 3
NETWORK = Linear(hidden=(8,))

# The closed form is float64 on float32 data; the data may round once (2⁻²³) differently when realized here, which
# training sets of condition below 100 amplify at most so far.
DATA_ROUNDING = 100 * 2.0**-23


@pytest.fixture
def linear(ensemble, splits):
    """An ensemble with D inputs and K outputs whose training inputs have singular values 1 … 2 at n = D."""

    def make(task="regression", process=None, **fields):
        data = splits(task, n_inputs=D, n_outputs=K)
        x = data.train_x.copy()
        left, _, right = np.linalg.svd(x[:D].astype(float))
        x[:D] = left @ np.diag(np.linspace(1, 2, D)) @ right
        return ensemble(task, process, splits=replace(data, train_x=x), **fields)

    return make


def test_columns_that_add_up_to_a_constant_do_not_make_a_direction_of_rounding(ensemble, splits):
    """A full set of one-hot columns is collinear, in float32 only up to rounding: dropping one must change nothing."""
    rng = np.random.default_rng(0)
    group = np.eye(3)[rng.integers(3, size=260)]
    x = np.concatenate([rng.standard_normal((260, 4)), group], axis=1)
    x = ((x - x.mean(0)) / x.std(0)).astype(np.float32)
    base = splits("regression", n_inputs=7, n_outputs=3)
    parts = {"train_x": x[:150], "test_x": x[150:220], "probe_x": x[220:]}
    outputs = []
    for columns in (slice(None), slice(6)):
        data = replace(base, **{name: part[:, columns] for name, part in parts.items()})
        study = ensemble(splits=data)
        [(_, found)] = train(study, [Cell(100, 0.5, NETWORK, EXACT)])
        outputs.append(found.layers)
    # Without the last column the map is another one of the same span only below n = d; here outputs are equal, and
    # the hidden layers differ by the metric of the inputs alone: both have the rank of the targets and finite scale.
    np.testing.assert_allclose(outputs[0]["output"], outputs[1]["output"], atol=1e-4)
    assert outputs[0]["hidden_1"].std() < 3 * outputs[1]["hidden_1"].std()


@pytest.fixture
def count_factorizations(monkeypatch):
    """Count the singular value decompositions of matrices with a given number of rows."""
    original, heights = scipy.linalg.svd, []

    def counted(matrix, *args, **kwargs):
        heights.append(len(matrix))
        return original(matrix, *args, **kwargs)

    monkeypatch.setattr(scipy.linalg, "svd", counted)
    return heights


def cell(n, level=0.5, **options):
    return Cell(n, level, NETWORK, replace(EXACT, **options))


def float64(x, y):
    return np.asarray(x, np.float64), np.asarray(y, np.float64)


def square_root(matrix):
    """Of a symmetric positive semidefinite matrix."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T


def assert_close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=DATA_ROUNDING, atol=DATA_ROUNDING * np.max(np.abs(expected)))


@pytest.mark.parametrize("n", [1, 7, D, D + 5, 100])
def test_minimum_norm_solution_below_at_and_above_the_threshold(n, linear, trained, realization):
    study = linear()
    (found,) = trained(study, [cell(n)])
    for member in range(study.members):
        x, y = float64(*realization(study, cell(n), member))
        expected = np.linalg.lstsq(x, y)[0]
        assert_close(found.layers["output"][member], study.splits.probe_x @ expected)
    assert found.layers["output"].shape == (study.members, len(study.splits.probe_x), K)
    assert np.all(found.diverged_at == -1)


@pytest.mark.parametrize("n", [7, 40])
def test_repeated_and_zero_inputs_have_the_solution_of_least_norm(n, linear, trained, realization):
    study = linear()
    x = study.splits.train_x.copy()
    x[:, 5:] = np.stack([x[:, 0], 2 * x[:, 1], *([0 * x[:, 0]] * (D - 7))], axis=1)  # rank 5, exactly in float32
    study = replace(study, splits=replace(study.splits, train_x=x))
    (found,) = trained(study, [cell(n)])
    for member in range(study.members):
        x, y = float64(*realization(study, cell(n), member))
        assert np.linalg.matrix_rank(x) == 5
        assert_close(found.layers["output"][member], study.splits.probe_x @ np.linalg.pinv(x, rcond=1e-10) @ y)


@pytest.mark.parametrize("n", [7, D, 40])
@pytest.mark.parametrize("ridge", [1e-3, 0.3, 100.0])
def test_ridge_solves_the_normal_equations(n, ridge, linear, trained, realization):
    study = linear()
    (found,) = trained(study, [cell(n, ridge=ridge)])
    for member in range(study.members):
        x, y = float64(*realization(study, cell(n), member))
        expected = np.linalg.solve(x.T @ x + n * ridge * np.eye(D), x.T @ y)
        assert_close(found.layers["output"][member], study.splits.probe_x @ expected)


@pytest.mark.parametrize("n", [2, D, 40])
def test_hidden_layer_is_the_balanced_factor(n, linear, trained, realization):
    """Gram matrix X (W Wᵀ)^½ Xᵀ for the map W (inputs, outputs), also where W has rank 2 < outputs."""
    study = linear()
    (found,) = trained(study, [cell(n)])
    probe = np.asarray(study.splits.probe_x, np.float64)
    for member in range(study.members):
        weight = np.linalg.lstsq(*float64(*realization(study, cell(n), member)))[0]
        hidden = found.layers["hidden_1"][member]
        assert hidden.shape == (len(probe), K)
        # The root of a matrix of lower rank: rounding e of its zeros becomes √e, beyond data rounding squared.
        allowed = DATA_ROUNDING * np.linalg.norm(weight) * np.linalg.norm(probe) ** 2
        np.testing.assert_allclose(hidden @ hidden.T, probe @ square_root(weight @ weight.T) @ probe.T, atol=allowed)


@pytest.mark.parametrize("n", [2, D, 40])
def test_weights_are_the_balanced_factors_of_the_map(n, linear, trained):
    study = linear()
    (found,) = trained(study, [cell(n)])
    probe = np.asarray(study.splits.probe_x, np.float64)
    assert found.weights.initial is None
    for member in range(study.members):
        first, second = found.weights.first[member], found.weights.second[member]
        assert (first.dtype, first.shape, second.shape) == (np.float64, (K, D), (K, K))
        hidden = found.layers["hidden_1"][member]
        rounding = {"rtol": 1e-12, "atol": 1e-12 * np.abs(hidden).max()}
        np.testing.assert_allclose(probe @ first.T, hidden, **rounding)
        np.testing.assert_allclose(hidden @ second.T, found.layers["output"][member], **rounding)
        np.testing.assert_allclose(second.T @ second, first @ first.T, **rounding)


def test_losses_and_errors_of_regression(linear, trained, realization):
    study = linear()
    (found,) = trained(study, [cell(40, level=0.7)])
    for member in range(study.members):
        x, y = float64(*realization(study, cell(40, level=0.7), member))
        weight = np.linalg.lstsq(x, y)[0]
        train = np.mean((x @ weight - y) ** 2)
        test = np.mean((study.splits.test_x @ weight - study.splits.test_y) ** 2)
        for name, expected in {
            "train_loss": train,
            "train_error": train / (1 + 0.7**2),
            "test_loss": test,
            "test_error": test,
        }.items():
            assert_close(getattr(found, name)[member], expected)


@pytest.mark.parametrize("ridge", [0.0, 0.2])
def test_classification_regresses_centred_one_hot_labels(ridge, linear, trained, realization):
    study = linear("classification")
    (found,) = trained(study, [cell(60, ridge=ridge)])
    for member in range(study.members):
        x, labels = realization(study, cell(60), member)
        x, targets = float64(x, np.eye(K)[labels] - 1 / K)
        weight = np.linalg.solve(x.T @ x + 60 * ridge * np.eye(D), x.T @ targets)
        assert_close(found.layers["output"][member], study.splits.probe_x @ weight)
        assert_close(found.train_loss[member], np.mean((x @ weight - targets) ** 2))
        assert found.train_error[member] == np.mean(np.argmax(x @ weight, axis=1) != labels)
        test = study.splits.test_x @ weight
        assert found.test_error[member] == np.mean(np.argmax(test, axis=1) != study.splits.test_y)
        assert np.mean(labels != study.splits.train_y[:60]) > 0.1  # labels are noisy, so the two errors differ


@pytest.mark.parametrize("shared", [frozenset({"inputs"}), frozenset()])
def test_input_noise(shared, linear, trained, realization):
    study = linear(process="input-gaussian", shared=shared, members=3)
    cells = [cell(40, level) for level in (0.0, 0.3, 1.0)]
    for one, found in zip(cells, trained(study, cells), strict=True):
        for member in range(study.members):
            x, y = float64(*realization(study, one, member))
            assert_close(found.layers["output"][member], study.splits.probe_x @ np.linalg.lstsq(x, y)[0])
            assert_close(found.train_error[member], found.train_loss[member])  # targets are clean: variance 1


def test_cells_solved_together_equal_cells_solved_alone(linear, trained):
    study = linear(members=3)
    cells = [cell(n, level, ridge=ridge) for n in (40, 7) for level in (0.0, 0.5) for ridge in (0.0, 0.1)]
    order = np.random.default_rng(0).permutation(len(cells))
    together = trained(study, [cells[index] for index in order])
    for index, found in zip(order, together, strict=True):
        (alone,) = trained(study, [cells[index]])
        for name in ("output", "hidden_1"):
            # A product with more columns at once may sum in another order: float64 rounding of D terms.
            np.testing.assert_allclose(np.abs(found.layers[name]), np.abs(alone.layers[name]), rtol=0, atol=1e-12)


def test_one_factorization_for_each_n_train_where_inputs_are_shared(linear, trained, count_factorizations):
    trained(linear(members=5), [cell(n, level) for n in (40, 50) for level in (0.1, 0.5, 0.9)])
    assert (count_factorizations.count(40), count_factorizations.count(50)) == (1, 1)


def test_one_factorization_for_each_member_where_inputs_are_not_shared(linear, trained, count_factorizations):
    trained(linear(members=5, shared=frozenset()), [cell(40, level) for level in (0.1, 0.5, 0.9)])
    assert count_factorizations.count(40) == 5


def test_one_factorization_for_each_realization_of_noisy_inputs(linear, trained, count_factorizations):
    trained(linear(process="input-gaussian", members=5), [cell(40, level) for level in (0.1, 0.5, 0.9)])
    assert count_factorizations.count(40) == 5 * 3


@pytest.mark.parametrize(
    ("task", "network", "options", "message"),
    [
        ("regression", MLP(hidden=(8,)), EXACT, "only network.kind = 'linear' has a closed form"),
        ("classification", NETWORK, replace(EXACT, loss="auto"), "set train.loss = 'squared-error'"),
        ("classification", NETWORK, replace(EXACT, loss="cross-entropy"), "cross-entropy has no closed form"),
        ("regression", Linear(hidden=(8, 8)), EXACT, r"the closed form is that of one hidden layer"),
        ("regression", Linear(hidden=(8,), parametrisation="ntk"), EXACT, r"in the standard parametrisation"),
        ("regression", Linear(hidden=(K - 1,)), EXACT, r"network.hidden = \[2\]: the exact solution has rank 3"),
    ],
)
def test_what_has_no_closed_form_is_refused(task, network, options, message, linear, trained):
    with pytest.raises(ConsilienceError, match=message):
        trained(linear(task), [Cell(40, 0.5, network, options)])


def test_a_hidden_layer_as_wide_as_the_outputs_is_enough(linear, trained):
    wide, just = trained(linear(), [cell(40), cell(40)._replace(network=Linear(hidden=(K,)))])
    np.testing.assert_array_equal(wide.layers["output"], just.layers["output"])


def test_members_differ_by_their_noise_alone(linear, trained):
    clean, noisy = trained(linear(), [cell(40, 0.0), cell(40, 0.5)])
    np.testing.assert_array_equal(*clean.layers["output"])
    assert np.all(noisy.layers["output"][0] != noisy.layers["output"][1])


def test_a_deep_linear_network_from_small_weights_ends_at_the_same_map(linear, trained):
    # What of the first layer training never reaches, as no training input has a part along it, is of the size of the
    # initial weights: .05.
    options = TrainOptions(optimizer="sgd", learning_rate=0.3, momentum=0.9, steps=6000, batch="full")
    deep = Cell(D - 2, 0.5, Linear(hidden=(6, 6), init_scale=0.05), options)
    exact, found = trained(linear(), [cell(D - 2)._replace(level=0.5), deep])
    assert np.all(found.train_error < 1e-4)
    difference = np.linalg.norm(found.layers["output"] - exact.layers["output"], axis=(1, 2))
    assert np.all(difference < 0.1 * np.linalg.norm(exact.layers["output"], axis=(1, 2)))
    assert found.weights is None

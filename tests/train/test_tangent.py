"""The tangent kernel: against finite differences and closed form, in blocks, and against trained wide networks."""

from __future__ import annotations

import equinox as eqx
import jax
import numpy as np
import pytest

from consilience import theory
from consilience.errors import ConsilienceError
from consilience.train import MLP, Cell, Linear, Sizes, TrainOptions
from consilience.train.tangent import tangent_kernel

# Products of float32 gradients: a few hundred terms of order one.
FLOAT32 = 1e-4


def inputs(rows, d=3, seed=0):
    return np.random.default_rng(seed).standard_normal((rows, d)).astype(np.float32)


def by_differences(options, x, outputs, seed):
    """Kernel from central differences of every weight."""
    build = eqx.filter_jit(lambda key: options.build(Sizes(x.shape[1], outputs), key=key))
    network = build(jax.random.key(seed, impl="threefry2x32"))
    leaves, structure = jax.tree.flatten(jax.tree.map(lambda w: np.asarray(w * options.init_scale), network))
    columns, step = [], 1e-2
    for number, leaf in enumerate(leaves):
        for index in np.ndindex(leaf.shape):
            ends = []
            for sign in (1, -1):
                moved = [one.copy() for one in leaves]
                moved[number][index] += sign * step
                ends.append(np.asarray(jax.tree.unflatten(structure, moved)(x)["output"], np.float64))
            columns.append((ends[0] - ends[1]) / (2 * step))
    jacobian = np.stack(columns, axis=-1)  # (rows, outputs, weights)
    return np.einsum("iap,jap->ij", jacobian, jacobian) / outputs


@pytest.mark.parametrize("options", [MLP((4,), activation="tanh"), MLP((3, 3), activation="gelu", init_scale=0.5)])
@pytest.mark.parametrize("outputs", [1, 2])
def test_kernel_is_that_of_finite_differences(options, outputs):
    """Central differences of step .01 leave an error of about the step squared, and rounding over the step."""
    x = inputs(5)
    found = tangent_kernel(options, x, outputs=outputs, seed=3)
    np.testing.assert_allclose(found, by_differences(options, x, outputs, 3), rtol=5e-3, atol=5e-3)


def test_linear_network_has_the_kernel_of_its_two_layers():
    """f = W₂W₁x: gradients by W₂ give x'W₁'W₁x', those by W₁ ‖W₂‖² x'x'."""
    options, x = Linear((6,), init_scale=0.7), inputs(8)
    build = eqx.filter_jit(lambda key: options.build(Sizes(3, 1), key=key))
    first, second = (0.7 * layer_map(layer) for layer in build(jax.random.key(0, impl="threefry2x32")).dense)
    hidden = x @ first
    wanted = hidden @ hidden.T + np.sum(second**2) * (x @ x.T)
    np.testing.assert_allclose(tangent_kernel(options, x), wanted, rtol=FLOAT32, atol=FLOAT32)


def layer_map(layer):
    weight = np.asarray(layer.weight, np.float64)
    return weight.T if layer.narrow else weight


def test_blocks_do_not_matter():
    x, options = inputs(11), MLP((5,))
    whole = tangent_kernel(options, x, outputs=2)
    parts = tangent_kernel(options, x, outputs=2, memory=8 * 2 * (3 * 5 + 5 + 5 * 2 + 2) * 4)
    np.testing.assert_allclose(parts, whole, rtol=FLOAT32, atol=FLOAT32)
    np.testing.assert_array_equal(whole, whole.T)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: tangent_kernel(MLP((4,)), np.ones(3)), "shape"),
        (lambda: tangent_kernel(MLP((4,)), np.full((2, 2), np.inf)), "not finite"),
        (lambda: tangent_kernel(MLP((4,)), inputs(2), outputs=0), "at least one"),
        (lambda: tangent_kernel(MLP((4,)), inputs(2), memory=10), "give more"),
    ],
)
def test_what_it_refuses(call, said):
    with pytest.raises(ConsilienceError, match=said):
        call()


def test_wide_networks_agree_as_their_tangent_kernel_predicts(splits, ensemble, trained):
    """Full-batch gradient descent of 200 steps at a rate that keeps a network of 512 units lazy.

    One study has one draw of inputs: it lies within 3 of the prediction's `scatter`. Width leaves .03, the lazy
    limit being approached as 1/√512.
    """
    data = splits("regression", n_pool=150, n_outputs=1)
    network, sizes, snr, steps = MLP((512,), activation="tanh"), [50, 150], 1.0, 200
    pool = np.concatenate([data.train_x, data.test_x, data.probe_x])
    y = np.concatenate([data.train_y, data.test_y, np.zeros((len(data.probe_x), 1), np.float32)])[:220]
    kernel = tangent_kernel(network, pool[:220], seed=3)
    rate = 0.5 * len(kernel) / float(np.linalg.eigvalsh(kernel)[-1])
    options = TrainOptions(optimizer="sgd", learning_rate=rate, steps=steps, batch="full")
    one = ensemble("regression", splits=data, shared=frozenset({"inputs", "init"}), members=4)
    cells = [Cell(n, float(y.std()) / np.sqrt(snr), network, options) for n in sizes]
    measured = []
    for result in trained(one, cells):
        outputs = result.layers["output"][..., 0]
        measured.append(np.corrcoef(outputs)[np.triu_indices(4, 1)].mean())
    found = theory.predict(theory.kernel_features(kernel), y, snr, sizes, 1 / (2 * rate * steps), n_probe=40, groups=0)
    assert (np.abs(found.alignment - measured) < 3 * found.scatter + 0.03).all(), (found.alignment, measured)

"""Networks: names, order and widths of layers, what is stored, how weights start."""

from __future__ import annotations

from itertools import pairwise

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from consilience.errors import ConsilienceError, UnknownNameError
from consilience.train import MLP, NETWORKS, Linear, Sizes, count_parameters, layer_widths
from consilience.train.networks import NARROW, Dense

# Sums of a few dozen float32 products of order one.
FLOAT32 = 1e-5
# A false alarm at five standard errors has probability 6e-7.
STANDARD_ERRORS = 5.0

# Any generator will do; this one compiles in half the time of the default, which training tests use.
KEY = jax.random.key(2, impl="unsafe_rbg")

SHAPES = [(3, 2), (40, 3), (40, NARROW), (40, NARROW + 1), (NARROW, NARROW), (3, 50)]


def build(options, n_inputs, n_outputs):
    """The initial network in one compilation rather than one for each weight."""
    return eqx.filter_jit(lambda key: options.build(Sizes(n_inputs, n_outputs), key=key))(KEY)


def with_random_weights(options, n_inputs, n_outputs):
    """A network whose weights and biases are drawn by NumPy: nothing to compile, and biases are not zero."""
    rng = np.random.default_rng(4)
    shapes = eqx.filter_eval_shape(lambda key: options.build(Sizes(n_inputs, n_outputs), key=key), KEY)
    return jax.tree.map(lambda leaf: jnp.asarray(0.5 * rng.standard_normal(leaf.shape), jnp.float32), shapes)


def forward(network, x, activation):
    """NumPy float64 forward pass by layer name, reading weights in whatever way they are stored."""
    layers = {}
    for depth, dense in enumerate(network.dense, start=1):
        weight = np.asarray(dense.weight, np.float64)
        x = x @ (weight.T if dense.narrow else weight) + (0 if dense.bias is None else np.asarray(dense.bias))
        last = depth == len(network.dense)
        x = x if last else activation(x)
        layers["output" if last else f"hidden_{depth}"] = x
    return layers


ACTIVATIONS = {
    "relu": lambda z: np.maximum(z, 0),
    "tanh": np.tanh,
    "gelu": lambda z: 0.5 * z * (1 + np.tanh(np.sqrt(2 / np.pi) * (z + 0.044715 * z**3))),
}


def test_layers_keep_their_order_beyond_nine_hidden_layers():
    expected = {f"hidden_{depth}": depth for depth in range(1, 13)} | {"output": 2}
    assert list(layer_widths(MLP(hidden=tuple(range(1, 13))), Sizes(4, 2)).items()) == list(expected.items())
    network = MLP(hidden=(1,) * 12).build(Sizes(1, 1), key=KEY)
    assert list(network(np.ones((1, 1), np.float32))) == list(expected)


def test_widths_of_a_linear_network():
    assert list(layer_widths(Linear(hidden=(7,)), Sizes(20, 4)).items()) == [("hidden_1", 7), ("output", 4)]


@pytest.mark.parametrize("hidden", [(1,), (16,), (64, 64), (5, 40, 5)])
@pytest.mark.parametrize(("n_inputs", "n_outputs"), [(1, 1), (196, 10), (4, 100)])
def test_parameters_are_counted_by_layer(hidden, n_inputs, n_outputs):
    shapes = list(pairwise((n_inputs, *hidden, n_outputs)))
    assert count_parameters(MLP(hidden=hidden), Sizes(n_inputs, n_outputs)) == sum(i * o + o for i, o in shapes)
    assert count_parameters(Linear(hidden=hidden), Sizes(n_inputs, n_outputs)) == sum(i * o for i, o in shapes)


def test_counting_allocates_nothing():
    assert count_parameters(Linear(hidden=(10**6,)), Sizes(10**6, 10**6)) == 2 * 10**12


@pytest.mark.parametrize(("n_inputs", "n_outputs"), [(40, 3), (3, 50)])
def test_storage_does_not_change_the_map(n_inputs, n_outputs):
    dense = eqx.filter_jit(lambda key: Dense(n_inputs, n_outputs, gain=1.3, bias=True, key=key))(KEY)
    weight = np.asarray(jax.random.normal(KEY, (n_inputs, n_outputs))) * 1.3 / np.sqrt(n_inputs)
    x = np.random.default_rng(0).standard_normal((6, n_inputs)).astype(np.float32)
    np.testing.assert_allclose(dense(x), x @ weight, rtol=FLOAT32, atol=FLOAT32)
    assert dense.weight.shape == ((n_outputs, n_inputs) if dense.narrow else (n_inputs, n_outputs))


def test_layers_are_stored_with_the_long_axis_contiguous_when_narrow():
    def stored(shape):
        return eqx.filter_eval_shape(lambda key: Dense(*shape, gain=1.0, bias=False, key=key), KEY)

    narrow = {shape: stored(shape).narrow for shape in SHAPES}
    assert narrow == {(3, 2): True, (40, 3): True, (40, 32): True, (40, 33): False, (32, 32): False, (3, 50): False}


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_layers_are_activations_and_the_output_is_affine(activation):
    network = with_random_weights(MLP(hidden=(40, 6), activation=activation), 8, 3)
    x = 2 * np.random.default_rng(0).standard_normal((9, 8)).astype(np.float32)
    found, expected = eqx.filter_jit(network)(x), forward(network, x, ACTIVATIONS[activation])
    assert set(found) == set(expected)
    for name, layer in expected.items():
        np.testing.assert_allclose(found[name], layer, rtol=FLOAT32, atol=FLOAT32, err_msg=name)


def test_linear_network_is_the_product_of_its_weights():
    network = with_random_weights(Linear(hidden=(6,)), 8, 3)
    x = np.random.default_rng(0).standard_normal((9, 8)).astype(np.float32)
    found = eqx.filter_jit(network)(x)
    for name, layer in forward(network, x, lambda z: z).items():
        np.testing.assert_allclose(found[name], layer, rtol=FLOAT32, atol=FLOAT32, err_msg=name)
    assert all(dense.bias is None for dense in network.dense)


@pytest.mark.parametrize(
    ("options", "gains"),
    [
        (MLP(hidden=(150, 20), activation="relu"), (2**0.5, 2**0.5, 1)),
        (MLP(hidden=(150, 20), activation="gelu"), (2**0.5, 2**0.5, 1)),
        (MLP(hidden=(150, 20), activation="tanh"), (1, 1, 1)),
        (Linear(hidden=(150,)), (1, 1)),
    ],
)
def test_initial_weights_are_normal_with_variance_gain_squared_over_fan_in(options, gains):
    network = build(options, 60, 50)
    for dense, gain in zip(network.dense, gains, strict=True):
        fan_in = dense.weight.shape[1] if dense.narrow else dense.weight.shape[0]
        unit = np.asarray(dense.weight, np.float64).ravel() * np.sqrt(fan_in) / gain
        # Standard errors of the first, second and fourth moment of a standard normal: 1, √2, √96.
        for power, moment, spread in ((1, 0, 1), (2, 1, 2**0.5), (4, 3, 96**0.5)):
            error = spread / np.sqrt(unit.size)
            assert abs(np.mean(unit**power) - moment) < STANDARD_ERRORS * error
        assert dense.bias is None or not np.any(dense.bias)


def test_layers_of_one_shape_start_from_different_weights():
    network = build(MLP(hidden=(20, 20, 20)), 20, 20)
    weights = np.array([dense.weight for dense in network.dense]).reshape(4, -1)
    correlation = np.corrcoef(weights)[np.triu_indices(4, 1)]
    assert np.max(np.abs(correlation)) < STANDARD_ERRORS / np.sqrt(400)


@pytest.mark.parametrize("kind", [MLP, Linear])
@pytest.mark.parametrize("hidden", [(), (0,), (-3,)])
def test_every_network_needs_hidden_layers_with_a_width(kind, hidden):
    with pytest.raises(ConsilienceError, match=r"hidden = .* at least one, each 1 or more"):
        kind(hidden=hidden)


def test_a_width_of_zero_is_refused_in_any_layer():
    with pytest.raises(ConsilienceError, match=r"hidden = \[4, 0\]"):
        MLP(hidden=(4, 0))


@pytest.mark.parametrize("kind", [MLP, Linear])
@pytest.mark.parametrize("scale", [0.0, -1.0, np.nan, np.inf])
def test_init_scale_is_positive_and_finite(kind, scale):
    with pytest.raises(ConsilienceError, match=r"init_scale = .*: must be a positive number"):
        kind(init_scale=scale)


def test_networks_are_found_by_their_name_in_a_study_file():
    assert (NETWORKS["mlp"], NETWORKS["linear"]) == (MLP, Linear)
    with pytest.raises(UnknownNameError, match="network kind 'liner': did you mean 'linear'"):
        NETWORKS["liner"]

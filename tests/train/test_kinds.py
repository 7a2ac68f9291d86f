"""Networks beyond dense ones: layers, exact cases, and that every kind trains inside the compiled program."""

from __future__ import annotations

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from consilience.errors import ConsilienceError
from consilience.train import (
    CNN,
    MLP,
    Cell,
    Linear,
    ResNet,
    Sizes,
    TrainOptions,
    Transformer,
    bytes_per_network,
    compile_program,
    count_parameters,
    layer_widths,
    train,
)
from consilience.train.networks.maps import convolve, downsample, pixels, reduced

FLOAT32 = 1e-5
KEY = jax.random.key(2, impl="unsafe_rbg")
SHAPE = (6, 8)  # rows and columns differ, so that a mix-up of them shows
SIZES = Sizes(48, 3, SHAPE)
COLOUR = Sizes(48 * 2, 3, (*SHAPE, 2))


def with_random_weights(options, sizes, *, seed=4, scale=0.3):
    """A network whose arrays are drawn by NumPy: nothing to compile, and biases are not zero."""
    rng = np.random.default_rng(seed)
    shapes = eqx.filter_eval_shape(lambda key: options.build(sizes, key=key), KEY)
    return jax.tree.map(lambda leaf: jnp.asarray(scale * rng.standard_normal(leaf.shape), jnp.float32), shapes)


def rows(n, n_inputs=48, seed=0):
    return np.random.default_rng(seed).standard_normal((n, n_inputs)).astype(np.float32)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (CNN((4, 5)), {"conv_1": 4, "conv_2": 5, "output": 3}),
        (CNN((4, 5), spatial="flatten"), {"conv_1": 4 * 12, "conv_2": 5 * 2, "output": 3}),
        (CNN((4,), downsample="stride", hidden=(7,), spatial="flatten"), {"conv_1": 48, "hidden_1": 7, "output": 3}),
        (
            CNN((2,) * 5, spatial="flatten"),
            {"conv_1": 24, "conv_2": 4, "conv_3": 2, "conv_4": 2, "conv_5": 2, "output": 3},
        ),
        (ResNet((4, 6), blocks=2), {"stem": 4, "block_1": 4, "block_2": 4, "block_3": 6, "block_4": 6, "output": 3}),
        (Transformer(width=8, depth=1), {"embedding": 8, "block_1": 8, "output": 3}),
        (Transformer(width=8, depth=1, tokens="flatten"), {"embedding": 96, "block_1": 96, "output": 3}),
        (MLP((5,), bottleneck=2), {"hidden_1": 5, "bottleneck": 2, "output": 3}),
        (Linear((5, 4)), {"hidden_1": 5, "hidden_2": 4, "output": 3}),
    ],
)
def test_layers_by_name_order_and_width(options, expected):
    assert list(layer_widths(options, SIZES).items()) == list(expected.items())


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (CNN((4, 5)), 4 * 9 + 4 + 5 * 36 + 5 + 5 * 2 * 3 + 3),
        (CNN((4, 5), kernel=1, head="mean", hidden=(7,)), 4 + 4 + 5 * 4 + 5 + 5 * 7 + 7 + 7 * 3 + 3),
        (ResNet((4, 6)), 36 + 8 + 2 * 4 * 36 + 16 + 6 * 36 + 6 * 54 + 24 + 6 * 3 + 3),
        (MLP((5,), layer_norm=True, bottleneck=2), 48 * 5 + 5 + 10 + 5 * 2 + 2 + 2 * 3 + 3),
    ],
)
def test_parameters_are_counted(options, expected):
    assert count_parameters(options, SIZES) == expected


@pytest.mark.parametrize(
    ("options", "more"),
    [(CNN((4, 5)), 4 * 9), (ResNet((4, 6)), 4 * 9), (Transformer(width=8, depth=1, patch=2), 8 * 4)],
)
def test_a_second_channel_adds_weights_of_the_first_layer_alone(options, more):
    assert count_parameters(options, COLOUR) - count_parameters(options, SIZES) == more
    assert layer_widths(options, COLOUR) == layer_widths(options, SIZES)


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (5, 1), (1, 2)])
def test_convolution_is_that_of_xla_in_values_and_gradients(kernel, stride):
    rng = np.random.default_rng(1)
    x = rng.standard_normal((3, 6, 7, 4)).astype(np.float32)  # channels, rows, columns, batch
    weight = rng.standard_normal((5, kernel * kernel * 3)).astype(np.float32)
    out = rng.standard_normal((5, -(-6 // stride), -(-7 // stride), 4)).astype(np.float32)

    def reference(x, weight):
        kernels = jnp.transpose(weight.reshape(5, kernel, kernel, 3), (0, 3, 1, 2))
        return jax.lax.conv_general_dilated(
            x,
            kernels,
            (stride, stride),
            [(kernel // 2, kernel // 2)] * 2,
            dimension_numbers=("CHWN", "OIHW", "CHWN"),
            precision="highest",
        )

    def ours(x, weight):
        return convolve(x, weight, kernel=kernel, stride=stride)

    found, expected = (
        jax.jit(lambda x, w, f=f: (f(x, w), *jax.grad(lambda x, w: jnp.sum(f(x, w) * out), (0, 1))(x, w)))(x, weight)
        for f in (ours, reference)
    )
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * np.abs(b).max())  # sums of up to 168 products


def test_pooling_takes_blocks_and_drops_a_last_odd_row():
    x = np.arange(5 * 4, dtype=np.float32).reshape(1, 5, 4, 1)
    np.testing.assert_array_equal(downsample(jnp.asarray(x), "max")[0, ..., 0], [[5, 7], [13, 15]])
    np.testing.assert_array_equal(downsample(jnp.asarray(x), "mean")[0, ..., 0], [[2.5, 4.5], [10.5, 12.5]])
    assert downsample(jnp.asarray(x[:, :1]), "max").shape == (1, 1, 2, 1)


def test_pixels_are_read_row_by_row_and_flattened_maps_keep_their_sample():
    x = rows(3)
    maps = pixels(jnp.asarray(x), SHAPE)
    np.testing.assert_array_equal(maps[0, 2, 5], x[:, 2 * 8 + 5])
    two = jnp.concatenate([maps, 2 * maps])
    flat = np.asarray(reduced(two, "flatten")).reshape(3, 48, 2)
    np.testing.assert_array_equal(flat, np.stack([x, 2 * x], axis=2))
    np.testing.assert_allclose(reduced(two, "mean")[:, 1], 2 * x.mean(1), atol=FLOAT32)


def test_channels_of_a_pixel_lie_side_by_side():
    x = rows(3, 96)
    maps = pixels(jnp.asarray(x), (*SHAPE, 2))
    assert maps.shape == (2, *SHAPE, 3)
    for channel in (0, 1):
        np.testing.assert_array_equal(maps[channel, 2, 5], x[:, 2 * (2 * 8 + 5) + channel])


def test_a_convolutional_layer_moves_with_the_image():
    network = with_random_weights(CNN((3,), downsample="none", spatial="flatten"), SIZES)
    image = np.zeros((1, *SHAPE), np.float32)
    image[0, 2:4, 2:5] = rows(1, 6).reshape(2, 3)
    moved = np.roll(image, (1, 2), axis=(1, 2))
    forward = eqx.filter_jit(network)
    here, there = (np.asarray(forward(x.reshape(1, -1))["conv_1"]).reshape(*SHAPE, 3) for x in (image, moved))
    np.testing.assert_allclose(np.roll(here, (1, 2), axis=(0, 1)), there, atol=FLOAT32)
    assert not np.allclose(here, there)


def test_residual_branches_of_gain_zero_leave_the_stem():
    network = with_random_weights(ResNet((4, 4), blocks=2, spatial="flatten"), SIZES)
    off = jax.tree.map(lambda a: a, network)
    for block in range(4):  # a gain of 1 + g = 0 and a shift of 0
        where = lambda n, b=block: (n.blocks[b].norms[1].gain, n.blocks[b].norms[1].shift)  # noqa: E731
        off = eqx.tree_at(where, off, (jnp.full(4, -1.0), jnp.zeros(4)))
    layers = eqx.filter_jit(off)(rows(2))
    stem = np.asarray(layers["stem"]).reshape(2, *SHAPE, 4)
    np.testing.assert_allclose(np.asarray(layers["block_2"]).reshape(stem.shape), stem, atol=FLOAT32)
    halved = stem[:, ::2, ::2].reshape(2, -1)  # the second stage keeps every other position
    np.testing.assert_allclose(layers["block_4"], halved, atol=FLOAT32)
    assert not np.allclose(eqx.filter_jit(network)(rows(2))["block_1"], layers["block_1"])


def test_without_positions_the_order_of_tokens_does_not_matter():
    sizes = Sizes(12, 3)
    x = rows(5, 12)
    shuffled = x.reshape(5, 4, 3)[:, [2, 0, 3, 1]].reshape(5, 12)
    for positions in (False, True):
        options = Transformer(width=8, heads=2, depth=1, patch=3, positions=positions)
        forward = eqx.filter_jit(with_random_weights(options, sizes))
        same = np.allclose(forward(x)["output"], forward(shuffled)["output"], atol=FLOAT32)
        assert same != positions


@pytest.mark.parametrize(("sizes", "channels"), [(SIZES, 1), (COLOUR, 2)])
def test_patches_of_images_are_squares(sizes, channels):
    options = Transformer(width=4, heads=1, depth=1, patch=2, positions=False, tokens="flatten")
    network = with_random_weights(options, sizes)
    x = rows(2, 48 * channels)
    squares = x.reshape(2, 3, 2, 4, 2, channels).transpose(0, 1, 3, 2, 4, 5).reshape(2, 12, 4 * channels)
    dense = network.embedding
    weight = np.asarray(dense.weight.T if dense.narrow else dense.weight)
    np.testing.assert_allclose(
        np.asarray(network(x)["embedding"]).reshape(2, 12, 4), squares @ weight + np.asarray(dense.bias), atol=FLOAT32
    )


def test_layer_norm_standardises_rows_and_init_scale_leaves_gains():
    network = eqx.filter_jit(lambda key: MLP((50,), layer_norm=True, activation="leaky_relu").build(SIZES, key=key))(
        KEY
    )
    large = jax.tree.map(lambda weight: 30 * weight, network)
    for one in (network, large):
        hidden = np.asarray(one(rows(4))["hidden_1"])
        before = np.where(hidden < 0, hidden / 0.01, hidden)
        np.testing.assert_allclose(before.mean(1), 0, atol=1e-4)
        np.testing.assert_allclose(before.std(1), 1, rtol=1e-3)


@pytest.mark.parametrize("options", [CNN((3,)), ResNet((3,)), Transformer(width=8, depth=1)])
def test_rows_do_not_depend_on_their_batch(options):
    network = with_random_weights(options, SIZES)
    many = rows(300)  # more than are computed at once
    forward = eqx.filter_jit(network)
    all_at_once, few = forward(many), forward(many[290:])
    assert set(all_at_once) == set(few)
    for name, layer in few.items():
        np.testing.assert_allclose(all_at_once[name][290:], layer, rtol=1e-4, atol=FLOAT32, err_msg=name)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: CNN((3,)).build(Sizes(48, 3), key=KEY), r"network.kind = 'cnn': .* need images.*without data.pca"),
        (lambda: CNN((3,), kernel=2), r"kernel = 2: give an odd number"),
        (lambda: CNN(()), r"channels = \[\]: give the channels of each convolution"),
        (lambda: CNN(hidden=(0,)), r"hidden = \[0\]"),
        (lambda: ResNet((8, 4)), r"channels = \[8, 4\]: they must not fall"),
        (lambda: ResNet(blocks=0), r"blocks = 0"),
        (lambda: Transformer(width=10, heads=4), r"heads = 4: does not divide width = 10"),
        (lambda: Transformer(depth=0), r"depth = 0"),
        (lambda: Transformer(patch=5).build(SIZES, key=KEY), r"patch = 5: does not cut images of 6×8 .* \[1, 2\]"),
        (lambda: Transformer(patch=5).build(Sizes(12, 3), key=KEY), r"rows of 12 numbers.*\[1, 2, 3, 4, 6, 12\]"),
        (lambda: MLP(bottleneck=0), r"bottleneck = 0"),
        (lambda: MLP(activation="sine"), r"activation = 'sine'"),
        (lambda: MLP(parametrisation="mup").build(Sizes(4, 2, None, "muon"), key=KEY), r"'mup': .* this is 'muon'"),
    ],
)
def test_what_cannot_be_built_is_refused(make, says):
    with pytest.raises(ConsilienceError, match=says):
        make()


TRAINED = {
    "cnn": CNN((4,)),
    "resnet": ResNet((4,)),
    "transformer": Transformer(width=8, heads=2, depth=1),
    "mlp": MLP((12, 12), activation="silu", layer_norm=True, bottleneck=4, parametrisation="mup"),
    "linear": Linear((6, 6), init_scale=1.0, parametrisation="ntk"),
}


@pytest.fixture(scope="module")
def image_study():
    """Two members on images of three classes, without noise."""
    from tests.train.conftest import make_ensemble, make_splits

    splits = replace(make_splits("classification", n_inputs=48, n_outputs=3), image_shape=SHAPE)
    return make_ensemble("classification", splits=splits, members=2, n_max=24)


@pytest.mark.parametrize("kind", TRAINED)
def test_every_kind_fits_a_small_training_set(image_study, kind):
    options = TrainOptions(learning_rate=0.02, steps=200, batch=16)
    if kind == "linear":
        options = replace(options, optimizer="sgd", learning_rate=0.5, steps=600)
    ((_, found),) = train(image_study, [Cell(20, 0.0, TRAINED[kind], options)])
    assert np.all(found.diverged_at == -1)
    assert np.all(found.train_error == 0)
    widths = layer_widths(TRAINED[kind], image_study.sizes("adam"))
    assert {name: layer.shape for name, layer in found.layers.items()} == {
        name: (2, 40, width) for name, width in widths.items()
    }
    assert found.weights is None


def test_normalisation_of_a_single_position_leaves_something_to_learn_from():
    """Eight channels on a map that has shrunk to one position: eight groups would be one value each."""
    options, sizes = ResNet((8, 8, 8)), Sizes(16, 3, (4, 4))
    network = with_random_weights(options, sizes)
    gradient = jax.jit(jax.grad(lambda net: jnp.sum(net(rows(5, 16))["output"] ** 2)))(network)
    assert all(np.abs(conv.weight).max() > 1e-3 for block in gradient.blocks for conv in block.convolutions)


@pytest.mark.parametrize("network", [CNN((8, 16)), MLP((64, 64)), Transformer()], ids=lambda network: network.name)
def test_bytes_per_network_are_near_what_the_program_takes(network):
    """The compiler's own count of one device, which holds one network at a time."""
    from tests.train.conftest import make_ensemble, make_splits

    splits = replace(make_splits("classification", n_inputs=196, n_outputs=3), image_shape=(14, 14))
    study = make_ensemble("classification", splits=splits, members=2, n_max=24)
    spec = study.spec(Cell(24, 0.2, network, TrainOptions(steps=10, batch=64), checkpoints=(1, 2, 3)))
    taken = compile_program(study, spec, devices=1)._compiled.memory_analysis()
    ratio = bytes_per_network(study, spec) / (taken.temp_size_in_bytes + taken.output_size_in_bytes / 2)
    assert 1 / 2 < ratio < 2


def test_convolutions_are_bit_identical_on_one_and_two_devices(image_study, assert_same_bits):
    cell = Cell(20, 0.2, CNN((4,)), TrainOptions(learning_rate=0.01, steps=10, batch=8))
    one, two = (dict(train(image_study, [cell], devices=n))[0] for n in (1, 2))
    assert_same_bits(one, two)

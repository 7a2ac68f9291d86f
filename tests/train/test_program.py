"""Gradient training against a float64 NumPy implementation on the same noise and the same batches."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import jax
import numpy as np
import pytest

from consilience.train import Cell, Linear, TrainOptions, devices
from consilience.train.optimize import DRAWS
from consilience.train.program import Program
from consilience.train.realize import BLOCK, subset
from consilience.train.spec import Arrays

# Each step rounds weights of order one to float32 (2⁻²³); over the 71 steps of a stable training the roundings add up,
# at worst in line, and a layer sums a dozen of them.
FLOAT32_TRAINING = 12 * 71 * 2.0**-23
N_TRAIN = (13, 2 * BLOCK - 31, 2 * BLOCK)  # within a block, within the second, two whole blocks


class Layer(NamedTuple):
    weight: np.ndarray  # (inputs, outputs)
    bias: np.ndarray | None


def gelu(z):
    return 0.5 * z * (1 + np.tanh(np.sqrt(2 / np.pi) * (z + 0.044715 * z**3)))


def gelu_slope(z):
    inner = np.sqrt(2 / np.pi) * (z + 0.044715 * z**3)
    return 0.5 * (1 + np.tanh(inner)) + 0.5 * z / np.cosh(inner) ** 2 * np.sqrt(2 / np.pi) * (1 + 0.134145 * z**2)


ACTIVATIONS = {
    "identity": (lambda z: z, np.ones_like),
    "relu": (lambda z: np.maximum(z, 0), lambda z: (z > 0).astype(float)),
    "tanh": (np.tanh, lambda z: 1 - np.tanh(z) ** 2),
    "gelu": (gelu, gelu_slope),
}


# Compiled as a whole: eagerly, JAX compiles each of their many operations.
@partial(jax.jit, static_argnums=1)
def _normals(key, shapes):
    return [jax.random.normal(jax.random.fold_in(key, depth), shape) for depth, shape in enumerate(shapes)]


@partial(jax.jit, static_argnums=1)
def _draws(key, batch, n_train):
    return jax.random.randint(key, (DRAWS, batch), 0, n_train)


@dataclass
class Reference:
    """One network trained in float64 by formulas written out here."""

    ensemble: object
    cell: Cell
    member: int

    def __post_init__(self):
        linear = isinstance(self.cell.network, Linear)
        self.activation = "identity" if linear else self.cell.network.activation
        self.classification = self.ensemble.splits.task == "classification"
        self.cross_entropy = self.classification and self.cell.options.loss != "squared-error"

    def stream(self, number, what):
        key = jax.random.fold_in(jax.random.key(self.ensemble.seed), number)
        return jax.random.fold_in(key, 0 if what in self.ensemble.shared else self.member + 1)

    def initial(self):
        splits = self.ensemble.splits
        widths = (splits.train_x.shape[1], *self.cell.network.hidden, splits.n_outputs)
        network, shapes = [], tuple(pairwise(widths))
        for depth, normal in enumerate(_normals(self.stream(1, "init"), shapes)):
            hidden = depth < len(shapes) - 1
            gain = 2**0.5 if hidden and self.activation in ("relu", "gelu") else 1.0
            weight = np.asarray(normal, np.float64) * self.cell.network.init_scale * gain / np.sqrt(normal.shape[0])
            network.append(Layer(weight, None if self.activation == "identity" else np.zeros(normal.shape[1])))
        return network

    def forward(self, network, x):
        """Return pre-activations and activations of each layer."""
        pre, post = [], [np.asarray(x, np.float64)]
        for depth, (weight, bias) in enumerate(network):
            pre.append(post[-1] @ weight + (0 if bias is None else bias))
            last = depth == len(network) - 1
            post.append(pre[-1] if last else ACTIVATIONS[self.activation][0](pre[-1]))
        return pre, post

    def targets(self, y):
        if not self.classification:
            return np.asarray(y, np.float64)
        one_hot = np.eye(self.ensemble.splits.n_outputs)[y]
        return one_hot if self.cross_entropy else one_hot - 1 / self.ensemble.splits.n_outputs

    def loss(self, output, y):
        if self.cross_entropy:
            return np.mean(np.log(np.sum(np.exp(output), axis=1)) - output[np.arange(len(y)), y])
        return np.mean((output - self.targets(y)) ** 2)

    def gradient(self, network, x, y):
        pre, post = self.forward(network, x)
        if self.cross_entropy:
            chances = np.exp(pre[-1]) / np.sum(np.exp(pre[-1]), axis=1, keepdims=True)
            delta = (chances - self.targets(y)) / len(y)
        else:
            delta = 2 * (pre[-1] - self.targets(y)) / pre[-1].size
        found = []
        for depth in reversed(range(len(network))):
            bias = None if network[depth].bias is None else delta.sum(axis=0)
            found.append(Layer(post[depth].T @ delta, bias))
            if depth:
                delta = (delta @ network[depth].weight.T) * ACTIVATIONS[self.activation][1](pre[depth - 1])
        return found[::-1]

    def batches(self):
        key, options = self.stream(2, "batches"), self.cell.options
        for number in range(-(-options.steps // DRAWS)):
            yield from np.asarray(_draws(jax.random.fold_in(key, number), options.batch, self.cell.n_train))

    def train(self, x, y):
        options, network = self.cell.options, self.initial()
        self.losses = []  # of each batch, before its update
        update = (Adam if options.optimizer == "adam" else Momentum)(options)
        everything = (np.arange(self.cell.n_train) for _ in range(options.steps))
        batches = everything if options.batch == "full" else self.batches()
        for step, ids in zip(range(options.steps), batches, strict=False):
            self.losses.append(self.loss(self.forward(network, x[ids])[1][-1], y[ids]))
            rate = options.learning_rate
            if options.schedule == "cosine":
                past = max(step - options.warmup, 0) / (options.steps - options.warmup)
                rate *= 0.5 * (1 + np.cos(np.pi * past))
            if step < options.warmup:
                rate *= (step + 1) / options.warmup
            gradient = self.gradient(network, x[ids], y[ids])
            network = [
                Layer(*(update((depth, i), w, g, rate) for i, (w, g) in enumerate(zip(layer, slope, strict=True))))
                for depth, (layer, slope) in enumerate(zip(network, gradient, strict=True))
            ]
        return network


class Momentum:
    """g ← g + decay w;  v ← momentum v + g;  w ← w − rate v, or w − rate (momentum v + g) where Nesterov's."""

    def __init__(self, options):
        self.options, self.velocity = options, {}

    def __call__(self, name, w, g, rate):
        if w is None:
            return None
        g = g + self.options.weight_decay * w
        self.velocity[name] = self.options.momentum * self.velocity.get(name, 0) + g
        step = self.velocity[name]
        return w - rate * (self.options.momentum * step + g if self.options.nesterov else step)


class Adam:
    """Kingma & Ba with β = .9, .999, ε = 1e-8, and decay decoupled from the moments: w ← w − rate (step + decay w)."""

    def __init__(self, options):
        self.options, self.moments = options, {}

    def __call__(self, name, w, g, rate):
        if w is None:
            return None
        t, m, v = self.moments.get(name, (0, 0.0, 0.0))
        t, m, v = t + 1, 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        self.moments[name] = t, m, v
        step = (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        return w - rate * (step + self.options.weight_decay * w)


def test_training_equals_float64_numpy(any_case, trained, realization):
    study, cell = any_case
    cells = [cell._replace(n_train=n) for n in N_TRAIN]
    for cell, found in zip(cells, trained(study, cells), strict=True):
        for member in range(study.members):
            _assert_equal(Reference(study, cell, member), found, *realization(study, cell, member))


def _assert_equal(reference, found, x, y):
    network, member, splits = reference.train(x, y), reference.member, reference.ensemble.splits
    layers = reference.forward(network, splits.probe_x)[1][1:]
    names = [f"hidden_{depth}" for depth in range(1, len(layers))] + ["output"]
    assert set(found.layers) == set(names)
    tolerance = {"rtol": FLOAT32_TRAINING, "atol": FLOAT32_TRAINING}
    for name, layer in zip(names, layers, strict=True):
        np.testing.assert_allclose(found.layers[name][member], layer, **tolerance, err_msg=name)
    noisy_targets = reference.ensemble.process.corrupts == "labels" and not reference.classification
    for part, inputs, labels, variance in (
        ("train", x, y, 1 + noisy_targets * reference.cell.level**2),
        ("test", splits.test_x, splits.test_y, 1.0),
    ):
        output = reference.forward(network, inputs)[1][-1]
        loss = reference.loss(output, labels)
        error = np.mean(np.argmax(output, axis=1) != labels) if reference.classification else loss / variance
        np.testing.assert_allclose(getattr(found, f"{part}_loss")[member], loss, **tolerance)
        np.testing.assert_allclose(getattr(found, f"{part}_error")[member], error, **tolerance)
    assert found.diverged_at[member] == -1


NARROW, WIDE = 4, 40  # hidden units: W₁ of the first is stored the other way round, of the second W₂ is


@pytest.mark.parametrize("hidden", [NARROW, WIDE])
def test_weights_of_linear_networks_are_the_maps_between_layers(hidden, case, trained):
    study, cell = case("sgd")
    cell = cell._replace(network=replace(cell.network, hidden=(hidden,)))
    (found,) = trained(study, [cell])
    probe = np.asarray(study.splits.probe_x, np.float64)
    for member in range(study.members):
        first, second = found.weights.first[member], found.weights.second[member]
        assert (first.dtype, first.shape, second.shape) == (
            np.float32,
            (hidden, study.splits.d),
            (study.splits.n_outputs, hidden),
        )
        inner = probe @ first.T
        tolerance = {"rtol": FLOAT32_TRAINING, "atol": FLOAT32_TRAINING}
        np.testing.assert_allclose(found.layers["hidden_1"][member], inner, **tolerance)
        np.testing.assert_allclose(found.layers["output"][member], inner @ second.T, **tolerance)


@pytest.mark.parametrize("hidden", [NARROW, WIDE])
def test_initial_weights_are_those_training_starts_from(hidden, case, trained):
    study, cell = case("sgd")
    cell = cell._replace(network=replace(cell.network, hidden=(hidden,)))
    still = cell._replace(options=replace(cell.options, learning_rate=1e-30))
    moved, stayed = trained(study, [cell, still])
    for index, name in enumerate(("first", "second")):
        start = moved.weights.initial[index]
        np.testing.assert_array_equal(start, stayed.weights.initial[index])
        np.testing.assert_array_equal(start, getattr(stayed.weights, name))
        assert np.abs(getattr(moved.weights, name) - start).max() > 0.01


def test_other_networks_have_no_weights_to_give(case, trained):
    study, cell = case("full heavy")
    assert trained(study, [cell])[0].weights is None


@pytest.mark.parametrize(("rate", "latest"), [(4.0, 71), (1e30, 1)])
def test_divergence_is_dated_where_the_loss_leaves_float32(rate, latest, case, trained, realization):
    study, cell = case("sgd")
    cell = cell._replace(options=replace(cell.options, learning_rate=rate))
    (found,) = trained(study, [cell])
    for member in range(study.members):
        reference = Reference(study, cell, member)
        with np.errstate(all="ignore"):
            reference.train(*realization(study, cell, member))
        # A batch sums 24 squares before dividing: it may overflow one step before its mean does.
        step = int(np.argmax(~(np.array(reference.losses) < np.finfo(np.float32).max)))
        assert 1 <= step <= latest
        assert step - 1 <= found.diverged_at[member] <= step
        assert not np.isfinite(found.train_loss[member])


def test_divergence_by_the_last_update_is_dated_after_it(case, trained):
    study, cell = case("sgd")
    steady, wild = (cell._replace(options=replace(cell.options, steps=1, learning_rate=rate)) for rate in (0.1, 1e30))
    found = trained(study, [steady, wild])
    assert [one.diverged_at.tolist() for one in found] == [[-1, -1], [1, 1]]


@pytest.mark.parametrize("name", ["sgd", "full heavy", "full adam"])
def test_divergence_stays_in_its_row(name, case, trained, assert_same_bits):
    study, steady = case(name)
    wild = steady._replace(options=replace(steady.options, learning_rate=1e30))
    one, diverged, other = trained(study, [steady, wild, steady])
    assert np.all(diverged.diverged_at == 1)
    assert np.all(one.diverged_at == -1)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(one))
    assert_same_bits(one, other)
    assert_same_bits(one, trained(study, [steady])[0])


@pytest.mark.parametrize("name", ["sgd", "adam", "full heavy", "full adam"])
def test_samples_beyond_n_train_change_nothing(name, case, trained, with_pool_rows, assert_same_bits):
    study, cell = case(name)
    beyond = slice(cell.n_train, None)
    inputs = np.random.default_rng(1).uniform(-3, 3, study.splits.train_x[beyond].shape)
    found = [
        trained(with_pool_rows(study, beyond, size * inputs, study.splits.train_y[beyond][::-1]), [cell])[0]
        for size in (0.5, 1.0, 1e38)  # no float32 holds what a network makes of the last
    ]
    # The first member's set is the first n_train samples even where members have inputs of their own.
    one, two, three = (jax.tree.map(lambda leaf: leaf[:1], each) for each in found)
    assert_same_bits(one, two)
    assert_same_bits(one, three)


@pytest.mark.parametrize("name", ["sgd", "full adam"])
def test_the_last_sample_below_n_train_counts(name, case, trained, with_pool_rows):
    study, cell = case(name)
    last = cell.n_train - 1
    other = with_pool_rows(study, last, -study.splits.train_x[last], study.splits.train_y[last])
    assert trained(study, [cell])[0].train_loss[0] != trained(other, [cell])[0].train_loss[0]


def test_vectorised_chunks_agree_with_one_row_after_another(case, trained):
    """What an accelerator does: rows of one chunk differ in n_train, rate and fate."""
    study, cell = case("full adam")
    wild = replace(cell.options, learning_rate=1e30)
    cells = [cell, cell._replace(n_train=5), cell._replace(options=wild), cell._replace(n_train=130)]
    rows = study.rows(cells)
    data = Arrays.of(study.splits, study.seed)
    sizes = {"n_max": study.n_max, "rows_per_call": len(rows.n_train)}
    chunks = Program(study.spec(cell), data, **sizes, devices=devices(1), chunk=4)(rows)
    one_by_one = jax.tree.map(lambda *parts: np.concatenate(parts), *trained(study, cells))
    for a, b in zip(jax.tree.leaves(one_by_one), jax.tree.leaves(chunks), strict=True):
        np.testing.assert_allclose(a, b, rtol=FLOAT32_TRAINING, atol=FLOAT32_TRAINING)
    assert np.array_equal(chunks.diverged_at >= 0, np.repeat([False, False, True, False], study.members))


@pytest.mark.parametrize("members", [2, 3, 5])
@pytest.mark.parametrize("n_pool", [30, 31])
def test_inputs_of_their_own_are_disjoint_as_long_as_the_pool_lasts(members, n_pool, ensemble, splits):
    study = ensemble(splits=splits("regression", n_pool=n_pool), shared=frozenset(), members=members)
    spec = study.spec(Cell(1, 0.0, Linear(), TrainOptions()))
    sets = [np.asarray(subset(spec, np.uint32(member), n_pool=n_pool, n_max=n_pool)) for member in range(members)]
    assert all(sorted(one) == list(range(n_pool)) for one in sets)
    share = n_pool // members
    assert len(set(np.concatenate([one[:share] for one in sets]))) == share * members

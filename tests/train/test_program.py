"""Gradient training against a float64 NumPy implementation on the same noise and the same batches."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import jax
import numpy as np
import pytest

from consilience.data import PROCESSES
from consilience.train import MLP, Cell, Linear, TrainOptions
from consilience.train.program import BLOCK, DRAWS, Spec, subset

STEPS = 71  # two whole draws of batches and a part of a third
# Every step rounds weights of order one to float32 (2⁻²³); over STEPS steps of a stable training the roundings add
# up, at worst in line, and a layer sums a dozen of them.
FLOAT32_TRAINING = 12 * STEPS * 2.0**-23


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
        update = (Adam if options.optimizer == "adam" else Momentum)(options)
        everything = (np.arange(self.cell.n_train) for _ in range(options.steps))
        batches = everything if options.batch == "full" else self.batches()
        for step, ids in zip(range(options.steps), batches, strict=False):
            rate = options.learning_rate
            if options.schedule == "cosine":
                rate *= 0.5 * (1 + np.cos(np.pi * step / options.steps))
            gradient = self.gradient(network, x[ids], y[ids])
            network = [
                Layer(*(update((depth, i), w, g, rate) for i, (w, g) in enumerate(zip(layer, slope, strict=True))))
                for depth, (layer, slope) in enumerate(zip(network, gradient, strict=True))
            ]
        return network


class Momentum:
    """v ← momentum v + g + decay w;  w ← w − rate v."""

    def __init__(self, options):
        self.options, self.velocity = options, {}

    def __call__(self, name, w, g, rate):
        if w is None:
            return None
        g = g + self.options.weight_decay * w
        self.velocity[name] = self.options.momentum * self.velocity.get(name, 0) + g
        return w - rate * self.velocity[name]


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


SGD = TrainOptions(optimizer="sgd", learning_rate=0.1, steps=STEPS, batch=8)
HEAVY = replace(SGD, momentum=0.8, weight_decay=0.05, schedule="cosine")
ADAM = TrainOptions(learning_rate=0.01, steps=STEPS, batch=8)
DECAYING = replace(ADAM, weight_decay=0.5, schedule="cosine")
INPUTS, NONE, ALL = frozenset({"inputs"}), frozenset(), frozenset({"inputs", "init", "batches"})

# name: task, process, shared, network, options
CASES = {
    "sgd linear": ("regression", "label-gaussian", INPUTS, Linear(hidden=(4,), init_scale=0.3), SGD),
    "momentum decay cosine": ("regression", "label-gaussian", NONE, MLP(hidden=(6, 4), activation="tanh"), HEAVY),
    "adam relu": ("classification", "label-flip", INPUTS, MLP(hidden=(8,)), ADAM),
    "adam decay cosine gelu": (
        "classification",
        "input-gaussian",
        frozenset({"inputs", "batches"}),
        MLP(hidden=(5,), activation="gelu", init_scale=0.7),
        replace(DECAYING, loss="squared-error"),
    ),
    "full batch sgd": (
        "regression",
        "input-gaussian",
        frozenset({"init"}),
        MLP(hidden=(6,), activation="tanh"),
        replace(HEAVY, batch="full"),
    ),
    "full batch adam": ("classification", "label-flip", ALL, MLP(hidden=(6,)), replace(DECAYING, batch="full")),
}
N_TRAIN = (13, 2 * BLOCK - 31, 2 * BLOCK)  # within a block, within the second, two whole blocks


@pytest.mark.parametrize("name", CASES)
def test_training_equals_float64_numpy(name, ensemble, trained, realization):
    task, process, shared, network, options = CASES[name]
    study = ensemble(task, process, shared=shared)
    cells = [Cell(n, 0.6, network, options) for n in N_TRAIN]
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

"""Networks of a study: Equinox modules that return the activations of every layer by name.

A network is described by a frozen dataclass registered in `NETWORKS`; its fields are the options of the
``[network]`` table of a study. Adding one means adding one such class here (or in a file imported by
`consilience.train`).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Literal, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from consilience._catalogue import Catalogue
from consilience.errors import ConsilienceError
from consilience.train.options import check_choices

__all__ = [
    "MLP",
    "NETWORKS",
    "Dense",
    "Linear",
    "Network",
    "NetworkOptions",
    "count_parameters",
    "layer_widths",
    "register_network",
]

# A dense layer with at most this many outputs stores its weight as (outputs, inputs), a wider one as
# (inputs, outputs): with the long axis contiguous XLA's CPU products of a 196-16-10 network take 13.6 µs a
# step instead of 19.7; wide layers are as fast or faster the other way round.
NARROW = 32


class Dense(eqx.Module):
    """Affine map of a batch: ``x @ W + b``."""

    weight: Array  # (inputs, outputs), or (outputs, inputs) when narrow
    bias: Array | None  # (outputs,)
    narrow: bool = eqx.field(static=True)

    def __init__(self, n_inputs: int, n_outputs: int, *, gain: float, bias: bool, key: Array) -> None:
        """Weights N(0, gain² / n_inputs), biases zero."""
        self.narrow = n_outputs <= NARROW and n_outputs < n_inputs
        weight = jax.random.normal(key, (n_inputs, n_outputs)) * (gain / np.sqrt(n_inputs))
        self.weight = weight.T if self.narrow else weight
        self.bias = jnp.zeros(n_outputs) if bias else None

    def __call__(self, x: Array) -> Array:
        """Map x (batch, inputs) to (batch, outputs)."""
        y = x @ (self.weight.T if self.narrow else self.weight)
        return y if self.bias is None else y + self.bias


class Network(eqx.Module):
    """A network maps a batch (batch, inputs) to ``{layer name: activations}``, in order, "output" last."""

    @abstractmethod
    def __call__(self, x: Array) -> dict[str, Array]:
        """Return every layer's activations (batch, width)."""


class Sequential(Network):
    """Dense layers with one activation between them; the activation of the last layer is the identity."""

    dense: tuple[Dense, ...]
    activation: Literal["identity", "relu", "tanh", "gelu"] = eqx.field(static=True)

    def __call__(self, x: Array) -> dict[str, Array]:
        """Activations ``hidden_1`` … ``hidden_L``, ``output``."""
        layers: dict[str, Array] = {}
        for depth, dense in enumerate(self.dense[:-1], start=1):
            x = _activate(self.activation, dense(x))
            layers[f"hidden_{depth}"] = x
        layers["output"] = self.dense[-1](x)
        return layers


def _activate(name: str, x: Array) -> Array:
    if name == "identity":
        return x
    if name == "relu":
        return jax.nn.relu(x)
    return jnp.tanh(x) if name == "tanh" else jax.nn.gelu(x)


# sqrt(2) keeps the second moment of activations through ReLU-like units (He et al., arXiv 1502.01852).
_GAIN = {"identity": 1.0, "relu": 2.0**0.5, "tanh": 1.0, "gelu": 2.0**0.5}


@dataclass(frozen=True)
class NetworkOptions(ABC):
    """Base of the descriptions in `NETWORKS`.

    `init_scale` multiplies every initial weight. It is data of the compiled program, not part of its shape,
    so a grid over it compiles once.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}
    name: ClassVar[str]
    hidden: tuple[int, ...]
    init_scale: float

    @abstractmethod
    def build(self, n_inputs: int, n_outputs: int, *, key: Array) -> Network:
        """Return the network at initialization, before `init_scale`."""

    def _check(self) -> None:
        check_choices(self)
        if not self.hidden or min(self.hidden) < 1:
            raise ConsilienceError(
                f"hidden = {list(self.hidden)}: give the width of each hidden layer, at least one, each 1 or more"
            )
        if not (np.isfinite(self.init_scale) and self.init_scale > 0):
            raise ConsilienceError(f"init_scale = {self.init_scale}: must be a positive number")


NETWORKS: Catalogue[type[NetworkOptions]] = Catalogue("network kind")
"""Every network by the name a study file calls it."""

NetworkType = TypeVar("NetworkType", bound=type[NetworkOptions])


def register_network(cls: NetworkType) -> NetworkType:
    """Class decorator: list the network in `NETWORKS` under its `name`."""
    NETWORKS.register(cls.name, cls)
    return cls


@register_network
@dataclass(frozen=True)
class Linear(NetworkOptions):
    """Linear network with one hidden layer and no biases: f(x) = W₂ W₁ x.

    The network whose alignment `consilience.theory` computes. The theory speaks about small
    initialization (`init_scale` 0.01, the default) and, for the hidden layer, small steps: with large steps or
    momentum gradient descent reaches the same map through layers that are less balanced.
    """

    name: ClassVar[str] = "linear"

    hidden: tuple[int, ...] = (16,)
    init_scale: float = 0.01

    def __post_init__(self) -> None:
        self._check()
        if len(self.hidden) != 1:
            raise ConsilienceError(
                f"hidden = {list(self.hidden)}: a linear network has one hidden layer; give one width, e.g. [16]"
            )

    def build(self, n_inputs: int, n_outputs: int, *, key: Array) -> Network:
        """Return W₁ and W₂ with entries N(0, 1 / fan-in)."""
        return _sequential((n_inputs, *self.hidden, n_outputs), "identity", bias=False, key=key)


@register_network
@dataclass(frozen=True)
class MLP(NetworkOptions):
    """Multilayer perceptron: dense layers of the given widths with biases and one activation function."""

    name: ClassVar[str] = "mlp"

    hidden: tuple[int, ...] = (64, 64)
    activation: Literal["relu", "tanh", "gelu"] = "relu"
    init_scale: float = 1.0

    def __post_init__(self) -> None:
        self._check()

    def build(self, n_inputs: int, n_outputs: int, *, key: Array) -> Network:
        """Return He initialization for relu and gelu, LeCun for tanh and the output; biases zero."""
        return _sequential((n_inputs, *self.hidden, n_outputs), self.activation, bias=True, key=key)


def _sequential(
    widths: tuple[int, ...],
    activation: Literal["identity", "relu", "tanh", "gelu"],
    *,
    bias: bool,
    key: Array,
) -> Sequential:
    last = len(widths) - 2
    dense = tuple(
        Dense(
            n_inputs,
            n_outputs,
            gain=1.0 if depth == last else _GAIN[activation],
            bias=bias,
            key=jax.random.fold_in(key, depth),
        )
        for depth, (n_inputs, n_outputs) in enumerate(pairwise(widths))
    )
    return Sequential(dense, activation)


def _abstract(options: NetworkOptions, n_inputs: int, n_outputs: int) -> Network:
    """Return the network's shapes only: nothing is computed or allocated."""
    return eqx.filter_eval_shape(lambda key: options.build(n_inputs, n_outputs, key=key), jax.random.key(0))


def count_parameters(options: NetworkOptions, n_inputs: int, n_outputs: int) -> int:
    """Return the number of trainable numbers.

    >>> count_parameters(MLP(hidden=(16,)), 196, 10)
    3322
    """
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(_abstract(options, n_inputs, n_outputs)))


def layer_widths(options: NetworkOptions, n_inputs: int, n_outputs: int) -> dict[str, int]:
    """Return the width of each layer by name, in order, "output" last.

    >>> layer_widths(MLP(hidden=(8, 4)), 20, 1)
    {'hidden_1': 8, 'hidden_2': 4, 'output': 1}
    """
    # JAX sorts the keys of a dictionary it returns; the order of layers is the order the network wrote them in.
    widths: dict[str, int] = {}

    def forward(network: Network, x: Array) -> None:
        widths.update({name: layer.shape[-1] for name, layer in network(x).items()})

    x = jax.ShapeDtypeStruct((1, n_inputs), jnp.float32)
    eqx.filter_eval_shape(forward, _abstract(options, n_inputs, n_outputs), x)
    return widths

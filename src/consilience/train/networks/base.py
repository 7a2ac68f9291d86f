"""What every network of a study is: a module that returns the activations of every layer by name.

A network is described by a frozen dataclass registered in `NETWORKS`; its fields are the options of the
``[network]`` table of a study. Adding one means adding one such class in a file imported by this package.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from consilience._catalogue import Catalogue
from consilience.errors import ConsilienceError
from consilience.train.networks.parametrisation import Scale
from consilience.train.options import check_choices

__all__ = [
    "GAIN",
    "NARROW",
    "NETWORKS",
    "ROWS_AT_ONCE",
    "Activation",
    "Dense",
    "Network",
    "NetworkOptions",
    "Reduction",
    "Sizes",
    "activate",
    "check_widths",
    "count_parameters",
    "in_blocks",
    "layer_widths",
    "register_network",
]

# A dense layer with at most this many outputs stores its weight as (outputs, inputs), a wider one as
# (inputs, outputs): with the long axis contiguous XLA's CPU products of a 196-16-10 network take 13.6 µs a
# step instead of 19.7; wide layers are as fast or faster the other way round.
NARROW = 32

# Rows a convolution or an attention layer takes at once: its intermediate arrays are many times the input's size, and
# the probe set has a thousand rows.
ROWS_AT_ONCE = 256

Activation = Literal["relu", "tanh", "gelu", "silu", "leaky_relu"]
Reduction = Literal["mean", "flatten"]
"""How a map of channels over positions becomes features: averaged over positions, or all of them side by side."""


class Sizes(NamedTuple):
    """What a network must fit: the data, and the optimizer its parametrisation is for."""

    n_inputs: int
    n_outputs: int
    # (rows, columns[, channels]) where the inputs are an image's pixels, row by row, channels side by side
    image_shape: tuple[int, ...] | None = None
    optimizer: str = "sgd"


class Dense(eqx.Module):
    """Affine map of a batch: ``m · x @ W + m_b · b``, both multipliers 1 in the standard parametrisation."""

    weight: Array  # (inputs, outputs), or (outputs, inputs) when narrow
    bias: Array | None  # (outputs,)
    narrow: bool = eqx.field(static=True)
    multiplier: float = eqx.field(static=True)
    bias_multiplier: float = eqx.field(static=True)

    def __init__(
        self, n_inputs: int, n_outputs: int, *, gain: float, bias: bool, key: Array, scale: Scale | None = None
    ) -> None:
        """Weights N(0, gain² / n_inputs), or as `scale` says; biases zero."""
        scale = scale or Scale(1.0, float(gain / np.sqrt(n_inputs)))
        self.narrow = n_outputs <= NARROW and n_outputs < n_inputs
        weight = jax.random.normal(key, (n_inputs, n_outputs)) * scale.sd
        self.weight = weight.T if self.narrow else weight
        self.bias = jnp.zeros(n_outputs) if bias else None
        self.multiplier, self.bias_multiplier = scale.multiplier, scale.bias

    def __call__(self, x: Array) -> Array:
        """Map x (…, inputs) to (…, outputs)."""
        y = times(self.multiplier, x @ (self.weight.T if self.narrow else self.weight))
        return y if self.bias is None else y + times(self.bias_multiplier, self.bias)


def times(multiplier: float, x: Array) -> Array:
    """Multiply, and compile nothing for a factor of one."""
    return x if multiplier == 1.0 else multiplier * x


class Network(eqx.Module):
    """A network maps a batch (batch, inputs) to ``{layer name: activations}``, in order, "output" last.

    Its arrays are what is trained. Rows do not see each other: training, losses and probe set take them in batches of
    different sizes, so normalisation over the batch is not for these networks.
    """

    @abstractmethod
    def __call__(self, x: Array) -> dict[str, Array]:
        """Return every layer's activations (batch, width)."""


def activate(name: str, x: Array) -> Array:
    """Apply an activation function by its name; "identity" too."""
    if name == "identity":
        return x
    if name == "tanh":
        return jnp.tanh(x)
    functions: dict[str, Callable[[Array], Array]] = {
        "relu": jax.nn.relu,
        "gelu": jax.nn.gelu,
        "silu": jax.nn.silu,
        "leaky_relu": jax.nn.leaky_relu,
    }
    return functions[name](x)


# sqrt(2) keeps the second moment of activations through ReLU-like units (He et al., arXiv 1502.01852).
GAIN = {
    "identity": 1.0,
    "relu": 2.0**0.5,
    "tanh": 1.0,
    "gelu": 2.0**0.5,
    "silu": 2.0**0.5,
    "leaky_relu": (2 / (1 + 0.01**2)) ** 0.5,
}


def in_blocks(forward: Callable[[Array], dict[str, Array]], x: Array) -> dict[str, Array]:
    """Return ``forward(x)``, computed for a limited number of rows at once."""
    rows = x.shape[0]
    if rows <= ROWS_AT_ONCE:
        return forward(x)
    blocks = -(-rows // ROWS_AT_ONCE)
    size = -(-rows // blocks)
    padded = jnp.pad(x, ((0, blocks * size - rows), (0, 0)))
    names: list[str] = []

    def block(part: Array) -> tuple[Array, ...]:
        layers = forward(part)
        names[:] = layers
        return tuple(layers.values())

    found = jax.lax.map(block, padded.reshape(blocks, size, -1))
    return {name: layer.reshape(blocks * size, -1)[:rows] for name, layer in zip(names, found, strict=True)}


@dataclass(frozen=True)
class NetworkOptions(ABC):
    """Base of the descriptions in `NETWORKS`.

    `init_scale` multiplies every initial weight. It is data of the compiled program, not part of its shape,
    so a grid over it compiles once.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}
    name: ClassVar[str]
    rows_at_once: ClassVar[int | None] = ROWS_AT_ONCE
    """Rows that a forward pass takes at once, of however many it is given; None: all of them."""

    init_scale: float = field(default=1.0, kw_only=True)

    @abstractmethod
    def build(self, sizes: Sizes, *, key: Array) -> Network:
        """Return the network at initialization, before `init_scale`.

        Raises
        ------
        ConsilienceError
            When the network cannot be made for such data or such an optimizer.
        """

    def check(self, sizes: Sizes) -> None:
        """Refuse what building does not show; asked once, before anything is written.

        Raises
        ------
        ConsilienceError
            When networks like this one cannot be part of a study.
        """
        del sizes

    def passing(self, sizes: Sizes) -> Passing:
        """Return what one input row takes on its way through the network, for estimates of memory."""
        one, two = (_arrays_made(self, sizes, rows) for rows in (1, 2))  # what does not grow is weights
        each = [(b[0] - a[0], b[1] - a[1]) for a, b in zip(one, two, strict=True)]
        return Passing(max((both for both, _ in each), default=0), sum(made for _, made in each))

    def _check(self) -> None:
        check_choices(self)
        if not (np.isfinite(self.init_scale) and self.init_scale > 0):
            raise ConsilienceError(f"init_scale = {self.init_scale}: must be a positive number")


class Passing(NamedTuple):
    """Numbers that a row takes in a forward pass."""

    most: int  # in the operation that reads and makes most of them
    made: int  # by all operations: what a gradient goes back over


def check_widths(name: str, widths: tuple[int, ...], what: str, *, least: int = 1) -> None:
    """Refuse a list of widths that has fewer than `least` or one below 1."""
    if len(widths) < least or (widths and min(widths) < 1):
        number = "at least one, each 1 or more" if least else "each 1 or more"
        raise ConsilienceError(f"{name} = {list(widths)}: give {what}, {number}")


def _own(name: str) -> type[NetworkOptions]:
    from consilience.train.networks.custom import custom_network  # it stands on this file

    return custom_network(name)


NETWORKS: Catalogue[type[NetworkOptions]] = Catalogue("network kind", own=_own)
"""Every network by the name a study file calls it; "package.module:function" makes one of a user's function."""

NetworkType = TypeVar("NetworkType", bound=type[NetworkOptions])


def register_network(cls: NetworkType) -> NetworkType:
    """Class decorator: list the network in `NETWORKS` under its `name`."""
    NETWORKS.register(cls.name, cls)
    return cls


def _abstract(options: NetworkOptions, sizes: Sizes) -> Network:
    """Return the network's shapes only: nothing is computed or allocated."""
    return eqx.filter_eval_shape(lambda key: options.build(sizes, key=key), jax.random.key(0))


def count_parameters(options: NetworkOptions, sizes: Sizes) -> int:
    """Return the number of trainable numbers.

    >>> from consilience.train import MLP
    >>> count_parameters(MLP(hidden=(16,)), Sizes(196, 10))
    3322
    """
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(_abstract(options, sizes)))


def layer_widths(options: NetworkOptions, sizes: Sizes) -> dict[str, int]:
    """Return the width of each layer by name, in order, "output" last.

    >>> from consilience.train import MLP
    >>> layer_widths(MLP(hidden=(8, 4)), Sizes(20, 1))
    {'hidden_1': 8, 'hidden_2': 4, 'output': 1}
    """
    # JAX sorts the keys of a dictionary it returns; the order of layers is the order the network wrote them in.
    widths: dict[str, int] = {}

    def forward(network: Network, x: Array) -> None:
        widths.update({name: layer.shape[-1] for name, layer in network(x).items()})

    x = jax.ShapeDtypeStruct((1, sizes.n_inputs), jnp.float32)
    eqx.filter_eval_shape(forward, _abstract(options, sizes), x)
    return widths


# Operations whose results are arrays in memory; elementwise ones, slices and padding are compiled into what uses them.
_MAKES_AN_ARRAY = {"dot_general", "conv_general_dilated", "concatenate", "gather", "reduce_sum", "reduce_max", "sort"}


def _arrays_made(options: NetworkOptions, sizes: Sizes, rows: int) -> list[tuple[int, int]]:
    """Return for every operation that makes an array the numbers it reads and makes, and those it makes."""
    x = jax.ShapeDtypeStruct((rows, sizes.n_inputs), jnp.float32)
    program: Any = eqx.filter_make_jaxpr(lambda net, x: net(x))(_abstract(options, sizes), x)[0]
    return list(_made_in(program.jaxpr))


def _made_in(jaxpr: Any) -> Iterator[tuple[int, int]]:
    for equation in jaxpr.eqns:
        inside = [getattr(value, "jaxpr", value) for value in equation.params.values()]
        inside = [value for value in inside if hasattr(value, "eqns")]
        for inner in inside:
            yield from _made_in(inner)
        if not inside and equation.primitive.name in _MAKES_AN_ARRAY:
            read = sum(math.prod(one.aval.shape) for one in equation.invars)
            made = sum(math.prod(one.aval.shape) for one in equation.outvars)
            yield read + made, made

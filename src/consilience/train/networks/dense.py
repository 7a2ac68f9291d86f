"""Networks of dense layers: linear, and multilayer perceptrons."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import ClassVar

import equinox as eqx
import jax
from jax import Array

from consilience.errors import ConsilienceError
from consilience.train.networks.base import (
    GAIN,
    Activation,
    Dense,
    Network,
    NetworkOptions,
    Sizes,
    activate,
    check_widths,
    register_network,
)
from consilience.train.networks.normalisation import Norm, layer_norm
from consilience.train.networks.parametrisation import BASE_WIDTH, Parametrisation, Role, scale

__all__ = ["MLP", "Linear", "Sequential", "dense_layer"]


class Sequential(Network):
    """Dense layers with one activation between them; the activation of the last layer is the identity."""

    dense: tuple[Dense, ...]
    norms: tuple[Norm, ...]  # of the hidden layers, before the activation; empty for none
    activation: str = eqx.field(static=True)
    bottleneck: bool = eqx.field(static=True, default=False)  # whether the layer before the output is linear

    def __call__(self, x: Array) -> dict[str, Array]:
        """Activations ``hidden_1`` … ``hidden_L``, perhaps ``bottleneck``, and ``output``."""
        layers: dict[str, Array] = {}
        hidden = len(self.dense) - 1 - self.bottleneck
        for depth, dense in enumerate(self.dense[:hidden], start=1):
            x = dense(x)
            if self.norms:
                x = layer_norm(self.norms[depth - 1], x)
            x = activate(self.activation, x)
            layers[f"hidden_{depth}"] = x
        if self.bottleneck:
            x = self.dense[hidden](x)
            layers["bottleneck"] = x
        layers["output"] = self.dense[-1](x)
        return layers


@register_network
@dataclass(frozen=True)
class Linear(NetworkOptions):
    """Linear network without biases: f(x) = W_{L+1} ⋯ W₂ W₁ x, one hidden layer by default.

    The network whose alignment `consilience.theory` computes. The theory speaks about small
    initialization (`init_scale` 0.01, the default) and, for the hidden layer, small steps: with large steps or
    momentum gradient descent reaches the same map through layers that are less balanced. With several hidden
    layers only the outputs are predicted: gradients of W₁ are combinations of training inputs, so a network that
    starts small ends at the least-squares map of least norm at any depth, but deeper networks leave a small
    initialization slowly; Adam, which scales each weight's gradient by itself, does so only where that map is the only
    one, with more samples than inputs. The exact solver and the regimes of the hidden layer are for one hidden layer.

    Attributes
    ----------
    hidden
        Width of each hidden layer.
    init_scale
        Multiplies the initial weights N(0, 1 / fan-in).
    parametrisation
        "standard", "ntk" or "mup": see below.
    """

    name: ClassVar[str] = "linear"

    hidden: tuple[int, ...] = (16,)
    init_scale: float = field(default=0.01, kw_only=True)
    parametrisation: Parametrisation = "standard"

    def __post_init__(self) -> None:
        self._check()
        check_widths("hidden", self.hidden, "the width of each hidden layer")

    @property
    def described(self) -> bool:
        """Whether theory describes its hidden layer: the only one, its weights learning at one rate."""
        return len(self.hidden) == 1 and self.parametrisation == "standard"

    def build(self, sizes: Sizes, *, key: Array) -> Network:
        """Return weights with entries N(0, 1 / fan-in)."""
        widths = (sizes.n_inputs, *self.hidden, sizes.n_outputs)
        return Sequential(_layers(widths, "identity", self.parametrisation, sizes, bias=False, key=key), (), "identity")


@register_network
@dataclass(frozen=True)
class MLP(NetworkOptions):
    """Multilayer perceptron: dense layers of the given widths with biases and one activation function.

    Attributes
    ----------
    hidden
        Width of each hidden layer; layers are called hidden_1, hidden_2, …
    activation
        Function of the hidden layers.
    layer_norm
        Whether each row's values are standardised over the units of a hidden layer before the activation, with a
        learned gain and shift for each unit (Ba, Kiros & Hinton, arXiv 1607.06450).
    bottleneck
        Width of a linear layer without activation between the last hidden layer and the output, called "bottleneck":
        it bounds the rank of the output map. None for none.
    init_scale
        Multiplies every initial weight: He initialization for relu-like activations, LeCun for tanh and the output.
    parametrisation
        "standard", "ntk" or "mup": see below.
    """

    name: ClassVar[str] = "mlp"

    hidden: tuple[int, ...] = (64, 64)
    activation: Activation = "relu"
    layer_norm: bool = False
    bottleneck: int | None = None
    parametrisation: Parametrisation = "standard"

    def __post_init__(self) -> None:
        self._check()
        check_widths("hidden", self.hidden, "the width of each hidden layer")
        if self.bottleneck is not None and self.bottleneck < 1:
            raise ConsilienceError(f"bottleneck = {self.bottleneck}: give a width of 1 or more, or leave it out")

    def build(self, sizes: Sizes, *, key: Array) -> Network:
        """Return He initialization for relu-like activations, LeCun for tanh and the last layers; biases zero."""
        narrow = () if self.bottleneck is None else (self.bottleneck,)
        widths = (sizes.n_inputs, *self.hidden, *narrow, sizes.n_outputs)
        dense = _layers(
            widths, self.activation, self.parametrisation, sizes, bias=True, linear_from=len(self.hidden), key=key
        )
        norms = [Norm.of(width, self.parametrisation, sizes.optimizer) for width in self.hidden]
        return Sequential(dense, tuple(norms) if self.layer_norm else (), self.activation, bool(narrow))


def _layers(
    widths: tuple[int, ...],
    activation: str,
    parametrisation: Parametrisation,
    sizes: Sizes,
    *,
    bias: bool,
    key: Array,
    linear_from: int | None = None,
) -> tuple[Dense, ...]:
    """Return the dense layers between the widths; from layer `linear_from` on no activation follows.

    Layer `linear_from`, a bottleneck or the output, maps what is as wide as the network to what is not; one beyond it
    knows nothing of the network's width.
    """
    last = len(widths) - 2
    linear_from = last if linear_from is None else linear_from
    return tuple(
        dense_layer(
            n_in,
            n_out,
            role="first" if depth == 0 else "output" if depth >= linear_from else "hidden",
            parametrisation=parametrisation,
            optimizer=sizes.optimizer,
            gain=1.0 if depth >= linear_from else GAIN[activation],
            bias=bias,
            key=jax.random.fold_in(key, depth),
            width=BASE_WIDTH if depth > linear_from else n_in,
        )
        for depth, (n_in, n_out) in enumerate(pairwise(widths))
    )


def dense_layer(
    n_in: int,
    n_out: int,
    *,
    role: Role,
    parametrisation: Parametrisation,
    optimizer: str,
    gain: float,
    bias: bool,
    key: Array,
    width: int | None = None,
    outputs: int = 1,
) -> Dense:
    """Return a dense layer by its place in the network.

    `width` is the input's, where n_in counts positions too; `outputs` the number of things side by side in n_out, as
    queries, keys and values are.
    """
    units = n_out // outputs
    how = scale(parametrisation, role, fan_in=n_in, n_in=width or n_in, n_out=units, gain=gain, optimizer=optimizer)
    return Dense(n_in, n_out, gain=gain, bias=bias, key=key, scale=how)

"""Convolutional networks on images: a plain one, and a residual one."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from consilience.errors import ConsilienceError
from consilience.train.networks.base import (
    GAIN,
    Activation,
    Dense,
    Network,
    NetworkOptions,
    Reduction,
    Sizes,
    activate,
    check_widths,
    in_blocks,
    register_network,
)
from consilience.train.networks.dense import dense_layer
from consilience.train.networks.maps import Conv, Downsample, downsample, halved, pixels, reduced, sides_of
from consilience.train.networks.normalisation import Norm, map_norm
from consilience.train.networks.parametrisation import Parametrisation

__all__ = ["CNN", "ResNet"]

_GROUPS = 8  # groups of channels normalised together, or the largest number below that divides the channels
_LEAST = 8  # values of a group


class _OnImages(Network):
    """A network of maps: its inputs are pixels, its layers are reduced to features."""

    image_shape: tuple[int, ...] = eqx.field(static=True)

    @abstractmethod
    def maps(self, x: Array) -> dict[str, Array]:
        """Layers of maps (1, rows, columns, batch), reduced to (batch, features)."""

    def __call__(self, x: Array) -> dict[str, Array]:
        """Every layer's features, "output" last."""
        return in_blocks(lambda part: self.maps(pixels(part, self.image_shape)), x)


class ConvNet(_OnImages):
    """Convolutions, each followed by its activation and a reduction of the map, and dense layers."""

    convolutions: tuple[Conv, ...]
    dense: tuple[Dense, ...]
    options: CNN = eqx.field(static=True)

    def maps(self, x: Array) -> dict[str, Array]:
        """``conv_1`` …, ``hidden_1`` …, ``output``."""
        options = self.options
        layers: dict[str, Array] = {}
        for depth, convolution in enumerate(self.convolutions, start=1):
            x = convolution(x)
            if options.downsample == "max":  # the largest of monotone values is the value of the largest, and cheaper
                x = (
                    activate(options.activation, downsample(x, "max"))
                    if _MONOTONE[options.activation]
                    else (downsample(activate(options.activation, x), "max"))
                )
            else:
                x = downsample(activate(options.activation, x), options.downsample)
            layers[f"conv_{depth}"] = reduced(x, options.spatial)
        features = reduced(x, options.head)
        for depth, dense in enumerate(self.dense[:-1], start=1):
            features = activate(options.activation, dense(features))
            layers[f"hidden_{depth}"] = features
        layers["output"] = self.dense[-1](features)
        return layers


_MONOTONE = {"relu": True, "tanh": True, "leaky_relu": True, "gelu": False, "silu": False}


@register_network
@dataclass(frozen=True)
class CNN(NetworkOptions):
    """Convolutional network on images: convolutions, each with activation and 2×2 pooling, then dense layers.

    Its data must be images: a source whose rows are pixels, without `pca`.

    Attributes
    ----------
    channels
        Output channels of each convolution; their layers, after activation and pooling, are conv_1, conv_2, …
    kernel
        Odd side of the kernels; zeros are padded so that convolution keeps the map's size.
    downsample
        What halves the map after each convolution: "max" or "mean" of 2×2 blocks, "stride" (the convolution
        itself moves by 2), or "none". A side of one pixel stays.
    head
        What the dense layers get of the last map: "flatten" all of it, or the "mean" of each channel.
    hidden
        Widths of dense layers between the last map and the output, hidden_1, …; none by default.
    activation
        Function after every convolution and hidden layer.
    spatial
        What a map is compared by: the "mean" of each channel over positions, or "flatten", all its values side by
        side, as Kornblith et al. (arXiv 1905.00414) do. The default is "mean" for its cost: a map of 7×7 has 49 times
        the features, and time and memory of measures go with it. It sees which features are found, not where.
    init_scale
        Multiplies every initial weight N(0, gain² / fan-in).
    parametrisation
        "standard", "ntk" or "mup", width being the number of channels.
    """

    name: ClassVar[str] = "cnn"

    channels: tuple[int, ...] = (16, 32)
    kernel: int = 3
    downsample: Downsample = "max"
    head: Reduction = "flatten"
    hidden: tuple[int, ...] = ()
    activation: Activation = "relu"
    spatial: Reduction = "mean"
    parametrisation: Parametrisation = "standard"

    def __post_init__(self) -> None:
        self._check()
        check_widths("channels", self.channels, "the channels of each convolution")
        check_widths("hidden", self.hidden, "the width of each dense layer", least=0)
        if self.kernel < 1 or self.kernel % 2 == 0:
            raise ConsilienceError(f"kernel = {self.kernel}: give an odd number, so that a kernel has a middle")

    def build(self, sizes: Sizes, *, key: Array) -> Network:
        """Return He initialization for relu-like activations, LeCun for tanh and the output; biases zero."""
        shape = _images(self.name, sizes)
        rows, columns, n_in = sides_of(shape)
        convolutions: list[Conv] = []
        for depth, n_out in enumerate(self.channels):
            convolutions.append(
                Conv(
                    n_in,
                    n_out,
                    kernel=self.kernel,
                    stride=2 if self.downsample == "stride" else 1,
                    role="hidden" if depth else "first",
                    parametrisation=self.parametrisation,
                    sizes=sizes,
                    gain=GAIN[self.activation],
                    bias=True,
                    key=jax.random.fold_in(key, depth),
                )
            )
            rows, columns, n_in = halved(rows, self.downsample), halved(columns, self.downsample), n_out
        positions = rows * columns if self.head == "flatten" else 1
        dense: list[Dense] = []
        for depth, n_out in enumerate((*self.hidden, sizes.n_outputs)):
            last = depth == len(self.hidden)
            dense.append(
                dense_layer(
                    n_in * positions,
                    n_out,
                    width=n_in,
                    role="output" if last else "hidden",
                    parametrisation=self.parametrisation,
                    optimizer=sizes.optimizer,
                    gain=1.0 if last else GAIN[self.activation],
                    bias=True,
                    key=jax.random.fold_in(key, len(self.channels) + depth),
                )
            )
            n_in, positions = n_out, 1
        return ConvNet(shape, tuple(convolutions), tuple(dense), self)


class Block(eqx.Module):
    """Two normalised convolutions around which the input goes by: act(x + F(x))."""

    convolutions: tuple[Conv, Conv]
    norms: tuple[Norm, Norm]
    activation: str = eqx.field(static=True)

    def __call__(self, x: Array) -> Array:
        """Map (channels, rows, columns, batch) to as many or more channels, perhaps on half the positions."""
        first, second = self.convolutions
        y = activate(self.activation, _normalised(self.norms[0], first(x)))
        y = _normalised(self.norms[1], second(y))
        if first.stride > 1:
            x = x[:, :: first.stride, :: first.stride]
        more = y.shape[0] - x.shape[0]
        x = jnp.pad(x, ((0, more), (0, 0), (0, 0), (0, 0)))
        return activate(self.activation, x + y)


def _normalised(norm: Norm, x: Array) -> Array:
    groups = math.gcd(_GROUPS, x.shape[0])
    # Standardised, one value is zero and two are ±1, whatever the network does: the fewer, the less is left to learn.
    while groups > 1 and math.prod(x.shape[:3]) < _LEAST * groups:
        groups //= 2
    return map_norm(norm, x, groups)


class Residual(_OnImages):
    """A convolution, residual blocks, and a dense layer on the mean over positions."""

    stem: Conv
    stem_norm: Norm
    blocks: tuple[Block, ...]
    output: Dense
    options: ResNet = eqx.field(static=True)

    def maps(self, x: Array) -> dict[str, Array]:
        """``stem``, ``block_1`` …, ``output``."""
        x = activate(self.options.activation, _normalised(self.stem_norm, self.stem(x)))
        layers = {"stem": reduced(x, self.options.spatial)}
        for depth, block in enumerate(self.blocks, start=1):
            x = block(x)
            layers[f"block_{depth}"] = reduced(x, self.options.spatial)
        layers["output"] = self.output(reduced(x, "mean"))
        return layers


@register_network
@dataclass(frozen=True)
class ResNet(NetworkOptions):
    """Small residual network on images, as He et al. (arXiv 1512.03385, section 4.2) build them for CIFAR.

    A 3×3 convolution ("stem"), then stages of residual blocks ("block_1", …, numbered through), each two 3×3
    convolutions; the first block of every stage but the first halves the map. Where channels grow the input that
    goes by is padded with zeros, so shortcuts have no parameters. The output is a dense layer on the mean over
    positions.

    Convolutions are followed by group normalisation (Wu & He, arXiv 1803.08494; 8 groups, or the largest number
    dividing both 8 and the channels, fewer where a group would have less than 8 values) instead of batch normalisation:
    here the function of one row must not depend on which other rows are in the batch.

    Attributes
    ----------
    channels
        Channels of each stage, growing or equal.
    blocks
        Residual blocks of each stage.
    activation
        Function after every normalisation.
    spatial
        What a map is compared by, "mean" or "flatten", as for `CNN`.
    init_scale
        Multiplies every initial weight. Normalisation undoes this at every layer but the output, so that it changes
        the size of the first steps relative to the weights rather than the function.
    parametrisation
        "standard", "ntk" or "mup", width being the number of channels.
    """

    name: ClassVar[str] = "resnet"

    channels: tuple[int, ...] = (16, 32)
    blocks: int = 1
    activation: Activation = "relu"
    spatial: Reduction = "mean"
    parametrisation: Parametrisation = "standard"

    def __post_init__(self) -> None:
        self._check()
        check_widths("channels", self.channels, "the channels of each stage")
        if list(self.channels) != sorted(self.channels):
            raise ConsilienceError(
                f"channels = {list(self.channels)}: they must not fall from stage to stage, as shortcuts only "
                f"add channels"
            )
        if self.blocks < 1:
            raise ConsilienceError(f"blocks = {self.blocks}: every stage needs at least one")

    def build(self, sizes: Sizes, *, key: Array) -> Network:
        """Return He initialization; gains of normalisation 1, shifts and biases zero."""
        shape = _images(self.name, sizes)
        stem = self._conv(sides_of(shape)[2], self.channels[0], 1, sizes, jax.random.fold_in(key, 0), first=True)
        blocks: list[Block] = []
        n_in = self.channels[0]
        for stage, n_out in enumerate(self.channels):
            for number in range(self.blocks):
                stride = 2 if stage and number == 0 else 1
                one, two = (jax.random.fold_in(key, 1 + 2 * len(blocks) + i) for i in (0, 1))
                pair = self._conv(n_in, n_out, stride, sizes, one), self._conv(n_out, n_out, 1, sizes, two)
                norms = self._norm(n_out, sizes), self._norm(n_out, sizes)
                blocks.append(Block(pair, norms, self.activation))
                n_in = n_out
        output = dense_layer(
            n_in,
            sizes.n_outputs,
            role="output",
            parametrisation=self.parametrisation,
            optimizer=sizes.optimizer,
            gain=1.0,
            bias=True,
            key=jax.random.fold_in(key, 1 + 2 * len(blocks)),
        )
        return Residual(shape, stem, self._norm(self.channels[0], sizes), tuple(blocks), output, self)

    def _conv(self, n_in: int, n_out: int, stride: int, sizes: Sizes, key: Array, *, first: bool = False) -> Conv:
        return Conv(
            n_in,
            n_out,
            kernel=3,
            stride=stride,
            role="first" if first else "hidden",
            parametrisation=self.parametrisation,
            sizes=sizes,
            gain=GAIN[self.activation],
            bias=False,
            key=key,
        )

    def _norm(self, channels: int, sizes: Sizes) -> Norm:
        return Norm.of(channels, self.parametrisation, sizes.optimizer)


def _images(name: str, sizes: Sizes) -> tuple[int, ...]:
    if sizes.image_shape is None:
        raise ConsilienceError(
            f"network.kind = {name!r}: convolutions need images, and these data are rows of {sizes.n_inputs} numbers; "
            f"take a source of images without data.pca, or another kind of network"
        )
    return sizes.image_shape

"""A tiny transformer on patches of images or on parts of rows."""

from __future__ import annotations

import math
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
    in_blocks,
    register_network,
)
from consilience.train.networks.dense import dense_layer
from consilience.train.networks.maps import sides_of
from consilience.train.networks.normalisation import Norm, layer_norm
from consilience.train.networks.parametrisation import BASE_WIDTH, Parametrisation, Role, scale

__all__ = ["Transformer"]

_MOST_TOKENS = 16  # of the default patch


class Layer(eqx.Module):
    """Attention and a perceptron on each token, both added to what they are computed from."""

    attention: tuple[Dense, Dense]  # to queries, keys and values; from the heads' values
    perceptron: tuple[Dense, Dense]
    norms: tuple[Norm, Norm]
    heads: int = eqx.field(static=True)
    temperature: float = eqx.field(static=True)
    activation: str = eqx.field(static=True)

    def __call__(self, x: Array) -> Array:
        """Map tokens (batch, tokens, width)."""
        x = x + self._attend(layer_norm(self.norms[0], x))
        up, down = self.perceptron
        return x + down(activate(self.activation, up(layer_norm(self.norms[1], x))))

    def _attend(self, x: Array) -> Array:
        batch, tokens, width = x.shape
        inward, outward = self.attention
        query, key, value = jnp.moveaxis(inward(x).reshape(batch, tokens, 3, self.heads, -1), 2, 0)
        weight = jax.nn.softmax(self.temperature * jnp.einsum("bthd,bshd->bhts", query, key), axis=-1)
        return outward(jnp.einsum("bhts,bshd->bthd", weight, value).reshape(batch, tokens, width))


class Encoder(Network):
    """Tokens, layers of attention, and a dense layer on the mean over tokens."""

    embedding: Dense
    position: Array | None  # (tokens, width)
    layers: tuple[Layer, ...]
    norm: Norm
    output: Dense
    image_shape: tuple[int, ...] | None = eqx.field(static=True)
    patch: int = eqx.field(static=True)
    tokens: Reduction = eqx.field(static=True)
    position_multiplier: float = eqx.field(static=True)

    def __call__(self, x: Array) -> dict[str, Array]:
        """``embedding``, ``block_1`` …, ``output``."""
        return in_blocks(self._forward, x)

    def _forward(self, x: Array) -> dict[str, Array]:
        x = self.embedding(_tokens(x, self.image_shape, self.patch))
        if self.position is not None:
            x = x + self.position_multiplier * self.position
        found = {"embedding": self._features(x)}
        for depth, layer in enumerate(self.layers, start=1):
            x = layer(x)
            found[f"block_{depth}"] = self._features(x)
        found["output"] = self.output(jnp.mean(layer_norm(self.norm, x), axis=1))
        return found

    def _features(self, x: Array) -> Array:
        return jnp.mean(x, axis=1) if self.tokens == "mean" else x.reshape(x.shape[0], -1)


def _tokens(x: Array, image_shape: tuple[int, ...] | None, patch: int) -> Array:
    """Cut rows (batch, inputs) into (batch, tokens, numbers of a token)."""
    if image_shape is None:
        return x.reshape(x.shape[0], -1, patch)
    rows, columns, channels = sides_of(image_shape)
    cut = x.reshape(-1, rows // patch, patch, columns // patch, patch * channels)
    return jnp.moveaxis(cut, 2, 3).reshape(x.shape[0], -1, patch * patch * channels)


@register_network
@dataclass(frozen=True)
class Transformer(NetworkOptions):
    """Tiny transformer encoder (Vaswani et al., arXiv 1706.03762; for images Dosovitskiy et al., arXiv 2010.11929).

    Tokens are square patches of an image, or equal parts of a row. Each is mapped to `width` numbers to which those
    of its position are added ("embedding"); then come `depth` layers of attention and a perceptron on each token,
    with layer normalisation before both ("block_1", …); the output is a dense layer on the mean of the normalised
    tokens.

    Attributes
    ----------
    width, depth, heads
        Numbers of a token, layers, and attention heads of width / heads numbers each.
    expansion
        Hidden width of the perceptrons, in multiples of `width`.
    patch
        Side of a patch in pixels, or numbers of a part of a row; it must divide the sides of the image, or the number
        of inputs. The default is the smallest that makes at most 16 tokens.
    positions
        Whether tokens are told apart by position. Without, the output does not depend on their order.
    activation
        Function of the perceptrons.
    tokens
        What a sequence is compared by: the "mean" over tokens, which the output is computed from, or "flatten", all
        tokens side by side. The default is "mean" for its cost: flattening multiplies features by the tokens.
    init_scale
        Multiplies every initial weight.
    parametrisation
        "standard", "ntk" or "mup"; the latter divides attention's products by the width of a head instead of its root.
    """

    name: ClassVar[str] = "transformer"

    width: int = 32
    depth: int = 2
    heads: int = 4
    expansion: int = 2
    patch: int | None = None
    positions: bool = True
    activation: Activation = "gelu"
    tokens: Reduction = "mean"
    parametrisation: Parametrisation = "standard"

    def __post_init__(self) -> None:
        self._check()
        for name in ("width", "depth", "heads", "expansion"):
            if getattr(self, name) < 1:
                raise ConsilienceError(f"{name} = {getattr(self, name)}: must be 1 or more")
        if self.width % self.heads:
            raise ConsilienceError(f"heads = {self.heads}: does not divide width = {self.width}")
        if self.patch is not None and self.patch < 1:
            raise ConsilienceError(f"patch = {self.patch}: must be 1 or more, or left out")

    def build(self, sizes: Sizes, *, key: Array) -> Network:
        """Return weights N(0, gain² / fan-in), positions N(0, 0.02²), gains of normalisation 1, all else zero."""
        patch = self._patch(sizes)
        numbers = patch if sizes.image_shape is None else patch**2 * sides_of(sizes.image_shape)[2]
        keys = iter(jax.random.split(key, 3 + 4 * self.depth))
        position, how = (
            None,
            scale(
                self.parametrisation,
                "first",
                fan_in=1,
                n_in=1,
                n_out=self.width,
                gain=0.02,  # as is usual: small beside the embedding
                optimizer=sizes.optimizer,
            ),
        )
        if self.positions:
            position = jax.random.normal(next(keys), (sizes.n_inputs // numbers, self.width)) * how.sd
        return Encoder(
            embedding=self._dense(numbers, self.width, "first", sizes, next(keys)),
            position=position,
            layers=tuple(self._layer(sizes, [next(keys) for _ in range(4)]) for _ in range(self.depth)),
            norm=self._norm(sizes),
            output=self._dense(self.width, sizes.n_outputs, "output", sizes, next(keys)),
            image_shape=sizes.image_shape,
            patch=patch,
            tokens=self.tokens,
            position_multiplier=how.multiplier,
        )

    def _layer(self, sizes: Sizes, keys: list[Array]) -> Layer:
        width, inner, head = self.width, self.width * self.expansion, self.width // self.heads
        mup = self.parametrisation == "mup"
        return Layer(
            attention=(
                self._dense(width, 3 * width, "hidden", sizes, keys[0], outputs=3),
                self._dense(width, width, "hidden", sizes, keys[1]),
            ),
            perceptron=(
                self._dense(width, inner, "hidden", sizes, keys[2], gain=GAIN[self.activation]),
                self._dense(inner, width, "hidden", sizes, keys[3]),
            ),
            norms=(self._norm(sizes), self._norm(sizes)),
            heads=self.heads,
            temperature=(BASE_WIDTH / self.heads) ** 0.5 / head if mup else head**-0.5,
            activation=self.activation,
        )

    def _dense(
        self, n_in: int, n_out: int, role: Role, sizes: Sizes, key: Array, *, gain: float = 1.0, outputs: int = 1
    ) -> Dense:
        return dense_layer(
            n_in,
            n_out,
            role=role,
            parametrisation=self.parametrisation,
            optimizer=sizes.optimizer,
            gain=gain,
            bias=True,
            key=key,
            outputs=outputs,
        )

    def _norm(self, sizes: Sizes) -> Norm:
        return Norm.of(self.width, self.parametrisation, sizes.optimizer)

    def _patch(self, sizes: Sizes) -> int:
        """Return the patch asked for, or the smallest that makes few tokens."""
        sides: tuple[int, ...] = (sizes.n_inputs,) if sizes.image_shape is None else sizes.image_shape[:2]
        fitting = [patch for patch in range(1, min(sides) + 1) if all(side % patch == 0 for side in sides)]
        if self.patch is not None:
            if self.patch not in fitting:
                what = f"images of {'×'.join(map(str, sides))}" if sizes.image_shape else f"rows of {sides[0]} numbers"
                raise ConsilienceError(
                    f"network.patch = {self.patch}: does not cut {what} into equal parts; give one of {fitting}, or "
                    f"leave it out"
                )
            return self.patch
        few = [patch for patch in fitting if math.prod(sides) // patch ** len(sides) <= _MOST_TOKENS]
        return few[0] if few else fitting[-1]

"""What is done to activations before they are compared: said explicitly, in one order, and kept with the result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, TypeAlias, TypedDict, get_args

from consilience._array import Array, as_floating, centred, namespace, stop_gradient
from consilience._catalogue import suggestion
from consilience.errors import ConsilienceError, UnknownNameError

__all__ = ["Preprocessing", "PreprocessingOptions", "preprocess"]

Spatial: TypeAlias = Literal["pool", "flatten", "as_samples"]
Tokens: TypeAlias = Literal["mean", "last", "cls", "flatten", "as_samples"]
Channels: TypeAlias = Literal["first", "last"]


class PreprocessingOptions(TypedDict, total=False):
    """The fields of `Preprocessing` as keyword arguments."""

    spatial: Spatial | None
    tokens: Tokens | None
    channels: Channels
    clip: float | None
    center: bool
    l2: bool


@dataclass(frozen=True)
class Preprocessing:
    """Steps from activations to a representation (n_samples, n_features), applied in the order of the parameters.

    Parameters
    ----------
    spatial : {"pool", "flatten", "as_samples"}, optional
        What becomes of the positions of convolutional maps, arrays of four or more dimensions: the mean over
        positions, (n, c); every position of every channel a feature, (n, c·h·w); every position a sample,
        (n·h·w, c), sample by sample and row by row. Arrays with such positions need a choice.
    tokens : {"mean", "last", "cls", "flatten", "as_samples"}, optional
        What becomes of the tokens of sequences (n, tokens, d): their mean, the last, the first, all side by side
        (n, tokens·d), or every token a sample (n·tokens, d). Sequences need a choice. All are taken to have equal
        length: cut padding off first.
    channels : {"first", "last"}
        Where the channels of maps are: (n, c, h, w) as in PyTorch, or (n, h, w, c) as in Flax.
    clip : float, optional
        Magnitudes are limited to the mean over samples of this quantile, between 0 and 1, of a sample's magnitudes
        (Huh et al. 2024 use 0.95).
    center : bool
        Subtract column means. Measures that need centred features centre them anyway.
    l2 : bool
        Divide every sample by its Euclidean norm; samples of zeros stay.

    Examples
    --------
    >>> Preprocessing(clip=0.95, l2=True).label
    'clip=0.95, l2'
    """

    spatial: Spatial | None = None
    tokens: Tokens | None = None
    channels: Channels = "first"
    clip: float | None = None
    center: bool = False
    l2: bool = False

    def __post_init__(self) -> None:
        for name, choices in (("spatial", Spatial), ("tokens", Tokens), ("channels", Channels)):
            value = getattr(self, name)
            if value not in get_args(choices) and (value is not None or name == "channels"):
                raise UnknownNameError(f"there is no {name} {value!r}: {suggestion(str(value), get_args(choices))}")
        if self.clip is not None and not 0 < self.clip <= 1:
            raise ConsilienceError(f"clip is {self.clip}; it is a quantile, above 0 and at most 1.")

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Preprocessing:
        """Return the steps that keyword arguments ask for; an unknown one lists the closest."""
        known = [field.name for field in fields(cls)]
        for option in options:
            if option not in known:
                raise UnknownNameError(f"preprocessing has no step {option!r}: {suggestion(option, known)}")
        return cls(**options)

    @property
    def label(self) -> str:
        """The steps that are taken, in order; empty if none is."""
        taken = [(field.name, getattr(self, field.name)) for field in fields(self)]
        return ", ".join(
            name if value is True else f"{name}={value}"
            for name, value in taken
            if value not in (None, False) and not (name == "channels" and value == "first")
        )

    def __call__(self, x: Any, name: str = "x") -> Array:
        """Return `x`, called `name` in messages, after these steps."""
        x = as_floating(x, name)
        if x.ndim >= 4 and self.spatial is not None:
            x = _without_positions(x, self.spatial, self.channels)
        elif x.ndim == 3 and self.tokens is not None:
            x = _without_tokens(x, self.tokens)
        if x.ndim != 2:  # whoever compares says what is wrong with it, and which choices there are
            return x
        if self.clip is not None:
            x = _clipped(x, self.clip)
        if self.center:
            x = centred(x)
        return _unit_rows(x) if self.l2 else x


def preprocess(x: Any, **options: Any) -> Array:
    """Return the activations `x` as a representation (n_samples, n_features).

    Parameters
    ----------
    x : array
        (n, d) features, (n, tokens, d) sequences, or (n, c, h, w) maps.
    **options
        The fields of `Preprocessing`, applied in that order: ``spatial``, ``tokens``, ``channels``, ``clip``,
        ``center``, ``l2``.

    Returns
    -------
    (n', d') floating-point array of the caller's library.

    Raises
    ------
    ConsilienceError
        If `x` has positions or tokens and no choice was made for them.

    Examples
    --------
    >>> import numpy as np
    >>> maps = np.arange(24.0).reshape(2, 3, 2, 2)
    >>> preprocess(maps, spatial="pool")
    array([[ 1.5,  5.5,  9.5],
           [13.5, 17.5, 21.5]])
    >>> preprocess(maps, spatial="as_samples").shape
    (8, 3)
    """
    done = Preprocessing.of(options)(x)
    if done.ndim != 2:
        raise ConsilienceError(
            f"x has shape {tuple(done.shape)}: choose spatial= for maps (n, c, h, w), tokens= for sequences "
            "(n, tokens, d)."
        )
    return done


def _without_positions(x: Array, spatial: Spatial, channels: Channels) -> Array:
    xp = namespace(x)
    n = x.shape[0]
    if spatial == "flatten":
        return xp.reshape(x, (n, -1))
    if channels == "first":
        x = xp.moveaxis(x, 1, -1)
    x = xp.reshape(x, (n, -1, x.shape[-1]))  # (n, positions, c)
    return xp.mean(x, axis=1) if spatial == "pool" else xp.reshape(x, (-1, x.shape[-1]))


def _without_tokens(x: Array, tokens: Tokens) -> Array:
    xp = namespace(x)
    if tokens == "mean":
        return xp.mean(x, axis=1)
    if tokens in ("last", "cls"):
        return x[:, -1 if tokens == "last" else 0, :]
    return xp.reshape(x, (x.shape[0], -1) if tokens == "flatten" else (-1, x.shape[2]))


def _clipped(x: Array, quantile: float) -> Array:
    """Limit magnitudes; quantiles between two order statistics are interpolated linearly."""
    xp = namespace(x)
    ordered = xp.sort(xp.abs(x), axis=1)
    position = quantile * (x.shape[1] - 1)
    below = int(position)
    above = min(below + 1, x.shape[1] - 1)
    limits = ordered[:, below] + (position - below) * (ordered[:, above] - ordered[:, below])
    limit = xp.mean(limits)
    return xp.maximum(xp.minimum(x, limit), -limit)


def _unit_rows(x: Array) -> Array:
    xp = namespace(x)
    size = stop_gradient(xp.max(xp.abs(x), axis=1, keepdims=True))  # it cancels
    x = x / xp.where(size > 0, size, xp.ones_like(size))  # squares of the rest neither overflow nor vanish
    norm = xp.sqrt(xp.sum(x * x, axis=1, keepdims=True))
    return x / xp.where(norm > 0, norm, xp.ones_like(norm))

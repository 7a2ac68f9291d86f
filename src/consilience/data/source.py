"""What a source of data is, what it loads, and the catalogue of all sources."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from consilience._catalogue import Catalogue
from consilience.errors import ConsilienceError

__all__ = [
    "CLASSIFICATION",
    "REGRESSION",
    "SOURCES",
    "LinearTruth",
    "RealSource",
    "Source",
    "SyntheticSource",
    "Table",
    "Task",
    "register_source",
    "require_at_least",
    "require_between",
]

Task = Literal["classification", "regression"]
CLASSIFICATION = frozenset[Task]({"classification"})
REGRESSION = frozenset[Task]({"regression"})
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LinearTruth:
    """The best linear map behind a synthetic regression, on the scale of the data that `prepare` returns.

    Every target has unit clean variance, of which the linear part βᵀΣβ is a fraction 1 − `misfit`.

    Attributes
    ----------
    eigenvalues
        (d,), of the covariance Σ of the inputs; their mean is 1.
    beta
        (k, d), coefficients of the k targets in the eigenbasis of Σ.
    misfit
        Fraction of the targets' clean variance that no linear map fits, mean over targets.
    """

    eigenvalues: Floats
    beta: Floats
    misfit: float


@dataclass(frozen=True, eq=False)
class Table:
    """Samples as a source gives them, before any split or standardisation.

    Attributes
    ----------
    inputs
        (n, d) float64, finite.
    targets
        (n,) int64 class numbers 0 … n_classes − 1, or (n, k) float64 values.
    classes
        Names of the classes; empty for regression.
    image_shape
        (rows, columns), or (rows, columns, channels), where the inputs are images, flattened row by row, the channels
        of a pixel side by side.
    origin
        One sentence: where the samples come from.
    truth
        What is known of the linear part of the targets.
    """

    inputs: Floats
    targets: NDArray[Any]
    task: Task
    classes: tuple[str, ...]
    image_shape: tuple[int, ...] | None
    feature_names: tuple[str, ...]
    origin: str
    truth: LinearTruth | None = None


@dataclass(frozen=True)
class Source(abc.ABC):
    """Where samples come from. Options are the fields of the frozen dataclass, facts its class attributes.

    Subclass `RealSource` or `SyntheticSource` and decorate with `register_source`.

    Attributes
    ----------
    name
        What a study file calls it.
    title
        One line for tables of sources.
    tasks
        What its targets can be.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    name: ClassVar[str]
    title: ClassVar[str]
    tasks: ClassVar[frozenset[Task]]


class RealSource(Source):
    """A fixed set of samples; `prepare` standardises them with statistics of the training pool."""

    @abc.abstractmethod
    def load(self) -> Table:
        """Return every sample there is."""


class SyntheticSource(Source):
    """Samples drawn on demand, already on the standard scale.

    Inputs have zero mean and unit mean variance, and regression targets zero mean and unit variance, in the
    *population*: `prepare` leaves both as they are, since standardising by sample statistics would alter the
    covariance that the source was asked for and make `LinearTruth` inexact.
    """

    @abc.abstractmethod
    def sample(self, n: int, *, seed: int) -> Table:
        """Draw n samples; the first m of n are the same whatever n is."""


SOURCES: Catalogue[type[Source]] = Catalogue("data source")
"""Every source by the name a study file calls it."""

SourceType = TypeVar("SourceType", bound=type[Source])


def register_source(cls: SourceType) -> SourceType:
    """Class decorator: list the source in `SOURCES` under its `name`."""
    SOURCES.register(cls.name, cls)
    return cls


def require_at_least(field: str, value: int, minimum: int) -> None:
    """Refuse a count below `minimum`."""
    if value < minimum:
        raise ConsilienceError(f"{field} = {value}: must be {minimum} or more")


def require_between(field: str, value: float, low: float, high: float) -> None:
    """Refuse a number outside [low, high], NaN included."""
    if not low <= value <= high:
        raise ConsilienceError(f"{field} = {value}: must lie between {low:g} and {high:g}")

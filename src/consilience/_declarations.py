"""What a measure declares about itself: its kind, its family, and what may be done to features without changing it."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any, TypeVar, cast

__all__ = ["DegenerateWarning", "Family", "Invariance", "Kind", "per_instance"]

T = TypeVar("T")


class DegenerateWarning(UserWarning):
    """A score is NaN, or says nothing about the data; the message names the representation and the reason."""


class Family(StrEnum):
    """What a measure looks at."""

    CCA = "CCA"
    SHAPE = "shape"
    MATCHING = "matching"
    REGRESSION = "regression"
    KERNEL = "kernel"
    DISSIMILARITY = "dissimilarity"
    NEIGHBOURS = "neighbours"
    TOPOLOGY = "topology"
    DESCRIPTIVE = "descriptive"
    FUNCTIONAL = "functional"


class Kind(StrEnum):
    """Whether a larger score means more alike or less alike."""

    SIMILARITY = "similarity"
    DISTANCE = "distance"


class Invariance(StrEnum):
    """A transformation of the features of one representation that leaves a score as it is."""

    PERMUTATION = "permutation"
    ORTHOGONAL = "orthogonal"
    ISOTROPIC_SCALING = "isotropic scaling"
    INVERTIBLE_LINEAR = "invertible linear"
    TRANSLATION = "translation"

    @property
    def implied(self) -> frozenset[Invariance]:
        """This invariance and those that follow from it.

        >>> sorted(member.name for member in Invariance.ORTHOGONAL.implied)
        ['ORTHOGONAL', 'PERMUTATION']
        """
        if self is Invariance.ORTHOGONAL:
            return frozenset({self, Invariance.PERMUTATION})
        if self is Invariance.INVERTIBLE_LINEAR:
            return frozenset(Invariance) - {Invariance.TRANSLATION}
        return frozenset({self})


class _PerInstance:
    """A fact computed from the options; read from the class, it is the fact of the default options."""

    def __init__(self, compute: Callable[[Any], Any]) -> None:
        self.compute = compute

    def __get__(self, instance: object | None, owner: type) -> Any:
        return self.compute(owner() if instance is None else instance)


def per_instance(compute: Callable[[Any], T]) -> T:
    """Declare a fact that depends on the options: ``bounds = per_instance(lambda self: ...)``."""
    return cast(T, _PerInstance(compute))

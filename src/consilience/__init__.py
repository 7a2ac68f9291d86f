"""Consilience: how far neural networks agree in what they represent, and what makes them agree."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

# Before the function of that name: importing the package registers the measures and binds the name to itself.
from consilience import measures as _built_in  # noqa: F401  # pyright: ignore[reportUnusedImport]
from consilience.compare import Comparison, Score, compare, layerwise, pairwise
from consilience.errors import ConsilienceError, MissingDependencyError, UnknownNameError
from consilience.preprocessing import Preprocessing, preprocess
from consilience.registry import (
    DegenerateWarning,
    Descriptor,
    Family,
    Invariance,
    Kind,
    Measure,
    get_measure,
    measures,
    register,
)
from consilience.stream import Stream

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "Comparison",
    "ConsilienceError",
    "DegenerateWarning",
    "Descriptor",
    "Family",
    "Invariance",
    "Kind",
    "Measure",
    "MissingDependencyError",
    "Preprocessing",
    "Score",
    "Stream",
    "UnknownNameError",
    "compare",
    "get_measure",
    "layerwise",
    "measures",
    "pairwise",
    "preprocess",
    "register",
]

# Names that load more than arrays do, found when first used.
_LAZY = {
    "Study": "consilience.study",
    "open_run": "consilience.store",
}
_SUBPACKAGES = ("claims", "data", "figures", "stats", "testing", "theory", "train")


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used: heavy ones, subpackages, and measures as functions."""
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    if name in _SUBPACKAGES:
        return importlib.import_module(f"consilience.{name}")
    if not name.startswith("_") and name in measures():
        return _as_function(name)
    raise AttributeError(f"module 'consilience' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*__all__, *_LAZY, *_SUBPACKAGES, *measures()})


def _as_function(name: str) -> Callable[..., Any]:
    from consilience.registry import as_function

    return as_function(name)

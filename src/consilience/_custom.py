"""Things of the user's own that a study names as ``package.module:function``."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from typing import Any

from consilience.errors import ConsilienceError

__all__ = ["is_reference", "reference", "resolve"]

_GIVEN: dict[str, Callable[..., Any]] = {}  # functions given as such: one in a notebook cannot be imported again


def is_reference(name: object) -> bool:
    """Whether `name` is written as ``package.module:function``."""
    return isinstance(name, str) and all(name.partition(":")[::2])


def reference(function: Callable[..., Any]) -> str:
    """Return where a function is, as text, and remember it for this process.

    >>> from math import sqrt
    >>> reference(sqrt), resolve("math:sqrt", what="function") is sqrt
    ('math:sqrt', True)
    """
    name = f"{function.__module__}:{function.__qualname__}"
    _GIVEN[name] = function
    return name


def resolve(reference: str, *, what: str) -> Callable[..., Any]:
    """Import what ``package.module:function`` names; the current directory counts as a place to import from.

    Parameters
    ----------
    reference
        Module and function; dots in the latter reach into classes.
    what
        What a message calls it: "network", "noise process", "trainer".

    Raises
    ------
    ConsilienceError
        When the module cannot be imported, or holds no such function.
    """
    if reference in _GIVEN:
        return _GIVEN[reference]
    module, _, path = reference.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        found: Any = importlib.import_module(module)
    except ImportError as error:
        raise ConsilienceError(
            f"{what} {reference!r}: cannot import {module!r} ({error}); give package.module:function, of a module that "
            f"is installed or lies in the current directory"
        ) from error
    for part in path.split("."):
        if not hasattr(found, part):
            raise ConsilienceError(f"{what} {reference!r}: {module!r} has no {path!r}; check its spelling")
        found = getattr(found, part)
    if not callable(found):
        raise ConsilienceError(f"{what} {reference!r}: is a {type(found).__name__}, not a function; give a function")
    return found

"""Functions of a user's own, named "package.module:function" in a study file."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from typing import Any

from consilience.errors import ConsilienceError

__all__ = ["resolve"]


def resolve(name: str, *, what: str) -> Callable[..., Any]:
    """Import the function "package.module:function"; the current working directory is importable.

    Parameters
    ----------
    what
        What the function is meant to be, for messages: "noise process".

    Raises
    ------
    ConsilienceError
        When the module cannot be imported, has no such attribute, or the attribute cannot be called.

    >>> resolve("math:sqrt", what="example")(4.0)
    2.0
    """
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        raise ConsilienceError(f"{what} {name!r}: write it as 'package.module:function'")
    here = os.getcwd()
    if here not in sys.path and "" not in sys.path:
        sys.path.append(here)
    try:
        found: Any = importlib.import_module(module_name)
    except Exception as error:
        raise ConsilienceError(
            f"{what} {name!r}: cannot import {module_name!r} ({type(error).__name__}: {error}); it must be installed "
            f"or lie in {here}"
        ) from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise ConsilienceError(f"{what} {name!r}: {module_name!r} has no {attribute!r}")
        found = getattr(found, part)
    if not callable(found):
        raise ConsilienceError(f"{what} {name!r}: {attribute} is {type(found).__name__} and cannot be called")
    return found

"""Functions of a user's own, named "package.module:function" in a study file."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field, make_dataclass
from typing import Any, TypeVar, cast

from consilience.errors import ConsilienceError

__all__ = ["hashable", "options_class", "place_of", "reference", "resolve"]

Base = TypeVar("Base")

_PLAIN = (bool, int, float, str)  # types of a default that are the option's type
_GIVEN: dict[str, Callable[..., Any]] = {}  # functions given as such: one of a notebook cannot be imported again


def reference(function: Callable[..., Any]) -> str:
    """Return where a function is, as "module:function", and remember it for this process.

    >>> import math
    >>> reference(math.sqrt), resolve("math:sqrt", what="example") is math.sqrt
    ('math:sqrt', True)
    """
    name = f"{function.__module__}:{function.__qualname__}"
    _GIVEN[name] = function
    return name


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
    if name in _GIVEN:
        return _GIVEN[name]
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


def place_of(error: BaseException, file: str) -> str:
    """Return where a user's function raised, as "name, line n": the first frame outside of the calling `file`."""
    frames = traceback.extract_tb(error.__traceback__)
    theirs = next((frame for frame in frames if frame.filename != file), frames[0])
    return f"{theirs.name}, line {theirs.lineno}"


def options_class(
    name: str, base: type[Base], parameters: Sequence[inspect.Parameter], facts: Mapping[str, Any]
) -> type[Base]:
    """Return a frozen dataclass of kind `base`, with a function's parameters as fields and `facts` as attributes.

    An option is of the type of its default, where that is a number, text or yes/no.
    """
    made = make_dataclass(
        name.rpartition(":")[2].replace(".", "_"),
        [_option(parameter) for parameter in parameters],
        bases=(base,),
        namespace=dict(facts),
        frozen=True,
        kw_only=True,
    )
    return cast("type[Base]", made)


def hashable(value: Any) -> Any:
    """Lists as tuples, all the way down."""
    return tuple(map(hashable, cast("Any", value))) if isinstance(value, list | tuple) else value


def _option(parameter: inspect.Parameter) -> Any:
    if parameter.default is parameter.empty:
        return parameter.name, Any
    kind: Any = type(parameter.default) if type(parameter.default) in _PLAIN else Any
    return parameter.name, kind, field(default=hashable(parameter.default))

"""Names of measures and values of their options: how they are written, read and checked."""

from __future__ import annotations

import ast
import numbers
import re
from collections.abc import Mapping
from functools import cache
from typing import Any, Literal, get_args, get_origin, get_type_hints

from consilience._catalogue import suggestion
from consilience.errors import ConsilienceError, UnknownNameError

__all__ = ["check_options", "parse_label", "snake_case"]


def check_options(owner: type, name: str, options: Mapping[str, Any]) -> None:
    """Check `options` against the annotations of the dataclass `owner`, which users know as `name`.

    Raises
    ------
    UnknownNameError
        If a choice is not one of its `Literal` values.
    ConsilienceError
        If a number or yes/no option is of another type.
    """
    for option, value in options.items():
        hint = _hints(owner)[option]
        if get_origin(hint) is Literal and value not in get_args(hint):
            choices = [str(choice) for choice in get_args(hint)]
            raise UnknownNameError(f"measure {name!r} has no {option} {value!r}: {suggestion(str(value), choices)}")
        if hint in (int, float, bool) and not _fits(value, hint):
            raise ConsilienceError(
                f"option {option} of measure {name!r} is {value!r}; it must be of type {hint.__name__}."
            )


def parse_label(label: str) -> tuple[str, dict[str, Any]]:
    """Take a label apart.

    >>> parse_label("cka(kernel=rbf, bandwidth=0.5)")
    ('cka', {'kernel': 'rbf', 'bandwidth': 0.5})
    """
    match = re.fullmatch(r"\s*(\w+)\s*\((.*)\)\s*", label)
    if match is None:
        if "(" in label:
            raise ConsilienceError(f"cannot read {label!r}: write a measure as name(option=value, …), brackets closed.")
        return label, {}
    written: dict[str, Any] = {}
    for part in filter(None, (piece.strip() for piece in match[2].split(","))):
        option, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals:
            raise ConsilienceError(f"cannot read {part!r} in measure {label!r}: write it as option=value.")
        written[option] = _parse_value(value)
    return match[1], written


def snake_case(name: str) -> str:
    """Return the registry name of a class.

    >>> snake_case("MutualKNN"), snake_case("KNNJaccard")
    ('mutual_knn', 'knn_jaccard')
    """
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


@cache
def _hints(owner: type) -> dict[str, Any]:
    return get_type_hints(owner)


def _fits(value: Any, hint: type) -> bool:
    if hint is bool or isinstance(value, bool):
        return hint is bool and isinstance(value, bool)
    return isinstance(value, numbers.Real) if hint is float else isinstance(value, numbers.Integral)


def _parse_value(text: str) -> Any:
    if text.lstrip("+-") in ("inf", "nan"):
        return float(text)
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):  # a bare word, such as biased
        return text

"""Alternatives on an axis of the grid: their place in a study, and what they are called."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from consilience.errors import ConsilienceError

__all__ = ["TAGS", "WHOLE", "axis_labels", "frozen", "key_of", "merged", "thawed"]

WHOLE = ("noise", "network", "train")
"""Tables of a study that may be an axis of the grid as a whole: alternatives that differ in several keys at once."""

TAGS = {"network": "kind", "noise": "process", "data": "source"}
"""The key of a table that says what kind of thing its other keys are options of."""


def frozen(value: Any) -> Any:
    """Lists as tuples and tables read-only, all the way down."""
    if isinstance(value, Mapping):
        return MappingProxyType({key: frozen(item) for key, item in value.items()})
    return tuple(frozen(item) for item in value) if isinstance(value, list | tuple) else value


def thawed(value: Any) -> Any:
    """The inverse of `frozen`: what TOML and JSON can write."""
    if isinstance(value, Mapping):
        return {key: thawed(item) for key, item in value.items()}
    return [thawed(item) for item in value] if isinstance(value, list | tuple) else value


def key_of(axes: Mapping[str, Any]) -> str:
    """One text for one choice of axis values."""
    return json.dumps(thawed(axes))


def merged(table: str, base: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with one value of an axis over the whole table put over it.

    A value that names its kind (``kind``, ``process``) stands alone: the options of another kind mean nothing to it.
    ``label`` names the alternative and is no option.

    >>> merged("train", {"steps": 100, "batch": 32}, {"label": "long", "steps": 1000})
    {'steps': 1000, 'batch': 32}
    >>> merged("network", {"kind": "mlp", "hidden": [8]}, {"kind": "linear"})
    {'kind': 'linear'}
    """
    given = {key: thawed(value) for key, value in change.items() if key != "label"}
    return given if TAGS.get(table) in given else {**base, **given}


def axis_labels(key: str, values: Sequence[Any]) -> list[Any]:
    """Values of an axis as coordinates: numbers and text as they are, others as short text.

    A table is called by its ``label``, else by its kind, and where others are of the same kind by the options in which
    they differ.

    Raises
    ------
    ConsilienceError
        When two values would be called the same.

    >>> axis_labels("network", [{"kind": "mlp", "hidden": [8]}, {"kind": "mlp", "hidden": [64]}, {"kind": "linear"}])
    ['mlp(hidden=[8])', 'mlp(hidden=[64])', 'linear']
    >>> axis_labels("network.hidden", [(8,), (64,)])
    ['[8]', '[64]']
    """
    if all(isinstance(value, int | float) for value in values):
        return list(values)
    names = [_name(key, thawed(value), [thawed(other) for other in values]) for value in values]
    for name in names:
        if names.count(name) > 1:
            raise ConsilienceError(f"grid.{key}: two values are called {name!r}; give each its own label")
    return names


def _name(key: str, value: Any, values: Sequence[Any]) -> str:
    if isinstance(value, str):
        return value
    if not isinstance(value, dict):
        return json.dumps(value)
    if "label" in value:
        return str(value["label"])
    tag = TAGS.get(key, "")
    alike = [other for other in values if other.get(tag) == value.get(tag)]
    differ = [
        name for name, item in value.items() if name != tag and any(other.get(name, ...) != item for other in alike)
    ]
    options = ", ".join(f"{name}={_shown(value[name])}" for name in differ)
    kind = str(value.get(tag, ""))
    return f"{kind}({options})" if kind and options else kind or options or json.dumps(value)


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)

"""Rows of a table of everything a study can train on and be corrupted by."""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import NamedTuple

from consilience.data.noise import PROCESSES
from consilience.data.source import SOURCES

__all__ = ["Description", "describe"]


class Description(NamedTuple):
    """A source or noise process (`kind` "source" or "noise").

    `options` maps each option to its default, or to "required".
    """

    kind: str
    name: str
    title: str
    tasks: tuple[str, ...]
    options: dict[str, str]


def describe() -> list[Description]:
    """Return one row for every registered source, then one for every noise process.

    >>> [row.name for row in describe() if row.kind == "noise"]
    ['label-gaussian', 'label-flip', 'none', 'input-blur', 'label-confusion', 'label-heteroscedastic',
    'input-gaussian', 'input-dropout']
    """
    sources = [("source", name, cls) for name, cls in SOURCES.items()]
    noise = [("noise", name, cls) for name, cls in PROCESSES.items()]
    return [
        Description(kind, name, cls.title, tuple(sorted(cls.tasks)), _options(cls))
        for kind, name, cls in (*sources, *noise)
    ]


def _options(cls: type) -> dict[str, str]:
    return {field.name: "required" if field.default is MISSING else repr(field.default) for field in fields(cls)}

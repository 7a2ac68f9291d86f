"""Named things of one kind (measures, data sources, noise processes, networks) and how they are looked up."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

from consilience.errors import UnknownNameError

__all__ = ["Catalogue", "suggestion"]

T = TypeVar("T")


def suggestion(name: str, valid: Iterable[str]) -> str:
    """``did you mean 'cka'? `` or, when nothing is close, every valid name."""
    names = sorted(valid)
    close = difflib.get_close_matches(name, names, n=2, cutoff=0.6)
    if close:
        return "did you mean " + " or ".join(repr(item) for item in close) + "?"
    return "valid names: " + ", ".join(names)


class Catalogue(Mapping[str, T]):
    """A mapping from registered names to things of one kind, in order of registration.

    >>> fruit = Catalogue[int]("fruit")
    >>> fruit.register("apple", 1)
    1
    >>> fruit["aple"]
    Traceback (most recent call last):
    consilience.errors.UnknownNameError: unknown fruit 'aple': did you mean 'apple'?
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, T] = {}

    def register(self, name: str, entry: T) -> T:
        """Add `entry` under `name`; a name can be given once."""
        if name in self._entries and self._entries[name] is not entry:
            raise ValueError(f"{self.kind} {name!r} is registered already, as {self._entries[name]!r}")
        self._entries[name] = entry
        return entry

    def __getitem__(self, name: str) -> T:
        try:
            return self._entries[name]
        except KeyError:
            raise UnknownNameError(f"unknown {self.kind} {name!r}: {suggestion(name, self._entries)}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

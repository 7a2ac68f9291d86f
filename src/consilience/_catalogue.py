"""Named things of one kind (measures, data sources, noise processes, networks) and how they are looked up."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

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

    Parameters
    ----------
    kind
        What it holds, for messages.
    own
        Makes an entry of a user's own from "package.module:function". Such names can be looked up; they are not listed.

    >>> fruit = Catalogue[int]("fruit")
    >>> fruit.register("apple", 1)
    1
    >>> fruit["aple"]
    Traceback (most recent call last):
    consilience.errors.UnknownNameError: unknown fruit 'aple': did you mean 'apple'?
    """

    def __init__(self, kind: str, own: Callable[[str], T] | None = None) -> None:
        self.kind = kind
        self._own = own
        self._entries: dict[str, T] = {}

    def register(self, name: str, entry: T) -> T:
        """Add `entry` under `name`; a name can be given once."""
        if name in self._entries and self._entries[name] is not entry:
            raise ValueError(f"{self.kind} {name!r} is registered already, as {self._entries[name]!r}")
        self._entries[name] = entry
        return entry

    def __getitem__(self, name: str) -> T:
        if self._own is not None and ":" in name:
            return self._own(name)
        try:
            return self._entries[name]
        except KeyError:
            raise UnknownNameError(f"unknown {self.kind} {name!r}: {suggestion(name, self._entries)}") from None

    def holds(self, thing: object) -> bool:
        """Whether `thing` is of a type made from a user's own name."""
        name = getattr(thing, "name", None)
        if self._own is None or not isinstance(name, str) or ":" not in name:
            return False
        made: Any = self._own(name)
        return type(thing) is made

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

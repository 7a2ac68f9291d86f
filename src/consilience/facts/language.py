"""Small pieces of English: lists, counts, numbers with their errors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

__all__ = ["counted", "error_text", "grouped", "joined", "with_error"]


def joined(words: Sequence[str]) -> str:
    """Items as a list.

    >>> joined(["1"]), joined(["1", "4", "16"])
    ('1', '1, 4 and 16')
    """
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]


def counted(number: int, noun: str) -> str:
    """A number with its noun.

    >>> counted(1, "cell"), counted(40, "cell")
    ('1 cell', '40 cells')
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def grouped(said: Iterable[tuple[str, str]]) -> list[tuple[str, list[str]]]:
    """Things of which the same is said, together, in the order in which it is said first.

    >>> grouped([("1", "rises"), ("4", "falls"), ("16", "rises")])
    [('rises', ['1', '16']), ('falls', ['4'])]
    """
    groups: dict[str, list[str]] = {}
    for thing, fact in said:
        groups.setdefault(fact, []).append(thing)
    return list(groups.items())


def with_error(value: float, se: float) -> str:
    """A mean and its standard error; without the latter, the mean alone.

    >>> with_error(0.3412, 0.0123), with_error(0.3412, float("nan"))
    ('0.341 ± 0.012', '0.341')
    """
    return f"{value:.3f} ± {se:.3f}" if np.isfinite(se) else f"{value:.3f}"


def error_text(error: float) -> str:
    """A training or test error, which may span many orders of magnitude.

    >>> [error_text(error) for error in (0.7604, 1617.08, 1.5e-15, 0.0)]
    ['0.76', '1617', '1.5e-15', '0']
    """
    return f"{error:.3g}" if error < 1000 else f"{error:.0f}"

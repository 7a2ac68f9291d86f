"""One pair of representations, checked and prepared on the host: what all statistics of a pair start from."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from consilience._array import is_traced, to_numpy
from consilience.errors import ConsilienceError
from consilience.registry import DegenerateWarning, Kind, Measure, get_measure

__all__ = ["Floats", "Pair", "best_score", "check_rows", "on_the_host", "pair_of", "sign_of"]

Floats = NDArray[np.float64]


class Pair(NamedTuple):
    """Representations of the same n samples, and their score."""

    measure: Measure
    x: Floats
    y: Floats
    targets: NDArray[np.int64] | None
    a: Any  # x, prepared
    b: Any
    value: float
    """NaN where `reason` is given."""
    reason: str | None
    """Why there is no score."""

    def score(self, rows: NDArray[np.intp]) -> float:
        """Score of some of the rows; NaN if these have none."""
        targets = None if self.targets is None else self.targets[rows]
        states = [self.measure.state(each[rows], targets) for each in (self.x, self.y)]
        if any(self.measure.degenerate(state) for state in states):
            return float("nan")
        return float(self.measure.compare(*states))


def pair_of(measure: str | Measure, x: Any, y: Any, targets: Any = None, *, purpose: str) -> Pair:
    """Check and prepare a pair; `purpose`, a noun phrase, begins messages.

    Raises
    ------
    ConsilienceError
        If the arrays do not fit each other or the measure, are traced, or if rows are not samples for the measure.
    """
    chosen = get_measure(measure)
    check_rows(chosen, purpose)
    arrays, known = chosen.checked(on_the_host((x, y), purpose), ("x", "y"), targets)
    first, second = arrays
    a, b = (chosen.state(each, known) for each in arrays)
    for name, state in (("x", a), ("y", b)):
        reason = chosen.degenerate(state)
        if reason:
            warnings.warn(f"{chosen.label} is NaN: in {name}, {reason}", DegenerateWarning, stacklevel=3)
            return Pair(chosen, first, second, known, a, b, float("nan"), f"in {name}, {reason}")
    caveat = chosen.caveat(a, b)
    if caveat:
        warnings.warn(f"{chosen.label}: {caveat}", DegenerateWarning, stacklevel=3)
    return Pair(chosen, first, second, known, a, b, float(chosen.compare(a, b)), None)


def on_the_host(values: Any, purpose: str) -> list[Any]:
    """`values` in NumPy.

    Raises
    ------
    ConsilienceError
        Inside ``jax.jit``, where values are not known.
    """
    if any(is_traced(value) for value in values):
        raise ConsilienceError(f"{purpose} is computed on the host, from known values: call it outside jax.jit.")
    return [to_numpy(value) if hasattr(value, "shape") else value for value in values]


def check_rows(measure: Measure, purpose: str) -> None:
    """Refuse measures for which rows are repeated measurements of conditions."""
    if not measure.rows_are_samples:
        raise ConsilienceError(
            f"{purpose} takes every row as a sample of its own, and for {measure.label} rows are repeated measurements "
            "of conditions: average the repeats and compare one row for each condition, with rdm 'euclidean' say."
        )


def sign_of(measure: Measure) -> float:
    """1 where larger scores mean more alike, else -1."""
    return 1.0 if measure.kind is Kind.SIMILARITY else -1.0


def best_score(measure: Measure, n: int) -> float:
    """Return the score of `n` samples with themselves, or the bound of scores; NaN if there is none."""
    best = measure.self_score(n)
    if best is None:
        best = measure.bounds[1] if measure.kind is Kind.SIMILARITY else measure.bounds[0]
    return best if np.isfinite(best) else float("nan")

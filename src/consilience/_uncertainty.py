"""Intervals and tests beside scores, for one pair or all pairs of many representations."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from consilience._array import Array, to_numpy
from consilience.errors import ConsilienceError
from consilience.registry import DegenerateWarning, Measure

if TYPE_CHECKING:  # SciPy's distributions take longer to load than all the rest: only when needed
    from consilience.stats import Interval, PermutationTest

__all__ = ["Scores", "Wanted", "of_many", "of_pair"]

Floats = NDArray[np.float64]


class Scores(NamedTuple):
    """Scores of pairs with 95 % intervals and p-values; NumPy arrays of one shape, whatever library the input is of."""

    scores: Floats
    low: Floats
    """Lower ends of the intervals over samples; NaN unless asked for, or where there is none."""
    high: Floats
    p: Floats
    """p of permutation tests; NaN unless asked for, and for a representation with itself."""


class Wanted(NamedTuple):
    """What to find out beside the score."""

    interval: bool
    null: int
    seed: int

    @property
    def nothing(self) -> bool:
        """Whether the bare score will do."""
        if self.null < 0:
            raise ConsilienceError(f"null is {self.null} permutations: give 0 for no test, or 1000 say.")
        return not (self.interval or self.null)


def of_pair(
    measure: Measure, x: Array, y: Array, targets: Any, wanted: Wanted
) -> tuple[Interval | None, PermutationTest | None]:
    """Return the interval and the test of one pair; None for what is not wanted."""
    from consilience.stats.interval import interval_of
    from consilience.stats.permutation import permutation_test_of

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DegenerateWarning)  # the score has told already
        pair = _pair(measure, x, y, targets)
        found = interval_of(pair, seed=wanted.seed) if wanted.interval else None
    return found, permutation_test_of(pair, wanted.null, seed=wanted.seed) if wanted.null else None


def of_many(
    measure: Measure,
    arrays: Sequence[Array],
    targets: Any,
    scores: Array,
    places: Iterable[tuple[int, int, int, int]],
    wanted: Wanted,
) -> Scores:
    """Return `scores` with intervals and p.

    `places` holds, for every entry, its row and column and which of `arrays` are compared there; entries that are NaN
    are left so, and those of an array with itself have no width and no p.
    """
    values = np.array(to_numpy(scores), dtype=np.float64)
    low, high, p = (np.full(values.shape, np.nan) for _ in range(3))
    known: dict[tuple[int, int], tuple[Any, Any]] = {}
    for row, column, i, j in places:
        if np.isnan(values[row, column]):
            continue
        if i == j:
            if wanted.interval:
                low[row, column] = high[row, column] = values[row, column]
            continue
        key = (min(i, j), max(i, j)) if measure.symmetric else (i, j)
        if key not in known:
            known[key] = of_pair(measure, arrays[key[0]], arrays[key[1]], targets, wanted)
        interval, test = known[key]
        if interval is not None:
            low[row, column], high[row, column] = interval.low, interval.high
        if test is not None:
            p[row, column] = test.p
    return Scores(values, low, high, p)


def _pair(measure: Measure, x: Array, y: Array, targets: Any) -> Any:
    from consilience.stats._pair import pair_of

    return pair_of(measure, x, y, None if targets is None else to_numpy(targets), purpose="an interval or a test")

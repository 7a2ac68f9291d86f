"""Measures of data that do not fit in memory, accumulated batch by batch in one pass."""

from __future__ import annotations

import warnings
from typing import Any

from consilience._array import Array, as_representations, namespace
from consilience._moments import Moments, Sums, moments, start, update
from consilience.errors import ConsilienceError
from consilience.measures._subspace import rank_of_products
from consilience.registry import DegenerateWarning, Family, Measure, get_measure

__all__ = ["Stream"]


class Stream:
    """One measure of one pair of representations, batch by batch.

    Exact up to rounding of the sums, and independent of how samples are cut into batches: what is kept are the sums of
    products of features (and a few of fourth order), p² + pq + q² numbers, from which the measure follows.
    Samples are shifted by the mean of the first batch, so that a large common offset costs no digits. Directions below
    about 1e-8 of the largest deviation are lost in the sums, as when the first batch is far from the others. Where
    measures of regression or canonical correlation leave directions out for that, or because features are linearly
    dependent, which sums cannot tell apart, a `DegenerateWarning` says how many.

    Parameters
    ----------
    measure : str or Measure
        One that depends on second moments only: CKA with the linear kernel, the CCA family, Procrustes and other
        shape distances, linear predictivity, GULP. ``get_measure(name).streams`` tells.

    Raises
    ------
    ConsilienceError
        If the measure cannot be streamed, or a batch does not fit those before it.

    Examples
    --------
    >>> import numpy as np
    >>> from consilience import cka
    >>> x = np.random.default_rng(0).standard_normal((1000, 5))
    >>> y = np.tanh(x)
    >>> stream = Stream("cka")
    >>> for first in range(0, 1000, 64):
    ...     stream.update(x[first : first + 64], y[first : first + 64])
    >>> abs(float(stream.result() - cka(x, y))) < 1e-12
    True
    """

    def __init__(self, measure: str | Measure) -> None:
        self.measure = get_measure(measure)
        if not self.measure.streams:
            self.measure.from_moments()  # raises, with what to do
        self.n_samples = 0
        self._folds: list[Sums | None] = [None] * self.measure.folds

    def update(self, x: Any, y: Any) -> None:
        """Add samples: rows of `x` (b, p) and `y` (b, q), one row or more."""
        x, y = as_representations((x, y), ("x", "y"), min_samples=1, needed_by="a batch")
        self._check_widths(x, y)
        count = len(self._folds)
        for fold in range(count):
            first = (fold - self.n_samples) % count
            part_x, part_y = x[first::count, :], y[first::count, :]
            if part_x.shape[0] == 0:
                continue
            self._folds[fold] = update(self._folds[fold] or start(part_x, part_y), part_x, part_y)
        self.n_samples += int(x.shape[0])

    def result(self) -> Array:
        """Return the score of all samples so far, a 0-d array of the caller's library.

        NaN, with a `DegenerateWarning`, where no feature varies.
        """
        needed = max(self.measure.min_samples, 2 * len(self._folds))
        if self.n_samples < needed:
            raise ConsilienceError(
                f"the stream of {self.measure.label} has seen {self.n_samples} samples and needs at least {needed}: "
                "update it with more."
            )
        found = [moments(sums) for sums in self._folds if sums is not None]
        reason = _degenerate(found)
        if reason:
            warnings.warn(f"{self.measure.label} is NaN: {reason}", DegenerateWarning, stacklevel=2)
            return namespace(found[0].xx).asarray(float("nan"), dtype=found[0].xx.dtype)
        if self.measure.family in (Family.CCA, Family.REGRESSION):  # to others small directions matter little
            for name, products in (("x", [fold.xx for fold in found]), ("y", [fold.yy for fold in found])):
                lost = _below_rounding(products, self.n_samples)
                if lost:
                    warnings.warn(
                        f"{self.measure.label}: in {name}, {lost} directions are below the rounding of the largest and "
                        "are left out: features are linearly dependent, which changes nothing, or samples far from "
                        "the others drown them; then remove these, or call the measure on arrays",
                        DegenerateWarning,
                        stacklevel=2,
                    )
        return self.measure.from_moments(*found)

    def _check_widths(self, x: Array, y: Array) -> None:
        known = next((sums for sums in self._folds if sums is not None), None)
        if known is None:
            return
        expected = known.shift_x.shape[0], known.shift_y.shape[0]
        if (x.shape[1], y.shape[1]) != expected:
            raise ConsilienceError(
                f"this batch has {x.shape[1]} and {y.shape[1]} features, the batches before it had {expected[0]} and "
                f"{expected[1]}: a stream compares one pair of representations."
            )
        if namespace(x) is not namespace(known.shift_x):
            raise ConsilienceError(
                f"this batch comes from {namespace(x).__name__}, those before it from "
                f"{namespace(known.shift_x).__name__}: stay with one array library."
            )


def _below_rounding(products: list[Array], n: int) -> int:
    """How many fewer directions than features that vary are above rounding of the largest, over all folds."""
    xp = namespace(products[0])
    total: Array = sum(products[1:], products[0])
    features = int(xp.sum(xp.astype(xp.linalg.diagonal(total) > 0, total.dtype)))
    return max(0, min(features, n - 1) - rank_of_products(total, n))


def _degenerate(folds: list[Moments]) -> str | None:
    for name, products in (("x", [fold.xx for fold in folds]), ("y", [fold.yy for fold in folds])):
        if not any(bool(namespace(each).any(each != 0)) for each in products):
            return f"in {name}, every feature is constant"
    return None

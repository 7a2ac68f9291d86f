"""What statistics ask of a measure: scores of reordered rows, scores with each row left out, and the level of chance.

Everything here is of NumPy arrays: statistics are computed on the host. A measure without a shortcut returns None, and
is then prepared and compared again for every order or row.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Floats", "Orders", "Resampled"]

Floats = NDArray[np.float64]
Orders = NDArray[np.intp]


class Resampled:
    """Shortcuts of a measure for resampling rows. All are optional."""

    rows_are_samples: bool = True
    """Whether every row is a draw of its own; false where rows are repeated measurements of conditions."""

    jackknife_weight: float = 0.5
    """Share of the jackknife in the variance of a measure with `of_each_sample`; see `consilience.stats.interval`."""

    def compare(self, a: Any, b: Any, /) -> Any:
        """Return the score of two prepared representations."""
        raise NotImplementedError

    def reordered(self, state: Any, order: Orders, /) -> Any:
        """Return what `prepare` would give for rows ``x[order]``, from the `state` of x; None if that is no shortcut.

        For every i, row i of the new representation is row ``order[i]`` of the old one.
        """
        del state, order

    def permuted(self, a: Any, b: Any, orders: Orders, /) -> Floats | None:
        """Scores of state `a` with state `b` whose rows come in each of `orders` (P, n): (P,), or None."""
        found: list[float] = []
        for order in orders:
            other = self.reordered(b, order)
            if other is None:
                return None
            found.append(float(self.compare(a, other)))
        return np.asarray(found)

    def permuted_coarsely(self, a: Any, b: Any, orders: Orders, /) -> tuple[Floats, float] | None:
        """`permuted` at less cost and precision, and what it is off by at most; None if that is no shortcut."""
        del a, b, orders

    def cycled(self, a: Any, b: Any, cycle: Orders, /) -> Floats | None:
        """Scores of state `a` with state `b` whose rows move along `cycle`, an order of all n rows: (n,), or None.

        Entry k: row ``cycle[i]`` of b is replaced by its row ``cycle[(i + k) % n]``, for every i.
        """
        del a, b, cycle

    def chance(self, a: Any, b: Any, /) -> float | None:
        """Return the mean of `permuted` over all orders of n rows, where it is known."""
        del a, b

    def without_each(self, x: Floats, y: Floats, /) -> Floats | None:
        """Scores of `x` (n, p) and `y` (n, q), each row in turn left out: (n,), or None if that is no shortcut."""
        del x, y

    def of_each_sample(self, x: Floats, y: Floats, /) -> Floats | None:
        """Shares of the samples in the score, whose mean it is: (n,), or None if it is no mean over samples.

        Defined by neighbour measures only. Their scores jump when a neighbour changes, and what leaving out a row
        tells of their spread is too much (`consilience.stats.interval`).
        """
        del x, y

    def held_out(self, x: Floats, y: Floats, x_test: Floats, y_test: Floats, /) -> float | None:
        """Score of test samples along the directions fitted to `x` (n, p) and `y` (n, q); None if nothing is fitted."""
        del x, y, x_test, y_test

"""Exact transport of mass between two sets of equal weights: the assignment problem for sets of unequal size."""

from __future__ import annotations

from math import gcd
from typing import Any, cast

import numpy as np
from scipy.optimize import linear_sum_assignment, linprog
from scipy.sparse import csc_array

from consilience.errors import ConsilienceError

__all__ = ["assignment", "transport_edges", "transport_plan"]

_PER_FEATURE = 8  # edges of each feature that the linear program begins with, and that a round may add
_TOLERANCE = 1e-10  # of reduced costs, relative to the largest gain: the smallest that HiGHS accepts

Matrix = np.ndarray[Any, np.dtype[Any]]


def assignment(gain: Matrix) -> Matrix:
    """Matrix of zeros and min(p, q) ones, no two in a row or column, with the largest sum of `gain` (p, q) at them."""
    plan = np.zeros(gain.shape)
    plan[linear_sum_assignment(gain, maximize=True)] = 1
    return plan


def transport_plan(gain: Matrix) -> Matrix:
    """Matrix (p, q), rows summing to 1/p and columns to 1/q, none negative, with the largest Σ plan · `gain`.

    A linear program in few of the p·q edges, which takes in those that its dual prices show to be worth more than the
    program makes of them, until there are none: then it is the solution for all edges. Masses are counted in units
    that make the solution one of whole numbers.
    """
    p, q = gain.shape
    if p == q:
        return assignment(gain) / p
    common = gcd(p, q)
    supply, demand = q // common, p // common  # units that leave a row and reach a column
    scale = float(np.max(np.abs(gain)))
    gain = gain / scale if scale > 0 else gain
    edges = _corner(p, q, supply, demand) | _largest(gain)
    while True:
        units, prices_p, prices_q = _solve(gain, edges, supply, demand)
        excess = np.where(edges, 0.0, gain - prices_p[:, None] - prices_q[None, :])
        wanted = excess > _TOLERANCE
        if not wanted.any():
            return units / (p * supply)
        edges |= wanted & _largest(excess)


def transport_edges(gain: Matrix) -> Matrix:
    """`transport_plan` as a list of p + q − 1 edges, (3, p + q − 1): row, column and mass, which may be zero.

    A basic solution, which the simplex method and an assignment are, has no more edges that carry mass.
    """
    plan = transport_plan(gain)
    row, column = np.nonzero(plan)
    edges = np.zeros((3, sum(plan.shape) - 1))
    edges[:, : len(row)] = row, column, plan[row, column]
    return edges


def _solve(gain: Matrix, edges: Matrix, supply: int, demand: int) -> tuple[Matrix, Matrix, Matrix]:
    """Units on each of `edges` with the largest total gain, and what one more unit in each row and column is worth."""
    p, q = gain.shape
    row, column = np.nonzero(edges)
    ends = np.stack([row, p + column], axis=1).ravel()
    incidence = csc_array((np.ones(len(ends)), ends, np.arange(0, len(ends) + 1, 2)), shape=(p + q, len(row)))
    found = cast(Any, linprog)(  # its stubs do not know sparse arrays
        -gain[row, column],
        A_eq=incidence,
        b_eq=np.concatenate([np.full(p, float(supply)), np.full(q, float(demand))]),
        method="highs-ds",
        options={"presolve": False, "dual_feasibility_tolerance": _TOLERANCE},
    )
    if found.status != 0:
        raise ConsilienceError(f"transport between {p} and {q} features was not solved: {found.message}")
    units = np.zeros((p, q))
    units[row, column] = np.rint(found.x)
    prices = -found.eqlin.marginals
    return units, prices[:p], prices[p:]


def _corner(p: int, q: int, supply: int, demand: int) -> Matrix:
    """Edges of one plan that fits: units in order of rows meet units in order of columns."""
    last = np.unique(np.concatenate([supply * np.arange(1, p + 1), demand * np.arange(1, q + 1)])) - 1
    edges = np.zeros((p, q), dtype=bool)
    edges[last // supply, last // demand] = True
    return edges


def _largest(gain: Matrix) -> Matrix:
    """Mark the edges of largest gain of every row and of every column."""
    edges = np.zeros(gain.shape, dtype=bool)
    for axis in (0, 1):
        k = min(_PER_FEATURE, gain.shape[axis])
        chosen = np.argpartition(-gain, k - 1, axis=axis)
        np.put_along_axis(edges, chosen[:k] if axis == 0 else chosen[:, :k], True, axis=axis)
    return edges

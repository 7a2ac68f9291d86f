"""Ordered alternatives along one axis of a grid, and rank correlation given others."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from consilience.errors import ConsilienceError
from consilience.stats.multiple import adjust
from consilience.stats.replicates import Effect, Replicates, contrast

__all__ = ["Trend", "ordered_trend", "ordered_weights", "partial_rank_correlation"]

Floats = NDArray[np.float64]


class Trend(NamedTuple):
    """Growth along the first axis of a grid, combined over the second."""

    rise: Effect
    """Weighted mean of the high levels less that of the low ones, averaged over the second axis."""
    p: float
    """Two-sided p of no trend; NaN without standard errors."""
    steps: Effect
    """(levels - 1, N) difference to the next level."""
    p_fall: Floats
    """(levels - 1, N) one-sided p of each step not falling, adjusted (Holm) for all steps together."""


def ordered_weights(n: int) -> Floats:
    r"""Weights of n ordered levels that lose least against the worst monotone alternative.

    .. math:: w_i \propto \sqrt{(i-1)\bigl(1-\tfrac{i-1}{n}\bigr)} - \sqrt{i\bigl(1-\tfrac{i}{n}\bigr)},
              \quad i = 1, \dots, n

    scaled so that the positive weights sum to one: the contrast is a weighted mean of the high levels less
    one of the low levels, in the units of what is measured. The weights grow with i and sum to zero, so the
    contrast is positive for every non-decreasing sequence that is not constant.

    Parameters
    ----------
    n
        Levels, two or more.

    Returns
    -------
    ndarray
        (n,).

    Raises
    ------
    ConsilienceError
        With fewer than two levels.

    Notes
    -----
    Source: Abelson & Tukey, Annals of Mathematical Statistics 34 (1963), 1347-1369. Exact.

    Examples
    --------
    >>> ordered_weights(4).round(3)
    array([-0.866, -0.134,  0.134,  0.866])
    """
    if n < 2:
        raise ConsilienceError(f"a trend over {n} level: at least two are needed")
    i = np.arange(n + 1)
    root = np.sqrt(i * (1 - i / n))
    weights = root[:-1] - root[1:]
    return weights / weights[weights > 0].sum()


def ordered_trend(cells: Replicates, *, resolution: float = 0.0) -> Trend:
    r"""Test of an ordered alternative along the first axis, at fixed values of the second, combined over those.

    .. math:: T = \frac1{|N|} \sum_n \sum_s w_s \bar s_{s,n}

    with the weights of `ordered_weights`. Columns n that miss levels use those they have; columns with one level
    or none are left out. :math:`T/\mathrm{se}(T)` is compared with t (see `contrast`).

    The trend alone does not say that growth is monotone: `p_fall` looks for a level at which it reverses.

    Parameters
    ----------
    cells
        Replicates of shape (levels, N), levels in increasing order.
    resolution
        As for `contrast`.

    Raises
    ------
    ConsilienceError
        When no column has two levels.

    Notes
    -----
    Assumes members independent and their effects on T near normal. Measured at 4, 8 and 16 members in
    `benchmarks/claims.py`: without a trend it is found at level 5 % in no more than 5 % of runs.

    Examples
    --------
    Three members; at the second level they are higher by .1, .2 and .3.

    >>> from consilience.stats import member_replicates
    >>> trend = ordered_trend(member_replicates([[[0.1, 0.2, 0.3]], [[0.2, 0.4, 0.6]]]))
    >>> trend.rise.value.round(3), round(trend.p, 3)
    (np.float64(0.2), 0.074)
    """
    measured = np.isfinite(cells.mean)  # (levels, N)
    columns = np.flatnonzero(measured.sum(0) >= 2)
    if len(columns) == 0:
        raise ConsilienceError("no column of the grid has two levels: there is no trend to test")
    weights = np.zeros(measured.shape)
    for column in columns:
        there = measured[:, column]
        weights[there, column] = ordered_weights(int(there.sum())) / len(columns)
    rise = contrast(cells, weights, resolution=resolution)
    steps = _steps(cells, resolution)
    return Trend(
        rise=rise,
        p=float(2 * min(rise.p_above(), rise.p_below())) if np.isfinite(rise.se) else float("nan"),
        steps=steps,
        p_fall=adjust(steps.p_below()),
    )


def _steps(cells: Replicates, resolution: float) -> Effect:
    """(levels - 1, N) differences to the next level."""
    levels, n = cells.mean.shape
    weights = np.zeros((levels - 1, n, levels, n))
    for level in range(levels - 1):
        for column in range(n):
            weights[level, column, level : level + 2, column] = -1, 1
    return contrast(cells, weights, resolution=resolution)


def partial_rank_correlation(x: ArrayLike, y: ArrayLike, given: ArrayLike) -> float:
    r"""Spearman correlation of x and y given other variables.

    Pearson's correlation of what a linear fit on the ranks of `given` leaves of the ranks of x and y:

    .. math:: \rho_{xy\cdot z} = \frac{r_x^\top (I-P_z)\, r_y}
              {\sqrt{r_x^\top (I-P_z)\, r_x \; r_y^\top (I-P_z)\, r_y}}

    with :math:`P_z` the projection on a constant and the ranks of the given variables; ties share their mean rank.

    Parameters
    ----------
    x, y
        (n,).
    given
        (n,) or (variables, n); with no variable the plain rank correlation.

    Returns
    -------
    float
        In [-1, 1]; NaN where x or y is constant given the others, or there are too few values to tell.

    Raises
    ------
    ConsilienceError
        When lengths differ or a number is not finite (infinity in `given` is a rank like any other).

    Notes
    -----
    Source: Kendall & Stuart, The Advanced Theory of Statistics, vol. 2, ch. 27. With one variable it equals
    :math:`(\rho_{xy} - \rho_{xz}\rho_{yz}) / \sqrt{(1-\rho_{xz}^2)(1-\rho_{yz}^2)}`.

    Examples
    --------
    >>> round(partial_rank_correlation([1, 2, 3, 4], [1, 2, 3, 4], [1, 1, 2, 2]), 3)
    1.0
    """
    a, b = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    others = np.asarray(given, dtype=np.float64).reshape(-1, a.shape[0]) if np.size(given) else np.zeros((0, len(a)))
    if a.shape != b.shape or a.ndim != 1 or others.shape[1] != len(a):
        raise ConsilienceError(f"x has shape {a.shape}, y {b.shape}: give both, and every given variable, as (n,)")
    if not np.isfinite(a).all() or not np.isfinite(b).all() or np.isnan(others).any():
        raise ConsilienceError("a rank correlation needs finite numbers: leave out what was not measured")
    design = np.column_stack([np.ones(len(a)), *(stats.rankdata(one) for one in others)])
    ranks = np.column_stack([stats.rankdata(a), stats.rankdata(b)])
    left = ranks - design @ np.linalg.lstsq(design, ranks, rcond=None)[0]
    norms = (left**2).sum(0)
    if len(a) <= design.shape[1] + 1 or norms.min() < 1e-9 * len(a):
        return float("nan")
    return float(np.clip(left[:, 0] @ left[:, 1] / np.sqrt(norms.prod()), -1.0, 1.0))

"""A dip in a curve: whether it is there, where its bottom may be, and how sure the place of a threshold is."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

from consilience.errors import ConsilienceError
from consilience.stats.members import check_level
from consilience.stats.replicates import Effect, Replicates, contrast, p_not_both

__all__ = ["Bracket", "Dip", "fall_then_rise", "lowest_candidates", "median_bracket"]

Floats = NDArray[np.float64]

# A dip less deep than this share of the change from end to end does not make a curve non-monotonic in any sense
# that matters.
SHALLOW = 0.1


class Dip(NamedTuple):
    """A fall followed by a rise, on one curve."""

    bottom: int
    """Index of the bottom, between `left` and `right`."""
    left: int
    right: int
    """Indices of the shoulders it was compared with."""
    depth: float
    """How far the bottom lies below the lower of the two shoulders."""
    low: float
    """Lower end of its interval, corrected for having picked the three points: above 0 exactly when p < 1 - level."""
    high: float
    """Upper end, not corrected: the depth between these three points is smaller than that with confidence `level`."""
    p: float
    """p of no dip anywhere, corrected for having picked the three points."""
    p_shallow: float
    """p of "somewhere there is a dip deeper than a tenth of the change from end to end": small when the curve is
    monotone as far as that goes."""


def fall_then_rise(curve: Replicates, *, level: float = 0.95, resolution: float = 0.0) -> Dip:
    r"""Find the clearest fall-then-rise on a curve of K points and test it.

    For a bottom j the null hypothesis "no fall before j, or no rise after it" is rejected when both parts are,

    .. math:: p_j = \max(p^{\text{fall}}_j,\, p^{\text{rise}}_j)

    In one family the shoulders are the two ends, and :math:`p_j` is corrected for the K-2 bottoms; in another they
    are any two points on either side, and :math:`p_j` is corrected for those as well, by j on the left, K-1-j on the
    right (0-based) and K-2. The smaller of the two counts twice (Bonferroni).

    `p_shallow` tests the reverse. With :math:`a_j, b_j` the heights of the ends over j and D the end-to-end change,
    in its own direction, it is the largest over j of the p of "both :math:`a_j` and :math:`b_j` exceed D/10"
    (`p_not_both`): every bottom must be rejected, so no correction over j is needed.

    Parameters
    ----------
    curve
        Replicates of K cells in order, all measured.
    level
        Coverage of the interval of the depth.
    resolution
        As for `contrast`.

    Returns
    -------
    Dip
        With NaN for what needs standard errors when there are none.

    Raises
    ------
    ConsilienceError
        With fewer than three points.

    Notes
    -----
    Sources: Berger, Technometrics 24 (1982), 295-300, for rejecting "one or the other" when both are rejected;
    Bonferroni for the rest. Assumes near-normal member effects. Measured in `benchmarks/claims.py`: flat and monotone
    curves show a dip in no more than 5 % of runs at 4, 8 and 16 members.

    Examples
    --------
    >>> from consilience.stats import member_replicates
    >>> dip = fall_then_rise(member_replicates([[0.90, 0.91, 0.92], [0.20, 0.21, 0.22], [0.80, 0.81, 0.83]]))
    >>> dip.bottom, round(dip.depth, 3), dip.p < 0.05
    (1, 0.603, True)
    """
    check_level(level)
    n = len(curve.mean)
    if n < 3:
        raise ConsilienceError(f"a curve of {n} points has no inside: at least three are needed")
    over = _differences(curve, resolution)  # (K, K): height of row over column
    if not np.isfinite(over.se).all():
        return _without_errors(curve.mean)
    p = over.p_above()
    count, left, bottom, right = min(_clearest(p, ends=True), _clearest(p, ends=False), key=lambda one: one[0])
    corrections = 2 * (n - 2) * np.array([1, 1] if (left, right) == (0, n - 1) else [bottom, n - 1 - bottom])
    shoulders = np.array([left, right])
    heights, errors, df = (part[shoulders, bottom] for part in over)
    lows = heights + errors * special.stdtrit(df, np.minimum((1 - level) / corrections, 0.5))
    highs = heights - errors * special.stdtrit(df, 1 - level)
    shallow = _p_shallow(curve, resolution)
    return Dip(bottom, left, right, float(heights.min()), float(lows.min()), float(highs.min()), count, shallow)


def _clearest(p: Floats, *, ends: bool) -> tuple[float, int, int, int]:
    """Smallest corrected p of one family, with the left shoulder, the bottom and the right shoulder."""
    n = len(p)
    found: list[tuple[float, int, int, int]] = []
    for j in range(1, n - 1):
        left = 0 if ends else int(np.argmin(p[:j, j]))
        right = n - 1 if ends else j + 1 + int(np.argmin(p[j + 1 :, j]))
        before, after = (1, 1) if ends else (j, n - 1 - j)
        worst = max(before * p[left, j], after * p[right, j])
        found.append((float(min(1.0, 2 * (n - 2) * worst)), left, j, right))
    return min(found)


def _p_shallow(curve: Replicates, resolution: float) -> float:
    """p of a dip deeper than `SHALLOW` of the change from end to end."""
    n = len(curve.mean)
    up = 1.0 if curve.mean[-1] >= curve.mean[0] else -1.0
    margin = np.zeros(n)
    margin[[0, -1]] = up * SHALLOW, -up * SHALLOW  # minus a tenth of the change
    weights = np.zeros((n - 2, 2, n))
    for row, j in enumerate(range(1, n - 1)):
        for side, end in enumerate((0, n - 1)):
            weights[row, side] = margin
            weights[row, side, end] += 1
            weights[row, side, j] -= 1
    over = contrast(curve, weights, resolution=resolution)  # (K - 2, ends)
    return float(p_not_both(*(Effect(*(part[:, side] for part in over)) for side in (0, 1))).max())


def _without_errors(mean: Floats) -> Dip:
    n, nan = len(mean), float("nan")
    bottom = 1 + int(np.argmin(mean[1:-1]))
    depth = float(min(mean[0], mean[-1]) - mean[bottom])
    return Dip(bottom, 0, n - 1, depth, nan, nan, nan, nan)


def _differences(curve: Replicates, resolution: float) -> Effect:
    """(K, K) height of row over column."""
    n = len(curve.mean)
    eye = np.eye(n)
    return contrast(curve, eye[:, None, :] - eye[None, :, :], resolution=resolution)


def lowest_candidates(curve: Replicates, *, level: float = 0.95, resolution: float = 0.0) -> NDArray[np.bool_]:
    r"""The points that may be the lowest of a curve.

    Point j stays unless some other lies clearly below it:
    :math:`\bar s_j - \bar s_i > t_{1-(1-\text{level})/(K-1)}\, \mathrm{se}_{ij}` for some i. The lowest point is among
    them with probability at least `level` (Bonferroni over its K-1 rivals).

    Parameters
    ----------
    curve
        Replicates of K cells, all measured.
    level
        Confidence, in (0, 1).
    resolution
        As for `contrast`.

    Returns
    -------
    ndarray
        (K,) of bool; all True without standard errors. Never empty.

    Notes
    -----
    Source: Hsu, Annals of Statistics 9 (1981), 1026-1034 (multiple comparisons with the best), with Bonferroni in
    place of equicorrelated quantiles.

    Examples
    --------
    >>> from consilience.stats import member_replicates
    >>> lowest_candidates(member_replicates([[0.9, 0.8, 0.9], [0.2, 0.3, 0.1], [0.25, 0.1, 0.3]]))
    array([False,  True,  True])
    """
    check_level(level)
    n = len(curve.mean)
    if n < 2:
        return np.ones(n, dtype=np.bool_)
    p = _differences(curve, resolution).p_above()
    np.fill_diagonal(p, 1.0)
    # A comparison that cannot be made excludes nothing.
    return np.asarray((np.nan_to_num(p, nan=1.0) >= (1 - level) / (n - 1)).all(axis=1))


class Bracket(NamedTuple):
    """A place that is known between two points of a grid."""

    value: float
    low: float
    high: float
    coverage: float
    """Confidence actually reached, at most what was asked when there are few members."""


def median_bracket(last: ArrayLike, first: ArrayLike, *, level: float = 0.95) -> Bracket:
    r"""Interval of the median over members of something each member brackets.

    Member m has it somewhere in :math:`[l_m, f_m]`. With the M values in order, the interval runs from
    :math:`l_{(k)}` to :math:`f_{(M+1-k)}`, k the largest with

    .. math:: 1 - 2\, P(\mathrm{Binomial}(M, \tfrac12) < k) \ge \text{level},

    at least 1. No distribution is assumed.

    Parameters
    ----------
    last, first
        (members,) lower and upper end for each member; the upper may be infinite.
    level
        Coverage asked for. With fewer than six members 95 % cannot be reached: `coverage` says what is.

    Raises
    ------
    ConsilienceError
        Without a member, or when an upper end lies below the lower.

    Notes
    -----
    Source: Thompson, Annals of Mathematical Statistics 7 (1936), 122-128. Exact for members that are independent;
    coverage is larger where brackets are wide or tied.

    Examples
    --------
    >>> median_bracket([80, 80, 160, 80, 80, 80, 160, 80], [160, 160, 320, 160, 160, 160, 320, 160])
    Bracket(value=80.0, low=80.0, high=320.0, coverage=0.9921875)
    """
    check_level(level)
    lows, highs = np.sort(np.asarray(last, dtype=np.float64)), np.sort(np.asarray(first, dtype=np.float64))
    n = len(lows)
    if n == 0 or lows.shape != highs.shape:
        raise ConsilienceError(f"{n} lower and {len(highs)} upper ends: give both for every member, and one at least")
    if (np.asarray(first) < np.asarray(last)).any():
        raise ConsilienceError("an upper end lies below the lower one of its member")
    rank, coverage = _median_rank(n, level)
    return Bracket(float(lows[(n - 1) // 2]), float(lows[rank - 1]), float(highs[n - rank]), coverage)


@cache
def _median_rank(n: int, level: float) -> tuple[int, float]:
    """k of `median_bracket`, and the confidence it has."""
    ranks = [k for k in range(1, n // 2 + 1) if 1 - 2 * stats.binom.cdf(k - 1, n, 0.5) >= level]
    rank = max(ranks, default=1)
    return rank, max(0.0, float(1 - 2 * stats.binom.cdf(rank - 1, n, 0.5)))

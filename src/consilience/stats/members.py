"""Means over an ensemble whose sampling unit is the member.

M members give M(M-1)/2 pairs, but only M independent draws: two pairs that share a member move
together, so treating pairs as independent makes intervals far too narrow. Here the standard error of
a mean over pairs comes from deleting one *member* (with all its pairs) at a time.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from consilience.errors import ConsilienceError

__all__ = ["Estimate", "LeftOut", "check_level", "member_mean", "pair_mean", "without_each_member", "without_each_pair"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Estimate(NamedTuple):
    """A mean with its uncertainty; every field has the leading shape of the scores."""

    mean: Floats
    """NaN where no score is finite."""
    se: Floats
    """Standard error over members; NaN where too few members are left to estimate it."""
    low: Floats
    """Lower end of the interval, NaN where `se` is."""
    high: Floats
    """Upper end of the interval, NaN where `se` is."""
    n_members: Ints
    """Members that contributed."""
    n_scores: Ints
    """Finite scores (pairs for `pair_mean`, members for `member_mean`) in the mean."""


def pair_mean(scores: ArrayLike, member_a: ArrayLike, member_b: ArrayLike, *, level: float = 0.95) -> Estimate:
    r"""Mean of scores over pairs of members, with a delete-one-member jackknife.

    .. math:: \bar s = \frac1P \sum_{a<b} s_{ab}, \qquad
              \mathrm{se}^2 = \frac{M-1}{M} \sum_{m=1}^{M} (\bar s_{-m} - \overline{\bar s_{-\cdot}})^2

    where :math:`\bar s_{-m}` leaves out every pair that contains member m. The interval is
    :math:`\bar s \pm t_{M-1}\,\mathrm{se}`. For scores that are sums of member effects plus noise of
    each pair, :math:`s_{ab} = \mu + u_a + u_b + e_{ab}`, the squared standard error is unbiased for the
    part of the members, 4 Var(u)/M, and overstates the part of the pairs, 2 Var(e)/(M(M-1)), by the factor
    2(M-1)/(M-2): intervals are then wider than needed, never narrower.

    The difference of two conditions measured on the same members is the mean of the differences,
    ``pair_mean(x - y, ...)``, whatever the dependence between the two.

    Parameters
    ----------
    scores
        (..., n_pairs). NaN marks a pair that was not measured (a member diverged); it is left out and
        the number of the rest is returned.
    member_a, member_b
        (n_pairs,) integers, the two members of every pair.
    level
        Coverage of the interval, in (0, 1).

    Returns
    -------
    Estimate
        Fields of shape (...). `mean` is NaN where no pair is left. `se`, `low` and `high` are NaN where
        leaving out some member leaves no pair, so always with two members: one pair has no spread.

    Raises
    ------
    ConsilienceError
        When shapes disagree, a pair repeats or joins a member to itself, a score is infinite, or
        `level` is not in (0, 1).

    Notes
    -----
    Source: Efron & Stein, The jackknife estimate of variance, Annals of Statistics 9 (1981), 586-596;
    for U-statistics, Arvesen, Annals of Mathematical Statistics 40 (1969), 2076-2100.

    Examples
    --------
    >>> pair_mean([0.5, 0.7, 0.6], [0, 0, 1], [1, 2, 2]).mean.round(3)
    np.float64(0.6)
    >>> pair_mean([0.5, 0.7, 0.6], [0, 0, 1], [1, 2, 2]).se.round(4)
    np.float64(0.1155)
    >>> pair_mean([0.5], [0], [1]).se
    np.float64(nan)
    """
    check_level(level)
    left = without_each_pair(scores, member_a, member_b)
    return _estimate(left, np.isfinite(np.asarray(scores, dtype=np.float64)).sum(-1), level)


def member_mean(values: ArrayLike, *, level: float = 0.95) -> Estimate:
    r"""Mean over members with its standard error :math:`\mathrm{sd}/\sqrt{M}` and t interval.

    Parameters
    ----------
    values
        (..., n_members). NaN marks a member without a value (it diverged); it is left out.
    level
        Coverage of the interval, in (0, 1).

    Returns
    -------
    Estimate
        Fields of shape (...); `se`, `low` and `high` are NaN with fewer than two members.

    Raises
    ------
    ConsilienceError
        When a value is infinite, there is no member axis, or `level` is not in (0, 1).

    Examples
    --------
    >>> member_mean([1.0, 2.0, 3.0, float("nan")]).se.round(4)
    np.float64(0.5774)
    """
    check_level(level)
    left = without_each_member(values)
    return _estimate(left, left.present.sum(-1), level)


class LeftOut(NamedTuple):
    """A mean, and what leaving out each member changes it by."""

    mean: Floats
    """(...), NaN where no score is finite."""
    change: Floats
    """(..., M) mean without the member less the mean with all; NaN where nothing is left."""
    present: NDArray[np.bool_]
    """(..., M) whether the member contributed."""


def without_each_pair(scores: ArrayLike, member_a: ArrayLike, member_b: ArrayLike) -> LeftOut:
    """Mean over pairs without each member; members in increasing order. Arguments as for `pair_mean`."""
    values, membership = _checked_pairs(scores, member_a, member_b)
    finite = np.isfinite(values)
    counts = finite.astype(np.float64)
    # Centring first keeps the subtraction of sums below exact for scores with a large common part.
    centre = _divide(np.where(finite, values, 0.0).sum(-1), counts.sum(-1))  # (...,)
    offsets = np.where(finite, values - np.nan_to_num(centre)[..., None], 0.0)
    n_kept = counts.sum(-1, keepdims=True) - counts @ membership  # (..., M)
    change = _divide(offsets.sum(-1, keepdims=True) - offsets @ membership, n_kept)  # (..., M)
    return LeftOut(centre, change, counts @ membership > 0)


def without_each_member(values: ArrayLike) -> LeftOut:
    """Mean over members without each of them. Arguments as for `member_mean`."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim == 0:
        raise ConsilienceError("values have no member axis: got a single number, give (..., n_members)")
    _check_infinite(array, "values")
    n = array.shape[-1]
    # One score per member is the special case where leaving out m leaves the mean of the others.
    finite = np.isfinite(array)
    counts = finite.sum(-1)
    mean = _divide(np.where(finite, array, 0.0).sum(-1), counts)
    offsets = np.where(finite, array - np.nan_to_num(mean)[..., None], 0.0)
    change = _divide(offsets @ (1.0 - np.eye(n)), counts[..., None] - finite)
    return LeftOut(mean, change, finite)


def _estimate(left: LeftOut, n_scores: Ints, level: float) -> Estimate:
    """Jackknife over the members present."""
    mean, replicates, present = left
    m = present.sum(-1)  # (...,)
    usable = (m >= 2) & np.all(np.isfinite(replicates) | ~present, axis=-1)
    kept = np.where(present & usable[..., None], replicates, 0.0)
    centre = kept.sum(-1) / np.maximum(m, 1)
    squares = np.where(present, (kept - centre[..., None]) ** 2, 0.0).sum(-1)
    se = np.where(usable, np.sqrt(squares * (m - 1) / np.maximum(m, 1)), np.nan)
    margin = stats.t.ppf((1 + level) / 2, np.maximum(m - 1, 1)) * se
    return Estimate(mean[()], se[()], (mean - margin)[()], (mean + margin)[()], m[()], n_scores[()])


def _divide(total: Floats, count: NDArray[np.number]) -> Floats:
    """total / count, NaN where nothing was counted."""
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _checked_pairs(scores: ArrayLike, member_a: ArrayLike, member_b: ArrayLike) -> tuple[Floats, Floats]:
    """Scores (..., P) and the 0/1 matrix (P, M) that says which members a pair contains."""
    values = np.asarray(scores, dtype=np.float64)
    a, b = np.asarray(member_a), np.asarray(member_b)
    if values.ndim == 0 or a.shape != b.shape or a.shape != values.shape[-1:]:
        raise ConsilienceError(
            f"scores have shape {values.shape}, member_a {a.shape} and member_b {b.shape}: "
            "give scores (..., n_pairs) and both members as (n_pairs,)"
        )
    if len(a) == 0:
        raise ConsilienceError("there is no pair of members to average over: an ensemble needs two or more")
    pairs = np.sort(np.stack([a, b], axis=-1), axis=-1)  # (P, 2)
    if np.any(a == b) or len(np.unique(pairs, axis=0)) < len(pairs):
        raise ConsilienceError("every pair must join two different members and occur once in member_a, member_b")
    _check_infinite(values, "scores")
    members = np.unique(pairs)
    membership = (pairs[:, :1] == members) | (pairs[:, 1:] == members)  # (P, M)
    return values, membership.astype(np.float64)


def _check_infinite(values: Floats, name: str) -> None:
    infinite = np.argwhere(np.isinf(values))
    if len(infinite):
        where = tuple(int(i) for i in infinite[0])
        raise ConsilienceError(
            f"{name} hold {len(infinite)} infinite numbers, the first at index {where}: "
            "mark what was not measured with NaN and correct the rest"
        )


def check_level(level: float) -> None:
    """Refuse what is no coverage."""
    if not 0 < level < 1:
        raise ConsilienceError(f"level is {level}: give a coverage between 0 and 1, such as 0.95")

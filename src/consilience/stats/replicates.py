"""Contrasts between cells whose members, and probe inputs, are the same.

Every cell of a run trains member m from the same initialization and the same draw of noise, and is measured
on the same probe inputs, so cells move together. Leaving out member m in *all* cells at once keeps that: the
spread of a contrast without m is the spread of the contrast, whatever the dependence between the cells. For
cells that are independent it is right too, and gives up only degrees of freedom: M-1 instead of up to 2(M-1).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

from consilience.errors import ConsilienceError
from consilience.stats.members import LeftOut, check_level, without_each_member, without_each_pair

__all__ = [
    "Effect",
    "Replicates",
    "contrast",
    "jackknife",
    "member_replicates",
    "p_not_both",
    "pair_replicates",
]

Floats = NDArray[np.float64]

_CLEAR = 0.005  # one of two effects is above zero: of a level of .05, a tenth is spent on saying so


class Replicates(NamedTuple):
    """Cell means, and what leaving out each unit of each factor changes them by."""

    mean: Floats
    """(cells), of any shape; NaN where nothing was measured."""
    changes: tuple[Floats, ...]
    """One (units, cells) for each factor, members first; 0 for a unit that is not in a cell, NaN where leaving
    it out leaves nothing."""
    units: Floats
    """(cells): members that contributed."""

    def at(self, *index: Any) -> Replicates:
        """Some of the cells: `index` as for an array of cells."""
        changes = tuple(change[(slice(None), *index)] for change in self.changes)
        return Replicates(self.mean[index], changes, self.units[index])

    def signed(self, sign: float) -> Replicates:
        """Means times `sign`."""
        return Replicates(sign * self.mean, tuple(sign * change for change in self.changes), self.units)


class Effect(NamedTuple):
    """Estimates with their uncertainty; every field has the same shape."""

    value: Floats
    se: Floats
    """NaN where it cannot be estimated."""
    df: Floats
    """Degrees of freedom of `se`."""

    def p_above(self, null: float = 0.0) -> Floats:
        """One-sided p of the hypothesis that the truth is at most `null`; NaN where `se` is."""
        return _p_above(self.value - null, self.se, self.df)

    def p_below(self, null: float = 0.0) -> Floats:
        """One-sided p of the hypothesis that the truth is at least `null`; NaN where `se` is."""
        return _p_above(null - self.value, self.se, self.df)

    def interval(self, level: float = 0.95) -> tuple[Floats, Floats]:
        """Ends of the two-sided interval; `level` in (0, 1)."""
        check_level(level)
        margin = stats.t.ppf((1 + level) / 2, self.df) * self.se
        return self.value - margin, self.value + margin


def pair_replicates(scores: ArrayLike, member_a: ArrayLike, member_b: ArrayLike, *groups: ArrayLike) -> Replicates:
    r"""Mean scores over pairs of members, ready for `contrast`.

    Parameters
    ----------
    scores
        (cells, n_pairs); NaN for what was not measured.
    member_a, member_b
        (n_pairs,) integers.
    groups
        For every further factor (cells, G): the same mean measured on each of G disjoint parts of that factor,
        such as parts of the probe inputs. Their spread over :math:`\sqrt G` is the standard error of that factor;
        their common bias does not matter.

    Examples
    --------
    >>> found = pair_replicates([[0.5, 0.7, 0.6], [0.1, 0.2, 0.1]], [0, 0, 1], [1, 2, 2])
    >>> found.mean.round(3), found.changes[0].shape
    (array([0.6  , 0.133]), (3, 2))
    """
    found = _replicates(without_each_pair(scores, member_a, member_b))
    further = tuple(_group_changes(group, found.mean.shape) for group in groups)
    return found._replace(changes=found.changes + further)


def member_replicates(values: ArrayLike) -> Replicates:
    """Mean over members of (cells, members) values, ready for `contrast`.

    >>> member_replicates([[1.0, 2.0, 3.0]]).changes[0].ravel()
    array([ 0.5,  0. , -0.5])
    """
    return _replicates(without_each_member(values))


def contrast(cells: Replicates, weights: ArrayLike, *, resolution: float = 0.0) -> Effect:
    r"""Weighted sums of cell means, with a jackknife over every factor.

    .. math:: T = \sum_c w_c \bar s_c, \qquad
              \mathrm{se}^2 = r^2 + \sum_f \frac{R_f-1}{R_f} \sum_{i=1}^{R_f} (T_{-i} - \overline{T_{-\cdot}})^2

    over factors f (members, parts of the probe inputs) with :math:`R_f` units, the degrees of freedom being
    Satterthwaite's, :math:`(\sum_f v_f)^2 / \sum_f v_f^2/(R_f-1)`. What varies with both factors enters both terms,
    so that the interval is too wide by that part, never too narrow.

    Parameters
    ----------
    cells
        Replicates of C cells in one dimension, or of any shape that `weights` ends with.
    weights
        (..., shape of cells).
    resolution
        Size r of differences that are rounding: without it equal scores give no standard error, and any
        difference between them would be infinitely significant.

    Returns
    -------
    Effect
        Fields of shape (...); NaN where a cell of non-zero weight was not measured. `se` is NaN where a factor
        has fewer than two units there, or leaving out one leaves no pair (fewer than three members).

    Raises
    ------
    ConsilienceError
        When `weights` does not end with the shape of the cells.

    Notes
    -----
    Sources: Efron & Stein, Annals of Statistics 9 (1981), 586-596; Owen, The pigeonhole bootstrap, Annals of
    Applied Statistics 1 (2007), 386-411, on sums over crossed factors; Satterthwaite, Biometrics Bulletin 2 (1946),
    110-114. Accuracy: t quantiles are exact for normal member effects; for scores that are bounded and skewed,
    measured in `benchmarks/claims.py`.

    Examples
    --------
    >>> cells = member_replicates([[1.0, 2.0, 3.0], [1.5, 2.5, 3.5]])
    >>> found = contrast(cells, [-1, 1])  # the same members: their spread cancels
    >>> found.value, found.se
    (np.float64(0.5), np.float64(0.0))
    """
    w = np.asarray(weights, dtype=np.float64)
    shape = cells.mean.shape
    if w.shape[w.ndim - len(shape) :] != shape:
        raise ConsilienceError(f"weights have shape {w.shape}: they must end with the shape of the cells, {shape}")
    flat = w.reshape(*w.shape[: w.ndim - len(shape)], -1)  # (..., C)
    value = _weighted(flat, cells.mean.reshape(-1))
    changes = [_weighted(flat, factor.reshape(len(factor), -1)) for factor in cells.changes]  # each (units, ...)
    units = np.where(flat != 0, cells.units.reshape(-1), np.inf).min(-1)
    return _effect(value, changes, units, resolution)


def _weighted(weights: Floats, cells: Floats) -> Floats:
    """Sums over cells (..., C), for each unit of (units, C) where there are units.

    NaN only where a cell of non-zero weight is.
    """
    missing = np.isnan(cells)
    if cells.ndim == 2:
        return np.stack([_weighted(weights, one) if missing.any() else weights @ one for one in cells])
    total = weights @ np.where(missing, 0.0, cells)
    return np.where((weights[..., missing] != 0).any(-1), np.nan, total) if missing.any() else total


def jackknife(value: ArrayLike, *without: ArrayLike, units: ArrayLike, resolution: float = 0.0) -> Effect:
    r"""Any smooth function of cell means, its bias taken off, with its standard error.

    .. math:: \hat T = T - \sum_f (R_f - 1) (\overline{T_{-\cdot}} - T)

    removes the bias of order 1/R that a curved function of noisy means has: exactly, for squares of means over members
    (a sum of squared differences from a prediction holds the sampling variance, which this takes off). The standard
    error is that of `contrast`.

    Parameters
    ----------
    value
        (...) the function of all units.
    without
        For every factor (units, ...) the function with each unit left out.
    units
        (...) members that contributed.
    resolution
        As for `contrast`.

    Notes
    -----
    Source: Quenouille, Biometrika 43 (1956), 353-360; Efron & Stein, Annals of Statistics 9 (1981), 586-596.

    Examples
    --------
    The square of the mean of 1, 2 and 3: less its variance, 4 - 1/3.

    >>> found = jackknife(4.0, [6.25, 4.0, 2.25], units=3)
    >>> found.value.round(4), found.se.round(4)
    (np.float64(3.6667), np.float64(2.3154))
    """
    centre = np.asarray(value, dtype=np.float64)
    changes = [np.asarray(one, dtype=np.float64) - centre for one in without]
    corrected = centre - np.sum([(len(one) - 1) * one.mean(0) for one in changes], axis=0)
    return _effect(corrected, changes, np.asarray(units, dtype=np.float64), resolution)


def p_not_both(first: Effect, second: Effect) -> Floats:
    r"""p of "both effects are at least zero", which is rejected where either lies clearly below.

    .. math:: p = \begin{cases} \min(1,\, p_1 + c) & \text{where the second is clearly above zero} \\
              \min(1,\, p_2 + c) & \text{where the first is} \\
              \min(1,\, 2 \min(p_1, p_2)) & \text{else} \end{cases}

    with :math:`p_i` the one-sided p of effect i being at least zero, and clearly above zero where its own p in the
    other direction is below c = .005. Looking at two effects for one that is below doubles the chance to find it, but
    not where one of them lies far above: it will not be found below.

    Returns
    -------
    ndarray
        In the shape of the effects; NaN where a standard error is.

    Notes
    -----
    The level holds: where both are zero, the first two cases add c to it and take it off again; where one lies above
    zero, a false rejection must come from the other. Simulated with 4 and 16 members, correlation -.7, 0 and .7
    and the one effect 0 to 5 standard errors above zero, .05 is kept (tests/stats/test_replicates.py).

    Examples
    --------
    >>> one, far = Effect(*np.array([-2.0, 1.0, 15.0])), Effect(*np.array([9.0, 1.0, 15.0]))
    >>> one.p_below().round(4), p_not_both(one, far).round(4), p_not_both(one, one).round(4)
    (np.float64(0.032), np.float64(0.037), np.float64(0.0639))
    """
    p = 2 * np.minimum(first.p_below(), second.p_below())
    p = np.where(first.p_above() < _CLEAR, second.p_below() + _CLEAR, p)
    p = np.where(second.p_above() < _CLEAR, first.p_below() + _CLEAR, p)
    return np.minimum(p, 1.0)[()]


def _p_above(value: Floats, se: Floats, df: Floats) -> Floats:
    """One-sided p; 1 where there is neither a difference nor a spread."""
    nothing = (se == 0) & (value == 0)
    with np.errstate(divide="ignore"):  # a difference without spread: infinitely many standard errors
        t = value / np.where(nothing, 1.0, se)
    return np.where(nothing, 1.0, special.stdtr(df, -t))[()]  # as stats.t.sf, whose checks take ten times as long


def _effect(value: Floats, changes: list[Floats], units: Floats, resolution: float) -> Effect:
    variances: list[Floats] = []
    degrees: list[Floats] = []
    for rank, change in enumerate(changes):
        n = len(change)
        variances.append((n - 1) / n * ((change - change.mean(0)) ** 2).sum(0))
        # A member that is in none of the cells changes nothing, and is no degree of freedom.
        degrees.append(np.maximum((units if rank == 0 else np.full_like(units, n)) - 1, 1.0))
    total = np.sum(variances, axis=0)
    squares = np.sum([v**2 / df for v, df in zip(variances, degrees, strict=True)], axis=0)
    df = np.where(squares > 0, total**2 / np.where(squares > 0, squares, 1.0), degrees[0])
    enough = (units >= 2) & np.isfinite(value)
    return Effect(
        value[()], np.where(enough, np.sqrt(total + resolution**2), np.nan)[()], np.where(enough, df, np.nan)[()]
    )


def _replicates(left: LeftOut) -> Replicates:
    """Members first, and those that are not in a cell change nothing there."""
    change = np.where(left.present, left.change, 0.0)
    return Replicates(left.mean, (np.moveaxis(change, -1, 0),), left.present.sum(-1).astype(np.float64))


def _group_changes(group: ArrayLike, shape: tuple[int, ...]) -> Floats:
    """Means of disjoint parts as changes that leaving out each of them would make."""
    parts = np.asarray(group, dtype=np.float64)
    if parts.shape[:-1] != shape or parts.shape[-1] < 2:
        raise ConsilienceError(f"groups have shape {parts.shape}: give {shape} and two parts or more")
    return np.moveaxis(parts.mean(-1, keepdims=True) - parts, -1, 0) / (parts.shape[-1] - 1)

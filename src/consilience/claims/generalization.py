"""C3: stronger alignment does not imply better generalization."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from consilience.claims.reading import Curves, read, untested
from consilience.claims.registry import claim
from consilience.claims.verdict import LEVEL, Outcome, Quantity, Verdict, interval_text, p_text
from consilience.facts.curves import ROUNDING, number_text
from consilience.facts.language import error_text
from consilience.stats import Effect, Replicates, adjust, contrast, jackknife, p_not_both, partial_rank_correlation

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["alignment_is_not_generalization"]

Floats = NDArray[np.float64]

# In all pairs of cells the better aligned one generalizes better, up to differences of this share of the range.
SMALL = 0.1


class _Pairs(NamedTuple):
    """Pairs of cells at equal SNR."""

    rows: NDArray[np.int64]
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    aligned: Effect
    """(pairs,) alignment of the left cell less that of the right."""
    error: Effect
    """(pairs,) the same for the test error."""


@claim("C3", "Stronger alignment does not imply better generalization", each_combination=True)
def alignment_is_not_generalization(dataset: xr.Dataset) -> Verdict:
    """Look for pairs of cells at equal SNR of which the better aligned one generalizes worse.

    Supported: in some pair alignment is higher *and* test error is higher, both tests together at p < .05 after Holm's
    correction for all pairs. Contradicted: in every pair, alignment and test error both being higher by a tenth of
    their range at that SNR is excluded. Effect: difference of alignment in the clearest such pair, its interval
    simultaneous over all pairs. Further: the difference of test error there, and Spearman's correlation of alignment
    with test error over cells, given SNR.
    """
    curves = read(dataset)
    both = _usable(curves)
    if not (both.sum(1) >= 2).any():
        return untested(curves, "needs at least two n_train with alignment and test error at the same SNR")
    if not curves.has_se:
        return untested(curves, "needs at least three members")
    found = _found(curves, both)
    total = int(np.isfinite(found.p).sum())
    if not total:
        return untested(curves, "needs at least three members that did not diverge in two cells at the same SNR")
    correlation = _correlation(curves, both)
    level = 1 - (1 - LEVEL) / total
    alignment = _difference("difference of alignment", found.pairs.aligned, found.best, level)
    error = _difference("difference of test error", found.pairs.error, found.best, level)
    sentence = _sentence(curves, found, total, alignment)
    sentence += f" Rank correlation with test error given SNR: {_text(correlation)}."
    order = _order(found.pairs, found.best)
    cells = tuple((float(curves.snr[found.pairs.rows[found.best]]), int(curves.n_train[i])) for i in order)
    return Verdict(found.outcome, sentence, alignment, found.p_verdict, cells, (error, correlation))


def judge(curves: Curves) -> tuple[Outcome, float]:
    """The outcome and its p alone, of a run that can be tested."""
    found = _found(curves, _usable(curves))
    return found.outcome, found.p_verdict


class _Found(NamedTuple):
    pairs: _Pairs
    p: Floats  # (pairs,) of not being opposed, corrected for all pairs
    best: int  # the pair that is most clearly opposed
    outcome: Outcome
    p_verdict: float


def _usable(curves: Curves) -> NDArray[np.bool_]:
    return curves.measured & np.isfinite(curves.test_error.mean)


def _found(curves: Curves, both: NDArray[np.bool_]) -> _Found:
    pairs = _pairs(curves, both)
    opposed = 2 * np.minimum(
        np.maximum(pairs.aligned.p_above(), pairs.error.p_above()),
        np.maximum(pairs.aligned.p_below(), pairs.error.p_below()),
    )
    p = adjust(np.minimum(opposed, 1.0))
    best = int(np.nanargmin(opposed)) if np.isfinite(p).any() else 0
    if (p < 1 - LEVEL).any():
        return _Found(pairs, p, best, "supported", float(p[best]))
    agree = _p_agreement(curves, both, pairs)
    if agree < 1 - LEVEL:
        return _Found(pairs, p, best, "contradicted", agree)
    return _Found(pairs, p, best, "inconclusive", float(p[best]))


def _pairs(curves: Curves, both: NDArray[np.bool_]) -> _Pairs:
    indices = [
        (row, left, right)
        for row in range(len(curves.snr))
        for left, right in combinations(np.flatnonzero(both[row]).tolist(), 2)
    ]
    rows, left, right = np.array(indices, dtype=np.int64).T
    weights = np.zeros((len(rows), *both.shape))
    number = np.arange(len(rows))
    weights[number, rows, left], weights[number, rows, right] = 1.0, -1.0
    aligned, error = (contrast(one, weights, resolution=ROUNDING) for one in (curves.alignment, curves.test_error))
    return _Pairs(rows, left, right, aligned, error)


def _p_agreement(curves: Curves, both: NDArray[np.bool_], pairs: _Pairs) -> float:
    """p of "in some pair both are higher by `SMALL` of their range"; every pair must be excluded."""
    directions = [
        p_not_both(*(_margin(cells, both, pairs, sign) for cells in (curves.alignment, curves.test_error)))
        for sign in (1.0, -1.0)
    ]  # each (pairs,)
    return float(np.nan_to_num(np.maximum(*directions), nan=1.0).max())


def _margin(cells: Replicates, both: NDArray[np.bool_], pairs: _Pairs, sign: float) -> Effect:
    """Differences of the pairs, in one direction, less `SMALL` of the range at their SNR."""
    weights = np.zeros((len(pairs.rows), *both.shape))
    number = np.arange(len(pairs.rows))
    highest = np.argmax(np.where(both, cells.mean, -np.inf), axis=1)
    lowest = np.argmin(np.where(both, cells.mean, np.inf), axis=1)
    np.add.at(weights, (number, pairs.rows, pairs.left), sign)
    np.add.at(weights, (number, pairs.rows, pairs.right), -sign)
    np.add.at(weights, (number, pairs.rows, highest[pairs.rows]), -SMALL)
    np.add.at(weights, (number, pairs.rows, lowest[pairs.rows]), SMALL)
    return contrast(cells, weights, resolution=ROUNDING)


def _correlation(curves: Curves, both: NDArray[np.bool_]) -> Quantity:
    """Partial rank correlation of alignment with test error, with its jackknife interval."""
    given = np.broadcast_to(curves.snr[:, None], both.shape)[both]
    varied = [given] if len(np.unique(given)) > 1 else []
    aligned, error = curves.alignment, curves.test_error

    def correlation(a: Floats, e: Floats) -> float:
        return partial_rank_correlation(a[both], e[both], np.array(varied))

    value = correlation(aligned.mean, error.mean)
    without: list[list[float]] = []
    for factor, changes in enumerate(aligned.changes):
        # Members are the same networks in both; parts of the probe inputs concern alignment alone.
        errors = error.changes[0] if factor == 0 else np.zeros_like(changes)
        without.append([correlation(aligned.mean + a, error.mean + e) for a, e in zip(changes, errors, strict=True)])
    # Taking off the bias may lead out of [-1, 1]: the jackknife gives the standard error alone.
    found = jackknife(value, *without, units=np.min(aligned.units[both]))._replace(value=np.asarray(value))
    low, high = found.interval(LEVEL)
    return Quantity("rank correlation with test error given SNR", value, max(float(low), -1), min(float(high), 1))


def _difference(name: str, found: Effect, index: int, level: float) -> Quantity:
    """The difference between the better and the worse aligned cell of a pair: turned so that it is positive."""
    value, se, df = (float(part[index]) for part in found)
    low, high = Effect(np.asarray(abs(value)), np.asarray(se), np.asarray(df)).interval(level)
    return Quantity(name, abs(value), float(low), float(high))


def _order(pairs: _Pairs, index: int) -> tuple[int, int]:
    """Columns of the better and the worse aligned cell."""
    left, right = int(pairs.left[index]), int(pairs.right[index])
    return (left, right) if pairs.aligned.value[index] >= 0 else (right, left)


def _text(found: Quantity) -> str:
    return interval_text(found.value, found.low, found.high) if np.isfinite(found.value) else "not defined"


def _sentence(curves: Curves, found: _Found, total: int, effect: Quantity) -> str:
    pairs, best, p = found.pairs, found.best, found.p_verdict
    if found.outcome == "contradicted":
        return (
            f"In all {total} pairs of cells at equal SNR the better aligned one generalizes better, up to a tenth of "
            f"the range ({p_text(p)})."
        )
    if found.outcome == "inconclusive":
        return (
            f"In none of {total} pairs of cells at equal SNR is the better aligned one clearly worse at generalizing "
            f"({p_text(p)})."
        )
    row, n_clear = int(pairs.rows[best]), int((found.p < 1 - LEVEL).sum())
    better, worse = _order(pairs, best)
    errors = [error_text(float(curves.test_error.mean[row, column])) for column in (better, worse)]
    return (
        f"In {n_clear} of {total} pairs of cells at equal SNR the better aligned one clearly has more test error: "
        f"at SNR {number_text(float(curves.snr[row]))}, n_train = {curves.n_train[better]} is better aligned than "
        f"{curves.n_train[worse]} by {_text(effect)}, at a test error of {errors[0]} against {errors[1]} ({p_text(p)})."
    )

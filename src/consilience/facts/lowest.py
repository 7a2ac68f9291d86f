"""Where alignment is lowest along n_train, and whether that is a dip."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from consilience.facts.curves import (
    ROUNDING,
    At,
    Selection,
    cell_replicates,
    combinations,
    headline,
    is_distance,
    pair_scores,
)
from consilience.stats import Replicates, adjust, fall_then_rise, pair_mean

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["Lowest", "lowest_alignment", "lowest_of"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Lowest:
    """The cell of lowest alignment on one curve of alignment against n_train."""

    snr: float
    at: At
    n_train: int
    score: float
    """Mean over pairs, as measured: for a distance this is the largest mean."""
    se: float
    """Standard error over members, NaN with fewer than three."""
    first: int
    """Smallest n_train measured on this curve."""
    last: int
    """Largest n_train measured on this curve."""
    interior: bool
    """Whether n_train lies strictly between the two ends."""
    below_first: float
    """How much lower alignment is here than at `first`: ≥ 0 in either direction of measure."""
    below_first_se: float
    below_last: float
    """How much lower alignment is here than at `last`."""
    below_last_se: float
    clear: bool | None
    """Whether this curve clearly falls and rises again (`consilience.stats.fall_then_rise`, corrected for the number
    of SNR), which is the test of claim C2; None without standard errors, False with fewer than three points."""
    ties: tuple[int, ...]
    """Other n_train whose alignment cannot be told from the lowest: the two-sided interval of the difference,
    at the level asked, holds zero. Empty without standard errors."""


def lowest_alignment(
    ds: xr.Dataset, *, layer: str | None = None, measure: str | None = None, level: float = 0.95
) -> list[Lowest]:
    """The lowest alignment along n_train, for every SNR and every combination of the further axes.

    Depths against the two ends are means of differences between pairs of the same members, so their standard
    errors hold whether or not the cells share noise. They are not corrected for having picked the lowest; whether there
    is a dip at all (`clear`) is.

    Parameters
    ----------
    ds
        A run.
    layer, measure
        What to look at; by default what `headline` gives.
    level
        Confidence of `clear` and of `ties`.

    Returns
    -------
    list of Lowest
        In the order of axes, then SNR; a curve without any finite score has no entry.

    Raises
    ------
    UnknownNameError
        When the run has no such layer or measure.

    Examples
    --------
    Three members, so three pairs; alignment falls to 0.2 at n_train = 100.

    >>> import xarray as xr
    >>> scores = [[0.90, 0.91, 0.92], [0.20, 0.21, 0.22], [0.80, 0.81, 0.83]]
    >>> run = xr.Dataset(
    ...     {"alignment": (("snr", "n_train", "layer", "measure", "pair"), [[[[s]] for s in scores]])},
    ...     coords={
    ...         "snr": [1.0], "n_train": [10, 100, 1000], "layer": ["hidden1"], "measure": ["cka"],
    ...         "kind": ("measure", ["similarity"]),
    ...         "member_a": ("pair", [0, 0, 1]), "member_b": ("pair", [1, 2, 2]),
    ...     },
    ...     attrs={"axes": "[]"},
    ... )
    >>> [low] = lowest_alignment(run)
    >>> low.n_train, low.interior, low.clear, round(low.below_first, 3)
    (100, True, True, 0.7)
    """
    default_layer, default_measure = headline(ds)
    chosen = [Selection(layer or default_layer, measure or default_measure, at) for at in combinations(ds)]
    return [low for selection in chosen for low in lowest_of(ds, selection, level=level)]


def lowest_of(ds: xr.Dataset, selection: Selection, *, level: float = 0.95) -> list[Lowest]:
    """`lowest_alignment` of one selection."""
    scores = pair_scores(ds, selection)  # (snr, n_train, pair)
    rows = np.flatnonzero(np.isfinite(scores).any((1, 2)))
    clear = _clear(cell_replicates(ds, selection), rows, level)
    return [
        _lowest(ds, selection, float(ds["snr"].values[row]), scores[row], level, dips)
        for row, dips in zip(rows, clear, strict=True)
    ]


def _clear(cells: Replicates, rows: NDArray[np.intp], level: float) -> list[bool | None]:
    """Whether each of some curves dips, corrected for their number."""
    measured = [np.flatnonzero(np.isfinite(cells.mean[row])) for row in rows]
    p = [
        fall_then_rise(cells.at(row, columns), resolution=ROUNDING).p if len(columns) >= 3 else 1.0
        for row, columns in zip(rows, measured, strict=True)
    ]
    adjusted = adjust(p)
    return [bool(one < 1 - level) if np.isfinite(one) else None for one in adjusted]


def _lowest(
    ds: xr.Dataset, selection: Selection, snr: float, scores: Floats, level: float, clear: bool | None
) -> Lowest:
    """The lowest cell of one curve of scores (n_train, pair)."""
    sign = -1.0 if is_distance(ds, selection.measure) else 1.0
    members = ds["member_a"].values, ds["member_b"].values
    estimate = pair_mean(scores, *members)
    measured = np.flatnonzero(np.isfinite(estimate.mean))
    # Scores closer than rounding are equal: of several, the first is the lowest, and no dip is seen among them.
    heights = sign * estimate.mean[measured]
    best = measured[np.argmax(heights <= heights.min() + ROUNDING)]
    first, last = measured[0], measured[-1]
    above = pair_mean(sign * (scores - scores[best]), *members, level=level)  # (n_train,)
    n_train = ds["n_train"].values
    interior = bool(first < best < last)
    tied = (above.low <= 0) & (above.high >= 0) & (np.arange(len(n_train)) != best)
    return Lowest(
        snr=snr,
        at=selection.at,
        n_train=int(n_train[best]),
        score=float(estimate.mean[best]),
        se=float(estimate.se[best]),
        first=int(n_train[first]),
        last=int(n_train[last]),
        interior=interior,
        below_first=float(above.mean[first]),
        below_first_se=float(above.se[first]),
        below_last=float(above.mean[last]),
        below_last_se=float(above.se[last]),
        clear=clear,
        ties=tuple(int(n) for n in n_train[tied]),
    )

"""Plain sentences about a run: only what its numbers show, with the numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from consilience.facts.comparisons import error_opposition, snr_steps, theory_gap
from consilience.facts.curves import (
    Selection,
    alignment_estimate,
    check_selection,
    combinations,
    headline,
    is_distance,
    number_text,
    per_member,
    selection_text,
)
from consilience.facts.lowest import Lowest, lowest_of
from consilience.facts.threshold import Threshold, thresholds_at

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["run_sentences", "selection_sentences", "sentences", "with_error"]


def sentences(ds: xr.Dataset, *, layer: str | None = None, measure: str | None = None) -> list[str]:
    """What is seen in a run, in words: first every combination of the further axes, then the run as a whole.

    Parameters
    ----------
    ds
        A run.
    layer, measure
        What to speak about; by default what `headline` gives.

    Returns
    -------
    list of str
        Sentences with numbers. "Clearly" is said only where standard errors exist, and means that a 95 %
        interval over members excludes zero.
    """
    default_layer, default_measure = headline(ds)
    spoken: list[str] = []
    for at in combinations(ds):
        prefix = f"{selection_text(at)}: " if at else ""
        selection = Selection(layer or default_layer, measure or default_measure, at)
        spoken += [prefix + sentence for sentence in selection_sentences(ds, selection)]
    return spoken + run_sentences(ds)


def selection_sentences(ds: xr.Dataset, selection: Selection) -> list[str]:
    """What is seen at one layer, by one measure, at one value of every further axis."""
    check_selection(ds, selection)
    lows = lowest_of(ds, selection)
    thresholds = {t.snr: t for t in thresholds_at(ds, selection.at)}
    if not lows:
        return [f"No alignment has been measured at {selection.layer} by {selection.measure}."]
    return [
        *_levels(ds, selection),
        *[_dip(low, is_distance(ds, selection.measure)) for low in lows],
        *_grouped([(low.snr, _threshold(low, thresholds[low.snr])) for low in lows if low.snr in thresholds]),
        *_generalization(ds, selection),
        *_theory(ds, selection),
    ]


def run_sentences(ds: xr.Dataset) -> list[str]:
    """What holds for the run as a whole: members, failures, unfinished cells."""
    members, done = ds.sizes["member"], ds["done"].values
    diverged = ds["diverged_at"].values >= 0
    spoken: list[str] = []
    if members < 3:
        spoken.append(
            f"With {members} members there is no standard error: nothing here says how far another ensemble "
            "would differ."
        )
    else:
        spoken.append(
            "Here ± is one standard error over members (jackknife), and clearly means that a 95 % interval over "
            "members excludes zero, each interval taken by itself."
        )
    if diverged.any():
        cells = int(diverged.any(axis=-1).sum())
        spoken.append(
            f"{int(diverged.sum())} of {int(done.sum()) * members} trainings diverged, in {cells} of "
            f"{done.size} cells; they are left out of every mean."
        )
    if not done.all():
        spoken.append(f"{int((~done).sum())} of {done.size} cells are not finished and are missing above.")
    return spoken


def with_error(value: float, se: float) -> str:
    """``0.341 ± 0.012``: a mean and its standard error; without the latter, the mean alone.

    >>> with_error(0.3412, 0.0123), with_error(0.3412, float("nan"))
    ('0.341 ± 0.012', '0.341')
    """
    return f"{value:.3f} ± {se:.3f}" if np.isfinite(se) else f"{value:.3f}"


def _levels(ds: xr.Dataset, selection: Selection) -> list[str]:
    """Alignment against SNR: the means over n_train, and the steps."""
    snr = ds["snr"].values
    mean = alignment_estimate(ds, selection).mean  # (snr, n_train)
    shown = np.isfinite(mean).any(axis=1)
    common = np.isfinite(mean[shown]).all(axis=0)
    if shown.sum() < 2 or not common.any():
        return []
    what = "distance (larger is less aligned)" if is_distance(ds, selection.measure) else "alignment"
    means = mean[shown][:, common].mean(axis=1)
    listed = _join([f"{value:.3f} at SNR {number_text(s)}" for s, value in zip(snr[shown], means, strict=True)])
    first = f"Averaged over n_train, {what} at {selection.layer} by {selection.measure} is {listed}."
    steps = snr_steps(ds, selection)
    up, down = (f" ({clear} clearly)" if steps.has_se else "" for clear in (steps.clear_up, steps.clear_down))
    return [
        f"{first} Of {steps.n} steps to the next higher SNR at equal n_train, alignment rises in "
        f"{steps.up}{up} and falls in {steps.down}{down}."
    ]


def _dip(low: Lowest, distance: bool) -> str:
    score = f"{'distance ' if distance else ''}{with_error(low.score, low.se)}"
    start = f"At SNR {number_text(low.snr)} alignment is lowest at n_train = {low.n_train} ({score})"
    if low.first == low.last:
        return f"At SNR {number_text(low.snr)} alignment was measured at n_train = {low.n_train} only ({score})."
    if not low.interior:
        end = "smallest" if low.n_train == low.first else "largest"
        return f"{start}, the {end} n_train measured: there is no dip inside the range."
    depths = (
        f"{with_error(low.below_first, low.below_first_se)} {'more' if distance else 'less'} than at "
        f"n_train = {low.first} and {with_error(low.below_last, low.below_last_se)} than at {low.last}"
    )
    verdict = {
        True: "a clear dip, also after correcting for having picked the lowest",
        False: "not a clear dip once corrected for having picked the lowest",
        None: "how certain this dip is cannot be said without standard errors",
    }[low.clear]
    names = _join([str(n) for n in low.ties]) if low.ties else ""
    ties = f" Alignment there cannot be told from that at n_train = {names}." if low.ties else ""
    return f"{start}, {depths}: {verdict}.{ties}"


def _threshold(low: Lowest, threshold: Threshold) -> str:
    """What follows "At SNR …"."""
    last, first = threshold.last_fitted, threshold.first_unfitted
    if last is None:
        return "there is no n_train at which at least half of the members fit their training set."
    gaps = f" (but not at {_join([str(n) for n in threshold.gaps])})" if threshold.gaps else ""
    fitted = f"at least half of the members fit their training set up to n_train = {last}{gaps}"
    if first is None:
        return f"{fitted}, the largest measured: the interpolation threshold lies beyond."
    return f"{fitted} and no longer at {first}{_position(low, last, first)}."


def _grouped(facts: list[tuple[float, str]]) -> list[str]:
    """One sentence for all SNRs of which the same is said."""
    said: dict[str, list[str]] = {}
    for snr, fact in facts:
        said.setdefault(fact, []).append(number_text(snr))
    return [f"At SNR {_join(snrs)} {fact}" for fact, snrs in said.items()]


def _position(low: Lowest, last: int, first: int) -> str:
    """Where the dip lies relative to the threshold, as far as the grid can tell; nothing without a dip."""
    if low.clear is False:
        return ""
    if last <= low.n_train <= first:
        return "; the lowest alignment is there too, as far as this grid can tell"
    side = "below" if low.n_train < last else "above"
    near = [str(n) for n in low.ties if last <= n <= first]
    tied = f", though it cannot be told from n_train = {_join(near)}" if near else ""
    return f"; the lowest alignment is {side} that, at {low.n_train}{tied}"


def _generalization(ds: xr.Dataset, selection: Selection) -> list[str]:
    found = error_opposition(ds, selection)
    if found.n == 0:
        return []
    clear = f" ({found.clear} clearly in both)" if found.has_se else ""
    sentence = (
        f"Of {found.n} pairs of cells at equal SNR, the better aligned one has the larger test error in "
        f"{found.opposed}{clear}"
    )
    if found.example is None:
        return [sentence + "."]
    snr, better, poorer = found.example
    row = int(np.flatnonzero(ds["snr"].values == snr)[0])
    columns = [int(np.flatnonzero(ds["n_train"].values == n)[0]) for n in (better, poorer)]
    score = alignment_estimate(ds, selection).mean[row, columns]
    error = np.nanmean(per_member(ds, "test_error", selection.at)[row, columns].astype(np.float64), axis=-1)
    word = "distance" if is_distance(ds, selection.measure) else "alignment"
    return [
        f"{sentence}: most markedly at SNR {number_text(snr)}, where n_train = {better} has {word} "
        f"{score[0]:.3f} and test error {error[0]:.3f}, and n_train = {poorer} has {score[1]:.3f} and "
        f"{error[1]:.3f}."
    ]


def _theory(ds: xr.Dataset, selection: Selection) -> list[str]:
    gap = theory_gap(ds, selection)
    if gap is None:
        return []
    inside = (
        f" It lies inside the 95 % interval of the measurement in {gap.covered} of {gap.n_intervals} cells."
        if gap.n_intervals
        else ""
    )
    return [
        f"Theory differs from measurement by {gap.mean:.3f} on average over {gap.n} cells, by "
        f"{gap.largest:.3f} at most (SNR {number_text(gap.snr)}, n_train = {gap.n_train}).{inside}"
    ]


def _join(words: list[str]) -> str:
    """``a, b and c``."""
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]

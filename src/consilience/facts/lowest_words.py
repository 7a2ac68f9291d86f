"""Sentences about the lowest alignment along n_train and the interpolation threshold, all SNRs together."""

from __future__ import annotations

from collections.abc import Sequence

from consilience.facts.curves import number_text
from consilience.facts.language import grouped, joined, with_error
from consilience.facts.lowest import Lowest
from consilience.facts.threshold import Threshold

__all__ = ["dip_sentences", "threshold_sentence"]


def dip_sentences(lows: Sequence[Lowest], *, distance: bool) -> list[str]:
    """Where alignment is lowest: a sentence for the SNRs with a dip, one for those without."""
    prefix = "distance " if distance else ""
    curves = [low for low in lows if low.first < low.last]
    spoken: list[str] = []
    for clear in (True, None):
        for first, last in dict.fromkeys((low.first, low.last) for low in curves if low.clear is clear):
            same = [low for low in curves if low.clear is clear and (low.first, low.last) == (first, last)]
            spoken.append(f"{_opening(clear, len(same), first, last)}: {_listed([_dip(low, prefix) for low in same])}.")
    flat = [low for low in curves if low.clear is False]
    if flat:
        opening = "No clear dip" if any(low.interior for low in flat) else "No dip inside the range of n_train"
        spoken.append(f"{opening}: {_listed([_no_dip(low, prefix) for low in flat])}.")
    points = [low for low in lows if low.first == low.last]
    if points:
        listed = _listed([f"at SNR {number_text(low.snr)} {_score(low, prefix)}" for low in points])
        sizes = joined(sorted({str(low.n_train) for low in points}, key=int))
        spoken.append(f"Alignment was measured at n_train = {sizes} only: {listed}.")
    return spoken


def _opening(clear: bool | None, number: int, first: int, last: int) -> str:
    dips = "dip" if number == 1 else "dips"
    if clear:
        return f"Clear {dips} in alignment, below both n_train = {first} and {last}"
    return (
        f"Alignment {dips if number > 1 else 'dips'} below both n_train = {first} and {last}, how certainly cannot "
        "be said without standard errors"
    )


def _dip(low: Lowest, prefix: str) -> str:
    depths = f"{with_error(low.below_first, low.below_first_se)} and {with_error(low.below_last, low.below_last_se)}"
    return f"at SNR {number_text(low.snr)} to {_score(low, prefix)} at n_train = {low.n_train} (by {depths})"


def _no_dip(low: Lowest, prefix: str) -> str:
    end = {low.first: ", the smallest measured", low.last: ", the largest measured"}.get(low.n_train, "")
    return f"at SNR {number_text(low.snr)} lowest at n_train = {low.n_train}{end} ({_score(low, prefix)})"


def _score(low: Lowest, prefix: str) -> str:
    return prefix + with_error(low.score, low.se)


def threshold_sentence(lows: Sequence[Lowest], thresholds: Sequence[Threshold]) -> list[str]:
    """Where the interpolation threshold lies at every SNR, and where the dip lies relative to it."""
    if not thresholds:
        return []
    where = grouped((number_text(t.snr), _bracket(t)) for t in thresholds)
    spoken = (
        "The interpolation threshold, up to which at least half of the members fit their training set, lies "
        f"{_listed([f'{bracket} at SNR {joined(snrs)}' for bracket, snrs in where])}."
    )
    by_snr = {t.snr: t for t in thresholds}
    dips = [low for low in lows if low.clear is not False and low.snr in by_snr]
    if dips:
        sides = grouped((number_text(low.snr), _position(low, by_snr[low.snr])) for low in dips)
        spoken += f" Alignment is lowest {_listed([f'{side} at SNR {joined(snrs)}' for side, snrs in sides])}."
    return [spoken]


def _bracket(threshold: Threshold) -> str:
    last, first = threshold.last_fitted, threshold.first_unfitted
    if last is None:
        return f"below n_train = {first}, the smallest measured,"
    gaps = (
        f" (though {joined([str(n) for n in threshold.gaps])} {'is' if len(threshold.gaps) == 1 else 'are'} not fitted)"
        if threshold.gaps
        else ""
    )
    if first is None:
        return f"beyond n_train = {last}, the largest measured,{gaps}"
    return f"between n_train = {last} and {first}{gaps}"


def _position(low: Lowest, threshold: Threshold) -> str:
    """Where a dip lies relative to the threshold, as far as the grid can tell."""
    last, first = threshold.last_fitted or 0, threshold.first_unfitted or float("inf")
    if last <= low.n_train <= first:
        return "there too, as far as this grid can tell,"
    side = "below" if low.n_train < last else "above"
    near = [str(n) for n in low.ties if last <= n <= first]
    tied = f" (not told apart from {joined(near)})" if near else ""
    return f"{side} it, at n_train = {low.n_train}{tied},"


def _listed(items: Sequence[str]) -> str:
    """``a; b; c``: items that hold commas themselves."""
    return "; ".join(items)

"""Sentences about the lowest alignment along n_train and the interpolation threshold, all SNRs together."""

from __future__ import annotations

from collections.abc import Sequence

from consilience.facts.curves import number_text
from consilience.facts.language import grouped, joined, with_error
from consilience.facts.lowest import Lowest
from consilience.facts.threshold import Threshold

__all__ = ["lowest_sentence", "threshold_sentence"]


def lowest_sentence(lows: Sequence[Lowest], *, distance: bool) -> list[str]:
    """Where alignment is lowest on every curve, and how far below its two ends."""
    prefix = "distance " if distance else ""
    curves = [low for low in lows if low.first < low.last]
    spoken: list[str] = []
    if curves:
        spoken.append(f"Lowest alignment along n_train: {_listed([_lowest(low, prefix) for low in curves])}.")
    points = [low for low in lows if low.first == low.last]
    if points:
        listed = _listed([f"at SNR {number_text(low.snr)} {_score(low, prefix)}" for low in points])
        sizes = joined(sorted({str(low.n_train) for low in points}, key=int))
        spoken.append(f"Alignment was measured at n_train = {sizes} only: {listed}.")
    return spoken


def _lowest(low: Lowest, prefix: str) -> str:
    where = f"at SNR {number_text(low.snr)} {_score(low, prefix)} at n_train = {low.n_train}"
    end = {low.first: ", the smallest measured", low.last: ", the largest measured"}.get(low.n_train)
    if end is not None:
        return where + end
    before, after = with_error(low.below_first, low.below_first_se), with_error(low.below_last, low.below_last_se)
    return f"{where} ({before} below n_train = {low.first}, {after} below {low.last})"


def _score(low: Lowest, prefix: str) -> str:
    return prefix + with_error(low.score, low.se)


def threshold_sentence(thresholds: Sequence[Threshold]) -> list[str]:
    """Where the interpolation threshold lies at every SNR."""
    if not thresholds:
        return []
    where = grouped((number_text(t.snr), _bracket(t)) for t in thresholds)
    return [
        "The interpolation threshold, up to which at least half of the members fit their training set, lies "
        f"{_listed([f'{bracket} at SNR {joined(snrs)}' for bracket, snrs in where])}."
    ]


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


def _listed(items: Sequence[str]) -> str:
    """``a; b; c``: items that hold commas themselves."""
    return "; ".join(items)

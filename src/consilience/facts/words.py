"""Plain sentences about a run: only what its numbers show, with the numbers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

from consilience.facts.across import across_sentences
from consilience.facts.curves import (
    Selection,
    alignment_estimate,
    check_selection,
    combinations,
    headline,
    is_distance,
    number_text,
    selection_text,
    selections,
    varies_over_probe_inputs,
)
from consilience.facts.language import counted, joined
from consilience.facts.lowest import lowest_of
from consilience.facts.lowest_words import lowest_sentence, threshold_sentence
from consilience.facts.regimes import regime_sentence
from consilience.facts.threshold import thresholds_at

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray

__all__ = ["run_sentences", "sampling_sentence", "selection_sentences", "sentences", "unfinished_sentence"]


def sentences(ds: xr.Dataset, *, layer: str | None = None, measure: str | None = None) -> list[str]:
    """What is seen in a run, in words, for a terminal or a page.

    First, if the run is not finished, how much is missing; then every combination of the further axes; then
    whether the theory of the hidden layer applies, if the networks are linear; then the run as a whole.

    Parameters
    ----------
    ds
        A run.
    layer, measure
        What to speak about; by default what `headline` gives.

    Returns
    -------
    list of str
        Sentences with numbers that describe; what they are evidence of, `consilience.claims` says.
    """
    default_layer, default_measure = headline(ds)
    missing = unfinished_sentence(ds)
    spoken = [missing] if missing else []
    for at in combinations(ds):
        prefix = f"{selection_text(at)}: " if at else ""
        selection = Selection(layer or default_layer, measure or default_measure, at)
        spoken += [prefix + sentence for sentence in selection_sentences(ds, selection)]
    regime = regime_sentence(ds)
    return [*spoken, *across_sentences(ds), *([regime] if regime else []), *run_sentences(ds)]


def selection_sentences(ds: xr.Dataset, selection: Selection) -> list[str]:
    """What is seen at one layer, by one measure, at one value of every further axis."""
    check_selection(ds, selection)
    lows = lowest_of(ds, selection)
    if not lows:
        return [f"No alignment has been measured at {selection.layer} by {selection.measure}."]
    return [
        *_levels(ds, selection),
        *lowest_sentence(lows, distance=is_distance(ds, selection.measure)),
        *threshold_sentence(thresholds_at(ds, selection.at)),
    ]


def unfinished_sentence(ds: xr.Dataset) -> str | None:
    """How many cells are still to come; None for a finished run."""
    done = ds["done"].values
    missing = int((~done).sum())
    if missing == 0:
        return None
    return (
        f"This run is not finished: {missing} of {counted(done.size, 'cell')} {'is' if missing == 1 else 'are'} "
        "still to come and missing here."
    )


def _first_reason(ds: xr.Dataset, failed: NDArray[np.bool_]) -> str:
    return f" ({ds['failure'].values[failed][0]})" if failed.any() else ""


def _overlap(ds: xr.Dataset) -> list[str]:
    """From where on inputs that members do not share are nevertheless some of the same."""
    noise = json.loads(ds.attrs["noise"])
    if "inputs" in noise.get("shared", ["inputs"]) or noise.get("resample") != "disjoint":
        return []
    members, n_pool = ds.sizes["member"], json.loads(ds.attrs["data"])["n_pool"]
    beyond = [int(n) for n in ds["n_train"].values if n * members > n_pool]
    if not beyond:
        return []
    return [
        f"From n_train = {min(beyond)} on members share part of their training inputs: a pool of {n_pool} rows has "
        f"{members} sets apart up to n_train = {n_pool // members}."
    ]


def run_sentences(ds: xr.Dataset) -> list[str]:
    """What holds for the run as a whole: members that diverged or stopped, and what ± means."""
    members, done = ds.sizes["member"], ds["done"].values
    diverged = ds["diverged_at"].values >= 0
    failed = (ds["failure"].values != "") & ~diverged if "failure" in ds else np.zeros_like(diverged)
    trainings = counted(int(done.sum()) * members, "training")
    spoken = [
        f"{lost.sum()} of {trainings} {what}, in {lost.any(axis=-1).sum()} of {counted(done.size, 'cell')}{why}; "
        f"{'it is' if lost.sum() == 1 else 'they are'} left out of every mean."
        for lost, what, why in ((diverged, "diverged", ""), (failed, "failed", _first_reason(ds, failed)))
        if lost.any()
    ]
    spoken += _overlap(ds)
    stopped = int((ds["stopped_at"].values >= 0).sum()) if "stopped_at" in ds else 0
    if stopped:
        spoken.append(f"{stopped} of {trainings} stopped before the last step.")
    if members < 3:
        spoken.append(
            f"With {counted(members, 'member')} there is no standard error: nothing here says how far another "
            "ensemble would differ."
        )
    else:
        spoken.append(
            "± is one standard error over members (jackknife), given the one draw of training and probe inputs that "
            "all of them share"
            + ("; verdicts allow for other probe inputs too." if _probe_inputs_counted(ds) == "all" else ".")
        )
    return spoken


def sampling_sentence(ds: xr.Dataset) -> str:
    """What the verdicts generalize over: members and, where the run has scores on parts of them, probe inputs."""
    counted_for = _probe_inputs_counted(ds)
    if counted_for == "all":
        return (
            "Sampling units are members and probe inputs: the verdicts hold for other noise, initializations and probe "
            "inputs, given this draw of training inputs."
        )
    return (
        "Sampling units are members: the verdicts hold for other noise and initializations, given this draw of inputs."
        + (" By some measures they allow for other probe inputs too." if counted_for == "some" else "")
    )


def _probe_inputs_counted(ds: xr.Dataset) -> str:
    """By how many of the selections uncertainty is over probe inputs too: "all", "some" or "none"."""
    varied = [varies_over_probe_inputs(ds, selection) for selection in selections(ds)]
    return "all" if varied and all(varied) else "some" if any(varied) else "none"


def _levels(ds: xr.Dataset, selection: Selection) -> list[str]:
    """Alignment against SNR: the means over n_train."""
    snr = ds["snr"].values
    mean = alignment_estimate(ds, selection).mean  # (snr, n_train)
    shown = np.isfinite(mean).any(axis=1)
    common = np.isfinite(mean[shown]).all(axis=0)
    if shown.sum() < 2 or not common.any():
        return []
    what = "distance (larger is less aligned)" if is_distance(ds, selection.measure) else "alignment"
    means = mean[shown][:, common].mean(axis=1)
    listed = joined([f"{value:.3f} at SNR {number_text(s)}" for s, value in zip(snr[shown], means, strict=True)])
    return [f"Averaged over n_train, {what} at {selection.layer} by {selection.measure} is {listed}."]

"""One trained cell as the values a run stores: errors, scores of all pairs, and what each rests on."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from consilience import theory, train
from consilience.compare import pairwise
from consilience.errors import ConsilienceError
from consilience.over_steps import trajectory_values
from consilience.plan import PARTS, Plan
from consilience.registry import DegenerateWarning, Family, Measure
from consilience.train.spec import Weights

__all__ = ["FITTED", "LayerScores", "cell_values", "failures", "layer_scores", "scores_by_part"]

FITTED = 1e-3
"""A regression network has fitted its training set when it leaves at most this fraction of the targets' variance."""

Floats = NDArray[np.float64]

# Families that compare every sample with every other, at a cost of n² or more.
_ALL_AGAINST_ALL = frozenset({Family.KERNEL, Family.DISSIMILARITY, Family.NEIGHBOURS, Family.TOPOLOGY})
_LEAST_PART = 50  # rows; the smallest parts on which `scores_by_part` was checked


def cell_values(plan: Plan, trained: train.Trained, targets: NDArray[Any] | None, *, steps: int) -> dict[str, Any]:
    """Return a cell's block of every variable, for `RunStore.write`.

    Parameters
    ----------
    targets
        True classes of the probe inputs, where they have any.
    steps
        Stands for the end of training: where a member diverged whose loss stayed finite.
    """
    failure = failures(trained)
    alive = failure == ""
    values: dict[str, Any] = {
        name: np.where(alive, getattr(trained, name), np.nan)
        for name in ("train_loss", "train_error", "test_loss", "test_error")
    }
    values["converged"] = alive & (trained.train_error <= (0 if plan.task == "classification" else FITTED))
    unfinished = trained.diverged_at < 0
    diverged = ~alive & (unfinished if trained.failed is None else (trained.failed == "") & unfinished)
    values["diverged_at"] = np.where(diverged, steps, trained.diverged_at)
    values["failure"] = failure
    notes = [f"member {member} {failure[member]}" for member in np.flatnonzero(~alive)]
    layers = [layer_scores(plan, layer, trained.layers.get(layer), alive, targets) for layer in plan.layers]
    values["alignment"] = np.stack([layer.pairs for layer in layers])
    values["alignment_by_part"] = np.stack([layer.parts for layer in layers])
    for layer in layers:
        notes += layer.notes
    regimes, remarks = _regimes(trained.weights, alive)
    on_the_way, reasons = _on_the_way(plan, trained, values["alignment"], targets, steps)
    values["note"] = "\n".join([*notes, *remarks, *reasons])
    return values | regimes | _stopping(trained, steps) | on_the_way


def _stopping(trained: train.Trained, steps: int) -> dict[str, Any]:
    """Where members stopped and the step of the weights they keep; their last step where none may stop."""
    if trained.stopped_at is None:
        whole = np.ones(len(trained.train_loss), np.int32)
        return {"stopped_at": -whole, "kept_at": steps * whole}
    return {"stopped_at": trained.stopped_at, "kept_at": trained.kept_at}


def _on_the_way(
    plan: Plan, trained: train.Trained, alignment: Floats, targets: NDArray[Any] | None, steps: int
) -> tuple[dict[str, Any], list[str]]:
    """Variables with a dimension ``step``, and why scores of them are missing."""
    reasons: list[str] = []

    def score(step: int, layer: str, activations: NDArray[Any], alive: NDArray[np.bool_]) -> Floats:
        found = layer_scores(plan, layer, activations, alive, targets, parts=False)
        reasons.extend(f"step {step}: {note}" for note in found.notes)
        return found.pairs

    if not len(plan.steps):
        return {}, []
    found = trajectory_values(trained, alignment, steps=plan.steps, layers=plan.layers, last=steps, score=score)
    return found, reasons


def failures(trained: train.Trained) -> NDArray[Any]:
    """Why a member is no network to measure, (member,); "" where it is."""
    finite = np.ones(len(trained.diverged_at), bool)
    for activations in trained.layers.values():
        finite &= np.isfinite(activations).all(axis=(1, 2))
    reasons = np.where(finite, "", "diverged: its activations on the probe inputs are not finite").astype(object)
    for member in np.flatnonzero(trained.diverged_at >= 0):
        reasons[member] = f"diverged: its loss stopped being finite at step {trained.diverged_at[member]}"
    for member, reason in enumerate(() if trained.failed is None else trained.failed):
        if reason:
            reasons[member] = f"failed: {reason}"
    return reasons.astype(np.dtypes.StringDType())


class LayerScores(NamedTuple):
    """What is measured at one layer of one cell."""

    pairs: Floats
    """(measure, pair) scores."""
    parts: Floats
    """(measure, part) as `scores_by_part` gives them."""
    notes: list[str]
    """Why any of them is missing."""


def layer_scores(
    plan: Plan,
    layer: str,
    activations: NDArray[Any] | None,
    alive: NDArray[np.bool_],
    targets: NDArray[Any] | None,
    *,
    parts: bool = True,
) -> LayerScores:
    """Measure one layer of all members, activations (member, probe input, unit); `parts` too unless told otherwise.

    NaN for members that diverged, layers the network lacks, measures of outputs at hidden layers, and
    representations a measure is not defined for or refuses; only the last two need a reason here.
    """
    asked = plan.study.measure.measures
    found = LayerScores(np.full((len(asked), len(plan.pairs)), np.nan), np.full((len(asked), PARTS), np.nan), [])
    if activations is None or alive.sum() < 2:
        return found
    members = np.flatnonzero(alive)
    names = [f"member {member}" for member in members]
    both = [pair for pair, (a, b) in enumerate(plan.pairs) if alive[a] and alive[b]]
    reps = [activations[member] for member in members]
    for row, measure in enumerate(asked):
        if measure.outputs_only and layer != "output":
            continue
        truth = targets if measure.needs_targets else None
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", DegenerateWarning)
            try:
                scores = _of_pairs(reps, measure, truth, names)
            except ConsilienceError as error:  # trained networks are not lost because a measure refuses their outputs
                found.notes.append(f"{layer}, {measure.label}: {' '.join(str(error).split())}")
                continue
        for warning in caught:
            if issubclass(warning.category, DegenerateWarning):
                found.notes.append(f"{layer}, {measure.label}: {' '.join(str(warning.message).split())}")
            else:
                warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
        found.pairs[row, both] = scores
        if parts:
            found.parts[row] = scores_by_part(reps, measure, scores, targets=truth)
    return found


def _of_pairs(
    reps: Sequence[NDArray[Any]], measure: Measure, targets: NDArray[Any] | None, names: Sequence[str] | None = None
) -> Floats:
    """Scores of all pairs a < b in order; the mean of both directions where a measure is asymmetric."""
    matrix = np.asarray(pairwise(reps, measure, targets=targets, names=names), np.float64)
    return (matrix if measure.symmetric else (matrix + matrix.T) / 2)[np.triu_indices(len(reps), 1)]


def scores_by_part(
    reps: Sequence[NDArray[Any]], measure: Measure, scores: Floats, *, targets: NDArray[Any] | None = None
) -> Floats:
    r"""What each fifth of the probe inputs says of the mean score over pairs.

    Sample i is in part i mod 5. The standard deviation over the G = 5 parts, divided by √G, is the standard error of
    the mean score over pairs, given these networks, over draws of the probe inputs. A part's value is, by measure:

    - what compares every sample with every other (families kernel, dissimilarity, neighbours and topology, unless
      second moments say it all): the mean score on that part alone, at a fifth of the cost of the whole;
    - everything else, and where parts have fewer than 50 rows: the jackknife's pseudo-value
      :math:`G \bar s - (G-1) \bar s_{-g}`, with :math:`\bar s_{-g}` the mean score with part g left out.

    Only differences between the values of different parts mean anything: scores on few samples are biased, all parts
    alike.

    Assumptions: samples are independent, and their order is random. Accuracy, measured on the hidden layer of 8
    networks on Fashion-MNIST, against the standard deviation over 44 fresh sets of 1000 probe inputs (80 of 250): the
    root mean square over 6 (4) cells of the ratio, of which each has a standard error of .11 (.08), is 1.11 (1.04) for
    cka and 1.04 (.98) for procrustes with a part left out, where parts alone give .89 (.87) and .85 (.73), and half
    of it where few inputs dominate; 1.01 (1.11) for mutual_knn and 1.14 (1.36) for information_imbalance on parts
    alone, where leaving out gives .98 (1.18) and 1.11 (1.24) at seven times the cost.

    Parameters
    ----------
    reps : M arrays (n, p)
        Representations of the same samples.
    scores : (M(M-1)/2,)
        Their scores, pairs a < b in order. Pairs without a score here or on some part are left out of all.
    targets : (n,) integers, optional
        True classes of the samples.

    Returns
    -------
    (5,) in the units of the score; NaN where no pair has a score on every part, where a part or what is left
    without it has too few samples for the measure, and below ten samples.

    Notes
    -----
    Source: Tukey, Annals of Mathematical Statistics 29 (1958), 614 (pseudo-values); Efron & Stein, Annals of
    Statistics 9 (1981), 586-596.

    Examples
    --------
    >>> from consilience.registry import get_measure
    >>> rng = np.random.default_rng(0)
    >>> z = rng.standard_normal((1000, 4))
    >>> reps = [z + rng.standard_normal((1000, 4)) for _ in range(3)]
    >>> cka = get_measure("cka")
    >>> parts = scores_by_part(reps, cka, np.array([cka(reps[a], reps[b]) for a, b in ((0, 1), (0, 2), (1, 2))]))
    >>> print(f"{parts.mean():.2f} ± {parts.std(ddof=1) / 5**0.5:.2f}")
    0.25 ± 0.01
    """
    n = len(reps[0])
    nothing = np.full(PARTS, np.nan)
    part_of = np.arange(n) % PARTS
    alone = measure.family in _ALL_AGAINST_ALL and not measure.streams and n >= PARTS * _LEAST_PART
    least = n // PARTS if alone else n - -(-n // PARTS)
    if n < 2 * PARTS or least < measure.min_samples:
        return nothing
    found: list[Floats] = []
    for part in range(PARTS):
        rows = (part_of == part) == alone
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DegenerateWarning)  # the whole has been warned of
            try:
                found.append(_of_pairs([x[rows] for x in reps], measure, None if targets is None else targets[rows]))
            except ConsilienceError:  # such as a part without one of the classes
                return nothing
    on_parts = np.stack(found)  # (part, pair)
    usable = np.isfinite(on_parts).all(0) & np.isfinite(scores)
    if not usable.any():
        return nothing
    means = on_parts[:, usable].mean(1)
    return means if alone else PARTS * scores[usable].mean() - (PARTS - 1) * means


def _regimes(weights: Weights | None, alive: NDArray[np.bool_]) -> tuple[dict[str, Any], list[str]]:
    """What theory of the hidden layer each linear network obeys, (member,), and why any of them has none.

    Blank for other networks and for members that diverged.
    """
    kinds = [""] * len(alive)
    numbers = {name: np.full(len(alive), np.nan) for name in ("imbalance", "hidden_from_map", "hidden_kept")}
    notes: list[str] = []
    if weights is None:
        return {"regime": np.array(kinds, dtype=np.dtypes.StringDType()), **numbers}, notes
    first, second, initial = weights
    for member in np.flatnonzero(alive).tolist():
        start = None if initial is None else (initial[0][member], initial[1][member])
        try:
            found = theory.regime(first[member], second[member], start)
        except ConsilienceError as error:  # the map is zero: nothing was learned
            notes.append(f"member {member} has no regime of the hidden layer: {' '.join(str(error).split())}")
            continue
        kinds[member] = found.kind
        for name, value in zip(numbers, (found.imbalance, found.small, found.kept), strict=True):
            numbers[name][member] = value
    return {"regime": np.array(kinds, dtype=np.dtypes.StringDType()), **numbers}, notes

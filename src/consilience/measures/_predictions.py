"""Outputs of classifiers: classes, probabilities, and what is checked about them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

from consilience._array import Array, arange, is_traced, namespace, true_per_row
from consilience.errors import ConsilienceError

__all__ = [
    "Distributions",
    "Inputs",
    "Outcomes",
    "Predictions",
    "agreement",
    "agreement_of_all",
    "as_float",
    "beyond_chance",
    "check_decisions",
    "check_distributions",
    "check_labels",
    "check_targets",
    "check_widths",
    "distributions",
    "outcomes",
    "predictions",
    "true_probability",
    "without_targets",
]

Inputs: TypeAlias = Literal["logits", "probabilities"]

_SUM_TOLERANCE = 1e-6  # how far from one a row of probabilities may sum, as those in single precision do


class Predictions(NamedTuple):
    """The class that a model gives to every sample."""

    classes: Array  # (n,) integers
    like: Array  # 0-d, carries the floating-point type
    scores: Array  # (c,), those of one sample: as many as there are classes, or one for a column of labels


class Outcomes(NamedTuple):
    """The class that a model gives to every sample, and where it is the true one."""

    classes: Array  # (n,) integers
    correct: Array  # (n,), one where the class is true and zero elsewhere
    error: Array  # 0-d, share of samples that are given a wrong class
    scores: Array  # (c,), those of one sample: as many as there are classes, or one for a column of labels


class Distributions(NamedTuple):
    """A distribution over classes for every sample."""

    log: Array  # (n, c), logarithms of the probabilities; minus infinity for a zero
    p: Array  # (n, c), rows sum to one


def check_labels(measure: str, x: Array, name: str) -> None:
    """Raise `ConsilienceError` if `x` is a single column that does not hold whole numbers from zero."""
    if x.shape[1] > 1 or is_traced(x):
        return
    xp = namespace(x)
    wrong = (x < 0) | (xp.floor(x) != x)
    if bool(xp.any(wrong)):
        row = int(xp.argmax(xp.astype(wrong[:, 0], x.dtype)))
        raise ConsilienceError(
            f"{name} has one column, which {measure} reads as class labels, whole numbers from 0, and holds "
            f"{float(x[row, 0]):g} at row {row}: pass labels, or scores of shape (n, classes)."
        )


def check_distributions(measure: str, x: Array, name: str, inputs: Inputs) -> None:
    """Raise `ConsilienceError` if the rows of `x` are no distributions over at least two classes."""
    if x.shape[1] < 2:
        raise ConsilienceError(
            f"{name} has shape {tuple(x.shape)}; {measure} compares distributions over classes and needs a column for "
            "each of at least two: pass scores of shape (n, classes), or use disagreement for labels."
        )
    if inputs == "logits" or is_traced(x):
        return
    xp = namespace(x)
    if bool(xp.any(x < 0)):
        raise ConsilienceError(
            f"{name} holds {float(xp.min(x)):g}, which is no probability: {measure} with inputs 'probabilities' takes "
            "numbers from 0 whose rows sum to 1; for unnormalised scores use inputs 'logits'."
        )
    sums = xp.sum(x, axis=1)
    gaps = xp.abs(sums - 1)
    row = int(xp.argmax(gaps))
    if float(gaps[row]) > _SUM_TOLERANCE:
        raise ConsilienceError(
            f"row {row} of {name} sums to {float(sums[row]):.7g}; {measure} with inputs 'probabilities' takes rows "
            f"that sum to 1 within {_SUM_TOLERANCE:g}: for unnormalised scores use inputs 'logits'."
        )


def check_widths(measure: str, rows: Sequence[Array]) -> None:
    """Raise `ConsilienceError` unless all `rows` (n, c) are over the same number of classes."""
    widths = sorted({int(each.shape[1]) for each in rows})
    if len(widths) > 1:
        raise ConsilienceError(
            f"measure {measure} compares predictions class by class and received {' and '.join(map(str, widths))} "
            "classes: pass one column for each class, in the same order."
        )


def check_decisions(states: Sequence[Predictions | Outcomes]) -> None:
    """Raise `ConsilienceError` unless all scores are over the same number of classes; labels go with any."""
    widths = sorted({int(state.scores.shape[0]) for state in states} - {1})
    if len(widths) > 1:
        raise ConsilienceError(
            f"decisions between {' and '.join(map(str, widths))} classes cannot be compared: pass one column for each "
            "class, in the same order, or the labels themselves as a single column."
        )


def check_targets(measure: str, x: Array, targets: Array) -> None:
    """Raise `ConsilienceError` if there are `targets` that the scores `x` (n, c) have no class for."""
    if is_traced(targets):
        return
    xp = namespace(targets)
    if bool(xp.any(targets < 0)) or (x.shape[1] > 1 and bool(xp.any(targets >= x.shape[1]))):
        scores = "labels" if x.shape[1] == 1 else f"scores of {x.shape[1]} classes"
        raise ConsilienceError(
            f"targets of measure {measure} lie between {int(xp.min(targets))} and {int(xp.max(targets))} where there "
            f"are {scores}: number the classes from 0, in the order of the columns."
        )


def predictions(x: Array) -> Predictions:
    """Class of every sample: the largest score, the first of those that tie, or the label in a single column."""
    xp = namespace(x)
    largest = xp.argmax(x, axis=1)
    return Predictions(largest if x.shape[1] > 1 else xp.astype(x[:, 0], largest.dtype), x[0, 0], x[0, :])


def outcomes(measure: str, x: Array, targets: Array) -> Outcomes:
    """Classes of `x`, compared to the true ones."""
    check_targets(measure, x, targets)
    xp = namespace(x)
    classes = predictions(x).classes
    correct = as_float(classes == targets, x)
    return Outcomes(classes, correct, xp.mean(1 - correct), x[0, :])


def distributions(x: Array, inputs: Inputs) -> Distributions:
    """Normalise the rows of `x`."""
    xp = namespace(x)
    if inputs == "logits":
        shifted = x - xp.max(x, axis=1, keepdims=True)
        log = shifted - xp.log(xp.sum(xp.exp(shifted), axis=1, keepdims=True))
        return Distributions(log, xp.exp(log))
    p = x / xp.sum(x, axis=1, keepdims=True)
    log = xp.log(xp.where(p > 0, p, xp.ones_like(p)))
    return Distributions(xp.where(p > 0, log, xp.full_like(p, -float("inf"))), p)


def true_probability(p: Array, targets: Array) -> Array:
    """Probability of the true class of every sample, (n,)."""
    xp = namespace(p)
    own = arange(p.shape[1], like=p)[None, :] == targets[:, None]
    return xp.sum(xp.where(own, p, xp.zeros_like(p)), axis=1)


def agreement(a: Predictions | Outcomes, b: Predictions | Outcomes) -> Array:
    """Share of samples given the same class."""
    check_decisions([a, b])
    xp = namespace(a.classes)
    like = a.like if isinstance(a, Predictions) else a.error
    return xp.mean(as_float(a.classes == b.classes, like))


def agreement_of_all(states: Sequence[Predictions] | Sequence[Outcomes]) -> Array:
    """`agreement` of all pairs, (M, M), one row at a time: comparing integers beats a product of indicators."""
    check_decisions(states)
    first = states[0]
    like = first.like if isinstance(first, Predictions) else first.error
    xp = namespace(like)
    stacked = xp.stack([state.classes for state in states])  # (M, n)
    rows = [true_per_row(stacked == stacked[i : i + 1, :]) for i in range(len(states))]
    return as_float(xp.stack(rows), like) / stacked.shape[1]


def as_float(values: Array, like: Array) -> Array:
    """Booleans or integers in the floating-point type of `like`."""
    return namespace(like).astype(values, like.dtype)


def beyond_chance(found: Array, expected: Array) -> Array:
    """Kappa: agreement above the expected, as a share of the most that it can be above."""
    return (found - expected) / (1 - expected)


def without_targets(measure: str) -> ConsilienceError:
    """Return the error of preparing a representation for `measure` without the true classes."""
    return ConsilienceError(f"measure {measure} needs the true class of every sample: pass targets=.")

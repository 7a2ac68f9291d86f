"""Predictive multiplicity: how much the decisions of a set of competing classifiers differ from those of one."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from consilience._array import Array, namespace
from consilience.measures._predictions import (
    Predictions,
    agreement,
    agreement_of_all,
    as_float,
    check_decisions,
    check_labels,
    predictions,
)
from consilience.registry import Family, Invariance, Kind, Measure, register

__all__ = ["Ambiguity", "Discrepancy"]


class _Multiplicity(Measure):
    """What both measures of multiplicity share."""

    family = Family.FUNCTIONAL
    reference = "marx2020"
    cost = "O(n c) to prepare each model, O(n) to compare it with the baseline"
    kind = Kind.DISTANCE
    bounds = (0.0, 1.0)
    symmetric = True
    outputs_only = True
    needs_classes = True
    defined_for_constants = True
    invariances = frozenset({Invariance.ISOTROPIC_SCALING})

    def check_input(self, x: Array, name: str, /) -> None:
        """Refuse a single column of anything but labels."""
        check_labels(f"measure {self.name}", x, name)

    def prepare(self, x: Array, /) -> Predictions:
        """Decide on a class for every sample."""
        return predictions(x)

    def compare(self, a: Predictions, b: Predictions, /) -> Array:
        """Disagreement: all that there is for one competitor."""
        return 1 - agreement(a, b)

    def compare_all(self, states: Sequence[Predictions], /) -> Array:
        """Disagreement of all pairs."""
        return 1 - agreement_of_all(states)

    def compare_set(self, states: Sequence[Predictions], /) -> Array:
        """Compare the competitors, all but the first, to the first."""
        check_decisions(states)
        xp = namespace(states[0].classes)
        changed = xp.stack([state.classes != states[0].classes for state in states[1:]])  # (M − 1, n)
        return self.summary(changed, states[0].like)

    @abstractmethod
    def summary(self, changed: Array, like: Array, /) -> Array:
        """Score, from where each competitor decides differently, (M − 1, n)."""


@register
@dataclass(frozen=True)
class Ambiguity(_Multiplicity):
    """Ambiguity: on how many samples some competing classifier decides differently.

    For the scores x of a baseline and y, z, … of its competitors, all (n, c), with the classes given by argmax::

        ambiguity = 1/n · #{i : some competitor gives sample i another class than the baseline does}

    In [0, 1], without unit. For one competitor it is the disagreement; it grows with each that is added. A single
    column, (n, 1), holds the classes themselves, whole numbers from 0.

    Notes
    -----
    ``ambiguity(x, y, z, ...)`` scores the whole set, the first being the baseline. Marx et al. choose as
    competitors all models whose training loss is within ε of the baseline's. O(M n).

    References
    ----------
    Marx, Calmon, Ustun, "Predictive multiplicity in classification", ICML 2020.

    Examples
    --------
    >>> import numpy as np
    >>> baseline, y, z = np.array([[0], [0], [0], [0]]), np.array([[1], [0], [0], [0]]), np.array([[0], [1], [0], [0]])
    >>> float(Ambiguity()(baseline, y, z))
    0.5
    """

    title = "Ambiguity"
    use = "To count the samples whose decision depends on which of several equally good models is used."
    avoid = "When sets of different size are compared: each model that is added can only raise it."

    def summary(self, changed: Array, like: Array, /) -> Array:
        """Share of samples that any competitor changes."""
        xp = namespace(changed)
        return xp.mean(as_float(xp.any(changed, axis=0), like))


@register
@dataclass(frozen=True)
class Discrepancy(_Multiplicity):
    """Discrepancy: how many decisions change at most if one competing classifier is used instead.

    For the scores x of a baseline and y, z, … of its competitors, all (n, c), with the classes given by argmax::

        discrepancy = max over competitors of 1/n · #{i : it gives sample i another class than the baseline does}

    In [0, 1], without unit; never above the ambiguity. For one competitor it is the disagreement. A single column,
    (n, 1), holds the classes themselves, whole numbers from 0.

    Notes
    -----
    ``discrepancy(x, y, z, ...)`` scores the whole set, the first being the baseline. Marx et al. choose as
    competitors all models whose training loss is within ε of the baseline's. O(M n).

    References
    ----------
    Marx, Calmon, Ustun, "Predictive multiplicity in classification", ICML 2020.

    Examples
    --------
    >>> import numpy as np
    >>> baseline, y, z = np.array([[0], [0], [0], [0]]), np.array([[1], [0], [0], [0]]), np.array([[0], [1], [0], [0]])
    >>> float(Discrepancy()(baseline, y, z))
    0.25
    """

    title = "Discrepancy"
    use = "To bound how many decisions change when a model is replaced by another that is equally good."
    avoid = "When it matters which samples change: different competitors may change different ones."

    def summary(self, changed: Array, like: Array, /) -> Array:
        """Largest share of samples that one competitor changes."""
        xp = namespace(changed)
        return xp.max(xp.mean(as_float(changed, like), axis=1))

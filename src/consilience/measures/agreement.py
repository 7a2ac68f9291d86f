"""Agreement of classifiers beyond what chance, or their accuracy, makes them agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from consilience._array import Array, arange, is_traced, matmul, namespace
from consilience.measures._predictions import (
    Outcomes,
    Predictions,
    agreement,
    agreement_of_all,
    as_float,
    beyond_chance,
    check_decisions,
    check_labels,
    outcomes,
    predictions,
    without_targets,
)
from consilience.registry import Family, Invariance, Kind, Measure, register

__all__ = ["CohenKappa", "ErrorConsistency", "KappaState"]


class KappaState(NamedTuple):
    """The class that a model gives to every sample, and the same in order."""

    given: Predictions
    ordered: Array  # (n,), classes sorted


@register
@dataclass(frozen=True)
class CohenKappa(Measure):
    """Cohen's kappa of two classifiers.

    For scores x and y, both (n, c), with classes argmax x_i and argmax y_i::

        kappa = (a − a₀) / (1 − a₀),   a = 1/n · #{i : same class},   a₀ = Σ_k x_k y_k

    with x_k and y_k the shares of samples that either gives to class k, so that a₀ is the agreement of two models that
    decide at random with these shares. In [−1, 1], without unit; 1 for identical decisions, 0 for chance. It is
    returned as estimated and may be negative. A single column, (n, 1), holds the classes themselves.

    Notes
    -----
    A model that gives one class to all samples agrees with any other exactly as often as chance does, and with
    itself 0/0: it has no kappa. O(n log n) for a pair; a₀ of all pairs is one product of the shares.

    References
    ----------
    Cohen, "A coefficient of agreement for nominal scales", Educational and Psychological Measurement 20, 1960.

    Examples
    --------
    >>> import numpy as np
    >>> x, y = np.array([[0], [0], [1], [1]]), np.array([[0], [1], [1], [1]])
    >>> float(CohenKappa()(x, y))
    0.5
    """

    title = "Cohen's kappa"
    reference = "cohen1960"
    family = Family.FUNCTIONAL
    cost = "O(n log n) for each pair"
    use = "When decisions are compared and some classes are much more frequent than others."
    avoid = "When both models are accurate: they agree because both are right, which error_consistency takes out."
    kind = Kind.SIMILARITY
    bounds = (-1.0, 1.0)
    symmetric = True
    outputs_only = True
    needs_classes = True
    invariances = frozenset({Invariance.ISOTROPIC_SCALING})

    def check_input(self, x: Array, name: str, /) -> None:
        """Refuse a single column of anything but labels."""
        check_labels("measure cohen_kappa", x, name)

    def prepare(self, x: Array, /) -> KappaState:
        """Decide on a class for every sample; sort the classes."""
        given = predictions(x)
        return KappaState(given, namespace(x).sort(given.classes))

    def compare(self, a: KappaState, b: KappaState, /) -> Array:
        """Observed and expected agreement, the latter by looking each class of one up in the other."""
        xp = namespace(a.ordered)
        times = as_float(_count(b.ordered, a.given.classes), a.given.like)
        return beyond_chance(agreement(a.given, b.given), xp.mean(times) / b.ordered.shape[0])

    def compare_all(self, states: Sequence[KappaState], /) -> Array:
        """Observed agreement row by row, expected agreement as a product of shares."""
        first = states[0].ordered
        if is_traced(first):  # the number of classes is not known
            return super().compare_all(states)
        xp = namespace(first)
        classes = arange(1 + max(int(state.ordered[-1]) for state in states), like=first)
        like = states[0].given.like
        classes = xp.astype(classes, first.dtype)
        shares = xp.stack([as_float(_count(state.ordered, classes), like) / first.shape[0] for state in states])
        return beyond_chance(agreement_of_all([state.given for state in states]), matmul(shares, shares.T))

    def degenerate(self, state: KappaState, /) -> str | None:
        """One class for all samples."""
        first = state.ordered[0]
        return None if bool(first != state.ordered[-1]) else f"every sample is given the same class, {int(first)}"


@register
@dataclass(frozen=True)
class ErrorConsistency(Measure):
    """Error consistency: Cohen's kappa of being right.

    For scores x and y, both (n, c), of which a share of p_x and p_y have their largest entry at the true class::

        error_consistency = (a − a₀) / (1 − a₀),   a₀ = p_x p_y + (1 − p_x)(1 − p_y)

    with a the share of samples on which both are right or both are wrong, and a₀ what it would be if they erred
    independently. In [−1, 1], without unit; 1 if they err on the same samples, 0 if errors are independent. It is
    returned as estimated and may be negative. A single column, (n, 1), holds the classes themselves.

    Notes
    -----
    A model that is always right, or always wrong, has no errors to be consistent with. Needs targets. O(n) for each
    pair; all pairs are one matrix product.

    References
    ----------
    Geirhos, Meding, Wichmann, "Beyond accuracy: quantifying trial-by-trial behaviour of CNNs and humans by measuring
    error consistency", NeurIPS 2020.

    Examples
    --------
    >>> import numpy as np
    >>> targets = np.zeros(4, int)
    >>> x, y = np.array([[0], [0], [1], [1]]), np.array([[0], [1], [2], [2]])
    >>> float(ErrorConsistency()(x, y, targets=targets))
    0.5
    """

    title = "Error consistency"
    reference = "geirhos2020"
    family = Family.FUNCTIONAL
    cost = "O(n c) to prepare, O(n) for each pair"
    use = "To ask whether two models, or a model and a person, fail on the same samples beyond what accuracy implies."
    avoid = (
        "When errors are few, which leaves it to a handful of samples, or when it matters which wrong class is given."
    )
    kind = Kind.SIMILARITY
    bounds = (-1.0, 1.0)
    symmetric = True
    outputs_only = True
    needs_classes = True
    needs_targets = True
    defined_for_constants = True
    invariances = frozenset({Invariance.ISOTROPIC_SCALING})

    def check_input(self, x: Array, name: str, /) -> None:
        """Refuse a single column of anything but labels."""
        check_labels("measure error_consistency", x, name)

    def prepare(self, x: Array, /) -> Outcomes:
        """Refuse: being right is not defined without targets."""
        del x
        raise without_targets("error_consistency")

    def prepare_with_targets(self, x: Array, targets: Array, /) -> Outcomes:
        """See which samples are given their true class."""
        return outcomes(self.label, x, targets)

    def compare(self, a: Outcomes, b: Outcomes, /) -> Array:
        """Kappa of the two patterns of success."""
        check_decisions([a, b])
        xp = namespace(a.correct)
        same = xp.mean(as_float(a.correct == b.correct, a.error))
        return beyond_chance(same, a.error * b.error + (1 - a.error) * (1 - b.error))

    def compare_all(self, states: Sequence[Outcomes], /) -> Array:
        """Both right and both wrong, counted by one product each."""
        check_decisions(states)
        xp = namespace(states[0].correct)
        right = xp.stack([state.correct for state in states])  # (M, n)
        error = xp.stack([state.error for state in states])
        wrong = 1 - right
        same = (matmul(right, right.T) + matmul(wrong, wrong.T)) / right.shape[1]
        expected = error[:, None] * error[None, :] + (1 - error[:, None]) * (1 - error[None, :])
        return beyond_chance(same, expected)

    def degenerate(self, state: Outcomes, /) -> str | None:
        """Always right, or always wrong."""
        if not bool(state.error > 0):
            return "every sample is given its true class, so that there are no errors to compare"
        return None if bool(state.error < 1) else "every sample is given a wrong class"


def _count(ordered: Array, values: Array) -> Array:
    """How often each of `values` occurs in `ordered`, a sorted array."""
    xp = namespace(ordered)
    return xp.searchsorted(ordered, values, side="right") - xp.searchsorted(ordered, values, side="left")

"""How often two classifiers decide differently."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from consilience._array import Array, namespace
from consilience.measures._predictions import (
    Outcomes,
    Predictions,
    agreement,
    agreement_of_all,
    check_labels,
    outcomes,
    predictions,
)
from consilience.registry import Family, Invariance, Kind, Measure, per_instance, register

__all__ = ["Correction", "Disagreement"]

Correction: TypeAlias = Literal["plain", "error_corrected", "min_max"]


@register
@dataclass(frozen=True)
class Disagreement(Measure):
    """Disagreement, or churn: how often two classifiers give different classes.

    For scores x and y, both (n, c), with classes argmax x_i and argmax y_i, and error rates e_x and e_y::

        plain           d = 1/n · #{i : argmax x_i ≠ argmax y_i}
        error_corrected d / e_y
        min_max         (d − |e_x − e_y|) / (min(e_x + e_y, 1) − |e_x − e_y|)

    A share of samples or a ratio of two, without unit; 0 for identical decisions. Of scores that tie the first
    counts. A single column, (n, 1), holds the classes themselves, whole numbers from 0.

    Parameters
    ----------
    form : {"plain", "error_corrected", "min_max"}
        plain
            In [0, 1]. A model with error rate e disagrees with a perfect one on a share e of the samples: the
            less accurate, the more disagreement there must be.
        error_corrected
            Divided by the error rate of the second model, 1 − accuracy, as Fort et al. do for functions compared to
            one baseline, the first argument. In [0, ∞), not symmetric. Needs targets.
        min_max
            From the least (0) to the most (1) that two models of these error rates can disagree (Klabunde &
            Lemmerich 2023). Needs targets. The most assumes more than two classes: of two classes, models
            with e_x + e_y > 1 never reach it.

    Notes
    -----
    A model without errors has no corrected disagreement: d is then e_x, or e_y, whatever the other decides.
    O(n c) to prepare, O(n) for each pair.

    References
    ----------
    Milani Fard, Cormier, Canini, Gupta, "Launch and iterate: reducing prediction churn", NIPS 2016; Fort, Hu,
    Lakshminarayanan, "Deep ensembles: a loss landscape perspective", arXiv:1912.02757; Klabunde, Lemmerich, "On the
    prediction instability of graph neural networks", ECML PKDD 2022.

    Examples
    --------
    >>> import numpy as np
    >>> targets = np.array([0, 1, 2, 0])
    >>> x, y = np.eye(3)[[0, 1, 2, 1]], np.eye(3)[[0, 1, 1, 1]]
    >>> float(Disagreement()(x, y)), float(Disagreement(form="error_corrected")(x, y, targets=targets))
    (0.25, 0.5)
    >>> float(Disagreement(form="min_max")(x, y, targets=targets))
    0.0
    """

    title = "Disagreement"
    reference = "milanifard2016"
    family = Family.FUNCTIONAL
    cost = "O(n c) to prepare, O(n) for each pair"
    use = "To see how many decisions change between two training runs, versions or compressed copies of a classifier."
    avoid = "When models of different accuracy are compared: plain disagreement grows with the errors of both."
    aliases = {
        "churn": {},
        "error_corrected_disagreement": {"form": "error_corrected"},
        "min_max_disagreement": {"form": "min_max"},
    }
    kind = Kind.DISTANCE
    bounds = per_instance(lambda self: (0.0, float("inf") if self.form == "error_corrected" else 1.0))
    symmetric = per_instance(lambda self: self.form != "error_corrected")
    needs_targets = per_instance(lambda self: self.form != "plain")
    outputs_only = True
    needs_classes = True
    defined_for_constants = True
    invariances = frozenset({Invariance.ISOTROPIC_SCALING})

    form: Correction = "plain"

    def check_input(self, x: Array, name: str, /) -> None:
        """Refuse a single column of anything but labels."""
        check_labels(f"measure {self.label}", x, name)

    def prepare(self, x: Array, /) -> Predictions:
        """Decide on a class for every sample."""
        return predictions(x)

    def prepare_with_targets(self, x: Array, targets: Array, /) -> Predictions | Outcomes:
        """Decide on a class for every sample and compare it to the true one."""
        return self.prepare(x) if self.form == "plain" else outcomes(self.label, x, targets)

    def compare(self, a: Predictions | Outcomes, b: Predictions | Outcomes, /) -> Array:
        """Count the samples that are given different classes."""
        found = 1 - agreement(a, b)
        if isinstance(a, Predictions) or isinstance(b, Predictions):
            return found
        return self._corrected(found, a.error, b.error)

    def compare_all(self, states: Sequence[Predictions] | Sequence[Outcomes], /) -> Array:
        """Count row by row."""
        found = 1 - agreement_of_all(states)
        errors = [state.error for state in states if isinstance(state, Outcomes)]
        if not errors:
            return found
        error = namespace(errors[0]).stack(errors)
        return self._corrected(found, error[:, None], error[None, :])

    def degenerate(self, state: Predictions | Outcomes, /) -> str | None:
        """Nothing to correct by."""
        if isinstance(state, Predictions) or bool(state.error > 0):
            return None
        return "every sample is given its true class, so that there is no error to correct disagreement by"

    def _corrected(self, found: Array, error_a: Array, error_b: Array) -> Array:
        xp = namespace(found)
        if self.form == "error_corrected":
            return found / error_b
        least = xp.abs(error_a - error_b)
        most = error_a + error_b
        most = xp.where(most < 1, most, xp.ones_like(most))
        return (found - least) / (most - least)

"""Accuracy, and by how much it differs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from consilience._array import Array, namespace
from consilience.measures._predictions import check_labels, outcomes, without_targets
from consilience.registry import Descriptor, Family, Invariance, register

__all__ = ["AccuracyDifference"]


@register
@dataclass(frozen=True)
class AccuracyDifference(Descriptor):
    """Difference in accuracy; of one representation, the accuracy itself.

    For scores x and y, both (n, c), and true classes t::

        accuracy(x) = 1/n · #{i : argmax x_i = t_i}
        accuracy_difference = |accuracy(x) − accuracy(y)|

    In [0, 1], without unit. Of scores that tie the first counts. A single column, (n, 1), holds the classes
    themselves, whole numbers from 0.

    Notes
    -----
    Needs targets. The classes of x and y need not be the same, as long as the true ones are among both. O(n c) for each
    representation.

    References
    ----------
    Klabunde, Schumacher, Strohmaier, Lemmerich, "Similarity of neural network models: a survey of functional and
    representational measures", ACM Computing Surveys 57, 2025 (performance-based measures).

    Examples
    --------
    >>> import numpy as np
    >>> x, y, targets = np.eye(2)[[0, 0, 1, 1]], np.eye(2)[[0, 1, 1, 0]], [0, 0, 1, 0]
    >>> accuracy = AccuracyDifference()
    >>> float(accuracy(x, targets=targets)), float(accuracy(x, y, targets=targets))
    (0.75, 0.0)
    """

    title = "Difference in accuracy"
    reference = "klabunde2025"
    family = Family.FUNCTIONAL
    cost = "O(n c) for each representation"
    use = "As the first thing to report of two classifiers, next to a measure that looks at single samples."
    avoid = "As evidence that two models are alike: models of equal accuracy may err on entirely different samples."
    bounds = (0.0, 1.0)
    outputs_only = True
    needs_classes = True
    needs_targets = True
    defined_for_constants = True
    invariances = frozenset({Invariance.ISOTROPIC_SCALING})

    def check_input(self, x: Array, name: str, /) -> None:
        """Refuse a single column of anything but labels."""
        check_labels("measure accuracy_difference", x, name)

    def describe(self, x: Array, /) -> Array:
        """Refuse: there is no accuracy without targets."""
        del x
        raise without_targets("accuracy_difference")

    def prepare_with_targets(self, x: Array, targets: Array, /) -> Array:
        """Accuracy."""
        return namespace(x).mean(outcomes(self.label, x, targets).correct)

    def compare_all(self, states: Sequence[Array], /) -> Array:
        """All differences at once."""
        xp = namespace(states[0])
        accuracy = xp.stack(list(states))
        return xp.abs(accuracy[:, None] - accuracy[None, :])

"""Agreement of predicted probabilities beyond what accuracy makes them agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from consilience._array import Array, matmul, namespace
from consilience.measures._predictions import (
    Inputs,
    beyond_chance,
    check_distributions,
    check_targets,
    check_widths,
    distributions,
    true_probability,
    without_targets,
)
from consilience.registry import Family, Invariance, Kind, Measure, register

__all__ = ["CAPA", "CapaState"]


class CapaState(NamedTuple):
    """Probabilities of all classes, and the mean probability of the true one."""

    p: Array  # (n, c)
    truth: Array  # 0-d


@register
@dataclass(frozen=True)
class CAPA(Measure):
    """Chance adjusted probabilistic agreement, κ_p.

    With p_x(k | i) and p_y(k | i) the probabilities that the models with scores x and y, both (n, c), give to class k
    of sample i, and P_x, P_y the mean probabilities of the true class::

        capa = (a − a₀) / (1 − a₀),   a = 1/n Σᵢ Σ_k p_x(k | i) p_y(k | i)
        a₀ = P_x P_y + (1 − P_x)(1 − P_y) / (c − 1)

    a is how often the two agree if each draws its class from its probabilities; a₀ how often models as accurate
    as these would, if their errors were independent and spread evenly over the wrong classes. In [−1, 1], without
    unit; 0 for independent errors. It is returned as estimated and may be negative. A model has κ_p = 1 with itself
    only if it is certain of every class: an uncertain one need not agree with itself.

    Parameters
    ----------
    inputs : {"logits", "probabilities"}
        Whether x and y are scores, which are normalised by softmax, or probabilities already. With one-hot rows
        it is the adjusted agreement of decisions.

    Notes
    -----
    A model that is certain and right on every sample (with two classes, also one that is certain and wrong on
    every sample) has no errors to compare. Needs targets. O(n c) for each pair; all pairs are one matrix product.

    References
    ----------
    Goel, Strüber, Auzina, Chandra, Kumaraguru, Kiela, Prabhu, Bethge, Geiping, "Great models think alike and this
    undermines AI oversight", ICML 2025.

    Examples
    --------
    >>> import numpy as np
    >>> p, q = np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([[0.7, 0.3], [0.5, 0.5]])
    >>> print(f"{CAPA(inputs='probabilities')(p, q, targets=[0, 1]):.3f}")
    0.023
    """

    title = "Chance adjusted probabilistic agreement"
    reference = "goel2025"
    family = Family.FUNCTIONAL
    cost = "O(n c) for each pair"
    use = "To compare the mistakes of models of different accuracy by their probabilities, not only their decisions."
    avoid = "As a distance from identity: a model that is unsure of its classes does not score 1 with itself."
    kind = Kind.SIMILARITY
    bounds = (-1.0, 1.0)
    symmetric = True
    outputs_only = True
    needs_classes = True
    needs_targets = True
    defined_for_constants = True
    invariances = frozenset[Invariance]()

    inputs: Inputs = "logits"

    def check_input(self, x: Array, name: str, /) -> None:
        """Refuse what is no distribution over classes."""
        check_distributions(f"measure {self.label}", x, name, self.inputs)

    def self_score(self, n: int) -> float | None:
        """Depends on how certain the model is."""
        del n
        return None

    def prepare(self, x: Array, /) -> CapaState:
        """Refuse: the true class has no probability without targets."""
        del x
        raise without_targets("capa")

    def prepare_with_targets(self, x: Array, targets: Array, /) -> CapaState:
        """Probabilities, and the mean of those of the true classes."""
        xp = namespace(x)
        check_targets(self.label, x, targets)
        p = distributions(x, self.inputs).p
        return CapaState(p, xp.mean(true_probability(p, targets)))

    def compare(self, a: CapaState, b: CapaState, /) -> Array:
        """Observed and expected agreement of classes drawn at random."""
        xp = namespace(a.p)
        check_widths("capa", [a.p, b.p])
        found = xp.sum(a.p * b.p) / a.p.shape[0]
        return beyond_chance(found, _chance(a.truth, b.truth, a.p.shape[1]))

    def compare_all(self, states: Sequence[CapaState], /) -> Array:
        """One product of all probabilities."""
        check_widths("capa", [state.p for state in states])
        xp = namespace(states[0].p)
        flat = xp.stack([xp.reshape(state.p, (-1,)) for state in states])  # (M, n · c)
        truth = xp.stack([state.truth for state in states])
        n, c = states[0].p.shape
        return beyond_chance(matmul(flat, flat.T) / n, _chance(truth[:, None], truth[None, :], c))

    def degenerate(self, state: CapaState, /) -> str | None:
        """Certain of every class, and right."""
        if not bool(state.truth < 1):
            return "every sample is given its true class with certainty, so that there are no errors to compare"
        if state.p.shape[1] == 2 and not bool(state.truth > 0):
            return "every sample is given the wrong one of two classes with certainty"
        return None


def _chance(a: Array, b: Array, width: int) -> Array:
    return a * b + (1 - a) * (1 - b) / (width - 1)

"""How far predicted probabilities move from one model to another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal, TypeAlias

from consilience._array import Array, namespace
from consilience.errors import ConsilienceError
from consilience.measures._predictions import Inputs, check_distributions, check_widths, distributions
from consilience.registry import Family, Invariance, Kind, Measure, per_instance, register

__all__ = ["PredictionDifference", "RelativeTo", "SurrogateChurn"]

RelativeTo: TypeAlias = Literal["mean", "other"]


@register
@dataclass(frozen=True)
class PredictionDifference(Measure):
    """Prediction difference of two or more models.

    For scores x, y, … of M models, all (n, c), with p_m(i) the distribution over c classes that model m gives to
    sample i and p̄(i) the mean of these::

        mean   1/n Σᵢ 1/M Σ_m ‖p_m(i) − p̄(i)‖
        other  1/n Σᵢ mean over pairs l < m of ‖p_l(i) − p_m(i)‖

    with ‖·‖ the norm of the given order. In [0, 2], without unit. For two models `mean` is half of `other`, and with
    order 1 the total variation distance, in [0, 1].

    Parameters
    ----------
    order : float
        Of the norm, from 1 (sum of magnitudes) over 2 (Euclidean) to infinity (largest magnitude).
    relative_to : {"mean", "other"}
        Whether a prediction is compared to the mean prediction of all models, as Shamir & Coviello do, or to that
        of another model.
    inputs : {"logits", "probabilities"}
        Whether x, y, … are scores, which are normalised by softmax, or probabilities already.

    Notes
    -----
    ``prediction_difference(x, y, z, ...)`` scores the whole set. O(M n c), relative to `other` O(M² n c).

    References
    ----------
    Shamir, Coviello, "Anti-distillation: improving reproducibility of deep networks", arXiv:2010.09923.

    Examples
    --------
    >>> import numpy as np
    >>> p, q, r = np.array([[0.6, 0.4]] * 2), np.array([[0.4, 0.6]] * 2), np.array([[0.5, 0.5]] * 2)
    >>> difference = PredictionDifference(inputs="probabilities")
    >>> print(f"{difference(p, q):.3f} {difference(p, q, r):.3f}")
    0.200 0.133
    """

    title = "Prediction difference"
    reference = "shamir2020"
    family = Family.FUNCTIONAL
    cost = "O(n c) for each pair"
    use = "To see how far the probabilities that users get move when a model is trained again, for two models or a set."
    avoid = "When only decisions count: a difference far from the decision boundary weighs as much as one across it."
    aliases = {"soft_prediction_difference": {"relative_to": "other", "order": 2.0}}
    kind = Kind.DISTANCE
    bounds = (0.0, 2.0)
    symmetric = True
    outputs_only = True
    needs_classes = True
    defined_for_constants = True
    differentiable = per_instance(lambda self: self.inputs == "logits")
    invariances = frozenset[Invariance]()

    order: float = 1.0
    relative_to: RelativeTo = "mean"
    inputs: Inputs = "logits"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.order >= 1:
            raise ConsilienceError(
                f"order of prediction_difference is {self.order}; a norm has an order of at least 1."
            )

    def check_input(self, x: Array, name: str, /) -> None:
        """Refuse what is no distribution over classes."""
        check_distributions(f"measure {self.label}", x, name, self.inputs)

    def prepare(self, x: Array, /) -> Array:
        """Probabilities, (n, c)."""
        return distributions(x, self.inputs).p

    def compare(self, a: Array, b: Array, /) -> Array:
        """Norm of the difference, or half of it: both are that far from their mean."""
        check_widths(self.name, [a, b])
        found = namespace(a).mean(_norms(a - b, self.order))
        return found / 2 if self.relative_to == "mean" else found

    def compare_set(self, states: Sequence[Array], /) -> Array:
        """Distances to the mean of all, or mean distance of all pairs."""
        if len(states) == 2:
            return self.compare(*states)
        check_widths(self.name, states)
        xp = namespace(states[0])
        if self.relative_to == "mean":
            centre = xp.mean(xp.stack(list(states)), axis=0)
            moved = [state - centre for state in states]
        else:
            moved = [a - b for a, b in combinations(states, 2)]
        return xp.mean(xp.stack([xp.mean(_norms(each, self.order)) for each in moved]))


@register
@dataclass(frozen=True)
class SurrogateChurn(Measure):
    """Surrogate churn: a smooth count of changed decisions.

    For scores x and y, both (n, c), with p_i and q_i the distributions over c classes that they give to sample i::

        surrogate_churn = 1/n Σᵢ ½ Σ_k |(p_ik / max p_i)^α − (q_ik / max q_i)^α|

    In [0, c/2], without unit. As α grows all but the largest probability of a sample vanish, and it becomes the
    disagreement.

    Parameters
    ----------
    alpha : float
        How sharply the most probable class is favoured; positive.
    inputs : {"logits", "probabilities"}
        Whether x and y are scores, which are normalised by softmax, or probabilities already.

    Notes
    -----
    From logits, (p / max p)^α is exp(α (x − max x)), computed without normalising. O(n c) for each pair.

    References
    ----------
    Bhojanapalli, Wilber, Veit, Rawat, Kim, Menon, Kumar, "On the reproducibility of neural network predictions",
    arXiv:2102.03349.

    Examples
    --------
    >>> import numpy as np
    >>> p, q = np.array([[0.5, 0.5], [0.8, 0.2]]), np.array([[0.6, 0.4], [0.2, 0.8]])
    >>> print(f"{SurrogateChurn(inputs='probabilities')(p, q):.3f}")
    0.458
    >>> print(f"{SurrogateChurn(alpha=99.0, inputs='probabilities')(p, q):.3f}")
    0.750
    """

    title = "Surrogate churn"
    reference = "bhojanapalli2021"
    family = Family.FUNCTIONAL
    cost = "O(n c) for each pair"
    use = "When disagreement is to be lowered by gradient descent, or counted with regard to how close a decision was."
    avoid = "When numbers of classes differ between studies: for moderate alpha it grows with the number of classes."
    kind = Kind.DISTANCE
    bounds = (0.0, float("inf"))
    symmetric = True
    outputs_only = True
    needs_classes = True
    defined_for_constants = True
    differentiable = per_instance(lambda self: self.inputs == "logits")
    invariances = frozenset[Invariance]()

    alpha: float = 1.0
    inputs: Inputs = "logits"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.alpha < float("inf"):
            raise ConsilienceError(f"alpha of surrogate_churn is {self.alpha}; it must be positive and finite.")

    def check_input(self, x: Array, name: str, /) -> None:
        """Refuse what is no distribution over classes."""
        check_distributions(f"measure {self.label}", x, name, self.inputs)

    def prepare(self, x: Array, /) -> Array:
        """Sharpened probabilities relative to the largest, (n, c)."""
        xp = namespace(x)
        largest = xp.max(x, axis=1, keepdims=True)
        return xp.exp(self.alpha * (x - largest)) if self.inputs == "logits" else (x / largest) ** self.alpha

    def compare(self, a: Array, b: Array, /) -> Array:
        """Half the sum of magnitudes of the differences."""
        check_widths(self.name, [a, b])
        return namespace(a).sum(namespace(a).abs(a - b)) / (2 * a.shape[0])


def _norms(rows: Array, order: float) -> Array:
    """Norms of the rows, (n,), with no slope where they are zero."""
    xp = namespace(rows)
    size = xp.abs(rows)
    if order == 1:
        return xp.sum(size, axis=1)
    largest = xp.max(size, axis=1)
    if order == float("inf"):
        return largest
    some = largest > 0
    scale = xp.where(some, largest, xp.ones_like(largest))
    powers = xp.sum((size / scale[:, None]) ** order, axis=1)
    return xp.where(some, scale * xp.where(some, powers, xp.ones_like(powers)) ** (1 / order), largest)

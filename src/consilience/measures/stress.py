"""Stress: how far apart two sets of distances are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from consilience._array import Array, centred, namespace
from consilience.measures._distances import squared_differences
from consilience.measures._rdm import Form, euclidean_form, finished, rows_of
from consilience.registry import Family, Invariance, Kind, Measure, register

__all__ = ["Stress"]


@register
@dataclass(frozen=True)
class Stress(Measure):
    """Root mean square difference of Euclidean distances.

    With d_ij = ‖xᵢ − xⱼ‖ for x (n, p) and d'_ij = ‖yᵢ − yⱼ‖ for y (n, q)::

        stress = √( 2/(n(n−1)) Σ_{i<j} (d_ij − d'_ij)² )

    In [0, ∞), in units of the features; zero for representations that agree up to rotation and offset. A metric.

    Notes
    -----
    O(n²(p + q)) time in blocks of rows; no (n, n) array is kept. Multidimensional scaling calls "stress" the same sum
    divided by one of d², which depends on which representation is the original.

    References
    ----------
    Kruskal, "Multidimensional scaling by optimizing goodness of fit to a nonmetric hypothesis", Psychometrika 29,
    1964. Lange et al., "Deep networks as paths on the manifold of neural representations", TAG-ML 2023.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([[0.0], [3.0]])
    >>> y = np.array([[0.0, 0.0], [3.0, 4.0]])
    >>> float(Stress()(x, y))
    2.0
    """

    title = "Stress"
    reference = "kruskal1964"
    family = Family.DISSIMILARITY
    cost = "O(n² (p + q)), in blocks of rows"
    use = "When distances have the same units in both representations, and by how much they differ is the question."
    avoid = "For representations of different scale, which alone makes it large: use rsa, or scale them first."
    kind = Kind.DISTANCE
    bounds = (0.0, float("inf"))
    symmetric = True
    differentiable = True
    invariances = frozenset({Invariance.TRANSLATION, Invariance.ORTHOGONAL})

    def prepare(self, x: Array, /) -> Form:
        """Centre the features and take the norms of rows."""
        return euclidean_form(centred(x))

    def compare(self, a: Form, b: Form, /) -> Array:
        """Differences block by block."""
        return self.compare_all((a, b))[0, 1]

    def compare_all(self, states: Sequence[Form], /) -> Array:
        """Each block of rows is computed once for all pairs."""

        def rows(form: Form, start: int, stop: int) -> Array:
            return finished("euclidean", rows_of(form, start, stop), form)

        like = states[0].left
        n = like.shape[0]
        return namespace(like).sqrt(squared_differences(rows, states, like) / (n * (n - 1)))

    def degenerate(self, state: Form, /) -> str | None:
        """No feature varies: all distances are zero."""
        return None if bool(namespace(state.half).any(state.half > 0)) else "every feature is constant"

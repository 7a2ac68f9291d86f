"""How many of the nearest neighbours are of the same class."""

from __future__ import annotations

from dataclasses import dataclass

from consilience._array import Array, is_traced, namespace
from consilience.errors import ConsilienceError
from consilience.measures._nearness import Metric, neighbours, points
from consilience.measures._neighbour_lists import check_k, list_blocks, list_invariances, spread, why_no_neighbours
from consilience.registry import Descriptor, Family, per_instance, register

__all__ = ["LabelOverlap"]


@register
@dataclass(frozen=True)
class LabelOverlap(Descriptor):
    """Overlap of neighbours with classes.

    With N(i) the k nearest of the other samples to sample i in x (n, p), and t (n,) the true classes::

        label_overlap = 1/n Σᵢ #{ j ∈ N(i) : t_j = t_i } / k

    Without unit, in [0, 1]: 1 if every neighbourhood is of one class; Σ_c n_c (n_c − 1) / (n (n − 1)) on average, for
    classes of n_c samples, if the representation says nothing about them. As a measure of two representations, x (n, p)
    and y (n, q), the absolute difference.

    Parameters
    ----------
    k : int
        Number of neighbours, at most n − 2, and best well below the number of samples of a class.
    metric : {"euclidean", "cosine", "inner"}
        How nearness is measured; see `mutual_knn`.

    Notes
    -----
    Doimo et al. take k = 30 with 300 samples of each class. Ties and copies as in `mutual_knn`. O(n² p) time in blocks
    of rows.

    References
    ----------
    Doimo, Glielmo, Ansuini, Laio, "Hierarchical nucleation in deep neural networks", NeurIPS 2020.

    Examples
    --------
    >>> import numpy as np
    >>> classes = np.arange(200) % 4
    >>> x = np.random.default_rng(0).standard_normal((200, 3)) + np.eye(4)[classes, :3] * 3
    >>> print(f"{LabelOverlap()(x, targets=classes):.2f} {LabelOverlap()(x, targets=np.sort(classes)):.2f}")
    0.84 0.26
    >>> print(f"{LabelOverlap()(x, x[:, :1], targets=classes):.2f}")
    0.41
    """

    title = "Overlap of neighbours with classes"
    reference = "doimo2020"
    family = Family.NEIGHBOURS
    cost = "O(n² p), in blocks of rows"
    use = "To see at which layer, or in which of two representations, classes form."
    avoid = "When the classes are few and k is not small against their size: chance is then high."
    bounds = (0.0, 1.0)
    needs_targets = True
    aliases = {"class_overlap": {}}
    invariances = per_instance(lambda self: list_invariances(self.metric))

    k: int = 10
    metric: Metric = "euclidean"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_k(self, self.k)

    @property
    def min_samples(self) -> int:
        """k + 2: with k + 1 samples all others are neighbours, whatever they are."""
        return self.k + 2

    def describe(self, x: Array, /) -> Array:
        """Refuse: without classes there is nothing to count."""
        del x
        raise ConsilienceError("label_overlap needs the true class of every sample: pass targets=.")

    def prepare_with_targets(self, x: Array, targets: Array, /) -> Array:
        """Count the neighbours of the same class; NaN if neighbours mean nothing, infinite if classes do not."""
        xp = namespace(x)
        if not (is_traced(x) or is_traced(targets)):
            ordered = xp.sort(targets)
            repeated = ordered[1:] == ordered[:-1]
            if bool(xp.all(repeated)) or not bool(xp.any(repeated)):
                return xp.asarray(float("inf") if bool(repeated[0]) else -float("inf"), dtype=x.dtype)
        near = points(x, self.metric)
        lists = neighbours(near, self.k)
        n = x.shape[0]
        same = xp.zeros_like(x[0, 0])
        for start, stop in list_blocks(n, self.k):
            theirs = xp.take(targets, xp.reshape(lists[start:stop, :], (-1,)), axis=0)
            theirs = xp.reshape(theirs, (stop - start, self.k))
            same = same + xp.sum(xp.astype(theirs == targets[start:stop, None], x.dtype))
        found = spread(near)
        meaningful = found > 0 if self.metric != "cosine" else found > 1e4 * float(xp.finfo(x.dtype).eps)
        return xp.where(meaningful, same / (n * self.k), xp.asarray(float("nan"), dtype=x.dtype))

    def degenerate(self, state: Array, /) -> str | None:
        """There are no classes to tell apart, or neighbours mean nothing as in `mutual_knn`."""
        if bool(namespace(state).isinf(state)):
            return "all targets are " + ("equal" if bool(state > 0) else "different") + ", whatever the neighbours are"
        if not bool(namespace(state).isnan(state)):
            return None
        return why_no_neighbours(namespace(state).zeros_like(state), self.metric)

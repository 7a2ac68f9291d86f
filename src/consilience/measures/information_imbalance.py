"""How much of the neighbourhoods of one representation another predicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from consilience._array import Array, centred, namespace, row_blocks
from consilience.errors import ConsilienceError
from consilience.measures._nearness import Metric, Points, key_rows, neighbours, points, ranks
from consilience.registry import Family, Invariance, Kind, Measure, per_instance, register

__all__ = ["ImbalanceState", "InformationImbalance"]


class ImbalanceState(NamedTuple):
    """Samples ready for distances, and their nearest neighbours."""

    points: Points
    lists: Array  # (n, k)
    varies: Array  # 0-d boolean


@register
@dataclass(frozen=True)
class InformationImbalance(Measure):
    """Information imbalance Δ(x → y).

    With N_x(i) the k nearest of the other samples to sample i in x (n, p), and rank_y(i, j) the rank of sample j
    among the others by distance from i in y (n, q), counted from 1::

        Δ(x → y) = 2/n · mean over i and j ∈ N_x(i) of rank_y(i, j)

    Without unit, in (0, 2). It is smallest, (k + 1)/n, when the neighbours in x are the neighbours in y, and 1 on
    average when x says nothing about y. Not symmetric: Δ(x → y) < Δ(y → x) says that x predicts y better than y
    predicts x. Swap the arguments for the other direction. Values at different n or k are not comparable.

    Parameters
    ----------
    k : int
        Number of neighbours, at most n − 2.
    metric : {"euclidean", "cosine", "inner"}
        How nearness is measured, in both representations; see `mutual_knn`.

    Notes
    -----
    Ranks are exact, found by counting, without sorting; samples that tie (to rounding) rank in order of index.
    O(n²(p + q)) time, in blocks of rows.

    References
    ----------
    Glielmo, Zeni, Cheng, Csányi, Laio, "Ranking the information content of distance measures", PNAS Nexus 1, 2022.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(0).standard_normal((200, 3))
    >>> imbalance = InformationImbalance()
    >>> print(f"{imbalance(x, x):.2f} {imbalance(x, x[:, :1]):.2f} {imbalance(x[:, :1], x):.2f}")
    0.01 0.21 0.72
    """

    title = "Information imbalance"
    reference = "glielmo2022"
    family = Family.NEIGHBOURS
    cost = "O(n² (p + q)), in blocks of rows"
    use = "To find out which of two representations contains the other: the two directions differ."
    avoid = "When one symmetric number is wanted, or scores at different n are to be compared."
    kind = Kind.DISTANCE
    bounds = (0.0, 2.0)
    symmetric = False
    invariances = per_instance(
        lambda self: frozenset(
            {Invariance.ORTHOGONAL, Invariance.ISOTROPIC_SCALING}
            | ({Invariance.TRANSLATION} if self.metric == "euclidean" else set())
        )
    )

    k: int = 1
    metric: Metric = "euclidean"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.k < 1:
            raise ConsilienceError(f"k of information_imbalance is {self.k}; there must be at least one neighbour.")

    @property
    def min_samples(self) -> int:
        """k + 2: with k + 1 samples every other one is a neighbour, and the value is 1 whatever they are."""
        return self.k + 2

    def self_score(self, n: int) -> float | None:
        """(k + 1)/n: the neighbours have ranks 1 to k."""
        return (self.k + 1) / n

    def prepare(self, x: Array, /) -> ImbalanceState:
        """Find the neighbours."""
        xp = namespace(x)
        near = points(x, self.metric)
        return ImbalanceState(near, neighbours(near, self.k), xp.any(centred(x) != 0))

    def compare(self, a: ImbalanceState, b: ImbalanceState, /) -> Array:
        """Mean rank in `b` of the neighbours in `a`."""
        return _mean_ranks([a], b)[0] * 2 / a.lists.shape[0]

    def compare_all(self, states: Sequence[ImbalanceState], /) -> Array:
        """Distances of each representation once, for the neighbours in all others."""
        xp = namespace(states[0].points.x)
        columns = [_mean_ranks(states, target) for target in states]
        return xp.stack(columns, axis=1) * 2 / states[0].lists.shape[0]

    def degenerate(self, state: ImbalanceState, /) -> str | None:
        """All samples coincide."""
        return None if bool(state.varies) else "every feature is constant"


def _mean_ranks(sources: Sequence[ImbalanceState], target: ImbalanceState) -> Array:
    """Mean rank in `target` of the neighbours in each of `sources`, (len(sources),)."""
    near = target.points
    xp = namespace(near.x)
    totals = xp.zeros_like(near.half[:1])
    lists = xp.concat([source.lists for source in sources], axis=1)  # (n, sources · k)
    for start, stop in row_blocks(near.x):
        found = ranks(near, key_rows(near, start, stop), start, lists[start:stop, :])
        totals = totals + xp.sum(xp.astype(found, near.x.dtype), axis=0)  # (sources · k,)
    n, k = target.lists.shape
    return xp.sum(xp.reshape(totals, (len(sources), k)), axis=1) / (n * k)

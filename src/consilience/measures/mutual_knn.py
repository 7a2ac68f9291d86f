"""Overlap of nearest-neighbour lists."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from consilience._array import Array, centred, epsilon, matmul, namespace, row_blocks
from consilience.errors import ConsilienceError
from consilience.measures._nearness import Metric, neighbours, points
from consilience.registry import Family, Invariance, Kind, Measure, per_instance, register

__all__ = ["MutualKNN", "NeighbourState"]


class NeighbourState(NamedTuple):
    """Neighbour lists of one representation."""

    lists: Array  # (n, k) integers
    like: Array  # 0-d, carries the floating-point type
    spread: Array  # 0-d: how far the samples are from giving neighbours no meaning


@register
@dataclass(frozen=True)
class MutualKNN(Measure):
    """Overlap of nearest neighbours.

    With N_x(i) the k nearest of the other samples to sample i in x (n, p), and N_y(i) in y (n, q)::

        mutual_knn = 1/n Σᵢ |N_x(i) ∩ N_y(i)| / k

    In [0, 1]; k/(n−1) on average for unrelated representations, so values at different n or k are not comparable.

    Parameters
    ----------
    k : int
        Number of neighbours, at most n − 2.
    metric : {"cosine", "euclidean", "inner"}
        How nearness is measured: the largest cosine or inner product between rows as given (not centred), or the
        smallest Euclidean distance. A row of zeros has cosine 0 with every other row.

    Notes
    -----
    A sample is never its own neighbour, an exact copy of it is. Samples that tie (to rounding) are taken in order
    of index. O(n²(p + q)) time in blocks of rows; no (n, n) array is kept.

    References
    ----------
    Huh, Cheung, Wang, Isola, "The platonic representation hypothesis", ICML 2024; Doimo, Glielmo, Ansuini, Laio,
    "Hierarchical nucleation in deep neural networks", NeurIPS 2020 (Euclidean).

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(0).standard_normal((200, 5))
    >>> y = x + 0.1 * np.random.default_rng(1).standard_normal((200, 5))
    >>> print(f"{MutualKNN()(x, y):.2f} {MutualKNN()(x, y[::-1]):.2f}")
    0.84 0.05
    """

    title = "Mutual nearest neighbours"
    reference = "huh2024"
    family = Family.NEIGHBOURS
    cost = "O(n² (p + q)), in blocks of rows"
    use = "When local structure counts and global geometry may differ, as between models of different modalities."
    avoid = (
        "When scores at different n are to be compared: chance is k/(n − 1), and the neighbourhood shrinks as n grows."
    )
    aliases = {"neighbourhood_overlap": {"metric": "euclidean"}}
    kind = Kind.SIMILARITY
    bounds = (0.0, 1.0)
    symmetric = True
    invariances = per_instance(
        lambda self: frozenset(
            {Invariance.ORTHOGONAL, Invariance.ISOTROPIC_SCALING}
            | ({Invariance.TRANSLATION} if self.metric == "euclidean" else set())
        )
    )

    k: int = 10
    metric: Metric = "cosine"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.k < 1:
            raise ConsilienceError(f"k of mutual_knn is {self.k}; there must be at least one neighbour.")

    @property
    def min_samples(self) -> int:
        """k + 2: with k + 1 samples all others are neighbours, and the overlap is one whatever they are."""
        return self.k + 2

    def prepare(self, x: Array, /) -> NeighbourState:
        """Find the neighbours."""
        near = points(x, self.metric)
        spread = _spread(near.x) if self.metric == "cosine" else _largest(centred(x))
        return NeighbourState(neighbours(near, self.k), x[0, 0], spread)

    def compare(self, a: NeighbourState, b: NeighbourState, /) -> Array:
        """Count common entries."""
        xp = namespace(a.lists)
        n, k = a.lists.shape
        shared = sum(
            xp.sum(xp.astype(a.lists[start:stop, :, None] == b.lists[start:stop, None, :], a.like.dtype))
            for start, stop in row_blocks(a.lists)
        )
        return shared / (n * k)

    def degenerate(self, state: NeighbourState, /) -> str | None:
        """All samples coincide, or lie on one line through the origin and cosines are all ±1."""
        if self.metric != "cosine":
            return None if bool(state.spread > 0) else "every feature is constant"
        if bool(state.spread > 1e4 * epsilon(state.like)):
            return None
        return "all rows are multiples of one vector, so that their cosines are all 1 or -1"


def _largest(x: Array) -> Array:
    xp = namespace(x)
    return xp.max(xp.abs(x))


def _spread(x: Array) -> Array:
    """1 − ‖xᵀx‖²/m² for m non-zero unit rows: zero if and only if they are all parallel, or m is zero."""
    xp = namespace(x)
    gram = matmul(x.T, x) if x.shape[1] <= x.shape[0] else matmul(x, x.T)
    count = xp.sum(x * x)
    some = count > 0
    return xp.where(some, 1 - xp.sum(gram * gram) / xp.where(some, count * count, xp.ones_like(count)), count)

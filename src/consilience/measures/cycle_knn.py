"""Whether going to a neighbour in one representation and to a neighbour of that in another leads back."""

from __future__ import annotations

import math
from dataclasses import dataclass

from consilience._array import Array, arange, namespace
from consilience.measures._neighbour_lists import ListState, NeighbourLists, list_blocks
from consilience.registry import register

__all__ = ["CycleKNN"]


@register
@dataclass(frozen=True)
class CycleKNN(NeighbourLists):
    """Share of samples that two steps between neighbours lead back to.

    With N_x(i) the k nearest of the other samples to sample i in x (n, p), and N_y(i) in y (n, q)::

        cycle_knn = 1/n · #{ i : i ∈ N_x(j) for some j ∈ N_y(i) }

    Without unit, in [0, 1]. Not symmetric: the first step is in the second representation. A representation with
    itself need not score 1, for neighbours need not be mutual.

    Parameters
    ----------
    k : int
        Number of neighbours, at most n − 2.
    metric : {"cosine", "euclidean", "inner"}
        How nearness is measured; see `mutual_knn`.

    Notes
    -----
    One way back of k² is enough, so that chance is about 1 − exp(−k²/n). Publications take k = 10, which scores near 1
    for any pair up to some hundred samples; with the default, chance is what it is for `mutual_knn`, about 10/n.
    O(n²(p + q)) time in blocks of rows.

    References
    ----------
    Huh, Cheung, Wang, Isola, "The platonic representation hypothesis", ICML 2024.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(0).standard_normal((200, 5))
    >>> y = x + 0.1 * np.random.default_rng(1).standard_normal((200, 5))
    >>> cycle = CycleKNN(k=2)
    >>> print(f"{cycle(x, x):.2f} {cycle(x, y):.2f} {cycle(x, y[::-1]):.2f}")
    0.86 0.81 0.04
    """

    title = "Cycles of nearest neighbours"
    reference = "huh2024"
    use = "To compare with published values, or with k of about one and many samples."
    avoid = "With k² near n or above, where unrelated representations score near 1 too; prefer `mutual_knn`."
    symmetric = False

    k: int = 3

    def overlap_by_chance(self, n: int) -> float:
        """One way back of k² is enough."""
        return 1 - math.exp(-self.k * self.k / n)

    def self_score(self, n: int) -> float | None:
        """Depends on how many neighbours are mutual."""
        del n

    def agreement(self, a: Array, b: Array, like: Array, /) -> Array:
        """Whether each sample is in lists `a` (m, k · k) of its neighbours; `b` (m, 1) are the samples."""
        xp = namespace(like)
        return xp.astype(xp.any(a == b, axis=1), like.dtype)

    def compare(self, a: ListState, b: ListState, /) -> Array:
        """Share of samples that are found again."""
        xp = namespace(a.lists)
        n = a.lists.shape[0]
        own = arange(n, like=a.lists)[:, None]
        total = xp.zeros_like(a.like)
        for start, stop in list_blocks(n, self.k):
            second = xp.take(a.lists, xp.reshape(b.lists[start:stop, :], (-1,)), axis=0)  # (m · k, k)
            second = xp.reshape(second, (stop - start, self.k * self.k))
            total = total + xp.sum(self.agreement(second, own[start:stop, :], a.like))
        return total / n

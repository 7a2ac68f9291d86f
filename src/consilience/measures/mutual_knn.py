"""Overlap of nearest-neighbour lists."""

from __future__ import annotations

from dataclasses import dataclass

from consilience._array import Array
from consilience.measures._neighbour_lists import ListState, NeighbourLists, shared
from consilience.registry import per_instance, register

__all__ = ["MutualKNN"]


@register
@dataclass(frozen=True)
class MutualKNN(NeighbourLists):
    """Overlap of nearest neighbours.

    With N_x(i) the k nearest of the other samples to sample i in x (n, p), and N_y(i) in y (n, q)::

        mutual_knn = 1/n Σᵢ |N_x(i) ∩ N_y(i)| / k

    In [0, 1]; c = k/(n−1) on average for unrelated representations, so values at different n or k are not comparable
    unless adjusted, which gives (mutual_knn − c) / (1 − c): 1 for equal lists, 0 on average by chance.

    Parameters
    ----------
    k : int
        Number of neighbours, at most n − 2.
    metric : {"cosine", "euclidean", "inner"}
        How nearness is measured: the largest cosine or inner product between rows as given (not centred), or the
        smallest Euclidean distance. A row of zeros has cosine 0 with every other row.
    adjusted : bool
        Whether to subtract what chance gives; negative values are kept.

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
    >>> print(f"{MutualKNN()(x, y):.2f} {MutualKNN()(x, y[::-1]):.2f} {MutualKNN(adjusted=True)(x, x):.2f}")
    0.84 0.05 1.00
    """

    title = "Mutual nearest neighbours"
    reference = "huh2024"
    use = "When local structure counts and global geometry may differ, as between models of different modalities."
    avoid = (
        "When scores at different n are to be compared: chance is k/(n − 1), and the neighbourhood shrinks as n grows."
    )
    aliases = {"neighbourhood_overlap": {"metric": "euclidean"}}
    bounds = per_instance(lambda self: (-float(self.k), 1.0) if self.adjusted else (0.0, 1.0))

    adjusted: bool = False

    def agreement(self, a: Array, b: Array, like: Array, /) -> Array:
        """Share of common entries."""
        return shared(a, b, like) / self.k

    def rescaled(self, agreement: Array, n: int, /) -> Array:
        """Overlap, less what chance gives if adjusted."""
        if not self.adjusted:
            return agreement
        chance = self.k / (n - 1)
        return (agreement - chance) / (1 - chance)

    def overlap_by_chance(self, n: int) -> float:
        """Zero if it is subtracted."""
        return 0.0 if self.adjusted else super().overlap_by_chance(n)

    def chance(self, a: ListState, b: ListState, /) -> float:
        """k / (n − 1), or zero if adjusted for it."""
        del b
        return 0.0 if self.adjusted else self.k / (a.lists.shape[0] - 1)

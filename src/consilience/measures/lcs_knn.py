"""Nearest-neighbour lists compared as sequences: longest common subsequence and edit distance."""

from __future__ import annotations

from dataclasses import dataclass

from consilience._array import Array, arange, namespace
from consilience.measures._neighbour_lists import NeighbourLists, places
from consilience.registry import register

__all__ = ["EditDistanceKNN", "LcsKNN"]


@register
@dataclass(frozen=True)
class LcsKNN(NeighbourLists):
    """Longest common subsequence of nearest neighbours.

    With L_x(i) the sequence of the k nearest of the other samples to sample i in x (n, p), nearest first, L_y(i) in
    y (n, q), and LCS the length of the longest sequence that both contain in order, not necessarily in a row::

        lcs_knn = 1/n Σᵢ LCS(L_x(i), L_y(i)) / k

    Without unit, in [0, 1]; never above the overlap of `mutual_knn`, which ignores order.

    Parameters
    ----------
    k : int
        Number of neighbours, at most n − 2.
    metric : {"cosine", "euclidean", "inner"}
        How nearness is measured; see `mutual_knn`.

    Notes
    -----
    The published implementation of Huh et al. does not divide by k: k times this value is theirs. Samples that tie
    (to rounding) are taken in order of index. O(n²(p + q) + n k²) time in blocks of rows.

    References
    ----------
    Huh, Cheung, Wang, Isola, "The platonic representation hypothesis", ICML 2024.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(0).standard_normal((200, 5))
    >>> y = x + 0.1 * np.random.default_rng(1).standard_normal((200, 5))
    >>> print(f"{LcsKNN()(x, y):.2f} {LcsKNN()(x, y[::-1]):.2f}")
    0.55 0.04
    """

    title = "Longest common subsequence of nearest neighbours"
    reference = "huh2024"
    cost = "O(n² (p + q) + n k²), in blocks of rows"
    use = "When the order of the nearest neighbours counts and a few that are missing do not."
    avoid = "When distances of neighbours are close to each other, so that noise reorders them."

    def agreement(self, a: Array, b: Array, like: Array, /) -> Array:
        """Length of the longest common subsequence over k.

        Entries of a list differ, so each of `a` has at most one place in `b`: row t + 1 of the table of lengths is
        row t, raised from that place on to one more than it is just before.
        """
        xp = namespace(like)
        place, there = places(a, b)  # (m, k), from 1
        length = xp.zeros_like(xp.concat([place[:, :1], place], axis=1))  # (m, k + 1): with the first 0 … k of b
        column = arange(self.k + 1, like=a)[None, :]
        for t in range(self.k):
            at, found = place[:, t : t + 1], there[:, t : t + 1]
            before = xp.where(found, at, xp.ones_like(at)) - 1
            longer = xp.take_along_axis(length, before, axis=1) + 1
            length = xp.where(found & (column >= at) & (length < longer), longer, length)
        return xp.astype(length[:, -1], like.dtype) / self.k


@register
@dataclass(frozen=True)
class EditDistanceKNN(NeighbourLists):
    """Edit distance of nearest neighbours, as a similarity.

    With L_x(i) the sequence of the k nearest of the other samples to sample i in x (n, p), nearest first, L_y(i) in
    y (n, q), and ED the fewest insertions, deletions and substitutions that turn one into the other (Levenshtein)::

        edit_distance_knn = 1 − 1/n Σᵢ ED(L_x(i), L_y(i)) / k

    Without unit, in [0, 1]; 1 for equal lists in equal order, near 0 for unrelated representations. A similarity in
    spite of its name, which is the one in use.

    Parameters
    ----------
    k : int
        Number of neighbours, at most n − 2.
    metric : {"cosine", "euclidean", "inner"}
        How nearness is measured; see `mutual_knn`.

    Notes
    -----
    Samples that tie (to rounding) are taken in order of index. O(n²(p + q) + n k² log k) time in blocks of rows.

    References
    ----------
    Levenshtein, "Binary codes capable of correcting deletions, insertions, and reversals", Soviet Physics Doklady 10,
    1966; Huh, Cheung, Wang, Isola, "The platonic representation hypothesis", ICML 2024.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(0).standard_normal((200, 5))
    >>> y = x + 0.1 * np.random.default_rng(1).standard_normal((200, 5))
    >>> print(f"{EditDistanceKNN()(x, y):.2f} {EditDistanceKNN()(x, y[::-1]):.2f}")
    0.35 0.00
    """

    title = "Edit distance of nearest neighbours"
    reference = "huh2024"
    cost = "O(n² (p + q) + n k² log k), in blocks of rows"
    use = "To compare with published values, when rank by rank agreement of neighbour lists counts."
    avoid = "For large k or weak similarity, where nearly all edits are substitutions and the score is near zero."

    def agreement(self, a: Array, b: Array, like: Array, /) -> Array:
        """One less the edit distance over k, by the table of distances between beginnings, row by row.

        Insertions run along a row: row[j] = minⱼ' ≤ ⱼ (start[j'] + j − j') is a running minimum of start − j.
        """
        xp = namespace(like)
        differ = xp.astype(a[:, :, None] != b[:, None, :], a.dtype)  # (m, k, k)
        column = arange(self.k + 1, like=a)[None, :]
        row = xp.broadcast_to(column, (a.shape[0], self.k + 1))
        for t in range(self.k):
            start = xp.where(
                row[:, 1:] + 1 < row[:, :-1] + differ[:, t, :], row[:, 1:] + 1, row[:, :-1] + differ[:, t, :]
            )
            row = _running_minimum(xp.concat([row[:, :1] + 1, start], axis=1) - column) + column
        return 1 - xp.astype(row[:, -1], like.dtype) / self.k


def _running_minimum(values: Array) -> Array:
    """Smallest of each row of `values` (m, c) up to each column: minima over windows that double."""
    xp = namespace(values)
    shift = 1
    while shift < values.shape[1]:
        earlier = xp.concat([values[:, :shift], values[:, :-shift]], axis=1)
        values = xp.where(earlier < values, earlier, values)
        shift *= 2
    return values

"""Similarity of nearest-neighbour lists that looks at their union, their order, or both."""

from __future__ import annotations

from dataclasses import dataclass

from consilience._array import Array, arange, namespace
from consilience.measures._neighbour_lists import NeighbourLists, places, shared
from consilience.registry import register

__all__ = ["JointRankJaccard", "KNNJaccard", "RankSimilarity"]


@register
@dataclass(frozen=True)
class KNNJaccard(NeighbourLists):
    """Jaccard similarity of nearest neighbours.

    With N_x(i) the k nearest of the other samples to sample i in x (n, p), and N_y(i) in y (n, q)::

        knn_jaccard = 1/n Σᵢ |N_x(i) ∩ N_y(i)| / |N_x(i) ∪ N_y(i)|

    Without unit, in [0, 1]. It is never above the overlap m of `mutual_knn`: for every sample J = m / (2 − m).

    Parameters
    ----------
    k : int
        Number of neighbours, at most n − 2.
    metric : {"cosine", "euclidean", "inner"}
        How nearness is measured; see `mutual_knn`.

    Notes
    -----
    Ties and copies as in `mutual_knn`. O(n²(p + q)) time in blocks of rows.

    References
    ----------
    Schumacher, Wolf, Ritzert, Lemmerich, Grohe, Strohmaier, "The effects of randomness on the stability of node
    embeddings", 2021.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(0).standard_normal((200, 5))
    >>> y = x + 0.1 * np.random.default_rng(1).standard_normal((200, 5))
    >>> print(f"{KNNJaccard()(x, y):.2f} {KNNJaccard()(x, y[::-1]):.2f}")
    0.74 0.02
    """

    title = "Jaccard similarity of nearest neighbours"
    reference = "schumacher2021"
    use = "To compare with published Jaccard values, mostly of word and graph embeddings."
    avoid = "When chance level matters: `mutual_knn` orders pairs much alike and can be adjusted for it."
    aliases = {"jaccard_similarity": {}}

    def agreement(self, a: Array, b: Array, like: Array, /) -> Array:
        """Common entries over all entries."""
        return _jaccard(a, b, like)


@register
@dataclass(frozen=True)
class RankSimilarity(NeighbourLists):
    """Rank similarity of nearest neighbours.

    With N(i) the samples that are among the k nearest of sample i both in x (n, p) and in y (n, q), and r_x(j), r_y(j)
    their ranks there, counted from 1::

        v(i) = Σ_{j ∈ N(i)} 2 / ((1 + |r_x(j) − r_y(j)|) (r_x(j) + r_y(j)))  /  Σ_{r = 1…|N(i)|} 1/r

        rank_similarity = 1/n Σᵢ v(i)

    with v(i) = 0 where N(i) is empty. Without unit, in [0, 1]; 1 if the common neighbours have the first ranks, in
    the same order. How many are common does not enter otherwise; see `joint_rank_jaccard`.

    Parameters
    ----------
    k : int
        Number of neighbours, at most n − 2.
    metric : {"cosine", "euclidean", "inner"}
        How nearness is measured; see `mutual_knn`.

    Notes
    -----
    Each v(i) is normalised by its largest possible value given |N(i)|, as the survey of Klabunde et al. (2025) does;
    implementations that divide by Σ_{r = 1…k} 1/r instead give lower values. Samples that tie (to rounding) rank in
    order of index. O(n²(p + q)) time in blocks of rows.

    References
    ----------
    Wang, Rao, Guo, Wang, Liu, Guan, "Towards understanding the instability of network embedding", IEEE Trans. Knowl.
    Data Eng. 34, 2022.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(0).standard_normal((200, 5))
    >>> y = x + 0.1 * np.random.default_rng(1).standard_normal((200, 5))
    >>> print(f"{RankSimilarity()(x, y):.2f} {RankSimilarity()(x, y[::-1]):.2f}")
    0.62 0.05
    """

    title = "Rank similarity of nearest neighbours"
    reference = "wang2022"
    use = "When the order of the nearest neighbours counts, the first more than the last."
    avoid = "Alone: two lists with one common neighbour at the head of both score 1."

    def agreement(self, a: Array, b: Array, like: Array, /) -> Array:
        """Rank-weighted sum over common entries, normalised."""
        return _rank_similarity(a, b, like)


@register
@dataclass(frozen=True)
class JointRankJaccard(NeighbourLists):
    """Jaccard similarity times rank similarity of nearest neighbours.

    With J(i) the Jaccard similarity of the k nearest neighbours of sample i in x (n, p) and in y (n, q), and v(i) their
    rank similarity (see `rank_similarity`)::

        joint_rank_jaccard = 1/n Σᵢ J(i) v(i)

    Without unit, in [0, 1]; 1 for equal lists in equal order.

    Parameters
    ----------
    k : int
        Number of neighbours, at most n − 2.
    metric : {"cosine", "euclidean", "inner"}
        How nearness is measured; see `mutual_knn`.

    Notes
    -----
    The product is taken sample by sample, before the mean. O(n²(p + q)) time in blocks of rows.

    References
    ----------
    Wang, Rao, Guo, Wang, Liu, Guan, "Towards understanding the instability of network embedding", IEEE Trans. Knowl.
    Data Eng. 34, 2022;
    Klabunde, Schumacher, Strohmaier, Lemmerich, "Similarity of neural network models", ACM Comput. Surv. 57, 2025.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(0).standard_normal((200, 5))
    >>> y = x + 0.1 * np.random.default_rng(1).standard_normal((200, 5))
    >>> print(f"{JointRankJaccard()(x, y):.2f} {JointRankJaccard()(x, y[::-1]):.3f}")
    0.46 0.003
    """

    title = "Joint rank and Jaccard similarity of nearest neighbours"
    reference = "wang2022"
    use = "When both which samples are neighbours and in which order count, in one number."
    avoid = "When a plain reading is wanted: `mutual_knn` is the share of common neighbours."

    def agreement(self, a: Array, b: Array, like: Array, /) -> Array:
        """Product of both."""
        return _jaccard(a, b, like) * _rank_similarity(a, b, like)


def _jaccard(a: Array, b: Array, like: Array) -> Array:
    common = shared(a, b, like)
    return common / (2 * a.shape[1] - common)


def _rank_similarity(a: Array, b: Array, like: Array) -> Array:
    xp = namespace(like)
    place, there = places(a, b)  # (m, k)
    rank_b = xp.astype(place, like.dtype)
    rank_a = xp.astype(arange(a.shape[1], like=a) + 1, like.dtype)  # (k,)
    terms = 2 / ((1 + xp.abs(rank_a - rank_b)) * (rank_a + rank_b))
    total = xp.sum(xp.where(there, terms, xp.zeros_like(terms)), axis=1)
    # the common entries counted off, 1 / r for the r-th: their sum is the largest possible total
    counted = xp.astype(xp.cumulative_sum(xp.astype(there, place.dtype), axis=1), like.dtype)
    largest = xp.sum(xp.where(there, 1 / xp.where(there, counted, xp.ones_like(counted)), xp.zeros_like(terms)), axis=1)
    return total / xp.where(largest > 0, largest, xp.ones_like(largest))

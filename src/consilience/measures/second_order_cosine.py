"""Cosine similarity of how near each sample is to the neighbours it has in either representation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from consilience._array import Array, arange, namespace
from consilience.errors import ConsilienceError
from consilience.measures._nearness import direct_keys, neighbours, points
from consilience.measures._neighbour_lists import ListState, NeighbourLists, list_blocks, spread
from consilience.registry import per_instance, register

__all__ = ["Profile", "SecondOrderCosine"]

Profile: TypeAlias = Literal["similarity", "distance"]


@register
@dataclass(frozen=True)
class SecondOrderCosine(NeighbourLists):
    """Second-order cosine similarity.

    With N(i) the samples that are among the k nearest of sample i in x (n, p), in y (n, q), or both, and s_x(i) the
    vector of the similarities of sample i to those of N(i) in x::

        second_order_cosine = 1/n Σᵢ s_x(i)·s_y(i) / (‖s_x(i)‖ ‖s_y(i)‖)

    Without unit, in [−1, 1]; in [0, 1] for profiles of distances. High for unrelated representations too if all
    similarities are much alike, as the cosines of representations that are not centred and all distances are.

    Parameters
    ----------
    k : int
        Number of neighbours in each representation, at most n − 2.
    metric : {"cosine", "euclidean", "inner"}
        How nearness is measured; see `mutual_knn`.
    profile : {"similarity", "distance"}
        What s holds: cosines or inner products; or distances, 1 − cosine or Euclidean. There is no Euclidean similarity
        and no inner-product distance.

    Notes
    -----
    Hamilton et al. and the survey of Klabunde et al. (2025) use similarities, the default. A widely used benchmark puts
    cosine distances in their place: ``profile="distance"`` gives its values. Two profiles that are zero throughout
    (distances to copies) count as equal, one alone as unlike. Values are computed sample by sample from the features,
    not from the products that find the neighbours, so that small distances keep their digits.
    O(n²(p + q) + n k (p + q)) time in blocks of rows.

    References
    ----------
    Hamilton, Leskovec, Jurafsky, "Cultural shift or linguistic drift? Comparing two computational measures of semantic
    change", EMNLP 2016.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(0).standard_normal((200, 5))
    >>> y = x + 0.1 * np.random.default_rng(1).standard_normal((200, 5))
    >>> print(f"{SecondOrderCosine()(x, y):.3f} {SecondOrderCosine()(x, y[::-1]):.3f}")
    0.998 -0.035
    """

    title = "Second-order cosine similarity"
    reference = "hamilton2016"
    cost = "O(n² (p + q)), in blocks of rows"
    use = "To follow how the surroundings of single samples change, as of words between corpora."
    avoid = (
        "As a test of relatedness: unrelated representations that are not centred score near one; prefer `mutual_knn`."
    )
    bounds = per_instance(lambda self: (-1.0, 1.0) if self.profile == "similarity" else (0.0, 1.0))

    profile: Profile = "similarity"

    def __post_init__(self) -> None:
        super().__post_init__()
        missing = {"euclidean": "similarity", "inner": "distance"}.get(self.metric)
        if self.profile == missing:
            other = "distance" if missing == "similarity" else "similarity"
            raise ConsilienceError(
                f"second_order_cosine has no {missing} for metric {self.metric!r}: use profile {other!r}, or "
                "metric 'cosine', which has both."
            )

    def overlap_by_chance(self, n: int) -> float:
        """Zero: how long lists are does not set how alike profiles over them are."""
        del n
        return 0.0

    def prepare(self, x: Array, /) -> ListState:
        """Find the neighbours."""
        near = points(x, self.metric)
        return ListState(neighbours(near, self.k), x[0, 0], spread(near), near)

    def agreement(self, a: Array, b: Array, like: Array, /) -> Array:
        """Cosine of profiles `a` and `b`, both (m, c)."""
        xp = namespace(like)
        sizes = [xp.max(xp.abs(each), axis=1, keepdims=True) for each in (a, b)]
        a, b = (each / xp.where(size > 0, size, xp.ones_like(size)) for each, size in zip((a, b), sizes, strict=True))
        product = xp.sum(a * a, axis=1) * xp.sum(b * b, axis=1)
        cosine = xp.sum(a * b, axis=1) / xp.sqrt(xp.where(product > 0, product, xp.ones_like(product)))
        both_zero = (sizes[0] == 0) & (sizes[1] == 0)
        return xp.where(both_zero[:, 0], xp.ones_like(cosine), cosine)

    def compare(self, a: ListState, b: ListState, /) -> Array:
        """Mean cosine of the profiles over both lists."""
        xp = namespace(a.lists)
        n = a.lists.shape[0]
        total = xp.zeros_like(a.like)
        for start, stop in list_blocks(n, self.k):
            mine, theirs = a.lists[start:stop, :], b.lists[start:stop, :]
            new = ~xp.any(theirs[:, :, None] == mine[:, None, :], axis=2)  # those of b that a lacks
            columns = xp.concat([mine, theirs], axis=1)
            wanted = xp.concat([xp.ones_like(new), new], axis=1)  # (m, 2k)
            rows = arange(n, like=a.lists)[start:stop]
            profiles = [xp.where(wanted, self._profile(each, rows, columns), xp.zeros_like(a.like)) for each in (a, b)]
            total = total + xp.sum(self.agreement(profiles[0], profiles[1], a.like))
        return total / n

    def _profile(self, state: ListState, rows: Array, columns: Array) -> Array:
        """Similarities or distances of samples `rows` (m,) to `columns` (m, c)."""
        p = state.points
        assert p is not None  # set by prepare
        xp = namespace(p.original)
        if self.profile == "similarity":
            return -direct_keys(p, rows, columns)
        if self.metric == "euclidean":
            return xp.sqrt(direct_keys(p, rows, columns))
        # 1 − u·v = ‖u − v‖²/2 for unit rows keeps the digits of small distances; rows of zeros lack ½ each
        half = direct_keys(p._replace(metric="euclidean"), rows, columns) / 2
        lacks = (1 - xp.sum(p.original * p.original, axis=1)) / 2  # (n,)
        lacks = xp.where(lacks > 0.25, lacks, xp.zeros_like(lacks))
        others = xp.reshape(xp.take(lacks, xp.reshape(columns, (-1,)), axis=0), columns.shape)
        return half + xp.take(lacks, rows, axis=0)[:, None] + others

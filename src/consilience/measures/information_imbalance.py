"""How much of the neighbourhoods of one representation another predicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from consilience._array import Array, check_memory, namespace, row_blocks
from consilience._resampling import Floats, Orders
from consilience.measures._nearness import Metric, Points, key_rows, neighbours, points, ranks, with_keys
from consilience.measures._neighbour_lists import check_k, list_invariances, spread, why_no_neighbours
from consilience.registry import Family, Kind, Measure, per_instance, register

__all__ = ["ImbalanceState", "InformationImbalance", "Summary"]

Summary: TypeAlias = Literal["directed", "mean"]


_KEPT_BYTES = 2**28  # distances of all representations are kept up to here: each is needed twice


class ImbalanceState(NamedTuple):
    """Samples ready for distances."""

    points: Points
    spread: Array  # 0-d: how far the samples are from giving neighbours no meaning


@register
@dataclass(frozen=True)
class InformationImbalance(Measure):
    """Information imbalance Δ(x → y).

    With N_x(i) the k nearest of the other samples to sample i in x (n, p), and rank_y(i, j) the rank of sample j
    among the others by distance from i in y (n, q), counted from 1::

        Δ(x → y) = 2/n · mean over i and j ∈ N_x(i) of rank_y(i, j)

    Without unit, in (0, 2). It is smallest, (k + 1)/n, when the neighbours in x are the neighbours in y, and 1 on
    average when x says nothing about y. Not symmetric: Δ(x → y) < Δ(y → x) says that x predicts y better than y
    predicts x. Swap the arguments for the other direction. Values at different n or k are not comparable; the range
    is the same for all when normalized, (Δ − m) / (1 − m) with m = (k + 1)/n, in [0, 2] and still 1 on average.

    Parameters
    ----------
    k : int
        Number of neighbours, at most n − 2.
    metric : {"euclidean", "cosine", "inner"}
        How nearness is measured, in both representations; see `mutual_knn`.
    normalized : bool
        Whether to let the smallest value be zero.
    summary : {"directed", "mean"}
        Δ(x → y), or the mean of Δ(x → y) and Δ(y → x), which is symmetric.

    Notes
    -----
    Ranks are exact: found by counting or, where many are wanted of one row, in its sorted distances; samples that tie
    (to rounding) rank in order of index. Neighbours are found where pairs are compared, as only the first of a pair
    needs them. O(n²(p + q)) time, in blocks of rows; (n, n) arrays are kept only while all pairs of few samples are
    compared (256 MiB in all).

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
    symmetric = per_instance(lambda self: self.summary == "mean")
    invariances = per_instance(lambda self: list_invariances(self.metric))
    jackknife_weight = 1 / 3

    k: int = 1
    metric: Metric = "euclidean"
    normalized: bool = False
    summary: Summary = "directed"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_k(self, self.k)

    @property
    def min_samples(self) -> int:
        """k + 2: with k + 1 samples every other one is a neighbour, and the value is 1 whatever they are."""
        return self.k + 2

    def self_score(self, n: int) -> float | None:
        """(k + 1)/n: the neighbours have ranks 1 to k; zero when normalized."""
        return 0.0 if self.normalized else (self.k + 1) / n

    def prepare(self, x: Array, /) -> ImbalanceState:
        """Make ready for distances."""
        near = points(x, self.metric)
        return ImbalanceState(near, spread(near))

    def compare(self, a: ImbalanceState, b: ImbalanceState, /) -> Array:
        """Mean rank in `b` of the neighbours in `a`, and the reverse for the mean of both."""
        if self.summary == "mean":
            return self.compare_all((a, b))[0, 1]
        return self._scaled(_mean_ranks([neighbours(a.points, self.k)], b.points), a)[0]

    def compare_all(self, states: Sequence[ImbalanceState], /) -> Array:
        """Distances of each representation once, for the neighbours in all others."""
        xp = namespace(states[0].points.right)
        n = states[0].points.reach.shape[0]
        keep = 8 * n * n * len(states) <= _KEPT_BYTES
        ready = [with_keys(state.points) if keep else state.points for state in states]
        lists = [neighbours(each, self.k) for each in ready]
        columns = [_mean_ranks(lists, target) for target in ready]
        directed = self._scaled(xp.stack(columns, axis=1), states[0])
        return directed if self.summary == "directed" else (directed + directed.T) / 2

    def permuted(self, a: ImbalanceState, b: ImbalanceState, orders: Orders, /) -> Floats:
        """Read the ranks of reordered neighbours from the ranks of all samples."""
        found = self._permuted(a.points, b.points, orders)
        if self.summary == "mean":
            back = np.empty_like(orders)  # reordering b is putting a into the inverse order
            np.put_along_axis(back, orders, np.arange(orders.shape[1])[None, :], axis=1)
            found = (found + self._permuted(b.points, a.points, back)) / 2
        return self._scaled(found, a)

    def chance(self, a: ImbalanceState, b: ImbalanceState, /) -> float:
        """One: all ranks are as likely."""
        del a, b
        return 1.0

    def without_each(self, x: Floats, y: Floats, /) -> Floats:
        """Neighbours go on to the next, and ranks lose the sample left out, where it was nearer."""
        a, b = (points(each, self.metric) for each in (x, y))
        found = self._without_each(a, b)
        if self.summary == "mean":
            found = (found + self._without_each(b, a)) / 2
        n = x.shape[0] - 1
        smallest = (self.k + 1) / n
        imbalance = found * 2 / n
        return (imbalance - smallest) / (1 - smallest) if self.normalized else imbalance

    def of_each_sample(self, x: Floats, y: Floats, /) -> Floats:
        """Mean rank of the neighbours of each sample, in the units of the score."""
        a, b = (points(each, self.metric) for each in (x, y))
        found = self._ranks(a, b)
        if self.summary == "mean":
            found = (found + self._ranks(b, a)) / 2
        return self._scaled(found, self.prepare(x))

    def _ranks(self, near: Points, target: Points) -> Floats:
        lists = neighbours(near, self.k)
        blocks = [ranks(target, key_rows(target, s, e), s, lists[s:e]) for s, e in row_blocks(target.right)]
        return np.concatenate(blocks).mean(axis=1)

    def _permuted(self, near: Points, target: Points, orders: Orders) -> Floats:
        """Mean ranks of neighbours in `near` among reordered samples of `target`, (P,)."""
        lists, table = neighbours(near, self.k), _rank_table(target)
        return np.asarray([table[order[:, None], order[lists]].mean() for order in orders])

    def _without_each(self, near: Points, target: Points) -> Floats:
        """Mean ranks with each sample left out, (n,)."""
        lists, table = neighbours(near, self.k + 1), _rank_table(target)  # (n, k + 1), (n, n)
        n, k = table.shape[0], self.k
        found = np.take_along_axis(table, lists, axis=1)  # (n, k + 1)
        next_one = found[:, k]
        own = found[:, :k].sum(axis=1)
        total = np.full(n, float(own.sum())) - own
        for j in range(k):
            # what is nearer than the j-th neighbour takes one from its rank; a sample is not among its own
            nearer = table < found[:, j, None]
            np.fill_diagonal(nearer, False)
            total -= nearer.sum(axis=0)
            gone = lists[:, j]
            # the j-th neighbour leaves, with all that was taken from it, and the next one comes
            total += np.bincount(gone, next_one - found[:, j] - (found[:, j] < next_one), minlength=n)
        return total / ((n - 1) * k)

    def degenerate(self, state: ImbalanceState, /) -> str | None:
        """All samples coincide, or lie on one line through the origin and cosines are all ±1."""
        return why_no_neighbours(state.spread, self.metric)

    def _scaled(self, mean_ranks: Array, state: ImbalanceState) -> Array:
        n = state.points.reach.shape[0]
        smallest = (self.k + 1) / n
        imbalance = mean_ranks * 2 / n
        return (imbalance - smallest) / (1 - smallest) if self.normalized else imbalance


def _rank_table(p: Points) -> Orders:
    """Ranks, from 1, of all samples (columns) by nearness to each (rows), (n, n); of the sample itself the last."""
    n = p.right.shape[0]
    check_memory(8 * 2 * n * n, f"the ranks of {n} samples about each other")
    everyone = np.tile(np.arange(n), (n, 1))
    np.fill_diagonal(everyone, (np.arange(n) + 1) % n)  # any other: a sample has no rank about itself
    blocks = [ranks(p, key_rows(p, start, stop), start, everyone[start:stop]) for start, stop in row_blocks(p.right)]
    table = np.concatenate(blocks)
    np.fill_diagonal(table, n)
    return table


def _mean_ranks(lists: Sequence[Array], target: Points) -> Array:
    """Mean rank in `target` of the entries of each of `lists`, (n, k) all, (len(lists),)."""
    xp = namespace(target.right)
    n, k = lists[0].shape
    wanted = xp.concat(list(lists), axis=1)  # (n, lists · k)
    totals = xp.zeros_like(target.reach[:1])
    for start, stop in row_blocks(target.right):
        found = ranks(target, key_rows(target, start, stop), start, wanted[start:stop, :])
        totals = totals + xp.sum(xp.astype(found, target.right.dtype), axis=0)  # (lists · k,)
    return xp.sum(xp.reshape(totals, (len(lists), k)), axis=1) / (n * k)

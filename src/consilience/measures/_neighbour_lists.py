"""What all measures of neighbour lists share: finding the lists, and when they mean nothing."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from consilience._array import Array, arange, centred, epsilon, namespace, stop_gradient, true_per_row
from consilience._resampling import Floats, Orders
from consilience.errors import ConsilienceError
from consilience.measures._nearness import Metric, Points, neighbours, points
from consilience.registry import Family, Invariance, Kind, Measure, per_instance

__all__ = [
    "ListState",
    "NeighbourLists",
    "check_k",
    "list_blocks",
    "list_invariances",
    "places",
    "shared",
    "spread",
    "why_no_neighbours",
]

_PAIRS = 2**20  # pairs of list entries compared at once


class ListState(NamedTuple):
    """Neighbour lists of one representation."""

    lists: Array  # (n, k) integers, nearest first
    like: Array  # 0-d, carries the floating-point type
    spread: Array  # 0-d: how far the samples are from giving neighbours no meaning
    points: Points | None = None  # where distances to the neighbours in another representation are needed


@dataclass(frozen=True)
class NeighbourLists(Measure):
    """A mean over samples of how far two lists of k nearest neighbours agree.

    A subclass defines `agreement` of lists, and its own facts where they differ.
    """

    family = Family.NEIGHBOURS
    cost = "O(n² (p + q)), in blocks of rows"
    kind = Kind.SIMILARITY
    bounds = (0.0, 1.0)
    symmetric = True
    invariances = per_instance(lambda self: list_invariances(self.metric))

    k: int = 10
    metric: Metric = "cosine"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_k(self, self.k)

    @property
    def min_samples(self) -> int:
        """k + 2: with k + 1 samples all others are neighbours, whatever they are."""
        return self.k + 2

    @abstractmethod
    def agreement(self, a: Array, b: Array, like: Array, /) -> Array:
        """Return how far lists `a` and `b`, both (m, k), agree: (m,), of the type of `like`."""

    def prepare(self, x: Array, /) -> ListState:
        """Find the neighbours."""
        near = points(x, self.metric)
        return ListState(neighbours(near, self.k), x[0, 0], spread(near))

    def compare(self, a: ListState, b: ListState, /) -> Array:
        """Mean agreement."""
        xp = namespace(a.lists)
        n = a.lists.shape[0]
        blocks = list_blocks(n, self.k)
        total = sum(xp.sum(self.agreement(a.lists[s:e, :], b.lists[s:e, :], a.like)) for s, e in blocks)
        return self.rescaled(total / n, n)

    def rescaled(self, agreement: Array, n: int, /) -> Array:
        """Return the score for a mean `agreement` of the lists of `n` samples: as it is, unless overridden."""
        del n
        return agreement

    def reordered(self, state: ListState, order: Orders, /) -> ListState | None:
        """Reorder the lists and rename their entries."""
        if state.points is not None:
            return None
        place = np.empty_like(order)
        place[order] = np.arange(order.size)
        return state._replace(lists=place[state.lists[order]])

    def without_each(self, x: Floats, y: Floats, /) -> Floats | None:
        """Lists that hold the sample left out go on to the next neighbour; all others stay."""
        if type(self).compare is not NeighbourLists.compare:  # more than a mean agreement of lists
            return None
        a, b = (neighbours(points(each, self.metric), self.k + 1) for each in (x, y))  # (n, k + 1)
        n, k = x.shape[0], self.k
        like = x[0, 0]
        own = np.concatenate([self.agreement(a[s:e, :k], b[s:e, :k], like) for s, e in list_blocks(n, k)])
        pairs = [np.stack([np.repeat(np.arange(n), k), each[:, :k].ravel()], axis=1) for each in (a, b)]
        rows, gone = np.unique(np.concatenate(pairs), axis=0).T  # lists of sample `rows` hold sample `gone`
        total = own.sum() - own
        for s, e in list_blocks(rows.size, k):
            some, out = rows[s:e], gone[s:e]
            change = self.agreement(_without(a[some], out), _without(b[some], out), like) - own[some]
            total += np.bincount(out, change, minlength=n)
        return self.rescaled(total / (n - 1), n - 1)

    def of_each_sample(self, x: Floats, y: Floats, /) -> Floats | None:
        """Agreement of the lists of each sample."""
        if type(self).compare is not NeighbourLists.compare:
            return None
        a, b = (neighbours(points(each, self.metric), self.k) for each in (x, y))
        blocks = list_blocks(x.shape[0], self.k)
        found = [self.agreement(a[s:e], b[s:e], x[0, 0]) for s, e in blocks]
        return self.rescaled(np.concatenate(found), x.shape[0])

    def degenerate(self, state: ListState, /) -> str | None:
        """All samples coincide, or lie on one line through the origin and cosines are all ±1."""
        return why_no_neighbours(state.spread, self.metric)

    def overlap_by_chance(self, n: int) -> float:
        """How far lists of unrelated representations of `n` samples agree if order does not count."""
        return self.k / (n - 1)

    def caveat(self, a: ListState, b: ListState, /) -> str | None:
        """Lists are so long that those of any two representations agree."""
        del b
        n = a.lists.shape[0]
        overlap = self.overlap_by_chance(n)
        if overlap <= 0.5:
            return None
        return f"with k = {self.k} of {n - 1} others, neighbours of unrelated representations overlap by {overlap:.2f}"


def _without(lists: Orders, out: Orders) -> Orders:
    """First k entries of `lists` (m, k + 1) other than `out` (m,), in order: (m, k)."""
    width = lists.shape[1]
    there = lists == out[:, None]
    place = np.where(there.any(axis=1), there.argmax(axis=1), width - 1)
    columns = np.arange(width - 1)
    return np.take_along_axis(lists, columns + (columns >= place[:, None]), axis=1)


def check_k(measure: Measure, k: int) -> None:
    """Refuse lists without entries."""
    if k < 1:
        raise ConsilienceError(f"k of {measure.name} is {k}; there must be at least one neighbour.")


def list_invariances(metric: Metric) -> frozenset[Invariance]:
    """What neighbours by `metric` are invariant to."""
    always = frozenset({Invariance.ORTHOGONAL, Invariance.ISOTROPIC_SCALING})
    return always | {Invariance.TRANSLATION} if metric == "euclidean" else always


def list_blocks(n: int, k: int) -> list[tuple[int, int]]:
    """Row ranges in which k × k pairs of list entries can be compared at once."""
    step = max(1, _PAIRS // (k * k))
    return [(start, min(start + step, n)) for start in range(0, n, step)]


def spread(p: Points) -> Array:
    """Zero if the samples coincide or, for cosines, are multiples of one vector: the largest squared sine with it."""
    xp = namespace(p.original)
    if p.metric == "euclidean":
        return xp.max(xp.abs(p.right[:, :-1]))
    if p.metric == "inner":
        return xp.max(xp.abs(centred(p.original)))
    x = stop_gradient(p.right)
    first = xp.argmax(xp.sum(x * x, axis=1))  # a row that is not zero, if there is one
    axis = xp.take(x, xp.reshape(first, (1,)), axis=0)  # (1, d)
    across = x - xp.sum(x * axis, axis=1, keepdims=True) * axis
    return xp.max(xp.sum(across * across, axis=1))


def why_no_neighbours(found: Array, metric: Metric) -> str | None:
    """Why samples of `spread` `found` have no neighbours that mean anything, or None."""
    if metric != "cosine":
        return None if bool(found > 0) else "every feature is constant"
    if bool(found > 1e4 * epsilon(found)):
        return None
    return "all rows are multiples of one vector, so that their cosines are all 1 or -1"


def places(a: Array, b: Array) -> tuple[Array, Array]:
    """Places, from 1, in lists `b` of the entries of lists `a`, and whether they are there: both (m, k)."""
    xp = namespace(a)
    same = a[:, :, None] == b[:, None, :]  # (m, k, k)
    place = arange(b.shape[1], like=b) + 1
    return xp.sum(xp.where(same, place, xp.zeros_like(place)), axis=2), xp.any(same, axis=2)


def shared(a: Array, b: Array, like: Array) -> Array:
    """Count the common entries of lists `a` and `b`, both (m, k): (m,), of the type of `like`."""
    xp = namespace(a)
    same = a[:, :, None] == b[:, None, :]
    return xp.astype(true_per_row(xp.reshape(same, (a.shape[0], -1))), like.dtype)

"""Geometry score: how many holes two clouds of samples have, and for how long."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.spatial.distance import cdist

from consilience._array import Array, centred, namespace, on_host
from consilience.errors import ConsilienceError, require
from consilience.registry import Family, Invariance, Kind, Measure, register

__all__ = ["GeometryScore", "LifetimeState"]

Floats: TypeAlias = npt.NDArray[np.float64]

_MOST_HOLES = 100  # counts from here on are left out


class LifetimeState(NamedTuple):
    """Mean relative living times of numbers of holes."""

    times: Array  # (100,)
    varies: Array  # 0-d boolean


@register
@dataclass(frozen=True)
class GeometryScore(Measure):
    """Geometry score.

    For x (n, p) and y (n, q), with R_x(i) the mean relative living time of i holes (a share of scales) in x::

        geometry_score = Σᵢ (R_x(i) − R_y(i))²,   i = 0, …, 99

    In [0, 2], without unit. With landmarks L drawn from the samples and all samples w as witnesses, a group of
    landmarks belongs to the complex at scale α if, for some w, none of the group is further from w than α plus the
    distance to any landmark outside of it, and the same holds for all parts of the group. R_x(i) is the share of
    0 ≤ α ≤ α_max for which that complex has i independent loops (first Betti number), α_max being γ times the
    largest distance from a landmark to a sample, averaged over draws of landmarks. The samples need not correspond.

    Parameters
    ----------
    landmarks : int
        Number of landmarks, all different; half of the samples if that is fewer.
    repetitions : int
        Number of draws of landmarks; more where small differences count.
    gamma : float
        γ, in (0, 1]. Larger values see larger holes and take much longer.
    seed : int
        Of the draws; the same for all representations.

    Notes
    -----
    Computed from weak witness complexes with triangles, by gudhi, which the extra ``topology`` installs. Landmarks
    and γ are those of the authors' basic example, which takes 100 draws; their code otherwise takes 1000 draws of 64
    landmarks with γ = n / 640000. It overlooks loops in complexes without any triangle, which matters for small γ; they
    are counted here. For n = 1000 a draw takes 0.02 s in two dimensions and 0.1 s in ten, where complexes are largest.

    References
    ----------
    Khrulkov, Oseledets, "Geometry score: a method for comparing generative adversarial networks", ICML 2018.

    Examples
    --------
    >>> import numpy as np
    >>> angle = np.linspace(0, 2 * np.pi, 100)
    >>> circle, line = np.column_stack([np.cos(angle), np.sin(angle)]), angle[:, None]
    >>> print(f"{GeometryScore()(circle, line):.1f}")
    2.0
    """

    title = "Geometry score"
    reference = "khrulkov2018"
    family = Family.TOPOLOGY
    cost = "O(repetitions · n · (p + q) · landmarks), and complexes that grow quickly with gamma"
    use = "To ask whether two clouds have the same number of holes, even if samples do not correspond."
    avoid = "In high dimension with few samples, where no hole is resolved, and when it matters which sample is where."
    kind = Kind.DISTANCE
    bounds = (0.0, 2.0)
    symmetric = True
    invariances = frozenset({Invariance.ORTHOGONAL, Invariance.ISOTROPIC_SCALING, Invariance.TRANSLATION})

    landmarks: int = 32
    repetitions: int = 20
    gamma: float = 0.125
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        for option, least in (("landmarks", 3), ("repetitions", 1), ("seed", 0)):
            if getattr(self, option) < least:
                raise ConsilienceError(
                    f"{option} of geometry_score is {getattr(self, option)}; it must be at least {least}."
                )
        if not 0 < self.gamma <= 1:
            raise ConsilienceError(f"gamma of geometry_score is {self.gamma}; it must be above 0 and at most 1.")

    @property
    def min_samples(self) -> int:
        """Eight: half of them are landmarks, and fewer than four form no loop."""
        return 8

    def prepare(self, x: Array, /) -> LifetimeState:
        """Mean relative living times."""
        moved = centred(x, unit=True)
        times = on_host(self._living_times, moved, shape=(_MOST_HOLES,), like=x[0, 0])
        return LifetimeState(times, namespace(x).any(moved != 0))

    def compare(self, a: LifetimeState, b: LifetimeState, /) -> Array:
        """Squared distance."""
        difference = a.times - b.times
        return namespace(difference).sum(difference * difference)

    def degenerate(self, state: LifetimeState, /) -> str | None:
        """All samples coincide."""
        return None if bool(state.varies) else "every feature is constant"

    def caveat(self, a: LifetimeState, b: LifetimeState, /) -> str | None:
        """Neither cloud has holes, not even the short-lived ones of noise."""
        if min(float(a.times[0]), float(b.times[0])) <= 0.95:
            return None
        return "neither representation shows a loop: all clouds without holes score near zero, however else they differ"

    def _living_times(self, x: Floats) -> Floats:
        n = x.shape[0]
        x = x.astype(np.float64)
        rng = np.random.default_rng(self.seed)
        draws = [rng.choice(n, min(self.landmarks, n // 2), replace=False) for _ in range(self.repetitions)]
        return np.mean([self._of_one_draw(x, draw) for draw in draws], axis=0)

    def _of_one_draw(self, x: Floats, landmarks: npt.NDArray[np.integer]) -> Floats:
        gudhi = require("gudhi", extra="topology", purpose="measure geometry_score")
        distances = cdist(x, x[landmarks])  # (n, landmarks)
        largest = self.gamma * float(distances.max())
        if largest == 0:
            return np.zeros(_MOST_HOLES)
        order = np.argsort(distances, axis=1, kind="stable")
        table = np.stack([order, np.take_along_axis(distances, order, axis=1)], axis=2)
        # gudhi takes squared distances for Euclidean complexes; the score is defined by the distances themselves
        tree = gudhi.WitnessComplex(table).create_simplex_tree(max_alpha_square=largest, limit_dimension=2)
        # gudhi leaves out the highest dimension, which is that of loops if there are no triangles
        tree.compute_persistence(homology_coeff_field=2, persistence_dim_max=tree.dimension() < 2)
        bars = np.asarray(tree.persistence_intervals_in_dimension(1)).reshape(-1, 2)
        return _shares_of_counts(bars, largest)


def _shares_of_counts(bars: Floats, largest: float) -> Floats:
    """Share of the scales from 0 to `largest` in which i of the `bars` (m, 2) are present, (100,)."""
    births, deaths = np.sort(bars[:, 0]), np.sort(np.minimum(bars[:, 1], largest))
    cuts = np.unique(np.concatenate([[0.0, largest], births, deaths]))
    middle = (cuts[1:] + cuts[:-1]) / 2
    present = np.searchsorted(births, middle) - np.searchsorted(deaths, middle)
    shares = np.bincount(present, np.diff(cuts) / largest, minlength=_MOST_HOLES)[:_MOST_HOLES]
    return np.asarray(shares, dtype=np.float64)

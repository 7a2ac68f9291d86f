"""Representation topology divergence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.spatial.distance import pdist, squareform

from consilience._array import Array, centred, check_memory, namespace, on_host
from consilience.errors import ConsilienceError, require
from consilience.registry import Family, Invariance, Kind, Measure, per_instance, register

__all__ = ["RTD", "Direction", "DistanceState"]

Direction: TypeAlias = Literal["symmetric", "forward"]
Floats: TypeAlias = npt.NDArray[np.float64]

_SIMPLEX_BYTES = 100  # of a triangle, with what reducing it takes


class DistanceState(NamedTuple):
    """Distances within each batch of samples, by their 0.9 quantile."""

    distances: Array  # (batches, b, b); zero in a batch in which more than nine of ten vanish
    varies: Array  # 0-d boolean


@register
@dataclass(frozen=True)
class RTD(Measure):
    """Representation topology divergence.

    For x (n, p) and y (n, q), with D_x and D_y the Euclidean distances between samples, each divided by the 0.9
    quantile of its entries, let K(D, α) be the complex of all groups of samples closer than α to each other::

        forward   ∫ rank H₁(K(min(D_x, D_y), α), K(D_x, α)) dα
        symmetric ½ (forward(x, y) + forward(y, x))

    The integral is the total length of the bars of the cross-barcode R-Cross-Barcode₁(x, y): clusters of x that y
    joins, and loops of y that x does not have, counted by the range of scales in which they are seen. In [0, ∞), in
    units of the 0.9 quantile; 0 if all distances have the same ratio. It grows with the size of a batch.

    Parameters
    ----------
    direction : {"symmetric", "forward"}
        The mean of both directions, or what y has and x does not; swap the arguments for the other.
    batch : int
        Up to this many samples all are used, of more random batches of this size.
    repetitions : int
        Number of batches, over which the score is the mean.
    seed : int
        Of the choice of batches; the same for all representations.

    Notes
    -----
    Barannikov et al. define the barcode by a graph of two copies of the samples; here it is computed from the same
    homology in an eighth of the triangles, by joining a cone over K(D_x, α) to K(min, α), up to the scale at which
    one sample is near all others. The quantile is over all entries of the matrix, the zeros of the diagonal included,
    as in their code. Needs gudhi. O(b³) triangles; half a second for each direction of a batch of 200.

    References
    ----------
    Barannikov, Trofimov, Balabin, Burnaev, "Representation topology divergence: a method for comparing neural network
    representations", ICML 2022.

    Examples
    --------
    Two pairs of samples, which y moves onto one another:

    >>> import numpy as np
    >>> x = np.array([[0.0, 0], [0, 1], [5, 0], [5, 1]])
    >>> y = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]])
    >>> print(f"{RTD()(x, 3 * x + 1):.3f} {RTD()(x, y):.3f}")
    0.000 0.784
    """

    title = "Representation topology divergence"
    reference = "barannikov2022"
    family = Family.TOPOLOGY
    cost = "O(b³) triangles for batches of b samples"
    use = "To see whether samples form the same clusters and loops at every scale in both, sample by sample."
    avoid = "When scores at different batch sizes are to be compared, or many pairs of large representations."
    aliases = {"representation_topology_divergence": {}}
    kind = Kind.DISTANCE
    bounds = (0.0, float("inf"))
    symmetric = per_instance(lambda self: self.direction == "symmetric")
    invariances = frozenset({Invariance.ORTHOGONAL, Invariance.ISOTROPIC_SCALING, Invariance.TRANSLATION})

    direction: Direction = "symmetric"
    batch: int = 200
    repetitions: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        for option, least in (("batch", 3), ("repetitions", 1), ("seed", 0)):
            if getattr(self, option) < least:
                raise ConsilienceError(f"{option} of rtd is {getattr(self, option)}; it must be at least {least}.")

    @property
    def min_samples(self) -> int:
        """Three: the one distance between two samples is always the same after scaling."""
        return 3

    def prepare(self, x: Array, /) -> DistanceState:
        """Distances within the batches."""
        n = x.shape[0]
        size = min(self.batch, n)
        check_memory(_SIMPLEX_BYTES * size**3 // 6, f"the complex of {size} samples that measure {self.label} builds")
        moved = centred(x, unit=True)
        shape = (1 if n <= self.batch else self.repetitions, size, size)
        distances = on_host(self._scaled_distances, moved, shape=shape, like=x[0, 0])
        return DistanceState(distances, namespace(x).any(moved != 0))

    def compare(self, a: DistanceState, b: DistanceState, /) -> Array:
        """Mean over batches of the total length of the bars."""
        if a is b:
            return namespace(a.distances).zeros_like(a.distances[0, 0, 0])
        return on_host(self._mean_divergence, a.distances, b.distances, shape=(), like=a.distances[0, 0, 0])

    def degenerate(self, state: DistanceState, /) -> str | None:
        """No distances, or none to scale them by."""
        if not bool(state.varies):
            return "every feature is constant"
        xp = namespace(state.distances)
        if bool(xp.all(xp.max(state.distances, axis=(1, 2)) > 0)):
            return None
        return "all but a tenth of the pairs of rows coincide, so that distances have no scale"

    def _scaled_distances(self, x: Floats) -> Floats:
        n = x.shape[0]
        rng = np.random.default_rng(self.seed)
        chosen = (
            [np.arange(n)] if n <= self.batch else [rng.permutation(n)[: self.batch] for _ in range(self.repetitions)]
        )
        found: list[Floats] = []
        for rows in chosen:
            distances = squareform(pdist(x[rows]))
            scale = np.quantile(distances, 0.9)
            found.append(distances / scale if scale > 0 else np.zeros_like(distances))
        return np.stack(found)

    def _mean_divergence(self, a: Floats, b: Floats) -> float:
        found: list[float] = []
        for left, right in zip(a.astype(np.float64), b.astype(np.float64), strict=True):
            least = np.minimum(left, right)
            found.append(_length_of_bars(left, least))
            if self.direction == "symmetric":
                found.append(_length_of_bars(right, least))
        return float(np.mean(found))


def _length_of_bars(own: Floats, least: Floats) -> float:
    """∫ rank H₁(K(least, α), K(own, α)) dα for dissimilarities least ≤ own, both (n, n).

    The relative homology is that of K(least) with a cone over K(own): one vertex more, joined to every sample at 0
    and spanning a triangle with each pair at its own distance. From `reach` on, where one sample is joined
    to all others, both complexes are contractible and there is none.
    """
    gudhi = require("gudhi", extra="topology", purpose="measure rtd")
    n = own.shape[0]
    reach = own.max(axis=1).min()
    tree = gudhi.SimplexTree.create_from_array(least, max_filtration=reach)
    tree.expansion(2)
    apex = np.full(n, n)
    tree.insert_batch(apex[None, :1], np.zeros(1))
    tree.insert_batch(np.stack([np.arange(n), apex]), np.zeros(n))
    i, j = np.nonzero(np.triu(own <= reach, 1))
    tree.insert_batch(np.stack([i, j, np.full(len(i), n)]), own[i, j])
    tree.compute_persistence(homology_coeff_field=2)
    bars = np.asarray(tree.persistence_intervals_in_dimension(1)).reshape(-1, 2)
    return float(np.sum(np.minimum(bars[:, 1], reach) - bars[:, 0]))

"""Distance on the manifold of positive definite matrices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from consilience._array import Array, arange, centred, check_memory, epsilon, matmul, namespace, unit_scaled
from consilience.errors import ConsilienceError
from consilience.registry import Family, Invariance, Kind, Measure, per_instance, register

__all__ = ["Riemannian", "RiemannianState"]


_LEAST_SHRINKAGE = 1e-10  # what is below is lost in the rounding of the eigenvalues


class RiemannianState(NamedTuple):
    """A representation whose Gram matrix has the size that counts, and its mean eigenvalue."""

    x: Array  # (n, min(n, d))
    mean: Array  # 0-d, of the eigenvalues of x xᵀ
    smallest: Array  # 0-d, of the eigenvalues, relative to the largest; one unless they are needed


@register
@dataclass(frozen=True)
class Riemannian(Measure):
    """Affine-invariant Riemannian distance of similarity matrices.

    With S = X Xᵀ (n, n) from x (n, p), columns centred, and S' from y (n, q), both shrunk::

        riemannian = ‖log λ‖,   λ the eigenvalues of Ŝ⁻¹ Ŝ',   Ŝ = (1 − s) S + s μ I,   μ the mean eigenvalue of S

    In [0, ∞), without unit: a factor e between the similarities, in one direction of the space of samples, counts one.
    A metric. It is the length of the shortest path of positive definite matrices, and does not change if the samples
    of both are mixed by one invertible matrix (with s = 0).

    Parameters
    ----------
    shrinkage : float
        s, in [0, 1), if not 0 at least 1e-10. Fewer features than samples leave eigenvalues at zero, from which all is
        infinitely far: s > 0 puts them at s μ. The score depends on it.
    center : bool
        Whether columns are centred. Then matrices are compared in the n − 1 dimensions that centring leaves.
    normalize : bool
        Whether S is divided by μ, so that scale does not count.

    Notes
    -----
    Outside of what x and y span together the matrices are multiples of each other, so eigenvalues are computed in p +
    q dimensions where these are fewer than n: O(n(p + q)²), else O(n³).
    The "negative Riemannian distance" of rsatoolbox subtracts, instead of shrinking by a rule, a minimum over the scale
    of S and the size of a ridge on S (not on S', which must be regular: q ≥ n − 1); it is not symmetric.

    References
    ----------
    Shahbazi, Shirali, Aghajan, Nili, "Using distance on the Riemannian manifold to compare representations in brain
    and in models", NeuroImage 239, 2021. Pennec, Fillard, Ayache, "A Riemannian framework for tensor computing", Int.
    J. Comput. Vis. 66, 2006.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(0).standard_normal((100, 5))
    >>> rotation = np.linalg.qr(np.random.default_rng(1).standard_normal((5, 5)))[0]
    >>> print(f"{Riemannian()(x, 2 * x @ rotation + 1):.6f} {Riemannian()(x, x**3):.2f}")
    0.000000 12.77
    """

    title = "Riemannian distance"
    reference = "shahbazi2021"
    family = Family.DISSIMILARITY
    cost = "O(n (p + q)²), or O(n³) where p + q ≥ n"
    use = "When directions of small variance should count as much as those of large, and a metric is needed."
    avoid = "When features are fewer than samples and no value of shrinkage is better than another: it sets the score."
    aliases = {"affine_invariant": {}, "affine_invariant_riemannian": {}}
    kind = Kind.DISTANCE
    bounds = (0.0, float("inf"))
    symmetric = True
    differentiable = True
    defined_for_constants = per_instance(lambda self: not self.center)
    invariances = per_instance(
        lambda self: frozenset(
            {Invariance.ORTHOGONAL}
            | ({Invariance.TRANSLATION} if self.center else set[Invariance]())
            | ({Invariance.ISOTROPIC_SCALING} if self.normalize else set[Invariance]())
        )
    )

    shrinkage: float = 0.1
    center: bool = True
    normalize: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.shrinkage < 1:
            raise ConsilienceError(f"shrinkage of riemannian is {self.shrinkage}; it must be in [0, 1).")
        if 0 < self.shrinkage < _LEAST_SHRINKAGE:
            raise ConsilienceError(
                f"shrinkage of riemannian is {self.shrinkage}, which is lost in the rounding of eigenvalues: use 0 for "
                f"representations that span all directions, or {_LEAST_SHRINKAGE} and above, say 0.1."
            )

    @property
    def min_samples(self) -> int:
        """Three, or two where scale counts: all pairs of samples are alike but for it."""
        return 3 if self.center and self.normalize else 2

    def prepare(self, x: Array, /) -> RiemannianState:
        """Centre, rotate into at most n dimensions, divide by the root of the mean eigenvalue."""
        xp = namespace(x)
        x = centred(x) if self.center else x
        x = unit_scaled(x) if self.normalize else x
        n, d = x.shape
        x = xp.linalg.qr(x.T).R.T if d > n else x
        size = n - int(self.center)
        mean = xp.sum(x * x) / size
        smallest = xp.ones_like(mean)
        if self.shrinkage == 0:
            s = xp.linalg.svdvals(x)
            smallest = s[size - 1] / _or_one(s[0]) if s.shape[0] >= size else xp.zeros_like(mean)
        if self.normalize:
            x, mean = x / xp.sqrt(_or_one(mean)), xp.where(mean > 0, xp.ones_like(mean), mean)
        return RiemannianState(x, mean, smallest)

    def compare(self, a: RiemannianState, b: RiemannianState, /) -> Array:
        """Norm of the logarithms of the generalised eigenvalues."""
        xp = namespace(a.x)
        left, right, rest = self._matrices(a, b)
        factor = xp.linalg.cholesky(left)
        half = xp.linalg.solve(factor, right)
        whole = xp.linalg.solve(factor, half.T)
        logs = xp.log(xp.linalg.eigvalsh((whole + whole.T) / 2))
        total = xp.sum(logs * logs)
        if rest and not self.normalize:
            total = total + rest * xp.log(b.mean / a.mean) ** 2
        positive = total > 0
        return xp.where(positive, xp.sqrt(xp.where(positive, total, xp.ones_like(total))), 0 * total)

    def degenerate(self, state: RiemannianState, /) -> str | None:
        """Nothing varies, or an eigenvalue is zero and not shrunk away from it."""
        if not bool(state.mean > 0):
            return "every feature is constant" if self.center else "every feature is zero"
        if not bool(state.smallest > state.x.shape[0] * epsilon(state.x)):
            return "the similarity matrix is singular: use shrinkage > 0, say 0.1"
        return None

    def _matrices(self, a: RiemannianState, b: RiemannianState) -> tuple[Array, Array, int]:
        """Both matrices in common coordinates, and in how many more dimensions they are μ and μ' times the identity."""
        xp = namespace(a.x)
        n, p = a.x.shape
        width = p + b.x.shape[1]
        if width < n:  # coordinates in the span of both
            basis = xp.linalg.qr(xp.concat([a.x, b.x], axis=1)).R  # (p + q, p + q)
            left, right = (self._shrunk(x, mean) for x, mean in ((basis[:, :p], a.mean), (basis[:, p:], b.mean)))
            return left, right, n - int(self.center) - width
        check_memory(6 * 8 * n * n, f"the similarity matrices of {n} samples")
        left, right = (self._shrunk(state.x, state.mean) for state in (a, b))
        if not self.center:
            return left, right, 0
        # the direction that centring takes away gets the eigenvalue μ, which is counted and taken off again
        fill = (1 - self.shrinkage) / n
        return left + fill * a.mean, right + fill * b.mean, -1

    def _shrunk(self, x: Array, mean: Array) -> Array:
        index = arange(x.shape[0], like=x)
        own = namespace(x).astype(index[:, None] == index[None, :], x.dtype)
        return (1 - self.shrinkage) * matmul(x, x.T) + self.shrinkage * mean * own


def _or_one(value: Array) -> Array:
    xp = namespace(value)
    return xp.where(value > 0, value, xp.ones_like(value))

"""Norm of the difference of two similarity or dissimilarity matrices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from consilience._array import Array, centred, check_memory, epsilon, matmul, namespace
from consilience.measures._distances import squared_differences
from consilience.measures._rdm import Form, direction_form, euclidean_form, finished, rows_of
from consilience.registry import Family, Invariance, Kind, Measure, per_instance, register

__all__ = ["RSMNorm", "RSMState"]

Entries: TypeAlias = Literal["euclidean", "sqeuclidean", "correlation", "cosine", "inner"]
Norm: TypeAlias = Literal["frobenius", "spectral"]


class RSMState(NamedTuple):
    """What the rows of the matrix are made of, and whether any feature varies."""

    form: Form  # with entries "inner", only `left`, the features, counts
    spread: Array  # 0-d, zero if every feature is constant or, for directions, if all rows have the same


@register
@dataclass(frozen=True)
class RSMNorm(Measure):
    """Norm of the difference of representational (dis)similarity matrices.

    With S (n, n) made of the rows of x (n, p), and S' in the same way of those of y (n, q)::

        rsm_norm = ‖S − S'‖

    In [0, ∞), in units of S; zero for representations with the same matrix. A metric on matrices.

    Parameters
    ----------
    rdm : {"euclidean", "sqeuclidean", "correlation", "cosine", "inner"}
        S_ij = ‖xᵢ − xⱼ‖, its square, 1 − the correlation over features or the cosine of rows, or xᵢ·xⱼ (the pairwise
        inner product loss of Yin & Shen). The last three take rows as given.
    norm : {"frobenius", "spectral"}
        The root of the sum of squares of all n² entries, or the largest magnitude of an eigenvalue.
    center : bool
        Whether columns are centred first; distances do not change by it.

    Notes
    -----
    The Frobenius norm is taken in blocks of rows, O(n²(p + q)), from differences of entries, so that nearly equal
    matrices keep their digits; the spectral norm needs (n, n) matrices and O(n³).

    References
    ----------
    Yin & Shen, "On the dimensionality of word embedding", NeurIPS 2018; Klabunde et al., "Similarity of neural
    network models: a survey of functional and representational measures", ACM Comput. Surv. 57(9), 2025.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([[0.0], [3.0]])
    >>> y = np.array([[0.0], [1.0]])
    >>> print(f"{RSMNorm()(x, y):.4f} {RSMNorm(norm='spectral')(x, y):.4f}")
    2.8284 2.0000
    """

    title = "Norm of the difference of similarity matrices"
    reference = "yin2018"
    family = Family.DISSIMILARITY
    cost = "O(n² (p + q)) in blocks of rows; spectral O(n³) time and O(n²) memory"
    use = "When similarities themselves, in their units, should agree, as with embeddings used through inner products."
    avoid = "To compare scores at different n, with which it grows, or representations of different scale."
    aliases = {
        "rsm_norm_difference": {},
        "pip_loss": {"rdm": "inner"},
    }
    kind = Kind.DISTANCE
    bounds = (0.0, float("inf"))
    symmetric = True
    differentiable = per_instance(lambda self: self.norm == "frobenius")
    defined_for_constants = per_instance(lambda self: self.rdm == "inner" and not self.center)
    invariances = per_instance(lambda self: _invariances(self))

    rdm: Entries = "euclidean"
    norm: Norm = "frobenius"
    center: bool = False

    def prepare(self, x: Array, /) -> RSMState:
        """Centre or normalise rows, as the entries need."""
        xp = namespace(x)
        moved = centred(x)
        spread = xp.max(xp.abs(moved))
        if self.rdm in ("euclidean", "sqeuclidean"):
            return RSMState(euclidean_form(moved), spread)
        x = moved if self.center else x
        if self.rdm == "inner":
            return RSMState(euclidean_form(x), spread)
        form = direction_form(x, without_mean=self.rdm == "correlation")
        apart = xp.max(xp.abs(centred(form.left)))
        return RSMState(form, xp.where(apart > 64 * epsilon(x), spread, xp.zeros_like(spread)))

    def compare(self, a: RSMState, b: RSMState, /) -> Array:
        """Norm of one difference."""
        if self.norm == "frobenius":
            # the root of the pair alone: those of the zeros on the diagonal have no gradient
            return namespace(a.form.left).sqrt(squared_differences(self._rows, (a, b), a.form.left)[0, 1])
        n = a.form.half.shape[0]
        check_memory(6 * 8 * n * n, f"the similarity matrices of {n} samples")
        xp = namespace(a.form.half)
        difference = self._rows(a, 0, n) - self._rows(b, 0, n)
        return xp.max(xp.abs(xp.linalg.eigvalsh(difference)))

    def compare_all(self, states: Sequence[RSMState], /) -> Array:
        """Each block of rows is computed once for all pairs."""
        if self.norm == "spectral":
            return super().compare_all(states)
        like = states[0].form.left
        return namespace(like).sqrt(squared_differences(self._rows, states, like))

    def degenerate(self, state: RSMState, /) -> str | None:
        """No feature varies, or all directions are the same; uncentred inner products are a matrix even so."""
        if self.defined_for_constants or bool(state.spread > 0):
            return None
        if self.rdm in ("correlation", "cosine"):
            return "every feature is constant, or rows have one direction, or none, as with a single feature"
        return "every feature is constant"

    def _rows(self, state: RSMState, start: int, stop: int) -> Array:
        form = state.form
        if self.rdm == "inner":
            return matmul(form.left[start:stop, :], form.left.T)
        last = "euclidean" if self.rdm == "euclidean" else "sqeuclidean"
        return finished(last, rows_of(form, start, stop), form)


def _invariances(measure: RSMNorm) -> frozenset[Invariance]:
    distances = measure.rdm in ("euclidean", "sqeuclidean")
    found = {Invariance.PERMUTATION if measure.rdm == "correlation" else Invariance.ORTHOGONAL}
    if measure.rdm in ("correlation", "cosine"):
        found.add(Invariance.ISOTROPIC_SCALING)
    if distances or measure.center:
        found.add(Invariance.TRANSLATION)
    return frozenset(found)

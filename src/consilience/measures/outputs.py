"""Measures of outputs, whose features mean the same in both representations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from consilience._array import Array, centred, matmul, namespace
from consilience._resampling import Floats, Orders
from consilience.errors import ConsilienceError
from consilience.registry import Family, Invariance, Kind, Measure, register

__all__ = ["OutputCorrelation", "OutputState"]

_HELD = 2**26  # bytes of products of all rows with all rows, from which reordered ones are read


class OutputState(NamedTuple):
    """Centred outputs of unit Frobenius norm, and whether any of them varied."""

    x: Array  # (n, d)
    energy: Array  # 0-d: one, or zero if no output varies


@register
@dataclass(frozen=True)
class OutputCorrelation(Measure):
    """Correlation of outputs.

    For outputs x and y, both (n, p) with column j of x meaning the same as column j of y, columns centred::

        r = tr(xᵀy) / √(tr(xᵀx) tr(yᵀy))

    In [−1, 1], without unit; for scalar outputs (p = 1) the Pearson correlation. Because features are compared one
    by one it applies to outputs only, not to hidden layers, whose features have no common order.

    Raises
    ------
    ConsilienceError
        If the widths differ.

    References
    ----------
    Pearson, "Notes on regression and inheritance in the case of two parents", Proc. R. Soc. London 58, 1895; for
    several outputs the same with the Frobenius inner product.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([[1.0], [2.0], [4.0], [8.0]])
    >>> float(OutputCorrelation()(x, -2 * x + 1))
    -1.0
    """

    title = "Output correlation"
    reference = "pearson1895"
    family = Family.FUNCTIONAL
    cost = "O(n p)"
    use = "For the outputs of regression networks, whose features mean the same in both."
    avoid = "For hidden layers, whose features have no common order, and for class scores."
    kind = Kind.SIMILARITY
    bounds = (-1.0, 1.0)
    symmetric = True
    differentiable = True
    outputs_only = True
    invariances = frozenset({Invariance.TRANSLATION, Invariance.ISOTROPIC_SCALING})

    def prepare(self, x: Array, /) -> OutputState:
        """Centre and scale to unit norm."""
        xp = namespace(x)
        x = centred(x, unit=True)
        energy = xp.sum(x * x)
        x = x / xp.sqrt(xp.where(energy > 0, energy, xp.ones_like(energy)))
        return OutputState(x, xp.sum(x * x))

    def compare(self, a: OutputState, b: OutputState, /) -> Array:
        """Inner product of the normalised outputs."""
        _check_widths((a, b))
        return namespace(a.x).sum(a.x * b.x)

    def compare_all(self, states: Sequence[OutputState], /) -> Array:
        """One product of the flattened outputs."""
        _check_widths(states)
        xp = namespace(states[0].x)
        flat = xp.stack([xp.reshape(state.x, (-1,)) for state in states])  # (M, n · p)
        return matmul(flat, flat.T)

    def permuted(self, a: OutputState, b: OutputState, orders: Orders, /) -> Floats:
        """Inner products with reordered outputs, as entries of xyᵀ."""
        _check_widths((a, b))
        rows = np.arange(a.x.shape[0])
        products = a.x @ b.x.T if 8 * rows.size**2 <= _HELD else None
        if products is not None:
            return np.asarray([products[rows, order].sum() for order in orders])
        return np.asarray([np.vdot(a.x, b.x[order]) for order in orders])

    def chance(self, a: OutputState, b: OutputState, /) -> float:
        """Zero."""
        del a, b
        return 0.0

    def without_each(self, x: Floats, y: Floats, /) -> Floats:
        """Products of sums less what one row adds to them, centred again."""
        n = x.shape[0]
        states = [self.prepare(each) for each in (x, y)]
        _check_widths(states)
        a, b = (state.x for state in states)
        cross, left, right = (
            float(np.vdot(u, v)) - n / (n - 1) * np.einsum("ij,ij->i", u, v) for u, v in ((a, b), (a, a), (b, b))
        )
        return cross / np.sqrt(left * right)

    def degenerate(self, state: OutputState, /) -> str | None:
        """No output varies."""
        return None if bool(state.energy > 0) else "every output is constant"


def _check_widths(states: Sequence[OutputState]) -> None:
    widths = [state.x.shape[1] for state in states]
    if len(set(widths)) > 1:
        raise ConsilienceError(
            f"output_correlation compares outputs feature by feature and received widths {sorted(set(widths))}: "
            "pass outputs of the same width, or use a measure such as cka."
        )

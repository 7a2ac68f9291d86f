"""Divergences between predicted distributions over classes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from consilience._array import Array, is_traced, matmul, namespace, to_numpy
from consilience.errors import ConsilienceError
from consilience.measures._predictions import (
    Distributions,
    Inputs,
    check_distributions,
    check_widths,
    distributions,
)
from consilience.registry import Family, Invariance, Kind, Measure, per_instance, register

__all__ = ["JSD", "KL", "Direction", "Hellinger", "HellingerState"]

Direction: TypeAlias = Literal["forward", "reverse", "symmetrised"]

# Below this share of the cross entropy, subtracting the entropy from it has lost digits.
_CANCELLING = 1e-4


class HellingerState(NamedTuple):
    """Square roots of the probabilities."""

    root: Array  # (n, c)


@register
@dataclass(frozen=True)
class JSD(Measure):
    """Jensen–Shannon divergence of predicted distributions.

    For scores x and y, both (n, c), with p_i and q_i the distributions over c classes that they give to sample i, and
    m_i = (p_i + q_i)/2::

        jsd = 1/n Σᵢ ½ KL(p_i ‖ m_i) + ½ KL(q_i ‖ m_i),   KL(p ‖ m) = Σ_k p_k log(p_k / m_k)

    In [0, log 2], [0, 1] with logarithms to base 2 (bits). Not a metric; its square root, sample by sample, is one.

    Parameters
    ----------
    base : float
        Of the logarithm: 2 for bits, e for nats.
    inputs : {"logits", "probabilities"}
        Whether x and y are scores, which are normalised by softmax, or probabilities already.

    Notes
    -----
    Written in r = (p − q)/(p + q), each class adds a term that is not negative, ((1 + r) log(1 + r) +
    (1 − r) log(1 − r)) (p + q)/4, so that distributions that differ by 1e-9 keep a meaningful divergence of 1e-18.
    O(n c) for each pair.

    References
    ----------
    Lin, "Divergence measures based on the Shannon entropy", IEEE Transactions on Information Theory 37, 1991.

    Examples
    --------
    >>> import numpy as np
    >>> p, q = np.array([[1.0, 0.0], [0.5, 0.5]]), np.array([[0.0, 1.0], [0.5, 0.5]])
    >>> float(JSD(inputs="probabilities")(p, q))
    0.5
    """

    title = "Jensen–Shannon divergence"
    reference = "lin1991"
    family = Family.FUNCTIONAL
    cost = "O(n c) for each pair"
    use = "The default for predicted probabilities: symmetric, bounded, and finite where one model rules a class out."
    avoid = "When only decisions count: it also changes with calibration and temperature."
    aliases = {"jensen_shannon": {}}
    kind = Kind.DISTANCE
    symmetric = True
    outputs_only = True
    needs_classes = True
    defined_for_constants = True
    differentiable = per_instance(lambda self: self.inputs == "logits")
    bounds = per_instance(lambda self: (0.0, math.log(2) / math.log(self.base)))
    invariances = frozenset[Invariance]()

    base: float = 2.0
    inputs: Inputs = "logits"

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_base("jsd", self.base)

    def check_input(self, x: Array, name: str, /) -> None:
        """Refuse what is no distribution over classes."""
        check_distributions(f"measure {self.label}", x, name, self.inputs)

    def prepare(self, x: Array, /) -> Distributions:
        """Normalise the rows."""
        return distributions(x, self.inputs)

    def compare(self, a: Distributions, b: Distributions, /) -> Array:
        """Mean over samples of the divergence from the mean distribution."""
        xp = namespace(a.p)
        check_widths(self.name, [a.p, b.p])
        total = a.p + b.p
        r = (a.p - b.p) / xp.where(total > 0, total, xp.ones_like(total))
        terms = total * (_entropy_term(r) + _entropy_term(-r))
        return xp.sum(terms) / (4 * a.p.shape[0] * math.log(self.base))


@register
@dataclass(frozen=True)
class KL(Measure):
    """Kullback–Leibler divergence of predicted distributions.

    For scores x and y, both (n, c), with p_i and q_i the distributions over c classes that they give to sample i::

        forward      1/n Σᵢ KL(p_i ‖ q_i),   KL(p ‖ q) = Σ_k p_k log(p_k / q_k)
        reverse      1/n Σᵢ KL(q_i ‖ p_i)
        symmetrised  ½ (forward + reverse)

    In [0, ∞), by default in nats; infinite if a class that one model rules out has probability in the other.

    Parameters
    ----------
    direction : {"forward", "reverse", "symmetrised"}
        `symmetrised` is half of the divergence of Jeffreys (1946), which is the sum.
    base : float
        Of the logarithm: e for nats, 2 for bits.
    inputs : {"logits", "probabilities"}
        Whether x and y are scores, which are normalised by softmax, or probabilities already.

    Notes
    -----
    With d = log p − log q each class adds p (d + exp(−d) − 1), which is not negative: the terms that this adds to
    p d sum to zero. Probabilities of logits never become zero: they are used as logarithms. All pairs are one
    product of probabilities and logarithms, and those for which that cancels are done one by one. O(n c) for each
    pair.

    References
    ----------
    Kullback, Leibler, "On information and sufficiency", Annals of Mathematical Statistics 22, 1951.

    Examples
    --------
    >>> import numpy as np
    >>> p, q = np.array([[0.5, 0.5]] * 2), np.array([[0.25, 0.75]] * 2)
    >>> print(f"{KL(inputs='probabilities')(p, q):.4f} {KL(inputs='probabilities')(q, p):.4f}")
    0.1438 0.1308
    """

    title = "Kullback–Leibler divergence"
    reference = "kullback1951"
    family = Family.FUNCTIONAL
    cost = "O(n c) for each pair"
    use = "When one model is the reference that another approximates, as in distillation or calibration."
    avoid = "When probabilities come near zero: single samples then dominate the mean, and it has no upper bound."
    aliases = {"symmetrised_kl": {"direction": "symmetrised"}}
    kind = Kind.DISTANCE
    bounds = (0.0, float("inf"))
    outputs_only = True
    needs_classes = True
    defined_for_constants = True
    symmetric = per_instance(lambda self: self.direction == "symmetrised")
    differentiable = per_instance(lambda self: self.inputs == "logits")
    invariances = frozenset[Invariance]()

    direction: Direction = "forward"
    base: float = math.e
    inputs: Inputs = "logits"

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_base("kl", self.base)

    def check_input(self, x: Array, name: str, /) -> None:
        """Refuse what is no distribution over classes."""
        check_distributions(f"measure {self.label}", x, name, self.inputs)

    def prepare(self, x: Array, /) -> Distributions:
        """Normalise the rows."""
        return distributions(x, self.inputs)

    def compare(self, a: Distributions, b: Distributions, /) -> Array:
        """Mean over samples of the divergence in the chosen direction."""
        check_widths(self.name, [a.p, b.p])
        if self.direction == "forward":
            found = _divergence(a, b)
        elif self.direction == "reverse":
            found = _divergence(b, a)
        else:
            found = (_divergence(a, b) + _divergence(b, a)) / 2
        return found / (a.p.shape[0] * math.log(self.base))

    def compare_all(self, states: Sequence[Distributions], /) -> Array:
        """Cross entropies of all pairs, less entropies; near pairs one by one."""
        check_widths(self.name, [state.p for state in states])
        xp = namespace(states[0].p)
        log = xp.stack([xp.reshape(state.log, (-1,)) for state in states])  # (M, n · c)
        if is_traced(log) or not bool(xp.all(xp.isfinite(log))):
            return super().compare_all(states)
        p = xp.stack([xp.reshape(state.p, (-1,)) for state in states])
        minus_cross = matmul(p, log.T)
        found = (xp.linalg.diagonal(minus_cross)[:, None] - minus_cross) / (states[0].p.shape[0] * math.log(self.base))
        if self.direction == "reverse":
            found = found.T
        elif self.direction == "symmetrised":
            found = (found + found.T) / 2
        scale = -minus_cross / (states[0].p.shape[0] * math.log(self.base))
        near = to_numpy(found < _CANCELLING * (scale + scale.T))
        rows = [
            [self.compare(a, b) if near[i, j] else found[i, j] for j, b in enumerate(states)]
            for i, a in enumerate(states)
        ]
        return xp.stack([xp.stack(row) for row in rows])

    def caveat(self, a: Distributions, b: Distributions, /) -> str | None:
        """Infinite, because of a class that only one of the models rules out."""
        xp = namespace(a.p)
        check_widths(self.name, [a.p, b.p])
        if self.direction == "reverse":
            a, b = b, a
        infinite = (a.p > 0) & xp.isinf(b.log)
        if self.direction == "symmetrised":
            infinite = infinite | ((b.p > 0) & xp.isinf(a.log))
        if not bool(xp.any(infinite)):
            return None
        return "infinite, as one representation gives probability zero to a class that the other does not"


@register
@dataclass(frozen=True)
class Hellinger(Measure):
    """Hellinger distance of predicted distributions.

    For scores x and y, both (n, c), with p_i and q_i the distributions over c classes that they give to sample i::

        hellinger = 1/n Σᵢ √(½ Σ_k (√p_ik − √q_ik)²) = 1/n Σᵢ √(1 − Σ_k √(p_ik q_ik))

    In [0, 1], without unit; 1 if no class has a positive probability in both. A metric.

    Parameters
    ----------
    inputs : {"logits", "probabilities"}
        Whether x and y are scores, which are normalised by softmax, or probabilities already.

    Notes
    -----
    Computed from the differences: 1 − Σ√(pq) would lose half of the digits. O(n c) for each pair.

    References
    ----------
    Hellinger, "Neue Begründung der Theorie quadratischer Formen von unendlichvielen Veränderlichen", Journal für die
    reine und angewandte Mathematik 136, 1909.

    Examples
    --------
    >>> import numpy as np
    >>> p, q = np.array([[1.0, 0.0], [0.5, 0.5]]), np.array([[0.0, 1.0], [0.5, 0.5]])
    >>> float(Hellinger(inputs="probabilities")(p, q))
    0.5
    """

    title = "Hellinger distance"
    reference = "hellinger1909"
    family = Family.FUNCTIONAL
    cost = "O(n c) for each pair"
    use = "When predicted probabilities are compared and a true distance is needed, for clustering or embedding."
    avoid = "When only decisions count: it also changes with calibration and temperature."
    kind = Kind.DISTANCE
    bounds = (0.0, 1.0)
    symmetric = True
    outputs_only = True
    needs_classes = True
    defined_for_constants = True
    differentiable = per_instance(lambda self: self.inputs == "logits")
    invariances = frozenset[Invariance]()

    inputs: Inputs = "logits"

    def check_input(self, x: Array, name: str, /) -> None:
        """Refuse what is no distribution over classes."""
        check_distributions(f"measure {self.label}", x, name, self.inputs)

    def prepare(self, x: Array, /) -> HellingerState:
        """Square roots of the probabilities, of logits through their logarithms."""
        found = distributions(x, self.inputs)
        xp = namespace(x)
        return HellingerState(xp.exp(found.log / 2) if self.inputs == "logits" else xp.sqrt(found.p))

    def compare(self, a: HellingerState, b: HellingerState, /) -> Array:
        """Mean over samples of the distance of the roots."""
        xp = namespace(a.root)
        check_widths(self.name, [a.root, b.root])
        difference = a.root - b.root
        squares = xp.sum(difference * difference, axis=1) / 2
        some = squares > 0  # the root has no slope at zero
        return xp.mean(xp.where(some, xp.sqrt(xp.where(some, squares, xp.ones_like(squares))), squares))


def _entropy_term(r: Array) -> Array:
    """(1 + r) log(1 + r), zero at r = −1."""
    xp = namespace(r)
    some = r > -1
    return xp.where(some, (1 + r) * xp.log1p(xp.where(some, r, xp.zeros_like(r))), xp.zeros_like(r))


def _divergence(a: Distributions, b: Distributions) -> Array:
    """KL(p ‖ q) in nats, summed over samples."""
    xp = namespace(a.p)
    zero = xp.zeros_like(a.p)
    some = a.p > 0
    d = xp.where(some, a.log, zero) - xp.where(some, b.log, zero)
    near = xp.abs(d) < 1
    small = xp.where(near, d, zero)
    return xp.sum(xp.where(near & some, a.p * (small + xp.expm1(-small)), a.p * d - a.p + b.p))


def _check_base(name: str, base: float) -> None:
    if not 1 < base < float("inf"):
        raise ConsilienceError(f"base of {name} is {base}; the base of a logarithm of probabilities must be above 1.")

"""Which theory of the hidden layer a trained linear network obeys, read off its weights."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from consilience.errors import ConsilienceError
from consilience.theory._spectrum import Floats
from consilience.theory.hidden import gram_values

__all__ = ["Regime", "regime"]

_HOLDS = 0.99  # CKA from which a formula is said to describe a hidden layer


class Regime(NamedTuple):
    """What the weights W₁ (h, d), W₂ (k, h) of a trained linear network say about its hidden layer.

    - `kind`: "small-initialization", "balanced", "lazy" or "between"; the first two are `hidden_cka` with
      delta = 0 and delta = `delta`, the third is `lazy_cka`, the last is described by neither
    - `delta`: mean imbalance δ, (1/r) tr of W₂ᵀW₂ − W₁W₁ᵀ on the r hidden directions that the map passes
      through, in squared weights
    - `imbalance`: |δ|/2 over the largest singular value of the map W₂W₁, from 0: what is small in
      small initialization
    - `unevenness`: ‖D − δI‖ over √r times that singular value, D = W₂ᵀW₂ − W₁W₁ᵀ on the same directions: how far
      it is from a multiple of the identity
    - `small`, `balanced`: CKA of G = W₁ᵀW₁ with what `hidden_gram` makes of the map, for delta = 0 and for
      `delta`, [0, 1]
    - `used`: share of tr G on input directions that the map uses, (0, 1]; a random first layer has about r/d
    - `kept`: CKA of G with that of the initial W₁, and
    - `drift`: ‖D − D₀‖ over ‖W₂ᵀW₂‖ + ‖W₁W₁ᵀ‖ on all hidden units, from 0: zero for gradient flow. Both are NaN
      where initial weights are not given
    - `sentence`: the above for a reader
    """

    kind: Literal["small-initialization", "balanced", "lazy", "between"]
    delta: float
    imbalance: float
    unevenness: float
    small: float
    balanced: float
    used: float
    kept: float
    drift: float
    sentence: str


def regime(first: ArrayLike, second: ArrayLike, initial: tuple[ArrayLike, ArrayLike] | None = None) -> Regime:
    """Measure which theory of the hidden layer applies to the linear network f(x) = W₂W₁x.

    Gradient flow conserves D = W₂ᵀW₂ − W₁W₁ᵀ, so D after training tells the initialization. With D = δI the
    Gram of the hidden layer follows from the map alone, ::

        W₁ᵀW₁ = −(δ/2) I + (δ²/4 I + WᵀW)^½,    W = W₂W₁

    and is (WᵀW)^½ where |δ| is small against the singular values of W. Large initial weights leave W₁ as it was
    (lazy training); in between neither holds. The verdict is by CKA of both sides, .99 and above.

    Parameters
    ----------
    first : (h, d)
        W₁ after training: h hidden units, d inputs.
    second : (k, h)
        W₂ after training: k outputs.
    initial : tuple of (h, d) and (k, h), optional
        W₁ and W₂ before training. Without them lazy training is recognized by a first layer whose directions
        the map hardly uses, a share of tr G at most halfway from that of random weights, r/d, to 1.

    Raises
    ------
    ConsilienceError
        When shapes do not fit, a value is not finite, or the map W₂W₁ is zero.

    Notes
    -----
    Exact algebra on the weights; what depends on training is whether D is conserved. Adam, momentum, large steps
    and weight decay change it, which `drift` shows; the verdict looks at the weights as they are. Inputs are taken
    as white: CKA of representations weighs directions by their variance, see `hidden_cka`.

    Saxe, McClelland & Ganguli (arXiv 1312.6120); Dominé et al. (arXiv 2409.14623).

    Examples
    --------
    >>> import numpy as np
    >>> found = regime(np.diag([1.0, 2.0]), np.diag([1.0, 2.0]))
    >>> found.kind, found.delta
    ('small-initialization', 0.0)
    >>> print(found.sentence)
    Small initialization: the map alone says what the hidden layer holds (CKA 1.000), and theory applies.
    """
    w1, w2 = _checked("the trained network", first, second)
    _, singular, right = np.linalg.svd(w2 @ w1, full_matrices=False)
    used = singular > singular[0] * max(w1.shape) * np.finfo(np.float64).eps
    if singular[0] == 0:
        raise ConsilienceError("the map W₂W₁ of the trained network is zero: it has no hidden layer to speak of")
    singular, right = singular[used], right[used]
    delta, unevenness = _imbalance(w1, w2, right, singular[0])
    small, balanced = (_agreement(w1, right, gram_values(singular, x)) for x in (0.0, delta))
    share = float(np.sum((w1 @ right.T) ** 2) / np.sum(w1**2))
    kept = drift = np.nan
    if initial is not None:
        start1, start2 = _checked("the initial network", *initial)
        if (start1.shape, start2.shape) != (w1.shape, w2.shape):
            raise ConsilienceError(
                f"initial weights have shapes {start1.shape} and {start2.shape} and trained ones {w1.shape} and "
                f"{w2.shape}: give those of the same network"
            )
        kept, drift = _history(w1, w2, start1, start2)
    kind = _kind(small, balanced, share, kept, len(singular) / w1.shape[1])
    sentence = _sentence(kind, small, balanced, delta, kept)
    imbalance = abs(delta) / 2 / float(singular[0])
    return Regime(kind, delta, imbalance, unevenness, small, balanced, share, kept, drift, sentence)


def _checked(whose: str, first: ArrayLike, second: ArrayLike) -> tuple[Floats, Floats]:
    w1, w2 = (np.asarray(weight, dtype=np.float64) for weight in (first, second))
    if w1.ndim != 2 or w2.ndim != 2 or w1.size * w2.size == 0 or w2.shape[1] != w1.shape[0]:
        raise ConsilienceError(
            f"weights of {whose} have shapes {w1.shape} and {w2.shape}: give W₁ (hidden, inputs) and "
            "W₂ (outputs, hidden)"
        )
    for name, weight in (("W₁", w1), ("W₂", w2)):
        if not np.isfinite(weight).all():
            row, column = np.argwhere(~np.isfinite(weight))[0]
            raise ConsilienceError(
                f"{name} of {whose} is {weight[row, column]} at row {row}, column {column}: only a network whose "
                "training stayed finite has a regime"
            )
    return w1, w2


def _imbalance(w1: Floats, w2: Floats, right: Floats, largest: float) -> tuple[float, float]:
    """δ and the relative distance of W₂ᵀW₂ − W₁W₁ᵀ from δI, on the hidden directions the map passes through."""
    through, _ = np.linalg.qr(w1 @ right.T)  # (h, r)
    back, ahead = w1.T @ through, w2 @ through  # (d, r), (k, r)
    matrix = ahead.T @ ahead - back.T @ back
    delta = float(np.trace(matrix)) / len(matrix)
    rest = matrix - delta * np.eye(len(matrix))
    return delta, float(np.linalg.norm(rest) / (len(matrix) ** 0.5 * largest))


def _agreement(w1: Floats, right: Floats, values: Floats) -> float:
    """CKA of W₁ᵀW₁ with the Gram that has `values` on the directions `right` (r, d), by products of h×h matrices."""
    overlap = float(np.sum(values * np.sum((w1 @ right.T) ** 2, axis=0)))
    return overlap / float(np.linalg.norm(w1 @ w1.T) * np.linalg.norm(values))


def _history(w1: Floats, w2: Floats, start1: Floats, start2: Floats) -> tuple[float, float]:
    """CKA of W₁ᵀW₁ before and after training, and how far W₂ᵀW₂ − W₁W₁ᵀ moved."""
    norms = np.linalg.norm(w1 @ w1.T) * np.linalg.norm(start1 @ start1.T)
    kept = float(np.sum((w1 @ start1.T) ** 2) / norms) if norms > 0 else np.nan
    out, into = w2.T @ w2, w1 @ w1.T
    moved = np.linalg.norm(out - into - start2.T @ start2 + start1 @ start1.T)
    return kept, float(moved / (np.linalg.norm(out) + np.linalg.norm(into)))


def _kind(
    small: float, balanced: float, used: float, kept: float, random: float
) -> Literal["small-initialization", "balanced", "lazy", "between"]:
    if small >= _HOLDS:
        return "small-initialization"
    if balanced >= _HOLDS:
        return "balanced"
    unused = kept >= _HOLDS if np.isfinite(kept) else used <= 0.5 * (1 + random) and random < 1
    return "lazy" if unused else "between"


def _sentence(kind: str, small: float, balanced: float, delta: float, kept: float) -> str:
    if kind == "small-initialization":
        return (
            f"Small initialization: the map alone says what the hidden layer holds (CKA {small:.3f}), and theory "
            "applies."
        )
    if kind == "balanced":
        return (
            f"Balanced initialization: with δ = {delta:.3g} the map says what the hidden layer holds "
            f"(CKA {balanced:.3f}, {small:.3f} without δ), and theory applies with that δ."
        )
    if kind == "lazy":
        reason = (
            f"the Gram matrix of the hidden layer kept CKA {kept:.3f} with the initial one"
            if np.isfinite(kept)
            else "the map uses little of the hidden layer"
        )
        return f"Lazy training: {reason}, which shows where training began; only theory of random layers applies."
    return (
        f"Between regimes: the hidden layer still holds part of its initial weights (CKA {small:.3f} with what the map "
        "alone would leave); no theory of it applies, that of the outputs does."
    )

"""The best of all pairs of layers, tested as such."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from consilience.errors import ConsilienceError
from consilience.registry import Measure, get_measure
from consilience.stats._orders import orders
from consilience.stats._pair import Floats, Pair, best_score, check_rows, on_the_host, sign_of
from consilience.stats.permutation import calibrated_score, null_scores, reaches

__all__ = ["LayerTest", "layer_max_test"]


class LayerTest(NamedTuple):
    """The best pair of layers of two networks, beside the best there is by chance."""

    value: float
    """Score of the best pair: the largest similarity or the smallest distance."""
    layer_a: Any
    """Its layer in the first network: name, or index where layers have no names."""
    layer_b: Any
    p: float
    """Of the best pair, for the search over all pairs."""
    null_mean: float
    """Mean, over permutations, of the best score of all pairs."""
    null_sd: float
    z: float
    calibrated: float
    """Excess of the best score over the 95 % threshold of best scores, as a share of the most there can be."""
    scores: Floats
    """(layers of a, layers of b); NaN for layers with nothing to compare."""
    p_of_pairs: Floats
    """In the same shape, p of every pair, adjusted for all pairs: reject those at most α."""
    n: int


def layer_max_test(
    layers_a: Mapping[str, Any] | Sequence[Any],
    layers_b: Mapping[str, Any] | Sequence[Any],
    measure: str | Measure = "cka",
    n: int = 1000,
    blocks: Any = None,
    *,
    seed: int = 0,
    targets: Any = None,
    alpha: float = 0.05,
) -> LayerTest:
    r"""Test the best-matching pair of layers of two networks, taking into account that it was searched for.

    With :math:`s_{ab}` the score of layer a with layer b (minus the distance, for a distance) and
    :math:`s^k_{ab}` the same when all layers of the second network have their rows in the k-th random order, one and
    the same for all,

    .. math:: T = \max_{ab} s_{ab}, \qquad T_k = \max_{ab} s^k_{ab}, \qquad
              p = \frac{1 + \#\{k : T_k \ge T\}}{K + 1}, \qquad
              p_{ab} = \frac{1 + \#\{k : T_k \ge s_{ab}\}}{K + 1} .

    p is exact, and the chance that any :math:`p_{ab} \le \alpha` where no pair is related is at most α, however
    layers depend on each other. Scores are compared as they are, so that a measure whose level of chance depends on
    the width of layers (biased CKA, Procrustes) favours wide pairs.

    Parameters
    ----------
    layers_a, layers_b
        Mapping of names to arrays (samples, d), or sequence of arrays; the same samples throughout.
    measure
        Name, label or measure.
    n
        Permutations K.
    blocks, seed, targets, alpha
        As for `permutation_test`.

    Returns
    -------
    LayerTest

    Raises
    ------
    ConsilienceError
        If there is no layer, or no pair has a score; else as `permutation_test`.

    Notes
    -----
    Sources: Westfall & Young, Resampling-based multiple testing, Wiley 1993 (the maximum over tests); Gröger et al.,
    arXiv 2602.14486 (of layers). Accuracy: exact level; measured in docs/uncertainty.md.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> first, second, other = rng.standard_normal((3, 60, 8))
    >>> found = layer_max_test({"one": first, "two": second}, [other, second + other], n=199)
    >>> found.layer_a, found.layer_b, found.p
    ('two', 1, 0.005)
    """
    chosen = get_measure(measure)
    check_rows(chosen, "a test of layers")
    names_a, reps_a = _named(layers_a, "layers_a")
    names_b, reps_b = _named(layers_b, "layers_b")
    words = [f"layers_a {name!r}" for name in names_a] + [f"layers_b {name!r}" for name in names_b]
    arrays, known = chosen.checked(on_the_host([*reps_a, *reps_b], "a test of layers"), words, targets)
    pairs = _pairs(chosen, arrays, known, len(reps_a))
    sign = sign_of(chosen)
    scores = np.full((len(reps_a), len(reps_b)), np.nan)
    for (i, j), pair in pairs.items():
        scores[i, j] = pair.value
    samples = arrays[0].shape[0]
    null = np.concatenate(
        [
            sign * np.max([sign * next(null_scores(pair, iter([some]))) for pair in pairs.values()], axis=0)
            for some in orders(samples, n, blocks, seed)
        ]
    )
    at = np.unravel_index(np.nanargmax(sign * scores), scores.shape)
    value = float(scores[at])
    p_of_pairs = np.full(scores.shape, np.nan)
    for index, pair in pairs.items():
        p_of_pairs[index] = (1 + np.count_nonzero(reaches(null, pair.value, sign))) / (1 + n)
    mean, sd = float(null.mean()), float(null.std(ddof=1)) if n > 1 else math.nan
    return LayerTest(
        value,
        names_a[at[0]],
        names_b[at[1]],
        float(p_of_pairs[at]),
        mean,
        sd,
        sign * (value - mean) / sd if sd > 0 else math.nan,
        calibrated_score(value, null, best_score(chosen, samples), sign, alpha),
        scores,
        p_of_pairs,
        n,
    )


def _named(layers: Mapping[str, Any] | Sequence[Any], word: str) -> tuple[list[Any], list[Any]]:
    found = list(layers.values()) if isinstance(layers, Mapping) else list(layers)
    if not found:
        raise ConsilienceError(f"no {word} were given: pass at least one (n, d) array.")
    return list(layers) if isinstance(layers, Mapping) else list(range(len(found))), found


def _pairs(measure: Measure, arrays: list[Any], targets: Any, split: int) -> dict[tuple[int, int], Pair]:
    """Pairs of layers that have a score."""
    states = [measure.state(each, targets) for each in arrays]
    usable = [measure.degenerate(state) is None for state in states]
    found = {
        (i, j - split): Pair(
            measure,
            arrays[i],
            arrays[j],
            targets,
            states[i],
            states[j],
            float(measure.compare(states[i], states[j])),
            None,
        )
        for i in range(split)
        for j in range(split, len(arrays))
        if usable[i] and usable[j]
    }
    if not found:
        raise ConsilienceError(f"no pair of layers has a score by {measure.label}: every one has a constant layer.")
    return found

"""Permutation tests for one pair of representations: are the rows of the one matched to those of the other?"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

from consilience.errors import ConsilienceError
from consilience.registry import Measure
from consilience.stats._orders import Orders, along_a_cycle, orders
from consilience.stats._pair import Floats, Pair, best_score, pair_of, sign_of

__all__ = ["PermutationTest", "calibrated_score", "null_scores", "permutation_test", "permutation_test_of", "reaches"]

Design: TypeAlias = Literal["random", "cyclic"]

_TIE = 1e-10  # scores that differ by less, relative to their size, are equal but for rounding


class PermutationTest(NamedTuple):
    """A score beside what scores are when rows do not correspond."""

    value: float
    """The score; NaN where there is none, and then everything else is."""
    p: float
    """One-sided, add-one: at least 1/(n + 1)."""
    null_mean: float
    """What the score is on average by chance: exact where that is known, else over the permutations."""
    null_sd: float
    z: float
    """By how many standard deviations of the null the score is better than chance: positive is more alike."""
    adjusted: float
    """(value − null_mean) / (best − null_mean): 0 by chance, 1 for identical inputs."""
    calibrated: float
    """Excess over the 95 % threshold of the null, as a share of the most there can be; 0 below it."""
    n: int
    """Permutations made: fewer than asked for where the test stopped early."""

    def __str__(self) -> str:
        return f"{self.value:.4f} (chance {self.null_mean:.4f} ± {self.null_sd:.4f}, p = {self.p:.2g})"


def permutation_test(
    measure: str | Measure,
    x: Any,
    y: Any,
    n: int = 1000,
    blocks: Any = None,
    *,
    seed: int = 0,
    targets: Any = None,
    alpha: float = 0.05,
    stop: int | None = None,
    design: Design = "random",
) -> PermutationTest:
    r"""Test whether two representations have more in common than chance, by permuting the rows of one.

    With s the score, larger meaning more alike (minus the distance, for a distance), and :math:`s_1 \dots s_K` the
    scores with the rows of y in random order,

    .. math:: p = \frac{1 + \#\{k : s_k \ge s\}}{K + 1}, \qquad
              \text{adjusted} = \frac{s - \mu}{s_{\max} - \mu}, \qquad
              \text{calibrated} = \min\Bigl(1, \max\Bigl(0, \frac{s - \tau}{s_{\max} - \tau}\Bigr)\Bigr)

    where :math:`\mu` is the mean by chance, :math:`s_{\max}` the score of identical inputs (or the bound of scores)
    and :math:`\tau` the :math:`\lceil (1-\alpha)(K+1) \rceil`-th smallest of s and all :math:`s_k`. Rejecting where
    p ≤ α is wrong with probability at most α, for any measure, n, p and q, if samples are exchangeable.

    Parameters
    ----------
    measure
        Name, label or measure.
    x, y
        (n, p) and (n, q) arrays of any library; the computation is NumPy's, in double precision, on the host.
    n
        Permutations K. p is at least 1/(K + 1); its standard error is :math:`\sqrt{p(1-p)/K}`.
    blocks
        (samples,) labels of exchangeability blocks: rows are permuted only within a block, for samples that are
        alike only there (classes, sessions). The mean by chance is then that of the permutations.
    seed
        Of the permutations: the same for every measure and pair of as many samples.
    targets
        (samples,) integers, for measures that need them; they keep their places while rows of y are permuted. To test
        for what the classes do not explain, pass them as `blocks` too.
    alpha
        Level of the threshold in `calibrated`.
    design
        "random" or "cyclic": all samples − 1 moves of the rows along one cycle through all samples, drawn at random;
        `n`, `blocks` and `stop` do not apply. With the identity they are a group, so that p, the share of its members
        that reach s, is exact too. CKA and HSIC with any kernel, distance correlation and RSA (but for Kendall's tau)
        score all of them at once by Fourier transforms, in the time of a few scores.
    stop
        Stop once so many permuted scores reach the observed one; then p = stop / (permutations made), which is valid
        too (Besag & Clifford). Off by default. 20 decides against significance early and keeps p good to a quarter.

    Returns
    -------
    PermutationTest
        NaN throughout, with a `DegenerateWarning`, where a representation has nothing to compare. `adjusted` and
        `calibrated` are NaN for measures without a best score; `z` where the null does not vary.

    Raises
    ------
    ConsilienceError
        If arrays do not fit each other or the measure, n or stop is below 1, or blocks are not one label a sample.

    Notes
    -----
    Means by chance are exact for CKA and HSIC (zero when debiased; :math:`\mathrm{tr}K\,\mathrm{tr}L/((n-1)\|K\|\|L\|)`
    for biased CKA), the mean of squared canonical correlations (max rank/(n − 1)), mutual k-NN (k/(n − 1)),
    information imbalance (1), rank and Pearson correlation of dissimilarities, bias-corrected distance correlation and
    output correlation (0). Representations are prepared once and their rows, matrices or neighbour lists reordered;
    measures that cannot are prepared anew each time. Scores that differ from the observed one by rounding only count
    as equal to it. Linear CKA multiplies features in single precision, and again in double those whose rounding might
    decide whether the observed score is reached: p is that of double precision, `null_sd` and what rests on it good
    to five digits or more.

    A test over a group of permutations is exact whichever group it is, if it is not chosen by the data. Moves along a
    cycle leave no sample in its place; p is a multiple of 1/samples, so that p = .05 takes 20 of them.

    Sources: Phipson & Smyth, Statistical Applications in Genetics and Molecular Biology 9 (2010), 39 (add-one p);
    Besag & Clifford, Biometrika 78 (1991), 301-304; Hemerik & Goeman, TEST 27 (2018), 811-825 (groups); Gröger et al.,
    arXiv 2602.14486 (calibrated score). Accuracy: exact level; measured in docs/uncertainty.md.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x, y = rng.standard_normal((2, 200, 20))
    >>> print(permutation_test("cka(estimator=biased)", x, y))  # 0.08 is what chance gives
    0.0818 (chance 0.0897 ± 0.0066, p = 0.9)
    >>> permutation_test("cka", x, x + 2 * y).p
    0.000999000999000999
    """
    pair = pair_of(measure, x, y, targets, purpose="a permutation test")
    return permutation_test_of(pair, n, blocks, seed=seed, alpha=alpha, stop=stop, design=design)


def permutation_test_of(
    pair: Pair,
    n: int = 1000,
    blocks: Any = None,
    *,
    seed: int = 0,
    alpha: float = 0.05,
    stop: int | None = None,
    design: Design = "random",
) -> PermutationTest:
    """Do as `permutation_test` for a pair that is prepared."""
    if not 0 < alpha < 1:
        raise ConsilienceError(f"alpha is {alpha}: give a level between 0 and 1, such as 0.05")
    if stop is not None and stop < 1:
        raise ConsilienceError(f"stop is {stop}: give how many permuted scores must reach the observed one, 20 say")
    samples = pair.x.shape[0]
    if design not in ("random", "cyclic"):
        raise ConsilienceError(f"design is {design!r}: give 'random' or 'cyclic'.")
    if design == "cyclic" and not (blocks is None and stop is None):
        raise ConsilienceError("design 'cyclic' moves all samples, all at once: give no blocks and no stop.")
    drawn = orders(samples, n, blocks, seed)
    if pair.reason is not None:
        nan = math.nan
        return PermutationTest(nan, nan, nan, nan, nan, nan, nan, 0)
    sign = sign_of(pair.measure)
    scores = null_scores(pair, drawn, coarsely=True) if design == "random" else _cycled(pair, seed)
    null, reached = _until(scores, pair.value, sign, stop)
    stopped = stop is not None and reached == stop
    p = reached / null.size if stopped else (1 + reached) / (1 + null.size)
    known = pair.measure.chance(pair.a, pair.b) if blocks is None else None
    mean = float(null.mean()) if known is None else known
    sd = float(null.std(ddof=1)) if null.size > 1 else math.nan
    best = best_score(pair.measure, samples)
    return PermutationTest(
        pair.value,
        p,
        mean,
        sd,
        sign * (pair.value - mean) / sd if sd > 0 else math.nan,
        (pair.value - mean) / (best - mean) if best != mean else math.nan,
        calibrated_score(pair.value, null, best, sign, alpha),
        null.size,
    )


def null_scores(pair: Pair, drawn: Iterator[Orders], *, coarsely: bool = False) -> Iterator[Floats]:
    """Scores with the rows of y reordered, as many at a time as there are orders.

    Coarse ones may differ from these, but not in whether they reach the observed score.
    """
    for some in drawn:
        coarse = pair.measure.permuted_coarsely(pair.a, pair.b, some) if coarsely else None
        if coarse is not None:
            yield _refined(pair, some, *coarse)
            continue
        found = pair.measure.permuted(pair.a, pair.b, some)
        yield _prepared_anew(pair, some) if found is None else found


def _refined(pair: Pair, some: Orders, found: Floats, error: float) -> Floats:
    """Coarse scores, but precise ones wherever that could decide whether they reach the observed one."""
    near = np.flatnonzero(np.abs(found - pair.value) <= 2 * error)
    if near.size:
        exact = pair.measure.permuted(pair.a, pair.b, some[near])
        found[near] = _prepared_anew(pair, some[near]) if exact is None else exact
    return found


def _cycled(pair: Pair, seed: int) -> Iterator[Floats]:
    cycle = np.random.default_rng(seed).permutation(pair.x.shape[0])
    found = pair.measure.cycled(pair.a, pair.b, cycle)
    if found is None:
        yield from null_scores(pair, along_a_cycle(cycle))
    else:
        yield found[1:]


def reaches(null: Floats, value: float, sign: float) -> Any:
    """Which scores are at least as good as `value`, to rounding."""
    slack = _TIE * max(abs(value), float(np.abs(null).max(initial=0.0)))
    return sign * (null - value) >= -slack


def calibrated_score(value: float, null: Floats, best: float, sign: float, alpha: float) -> float:
    """Excess over the threshold at level `alpha`, of the most there can be; NaN if that is not known."""
    everything = np.sort(sign * np.append(null, value))
    rank = math.ceil((1 - alpha) * everything.size - 1e-9)  # 0.95 · 1000 is not above 950 but for rounding
    threshold = everything[max(rank, 1) - 1]
    room = sign * best - threshold
    if not room > 0:
        return math.nan
    return float(np.clip((sign * value - threshold) / room, 0.0, 1.0))


def _prepared_anew(pair: Pair, some: Orders) -> Floats:
    states = (pair.measure.state(pair.y[order], pair.targets) for order in some)
    return np.asarray([float(pair.measure.compare(pair.a, state)) for state in states])


def _until(parts: Iterator[Floats], value: float, sign: float, stop: int | None) -> tuple[Floats, int]:
    """Permuted scores, up to the one that is the `stop`-th to reach `value`, and how many reach it."""
    found: list[Floats] = []
    reached = 0
    for part in parts:
        counts = reached + np.cumsum(reaches(part, value, sign))
        if stop is not None and counts[-1] >= stop:
            last = int(np.argmax(counts >= stop))
            return np.concatenate([*found, part[: last + 1]]), stop
        found.append(part)
        reached = int(counts[-1])
    return np.concatenate(found), reached

"""How the score depends on the number of samples, how many are enough, and scores on samples not fitted to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from consilience.errors import ConsilienceError
from consilience.registry import Measure
from consilience.stats._pair import Floats, Pair, pair_of
from consilience.stats.interval import interval_of

__all__ = ["CrossValidated", "Enough", "Stability", "cross_validated", "enough", "stability"]


class Stability(NamedTuple):
    """Scores of random subsamples, by how many samples they have."""

    sizes: NDArray[np.int64]
    """(S,), increasing; the last is all samples."""
    mean: Floats
    """(S,) mean score of subsamples of a size."""
    sd: Floats
    """(S,) their standard deviation: of the choice of subsample given these n samples, zero for all of them."""
    draws: int


class Enough(NamedTuple):
    """How many samples a wanted standard error takes."""

    samples: int
    """Recommended number."""
    se: float
    """Standard error with the samples at hand."""
    enough: bool
    """Whether these are enough."""
    reason: str


class CrossValidated(NamedTuple):
    """Agreement on samples that directions were not fitted to."""

    score: float
    """Mean over folds."""
    folds: Floats
    """(folds,)"""


def stability(
    measure: str | Measure,
    x: Any,
    y: Any,
    sizes: Sequence[int] | None = None,
    *,
    draws: int = 20,
    seed: int = 0,
    targets: Any = None,
) -> Stability:
    r"""Score against number of samples: means and standard deviations over random subsamples.

    A curve that still moves at the right end says that the score is one of this number of samples, not of the
    representations. The standard deviation over subsamples of size b estimates the standard error *of b samples*
    times :math:`\sqrt{1 - b/n}`, as subsamples share rows.

    Parameters
    ----------
    measure
        Name, label or measure.
    x, y
        (n, p) and (n, q) arrays.
    sizes
        Numbers of samples, between what the measure needs and n; by default six, in equal ratios from n/16, or from
        what the measure needs if that is more, up to n.
    draws
        Subsamples of every size.
    seed
        Of the subsamples.
    targets
        (n,) integers, for measures that need them.

    Returns
    -------
    Stability
        In the units of the measure. NaN where a subsample has nothing to compare.

    Raises
    ------
    ConsilienceError
        If a size is too small for the measure or above n, or there are fewer than two draws; else as the measure.

    Examples
    --------
    Biased CKA of unrelated representations falls with the number of samples; debiased CKA is about zero for all:

    >>> x, y = np.random.default_rng(0).standard_normal((2, 400, 20))
    >>> for estimator in ("biased", "debiased"):
    ...     print(stability(f"cka(estimator={estimator})", x, y, [50, 100, 400]).mean.round(2) + 0.0)
    [0.29 0.17 0.05]
    [0.01 0.   0.  ]
    """
    pair = pair_of(measure, x, y, targets, purpose="a curve of scores")
    n, least = pair.x.shape[0], pair.measure.min_samples
    if draws < 2:
        raise ConsilienceError(f"draws is {draws}: a standard deviation takes two or more.")
    if sizes is None:
        wanted = np.geomspace(min(max(least, n / 16), n), n, 6).round().astype(np.int64)
    else:
        wanted = np.asarray(sizes, dtype=np.int64)
    chosen = np.unique(np.append(wanted, n))
    if chosen[0] < least or chosen[-1] > n:
        raise ConsilienceError(
            f"sizes run from {chosen[0]} to {chosen[-1]}: {pair.measure.label} needs {least}, and there are {n} "
            "samples."
        )
    rng = np.random.default_rng(seed)
    scores = np.array([_subsampled(pair, int(size), draws, rng) for size in chosen])
    return Stability(chosen, scores.mean(axis=1), scores.std(axis=1, ddof=1), draws)


def _subsampled(pair: Pair, size: int, draws: int, rng: np.random.Generator) -> Floats:
    n = pair.x.shape[0]
    if size == n:
        return np.full(draws, pair.value)
    return np.array([pair.score(np.sort(rng.permutation(n)[:size])) for _ in range(draws)])


def enough(measure: str | Measure, x: Any, y: Any, se: float = 0.02, *, seed: int = 0, targets: Any = None) -> Enough:
    r"""How many samples make the standard error as small as wanted.

    From the standard error with n samples, by the jackknife of `interval`, which falls as :math:`1/\sqrt n`:

    .. math:: n_{\mathrm{enough}} = \Bigl\lceil n\, (\mathrm{se}_n / \mathrm{se})^2 \Bigr\rceil

    and no fewer than the measure needs. Scores near zero of debiased estimators fall faster, as 1/n, so that the
    number is then more than needed.

    Parameters
    ----------
    measure, x, y, targets
        As for `interval`.
    se
        Wanted standard error, in units of the score, above zero.
    seed
        Of the groups of the jackknife.

    Returns
    -------
    Enough

    Raises
    ------
    ConsilienceError
        If `se` is not positive; else as `interval`.

    Notes
    -----
    This counts samples for the error of the score; its bias, where the measure has one, is another matter: see the
    curve of `stability`. Accuracy: the number is as uncertain as the square of an estimated standard error, relatively
    about :math:`2\sqrt{1/2n}`, 20 % at n = 50, more for heavy tails.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x = rng.standard_normal((100, 5))
    >>> found = enough("cka", x, x + rng.standard_normal((100, 5)), se=0.03)
    >>> print(found.reason)
    standard error .033 with 100 samples falls as one over the root of their number: .03 takes about 123
    """
    if not 0 < se < math.inf:
        raise ConsilienceError(f"se is {se}: give the standard error you want, in units of the score, 0.02 say.")
    pair = pair_of(measure, x, y, targets, purpose="a number of samples")
    n = pair.x.shape[0]
    found = interval_of(pair, seed=seed).se
    if math.isnan(found):
        return Enough(n, found, False, f"there is no standard error: {pair.reason or 'some samples decide alone'}")
    samples = max(pair.measure.min_samples, math.ceil(n * (found / se) ** 2))
    if samples <= n:
        reason = f"standard error {_short(found)} with {n} samples is below {_short(se)}: about {samples} would do"
    else:
        reason = (
            f"standard error {_short(found)} with {n} samples falls as one over the root of their number: "
            f"{_short(se)} takes about {samples}"
        )
    return Enough(samples, found, samples <= n, reason)


def _short(number: float) -> str:
    return f"{number:.2g}".replace("0.", ".", 1) if number < 1 else f"{number:.3g}"


def cross_validated(measure: str | Measure, x: Any, y: Any, folds: int = 5, *, seed: int = 0) -> CrossValidated:
    r"""Score on samples that the alignment was not fitted to.

    For every fold, directions are fitted to all other samples and correlated on the fold. Canonical correlations of n
    samples in p and q dimensions are far above zero for unrelated representations (squares: max(p, q)/(n − 1));
    cross-validated ones are zero on average.

    Parameters
    ----------
    measure
        ``cca``, with any options. Linear, ridge and PLS predictivity have folds of their own (option ``cv``); other
        measures fit nothing that could be applied to other samples.
    x, y
        (n, p) and (n, q) arrays.
    folds
        Parts of the samples, two or more, of three samples at least.
    seed
        Of the parts.

    Returns
    -------
    CrossValidated
        Mean correlation over canonical directions, in [−1, 1]; with ``summary="mean_squared"`` the mean of squares
        that keep their sign.

    Raises
    ------
    ConsilienceError
        If the measure fits nothing, or there are too few or too many folds; else as the measure.

    Examples
    --------
    >>> x, y = np.random.default_rng(0).standard_normal((2, 200, 20))
    >>> from consilience import cca
    >>> float(cca(x, y).round(2)), round(cross_validated("cca", x, y).score, 2)
    (0.27, 0.01)
    """
    pair = pair_of(measure, x, y, purpose="cross-validation")
    n = pair.x.shape[0]
    if not 2 <= folds <= n // 3:
        raise ConsilienceError(f"folds is {folds}: give from 2 to {n // 3}, so that each has three of {n} samples.")
    found: list[float] = []
    parts = np.array_split(np.random.default_rng(seed).permutation(n), folds)
    for part in parts:
        rest = np.setdiff1d(np.arange(n), part)
        score = pair.measure.held_out(pair.x[rest], pair.y[rest], pair.x[part], pair.y[part])
        if score is None:
            raise ConsilienceError(
                f"{pair.measure.label} fits nothing that could be tried on other samples: use cca, or a measure with "
                "folds of its own (linear_predictivity, ridge_predictivity, pls_predictivity)."
            )
        found.append(score)
    return CrossValidated(float(np.mean(found)), np.asarray(found))

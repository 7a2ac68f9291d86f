"""Intervals for the score of one pair of representations: samples are drawn, representations given."""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from scipy import stats

from consilience.errors import ConsilienceError
from consilience.registry import Kind, Measure
from consilience.stats._pair import Floats, Pair, pair_of
from consilience.stats.members import check_level

__all__ = ["Interval", "Resampling", "interval", "interval_of"]

Resampling: TypeAlias = Literal["jackknife", "subsample"]

_GROUPS = 30  # left out one after the other where leaving out each row has no shortcut
_HALVES = 100
# A margin so many times the distance to a bound, as from rounding there, would explode in a logarithm.
_TELLING = 4


class Interval(NamedTuple):
    """A score with the uncertainty that comes from the choice of samples."""

    value: float
    """The score of all samples; NaN where there is none."""
    low: float
    """Lower end, within the bounds of the measure; NaN where `se` is."""
    high: float
    se: float
    """Standard error; NaN where a score with samples left out is not defined."""
    level: float
    method: str

    def __str__(self) -> str:
        return f"{self.value:.4f} [{self.low:.4f}, {self.high:.4f}]"


def interval(
    measure: str | Measure,
    x: Any,
    y: Any,
    method: Resampling = "jackknife",
    level: float = 0.95,
    *,
    seed: int = 0,
    targets: Any = None,
) -> Interval:
    r"""Score of two representations of n samples, with an interval over the choice of these samples.

    **jackknife**: with :math:`s_{-i}` the score without sample i,

    .. math:: \mathrm{se}^2 = \frac{n-1}{n} \sum_{i=1}^n (s_{-i} - \overline{s_{-\cdot}})^2 .

    CKA and HSIC, distance correlation, RSA (of dissimilarities that depend on two samples alone), neighbour lists,
    information imbalance and output correlation give all :math:`s_{-i}` at about the cost of one score; the bandwidth
    of a kernel stays as it is. Other measures leave out 30 groups of samples, drawn at random, or each sample where
    there are no more than 30, with the formula for groups of sizes :math:`n_g` (Busing et al.):
    with :math:`h_g = n/n_g`, pseudo-values :math:`\tilde s_g = h_g s - (h_g - 1) s_{-g}` and
    :math:`\tilde s = G s - \sum_g (1 - 1/h_g) s_{-g}`,

    .. math:: \mathrm{se}^2 = \frac1G \sum_{g=1}^G \frac{(\tilde s_g - \tilde s)^2}{h_g - 1} .

    Scores of neighbours jump when a neighbour changes, and the jackknife overstates their variance about twofold; the
    variance of their mean over samples, as if these were independent, understates it by a half. The mean of the two
    is used, for information imbalance a third of the one and two thirds of the other: found by simulation, not derived.

    **subsample**: the standard deviation of scores of 100 random halves, without replacement, times
    :math:`\sqrt{b/(n-b)}`, b = n // 2. For any measure defined on n/2 samples.

    The interval is :math:`f^{-1}\bigl(f(s) \pm t\, f'(s)\, \mathrm{se}\bigr)`, t the quantile of Student's t with as
    many degrees of freedom as there are replicates less one, and f Fisher's z for similarities of at most 1, the logit
    of the share of the largest distance, the logarithm for distances without bound, else, and where the score is
    within a quarter of its margin of a bound, the identity; it is cut off at the bounds of the measure.

    What it covers: for estimators without bias (debiased CKA, bias-corrected distance correlation) the score of
    infinitely many samples; for all others the mean score of n samples, which depends on n.

    Parameters
    ----------
    measure
        Name, label or measure.
    x, y
        (n, p) and (n, q) arrays of any library; the computation is NumPy's, in double precision, on the host.
    method
        "jackknife" or "subsample". Drawing rows with replacement is refused: see below.
    level
        Coverage, in (0, 1).
    seed
        Of the groups and halves.
    targets
        (n,) integers, for measures that need them.

    Returns
    -------
    Interval
        In the units of the measure. `low` and `high` lie within its bounds and `value` between them. NaN, with a
        `DegenerateWarning`, where a representation has nothing to compare; `se` is NaN too if leaving out samples
        leaves nothing to compare.

    Raises
    ------
    ConsilienceError
        For another method, a level outside (0, 1), too few samples to leave any out, a measure whose rows are not
        samples (cross-validated RSA), and what the measure refuses.

    Notes
    -----
    Sources: Efron & Stein, Annals of Statistics 9 (1981), 586-596 (the jackknife overstates variance, never the
    reverse, on average); Busing, Meijer, van der Leeden, Statistics and Computing 9 (1999), 3-8 (groups); Politis &
    Romano, Annals of Statistics 22 (1994), 2031-2050 (subsamples). Measured coverage, and where it fails, is in
    docs/uncertainty.md, from benchmarks/calibration.py. A bootstrap draws rows twice, which then are their own
    neighbours and kernels: its intervals for debiased CKA of 60 samples covered 0 to 48 %.

    Samples must be independent draws: for rows that come in groups (frames of a film) the interval is too narrow.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x = rng.standard_normal((200, 5))
    >>> print(interval("cka", x, x + rng.standard_normal((200, 5))))
    0.4992 [0.4484, 0.5468]
    >>> interval("cka", x, x, method="bootstrap")
    Traceback (most recent call last):
    consilience.errors.ConsilienceError: method is 'bootstrap': rows drawn twice are their own nearest neighbours ...
    """
    check_level(level)
    _check_method(method)
    pair = pair_of(measure, x, y, targets, purpose="an interval")
    return interval_of(pair, method, level, seed=seed)


def interval_of(pair: Pair, method: Resampling = "jackknife", level: float = 0.95, *, seed: int = 0) -> Interval:
    """Do as `interval` for a pair that is prepared."""
    if pair.reason is not None:
        return Interval(pair.value, math.nan, math.nan, math.nan, level, method)
    rng = np.random.default_rng(seed)
    se, df = _jackknife(pair, rng) if method == "jackknife" else _subsample(pair, rng)
    margin = float(stats.t.ppf((1 + level) / 2, df)) * se
    low, high = _ends(pair.measure, pair.value, margin)
    return Interval(pair.value, low, high, se, level, method)


def _check_method(method: str) -> None:
    if method == "bootstrap":
        raise ConsilienceError(
            "method is 'bootstrap': rows drawn twice are their own nearest neighbours and inflate kernels and "
            "rotations, so that 95 % intervals for cka of 60 samples covered 0 to 48 %; use 'jackknife' or 'subsample'."
        )
    if method not in ("jackknife", "subsample"):
        raise ConsilienceError(f"method is {method!r}: give 'jackknife' or 'subsample'.")


def _jackknife(pair: Pair, rng: np.random.Generator) -> tuple[float, int]:
    """Standard error and its degrees of freedom."""
    n = pair.x.shape[0]
    _check_left(pair, n - math.ceil(n / _GROUPS) if n > _GROUPS else n - 1)
    values = None if pair.targets is not None else pair.measure.without_each(pair.x, pair.y)
    if values is None:
        return _left_out_groups(pair, rng)
    variance = (n - 1) / n * float(((values - values.mean()) ** 2).sum())
    shares = pair.measure.of_each_sample(pair.x, pair.y)
    if shares is not None:
        weight = pair.measure.jackknife_weight
        variance = weight * variance + (1 - weight) * float(shares.var(ddof=1)) / n
    return math.sqrt(variance), n - 1


def _left_out_groups(pair: Pair, rng: np.random.Generator) -> tuple[float, int]:
    n = pair.x.shape[0]
    order = rng.permutation(n)
    groups = np.array_split(order, min(n, _GROUPS))
    values = np.array([pair.score(np.sort(np.setdiff1d(order, group))) for group in groups])
    sizes = np.array([group.size for group in groups])
    ratio = n / sizes  # h of the docstring
    pseudo = ratio * pair.value - (ratio - 1) * values
    centre = len(groups) * pair.value - ((1 - 1 / ratio) * values).sum()
    return math.sqrt(float(((pseudo - centre) ** 2 / (ratio - 1)).mean())), len(groups) - 1


def _subsample(pair: Pair, rng: np.random.Generator) -> tuple[float, int]:
    n = pair.x.shape[0]
    half = n // 2
    _check_left(pair, half)
    values = np.array([pair.score(np.sort(rng.permutation(n)[:half])) for _ in range(_HALVES)])
    return float(values.std(ddof=1)) * math.sqrt(half / (n - half)), _HALVES - 1


def _check_left(pair: Pair, left: int) -> None:
    measure, n = pair.measure, pair.x.shape[0]
    if left < measure.min_samples:
        raise ConsilienceError(
            f"an interval for {measure.label} leaves out samples: of {n}, {left} are left, and the measure needs "
            f"{measure.min_samples}; pass more samples."
        )


def _ends(measure: Measure, value: float, margin: float) -> tuple[float, float]:
    """Ends of the interval, `margin` being t times the standard error."""
    low, high = measure.bounds
    if measure.kind is Kind.SIMILARITY and high == 1.0 and margin < _TELLING * (1 - abs(value)):
        ends = np.tanh(np.arctanh(value) + np.array([-1, 1]) * margin / (1 - value * value))
    elif measure.kind is Kind.DISTANCE and low == 0.0 and margin < _TELLING * min(value, high - value):
        ends = _positive(value, margin, high)
    else:
        ends = value + np.array([-1, 1]) * margin
    first, last = np.clip(ends, min(low, value), max(high, value))  # rounding may put a score beyond its bound
    return float(first), float(last)


def _positive(value: float, margin: float, high: float) -> Floats:
    """Ends on the scale of the logarithm or, below a finite bound, of the logit."""
    if math.isinf(high):
        return value * np.exp(np.array([-1, 1]) * margin / value)
    step = np.array([-1, 1]) * margin * high / (value * (high - value))
    odds = value / (high - value) * np.exp(np.clip(step, -700, 700))
    return high * odds / (1 + odds)

"""Curves over noise level and sample size from samples, and their intervals."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from consilience.theory._estimate import Estimate, estimate
from consilience.theory._rows import Draws, Plan, agreement, draws
from consilience.theory._spectrum import Floats
from consilience.theory.linear import alignment
from consilience.theory.network import linear_network

__all__ = ["Curves", "Found", "Task", "curves", "interval", "largest_training_set"]

_HELD_OUT = 5  # one row in so many is never trained on
_ROWS_DRAWN, _FEWEST_DRAWS, _MOST_DRAWS = 16000, 8, 40
_BLOCKS = 4  # sets of probe inputs for each draw of training inputs, where the rows suffice
_FOLDS, _RARE = 6, 0.05  # a feature is rare if one row has more than this share of its variance
_SEPARATE = 0.3  # share of the rows one draw may take for an error from the draws themselves
# Noise power, g/(1−g), from which a threshold is too near for a ratio of sample sizes: the size trained on, the other.
_NEAR, _AT = 2.0, 20.0


class Curves(NamedTuple):
    """Four predictions, each noise level by sample size; see `predict`."""

    alignment: Floats
    output_cka: Floats
    hidden_cka: Floats
    risk: Floats


class Task(NamedTuple):
    """What is asked."""

    snr: Floats  # (S,)
    sizes: NDArray[np.int_]  # (N,)
    ridge: float
    shared_inputs: bool
    n_probe: int
    gaussian: bool
    seed: int
    standardise: bool  # every column by the rows that are not probed
    noise_correlation: float = 0.0


class Found(NamedTuple):
    """What `curves` finds: (S, N) and (N,) arrays."""

    curves: Curves
    error: Curves  # standard errors from the variance of draws
    separate: NDArray[np.bool_]  # where that serves
    draws: Floats  # how many
    scatter: Floats
    gaussian: Curves
    tails: Floats
    estimate: Estimate


class _Column(NamedTuple):
    """`Found` at one sample size."""

    curves: Curves
    error: Curves
    separate: bool
    draws: int
    scatter: Floats
    tails: float


def curves(x: Floats, y: Floats, task: Task, left_out: NDArray[np.bool_] | None = None) -> Found:
    """Predict from x (rows, d) and y (rows, k); rows `left_out` are not used, all else stays the same."""
    kept = np.ones(len(x), dtype=bool) if left_out is None else ~left_out
    found = estimate(x[kept], y[kept])
    gaussian = _gaussian(found, task)
    columns = [
        _column(x, y, int(n), task, found, Curves(*(field[:, i] for field in gaussian)), kept)
        for i, n in enumerate(task.sizes)
    ]

    def stacked(parts: list[Curves]) -> Curves:
        return Curves(*(np.stack(field, axis=1) for field in zip(*parts, strict=True)))

    return Found(
        curves=stacked([column.curves for column in columns]),
        error=stacked([column.error for column in columns]),
        separate=np.array([column.separate for column in columns]),
        draws=np.array([column.draws for column in columns], dtype=np.float64),
        scatter=np.stack([column.scatter for column in columns], axis=1),
        gaussian=gaussian,
        tails=np.array([column.tails for column in columns]),
        estimate=found,
    )


def _column(
    x: Floats, y: Floats, n: int, task: Task, found: Estimate, gaussian: Curves, kept: NDArray[np.bool_]
) -> _Column:
    """Predictions at one sample size, `gaussian` being those of the equivalents."""
    rows = int(kept.sum())
    plan = _plan(n, rows, task, _folds(x, task))
    count = int(np.clip(_ROWS_DRAWN // plan.n, _FEWEST_DRAWS, _MOST_DRAWS))
    if rows < len(x):  # of a jackknife
        count = count // 2
    rng = np.random.default_rng([task.seed, n])
    orders = [rng.permutation(len(x)) for _ in range(count)]  # the same whatever is left out
    drawn = draws(x, y, plan, orders, kept, task.ridge, seed=(task.seed, n))
    grown = drawn if n == plan.n else _grown(drawn, found, plan.n, n, task)
    if grown is None or task.gaussian:
        nothing = np.zeros(len(task.snr))
        return _Column(gaussian, Curves(*[nothing] * 4), False, count, nothing, drawn.tails)
    each = _of_draws(grown, found.variance / task.snr, plan.sets)
    means = Curves(*(field.reshape(len(field), count, plan.blocks).mean(axis=2) for field in each))
    # Averaged over all subsets of the rows no more than the share of rows that one draw trains on remains of a
    # draw's variance (Hoeffding 1948), of which draws that have this share in common show the rest. That most of the
    # variance is owed to training rows, not to probes, is an assumption; it makes up for the bound being loose.
    share = plan.sets * plan.n / rows
    factor = (1 / count + share) / max(1 - share, 1 - _SEPARATE)
    return _Column(
        curves=Curves(*(field.mean(axis=1) for field in each)),
        error=Curves(*(np.sqrt(field.var(axis=1, ddof=1) * factor) for field in means)),
        separate=share <= _SEPARATE and n == plan.n,
        draws=count,
        scatter=each.alignment.std(axis=1, ddof=1),
        tails=drawn.tails,
    )


def _of_draws(drawn: Draws, noise: Floats, sets: int) -> Curves:
    """Every draw's four numbers (S, R) at noise variances (S,)."""
    found = np.array([agreement(drawn, sets, float(level)) for level in noise])  # (S, 3, R)
    return Curves(found[:, 0], found[:, 1], found[:, 2], drawn.risk + noise[:, None] * drawn.power)


def largest_training_set(rows: int, *, shared_inputs: bool) -> int:
    """Training rows of each member when a share of all is held out."""
    return (rows - max(2, rows // _HELD_OUT)) // (1 if shared_inputs else 2)


def _plan(n: int, rows: int, task: Task, folds: int) -> Plan:
    """As many training rows as asked for and possible, and probe rows from what is left."""
    sets = 1 if task.shared_inputs else 2
    held_out = max(2, rows // _HELD_OUT)
    trained = min(n, largest_training_set(rows, shared_inputs=task.shared_inputs))
    # With rare features the number of probe rows matters, and in folds it takes nothing from what standardises.
    free = min(rows - sets * trained, rows // 2) if folds > 1 else held_out
    n_probe = min(task.n_probe, max(held_out, free))
    blocks = min(max(held_out // n_probe, 1), _BLOCKS)
    return Plan(trained, sets, n_probe, blocks, task.standardise, min(folds, n_probe), task.noise_correlation)


def _folds(x: Floats, task: Task) -> int:
    """Into how many parts probe rows are divided, one at a time not being standardised by.

    A feature that a single row may have is multiplied by the more the more rows lack it, and is a constant in training
    that noise is fitted to where only other rows have it. Fresh inputs meet statistics of all rows; leaving out all
    probe rows at once leaves too few of them, and alignment of digits comes out .05 too high.
    """
    squares = np.square(x)
    rare = squares.max(axis=0) > _RARE * squares.sum(axis=0)
    return _FOLDS if task.standardise and bool(rare.any()) else 1


def _gaussian(found: Estimate, task: Task) -> Curves:
    """Curves by the deterministic equivalents."""
    values = linear_network(
        found.eigenvalues,
        found.beta / np.sqrt(found.variance),
        task.sizes,
        task.snr,
        misfit=found.misfit / found.variance,
        ridge=task.ridge,
        noise_correlation=task.noise_correlation,
        shared_inputs=task.shared_inputs,
    )
    return Curves(values.output_correlation, values.output_cka, values.hidden_cka, values.risk * found.variance)


def _grown(drawn: Draws, found: Estimate, trained: int, n: int, task: Task) -> Draws | None:
    """Draws of `trained` rows carried to n in proportion to the equivalents; None near a threshold."""
    theory = alignment(
        found.eigenvalues,
        found.beta,
        [trained, n],
        noise=[0.0, 1.0],
        ridge=task.ridge,
        misfit=found.misfit,
        shared_inputs=task.shared_inputs,
    )
    own = theory.self_overlap
    risk = theory.risk[0] + np.trace(found.misfit) / len(found.misfit)
    if not np.isfinite([own, theory.overlap]).all():
        return None
    power = own[1] - own[0]
    if power[0] > _NEAR or power[1] > _AT or own[0, 0] <= 0:
        return None
    # A map without misfit leaves no risk but noise once everything is learned.
    size, louder = own[0, 1] / own[0, 0], power[1] / power[0]
    scale = np.full(drawn.outputs.shape[1], np.sqrt(louder))
    scale[:: drawn.outputs.shape[1] // (1 if task.shared_inputs else 2)] = np.sqrt(size)  # the mean maps
    factor = scale[:, None, None, None] * scale[:, None]
    return drawn._replace(
        risk=drawn.risk * (risk[1] / risk[0] if risk[0] > 0 else 1.0),
        power=drawn.power * louder,
        outputs=drawn.outputs * factor,
        weights=drawn.weights * factor,
    )


def interval(
    x: Floats, y: Floats, task: Task, found: Found, groups: int, confidence: float
) -> tuple[Curves, Curves, float]:
    """Low and high ends, and the standard error of the mean misfit.

    Where a draw trains on a small share of the rows the variance of draws serves; elsewhere one group of rows after
    the other is left out.
    """
    groups = min(groups, len(x) // 3)
    group = np.random.default_rng([task.seed, 0]).permutation(len(x)) % groups
    together = np.flatnonzero(~found.separate)
    without = [_without(x, y, task._replace(sizes=task.sizes[together]), group == g) for g in range(groups)]
    freedom = np.where(found.separate, found.draws, groups) - 1
    reach = stats.t.ppf((1 + confidence) / 2, freedom)  # (N,)
    lows: list[Floats] = []
    highs: list[Floats] = []
    for name, value in found.curves._asdict().items():
        error = np.array(getattr(found.error, name))
        if len(together):
            error[:, together] = _jackknife(np.stack([getattr(one, name) for one, _ in without]))
        margin = np.where(np.isfinite(value), reach * error, 0.0)
        lows.append(np.maximum(value - margin, 0.0))
        highs.append(value + margin if name == "risk" else np.minimum(value + margin, 1.0))
    misfit = np.array([np.trace(one.misfit) / len(one.misfit) for _, one in without])
    return Curves(*lows), Curves(*highs), float(_jackknife(misfit))


def _without(x: Floats, y: Floats, task: Task, group: NDArray[np.bool_]) -> tuple[Curves | None, Estimate]:
    """Curves, where any are asked for, and the estimate without a group of rows."""
    if len(task.sizes) == 0:
        return None, estimate(x[~group], y[~group])
    found = curves(x, y, task, group)
    return found.curves, found.estimate


def _jackknife(each: Floats) -> Floats:
    """Standard error from the values (groups, …) without each group; 0 where a value is infinite."""
    groups, known = len(each), np.isfinite(each).all(axis=0)
    each = np.where(known, each, 0.0)
    return np.sqrt((groups - 1) / groups * np.sum((each - each.mean(axis=0)) ** 2, axis=0))

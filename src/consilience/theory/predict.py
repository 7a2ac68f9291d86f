"""Alignment predicted from data, before anything is trained."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from consilience.errors import ConsilienceError
from consilience.theory._curves import Curves, Found, Task, curves, interval, largest_training_set
from consilience.theory._estimate import Estimate
from consilience.theory._samples import checked_samples
from consilience.theory._spectrum import Floats, level, levels, whole_numbers

__all__ = ["Curves", "Estimate", "Prediction", "predict"]

_FEWEST_ROWS = 10
_FEW_PROBES = 50
_UNIT = 1e-2
_HEAVY_TAILS = 2.0
_OPTIMISM = 0.03


class Prediction(NamedTuple):
    """Predictions of `predict`; arrays are (S, N), noise level by n_train, without the axis given as a scalar.

    - `alignment`, `output_cka`, `hidden_cka`, `risk`: see `predict`
    - `low`, `high`: `Curves` of the same four, an interval of confidence `level`, None where `groups` is 0
    - `scatter`: standard deviation of `alignment` from one draw of training and probe inputs to another, mean over
      noise: how far a single study may lie from it
    - `gaussian`: `Curves` by the formulas for Gaussian inputs of the same covariance, for comparison
    - `tails` (N,): kurtosis of the outputs' noise relative to Gaussian inputs, 1 for those; see `predict`
    - `extrapolated` (N,): whether n_train is beyond what the rows allow to compute
    - `estimate`: covariance, best linear map and misfit found, see `Estimate`
    - `misfit_error`: standard error of the mean misfit, NaN where `groups` is 0
    - `snr`, `n_train`, `ridge`, `shared_inputs`, `level`: what was asked
    - `warnings`: sentences
    """

    alignment: Floats
    output_cka: Floats
    hidden_cka: Floats
    risk: Floats
    low: Curves | None
    high: Curves | None
    scatter: Floats
    gaussian: Curves
    tails: Floats
    extrapolated: np.ndarray
    estimate: Estimate
    misfit_error: float
    snr: Floats
    n_train: Floats
    ridge: float
    shared_inputs: bool
    level: float
    warnings: tuple[str, ...]


def predict(
    X: ArrayLike,
    y: ArrayLike,
    snr: ArrayLike,
    n_train: ArrayLike,
    ridge: float = 0.0,
    *,
    noise_correlation: float = 0.0,
    shared_inputs: bool = True,
    standardised: bool | None = None,
    method: Literal["rows", "gaussian"] = "rows",
    n_probe: int = 1000,
    groups: int = 10,
    confidence: float = 0.95,
    seed: int = 0,
) -> Prediction:
    """Alignment of linear networks trained on noisy versions of data, from the data.

    Members fit the targets y plus noise drawn afresh for each, of variance (mean variance of y)/SNR per output,
    by ridge regression on n_train rows; ridge 0 is the minimum-norm interpolator. Inputs and targets are centred.
    Given the training inputs X everything is closed form: with K = (X'X + nμ)⁻¹X', w̄ = Ky, T = K'ΣK ::

        C = tr w̄'Σw̄,   Q = C + kσ² tr T,   risk = E‖y − w̄x‖²/k + σ² tr T

    for k outputs and Σ the covariance of `n_probe` other rows. The correlation of two members, C/Q but for the
    fluctuation of their noise, and CKA are averaged over draws of that noise and over random subsets of the rows. No
    distribution of inputs is assumed, and neither is the misfit taken for independent noise. At most 4/5 of the
    rows are trained on and the others probed; beyond, C, tr T and risk grow as for Gaussian inputs with covariance,
    map and misfit estimated from the rows (`Estimate`; corrected for few rows and for the noise that least squares
    fits).

    - `alignment`: expected correlation of two members' outputs on `n_probe` fresh inputs, [0, 1]
    - `output_cka`, `hidden_cka`: expected linear CKA of outputs, and of hidden layers trained from small
      initialization (`hidden_cka`), [0, 1]
    - `risk`: squared error of a member on fresh targets without the added noise, mean over outputs, in target
      variance; the excess over the best linear map is `risk` minus the mean misfit

    Noise that the targets at hand already hold is common to all members, as it is when networks are trained on
    one data set plus noise: it is part of the misfit, and SNR is relative to the variance it is part of.

    Parameters
    ----------
    X : (rows, d)
        Inputs on the scale networks see them: standardise first where training does.
    y : (rows,) or (rows, k)
        Real numbers; or whole numbers, text or true/false (rows,): classes, taken as centred one-hot targets.
    snr : scalar or (S,)
        Mean variance of the targets over the variance of the noise; infinity is no noise.
    n_train : scalar or (N,)
        Training-set sizes.
    ridge : float
        μ of the total penalty n·μ‖w‖², in the units of the inputs' variance.
    noise_correlation : float
        Correlation of two members' noise on the same sample, 0 to 1; without effect where inputs are not shared.
    shared_inputs : bool
        Whether members train on the same inputs.
    standardised : bool
        Whether columns were divided by their standard deviation over these rows: probe inputs are then left out of
        it, as the held-out inputs of a study are; a sixth of them at a time where some column owes more than a
        twentieth of its variance to one row, since statistics of fewer rows differ then. By default whether every
        column that varies has variance 1.
    method
        "rows", or "gaussian" for the deterministic equivalents of Gaussian inputs alone: faster, and within
        .01 of "rows" for inputs that are.
    n_probe : int
        Probe inputs, at most a fifth of the rows, or, where columns are standardised and one row rules some of them,
        what is not trained on, up to half. Heavy-tailed inputs have rare ones that rule a correlation, and more of
        them among more.
    groups : int
        Groups of the delete-group jackknife behind the intervals, used where n_train is above .3 of the rows (the
        variance of draws serves below); 0 leaves intervals out and is up to `groups`/2 times faster.
    confidence : float
        Level of the intervals. They cover the expected value under redrawing of the rows: in simulation with 75 and
        300 rows, light and heavy tails, 97 to 100 % of those of nominal 95 %, being 1.4 to 3.6 times as wide as
        need be. One study, with one draw of inputs, lies within about twice `scatter`.
    seed : int
        Decides the subsets and groups.

    Raises
    ------
    ConsilienceError
        On fewer than 10 rows, shapes that do not fit, values that are not finite, or nothing that varies.

    Notes
    -----
    Accuracy on real data is measured by `benchmarks/predict.py`, which trains ridge regressions at SNR .25, 1 and 4:
    with ridge 1e-3 the mean is within .016 on diabetes (n up to 200), .029 on Fashion-MNIST at 14×14 (n up to
    8000; .008 with pixels on one scale) and .034 on digits up to n = 1000 (.011 with pixels on one scale), where
    formulas for Gaussian inputs are up to .02, .09 and .23 too high. At n = 1000 of a pool of 1438 digits,
    standardised by column, pixels that are on in few images of the pool and in none trained on rule the correlation,
    and one split scatters by up to .2. Without ridge it is within .053 elsewhere, with standard errors of up to .08.

    `tails` is E[s²]/E[s]² of s, the noise variance of the output at one probe input, over the value
    1 + 2 tr T²/(tr T)² it has for Gaussian inputs: Mardia's kurtosis in the metric of the noise.

    Extrapolation needs the covariance beyond the directions the rows span: with fewer rows than inputs it is a
    guess, and `warnings` says so. Leave-one-out forms of risk: Golub, Heath & Wahba (Technometrics 1979); groups:
    Shao & Tu, The Jackknife and Bootstrap (1995). The overlaps are derived here.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> x = rng.standard_normal((2000, 20))
    >>> y = x @ rng.standard_normal(20)
    >>> prediction = predict(x, y, snr=[1, 4], n_train=[10, 40, 200], groups=5)
    >>> prediction.alignment.round(1)
    array([[0.3, 0.5, 0.9],
           [0.7, 0.8, 1. ]])
    >>> prediction.warnings
    ()
    """
    inputs, targets = checked_samples(X, y, fewest=_FEWEST_ROWS)
    ratios = levels("snr", snr, above_zero=True, infinite=True)
    sizes, penalty = whole_numbers("n_train", n_train), level("ridge", ridge)
    _check(method, n_probe, groups, confidence)
    if not 0 <= noise_correlation <= 1:
        raise ConsilienceError(f"noise_correlation is {noise_correlation!r}: give a number from 0 to 1")
    task = Task(
        np.atleast_1d(ratios),
        np.atleast_1d(sizes).astype(int),
        penalty,
        shared_inputs,
        n_probe,
        method == "gaussian",
        seed,
        _standardised(inputs) if standardised is None else standardised,
        noise_correlation,
    )
    found = curves(inputs, targets, task)
    low, high, misfit_error = None, None, float("nan")
    if groups:
        low, high, misfit_error = interval(inputs, targets, task, found, groups, confidence)
    largest = largest_training_set(len(inputs), shared_inputs=shared_inputs)
    shape = ratios.shape + sizes.shape

    def shaped(values: Curves) -> Curves:
        return Curves(*(field.reshape(shape) for field in values))

    return Prediction(
        *shaped(found.curves),
        low=None if low is None else shaped(low),
        high=None if high is None else shaped(high),
        scatter=found.scatter.reshape(shape),
        gaussian=shaped(found.gaussian),
        tails=found.tails.reshape(sizes.shape),
        extrapolated=(task.sizes > largest).reshape(sizes.shape),
        estimate=found.estimate,
        misfit_error=misfit_error,
        snr=ratios,
        n_train=sizes,
        ridge=penalty,
        shared_inputs=shared_inputs,
        level=confidence,
        warnings=_warnings(task, found, largest),
    )


def _standardised(x: Floats) -> bool:
    """Whether columns have mean square 1 or 0, to the precision of float32 sums."""
    square = np.mean(x**2, axis=0)
    return bool(np.all((np.abs(square - 1) < _UNIT) | (square < _UNIT)))


def _check(method: str, n_probe: int, groups: int, confidence: float) -> None:
    if method not in ("rows", "gaussian"):
        raise ConsilienceError(f"method is {method!r}: choose 'rows' or 'gaussian'")
    if n_probe < 2:
        raise ConsilienceError(f"n_probe is {n_probe}: a correlation takes at least 2 probe inputs")
    if groups and groups < 3:
        raise ConsilienceError(f"groups is {groups}: give 3 or more for intervals, or 0 for none")
    if not 0 < confidence < 1:
        raise ConsilienceError(f"confidence is {confidence!r}: give a number between 0 and 1, such as 0.95")


def _warnings(task: Task, found: Found, largest: int) -> tuple[str, ...]:
    """What a reader of the numbers must know."""
    rows, said = found.estimate.rows, list[str]()
    beyond = task.sizes[task.sizes > largest]
    if len(beyond) and not task.gaussian:
        text = (
            f"n_train from {beyond.min()} on is beyond what {rows} rows allow to compute ({largest}) and extrapolated "
            "by the formulas for Gaussian inputs"
        )
        if rows <= found.estimate.rank + 1:
            text += ", whose covariance is a guess: there are no more rows than directions in which inputs vary"
        said.append(text + ".")
    held_out = min(task.n_probe, rows // 5)
    if held_out < _FEW_PROBES and not task.gaussian:
        said.append(f"Outputs are compared on {held_out} held-out rows at a time: read the intervals.")
    if (found.tails > _HEAVY_TAILS).any():
        said.append(_about_tails(task, found))
    return tuple(said)


def _about_tails(task: Task, found: Found) -> str:
    heaviest = int(np.argmax(found.tails))
    text = (
        f"Inputs have heavier tails than Gaussian ones (kurtosis {found.tails[heaviest]:.1f} times theirs at "
        f"n = {task.sizes[heaviest]}): "
    )
    if task.gaussian:
        text += "alignment is lower than predicted"
        return text + ("." if task.ridge else ", most around the interpolation threshold, without a ridge to limit it.")
    optimism = float(np.max(found.gaussian.alignment - found.curves.alignment))
    if optimism > _OPTIMISM:
        text += f"formulas that take them as Gaussian are up to {optimism:.2f} above these predictions, and "
    return text + "rare inputs make single studies scatter."

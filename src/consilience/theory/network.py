"""What a study of linear networks should find, on its grid of SNR and sample size."""

from __future__ import annotations

from typing import NamedTuple

from numpy.typing import ArrayLike

from consilience.errors import ConsilienceError
from consilience.theory._fluctuations import correlation, hidden_alignment, output_alignment, scatter
from consilience.theory._grid import grid
from consilience.theory._spectrum import Floats, levels, spectrum

__all__ = ["Allowance", "LinearNetwork", "finite_size_allowance", "linear_network"]


class LinearNetwork(NamedTuple):
    """Predictions of `linear_network`, each (S, N): SNR by n_train, without the axis that was given as a scalar."""

    output_correlation: Floats
    output_cka: Floats
    hidden_cka: Floats
    risk: Floats


class Allowance(NamedTuple):
    """Standard deviations `finite_size_allowance` returns, named as in `LinearNetwork`, each (S, N)."""

    output_correlation: Floats
    output_cka: Floats
    hidden_cka: Floats


def linear_network(
    eigenvalues: ArrayLike,
    beta: ArrayLike,
    n_train: ArrayLike,
    snr: ArrayLike,
    *,
    misfit: ArrayLike = 0.0,
    ridge: float = 0.0,
    noise_correlation: float = 0.0,
    shared_inputs: bool = True,
) -> LinearNetwork:
    """Alignment and risk of linear networks f(x) = W₂W₁x whose members differ by label noise.

    Every output is meant to be standardised: the clean target, linear part plus misfit, has variance 1. The
    noise variance of each output is then 1/SNR, whatever part of the target a linear map can reach.

    - `output_correlation`: ρ = tr C / tr Q, expected correlation of two members' outputs on fresh inputs
    - `output_cka`: expected linear CKA of the outputs (finite size; the squared cosine for one output)
    - `hidden_cka`: expected linear CKA of the hidden layers, small initialization (see `hidden_cka`)
    - `risk`: test error against clean targets, excess plus misfit, mean over outputs: a fraction of the
      clean target variance; infinite within one sample of the rank without ridge

    Accuracy is that of `alignment` and `hidden_cka`, measured by benchmarks/theory.py.

    Parameters
    ----------
    eigenvalues : (d,)
        Eigenvalues of the input covariance.
    beta : (d,) or (k, d)
        Coefficients of the best linear map in the eigenbasis.
    n_train, snr : scalar or (N,), scalar or (S,)
        Training-set sizes and signal-to-noise ratios; infinity means no noise.
    misfit : scalar, (k,) or (k, k)
        Variance of what no linear map reaches, per output, or its covariance; members share it.
    ridge : float
        μ of the total penalty n·μ; 0 is the minimum-norm solution gradient flow reaches.
    noise_correlation : float
        Correlation of two members' noise on the same sample, 0 to 1; without effect where inputs are not shared.
    shared_inputs : bool
        Whether members train on the same inputs.

    Raises
    ------
    ConsilienceError
        On values out of range, naming the argument.

    Examples
    --------
    >>> import numpy as np
    >>> beta = np.full(100, 0.1)
    >>> prediction = linear_network(np.ones(100), beta, [50, 100, 300], 1.0)
    >>> prediction.output_correlation.round(3)
    array([0.333, 0.   , 0.667])
    >>> prediction.risk.round(3)
    array([1.52 ,   inf, 0.503])
    """
    teacher = spectrum(eigenvalues, beta)
    ratios = levels("snr", snr, above_zero=True, infinite=True)
    cells = grid(
        teacher,
        n_train,
        1 / ratios,
        ridge=ridge,
        misfit=misfit,
        noise_correlation=noise_correlation,
        shared_inputs=shared_inputs,
    )
    members = cells.members
    return LinearNetwork(
        output_correlation=cells.fill(correlation(members)),
        output_cka=cells.fill(output_alignment(members)),
        hidden_cka=cells.fill(hidden_alignment(members, 0.0)),
        risk=cells.fill(cells.mean_variance(members.risk + cells.misfit)),
    )


def finite_size_allowance(
    eigenvalues: ArrayLike,
    beta: ArrayLike,
    n_train: ArrayLike,
    snr: ArrayLike,
    *,
    members: int,
    misfit: ArrayLike = 0.0,
    ridge: float = 0.0,
) -> Allowance:
    """How far one study may lie from `linear_network` by chance: one standard deviation.

    A study measures the mean over pairs of `members` networks that share one draw of inputs. With q = tr Q,
    the variance of its correlation is, to first order, the sum of ::

        (1−ρ)² Var(s)/q²                          s: size of the shared signal, 2(1−n/d)/n of it for n < d
        4/M [(1−ρ)² σ² tr P + ρ² σ⁴ kτ/2]/q²      noise of M members
        2/(M(M−1)) σ⁴ kτ/q²                       noise of pairs
        (ρ at a threshold √(2g) samples away − ρ)²   noise power, which n − d decides

    and CKA adds to 2ρ times this √(2/(pairs k²) + 7 g/(n(1−g)+3)²) of its excess over ρ², whose second term
    was fitted. Inputs are shared; the error of a finite probe set is not included.

    Parameters
    ----------
    eigenvalues, beta, n_train, snr, misfit, ridge
        As in `linear_network`.
    members : int
        Networks per cell, from 2.

    Raises
    ------
    ConsilienceError
        On fewer than two members and values out of range.

    Notes
    -----
    Against simulation (isotropic, d = 100 and 200, one and three outputs, 8 members, SNR .25 to 4, n/d from
    .1 to 10) the standard deviation of the correlation found was between .75 and 1.3 times the returned one,
    that of CKA between .5 and 1.9 times. With λ ∝ i^−0.8 or i^−1.5, misfit and ridge 0 or .01 as well, 90 to 100 %
    of data sets lay within twice the returned value of `linear_network`, also next to the threshold.

    Examples
    --------
    >>> import numpy as np
    >>> allowance = finite_size_allowance(np.ones(100), np.full(100, 0.1), [30, 110, 500], 1.0, members=8)
    >>> allowance.output_correlation.round(3)
    array([0.074, 0.065, 0.011])
    """
    if members < 2:
        raise ConsilienceError(f"members is {members}: agreement takes at least two networks per cell")
    teacher = spectrum(eigenvalues, beta)
    ratios = levels("snr", snr, above_zero=True, infinite=True)
    cells = grid(teacher, n_train, 1 / ratios, ridge=ridge, misfit=misfit)
    found = scatter(cells.members, cells.moments, members)
    return Allowance(cells.fill(found.correlation), cells.fill(found.output), cells.fill(found.hidden))

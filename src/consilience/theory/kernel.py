"""The same theory on the spectrum of a kernel: networks in the lazy regime, random features."""

from __future__ import annotations

import numpy as np
import scipy.linalg
from numpy.typing import ArrayLike

from consilience.errors import ConsilienceError
from consilience.theory._estimate import Estimate, estimate
from consilience.theory._samples import checked_targets
from consilience.theory._spectrum import Floats

__all__ = ["kernel_features", "kernel_spectrum"]

_ROUNDING = float(np.finfo(np.float32).eps)  # of the largest eigenvalue: networks compute in float32


def kernel_features(K: ArrayLike) -> Floats:
    """Features Φ (rows, r) with ΦΦᵀ = HKH, H = I − 11ᵀ/rows: a kernel as inputs of `predict`.

    Kernel ridge regression on rows of K is ridge regression on rows of Φ, so that ::

        predict(kernel_features(K), y, snr, n_train, ridge)

    predicts the alignment of kernel machines, and of networks in the lazy regime, whose outputs are those of the
    machine with their tangent kernel at initialization (Jacot, Gabriel & Hongler, arXiv 1806.07572), up to the
    function that the network computes before training: it adds the same to all members that share an
    initialization, and with initializations of their own each has another kernel too; both are left out here.

    Parameters
    ----------
    K : (rows, rows)
        Kernel matrix, symmetric and positive semidefinite up to float32 rounding.

    Returns
    -------
    (rows, r)
        Columns by descending eigenvalue, those within rounding of zero left out.

    Raises
    ------
    ConsilienceError
        When K is no finite symmetric matrix, has a clearly negative eigenvalue or none above zero.

    Notes
    -----
    Memory and time are those of an eigendecomposition of rows × rows. Gradient descent for t steps of rate η on
    ‖f − y‖²/n stops where a ridge of about 1/(2ηt) would (Ali, Kolter & Tibshirani, arXiv 1810.10082).

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(0).standard_normal((6, 2))
    >>> features = kernel_features(x @ x.T)
    >>> centred = x - x.mean(axis=0)
    >>> features.shape, bool(np.allclose(features @ features.T, centred @ centred.T))
    ((6, 2), True)
    """
    kernel = np.asarray(K, dtype=np.float64)
    if kernel.ndim != 2 or kernel.shape[0] != kernel.shape[1] or len(kernel) < 2 or not np.isfinite(kernel).all():
        raise ConsilienceError(f"K has shape {kernel.shape} or a value that is not finite: give a matrix (rows, rows)")
    rounding = _ROUNDING * float(np.abs(kernel).max()) * len(kernel)
    if np.abs(kernel - kernel.T).max() > rounding:
        raise ConsilienceError(f"K is not symmetric: entries differ by up to {np.abs(kernel - kernel.T).max():.3g}")
    kernel = (kernel + kernel.T) / 2
    kernel = kernel - kernel.mean(axis=0) - kernel.mean(axis=1)[:, None] + kernel.mean()
    values, vectors = scipy.linalg.eigh(kernel)
    if values[0] < -max(rounding, 1e-4 * values[-1]):
        raise ConsilienceError(f"K has the eigenvalue {values[0]:.3g} beside {values[-1]:.3g}: it is no kernel matrix")
    kept = values > _ROUNDING * values[-1]
    if values[-1] <= rounding * 1e-3 or not kept.any():
        raise ConsilienceError("K is constant: a kernel that tells no two rows apart has nothing to learn from")
    return (vectors[:, kept] * np.sqrt(values[kept]))[:, ::-1]


def kernel_spectrum(K: ArrayLike, y: ArrayLike) -> Estimate:
    """Eigenvalues of a kernel and targets in its eigenbasis, for `alignment`: eigenvalues, beta, misfit.

    The eigenvalues of HKH/rows, and y in its eigenvectors, with what sampling does to both undone: rows are as
    few as directions here, so sample eigenvalues spread and sample coefficients explain y entirely, noise
    included. How, see `predict`: the spectrum, power and misfit that ridge regression on all rows implies as its
    penalty changes. Eigenvalues below what rows resolve (n_train above `rows`) are a guess.

    Parameters
    ----------
    K : (rows, rows)
        Kernel matrix on the inputs at hand.
    y : (rows,) or (rows, k)
        Targets, or classes, as in `predict`.

    Returns
    -------
    Estimate
        `eigenvalues` (r,), `beta` (k, r), `misfit` (k, k), `variance` and more.

    Raises
    ------
    ConsilienceError
        As `kernel_features`, and on targets that do not fit or do not vary.

    Notes
    -----
    `alignment` treats features as Gaussian. Those of kernels are heavier-tailed: ridgeless and near the
    threshold n = rows it is optimistic. `predict` on `kernel_features` assumes nothing of the kind.

    Examples
    --------
    >>> import numpy as np
    >>> from consilience.theory import alignment
    >>> x = np.random.default_rng(0).uniform(-1, 1, (200, 1))
    >>> found = kernel_spectrum(np.exp(-((x - x.T) ** 2)), np.sin(3 * x[:, 0]))
    >>> predicted = alignment(found.eigenvalues, found.beta, [20, 80], snr=1.0, ridge=1e-3, misfit=found.misfit)
    >>> predicted.alignment.round(1)
    array([0.8, 1. ])
    """
    features = kernel_features(K)
    return estimate(features, checked_targets(y, len(features)))

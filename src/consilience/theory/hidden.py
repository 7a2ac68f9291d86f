"""The hidden layer of the linear network f(x) = W₂W₁x."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from consilience.errors import ConsilienceError
from consilience.theory._fluctuations import hidden_alignment
from consilience.theory._grid import grid, noise_levels
from consilience.theory._spectrum import Floats, levels, spectrum, whole_numbers

__all__ = ["hidden_cka", "hidden_gram", "lazy_cka"]


def hidden_gram(weights: ArrayLike, delta: float = 0.0) -> Floats:
    """Gram matrix G = W₁ᵀW₁ (d, d) that gradient flow gives the hidden layer, from the map W = W₂W₁ (k, d).

    Gradient flow conserves W₂ᵀW₂ − W₁W₁ᵀ = δI. On the directions W uses, M = WᵀW, ::

        G = −(δ/2) I + (δ²/4 I + M)^½

    so that G = M^½ from small (balanced) initialization, δ = 0: the layer holds what the outputs need and
    nothing else. Large δ > 0 makes G proportional to M, large δ < 0 makes it flat on those directions.

    Parameters
    ----------
    weights : (d,) or (k, d)
        Effective map W of the trained network.
    delta : float
        Imbalance δ, in units of squared weights.

    Raises
    ------
    ConsilienceError
        When `weights` is no matrix of finite numbers, or `delta` is not finite.

    Notes
    -----
    Exact for gradient flow. With initial weights that are neither small nor balanced δ is a matrix and the
    formula fails: CKA of G with M^½ is 1.000, 1.000, .9997 and .49 where initial weights are .001, .01, .1 and 1
    times N(0, 1/fan-in) (30 inputs, 40 hidden units, 3 outputs, 20 samples). `regime` measures it for a trained
    network. Saxe, McClelland & Ganguli (arXiv 1312.6120); Dominé et al. (arXiv 2409.14623).

    Examples
    --------
    >>> hidden_gram([[3.0, 0.0], [0.0, 4.0]])
    array([[3., 0.],
           [0., 4.]])
    """
    matrix = np.atleast_2d(np.asarray(weights, dtype=np.float64))
    if matrix.ndim != 2 or not np.isfinite(matrix).all() or not np.isfinite(delta):
        raise ConsilienceError(
            f"weights of shape {np.shape(weights)} with delta={delta!r}: give a matrix (k, d) of finite numbers "
            "and a finite delta"
        )
    _, singular, right = np.linalg.svd(matrix, full_matrices=False)  # (r,), (r, d)
    used = singular > singular[0] * max(matrix.shape) * np.finfo(np.float64).eps
    singular, right = singular[used], right[used]
    return (right.T * gram_values(singular, delta)) @ right


def gram_values(singular: Floats, delta: float) -> Floats:
    """Eigenvalues −δ/2 + √(δ²/4 + s²) of G for singular values s > 0 of the map, each to rounding."""
    root = np.hypot(delta / 2, singular)
    return singular**2 / (delta / 2 + root) if delta > 0 else root - delta / 2


def hidden_cka(
    eigenvalues: ArrayLike,
    beta: ArrayLike,
    n_train: ArrayLike,
    noise: ArrayLike | None = None,
    snr: ArrayLike | None = None,
    ridge: float = 0.0,
    misfit: ArrayLike = 0.0,
    noise_correlation: float = 0.0,
    shared_inputs: bool = True,
    *,
    delta: float = 0.0,
) -> Floats:
    """Expected linear CKA of the hidden layers of two linear networks, on fresh inputs: (S, N), in [0, 1].

    Small initialization gives the hidden layer the Gram G = (WᵀW)^½ (see `hidden_gram`). With k×k averages
    A = E[WWᵀ], C = E[W₁ΣW₂ᵀ], Q = E[WΣWᵀ] and H = A^(−½), ::

        CKA ≈ c + (1−c)·k/m',   c = (tr[HCHCᵀ] + Δ₁₂)/(tr[HQHQ] + Δ₁₁) · (t² + τ₁₁)/(t² + τ₁₂)

    where Δ are second-order changes of the two products by what differs between data sets (A, C and Q vary
    together), τ the variance of the trace t = tr[HQ] and its covariance between members, and the last term is
    chance agreement, noise of both members on the same few directions. To leading order (m' = m) that adds
    (2σ² tr H tr(HP) + σ⁴ (tr H)² tr T²)/(tr[HQHQ] + Δ₁₁), with P the overlap of noise with the shared signal,
    T = KᵀΣK and K the map from targets to weights; m' = max(m, k) + min(m, k)(1 − m^(−3/2))[(1−1/k)/4 + g(1+1/k)]
    is the next order, of which the part with g was fitted to simulation. For one output the layer has rank one and
    this is the squared cosine `alignment` returns.

    Parameters
    ----------
    eigenvalues, beta, n_train, noise, snr, ridge, misfit, noise_correlation, shared_inputs
        As in `alignment`.
    delta : float
        Imbalance δ of the initialization, W₂ᵀW₂ − W₁W₁ᵀ = δI; 0 is small initialization.

    Raises
    ------
    ConsilienceError
        On values out of range, naming the argument.

    Notes
    -----
    Assumes inputs close to Gaussian. Over the 3600 settings of benchmarks/theory.py away from |n − d| ≤ d/10
    without ridge (d = 60 and 100; λ ∝ i^−p, p from 0 to 1.5; 1, 3 and 10 outputs; misfit; SNR .25 to 4; ridge 0 to
    .3; n = d/20 to 10 d) it is within .01 + .1(k+1)/n of the simulated mean, give or take its error, in 96 %: 99.7 %
    with shared inputs, 98 % with several outputs and own inputs and ridge up to .02, and 76 % with ridge .3, where it
    is up to .34 too high. Next to the threshold 90 %, errors within .23. Errors of several outputs and own inputs
    reach .25 where n < 3k: the expansion is in (k+1)/n, and is faded out there. One data set scatters as
    `finite_size_allowance` says. A network trained from large initialization is not described: its hidden layer
    keeps random features, see `lazy_cka`, and `regime` for which case a network is.

    Atanasov, Bordelon & Pehlevan (arXiv 2111.00034); Min et al. (arXiv 2105.06351).

    Examples
    --------
    >>> import numpy as np
    >>> beta = np.zeros((3, 100))
    >>> beta[[0, 1, 2], [0, 1, 2]] = 1
    >>> hidden_cka(np.ones(100), beta, [20, 110, 500], snr=2.0).round(2)
    array([0.46, 0.22, 0.79])
    """
    if not np.isfinite(delta):
        raise ConsilienceError(f"delta is {delta!r}: give a finite number, 0 for small initialization")
    teacher = spectrum(eigenvalues, beta)
    cells = grid(
        teacher,
        n_train,
        noise_levels(teacher, noise, snr),
        ridge=ridge,
        misfit=misfit,
        noise_correlation=noise_correlation,
        shared_inputs=shared_inputs,
    )
    return cells.fill(hidden_alignment(cells.members, delta))


def lazy_cka(eigenvalues: ArrayLike, width: ArrayLike) -> Floats:
    """Linear CKA of two independent random first layers of width h: the baseline of lazy training, (0, 1].

    Weights are independent with mean zero, and ::

        CKA = tr Σ² / (tr Σ² (1 + 1/h) + (tr Σ)²/h)

    the ratio of expectations, right within O(1/h) of the mean. It owes nothing to the targets.

    Parameters
    ----------
    eigenvalues : (d,)
        Eigenvalues of the input covariance.
    width : scalar or (H,)
        Number of hidden units h.

    Raises
    ------
    ConsilienceError
        On negative eigenvalues or widths that are no whole numbers from 1.

    Examples
    --------
    >>> import numpy as np
    >>> lazy_cka(np.ones(100), [10, 100, 1000]).round(3)
    array([0.09 , 0.498, 0.908])
    """
    values = levels("eigenvalues", eigenvalues)
    h = whole_numbers("width", width)
    if not values.any():
        raise ConsilienceError("every eigenvalue is zero: inputs that never vary have no representation")
    values = values / values.max()
    square, total = float(np.sum(values**2)), float(np.sum(values))
    return np.asarray(square / (square * (1 + 1 / h) + total**2 / h))

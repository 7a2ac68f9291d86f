"""Linear networks solved in closed form: where gradient flow from small initialization ends, without the flow.

The map W (inputs, outputs) minimises ‖XW − Y‖² / n + μ‖W‖²; for μ = 0 it is the one of least norm. The
network is its balanced factorization: with the thin SVD W = V S Uᵀ, W₁ᵀ = V S^½ and W₂ᵀ = S^½ Uᵀ (Saxe,
McClelland & Ganguli, arXiv 1312.6120), unique up to a rotation of the hidden layer.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from consilience.data import Splits
from consilience.train.realize import realized
from consilience.train.spec import Arrays, Rows, Spec, Trained, Weights

__all__ = ["solve"]

Floats = NDArray[np.float64]


def solve(spec: Spec, rows: Rows, splits: Splits, *, seed: int, n_max: int, noise: tuple[Any, ...] = ()) -> Trained:
    """Solve every row; rows with the same inputs (n_train, and member or level where those change X) share one SVD.

    Parameters
    ----------
    rows
        Fields (rows,); learning rate, weight decay and initialization do not matter here.
    n_max
        Samples realized for each row, at least its n_train: one number for the whole grid compiles once.
    noise
        What `NoiseProcess.fitted` returns of the pool.

    Returns
    -------
    Trained
        float64; the hidden layer has min(inputs, outputs) columns, the rank of the map. No weights are initial.
    """
    data = Arrays.of(splits, seed, noise)
    results: dict[int, dict[str, Any]] = {}
    for together in _same_inputs(spec, rows):
        n = int(rows.n_train[together[0]])
        inputs = inverse = np.empty((0, 0))
        for i in together:
            noisy, labels = realized(spec, rows.member[i], rows.level[i], n, data, n_max=n_max)
            if i == together[0]:
                inputs = noisy.astype(np.float64)
                inverse = _regularized_inverse(inputs, spec.options.ridge)
            # One product for each row, not one for all: its rounding must not depend on which rows are together.
            weight = inverse @ _targets(spec, labels)
            results[i] = _describe(spec, weight, inputs, labels, splits, float(rows.target_variance[i]))
    return _stack([results[i] for i in range(len(rows.n_train))])


def _stack(networks: list[dict[str, Any]]) -> Trained:
    """Put the networks' results together, one leading axis for networks."""
    fields: dict[str, Any] = {
        name: np.array([one[name] for one in networks]) for name in networks[0] if name not in _ARRAYS
    }
    layers = {name: np.stack([one["layers"][name] for one in networks]) for name in networks[0]["layers"]}
    first, second = (np.stack(matrices) for matrices in zip(*(one["weights"] for one in networks), strict=True))
    return Trained(layers=layers, weights=Weights(first, second, initial=None), **fields)


_ARRAYS = ("layers", "weights")  # fields of `Trained` that are more than one number for each network


def _same_inputs(spec: Spec, rows: Rows) -> Iterator[list[int]]:
    """Yield groups of rows whose training inputs are the same matrix."""
    groups: dict[tuple[float, ...], list[int]] = {}
    for i in range(len(rows.n_train)):
        own = ()
        if "inputs" not in spec.shared:
            own = (float(rows.member[i]),)
        if spec.process.corrupts == "inputs":
            own = (float(rows.member[i]), float(rows.level[i]))
        groups.setdefault((float(rows.n_train[i]), *own), []).append(i)
    yield from groups.values()


def _targets(spec: Spec, labels: NDArray[Any]) -> Floats:
    """Return (n, outputs): regression targets, or one-hot labels centred by 1 / classes."""
    if not spec.classification:
        return labels.astype(np.float64)
    return np.eye(spec.n_outputs)[labels] - 1 / spec.n_outputs


def _regularized_inverse(x: Floats, ridge: float) -> Floats:
    """Return (inputs, n): the map from targets to the ridge or minimum-norm solution, by one thin SVD of x."""
    left, singular, right = scipy.linalg.svd(x, full_matrices=False)
    # Inputs are float32: singular values below its resolution are rounding, not directions of the data.
    kept = singular > np.finfo(np.float32).eps * singular[0]
    filtered = np.zeros_like(singular)
    filtered[kept] = singular[kept] / (singular[kept] ** 2 + len(x) * ridge)
    return (right.T * filtered) @ left.T


def _describe(
    spec: Spec, weight: Floats, x: Floats, labels: NDArray[Any], splits: Splits, target_variance: float
) -> dict[str, Any]:
    """Return the fields of `Trained` for one network."""
    basis, singular, turned = scipy.linalg.svd(weight, full_matrices=False)
    root = np.sqrt(singular)
    probe = np.asarray(splits.probe_x, np.float64)
    train_loss, train_error = _fit(spec, x @ weight, labels, target_variance)
    test_loss, test_error = _fit(spec, np.asarray(splits.test_x, np.float64) @ weight, splits.test_y, 1.0)
    return {
        "layers": {"hidden_1": (probe @ basis) * root, "output": probe @ weight},
        "weights": ((basis * root).T, turned.T * root),
        "train_loss": train_loss,
        "train_error": train_error,
        "test_loss": test_loss,
        "test_error": test_error,
        "diverged_at": np.int32(-1),
    }


def _fit(spec: Spec, output: Floats, labels: NDArray[Any], target_variance: float) -> tuple[float, float]:
    """Return mean squared error and error as `Trained` defines it."""
    loss = float(np.mean((output - _targets(spec, labels)) ** 2))
    if spec.classification:
        return loss, float(np.mean(np.argmax(output, axis=1) != labels))
    return loss, loss / target_variance

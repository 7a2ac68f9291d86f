"""Inputs and targets as float64 matrices, or an error that says what is wrong with them."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from consilience.errors import ConsilienceError
from consilience.theory._spectrum import Floats

__all__ = ["checked_samples", "checked_targets"]


def checked_samples(x: ArrayLike, y: ArrayLike, *, fewest: int) -> tuple[Floats, Floats]:
    """Inputs (rows, d) and targets (rows, k), each with its mean taken off."""
    inputs = np.asarray(x)
    if inputs.ndim != 2 or inputs.shape[1] == 0 or inputs.dtype.kind not in "biuf":
        raise ConsilienceError(
            f"X is {inputs.dtype} of shape {inputs.shape}: give numbers, one row for each sample, (rows, d)"
        )
    if len(inputs) < fewest:
        raise ConsilienceError(f"X has {len(inputs)} rows: at least {fewest} are needed to estimate anything")
    inputs = _finite("X", inputs.astype(np.float64))
    return inputs - inputs.mean(axis=0), checked_targets(y, len(inputs))


def checked_targets(y: ArrayLike, rows: int) -> Floats:
    """Targets (rows, k), mean taken off; whole numbers, text and true/false are classes."""
    array = np.asarray(y)
    if array.ndim not in (1, 2) or array.size == 0 or len(array) != rows:
        raise ConsilienceError(f"y has shape {array.shape} while there are {rows} rows: give (rows,) or (rows, k)")
    if array.dtype.kind == "f" or (array.dtype.kind in "iu" and array.ndim == 2):
        targets = _finite("y", array.astype(np.float64).reshape(rows, -1))
    elif array.ndim == 1 and array.dtype.kind in "biuUSO":
        targets = _one_hot(array)
    else:
        raise ConsilienceError(f"y is {array.dtype} of shape {array.shape}: give real numbers, or classes (rows,)")
    return targets - targets.mean(axis=0)


def _one_hot(labels: np.ndarray) -> Floats:
    names, codes = np.unique(labels.astype(str) if labels.dtype.kind == "O" else labels, return_inverse=True)
    if len(names) > max(2, len(labels) // 2):
        raise ConsilienceError(
            f"y has {len(names)} different values in {len(labels)} rows: these are not classes; give measurements as "
            "floating-point numbers, y.astype(float)"
        )
    return np.eye(len(names))[codes.reshape(-1)]


def _finite(name: str, values: Floats) -> Floats:
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        row, column = bad[0]
        raise ConsilienceError(
            f"{name} holds {values[row, column]} in row {row}, column {column} ({len(bad)} such values): remove these "
            "rows or replace the values"
        )
    return values

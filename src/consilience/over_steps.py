"""Alignment, losses and errors of one cell at steps on the way: the variables of runs with ``measure.steps``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consilience import train

__all__ = ["trajectory_values"]

Score = Callable[[int, str, NDArray[Any], NDArray[np.bool_]], NDArray[np.float64]]

_PER_MEMBER = {
    "train_loss_at": "train_loss",
    "train_error_at": "train_error",
    "test_loss_at": "test_loss",
    "test_error_at": "test_error",
}


def trajectory_values(
    trained: train.Trained,
    end: NDArray[np.float64],
    *,
    steps: NDArray[np.int64],
    layers: tuple[str, ...],
    last: int,
    score: Score,
) -> dict[str, Any]:
    """Return the blocks (step, …) of one cell.

    Parameters
    ----------
    trained
        The cell's networks; steps it has no checkpoint at stay NaN.
    end : (layer, measure, pair)
        Scores after training, which are those at the last step.
    steps
        Values of the run's coordinate ``step``.
    layers, last
        Names of the run's layers, and the cell's last step.
    score
        Maps a step, a layer's name, activations (member, probe input, unit) and which members are usable to scores
        (measure, pair).
    """
    path = trained.trajectory
    members = len(trained.train_loss)
    found: dict[str, Any] = {name: np.full((len(steps), members), np.nan) for name in _PER_MEMBER}
    found["trajectory"] = np.full((len(steps), *end.shape), np.nan)
    if path is None:
        return found
    for i, step in enumerate(path.steps[0].tolist()):
        where = int(np.searchsorted(steps, step))
        alive = _alive(trained, i, step)
        for name, field in _PER_MEMBER.items():
            found[name][where] = np.where(alive, getattr(path, field)[:, i], np.nan)
        if step == last:
            found["trajectory"][where] = end
            continue
        for row, layer in enumerate(layers):
            if layer in path.layers:
                found["trajectory"][where, row] = score(step, layer, path.layers[layer][:, i], alive)
    return found


def _alive(trained: train.Trained, i: int, step: int) -> NDArray[np.bool_]:
    """Members that are finite at checkpoint i and had not diverged by then."""
    path = trained.trajectory
    assert path is not None
    alive = (trained.diverged_at < 0) | (trained.diverged_at >= step)
    for loss in (path.train_loss, path.test_loss):
        alive = alive & np.isfinite(loss[:, i])
    for activations in path.layers.values():
        alive = alive & np.isfinite(activations[:, i]).all(axis=(1, 2))
    return alive

"""The interpolation threshold: how large a training set is still fitted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from consilience.errors import ConsilienceError
from consilience.facts.curves import At, combinations, per_member

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["Threshold", "interpolation_threshold", "thresholds_at"]


@dataclass(frozen=True)
class Threshold:
    """Where fitting stops on one curve; the threshold lies between the two n_train given."""

    snr: float
    at: At
    last_fitted: int | None
    """Largest n_train fitted by the share of members asked; None when no n_train is."""
    first_unfitted: int | None
    """The next n_train measured; None when the largest on the grid is fitted."""
    gaps: tuple[int, ...]
    """n_train below `last_fitted` that were not fitted: training, not capacity, is then in question."""


def interpolation_threshold(ds: xr.Dataset, *, share: float = 0.5) -> list[Threshold]:
    """The largest n_train that at least `share` of the members fit, for every SNR and further axes.

    "Fitted" is the run's `converged`: no training error in classification, at most 1e-3 of the variance
    of the target in regression. The default asks for half of the members, because the threshold is meant
    for the typical training run: with all of them one unlucky initialization would move it, with any of
    them one lucky one. Members that diverged are not counted, as they say nothing about what can be fitted.

    Parameters
    ----------
    ds
        A run.
    share
        In (0, 1]; 1 asks for every member.

    Returns
    -------
    list of Threshold
        In the order of axes, then SNR; a curve without any finished training has no entry.

    Raises
    ------
    ConsilienceError
        When `share` is not in (0, 1].

    Examples
    --------
    Two members; at n_train = 100 one of them still fits, at 1000 none does.

    >>> import xarray as xr
    >>> dims = ("snr", "n_train", "member")
    >>> run = xr.Dataset(
    ...     {
    ...         "train_error": (dims, [[[0.0, 0.0], [0.0, 0.1], [0.2, 0.3]]]),
    ...         "converged": (dims, [[[True, True], [True, False], [False, False]]]),
    ...     },
    ...     coords={"snr": [1.0], "n_train": [10, 100, 1000]},
    ...     attrs={"axes": "[]"},
    ... )
    >>> [found] = interpolation_threshold(run)
    >>> found.last_fitted, found.first_unfitted
    (100, 1000)
    >>> interpolation_threshold(run, share=1)[0].last_fitted
    10
    """
    return [found for at in combinations(ds) for found in thresholds_at(ds, at, share=share)]


def thresholds_at(ds: xr.Dataset, at: At, *, share: float = 0.5) -> list[Threshold]:
    """`interpolation_threshold` at one value of every further axis."""
    if not 0 < share <= 1:
        raise ConsilienceError(f"share is {share}: give a fraction of the members above 0 and at most 1")
    trained = np.isfinite(per_member(ds, "train_error", at))  # (snr, n_train, member)
    fitted = per_member(ds, "converged", at).astype(bool) & trained
    found: list[Threshold] = []
    for row, snr in enumerate(ds["snr"].values):
        columns = np.flatnonzero(trained[row].any(-1))
        if len(columns) == 0:
            continue
        n_train = ds["n_train"].values[columns]
        enough = fitted[row, columns].sum(-1) >= share * trained[row, columns].sum(-1)
        last = int(np.flatnonzero(enough)[-1]) if enough.any() else -1
        found.append(
            Threshold(
                snr=float(snr),
                at=at,
                last_fitted=int(n_train[last]) if last >= 0 else None,
                first_unfitted=int(n_train[last + 1]) if last + 1 < len(n_train) else None,
                gaps=tuple(int(n) for n in n_train[: last + 1][~enough[: last + 1]]),
            )
        )
    return found

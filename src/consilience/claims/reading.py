"""A run as the claims read it: one family of curves, ready for contrasts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from consilience.claims.verdict import Verdict
from consilience.facts.curves import Selection, cell_replicates, headline, is_distance, per_member, predicted_scores
from consilience.stats import Replicates, member_replicates

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["Curves", "read", "untested"]

Floats = NDArray[np.float64]


class Curves(NamedTuple):
    """Alignment and errors over SNR × n_train, both in increasing order."""

    snr: Floats
    n_train: NDArray[np.int64]
    alignment: Replicates
    """(S, N); more is more aligned: distances are negated."""
    test_error: Replicates
    """(S, N)."""
    fitted: NDArray[np.bool_]
    """(S, N, M) whether a member fits its training set."""
    trained: NDArray[np.bool_]
    """(S, N, M) whether its training is finished and did not diverge."""
    predicted: Floats
    """(S, N), in the direction of `alignment`; NaN where theory does not speak."""
    noun: str
    """What is spoken of: "alignment", or how it comes from a distance."""

    @property
    def measured(self) -> NDArray[np.bool_]:
        """(S, N) cells with a score, and with members enough for a standard error where any cell has."""
        return np.isfinite(self.alignment.mean)

    @property
    def has_se(self) -> bool:
        """Whether any cell has enough members for a standard error."""
        return bool(self.alignment.units.max(initial=0.0) >= 3)

    def cells(self, mask: NDArray[np.bool_]) -> tuple[tuple[float, int], ...]:
        """(SNR, n_train) of the cells of a mask (S, N)."""
        return tuple((float(self.snr[i]), int(self.n_train[j])) for i, j in np.argwhere(mask))


def read(ds: xr.Dataset) -> Curves:
    """The headline layer and measure of a run without further axes."""
    layer, measure = headline(ds)
    selection = Selection(layer, measure)
    rows, columns = np.argsort(ds["snr"].values), np.argsort(ds["n_train"].values)

    def ordered(array: NDArray[Any]) -> NDArray[Any]:
        return array[rows][:, columns]

    distance = is_distance(ds, measure)
    sign = -1.0 if distance else 1.0
    errors = ordered(per_member(ds, "test_error", {}).astype(np.float64))
    trained = np.isfinite(ordered(per_member(ds, "train_error", {}).astype(np.float64)))
    return Curves(
        snr=ds["snr"].values[rows].astype(np.float64),
        n_train=ds["n_train"].values[columns].astype(np.int64),
        alignment=_with_se(cell_replicates(ds, selection).at(rows[:, None], columns), 3),
        test_error=_with_se(member_replicates(errors), 2),
        fitted=ordered(per_member(ds, "converged", {})).astype(bool) & trained,
        trained=trained,
        predicted=sign * ordered(predicted_scores(ds, selection)),
        noun="alignment (minus the distance)" if distance else "alignment",
    )


def untested(curves: Curves, reason: str) -> Verdict:
    """A claim these curves cannot speak about for `reason`, or because there is not one score."""
    if curves.measured.any():
        return Verdict.untested(reason)
    return Verdict.untested(
        "nothing was measured (no cell has a score by this measure at this layer; `failure` and `note` of the run say "
        "what failed)"
    )


def _with_se(cells: Replicates, needed: int) -> Replicates:
    """Only cells with members enough for a standard error, where there are any: others would take it from all."""
    enough = cells.units >= needed
    return cells._replace(mean=np.where(enough, cells.mean, np.nan)) if enough.any() else cells

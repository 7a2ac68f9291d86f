"""Whether the theory of the hidden layer applies to the linear networks of a run, in one sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from consilience.facts.curves import extra_axes, number_text
from consilience.facts.language import joined

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["regime_sentence"]

_LISTED = 4  # values of an axis that are named; of more, the number is given
_SMALL = "small-initialization"


def regime_sentence(ds: xr.Dataset) -> str | None:
    """For how many linear networks the assumption of the theory of the hidden layer holds; where and why not else.

    That theory is for small initialization, in which the map a network has learned says what its hidden layer holds;
    `consilience.theory.regime` decides by CKA of the two, .99 and above. Theory of the outputs needs none of it.

    Returns
    -------
    str or None
        None where the run has no linear networks, or was written before their regime was.
    """
    if "regime" not in ds:
        return None
    names = ("snr", "n_train", *extra_axes(ds), "member")
    kinds, agreement, kept, imbalance = (
        np.asarray(ds[name].transpose(*names).values)
        for name in ("regime", "hidden_from_map", "hidden_kept", "imbalance")
    )
    known, small = kinds != "", kinds == _SMALL
    total, holds = int(known.sum()), int(small.sum())
    if total == 0:
        return None
    assumed = "The theory of the hidden layer assumes small initialization, which holds for"
    if holds == total:
        who = f"all {total} linear networks" if total > 1 else "the only linear network"
        return (
            f"{assumed} {who} (CKA of the hidden layer with what the learned map implies is at least "
            f"{agreement[small].min():.3f})."
        )
    reasons = joined(_reasons(kinds, agreement, kept, imbalance))
    if holds == 0:
        return f"{assumed} none of {total} linear networks: {reasons}."
    where = _where(ds, names[:-1], (known & ~small).any(-1), known.any(-1))
    return f"{assumed} {holds} of {total} linear networks; of the others,{f' at {where},' if where else ''} {reasons}."


def _reasons(
    kinds: NDArray[np.str_],
    agreement: NDArray[np.float64],
    kept: NDArray[np.float64],
    imbalance: NDArray[np.float64],
) -> list[str]:
    """How many networks are in each of the other regimes, and what shows it."""
    found: list[str] = []
    for kind in ("lazy", "between", "balanced"):
        of_kind = kinds == kind
        number = int(of_kind.sum())
        if not number:
            continue
        one = number == 1
        if kind == "lazy":
            start = kept[of_kind]
            shown = (
                f"mean CKA with where it began {start.mean():.2f}"
                if np.isfinite(start).all()
                else "their map uses little of it"
            )
            found.append(f"{number} {'is' if one else 'are'} lazy (the hidden layer stays as it was, {shown})")
        elif kind == "between":
            shown = f"mean CKA with what the map implies {agreement[of_kind].mean():.2f}, .99 needed"
            found.append(f"{number} still {'holds' if one else 'hold'} part of the initial weights ({shown})")
        else:
            shown = f"half of it is {imbalance[of_kind].mean():.2g} of the map's largest singular value"
            found.append(f"{number} {'is' if one else 'are'} balanced, for which theory needs δ ({shown})")
    return found


def _where(ds: xr.Dataset, names: tuple[str, ...], outside: NDArray[np.bool_], known: NDArray[np.bool_]) -> str:
    """The axes along which the networks outside the regime are confined, with their values; "" for none."""
    found: list[str] = []
    for axis, name in enumerate(names):
        others = tuple(i for i in range(len(names)) if i != axis)
        hit, all_of_it = outside.any(others), known.any(others)
        if hit.sum() == all_of_it.sum():
            continue
        label = "SNR" if name == "snr" else f"{name} ="
        if hit.sum() > _LISTED:
            found.append(f"{hit.sum()} of {all_of_it.sum()} values of {'SNR' if name == 'snr' else name}")
        else:
            found.append(f"{label} {joined([number_text(value) for value in ds[name].values[hit].tolist()])}")
    return ", ".join(found)

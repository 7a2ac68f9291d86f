"""How far members of different variants agree, layer by layer and at best, beside what members of one variant reach."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from consilience.errors import ConsilienceError
from consilience.facts.curves import AxisValue, number_text
from consilience.facts.language import counted, with_error
from consilience.facts.table import Table
from consilience.stats import jackknife

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["BestLayers", "across_keys", "across_sentences", "across_table", "best_layers", "layer_means"]

Floats = NDArray[np.float64]


class BestLayers(NamedTuple):
    """Agreement of two variants at the pair of layers where it is strongest."""

    at: dict[str, AxisValue]
    """Values of the axes in which the variants agree."""
    measure: str
    variant_a: str
    variant_b: str
    layer_a: str
    layer_b: str
    mean: float
    """Over pairs of different members; less the bias of choosing the layers, as far as the jackknife sees it."""
    se: float
    """Over members, jackknife, the choice of layers repeated without each; NaN for fewer than three."""
    ceiling: float
    """What members of one variant reach at these layers: the geometric mean of both variants' (of distances, the
    mean); NaN within one variant, and where a similarity is not positive."""
    share: float
    """`mean` over `ceiling`; NaN for distances, and where the ceiling does not lie two standard errors above zero."""


def across_keys(ds: xr.Dataset) -> tuple[str, ...]:
    """The axes members are compared across; empty for runs without such comparisons."""
    return tuple(json.loads(ds.attrs.get("across", "{}")).get("keys", ())) if "alignment_across" in ds else ()


def layer_means(scores: Floats) -> Floats:
    """Means over pairs of different members: (V, L, M, V, L, M) scores to (V, L, V, L).

    Member m has the same number, and with it the same initialization seed and draw of noise, in every variant; pairs of
    one number are left out, so that variants are compared as members of one variant are. Of an asymmetric measure each
    score is the mean of both directions, as it is within a cell, so that the order of the variants does not matter.

    >>> scores = np.arange(4.0).reshape(1, 1, 2, 1, 1, 2)  # [[0, 1], [2, 3]] for one variant and layer
    >>> layer_means(scores).ravel()
    array([1.5])
    """
    members = scores.shape[2]
    scores = (scores + scores.transpose(3, 4, 5, 0, 1, 2)) / 2
    usable = np.isfinite(scores) & ~np.eye(members, dtype=bool)[None, None, :, None, None, :]
    counts = usable.sum((2, 5))
    return np.where(counts > 0, np.where(usable, scores, 0.0).sum((2, 5)) / np.maximum(counts, 1), np.nan)


def best_layers(ds: xr.Dataset) -> list[BestLayers]:
    """Every pair of variants at its best pair of layers, in every group of cells, by every measure compared across.

    Notes
    -----
    The ceiling is one for inner products of unit-norm Gram matrices, as biased CKA is: for independent networks
    E⟨K, L⟩ = ⟨EK, EL⟩ ≤ ‖EK‖ ‖EL‖ = √(E⟨K, K'⟩ E⟨L, L'⟩) by Cauchy and Schwarz. For other measures it is a yardstick.

    Raises
    ------
    ConsilienceError
        For a run without ``[pairs] across``.
    """
    if not across_keys(ds):
        raise ConsilienceError(
            "this run compares nothing across cells; name axes of its grid in [pairs] across, and run again"
        )
    return list(_best(ds))


def _best(ds: xr.Dataset) -> Iterator[BestLayers]:
    variants = [str(name) for name in ds["variant_a"].values]
    layers = [str(name) for name in ds["layer_a"].values]
    kinds = [str(kind) for kind in ds["kind_across"].values]
    members = ds.sizes["network_a"]
    for at, rank, measure, scores in _groups(ds):
        sign = -1.0 if kinds[rank] == "distance" else 1.0
        means = layer_means(scores)
        without = [layer_means(_without(scores, member)) for member in range(members)]
        for a in range(len(variants)):
            for b in range(a, len(variants)):
                block = sign * means[a, :, b, :]
                if not np.isfinite(block).any():
                    continue
                i, j = np.unravel_index(np.nanargmax(block), block.shape)
                left = [_largest(sign * one[a, :, b, :]) for one in without]
                found = jackknife(block[i, j], left, units=members)
                enough = members > 2 and np.isfinite(left).all()
                mean = sign * float(found.value if enough else block[i, j])
                ceiling, clear = np.nan, False
                if a != b:
                    ceiling, *left = (_ceiling(one[a, i, a, i], one[b, j, b, j], sign) for one in (means, *without))
                    clear = sign > 0 and _clear(ceiling, left, members)
                share = mean / ceiling if clear else np.nan
                yield BestLayers(
                    at, measure, variants[a], variants[b], layers[i], layers[j], mean,
                    float(found.se) if enough else np.nan, float(ceiling), float(share),
                )  # fmt: skip


def _groups(ds: xr.Dataset) -> Iterator[tuple[dict[str, AxisValue], int, str, Floats]]:
    """Every group of cells and measure with its (V, L, M, V, L, M) scores."""
    axes = json.loads(ds.attrs["across"])["axes"]
    sides = [f"{name}_{side}" for side in "ab" for name in ("variant", "layer", "network")]
    labelled: Any = ds["alignment_across"].transpose(*axes, "measure_across", *sides)
    for index in np.ndindex(*labelled.shape[: len(axes) + 1]):
        at = {axis: ds[axis].values.tolist()[i] for axis, i in zip(axes, index, strict=False)}
        scores = np.asarray(labelled.values[index], np.float64)
        yield at, index[-1], str(ds["measure_across"].values[index[-1]]), scores


def _without(scores: Floats, member: int) -> Floats:
    return np.delete(np.delete(scores, member, axis=2), member, axis=5)


def _largest(block: Floats) -> float:
    return float(np.nanmax(block)) if np.isfinite(block).any() else np.nan


def _clear(ceiling: float, left: list[float], members: int) -> bool:
    """Whether a ceiling lies above zero by two standard errors; with two members none is known."""
    if members < 3:
        return bool(np.isfinite(ceiling))
    return bool(np.isfinite([ceiling, *left]).all() and ceiling > 2 * jackknife(ceiling, left, units=members).se)


def _ceiling(within_a: float, within_b: float, sign: float) -> float:
    if sign < 0:
        return (within_a + within_b) / 2
    return np.sqrt(within_a * within_b) if within_a > 0 and within_b > 0 else np.nan


def across_table(ds: xr.Dataset) -> Table:
    """Every pair of variants at every place, as text: layers, score and share of the ceiling."""
    found = best_layers(ds)
    axes = list(found[0].at) if found else []
    rows = [
        (
            *(number_text(value) for value in one.at.values()),
            one.measure,
            one.variant_a,
            one.variant_b,
            f"{one.layer_a}, {one.layer_b}",
            with_error(one.mean, one.se),
            f"{one.ceiling:.3f}" if np.isfinite(one.ceiling) else "–",
            f"{one.share:.0%}" if np.isfinite(one.share) else "–",
        )
        for one in found
    ]
    columns = (*axes, "measure", "variant", "and", "best layers", "score", "ceiling", "share")
    return Table(f"alignment across {', '.join(across_keys(ds))}", columns, rows)


def across_sentences(ds: xr.Dataset) -> list[str]:
    """For every pair of variants, how far they agree at their best layers, averaged over the groups of cells."""
    if not across_keys(ds):
        return []
    found = [one for one in best_layers(ds) if one.variant_a != one.variant_b]
    spoken: list[str] = []
    for measure, a, b in dict.fromkeys((one.measure, one.variant_a, one.variant_b) for one in found):
        pair = [one for one in found if (one.measure, one.variant_a, one.variant_b) == (measure, a, b)]
        mean = np.mean([one.mean for one in pair])
        spoken.append(
            f"{a} and {b} agree by {measure} with {mean:.3f} at their best layers, {_beside(pair)} "
            f"(means over {counted(len(pair), 'place')})."
        )
    return spoken


def _beside(pair: list[BestLayers]) -> str:
    """What members of one variant reach where these two agree best."""
    ceilings = [one.ceiling for one in pair if np.isfinite(one.ceiling)]
    if not ceilings:
        return "with no ceiling above zero to compare that with"
    where = "there" if len(ceilings) == len(pair) else f"at the {len(ceilings)} of these where that is above zero"
    return f"members of one of them with {np.mean(ceilings):.3f} {where}"

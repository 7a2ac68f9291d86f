"""Comparisons of members of different cells: other architectures, training, noise or training sets.

Cells that differ in nothing but the axes named in ``[pairs] across`` make a group; each is a *variant*. Every layer of
every member of every variant is compared with every other on the probe inputs, which all of them share.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from consilience._variants import axis_labels
from consilience.compare import pairwise
from consilience.errors import ConsilienceError
from consilience.registry import DegenerateWarning, Kind, Measure
from consilience.study import Cell, Study

__all__ = ["Across", "Comparisons", "Group", "Represented"]

Floats = NDArray[np.float64]
# Axes that change which inputs are compared on; of [data] only what is done to the same inputs may differ.
_SAME_INPUTS = ("data.pool", "data.pca")


@dataclass(frozen=True)
class Group:
    """Cells that differ in nothing but the axes compared across."""

    index: tuple[int, ...]
    """Position on the axes they agree in."""
    cells: tuple[Cell, ...]
    """One for each variant, in order."""


class Represented(NamedTuple):
    """A trained cell as comparisons need it."""

    layers: Mapping[str, NDArray[Any]]
    """Activations on the probe inputs: (member, input, unit)."""
    alive: NDArray[np.bool_]
    """(member,) whether there is a network."""


@dataclass(frozen=True)
class Across:
    """What a study compares across cells; without ``[pairs]`` it has no groups."""

    keys: tuple[str, ...]
    axes: tuple[str, ...]
    """Axes of the grid that cells of a group agree in."""
    variants: tuple[str, ...]
    measures: tuple[Measure, ...]
    groups: tuple[Group, ...]

    @classmethod
    def of(cls, study: Study) -> Across:
        """Group the cells of a study.

        Raises
        ------
        ConsilienceError
            When variants would be compared on different inputs.
        """
        keys = tuple(study.pairs.across)
        if not keys:
            return cls((), (), (), (), ())
        for key in keys:
            if key == "seed" or (key.startswith("data.") and key not in _SAME_INPUTS):
                raise ConsilienceError(
                    f"pairs.across = {key!r}: such cells have different probe inputs, on which nothing can be "
                    f"compared; name another axis"
                )
        values = {"snr": study.grid.snr, "n_train": study.grid.n_train, **study.grid.axes}
        names = tuple(values)
        common = tuple(name for name in names if name not in keys)
        found: dict[tuple[int, ...], list[Cell]] = {}
        for cell in study.cells():
            where = dict(zip(names, cell.index, strict=True))
            found.setdefault(tuple(where[name] for name in common), []).append(cell)
        return cls(
            keys=keys,
            axes=common,
            variants=tuple(_variant_names({key: values[key] for key in names if key in keys})),
            measures=study.pairs.measures or _first_of_layers(study.measure.measures),
            groups=tuple(Group(index, tuple(cells)) for index, cells in found.items()),
        )

    def coordinates(self, layers: Sequence[str], members: int) -> dict[str, Any]:
        """Return the coordinates of `alignment_across` beside those of the grid."""
        if not self.groups:
            return {}
        kinds = ["similarity" if measure.kind is Kind.SIMILARITY else "distance" for measure in self.measures]
        sides = {
            f"{name}_{side}": values
            for side in "ab"
            for name, values in {
                "variant": np.array(self.variants, dtype=object),
                "layer": np.array(layers, dtype=object),
                "network": np.arange(members),
            }.items()
        }
        return {
            "measure_across": np.array([measure.label for measure in self.measures], dtype=object),
            "kind_across": ("measure_across", np.array(kinds, dtype=object)),
            **sides,
        }

    def description(self) -> dict[str, list[str]]:
        """Return what is compared across, and the axes of the groups."""
        return {"keys": list(self.keys), "axes": list(self.axes)}


def _first_of_layers(measures: Sequence[Measure]) -> tuple[Measure, ...]:
    """The first measure that hidden layers have a score by, or the first one."""
    return next(((measure,) for measure in measures if not measure.outputs_only), tuple(measures[:1]))


def _variant_names(values: Mapping[str, Sequence[Any]]) -> list[str]:
    """Names of all combinations of the values of the axes compared across."""
    named = {
        key: [f"{v:g}" if isinstance(v, float) else str(v) for v in axis_labels(key, of)] for key, of in values.items()
    }
    if len(named) == 1:
        return next(iter(named.values()))
    return [
        ", ".join(f"{key} {name}" for key, name in zip(named, names, strict=True))
        for names in itertools.product(*named.values())
    ]


class Comparisons:
    """Holds what trained cells represent until their group is complete, and compares it then.

    Parameters
    ----------
    groups
        Those to be compared.
    layers, members
        Of the whole run.
    """

    def __init__(
        self,
        across: Across,
        groups: Sequence[Group],
        *,
        layers: Sequence[str],
        members: int,
    ) -> None:
        self._across, self._layers, self._members = across, tuple(layers), members
        self._group_of = {cell.index: group for group in groups for cell in group.cells}
        self._held: dict[tuple[int, ...], Represented] = {}

    def add(
        self, cell: Cell, represented: Represented, targets: NDArray[Any] | None
    ) -> tuple[Group, dict[str, Any]] | None:
        """Take a trained cell; return its group and the group's values if it was the last one missing."""
        group = self._group_of.get(cell.index)
        if group is None:
            return None
        self._held[cell.index] = represented
        if any(other.index not in self._held for other in group.cells):
            return None
        variants = [self._held.pop(other.index) for other in group.cells]
        found = [self._scores(measure, variants, targets) for measure in self._across.measures]
        notes = dict.fromkeys(note for _, notes in found for note in notes)
        return group, {"alignment_across": np.stack([scores for scores, _ in found]), "note_across": "\n".join(notes)}

    def _scores(
        self, measure: Measure, variants: Sequence[Represented], targets: NDArray[Any] | None
    ) -> tuple[Floats, list[str]]:
        """(variant, layer, member) × (variant, layer, member) scores of one measure, and why any is missing."""
        shape = (len(variants), len(self._layers), self._members)
        places = [
            (v, rank, member)
            for v, variant in enumerate(variants)
            for rank, layer in enumerate(self._layers)
            if layer in variant.layers and (layer == "output" or not measure.outputs_only)
            for member in np.flatnonzero(variant.alive).tolist()
        ]
        scores = np.full((math.prod(shape),) * 2, np.nan)
        notes: list[str] = []
        if places:
            reps = [variants[v].layers[self._layers[rank]][member] for v, rank, member in places]
            names = [f"{self._across.variants[v]}, {self._layers[rank]}, member {member}" for v, rank, member in places]
            flat = np.ravel_multi_index(tuple(np.transpose(places)), shape)
            scores[np.ix_(flat, flat)], notes = _all_pairs(measure, reps, names, targets)
        return scores.reshape(*shape, *shape), notes


def _all_pairs(
    measure: Measure, reps: Sequence[NDArray[Any]], names: Sequence[str], targets: NDArray[Any] | None
) -> tuple[Any, list[str]]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DegenerateWarning)
        try:
            found = pairwise(reps, measure, targets=targets if measure.needs_targets else None, names=names)
        except ConsilienceError as error:  # trained networks are not lost because a measure refuses them
            return np.nan, [f"across, {measure.label}: {' '.join(str(error).split())}"]
    return np.asarray(found, np.float64), [f"across, {measure.label}: {one.message}" for one in caught]

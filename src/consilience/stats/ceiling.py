"""How much of the alignment there can be between two kinds of networks there is, given that each varies by itself."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from consilience.errors import ConsilienceError
from consilience.stats.members import check_level

__all__ = ["Ceiling", "noise_ceiling"]

Floats = NDArray[np.float64]


class Ceiling(NamedTuple):
    """Alignment between two groups beside that of replicates within them."""

    between: float
    """Mean score over pairs of one member of each group."""
    within: tuple[float, float]
    """Mean score over pairs of members of the same group, first and second group."""
    ceiling: float
    """What `between` would be if groups differed no more than replicates do; NaN unless both of `within` exceed 0."""
    share: float
    """`between` / `ceiling`: 1 where nothing but the scatter of replicates separates the groups."""
    low: float
    """Ends of the interval of `share`, over members of both groups."""
    high: float
    level: float

    def __str__(self) -> str:
        return f"{self.between:.4f} of {self.ceiling:.4f}: {self.share:.2f} [{self.low:.2f}, {self.high:.2f}]"


def noise_ceiling(scores: ArrayLike, group: ArrayLike, *, level: float = 0.95) -> Ceiling:
    r"""Alignment of two kinds of networks as a share of what their replicates allow.

    With :math:`\bar s_{AA}, \bar s_{BB}` the mean scores of replicates within groups A and B, and :math:`\bar s_{AB}`
    between them,

    .. math:: \text{ceiling} = \sqrt{\bar s_{AA}\, \bar s_{BB}}, \qquad
              \text{share} = \bar s_{AB} / \text{ceiling},

    the correction for attenuation: exact for cosines of vectors that are a part common to the group plus noise of each
    member, and for scores that are linear in such cosines; for others a scale to read by. The standard error leaves
    out one member at a time,

    .. math:: \mathrm{se}^2 = \sum_{g \in \{A, B\}} \frac{M_g - 1}{M_g}
              \sum_{m \in g} (\text{share}_{-m} - \overline{\text{share}_{-\cdot}})^2,

    with t quantiles of :math:`\min_g M_g - 1` degrees of freedom.

    Parameters
    ----------
    scores
        (M, M) symmetric similarities, as of `consilience.pairwise`; the diagonal is not read.
    group
        (M,) labels of two groups: cells of a run, architectures, layers of replicates.
    level
        Coverage of the interval.

    Returns
    -------
    Ceiling
        `share` may exceed 1 by chance. NaN where replicates are not alike; `low` and `high` are NaN with fewer than
        three members in a group.

    Raises
    ------
    ConsilienceError
        If shapes do not fit, there are not two groups of two members or more, or a score is missing.

    Notes
    -----
    Source: Spearman, American Journal of Psychology 15 (1904), 72-101 (attenuation); Arvesen, Annals of Mathematical
    Statistics 40 (1969), 2076-2100 (jackknife of functions of U-statistics of several samples).

    Examples
    --------
    Replicates within the groups agree by .8 and .5, and between them by .6: nearly as much as they can.

    >>> scores = np.full((6, 6), 0.6)
    >>> scores[:3, :3], scores[3:, 3:] = 0.8, 0.5
    >>> print(noise_ceiling(scores, [0, 0, 0, 1, 1, 1]))
    0.6000 of 0.6325: 0.95 [0.95, 0.95]
    """
    check_level(level)
    values, second = _checked(scores, group)
    between, within, ceiling, share = _share(values, second)
    sizes = [int((~second).sum()), int(second.sum())]
    if min(sizes) < 3:
        return Ceiling(between, within, ceiling, share, math.nan, math.nan, level)
    variance = 0.0
    for size, members in zip(sizes, (np.flatnonzero(~second), np.flatnonzero(second)), strict=True):
        without = np.array(
            [_share(np.delete(np.delete(values, m, 0), m, 1), np.delete(second, m))[3] for m in members.tolist()]
        )
        variance += (size - 1) / size * float(((without - without.mean()) ** 2).sum())
    margin = -float(special.stdtrit(min(sizes) - 1, (1 - level) / 2)) * math.sqrt(variance)
    return Ceiling(between, within, ceiling, share, share - margin, share + margin, level)


def _share(values: Floats, second: NDArray[np.bool_]) -> tuple[float, tuple[float, float], float, float]:
    """Between, within, ceiling, share."""
    between = float(values[~second][:, second].mean())
    within: list[float] = []
    for one in (~second, second):
        part = values[one][:, one]
        within.append(float(part[np.triu_indices(len(part), 1)].mean()))
    ceiling = math.sqrt(within[0] * within[1]) if min(within) > 0 else math.nan
    return between, (within[0], within[1]), ceiling, between / ceiling


def _checked(scores: ArrayLike, group: ArrayLike) -> tuple[Floats, NDArray[np.bool_]]:
    """The scores, and which members are in the second group."""
    values, labels = np.asarray(scores, dtype=np.float64), np.asarray(group)
    if values.ndim != 2 or values.shape[0] != values.shape[1] or labels.shape != values.shape[:1]:
        raise ConsilienceError(
            f"scores have shape {values.shape} and groups {labels.shape}: give (M, M) scores and one label each, (M,)"
        )
    names, second, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    if len(names) != 2 or sizes.min() < 2:
        raise ConsilienceError(
            f"there are {len(names)} groups of {sizes.tolist()} members: a ceiling takes two groups of two or more"
        )
    off = ~np.eye(len(values), dtype=np.bool_)
    if not np.isfinite(values[off]).all():
        missing = np.argwhere(~np.isfinite(values) & off)[0].tolist()
        raise ConsilienceError(f"there is no score of members {missing[0]} and {missing[1]}: leave one of them out")
    if not np.allclose(values, values.T, equal_nan=True):
        raise ConsilienceError("scores are not symmetric: give those of a measure that is")
    return values, second.astype(np.bool_)

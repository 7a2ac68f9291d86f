"""Several tests at once."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from consilience.errors import ConsilienceError

__all__ = ["adjust"]


def adjust(p: ArrayLike, method: Literal["holm", "bh"] = "holm") -> NDArray[np.float64]:
    r"""p-values adjusted for being several: reject those at most :math:`\alpha`.

    With the p-values in increasing order, :math:`p_{(1)} \le \dots \le p_{(K)}`,

    .. math:: \text{holm:}\quad \tilde p_{(i)} = \min\Bigl(1, \max_{j \le i} (K-j+1)\, p_{(j)}\Bigr), \qquad
              \text{bh:}\quad \tilde p_{(i)} = \min_{j \ge i} \frac{K}{j}\, p_{(j)} .

    "holm" keeps the chance of *any* false rejection at most :math:`\alpha`, however the tests depend on each
    other. "bh" keeps the expected share of false ones among the rejections at most :math:`\alpha`, for tests that
    are independent or positively dependent.

    Parameters
    ----------
    p
        p-values of any shape, in [0, 1]. NaN marks a test that could not be made: it stays NaN and does not count.
    method
        "holm" or "bh".

    Returns
    -------
    ndarray
        In the shape of `p`; never below it, at most 1.

    Raises
    ------
    ConsilienceError
        For another method, or a p outside [0, 1].

    Notes
    -----
    Sources: Holm, Scandinavian Journal of Statistics 6 (1979), 65-70; Benjamini & Hochberg, Journal of the Royal
    Statistical Society B 57 (1995), 289-300. Exact: no approximation is made.

    Examples
    --------
    >>> adjust([0.01, 0.04, 0.03])
    array([0.03, 0.06, 0.06])
    >>> adjust([0.01, 0.04, 0.03], method="bh")
    array([0.03, 0.04, 0.04])
    """
    values = np.asarray(p, dtype=np.float64)
    if method not in ("holm", "bh"):
        raise ConsilienceError(f"method is {method!r}: give 'holm' or 'bh'")
    outside = values[(values < 0) | (values > 1)]
    if outside.size:
        raise ConsilienceError(f"p holds {outside[0]}: p-values lie between 0 and 1")
    adjusted = np.full(values.shape, np.nan)
    made = np.isfinite(values)
    order = np.argsort(values[made], kind="stable")
    ordered, rank = values[made][order], np.arange(len(order))
    if method == "holm":
        raised = np.maximum.accumulate((len(order) - rank) * ordered)
    else:
        raised = np.minimum.accumulate((ordered * len(order) / (rank + 1))[::-1])[::-1]
    back = np.empty(len(order))
    back[order] = np.minimum(raised, 1.0)
    adjusted[made] = back
    return adjusted

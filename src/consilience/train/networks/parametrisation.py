"""How weights and learning rates scale with width: standard, neural tangent, maximal update.

A layer computes m·(x w) + m_b·b with w ~ N(0, sd²) and b = 0, and the optimizer has one learning rate for all: what
other accounts write as a rate for each layer is here in the multipliers m (an abc-parametrisation with c = 0: Yang &
Hu, arXiv 2011.14522).

- **standard**: m = 1, sd = gain / √fan-in.
- **ntk**: m = gain / √fan-in, sd = 1 (Jacot, Gabriel & Hongler, arXiv 1806.07572). Under SGD the function changes at a
  rate independent of width while weights move ever less, by 1/√width: the lazy regime. Under Adam, whose updates do not
  shrink with the gradient, the function's change grows as √width: lower the learning rate accordingly.
- **mup**: hidden activations and outputs change at a rate independent of width, so that features are learned at any
  width, and a learning rate tuned at one width serves all. With r = width / 64 (64 being the width at which it
  coincides with "standard"), and width that of a layer's output for the first and of its input for others:

| layer | SGD: m | SGD: sd × √fan-in / gain | Adam: m | Adam: sd × √fan-in / gain |
|---|---|---|---|---|
| first | √r | 1/√r | 1 | 1 |
| hidden | 1 | 1 | 1/r | r |
| output | 1/√r | 1 | 1/r | √r |
| biases and gains of hidden layers | √r | | 1 | |

The output's initial matrix falls as 1/width rather than 1/√width. SGD's columns are Table 1 of Yang & Hu. Adam's follow
from the rates of Yang et al. (arXiv 2203.03466, Table 3: 1, 1/width, 1/width) by Adam's indifference to the gradient's
size: multiplying m by θ, and sd and the rate by 1/θ, changes nothing.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from consilience.errors import ConsilienceError

__all__ = ["BASE_WIDTH", "Parametrisation", "Role", "Scale", "scale", "vector_multiplier"]

Parametrisation = Literal["standard", "ntk", "mup"]
Role = Literal["first", "hidden", "output"]

BASE_WIDTH = 64
"""Width at which the maximal-update parametrisation is the standard one."""

# Whose updates have a size of their own, and whose follow the gradient's: what the table above is for.
_ADAPTIVE = {"adam": True, "adamw": True, "sgd": False}


class Scale(NamedTuple):
    """How one layer starts and how strongly its weights count."""

    multiplier: float
    sd: float
    bias: float = 1.0  # multiplier of the bias


def scale(
    parametrisation: Parametrisation,
    role: Role,
    *,
    fan_in: int,
    n_in: int,
    n_out: int,
    gain: float,
    optimizer: str,
) -> Scale:
    """Return multiplier and initial standard deviation of a layer.

    Parameters
    ----------
    fan_in
        Numbers each output is a sum over.
    n_in, n_out
        Widths: units, or channels of a map. fan_in is n_in for a dense layer, n_in·k² for a convolution.
    optimizer
        "sgd", "adam" or "adamw": matters to "mup" alone.

    Raises
    ------
    ConsilienceError
        For "mup" with an optimizer whose multipliers are not known.

    Examples
    --------
    >>> scale("mup", "hidden", fan_in=256, n_in=256, n_out=256, gain=1.0, optimizer="adam")
    Scale(multiplier=0.25, sd=0.25, bias=1.0)
    """
    sd = float(gain / np.sqrt(fan_in))
    if parametrisation == "standard":
        return Scale(1.0, sd)
    if parametrisation == "ntk":
        return Scale(sd, 1.0)
    r = (n_out if role == "first" else n_in) / BASE_WIDTH
    bias = 1.0 if role == "output" else vector_multiplier(parametrisation, n_out, optimizer)
    if _adaptive(optimizer):
        multiplier, relative = {"first": (1.0, 1.0), "hidden": (1 / r, r), "output": (1 / r, r**0.5)}[role]
    else:
        multiplier, relative = {"first": (r**0.5, r**-0.5), "hidden": (1.0, 1.0), "output": (r**-0.5, 1.0)}[role]
    return Scale(multiplier, relative * sd, bias)


def vector_multiplier(parametrisation: Parametrisation, width: int, optimizer: str) -> float:
    """Return the multiplier of a bias, or of a gain of normalisation, over `width` units."""
    if parametrisation != "mup" or _adaptive(optimizer):
        return 1.0
    return (width / BASE_WIDTH) ** 0.5


def _adaptive(optimizer: str) -> bool:
    if optimizer not in _ADAPTIVE:
        known = ", ".join(map(repr, sorted(_ADAPTIVE)))
        raise ConsilienceError(
            f"network.parametrisation = 'mup': its multipliers are known for train.optimizer = {known}, and this is "
            f"{optimizer!r}; choose one of them, or another parametrisation"
        )
    return _ADAPTIVE[optimizer]

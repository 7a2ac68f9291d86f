"""Alignment of linear networks in closed form: pure functions of float64 arrays, no training.

`linear_network` is what a study is compared with; `isotropic` and `alignment` treat a linear predictor,
`hidden_cka` the hidden layer, and `finite_size_allowance` says how far one data set may be from them.
"""

from __future__ import annotations

from consilience.theory.hidden import hidden_cka, hidden_gram, lazy_cka
from consilience.theory.linear import Alignment, alignment, isotropic
from consilience.theory.network import Allowance, LinearNetwork, finite_size_allowance, linear_network

__all__ = [
    "Alignment",
    "Allowance",
    "LinearNetwork",
    "alignment",
    "finite_size_allowance",
    "hidden_cka",
    "hidden_gram",
    "isotropic",
    "lazy_cka",
    "linear_network",
]

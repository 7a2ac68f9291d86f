"""Alignment of linear networks in closed form: pure functions of float64 arrays, no training.

`linear_network` is what a study is compared with; `isotropic` and `alignment` treat a linear predictor,
`hidden_cka` the hidden layer, and `finite_size_allowance` says how far one data set may be from them.
`predict` starts from data, `kernel_features` and `kernel_spectrum` from a kernel; `required_n` and `required_snr`
ask which sample size or noise an alignment takes.
"""

from __future__ import annotations

from consilience.theory.hidden import hidden_cka, hidden_gram, lazy_cka
from consilience.theory.inverse import RequiredN, RequiredSNR, required_n, required_snr
from consilience.theory.kernel import kernel_features, kernel_spectrum
from consilience.theory.linear import Alignment, alignment, isotropic
from consilience.theory.network import Allowance, LinearNetwork, finite_size_allowance, linear_network
from consilience.theory.predict import Curves, Estimate, Prediction, predict
from consilience.theory.regime import Regime, regime

__all__ = [
    "Alignment",
    "Allowance",
    "Curves",
    "Estimate",
    "LinearNetwork",
    "Prediction",
    "Regime",
    "RequiredN",
    "RequiredSNR",
    "alignment",
    "finite_size_allowance",
    "hidden_cka",
    "hidden_gram",
    "isotropic",
    "kernel_features",
    "kernel_spectrum",
    "lazy_cka",
    "linear_network",
    "predict",
    "regime",
    "required_n",
    "required_snr",
]

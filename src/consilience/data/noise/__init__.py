"""Noise processes: what makes the training sets of two members differ.

The noise of sample i in member m is a pure function of (seed, m, i): a counter-based generator is asked for
it, nothing is stored. It is the same in whichever batch, order or subset the sample is asked for, and at
every SNR the same draw, only scaled (label flips: thresholded) by the level.
"""

from __future__ import annotations

from consilience.data.noise.base import (
    PROCESSES,
    NoiseKeys,
    NoiseProcess,
    member_key,
    noise_keys,
    register_process,
)

from consilience.data.noise.labels import LabelFlip, LabelGaussian, NoNoise  # isort: skip
from consilience.data.noise.blur import InputBlur
from consilience.data.noise.confusion import LabelConfusion
from consilience.data.noise.heteroscedastic import LabelHeteroscedastic
from consilience.data.noise.inputs import InputDropout, InputGaussian

__all__ = [
    "PROCESSES",
    "InputBlur",
    "InputDropout",
    "InputGaussian",
    "LabelConfusion",
    "LabelFlip",
    "LabelGaussian",
    "LabelHeteroscedastic",
    "NoNoise",
    "NoiseKeys",
    "NoiseProcess",
    "member_key",
    "noise_keys",
    "register_process",
]

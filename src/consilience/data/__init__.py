"""Data to train on and noise to corrupt it with.

>>> from consilience.data import SOURCES, prepare
>>> splits = prepare(SOURCES["linear-teacher"](n_features=5), n_train=[10, 100], seed=0)
>>> splits.train_x.shape, splits.task
((100, 5), 'regression')
"""

from __future__ import annotations

from consilience.data.descriptions import Description, describe
from consilience.data.embedded import BreastCancer, Diabetes, Digits, Wine
from consilience.data.files import File
from consilience.data.images import MNIST, FashionMNIST
from consilience.data.noise import (
    PROCESSES,
    InputBlur,
    InputDropout,
    InputGaussian,
    LabelConfusion,
    LabelFlip,
    LabelGaussian,
    LabelHeteroscedastic,
    NoiseKeys,
    NoiseProcess,
    NoNoise,
    member_key,
    noise_keys,
    register_process,
)
from consilience.data.source import (
    SOURCES,
    LinearTruth,
    RealSource,
    Source,
    SyntheticSource,
    Table,
    Task,
    register_source,
)
from consilience.data.splits import Splits, prepare
from consilience.data.teachers import GaussianMixture, LinearTeacher, MLPTeacher

__all__ = [
    "MNIST",
    "PROCESSES",
    "SOURCES",
    "BreastCancer",
    "Description",
    "Diabetes",
    "Digits",
    "FashionMNIST",
    "File",
    "GaussianMixture",
    "InputBlur",
    "InputDropout",
    "InputGaussian",
    "LabelConfusion",
    "LabelFlip",
    "LabelGaussian",
    "LabelHeteroscedastic",
    "LinearTeacher",
    "LinearTruth",
    "MLPTeacher",
    "NoNoise",
    "NoiseKeys",
    "NoiseProcess",
    "RealSource",
    "Source",
    "Splits",
    "SyntheticSource",
    "Table",
    "Task",
    "Wine",
    "describe",
    "member_key",
    "noise_keys",
    "prepare",
    "register_process",
    "register_source",
]

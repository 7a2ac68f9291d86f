"""Fixed data, every noise process on it with some of its options, and one compiled call for each."""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from consilience.data import (
    PROCESSES,
    InputBlur,
    InputDropout,
    InputGaussian,
    LabelConfusion,
    LabelFlip,
    LabelGaussian,
    LabelHeteroscedastic,
    NoiseProcess,
    noise_keys,
)

N, K, CLASSES, SHAPE = 2000, 3, 5, (4, 5)
D = SHAPE[0] * SHAPE[1]
# Some labels stay more often than others, and some classes are given more often than others.
MATRIX = ((0.5, 0.5, 0, 0, 0), (0, 0.5, 0.5, 0, 0), (0.1, 0.2, 0.3, 0.4, 0), (0, 0, 1, 0, 0), (0.2, 0.2, 0.2, 0.2, 0.2))

HERE = __name__
MEMBERS = tuple(range(12))  # asked for together everywhere: one compiled call for each process


def laplace(key: Any, x: Any, y: Any, level: Any, scale: float = 1.0) -> Any:
    """Laplace noise on targets"""
    return x, y + level * scale * jax.random.laplace(key, y.shape) / 2**0.5


laplace.corrupts = "labels"
laplace.tasks = ("regression",)
laplace.target_variance = lambda level: 1 + level**2


def salt(key: Any, x: Any, y: Any, level: Any, high: float = 2.0) -> Any:
    """Inputs replaced, with probability p, by ± high: SNR = (1 − p)²/(1 − p + p high² − (1 − p)²)"""
    whether, sign = jax.random.split(key)
    noisy = high * jax.random.rademacher(sign, x.shape, x.dtype)
    return jnp.where(jax.random.uniform(whether, x.shape) < level, noisy, x), y


def _salt_level(snr: float) -> float:
    """The root in [0, 1] of (1 − p)² (1 + SNR) = SNR (1 − p + 4 p)."""
    if not snr > 0:
        raise ValueError(snr)
    if snr == np.inf:
        return 0.0
    a, b = 1 + snr, 2 * (1 + snr) + 3 * snr
    return 2 * 1 / (b + (b * b - 4 * a) ** 0.5)


salt.level = _salt_level

VARIANTS: dict[str, NoiseProcess] = {
    "label-gaussian": LabelGaussian(),
    "label-gaussian r": LabelGaussian(correlation=0.5),
    "input-gaussian": InputGaussian(),
    "label-flip": LabelFlip(),
    "label-flip r": LabelFlip(correlation=0.5),
    "input-dropout": InputDropout(),
    "label-heteroscedastic": LabelHeteroscedastic(),
    "label-heteroscedastic norm": LabelHeteroscedastic(along="norm", strength=0.5, correlation=0.5),
    "label-confusion": LabelConfusion(),
    "label-confusion pairs": LabelConfusion(pattern="pairs", correlation=0.5),
    "label-confusion matrix": LabelConfusion(matrix=MATRIX),
    "input-blur": InputBlur(),
    "laplace": PROCESSES[f"{HERE}:laplace"](),
    "salt": PROCESSES[f"{HERE}:salt"](correlation=0.5),
}
KINDS = list(dict.fromkeys(name.partition(" ")[0] for name in VARIANTS))  # without options


@cache
def clean(task: str) -> tuple[np.ndarray, np.ndarray]:
    """Standardised smooth images, and targets of variance one or balanced classes."""
    rng = np.random.default_rng(1)
    field = rng.standard_normal((N, SHAPE[0] + 1, SHAPE[1] + 1))
    x = (field[:, 1:, 1:] + 0.5 * (field[:, :-1, 1:] + field[:, 1:, :-1])).reshape(N, D)
    if task == "classification":
        y = np.arange(N, dtype=np.int32) % CLASSES
    else:
        y = rng.standard_normal((N, K))
        y = ((y - y.mean(0)) / y.std(0)).astype(np.float32)
    return ((x - x.mean(0)) / x.std(0)).astype(np.float32), y


def task_of(process: NoiseProcess) -> str:
    return "regression" if "regression" in process.tasks else "classification"


@cache
def state(process: NoiseProcess) -> tuple[np.ndarray, ...]:
    return process.fitted(*clean(task_of(process)), n_classes=CLASSES, image_shape=SHAPE)


@partial(jax.jit, static_argnums=0)
def _apply(process: NoiseProcess, seed: Any, members: Any, ids: Any, x: Any, y: Any, level: Any, fitted: Any) -> Any:
    def one(member: Any) -> Any:
        return process.apply(
            noise_keys(seed, member), ids, x, y, level, n_classes=CLASSES, image_shape=SHAPE, state=fitted
        )

    return jax.vmap(one)(members)


def corrupt(
    process: NoiseProcess, snr: float, *, members: Any = MEMBERS, seed: int = 0, ids: Any = None
) -> tuple[np.ndarray, np.ndarray]:
    """Noisy inputs (members, n, d) and labels of samples `ids`."""
    x, y = clean(task_of(process))
    ids = np.arange(N) if ids is None else np.asarray(ids)
    level = np.float32(process.level(snr))
    found = _apply(process, np.uint32(seed), np.asarray(members, np.uint32), ids, x[ids], y[ids], level, state(process))
    return np.asarray(found[0]), np.asarray(found[1])


def one_hot(labels: np.ndarray) -> np.ndarray:
    return np.eye(CLASSES)[labels] - 1 / CLASSES


def parts(process: NoiseProcess, snr: float, **which: Any) -> tuple[np.ndarray, np.ndarray]:
    """What the process corrupts, clean (n, k) and noisy (members, n, k), centred by the clean mean."""
    (x, y), (noisy_x, noisy_y) = clean(task_of(process)), corrupt(process, snr, **which)
    if process.corrupts == "inputs":
        return x.astype(np.float64), noisy_x.astype(np.float64)
    if y.dtype.kind == "i":
        return one_hot(y), one_hot(noisy_y)
    return y.astype(np.float64), noisy_y.astype(np.float64)

"""Synthetic runs that obey the contract of a run's Dataset, with facts known by construction."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

N_TRAIN = (10, 30, 100, 200, 400, 800, 1500, 3000, 6000, 20000)
SNR = (0.25, 1.0, 4.0, np.inf)
DIP_AT = 800
"""Where alignment is lowest, and the largest n_train that is still fitted, at every finite SNR."""

LAYERS = ("hidden1", "hidden2", "output")
MEASURES = {"cka": "similarity", "procrustes": "distance", "output_correlation": "similarity"}

STUDY = """name = "fashion-label-noise"
seed = 0

[data]
source = "fashion-mnist"

[grid]
snr = [0.25, 1, 4, inf]
members = 8
"""


def expected_alignment(snr: np.ndarray, n_train: np.ndarray) -> np.ndarray:
    """(S, N): a plateau that rises with SNR, with a trough in log n_train at DIP_AT, deeper at lower SNR."""
    quality = 1 - 1 / (1 + snr)
    quality = quality[:, None]
    distance = np.log(n_train / DIP_AT)[None, :]
    trough = np.exp(-0.5 * (distance / 1.1) ** 2)
    return (0.55 + 0.35 * quality) * (1 - 0.7 * (1 - quality) * trough) + 0.002 * distance


def fake_run(
    *,
    snr: Sequence[float] = SNR,
    n_train: Sequence[int] = N_TRAIN,
    members: int = 8,
    axes: Mapping[str, Sequence[float | str]] | None = None,
    task: str = "classification",
    theory: bool = False,
    diverged: Sequence[tuple[int, int, int]] = (),
    undone: Sequence[tuple[int, int]] = (),
    name: str = "fashion-label-noise",
    study: str = STUDY,
    seed: int = 0,
) -> xr.Dataset:
    """A run; `diverged` lists (snr index, n_train index, member), `undone` (snr index, n_train index)."""
    axes = dict(axes or {})
    rng = np.random.default_rng(seed)
    a, b = np.array(list(itertools.combinations(range(members), 2))).T
    s, n = np.asarray(snr, dtype=float), np.asarray(n_train)
    grid = (len(s), len(n), *(len(v) for v in axes.values()))
    names = ("snr", "n_train", *axes)

    # Every step along an extra axis fills a quarter of the trough in, so that the axis is seen to matter.
    base = expected_alignment(s, n).reshape(len(s), len(n), *[1] * len(axes))
    flat = expected_alignment(np.full(1, np.inf), n).reshape(1, len(n), *[1] * len(axes))
    level = sum(np.indices(grid)[2:], start=np.zeros(grid)) * 0.25
    truth = base + level.clip(max=1) * (flat - base)  # grid

    effect = 0.012 * rng.standard_normal((*grid, members))
    edge = 0.004 * rng.standard_normal((*grid, len(a)))
    score = truth[..., None] + effect[..., a] + effect[..., b] + edge
    alignment = np.full((*grid, len(LAYERS), len(MEASURES), len(a)), np.nan)
    for layer in range(len(LAYERS)):
        cka = np.clip(score - 0.03 * layer, -1, 1)
        alignment[..., layer, 0, :] = cka
        alignment[..., layer, 1, :] = np.arccos(np.sqrt(np.clip(cka, 0, 1)))
    alignment[..., -1, 2, :] = score

    fits = np.where(np.isinf(s)[:, None], 2 * DIP_AT, DIP_AT) >= n[None, :]
    fits = np.broadcast_to(fits.reshape(len(s), len(n), *[1] * len(axes)), grid)[..., None]
    noise = np.where(np.isinf(s), 0.0, 1 / (1 + s)).reshape(len(s), *[1] * (len(grid) - 1), 1)
    size = n.reshape(1, len(n), *[1] * len(axes), 1)
    wiggle = 0.01 * rng.random((*grid, members))
    train_error = np.where(fits, 0.0, 0.3 * noise + 0.05 * np.log10(size / DIP_AT).clip(0) + wiggle)
    peak = 0.25 * noise * np.exp(-0.5 * (np.log(size / DIP_AT) / 0.8) ** 2)
    test_error = 0.1 + 0.5 * (size / 10) ** -0.35 + peak + wiggle
    predicted = np.full(alignment.shape[:-1], np.nan)
    predicted_error = np.full(grid, np.nan)
    if theory:
        predicted[..., 0, 0] = truth + 0.01
        predicted_error[...] = test_error.mean(-1)

    diverged_at = np.full((*grid, members), -1, dtype=np.int32)
    for i, j, m in diverged:
        diverged_at[i, j, ..., m] = 120
    done = np.ones(grid, dtype=bool)
    for i, j in undone:
        done[i, j] = False
    lost = (diverged_at >= 0) | ~done[..., None]
    alignment[(lost[..., a] | lost[..., b])[..., None, None, :].repeat(len(LAYERS), -3).repeat(3, -2)] = np.nan
    errors = {
        key: ((*names, "member"), np.where(lost, np.nan, value))
        for key, value in {
            "train_loss": train_error * 2,
            "train_error": train_error,
            "test_loss": test_error * 2,
            "test_error": test_error,
        }.items()
    }
    return xr.Dataset(
        {
            "alignment": ((*names, "layer", "measure", "pair"), alignment),
            "predicted": ((*names, "layer", "measure"), predicted),
            "predicted_error": (names, predicted_error),
            **errors,
            "converged": ((*names, "member"), np.broadcast_to(fits, lost.shape) & ~lost),
            "diverged_at": ((*names, "member"), diverged_at),
            "n_parameters": (names, np.full(grid, 3306, dtype=np.int64)),
            "note": (names, np.full(grid, "", dtype=object)),
            "done": (names, done),
        },
        coords={
            "snr": s,
            "n_train": n,
            **{key: (key, np.asarray(value)) for key, value in axes.items()},
            "layer": list(LAYERS),
            "measure": list(MEASURES),
            "kind": ("measure", list(MEASURES.values())),
            "pair": np.arange(len(a)),
            "member_a": ("pair", a),
            "member_b": ("pair", b),
            "member": np.arange(members),
        },
        attrs={
            "name": name,
            "study": study,
            "axes": json.dumps(list(axes)),
            "task": task,
            "seed": 0,
            "data": json.dumps(
                {
                    "source": "fashion-mnist",
                    "origin": "/usr/share/dataset/fashion-mnist",
                    "n_features": 196,
                    "n_outputs": 10,
                    "n_pool": 59000,
                    "n_test": 10000,
                    "n_probe": 1000,
                    "classes": 10,
                }
            ),
            "noise": json.dumps(
                {
                    "process": "label-flip",
                    "shared": ["inputs"],
                    "definition": "SNR = (1-p)²/(1-(1-p)²), p the probability of a random label",
                }
            ),
            "versions": json.dumps({"consilience": "0.1.0", "jax": "0.10.0", "python": "3.11.2"}),
            "hardware": json.dumps({"cpu": "two cores", "cores": 2, "devices": ["cpu"], "memory_gib": 8}),
            "wall_seconds": 71.5,
            "theory": "deterministic equivalents for a linear network" if theory else "none: the network is not linear",
            "created": "2025-11-23T16:00:00+00:00",
            "alignment_convention": "scores as measured on probe inputs",
        },
    )


def with_trajectory(ds: xr.Dataset, steps: Sequence[int] = (1, 10, 100)) -> xr.Dataset:
    """The run with alignment and errors during training: a share of those after it that grows evenly to the whole."""
    cells = ("snr", "n_train", *json.loads(ds.attrs["axes"]))
    share = xr.DataArray((np.arange(len(steps)) + 1) / len(steps), coords={"step": list(steps)}, dims="step")
    names = {"alignment": "trajectory"} | {
        n: f"{n}_at" for n in ("train_loss", "train_error", "test_loss", "test_error")
    }
    return ds.assign({after: (ds[name] * share).transpose(*cells, "step", ...) for name, after in names.items()})

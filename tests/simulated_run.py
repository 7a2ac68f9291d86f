"""Runs whose truth is known: means of cells are given, members and pairs scatter around them."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

import numpy as np
import xarray as xr
from tests.fake_run import fake_run

from consilience.claims.reading import Curves
from consilience.stats import member_replicates, pair_replicates

SNR = (0.25, 1.0, 4.0, np.inf)
N_TRAIN = (10, 30, 100, 300, 1000, 3000, 10000, 30000)
THRESHOLD = 600.0
"""Between the fourth and the fifth n_train."""

_LOG_N = np.log(np.array(N_TRAIN))
_QUALITY = np.array([0.2, 0.5, 0.8, 1.0])  # SNR / (1 + SNR)


def _grid(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    return np.broadcast_to(rows[:, None] + columns[None, :], (len(SNR), len(N_TRAIN))).copy()


def _trough(at: float, width: float = 1.0) -> np.ndarray:
    return np.exp(-0.5 * ((_LOG_N - np.log(at)) / width) ** 2)


LEARNING = 0.7 - 0.5 * (_LOG_N - _LOG_N[0]) / (_LOG_N[-1] - _LOG_N[0])
"""Test error that falls with n_train."""


@dataclass(frozen=True)
class Truth:
    """What is true of a simulated run, and how far members scatter.

    Scores are those of real runs in size and scatter: the built-in study ``demo`` has means between .15 and .6 and
    standard errors of .02 to .05 with eight members.
    """

    alignment: np.ndarray = field(default_factory=lambda: np.full((4, 8), 0.5))
    test_error: np.ndarray = field(default_factory=lambda: np.full((4, 8), 0.4))
    predicted: np.ndarray | None = None
    threshold: float = THRESHOLD
    model: Literal["effects", "vectors"] = "effects"
    """Scores as sums of effects of members and pairs, or as cosines of members' vectors."""
    shared: float = 0.5
    """Share of a member's variance that is the same in all cells: 0 for cells that are independent."""


def dipping(depth: float = 0.5, at: float = THRESHOLD) -> np.ndarray:
    """Grows with SNR, and dips along n_train: less at higher SNR, not at all without noise."""
    level = _grid(0.45 + 0.25 * _QUALITY, 0.01 * np.arange(8))
    return level - depth * (1 - _QUALITY)[:, None] * _trough(at)[None, :]


TRUTHS: dict[str, Truth] = {
    "nothing": Truth(),
    "as claimed": Truth(
        alignment=dipping(), test_error=_grid(0.2 * (1 - _QUALITY), LEARNING), predicted=dipping() + 0.01
    ),
    "reversed": Truth(
        alignment=_grid(0.45 - 0.3 * _QUALITY, 0.07 * np.arange(8)),
        test_error=_grid(0.2 * (1 - _QUALITY), LEARNING),
        predicted=_grid(0.45 - 0.3 * _QUALITY, 0.07 * np.arange(8)) + 0.1,
    ),
    "dip elsewhere": Truth(alignment=dipping(0.5, at=3000.0), test_error=np.full((4, 8), 0.4), threshold=60.0),
    "off by the limit": Truth(alignment=dipping(), predicted=dipping() + 0.05),
}
"""``reversed``: alignment falls with SNR, rises steadily with n_train and goes with generalization, theory is .1 off.
``dip elsewhere``: test error is the same in all cells, and the dip far beyond the threshold.
``off by the limit``: theory is off by just as much as C5 allows."""


class Drawn(NamedTuple):
    """What varies between runs of one truth."""

    scores: np.ndarray
    """(S, N, pairs)."""
    test_error: np.ndarray
    """(S, N, members)."""
    fits: np.ndarray
    """(S, N, members) whether a member fits its training set."""


def draw(truth: Truth, *, members: int = 8, seed: int = 0) -> Drawn:
    """Draw scores and errors: members' effects have sd .04, pairs .02, test errors .015."""
    rng = np.random.default_rng(seed)
    a, b = np.array(list(itertools.combinations(range(members), 2))).T
    scatter = _effects if truth.model == "effects" else _vectors
    scores = np.clip(scatter(truth, rng, members, a, b), -1, 1)
    wiggle = 0.015 * _member_effects(rng, truth.shared, members)
    # Every member stops fitting somewhere around the threshold.
    own = truth.threshold * np.exp(0.35 * rng.standard_normal((4, 1, members)))
    return Drawn(scores, truth.test_error[..., None] + wiggle, np.array(N_TRAIN)[None, :, None] <= own)


def simulate(truth: Truth, *, members: int = 8, seed: int = 0) -> xr.Dataset:
    """Draw one run of `truth`."""
    drawn, ds = draw(truth, members=members, seed=seed), _empty(members)
    predicted = np.full(ds["predicted"].shape, np.nan)
    if truth.predicted is not None:
        predicted[..., 0, 0] = truth.predicted
    return ds.assign(
        alignment=(ds["alignment"].dims, drawn.scores[..., None, None, :]),
        predicted=(ds["predicted"].dims, predicted),
        test_error=(ds["test_error"].dims, drawn.test_error),
        train_error=(ds["train_error"].dims, np.where(drawn.fits, 0.0, 0.2)),
        converged=(ds["converged"].dims, drawn.fits),
    )


def simulated_curves(truth: Truth, *, members: int = 8, seed: int = 0) -> Curves:
    """The same run as claims read it: ``read(simulate(truth, ...))`` without the time a Dataset takes."""
    drawn = draw(truth, members=members, seed=seed)
    a, b = np.array(list(itertools.combinations(range(members), 2))).T
    return Curves(
        snr=np.array(SNR),
        n_train=np.array(N_TRAIN),
        alignment=pair_replicates(drawn.scores, a, b),
        test_error=member_replicates(drawn.test_error),
        fitted=drawn.fits,
        trained=np.ones_like(drawn.fits),
        predicted=np.full((len(SNR), len(N_TRAIN)), np.nan) if truth.predicted is None else truth.predicted,
        noun="alignment",
    )


_EMPTY: dict[int, xr.Dataset] = {}


def _empty(members: int) -> xr.Dataset:
    """One layer, one measure; made once, as building a Dataset takes longer than drawing its numbers."""
    if members not in _EMPTY:
        whole = fake_run(snr=SNR, n_train=N_TRAIN, members=members)
        _EMPTY[members] = whole.sel(layer=["hidden2"], measure=["cka"])
    return _EMPTY[members]


def _member_effects(rng: np.random.Generator, shared: float, members: int, *further: int) -> np.ndarray:
    """(S, N, members, ...) standard normal, correlated between cells by `shared`."""
    common = rng.standard_normal((1, 1, members, *further))
    own = rng.standard_normal((4, 8, members, *further))
    return np.sqrt(shared) * common + np.sqrt(1 - shared) * own


def _effects(truth: Truth, rng: np.random.Generator, members: int, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    u = 0.04 * _member_effects(rng, truth.shared, members)
    edge = 0.02 * rng.standard_normal((4, 8, len(a)))
    return truth.alignment[..., None] + u[..., a] + u[..., b] + edge


def _vectors(truth: Truth, rng: np.random.Generator, members: int, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cosines of vectors in 60 dimensions with a common part: bounded and skewed, scatter falls with alignment."""
    d = 60
    signal = np.zeros(d)
    signal[0] = np.sqrt(d)
    share = np.clip(truth.alignment, 0, 1)[..., None, None]
    v = np.sqrt(share) * signal + np.sqrt(1 - share) * _member_effects(rng, truth.shared, members, d)
    v /= np.linalg.norm(v, axis=-1, keepdims=True)
    return np.einsum("snpd,snpd->snp", v[..., a, :], v[..., b, :])


def variants(truth: Truth) -> dict[str, Truth]:
    """The same truth with other scatter."""
    return {
        "effects": truth,
        "independent": replace(truth, shared=0.0),
        "vectors": replace(truth, model="vectors"),
    }

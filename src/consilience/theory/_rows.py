"""Ensembles of ridge regressions on given rows: closed form without any assumption about inputs.

Given the training inputs X, the map of a member is a mean map w̄ = Ky plus the noise Kε, K = (X'X + nμ)⁻¹X'. With Σ
the covariance of probe inputs, two members have C = tr w̄'Σw̄ and Q = C + kσ² tr K'ΣK on average. Correlation and CKA
are no ratios of averages: where noise falls on few directions, as near a threshold or from heavy-tailed inputs,
E[C/Q] is well above E C/E Q. They are averaged over a few draws of ε that serve all noise levels.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from consilience.theory._spectrum import Floats

__all__ = ["Draws", "Plan", "agreement", "draws"]

_ROUNDING = float(np.finfo(np.float32).eps) ** 2  # of the largest eigenvalue: inputs may have been float32
_MEMBERS = 4  # draws of noise on each draw of inputs


class Plan(NamedTuple):
    """How rows are used: training rows of each of `sets` members' inputs, then `blocks` sets of probe rows."""

    n: int
    sets: int  # 1 where members share inputs, else 2
    n_probe: int
    blocks: int
    standardise: bool  # every column, by the rows that are not probed
    folds: int = 1  # of the probe rows, each of them alone left out of what standardises
    correlation: float = 0.0  # of two members' noise on one row


class Draws(NamedTuple):
    """What R draws of training and probe inputs give, before the noise has a variance.

    Grams are second moments of the parts (w̄, Kε₁, …) of all members, k columns each, in this order.
    """

    risk: Floats  # (R,) squared error of the mean maps, mean over outputs
    power: Floats  # (R,) tr K'ΣK: variance of an output per unit of noise
    outputs: Floats  # (R, parts, k, parts, k) of the outputs
    weights: Floats  # (R, parts, k, parts, k) of the maps
    tails: float  # kurtosis of the noise relative to that of Gaussian inputs


class _Ensemble(NamedTuple):
    """Members trained on one set of inputs."""

    filtered: Floats  # (r,) singular values of K
    basis: Floats  # (d, r)
    parts: Floats  # (r, parts, k): w̄ and Kε of each member, in the basis


def draws(
    x: Floats,
    y: Floats,
    plan: Plan,
    orders: list[NDArray[np.intp]],
    kept: NDArray[np.bool_],
    ridge: float,
    *,
    seed: tuple[int, ...],
) -> Draws:
    """Train on the first `kept` rows of each order, probe the last: x (rows, d), y (rows, k), `blocks` results each.

    Leaving rows out replaces them and changes neither the other rows nor the noise on them.
    """
    found: list[_Probed] = []
    used = plan.sets * plan.n
    sums = _Sums((x[kept].sum(axis=0), np.square(x[kept]).sum(axis=0)), y[kept].sum(axis=0), int(kept.sum()))
    for number, everything in enumerate(orders):
        places = np.flatnonzero(kept[everything])
        order = everything[places]
        noise = np.random.default_rng([*seed, number]).standard_normal(
            (places[used - 1] + 1, _MEMBERS // plan.sets, y.shape[1])
        )[places[:used]]
        if plan.correlation > 0 and plan.sets == 1:
            shared = np.random.default_rng([*seed, number, 1]).standard_normal((places[used - 1] + 1, 1, y.shape[1]))
            noise = np.sqrt(1 - plan.correlation) * noise + np.sqrt(plan.correlation) * shared[places[:used]]
        probes = order[::-1][: plan.blocks * plan.n_probe]
        blocks = np.split(probes, plan.blocks)
        # With one fold, one training serves all blocks.
        together = [_seen(x, y, sums, plan, ridge, order[:used], noise, probes)] if plan.folds == 1 else []
        for block in blocks:
            parts = [block] if together else np.array_split(block, plan.folds)
            seen = together or [_seen(x, y, sums, plan, ridge, order[:used], noise, part) for part in parts]
            found.append(_probed(seen, [(x[part], y[part]) for part in parts]))
    risk, power = np.array([(one.risk, one.power) for one in found]).T
    outputs, weights = np.array([one.outputs for one in found]), np.array([one.weights for one in found])
    return Draws(risk, power, outputs, weights, float(np.median([one.tails for one in found[:: plan.blocks]])))


class _Sums(NamedTuple):
    """Over all rows that are used."""

    x: tuple[Floats, Floats]  # of inputs, and of their squares
    y: Floats
    rows: int


class _Seen(NamedTuple):
    """Members, and how inputs and targets were centred and scaled for them."""

    members: list[_Ensemble]
    x_mean: Floats
    scale: Floats
    y_mean: Floats


class _Probed(NamedTuple):
    """What one set of probe rows says of one draw of training inputs."""

    risk: float
    power: float
    outputs: Floats
    weights: Floats
    tails: float


def _seen(
    x: Floats,
    y: Floats,
    sums: _Sums,
    plan: Plan,
    ridge: float,
    rows: NDArray[np.intp],
    noise: Floats,
    unseen: NDArray[np.intp],
) -> _Seen:
    """Train each member on its part of `rows`, with statistics of all rows but those `unseen`."""
    others = sums.rows - len(unseen)
    x_mean, scale = _preprocessing(sums.x, x[unseen], others, standardise=plan.standardise)
    y_mean = (sums.y - y[unseen].sum(axis=0)) / others
    members = [
        _train((x[own] - x_mean) * scale, y[own] - y_mean, ridge, of_own)
        for own, of_own in zip(np.split(rows, plan.sets), np.split(noise, plan.sets), strict=True)
    ]
    return _Seen(members, x_mean, scale, y_mean)


def _probed(seen: list[_Seen], parts: list[tuple[Floats, Floats]]) -> _Probed:
    """Probe the members of every fold by its own part of the probe rows, (inputs, targets)."""
    columns: list[Floats] = []
    errors: list[tuple[float, float]] = []
    tails: list[float] = []
    for one, (inputs, targets) in zip(seen, parts, strict=True):
        scaled = (inputs - one.x_mean) * one.scale
        along = [scaled @ member.basis for member in one.members]  # (m, r)
        centred = [at - at.mean(axis=0) for at in along]
        columns.append(_columns(centred if len(seen) == 1 else along, one.members))
        errors.append(_errors(one.members, along, centred, targets - one.y_mean))
        tails.append(_tails(centred[0] * one.members[0].filtered))
    outputs = np.concatenate(columns)
    if len(seen) > 1:
        outputs -= outputs.mean(axis=0)
    sizes = np.array([len(inputs) for inputs, _ in parts])
    risk, power = (sizes[:, None] * errors).sum(axis=0) / sizes.sum()
    weights = np.mean([_gram(_columns([m.basis for m in one.members], one.members), 1) for one in seen], axis=0)
    return _Probed(float(risk), float(power), _gram(outputs, len(outputs)), weights, float(np.mean(tails)))


def _preprocessing(
    sums: tuple[Floats, Floats], probes: Floats, others: int, *, standardise: bool
) -> tuple[Floats, Floats]:
    """Mean and factor of every column from the rows that are not probed, given sums over all of x and x².

    Held-out rows have no part in the statistics that inputs are standardised by. One that alone has some feature
    would leave it a constant in training, fitted to the noise, and then be multiplied by it; and no value of a row
    that had its part is larger than √rows.
    """
    total, squares = sums
    mean = (total - probes.sum(axis=0)) / others
    if not standardise:
        return mean, np.ones_like(mean)
    second = (squares - np.square(probes).sum(axis=0)) / others
    variance = second - mean**2
    varies = variance > 1e-10 * second
    return mean, np.where(varies, 1 / np.sqrt(np.where(varies, variance, 1.0)), 0.0)


def _train(x: Floats, y: Floats, ridge: float, noise: Floats) -> _Ensemble:
    """Ridge regression of targets y (n, k) and of noise (n, members, k)."""
    columns = np.concatenate([y[:, None], noise], axis=1)  # (n, 1 + members, k)
    values, basis, scores = _modes(x, columns.reshape(len(x), -1))  # (r,), (d, r), (r, (1 + members) k)
    filtered = np.sqrt(values) / (values + len(x) * ridge)
    return _Ensemble(filtered, basis, filtered[:, None, None] * scores.reshape(-1, *columns.shape[1:]))


def _modes(x: Floats, y: Floats) -> tuple[Floats, Floats, Floats]:
    """Squared singular values of x above rounding, right singular vectors, and left ones times y."""
    wide = x.shape[1] > len(x)
    values, vectors = scipy.linalg.eigh(x @ x.T if wide else x.T @ x)
    kept = values > _ROUNDING * values[-1]
    values, vectors = values[kept], vectors[:, kept]
    root = np.sqrt(values)
    if wide:
        return values, x.T @ vectors / root, vectors.T @ y
    return values, vectors, vectors.T @ (x.T @ y) / root[:, None]


def _errors(
    members: list[_Ensemble], along: list[Floats], centred: list[Floats], targets: Floats
) -> tuple[float, float]:
    """Risk of the mean map and power of the noise on one set of probe inputs, mean over sets of training inputs."""
    maps = [member.parts[:, 0] for member in members]  # (r, k)
    risk = np.mean([np.mean((targets - at @ one) ** 2) for at, one in zip(along, maps, strict=True)])
    noise = [at * member.filtered for at, member in zip(centred, members, strict=True)]
    return float(risk), float(np.mean([np.sum(one**2) for one in noise])) / len(targets)


def _columns(features: list[Floats], members: list[_Ensemble]) -> Floats:
    """Every member's parts (m, parts, k), given features (m, r) in each one's basis."""
    columns = [np.tensordot(at, member.parts, axes=1) for at, member in zip(features, members, strict=True)]
    return np.concatenate(columns, axis=1)


def _gram(parts: Floats, m: int) -> Floats:
    """Second moments (parts, k, parts, k) over m rows of parts (m, parts, k)."""
    flat = parts.reshape(len(parts), -1)
    return (flat.T @ flat / m).reshape(*parts.shape[1:], *parts.shape[1:])


def _tails(noise: Floats) -> float:
    """E[s²]/E[s]² of the noise variance s at one probe input, over its value 1 + 2 tr T²/(tr T)² for Gaussian ones."""
    single, inner = np.sum(noise**2, axis=1), noise.T @ noise / len(noise)
    power = float(np.mean(single))
    if power == 0:
        return 1.0
    return float(np.mean(single**2) / power**2 / (1 + 2 * np.sum(inner**2) / power**2))


def agreement(found: Draws, sets: int, noise: float) -> tuple[Floats, Floats, Floats]:
    """Mean correlation of outputs, linear CKA of them and of hidden layers (R,), over pairs at one noise variance."""
    per_set = found.outputs.shape[1] // sets
    sigma, members = np.sqrt(noise), per_set - 1

    def combined(gram: Floats, a: tuple[int, int], b: tuple[int, int]) -> Floats:
        """Moments (R, k, k) of member a with member b, each a set and a draw of noise."""
        (i, p), (j, q) = (a[0] * per_set, a[0] * per_set + 1 + a[1]), (b[0] * per_set, b[0] * per_set + 1 + b[1])
        mean, mixed = gram[:, i, :, j], gram[:, p, :, j] + gram[:, i, :, q]
        return mean + sigma * mixed + noise * gram[:, p, :, q]

    everyone = [(one, draw) for one in range(sets) for draw in range(members)]
    own = {a: combined(found.outputs, a, a) for a in everyone}
    gates = {a: _gate(combined(found.weights, a, a)) for a in everyone}
    correlation: list[Floats] = []
    output: list[Floats] = []
    hidden: list[Floats] = []
    for number, a in enumerate(everyone):
        for b in everyone[number + 1 :]:
            if sets > 1 and a[0] == b[0]:
                continue
            cross = combined(found.outputs, a, b)
            correlation.append(_share(_trace(cross), np.sqrt(_trace(own[a]) * _trace(own[b]))))
            output.append(_share(_square(cross), np.sqrt(_square(own[a]) * _square(own[b]))))
            norms = [np.sqrt(_through(gates[c], own[c], gates[c])) for c in (a, b)]
            hidden.append(_share(_through(gates[a], cross, gates[b]), norms[0] * norms[1]))
    return np.mean(correlation, axis=0), np.mean(output, axis=0), np.mean(hidden, axis=0)


def _gate(norm: Floats) -> Floats:
    """(WW')^(−1/2) (R, k, k) on the directions that have weight: how small initialization divides the layers."""
    value, vector = np.linalg.eigh(norm)
    kept = value > 1e-14 * value[..., -1:]
    inverse = np.where(kept, 1 / np.sqrt(np.where(kept, value, 1.0)), 0.0)
    return (vector * inverse[..., None, :]) @ np.swapaxes(vector, -1, -2)


def _through(left: Floats, moments: Floats, right: Floats) -> Floats:
    """tr(H₁FH₂F') (R,)."""
    return np.einsum("rij,rij->r", left @ moments @ right, moments)


def _trace(x: Floats) -> Floats:
    return np.einsum("rii->r", x)


def _square(x: Floats) -> Floats:
    return np.einsum("rij,rij->r", x, x)


def _share(top: Floats, bottom: Floats) -> Floats:
    """top / bottom, with 1 where there is neither."""
    empty = bottom == 0
    return np.where(empty, 1.0, top / np.where(empty, 1.0, bottom))

"""Ensembles of ridge regressions trained for real: what theory is compared with."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest


class Simulated(NamedTuple):
    """One value per repetition, each with inputs of its own: mean over pairs of members."""

    correlation: np.ndarray
    output_cka: np.ndarray
    hidden_cka: np.ndarray
    risk: np.ndarray


def _weights(x, y, ridge):
    n, d = x.shape
    if n <= d:
        return y.T @ np.linalg.solve(x @ x.T + n * ridge * np.eye(n), x)
    return np.linalg.solve(x.T @ x + n * ridge * np.eye(d), x.T @ y).T


def _cka(a, b):
    """Linear CKA of centred features with cross-covariance from square roots a, b (p, d), (q, d)."""
    return np.sum((a @ b.T) ** 2) / np.sqrt(np.sum((a @ a.T) ** 2) * np.sum((b @ b.T) ** 2))


def simulate_ensembles(
    eigenvalues, beta, n, noise, *, ridge=0.0, misfit=0.0, shared_inputs=True, members=4, repeats=40, seed=0
) -> Simulated:
    rng = np.random.default_rng(seed)
    root, beta = np.sqrt(eigenvalues), np.atleast_2d(beta)
    k, d = beta.shape
    found = []
    for _ in range(repeats):
        x = rng.standard_normal((n, d)) * root
        common = np.sqrt(misfit) * rng.standard_normal((n, k))
        maps = []
        for _ in range(members):
            if not shared_inputs:
                x = rng.standard_normal((n, d)) * root
            y = x @ beta.T + common + np.sqrt(noise) * rng.standard_normal((n, k))
            maps.append(_weights(x, y, ridge))
        outputs, layers = [w * root for w in maps], []
        for w in maps:
            _, s, right = np.linalg.svd(w, full_matrices=False)
            layers.append(np.sqrt(s)[:, None] * right * root)
        rows = []
        for i in range(members):
            for j in range(i):
                a, b = outputs[i], outputs[j]
                correlation = np.sum(a * b) / np.sqrt(np.sum(a**2) * np.sum(b**2))
                rows.append((correlation, _cka(a, b), _cka(layers[i], layers[j])))
        risk = np.mean([np.sum(((w - beta) * root) ** 2) / k for w in maps])
        found.append((*np.mean(rows, axis=0), risk))
    return Simulated(*np.array(found).T)


@pytest.fixture
def simulate() -> Callable[..., Simulated]:
    return simulate_ensembles


def _teacher(eigenvalues, outputs, variance=1.0, seed=0):
    """Random coefficients (k, d) whose targets have the given variance each."""
    beta = np.random.default_rng(seed).standard_normal((outputs, len(eigenvalues)))
    return beta * np.sqrt(variance / np.sum(beta**2 * eigenvalues, axis=1, keepdims=True))


@pytest.fixture
def teacher() -> Callable[..., np.ndarray]:
    return _teacher


@pytest.fixture
def z_score() -> Callable[..., float]:
    """|mean − expected| beyond `allowance`, in standard errors of the mean."""

    def score(values: np.ndarray, expected: float, allowance: float) -> float:
        error = np.std(values, ddof=1) / np.sqrt(len(values))
        return float(max(abs(np.mean(values) - expected) - allowance, 0.0) / error)

    return score

"""Fresh data for every run; the seed is printed and can be given again."""

from __future__ import annotations

import os
import secrets
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parent.parent / ".venv" / "peers"))
SEED = int(os.environ.get("CONSILIENCE_SEED", secrets.randbelow(2**32)))


def pytest_report_header() -> str:
    return f"data from seed {SEED}: CONSILIENCE_SEED={SEED} makes them again"


@pytest.fixture(autouse=True)
def _peers_may_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.fixture
def rng():
    return np.random.default_rng([SEED, 1])


@pytest.fixture(params=[(60, 10, 12), (40, 70, 30), (300, 20, 20)], ids="n={0[0]} p={0[1]} q={0[2]}".format)
def pair(request):
    """Two related representations with offsets, tall and wide."""
    n, p, q = request.param
    rng = np.random.default_rng([SEED, n])
    latent = rng.standard_normal((n, 6))
    x, y = (latent @ rng.standard_normal((6, d)) + 0.7 * rng.standard_normal((n, d)) for d in (p, q))
    return x + 1.5, y - 0.5

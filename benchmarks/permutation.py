"""A permutation test of debiased CKA against calibrated-similarity's `calibrate`, and against calling CKA every time.

1000 permutations, n = 1000 samples, 128 features each, float64. `calibrate` takes any function: it gets pytorch-cka's
`cka_from_features`, which makes Gram matrices, and the same score written with products of features, the fastest few
lines of PyTorch there are for it. All get the same permutations, in alternating rounds in one process; p must agree.
Moves along a random cycle (``design="cyclic"``) are another set of 999 permutations, and get a row of their own with p
of `calibrate` for the same set.

    make peers
    python benchmarks/permutation.py [--rounds 3] [--permutations 1000] [--page docs/uncertainty.md]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pages import put

import consilience
from consilience.stats import permutation_test
from consilience.stats._orders import along_a_cycle, orders

sys.path.insert(0, str(Path(__file__).parent.parent / ".venv" / "peers"))

N_SAMPLES, N_FEATURES, SEED = 1000, 128, 0
_OURS = ("permutation_test", "permutation_test, cyclic")
_SLOW = 100  # permutations of what would take minutes for all; its time is scaled up and p not compared


def pair() -> tuple[Any, Any]:
    """Two representations that have little in common, so that p is neither 0 nor 1."""
    rng = np.random.default_rng(3)
    x, y = rng.standard_normal((2, N_SAMPLES, N_FEATURES))
    return x, y + 0.04 * x


def by_features(x: Any, y: Any) -> Any:
    """Debiased linear CKA from products of features, in PyTorch."""
    n = x.shape[0]
    x, y = x - x.mean(0), y - y.mean(0)
    k, m = (x * x).sum(1), (y * y).sum(1)

    def inner(a: Any, b: Any, s: Any, t: Any) -> Any:
        square = (a.T @ b).square().sum()
        return square - n / (n - 2) * (s @ t) + s.sum() * t.sum() / ((n - 1) * (n - 2))

    return inner(x, y, k, m) / (inner(x, x, k, k) * inner(y, y, m, m)).sqrt()


def calibrated(score: Callable[[Any, Any], Any], x: Any, y: Any, drawn: Any) -> float:
    """p of calibrated-similarity with these permutations."""
    from calibrated_similarity import calibrate

    some = iter(torch.from_numpy(drawn))
    _, p, _ = calibrate(
        torch.from_numpy(x), torch.from_numpy(y), score, K=len(drawn), perm_fn=lambda _n, _device: next(some)
    )
    return float(p)


def called(x: Any, y: Any, drawn: Any) -> float:
    """p from calling our own measure with every permutation."""
    measure = consilience.get_measure("cka")
    value = float(measure(x, y))
    null = np.array([float(measure(x, y[order])) for order in drawn])
    return (1 + np.count_nonzero(null >= value)) / (1 + len(drawn))


def run(rounds: int, permutations: int) -> dict[str, dict[str, float]]:
    """Median seconds and p of every way."""
    from cka import cka_from_features

    x, y = pair()
    drawn = np.concatenate(list(orders(N_SAMPLES, permutations, None, SEED)))
    few = drawn[: min(_SLOW, permutations)]
    moves = np.concatenate(list(along_a_cycle(np.random.default_rng(SEED).permutation(N_SAMPLES))))
    ways: dict[str, tuple[float, Callable[[], float]]] = {
        _OURS[0]: (1, lambda: permutation_test("cka", x, y, n=permutations, seed=SEED).p),
        _OURS[1]: (1, lambda: permutation_test("cka", x, y, seed=SEED, design="cyclic").p),
        "cka, called every time": (1, lambda: called(x, y, drawn)),
        "calibrate, features": (1, lambda: calibrated(by_features, x, y, drawn)),
        "calibrate, features, cyclic": (1, lambda: calibrated(by_features, x, y, moves)),
        "calibrate, pytorch-cka": (
            permutations / len(few),
            lambda: calibrated(cka_from_features, x, y, few),
        ),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    p: dict[str, float] = {}
    for _ in range(rounds):
        for name, (scale, way) in ways.items():
            start = time.perf_counter()
            p[name] = way()
            seconds[name].append(scale * (time.perf_counter() - start))
    return {name: {"seconds": statistics.median(found), "p": p[name]} for name, found in seconds.items()}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--permutations", type=int, default=1000)
    parser.add_argument(
        "--threads", type=int, default=os.cpu_count() or 1, help="of PyTorch; OPENBLAS_NUM_THREADS for NumPy"
    )
    parser.add_argument("--page", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    load = os.getloadavg()[0]
    found = run(options.rounds, options.permutations)
    print(f"{options.permutations} permutations, n = {N_SAMPLES}, {N_FEATURES} features, load {load:.1f} before")
    lines = ["| | seconds | times random | times cyclic | p |", "|---|---|---|---|---|"]
    for name, one in found.items():
        partly = name == "calibrate, pytorch-cka" and options.permutations > _SLOW
        p = f"{one['p']:.4f}" if not partly else f"({one['p']:.4f} of {_SLOW})"
        ratios = [one["seconds"] / found[each]["seconds"] for each in _OURS]
        lines.append(f"| {name} | {one['seconds']:.2f} | {ratios[0]:.1f} | {ratios[1]:.0f} | {p} |")
    table = "\n".join(lines)
    print(table)
    if options.page:
        put(options.page, "permutation.py", table)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()

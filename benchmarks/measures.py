"""Time of all pairs of many representations against what a user would otherwise run; memory at large n.

Every case computes the same scores twice, by Consilience and by the other, in one process, in alternating rounds; the
ratio is that of the medians, and the scores are compared. rsatoolbox and pytorch-cka are the packages themselves
(`make peers` fetches them beside the environment). netrep is not on PyPI: what its `LinearCKA` and `LinearMetric`
compute is written here with SciPy, once as its `fit_score` does (everything for every pair) and once as its
`pairwise_distances` does (each representation prepared once). Plain NumPy and PyTorch stand for the few lines that
most papers use.

    make peers
    python benchmarks/measures.py [--rounds 3] [--only cka] [--json FILE]
    python benchmarks/measures.py --memory
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.linalg
import scipy.spatial.distance
import torch

import consilience

sys.path.insert(0, str(Path(__file__).parent.parent / ".venv" / "peers"))

N_REPRESENTATIONS, N_SAMPLES, N_FEATURES = 24, 1000, 128
Scores = Any


@dataclass(frozen=True)
class Case:
    """One measure against one alternative: functions of the representations that give all scores."""

    measure: str
    against: str
    other: Callable[[list[Any]], Scores]
    asked: float | None = None
    tolerance: float = 1e-8


def representations() -> list[Any]:
    """Related representations, as of networks trained on the same data."""
    rng = np.random.default_rng(0)
    latent = rng.standard_normal((N_SAMPLES, 32))
    return [
        latent @ rng.standard_normal((32, N_FEATURES)) + 2 * rng.standard_normal((N_SAMPLES, N_FEATURES))
        for _ in range(N_REPRESENTATIONS)
    ]


def every_pair(score: Callable[[Any, Any], float], reps: list[Any]) -> Scores:
    """All pairs i ≤ j by a loop; the matrix is filled by symmetry."""
    size = len(reps)
    scores = np.empty((size, size))
    for i, j in itertools.combinations_with_replacement(range(size), 2):
        scores[i, j] = scores[j, i] = score(reps[i], reps[j])
    return scores


# --- netrep's formulas ---


def linear_cka(x: Any, y: Any) -> float:
    """As netrep: centre, Gram matrices, cosine of the matrices."""
    x, y = x - x.mean(0), y - y.mean(0)
    k, m = x @ x.T, y @ y.T
    return float(np.sum(k * m) / (np.linalg.norm(k) * np.linalg.norm(m)))


def whitened(x: Any, alpha: float) -> Any:
    """Centre and mix with the whitened features, as netrep prepares a representation."""
    x = x - x.mean(0)
    if alpha == 1:
        return x
    values, vectors = scipy.linalg.eigh(x.T @ x)
    return x @ (vectors / np.sqrt(values)) @ vectors.T


def rotated_inner_product(x: Any, y: Any) -> tuple[float, float]:
    """Best rotation from the singular vectors, both sides rotated; inner product and product of norms."""
    u, _, vh = scipy.linalg.svd(x.T @ y)
    a, b = x @ u, y @ vh.T
    return float(np.sum(a * b)), float(np.linalg.norm(a) * np.linalg.norm(b))


def angle(x: Any, y: Any) -> float:
    inner, norms = rotated_inner_product(x, y)
    return float(np.arccos(min(1.0, inner / norms)))


def mean_correlation(x: Any, y: Any) -> float:
    return rotated_inner_product(x, y)[0] / min(x.shape[1], y.shape[1])


# --- packages ---


def pytorch_cka(reps: list[Any]) -> Scores:
    from cka import cka_from_features

    tensors = [torch.from_numpy(x) for x in reps]
    return every_pair(lambda x, y: float(cka_from_features(x, y)), tensors)


def pytorch_cka_stacked(reps: list[Any]) -> Scores:
    from cka import cka_from_features

    tensors = [torch.from_numpy(x) for x in reps]
    return cka_from_features(tensors, tensors).numpy()


def rsatoolbox_spearman(reps: list[Any]) -> Scores:
    from rsatoolbox.data import Dataset
    from rsatoolbox.rdm import calc_rdm, compare

    matrices = calc_rdm([Dataset(x) for x in reps], method="euclidean")
    return compare(matrices, matrices, method="spearman")


# --- plain NumPy and PyTorch ---


def imbalance_of(x: Any, y: Any) -> float:
    """Ranks by sorting twice, for one pair."""
    x_far, y_far = (scipy.spatial.distance.cdist(z, z) for z in (x, y))
    np.fill_diagonal(x_far, np.inf)
    np.fill_diagonal(y_far, np.inf)
    ranks = y_far.argsort(axis=1).argsort(axis=1) + 1
    nearest = x_far.argmin(axis=1)
    return 2 / len(x) * ranks[np.arange(len(x)), nearest].mean()


def imbalance_shared(reps: list[Any]) -> Scores:
    """The same with distances and ranks found once for each representation."""
    nearest, ranks = [], []
    for x in reps:
        far = scipy.spatial.distance.cdist(x, x)
        np.fill_diagonal(far, np.inf)
        nearest.append(far.argmin(axis=1))
        ranks.append(far.argsort(axis=1).argsort(axis=1) + 1)
    rows = np.arange(len(reps[0]))
    return np.array([[2 / len(rows) * r[rows, own].mean() for r in ranks] for own in nearest])


def ordered_pairs(score: Callable[[Any, Any], float], reps: list[Any]) -> Scores:
    return np.array([[score(x, y) for y in reps] for x in reps])


def torch_mutual_knn(reps: list[Any], k: int = 10) -> Scores:
    """As the platonic-representation code: similarities, topk, a mask of neighbours, their product."""

    def mask(x: torch.Tensor) -> torch.Tensor:
        x = torch.nn.functional.normalize(x, dim=1)
        nearest = (x @ x.T).fill_diagonal_(-1e8).topk(k, dim=1).indices
        return torch.zeros(len(x), len(x)).scatter_(1, nearest, 1.0)

    def score(x: torch.Tensor, y: torch.Tensor) -> float:
        return float((mask(x) * mask(y)).sum(dim=1).mean() / k)

    return every_pair(score, [torch.from_numpy(x) for x in reps])


def correlation_of_distances(x: Any, y: Any) -> float:
    a, b = (scipy.spatial.distance.cdist(z, z) for z in (x, y))
    a, b = (d - d.mean(0) - d.mean(1)[:, None] + d.mean() for d in (a, b))
    return float(np.sqrt((a * b).mean() / np.sqrt((a * a).mean() * (b * b).mean())))


CASES = (
    Case("cka(estimator=biased)", "netrep's formula, every pair", lambda r: every_pair(linear_cka, r), 20),
    Case("cka", "pytorch-cka, every pair", pytorch_cka, 20),
    Case("cka", "pytorch-cka, all at once", pytorch_cka_stacked),
    Case(
        "procrustes",
        "netrep's formula, every pair",
        lambda r: every_pair(lambda x, y: angle(whitened(x, 1), whitened(y, 1)), r),
        3,
        1e-6,
    ),
    Case(
        "procrustes",
        "netrep's formula, prepared once",
        lambda r: every_pair(angle, [whitened(x, 1) for x in r]),
        3,
        1e-6,
    ),
    Case(
        "cca",
        "netrep's formula, every pair",
        lambda r: every_pair(lambda x, y: mean_correlation(whitened(x, 0), whitened(y, 0)), r),
        8,
    ),
    Case("cca", "netrep's formula, prepared once", lambda r: every_pair(mean_correlation, [whitened(x, 0) for x in r])),
    Case("rsa", "rsatoolbox", rsatoolbox_spearman, 8),
    Case("information_imbalance", "NumPy, every pair", lambda r: ordered_pairs(imbalance_of, r), 20),
    Case("information_imbalance", "NumPy, ranks once", imbalance_shared),
    Case("mutual_knn", "PyTorch, every pair", torch_mutual_knn, tolerance=1e-6),  # its mean is in single precision
    Case("distance_correlation", "SciPy, every pair", lambda r: every_pair(correlation_of_distances, r)),
)


def timed(function: Callable[[], Scores]) -> tuple[float, Scores]:
    started = time.perf_counter()
    scores = function()
    return time.perf_counter() - started, np.asarray(scores)


def measured(case: Case, reps: list[Any], rounds: int) -> dict[str, Any]:
    """Seconds of both, their ratio, and how far the scores are apart."""
    ours, others = [], []
    for _ in range(rounds):
        seconds, found = timed(lambda: consilience.pairwise(reps, case.measure))
        ours.append(seconds)
        seconds, expected = timed(lambda: case.other(reps))
        others.append(seconds)
    gap = float(np.max(np.abs(found - expected)))
    if gap > case.tolerance:
        raise SystemExit(f"{case.measure} and {case.against} differ by {gap:.2g}: they do not compute the same")
    mine, theirs = statistics.median(ours), statistics.median(others)
    return {
        "measure": case.measure,
        "against": case.against,
        "consilience_s": mine,
        "other_s": theirs,
        "ratio": theirs / mine,
        "asked": case.asked,
        "gap": gap,
    }


# --- memory: each in a process of its own, whose peak is that of the case ---


def peak_gib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def large(name: str) -> str:
    """One measure of 50,000 × 256, single precision as models give it."""
    rng = np.random.default_rng(0)
    latent = rng.standard_normal((50_000, 16), dtype=np.float32)
    x, y = (
        latent @ rng.standard_normal((16, 256), dtype=np.float32) + rng.standard_normal((50_000, 256), dtype=np.float32)
        for _ in range(2)
    )
    before, started = peak_gib(), time.perf_counter()
    score = float(consilience.get_measure(name)(x, y))
    seconds = time.perf_counter() - started
    return (
        f"{name:<24} 50,000 × 256      {seconds:7.1f} s   peak {peak_gib():.2f} GiB (inputs {before:.2f})   {score:.6f}"
    )


def batches(count: int, size: int) -> Iterator[tuple[Any, Any]]:
    """Batches of representations, each from its own seed, so that nothing needs to be held."""
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((32, 512), dtype=np.float32) for _ in range(2))
    for seed in range(count):
        rng = np.random.default_rng([1, seed])
        latent = rng.standard_normal((size, 32), dtype=np.float32)
        x, y = (latent @ m + 4 * rng.standard_normal((size, 512), dtype=np.float32) + 3 for m in (a, b))
        yield x, y


def streaming(count: int = 250, size: int = 4000) -> str:
    """CKA of 1,000,000 × 512, batch by batch, and of the first 20,000 samples both ways."""
    stream = consilience.Stream("cka")
    seconds = 0.0
    kept: list[tuple[Any, Any]] = []
    gap = float("nan")
    for index, (x, y) in enumerate(batches(count, size)):
        started = time.perf_counter()
        stream.update(x, y)
        seconds += time.perf_counter() - started
        if index < 5:
            kept.append((x, y))
        if index == 4:
            whole = [np.concatenate(side).astype(np.float64) for side in zip(*kept, strict=True)]
            gap = abs(float(stream.result()) - float(consilience.cka(*whole)))
            kept.clear()
            del whole
    score = float(stream.result())
    return (
        f"{'Stream(cka)':<24} {count * size:,} × 512   {seconds:7.1f} s   peak {peak_gib():.2f} GiB   {score:.6f}   "
        f"difference on {5 * size:,} samples {gap:.1e}"
    )


MEMORY = {
    "mutual_knn": lambda: large("mutual_knn"),
    "information_imbalance": lambda: large("information_imbalance"),
    "stream": streaming,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="measures whose name begins with this")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--memory", nargs="?", const="all", choices=["all", *MEMORY])
    options = parser.parse_args()
    if options.memory == "all":
        for name in MEMORY:
            subprocess.run([sys.executable, __file__, "--memory", name], check=True)
        return
    if options.memory:
        print(MEMORY[options.memory](), flush=True)
        return
    reps = representations()
    rows = []
    shape = f"{N_REPRESENTATIONS} representations of {N_SAMPLES} × {N_FEATURES}"
    print(f"{shape}, all pairs, {torch.get_num_threads()} threads\n")
    print(f"{'measure':<24} {'against':<32} {'ours':>9} {'other':>9} {'ratio':>7}  asked  difference")
    for case in CASES:
        if not case.measure.startswith(options.only):
            continue
        row = measured(case, reps, options.rounds)
        rows.append(row)
        asked = "" if case.asked is None else f"{case.asked:g}"
        print(
            f"{row['measure']:<24} {row['against']:<32} {row['consilience_s']:8.3f}s {row['other_s']:8.3f}s "
            f"{row['ratio']:6.1f}×  {asked:>5}  {row['gap']:.0e}",
            flush=True,
        )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()

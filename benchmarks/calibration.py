"""Whether 95 % intervals cover in 95 % of cases, and tests at level 5 % reject a true null in 5 %.

x = u Λ, y = (a u + √(1 − a²) v) Λ with u, v standard normal (n, d) and Λ diagonal with entries i^−½, so that variances
fall as 1/i, as those of trained layers do; the true (infinite-sample) linear CKA is a². What an interval should cover
is that for debiased CKA, and the mean score of n samples (over all repetitions) for measures whose scores depend on n.

    python benchmarks/calibration.py                    # all, two processes, about 15 minutes
    python benchmarks/calibration.py --quick            # few repetitions
    python benchmarks/calibration.py --only rsa --part coverage
    python benchmarks/calibration.py --out docs/data    # writes coverage.csv and level.csv there

Tables are printed as in docs/uncertainty.md.
"""

from __future__ import annotations

import argparse
import csv
import os
import time
import warnings
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # one process for each core instead

import numpy as np

from consilience import DegenerateWarning
from consilience.stats import interval, layer_max_test, permutation_test

MEASURES = (
    "cka",
    "cka(estimator=biased)",
    "procrustes",
    "mutual_knn",
    "rsa",
    "information_imbalance",
    "cca",
)
SAMPLES, FEATURES = (30, 100, 300), (5, 50, 500)
ALIGNMENT = {"zero": 0.0, "middle": 0.4, "high": 0.85}
PERMUTATIONS = 199
TESTED = ((30, 5), (30, 50), (100, 5), (100, 500))  # every level is exact, so that few settings show it
LAYERS = ("cka", "procrustes", "mutual_knn")


class Coverage(NamedTuple):
    measure: str
    method: str
    n: int
    d: int
    alignment: str
    target: float
    sd: float  # of the score
    se: float  # root mean square of standard errors
    covered: float
    repetitions: int


class Level(NamedTuple):
    test: str
    n: int
    d: int
    rejected: float
    repetitions: int


def pair(rng: np.random.Generator, n: int, d: int, squared: float) -> tuple[Any, Any]:
    """Two representations whose true linear CKA is `squared`."""
    scale = np.arange(1, d + 1.0) ** -0.5
    u, v = rng.standard_normal((2, n, d))
    return u * scale, (squared**0.5 * u + (1 - squared) ** 0.5 * v) * scale


def coverage(measure: str, method: str, n: int, d: int, name: str, repetitions: int) -> Coverage | None:
    """Share of intervals that hold the target; None where the measure has no score."""
    warnings.simplefilter("ignore", DegenerateWarning)
    rng = np.random.default_rng([n, d, list(ALIGNMENT).index(name)])
    drawn = (pair(rng, n, d, ALIGNMENT[name]) for _ in range(repetitions))
    found = [interval(measure, x, y, method=method, seed=i) for i, (x, y) in enumerate(drawn)]  # pyright: ignore
    values = np.array([one.value for one in found])
    if np.isnan(values).any():
        return None
    target = ALIGNMENT[name] if measure == "cka" else float(values.mean())
    covered = np.mean([one.low <= target <= one.high for one in found])
    se = np.sqrt(np.mean([one.se**2 for one in found]))
    return Coverage(measure, method, n, d, name, target, float(values.std()), float(se), float(covered), repetitions)


def level(measure: str, n: int, d: int, repetitions: int) -> Level | None:
    """Share of tests of unrelated representations with p at most .05."""
    warnings.simplefilter("ignore", DegenerateWarning)
    rng = np.random.default_rng([n, d])
    p = np.array(
        [permutation_test(measure, *pair(rng, n, d, 0.0), n=PERMUTATIONS, seed=i).p for i in range(repetitions)]
    )
    return None if np.isnan(p).any() else Level(measure, n, d, float(np.mean(p <= 0.05 + 1e-9)), repetitions)


def layer_level(measure: str, n: int, d: int, repetitions: int) -> Level:
    """The same for the best of 3 × 3 layers, each a function of the one before."""
    rng = np.random.default_rng([n, d, 1])
    rejected = 0
    for i in range(repetitions):
        networks = []
        for layer in pair(rng, n, d, 0.0):
            layers = [layer]
            for _ in range(2):
                layers.append(np.tanh(layers[-1] @ rng.standard_normal((d, d))))
            networks.append(layers)
        rejected += layer_max_test(*networks, measure, n=PERMUTATIONS, seed=i).p <= 0.05 + 1e-9
    return Level(f"layer-max, {measure}", n, d, rejected / repetitions, repetitions)


def has_room(measure: str, n: int, d: int) -> bool:
    """Whether the measure says anything there: canonical correlations need more samples than features."""
    return measure != "cca" or 2 * d < n


def coverage_jobs(only: Sequence[str], share: float, part: str) -> list[tuple[Any, ...]]:
    """Arguments of `coverage`."""
    jobs: list[tuple[Any, ...]] = []
    for measure in only if part != "level" else ():
        for n in reversed(SAMPLES):
            for d in reversed(FEATURES):
                if has_room(measure, n, d):
                    most = 400 if n < 300 else 200
                    most = 60 if (measure, n, d) == ("procrustes", 300, 500) else most
                    jobs += [(measure, "jackknife", n, d, name, max(20, int(most * share))) for name in ALIGNMENT]
        if measure in ("cka", "procrustes", "cca", "information_imbalance"):
            jobs += [(measure, "subsample", 100, 5, name, max(20, int(200 * share))) for name in ALIGNMENT]
    return jobs


def level_jobs(only: Sequence[str], share: float, part: str) -> list[tuple[Any, ...]]:
    """`level` or `layer_level`, and its arguments."""
    if part == "coverage":
        return []
    repetitions = max(50, int(1000 * share))
    single = [
        (level, measure, n, d, repetitions)
        for measure in only
        for n, d in TESTED
        if has_room(measure, n, d) and (measure, d) != ("procrustes", 500)
    ]
    return single + [
        (layer_level, measure, n, 5, repetitions) for measure in LAYERS if measure in only for n in (30, 100)
    ]


def coverage_table(found: list[Coverage]) -> str:
    """Coverage in %, one row for each measure, method and n; d = 5 / 50 / 500 in a cell."""
    lines = ["| measure | method | n | zero | middle | high |", "|---|---|---|---|---|---|"]
    known = {one[:5]: one for one in found}
    rows = dict.fromkeys((one.measure, one.method, one.n) for one in found)
    for measure, method, n in rows:
        cells: list[str] = []
        for name in ALIGNMENT:
            some = [known.get((measure, method, n, d, name)) for d in FEATURES]
            cells.append(" / ".join("–" if one is None else f"{100 * one.covered:.0f}" for one in some))
        lines.append(f"| {measure} | {method} | {n} | {' | '.join(cells)} |")
    return "\n".join(lines)


def level_table(found: list[Level]) -> str:
    """Rejections in %, one row for each test."""
    lines = ["| test | " + " | ".join(f"n={n}, d={d}" for n, d in TESTED) + " |", "|---" * (len(TESTED) + 1) + "|"]
    known = {one[:3]: one for one in found}
    for test in dict.fromkeys(one.test for one in found):
        some = [known.get((test, n, d)) for n, d in TESTED]
        cells = ["–" if one is None else f"{100 * one.rejected:.1f}" for one in some]
        lines.append(f"| {test} | {' | '.join(cells)} |")
    return "\n".join(lines)


def write(path: Path, rows: Sequence[NamedTuple]) -> None:
    """Write rows as CSV."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(rows[0]._fields)
        writer.writerows([[f"{cell:.6g}" if isinstance(cell, float) else cell for cell in row] for row in rows])


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", nargs="+", default=list(MEASURES))
    parser.add_argument("--part", choices=("coverage", "level", "all"), default="all")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    share, start = (0.1 if options.quick else 1.0), time.perf_counter()
    with ProcessPoolExecutor(options.workers) as pool:
        covered = [pool.submit(coverage, *job) for job in coverage_jobs(options.only, share, options.part)]
        rejected = [pool.submit(*job) for job in level_jobs(options.only, share, options.part)]
        intervals = [one for job in covered if (one := job.result()) is not None]
        tests = [one for job in rejected if (one := job.result()) is not None]
    for rows, table, name in ((intervals, coverage_table, "coverage"), (tests, level_table, "level")):
        if rows:
            print(table(rows), end="\n\n")  # pyright: ignore
            if options.out:
                write(options.out / f"{name}.csv", rows)
    print(f"{time.perf_counter() - start:.0f} s on {options.workers} processes")


if __name__ == "__main__":
    main()

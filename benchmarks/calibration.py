"""Whether 95 % intervals cover in 95 % of cases, and tests at level 5 % reject a true null in 5 %.

x = u Λ, y = (a u + √(1 − a²) v) Λ with u, v standard normal (n, d) and Λ diagonal with entries i^−½, so that variances
fall as 1/i, as those of trained layers do; the true (infinite-sample) linear CKA is a². What an interval should cover
is that for debiased CKA, and the mean score of n samples (over all repetitions) for measures whose scores depend on n.

    python benchmarks/calibration.py                    # ten rounds, half an hour on two free cores
    python benchmarks/calibration.py --rounds 1         # a tenth of the repetitions
    python benchmarks/calibration.py --only rsa --part coverage --samples 300
    python benchmarks/calibration.py --raw FILE         # keeps what is done, and goes on from there
    python benchmarks/calibration.py --out docs         # writes data/coverage.csv, data/level.csv and tables of a page;
                                                        # rows known from more repetitions stay as they are

Every round adds repetitions to all settings, so that it may be stopped after any. Tables are printed as in
docs/uncertainty.md.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import time
import warnings
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # one process for each core instead

import numpy as np
from pages import put

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
PERMUTATIONS = 99
_FEW = 15  # repetitions, with fewer than which a coverage is not shown
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


def covered(measure: str, method: str, n: int, d: int, name: str, repetitions: int, turn: int) -> list[list[float]]:
    """Value, standard error and ends of intervals."""
    warnings.simplefilter("ignore", DegenerateWarning)
    rng = np.random.default_rng([n, d, list(ALIGNMENT).index(name), turn])
    drawn = (pair(rng, n, d, ALIGNMENT[name]) for _ in range(repetitions))
    found = [interval(measure, x, y, method=method, seed=i) for i, (x, y) in enumerate(drawn)]  # pyright: ignore
    return [[one.value, one.se, one.low, one.high] for one in found]


def rejected(measure: str, n: int, d: int, repetitions: int, turn: int) -> list[float]:
    """p of tests of unrelated representations."""
    warnings.simplefilter("ignore", DegenerateWarning)
    rng = np.random.default_rng([n, d, turn])
    pairs = (pair(rng, n, d, 0.0) for _ in range(repetitions))
    return [permutation_test(measure, x, y, n=PERMUTATIONS, seed=i).p for i, (x, y) in enumerate(pairs)]


def rejected_layers(measure: str, n: int, d: int, repetitions: int, turn: int) -> list[float]:
    """The same for the best of 3 × 3 layers, each a function of the one before."""
    rng = np.random.default_rng([n, d, 1, turn])
    found: list[float] = []
    for i in range(repetitions):
        networks: list[list[Any]] = []
        for layer in pair(rng, n, d, 0.0):
            layers = [layer]
            for _ in range(2):
                layers.append(np.tanh(layers[-1] @ rng.standard_normal((d, d))))
            networks.append(layers)
        found.append(layer_max_test(*networks, measure, n=PERMUTATIONS, seed=i).p)
    return found


def coverage_of(measure: str, method: str, n: int, d: int, name: str, rows: list[list[float]]) -> Coverage:
    """Share of intervals that hold the target."""
    values, errors, low, high = np.array(rows).T
    target = ALIGNMENT[name] if measure == "cka" else float(values.mean())
    share = float(np.mean((low <= target) & (target <= high)))
    se = float(np.sqrt(np.mean(errors**2)))
    return Coverage(measure, method, n, d, name, target, float(values.std()), se, share, len(values))


def has_room(measure: str, n: int, d: int) -> bool:
    """Whether the measure says anything there: canonical correlations need more samples than features."""
    return measure != "cca" or 2 * d < n


def coverage_jobs(only: Sequence[str], samples: Sequence[int]) -> list[tuple[Any, ...]]:
    """Arguments of `covered`, without the turn: repetitions are those of one round."""
    jobs: list[tuple[Any, ...]] = []
    for measure in only:
        for n in samples:
            for d in FEATURES:
                if has_room(measure, n, d):
                    each = {30: 40, 100: 30, 300: 15}[n]
                    each = {("rsa", 300): 6, ("procrustes", 300): 6 if d == 500 else 15}.get((measure, n), each)
                    jobs += [(measure, "jackknife", n, d, name, each) for name in ALIGNMENT]
        if measure in ("cka", "procrustes", "cca", "information_imbalance") and 100 in samples:
            jobs += [(measure, "subsample", 100, 5, name, 20) for name in ALIGNMENT]
    return jobs


def level_jobs(only: Sequence[str]) -> list[tuple[Any, ...]]:
    """Arguments of `rejected`, or of `rejected_layers` after "layer-max", without the turn."""
    single = [
        (measure, n, d, 100)
        for measure in only
        for n, d in TESTED
        if has_room(measure, n, d) and (measure, d) != ("procrustes", 500)
    ]
    return single + [("layer-max", measure, n, 5, 100) for measure in LAYERS if measure in only for n in (30, 100)]


def work(key: str) -> list[Any]:
    """One job: a function and its arguments, as JSON."""
    name, *arguments = json.loads(key)
    return {"covered": covered, "rejected": rejected, "layer-max": rejected_layers}[name](*arguments)


def keys(options: argparse.Namespace) -> list[str]:
    """All jobs, round after round."""
    jobs: list[str] = []
    for turn in range(options.rounds):
        if options.part != "level":
            jobs += [json.dumps(["covered", *job, turn]) for job in coverage_jobs(options.only, options.samples)]
        if options.part != "coverage":
            named = [job if job[0] == "layer-max" else ("rejected", *job) for job in level_jobs(options.only)]
            jobs += [json.dumps([*job, turn]) for job in named]
    return jobs


def gathered(done: dict[str, list[Any]]) -> tuple[list[Coverage], list[Level]]:
    """All rounds of each setting together; settings where some score is missing are left out."""
    together: dict[tuple[Any, ...], list[Any]] = {}
    for key, found in done.items():
        name, *arguments = json.loads(key)
        together.setdefault((name, *arguments[:-2]), []).extend(found)
    intervals: list[Coverage] = []
    levels: list[Level] = []
    for (name, *setting), found in together.items():
        if np.isnan(np.array(found, dtype=float)).any():
            continue
        if name == "covered":
            intervals.append(coverage_of(*setting, found))
        else:
            test = setting[0] if name == "rejected" else f"layer-max, {setting[0]}"
            levels.append(Level(test, *setting[1:], float(np.mean(np.array(found) <= 0.05 + 1e-9)), len(found)))
    return intervals, levels


def coverage_table(found: list[Coverage]) -> str:
    """Coverage in %, one row for each measure, method and n; d = 5 / 50 / 500 in a cell."""
    lines = ["| measure | method | n | zero | middle | high |", "|---|---|---|---|---|---|"]
    known = {one[:5]: one for one in found}
    rows = dict.fromkeys((one.measure, one.method, one.n) for one in found)
    for measure, method, n in rows:
        cells: list[str] = []
        for name in ALIGNMENT:
            some = [known.get((measure, method, n, d, name)) for d in FEATURES]
            known_well = [one is not None and one.repetitions >= _FEW for one in some]
            cells.append(
                " / ".join(
                    f"{100 * one.covered:.0f}" if well and one else "–"
                    for one, well in zip(some, known_well, strict=True)
                )
            )
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


def earlier_rows(path: Path, kind: type[Coverage] | type[Level]) -> list[Any]:
    """Rows of an earlier call."""
    if not path.exists():
        return []
    types = get_type_hints(kind)
    with path.open(newline="") as file:
        return [kind(**{name: types[name](text) for name, text in row.items()}) for row in csv.DictReader(file)]


def updated(earlier: Sequence[Any], found: Sequence[Any], length: int) -> list[Any]:
    """Rows, by their first `length` columns: those found now in place of earlier ones of no more repetitions."""
    rows = {row[:length]: row for row in earlier}
    for row in found:
        rows[row[:length]] = max(row, rows.get(row[:length], row), key=lambda one: one.repetitions)
    return list(rows.values())


def write(path: Path, rows: Sequence[NamedTuple]) -> None:
    """Write rows as CSV."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(rows[0]._fields)
        writer.writerows([[f"{cell:.6g}" if isinstance(cell, float) else cell for cell in row] for row in rows])


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--only", nargs="+", default=list(MEASURES))
    parser.add_argument("--samples", nargs="+", type=int, default=SAMPLES, choices=SAMPLES, help="n of coverage")
    parser.add_argument("--part", choices=("coverage", "level", "all"), default="all")
    parser.add_argument("--raw", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    options, start = parser.parse_args(), time.perf_counter()
    wanted = keys(options)
    done: dict[str, list[Any]] = {}
    if options.raw and options.raw.exists():
        lines = [json.loads(line) for line in options.raw.read_text().splitlines()]
        done = {key: found for key, found in lines if key in set(wanted)}
    if len(done) < len(wanted):
        with ProcessPoolExecutor(options.workers) as pool:
            jobs = {pool.submit(work, key): key for key in wanted if key not in done}
            for job in as_completed(jobs):
                done[jobs[job]] = job.result()
                if options.raw:
                    with options.raw.open("a") as file:
                        file.write(json.dumps([jobs[job], job.result()]) + "\n")
    intervals, levels = gathered({key: done[key] for key in wanted})
    parts: list[tuple[list[Any], Any, Any, str, int]] = [
        (intervals, Coverage, coverage_table, "coverage", 5),
        (levels, Level, level_table, "level", 3),
    ]
    for rows, kind, table, name, length in parts:
        if rows:
            print(table(rows), end="\n\n")
            if options.out:
                path = options.out / "data" / f"{name}.csv"
                together = updated(earlier_rows(path, kind), rows, length)
                write(path, together)
                put(options.out / "uncertainty.md", f"calibration.py, {name}", table(together))
    print(f"{time.perf_counter() - start:.0f} s on {options.workers} processes")


if __name__ == "__main__":
    main()

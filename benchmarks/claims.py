"""How often verdicts are right, on simulated runs whose truth is known.

    python benchmarks/claims.py [--runs 300] [--null 1000] [--raw FILE] [--page docs/claims.md]

That many runs are drawn for every truth, kind of scatter and number of members, NULL where there is nothing to find;
ten minutes on one core. The tables printed are those of docs/claims.md: supported / contradicted, in % of the runs,
the rest being inconclusive; and the number of members from which on verdicts are right in 95 % of the runs. With
``--raw`` what is done is kept, and a later call goes on from there.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # one process for each core instead
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from pages import put
from tests.simulated_run import TRUTHS, simulated_curves, variants

from consilience.claims import generalization, prediction, size, snr

JUDGES = {"C1": snr.judge, "C2": size.judge, "C3": generalization.judge, "C5": prediction.judge}
MEMBERS = (4, 8, 16, 32)
SCATTER = ("effects", "independent", "vectors")
# What is true, where the claim can be tested: a verdict of the other kind is wrong.
RIGHT: dict[str, dict[str, str]] = {
    "nothing": {"C1": "inconclusive", "C2": "inconclusive", "C3": "inconclusive"},
    "as claimed": {"C1": "supported", "C2": "supported", "C3": "supported", "C5": "supported"},
    "reversed": {"C1": "contradicted", "C2": "contradicted", "C3": "contradicted", "C5": "contradicted"},
    "dip elsewhere": {"C1": "supported", "C2": "contradicted", "C3": "inconclusive"},
    "off by the limit": {"C5": "inconclusive"},
}
PART = 100
Setting = tuple[str, str, int]
Counts = dict[str, Counter[str]]


def outcomes(name: str, scatter: str, members: int, first: int, last: int) -> Counts:
    """How many of the runs numbered `first` to `last` have each outcome, by claim."""
    truth, seed = variants(TRUTHS[name])[scatter], hash_of(name, scatter)
    counts = {claim: Counter[str]() for claim in RIGHT[name]}
    for run in range(first, last):
        curves = simulated_curves(truth, members=members, seed=seed + run)
        for claim, count in counts.items():
            count[JUDGES[claim](curves)[0]] += 1
    return counts


def hash_of(*words: str) -> int:
    """A seed that differs between rows and stays the same between runs."""
    return int(np.frombuffer(" ".join(words).encode(), np.uint8).astype(int).sum()) * 10_000


def share(count: Counter[str], outcome: str) -> float:
    """Part of the runs with an outcome."""
    return count[outcome] / count.total()


def table(found: dict[Setting, Counts]) -> str:
    """Outcomes, as Markdown."""
    lines = [f"| truth | claim | right verdict | scatter |{''.join(f' {m} members |' for m in MEMBERS)}"]
    lines.append("|---" * (4 + len(MEMBERS)) + "|")
    for name, verdicts in RIGHT.items():
        for scatter in SCATTER:
            for claim, right in verdicts.items():
                cells = [
                    " / ".join(
                        f"{100 * share(found[name, scatter, m][claim], outcome):.1f}".removesuffix(".0")
                        for outcome in ("supported", "contradicted")
                    )
                    for m in MEMBERS
                ]
                lines.append(f"| {name} | {claim} | {right} | {scatter} | {' | '.join(cells)} |")
    return "\n".join(lines)


def enough(found: dict[Setting, Counts]) -> str:
    """From how many members on verdicts are right in 95 % of the runs, as Markdown."""
    lines = ["| truth | claim | right verdict | " + " | ".join(SCATTER) + " |", "|---" * (3 + len(SCATTER)) + "|"]
    for name, verdicts in RIGHT.items():
        for claim, right in verdicts.items():
            cells: list[str] = []
            for scatter in SCATTER:
                good = [share(found[name, scatter, m][claim], right) >= 0.95 for m in MEMBERS]
                first = next((m for i, m in enumerate(MEMBERS) if all(good[i:])), None)
                cells.append("more than 32" if first is None else str(first))
            lines.append(f"| {name} | {claim} | {right} | {' | '.join(cells)} |")
    return "\n".join(lines)


def parts(runs: int, null: int) -> list[tuple[str, str, int, int, int]]:
    """Arguments of `outcomes`."""
    return [
        (name, scatter, members, first, first + PART)
        for name, verdicts in RIGHT.items()
        for scatter in SCATTER
        for members in MEMBERS
        for first in range(0, null if set(verdicts.values()) == {"inconclusive"} else runs, PART)
    ]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--null", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--raw", type=Path)
    parser.add_argument("--page", type=Path)
    options, start = parser.parse_args(), time.perf_counter()
    wanted = parts(options.runs, options.null)
    done: dict[tuple[str, str, int, int, int], dict[str, dict[str, int]]] = {}
    if options.raw and options.raw.exists():
        done = {tuple(part): one for part, one in map(json.loads, options.raw.read_text().splitlines())}
    with ProcessPoolExecutor(options.workers) as pool:
        jobs = {pool.submit(outcomes, *part): part for part in wanted if part not in done}
        for job in as_completed(jobs):
            done[jobs[job]] = {claim: dict(count) for claim, count in job.result().items()}
            if options.raw:
                with options.raw.open("a") as file:
                    file.write(json.dumps([jobs[job], done[jobs[job]]]) + "\n")
    found: dict[Setting, Counts] = {}
    for part in wanted:
        for claim, count in done[part].items():
            found.setdefault(part[:3], {}).setdefault(claim, Counter()).update(count)
    print(table(found), enough(found), sep="\n\n")
    if options.page:
        put(options.page, "claims.py", table(found))
        put(options.page, "claims.py, enough", enough(found))
    print(f"\n{options.runs} runs, {options.null} where nothing is to be found, {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()

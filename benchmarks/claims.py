"""How often verdicts are right, on simulated runs whose truth is known.

    python benchmarks/claims.py [RUNS]

RUNS (300 by default) runs are drawn for every truth, kind of scatter and number of members; a few minutes on one core.
The table printed is the one of docs/claims.md: supported / contradicted, in % of the runs; the rest is inconclusive.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from tests.simulated_run import TRUTHS, Truth, simulate, variants

from consilience import claims

NAMES = ("C1", "C2", "C3", "C5")
MEMBERS = (4, 8, 16)
# What is true, where the claim can be tested: a verdict of the other kind is wrong.
RIGHT: dict[str, dict[str, str]] = {
    "nothing": {"C1": "inconclusive", "C2": "inconclusive", "C3": "inconclusive"},
    "as claimed": {"C1": "supported", "C2": "supported", "C3": "supported", "C5": "supported"},
    "reversed": {"C1": "contradicted", "C2": "contradicted", "C3": "contradicted", "C5": "contradicted"},
    "dip elsewhere": {"C1": "supported", "C2": "contradicted", "C3": "inconclusive"},
}


def rates(truth: Truth, *, members: int, runs: int, seed: int = 0) -> dict[str, dict[str, float]]:
    """Share of runs with each outcome, by claim."""
    counts = {name: {"supported": 0, "contradicted": 0, "inconclusive": 0} for name in NAMES}
    for run in range(runs):
        drawn = simulate(truth, members=members, seed=seed + run)
        for verdict in claims.evaluate(drawn, NAMES):
            counts[verdict.claim][verdict.verdict] += 1
    return {name: {outcome: n / runs for outcome, n in found.items()} for name, found in counts.items()}


def table(runs: int) -> Iterator[str]:
    """Rows of the table, as Markdown."""
    yield "| truth | claim | right verdict | scatter | 4 members | 8 members | 16 members |"
    yield "|---|---|---|---|---|---|---|"
    for name, truth in TRUTHS.items():
        for scatter, variant in variants(truth).items():
            found = [rates(variant, members=members, runs=runs, seed=hash_of(name, scatter)) for members in MEMBERS]
            for claim, right in RIGHT[name].items():
                cells = [
                    f"{100 * one[claim]['supported']:.0f} / {100 * one[claim]['contradicted']:.0f}" for one in found
                ]
                yield f"| {name} | {claim} | {right} | {scatter} | {' | '.join(cells)} |"


def hash_of(*words: str) -> int:
    """A seed that differs between rows and stays the same between runs."""
    return int(np.frombuffer(" ".join(words).encode(), np.uint8).astype(int).sum()) * 10_000


def main() -> None:
    """Print the table."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    start = time.perf_counter()
    for row in table(runs):
        print(row, flush=True)
    print(f"\n{runs} runs each, {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()

"""What `--dry-run` predicts of studies, beside what their runs take: seconds and peak memory.

Each study in a process of its own, which estimates and then runs it. Steps may be cut: the prediction is for as many.

    python benchmarks/cost.py [demo fashion …] [--steps 1000] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

STUDIES = ("demo", "diabetes", "fashion", "linear")

ONE = """
import json, resource, sys, tempfile, time
from consilience import train
from consilience.plan import Plan
from consilience.run import estimate, run
from consilience.study import Study

name, changes = sys.argv[1], json.loads(sys.argv[2])
train.devices()
study = Study.load(name, **changes)
plan = Plan(study)
start = time.perf_counter()
found = estimate(plan)
calibrating = time.perf_counter() - start
with tempfile.TemporaryDirectory() as folder:
    start = time.perf_counter()
    run(study, folder + "/run")
    taken = time.perf_counter() - start
unit = 1 if sys.platform == "darwin" else 1024
print(json.dumps({
    "study": name, "calibrating": calibrating, "predicted": found.seconds, "taken": taken,
    "compiling": found.compiling, "training": found.training, "measuring": found.measuring,
    "predicted_mib": found.memory_bytes / 2**20,
    "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20,
}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("studies", nargs="*", default=STUDIES)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    changes = json.dumps({} if arguments.steps is None else {"train.steps": arguments.steps})
    print("| study | calibration | predicted (compiling, training, measuring) | taken | ratio | memory | peak |")
    print("|---|---|---|---|---|---|---|")
    rows: list[dict[str, float]] = []
    for name in arguments.studies:
        done = subprocess.run([sys.executable, "-c", ONE, name, changes], stdout=subprocess.PIPE, text=True, check=True)
        row = json.loads(done.stdout.splitlines()[-1])
        rows.append(row)
        print(
            f"| {name} | {row['calibrating']:.1f} s | {row['predicted']:.1f} s ({row['compiling']:.1f}, "
            f"{row['training']:.1f}, {row['measuring']:.1f}) | {row['taken']:.1f} s "
            f"| {row['predicted'] / row['taken']:.2f} | {row['predicted_mib']:.0f} MiB | {row['peak_mib']:.0f} MiB |",
            flush=True,
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()

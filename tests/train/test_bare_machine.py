"""What runs on an accelerator machine that has only what training itself needs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "gpu.py"
ABSENT = ("pydantic", "zarr", "xarray", "dask", "torch", "sklearn", "pandas", "cyclopts", "rich", "psutil", "filelock")


def test_benchmark_of_an_accelerator_runs_without_what_training_does_not_need(tmp_path):
    block = f"import sys, runpy; sys.modules.update(dict.fromkeys({ABSENT}))"  # None: importing it fails
    code = f"{block}; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    command = [sys.executable, "-c", code, BENCHMARK, "--quick", "--json", tmp_path / "found.json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["device"] in done.stdout
    assert [row["chunk"] for row in found["results"]] == [None, 4]
    assert all(row["network_steps_per_s"] > 0 and row["compile_s"] > 0 for row in found["results"])

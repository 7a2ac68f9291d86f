"""Training speed on one kind of device, by the number of networks a device vectorises over.

Needs JAX, Equinox, Optax, NumPy, SciPy and array-api-compat only: a bare accelerator machine will do. Same cases as
`benchmarks/training.py`; time includes drawing the noise, the final losses and the activations of the probe set, and
excludes compilation, shown beside it. Without an accelerator it runs on the CPU, where networks of a device run one
after another ("-") and vectorising shows what that saves.

    python benchmarks/gpu.py [--quick] [--chunks 16 64 256 1024] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import jax
import numpy as np

from consilience import train
from consilience.data import PROCESSES, Splits
from consilience.train.engine import compile_program
from consilience.train.program import Program
from consilience.train.spec import Arrays

N_POOL = 2000
CASES = {  # widths, batch, steps
    "20-64-64-1, batch 32": ((20, 64, 64, 1), 32, 2000),
    "64-128-128-1, batch 64": ((64, 128, 128, 1), 64, 2000),
    "784-256-256-10, batch 128": ((784, 256, 256, 10), 128, 500),
    "196-16-10, batch 64": ((196, 16, 10), 64, 2000),
}
QUICK = "5-4-1, batch 4"
NOT_NEEDED = ("pydantic", "zarr", "xarray", "torch", "dask", "sklearn", "pandas")


def random_data(widths: tuple[int, ...]) -> Splits:
    """Gaussian inputs and targets: the values do not matter for time."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((N_POOL, widths[0])).astype(np.float32)
    y = rng.standard_normal((N_POOL, widths[-1])).astype(np.float32)
    return Splits(
        train_x=x,
        train_y=y,
        test_x=x[:200],
        test_y=y[:200],
        probe_x=x[:200],
        n_outputs=widths[-1],
        task="regression",
        classes=(),
        image_shape=None,
        feature_names=(),
        origin="random",
        truth=None,
    )


def measure(name: str, chunk: int | None, *, quick: bool) -> dict[str, object]:
    """Time one program; chunk None is the layout the engine chooses."""
    widths, batch, steps = ((5, 4, 1), 4, 64) if quick else CASES[name]
    process = PROCESSES["label-gaussian"]()
    options = train.TrainOptions(steps=steps, batch=batch, learning_rate=1e-3)
    cell = train.Cell(N_POOL, process.level(1.0), train.MLP(hidden=widths[1:-1]), options)
    devices = train.devices()
    members = 2 if chunk is None else chunk * len(devices)
    ensemble = train.Ensemble(random_data(widths), process, frozenset({"inputs"}), members, 0, N_POOL)
    spec = ensemble.spec(cell)
    start = time.perf_counter()
    if chunk is None:
        program = compile_program(ensemble, spec, n_cells=2 if quick else 4096)
    else:
        arrays = Arrays.of(ensemble.splits, ensemble.seed, ensemble.noise)
        program = Program(spec, arrays, n_max=N_POOL, rows_per_call=members, devices=devices, chunk=chunk)
    compiling = time.perf_counter() - start
    rows = ensemble.rows([cell] * (program.rows_per_call // members))
    jax.block_until_ready(program(rows))
    taken: list[float] = []
    for _ in range(1 if quick else 3):
        start = time.perf_counter()
        jax.block_until_ready(program(rows))
        taken.append(time.perf_counter() - start)
    return {
        "network": name,
        "chunk": chunk,
        "networks": program.rows_per_call,
        "compile_s": round(compiling, 2),
        "network_steps_per_s": round(program.rows_per_call * steps / min(taken)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few steps of a tiny network: does it run")
    parser.add_argument("--chunks", type=int, nargs="*")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    quick = arguments.quick
    devices = train.devices()
    loaded = [name for name in NOT_NEEDED if sys.modules.get(name) is not None]
    if loaded:
        raise SystemExit(f"training imports what a bare machine may not have: {', '.join(loaded)}")
    kind = devices[0].device_kind
    print(f"{len(devices)} × {kind} ({devices[0].platform}), jax {jax.__version__}\n")
    print("| network | networks on a device at once | networks | compilation | networks × steps / s |")
    print("|---|---|---|---|---|")
    on_cpu = devices[0].platform == "cpu"
    default = [4] if quick else [8] if on_cpu else [16, 64, 256, 1024]
    chunks = default if arguments.chunks is None else arguments.chunks
    results: list[dict[str, object]] = []
    for name in (QUICK,) if quick else CASES:
        for chunk in (None, *chunks):
            row = measure(name, chunk, quick=quick)
            results.append(row)
            shown = chunk or ("-" if on_cpu else "chosen")
            print(
                f"| {name} | {shown} | {row['networks']} | {row['compile_s']} s | {row['network_steps_per_s']:,} |",
                flush=True,
            )
    if arguments.json:
        described = {"device": kind, "devices": len(devices), "jax": jax.__version__, "results": results}
        arguments.json.write_text(json.dumps(described, indent=2))


if __name__ == "__main__":
    main()

"""Training time of an ensemble against a plain PyTorch loop: same networks, batches, optimizer and data.

PyTorch trains one network after another, as a script would, with the data in memory as tensors and no data
loader, on the better of one and two threads; with Adam as it comes (plain), and tuned (fused=True). Consilience
trains the same number of networks in one compiled program over all cores; its time includes drawing the noise,
the final losses and the probe set's activations, and excludes compilation, which is shown beside it. Rounds
alternate, and ratios are those of medians.

The share of the peak is the floating-point operations that products of a step need (outputs, gradients of weights,
gradients of inputs but those of the first layer: 2 × batch × weights each) per second of ours, over the best rate in
the same rounds of square float32 products, PyTorch's on all cores.

    python benchmarks/training.py [--rounds 5] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import jax
import numpy as np
import torch

from consilience import train
from consilience.data import PROCESSES, Splits

N_POOL = 2000


@dataclass(frozen=True)
class Case:
    """One architecture, its batch and how many steps are timed."""

    widths: tuple[int, ...]
    batch: int
    steps: int
    networks: int = 8

    @property
    def name(self) -> str:
        return f"{'-'.join(map(str, self.widths))}, batch {self.batch}"

    @property
    def operations(self) -> int:
        """Floating-point operations of one step's matrix products."""
        weights = [n_inputs * n_outputs for n_inputs, n_outputs in pairwise(self.widths)]
        return 2 * self.batch * (3 * sum(weights) - weights[0])

    def image_shape(self) -> tuple[int, int] | None:
        return None

    def options(self) -> train.NetworkOptions:
        """The network as Consilience builds it."""
        return train.MLP(hidden=self.widths[1:-1])

    def torch_network(self) -> torch.nn.Module:
        """The same in PyTorch."""
        layers: list[torch.nn.Module] = []
        for n_inputs, n_outputs in pairwise(self.widths):
            layers += [torch.nn.Linear(n_inputs, n_outputs), torch.nn.ReLU()]
        return torch.nn.Sequential(*layers[:-1])


@dataclass(frozen=True)
class ConvolutionCase(Case):
    """3×3 convolutions, each with ReLU and 2×2 max pooling, on 14×14 pixels, and a dense layer on the flattened map.

    Between the first and the last of its widths are channels.
    """

    @property
    def name(self) -> str:
        return f"3×3 convolutions 1→{'→'.join(map(str, self.widths[1:-1]))} on 14×14, batch {self.batch}"

    @property
    def operations(self) -> int:
        """Of the products of patches and weights, and of the dense layer."""
        *channels, n_outputs = (1, *self.widths[1:])
        places = [(14 // 2**depth) ** 2 for depth in range(len(channels))]
        products = [9 * n_in * n_out * at for (n_in, n_out), at in zip(pairwise(channels), places, strict=False)]
        products.append(channels[-1] * places[-1] * n_outputs)
        return 2 * self.batch * (3 * sum(products) - products[0])

    @property
    def image_shape(self) -> tuple[int, int] | None:
        return 14, 14

    def options(self) -> train.NetworkOptions:
        return train.CNN(self.widths[1:-1])

    def torch_network(self) -> torch.nn.Module:
        layers: list[torch.nn.Module] = [torch.nn.Unflatten(1, (1, 14, 14))]
        for n_inputs, n_outputs in pairwise((1, *self.widths[1:-1])):
            layers += [torch.nn.Conv2d(n_inputs, n_outputs, 3, padding=1), torch.nn.ReLU(), torch.nn.MaxPool2d(2)]
        side = 14 // 2 ** len(self.widths[1:-1])
        return torch.nn.Sequential(
            *layers, torch.nn.Flatten(), torch.nn.Linear(self.widths[-2] * side**2, self.widths[-1])
        )


CASES = (
    Case((20, 64, 64, 1), 32, 4000),
    Case((64, 128, 128, 1), 64, 2000),
    Case((784, 256, 256, 10), 128, 400),
    Case((196, 16, 10), 64, 4000),
    ConvolutionCase((196, 16, 32, 10), 64, 200),
)


def random_data(case: Case) -> Splits:
    """Gaussian inputs and targets: the values do not matter for time."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((N_POOL, case.widths[0])).astype(np.float32)
    y = rng.standard_normal((N_POOL, case.widths[-1])).astype(np.float32)
    return Splits(
        train_x=x,
        train_y=y,
        test_x=x[:200],
        test_y=y[:200],
        probe_x=x[:200],
        n_outputs=case.widths[-1],
        task="regression",
        classes=(),
        image_shape=case.image_shape,
        feature_names=(),
        origin="random",
        truth=None,
    )


def consilience_seconds(case: Case) -> tuple[Callable[[], float], float]:
    """Return a function that trains all networks and gives its seconds, and the seconds of compilation."""
    process = PROCESSES["label-gaussian"]()
    ensemble = train.Ensemble(random_data(case), process, frozenset({"inputs"}), case.networks, 0, N_POOL)
    options = train.TrainOptions(steps=case.steps, batch=case.batch, learning_rate=1e-3)
    cell = train.Cell(N_POOL, process.level(1.0), case.options(), options)
    os.environ["CONSILIENCE_CACHE"] = ""  # compilation is timed
    start = time.perf_counter()
    program = train.compile_program(ensemble, ensemble.spec(cell))
    compilation = time.perf_counter() - start
    rows = ensemble.rows([cell] * (program.rows_per_call // case.networks))
    jax.block_until_ready(program(rows))

    def seconds() -> float:
        start = time.perf_counter()
        jax.block_until_ready(program(rows))
        return (time.perf_counter() - start) * case.networks / program.rows_per_call

    return seconds, compilation


def torch_seconds(case: Case, threads: int, *, fused: bool) -> float:
    """Train one network in a plain loop; return its seconds."""
    torch.set_num_threads(threads)
    data = random_data(case)
    x, y = torch.from_numpy(data.train_x), torch.from_numpy(data.train_y)
    y = y + torch.randn_like(y)
    network = case.torch_network()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, fused=fused)
    loss_of = torch.nn.functional.mse_loss

    def steps(count: int) -> None:
        for _ in range(count):
            ids = torch.randint(0, N_POOL, (case.batch,))
            optimizer.zero_grad(set_to_none=True)
            loss_of(network(x[ids]), y[ids]).backward()
            optimizer.step()

    steps(20)  # allocation and kernel selection are not counted
    start = time.perf_counter()
    steps(case.steps)
    return time.perf_counter() - start


def product_rate(size: int = 1024) -> float:
    """Return floating-point operations per second of a square float32 product on all cores, the best of ten."""
    torch.set_num_threads(len(train.devices()))
    x = torch.randn(size, size)
    out = torch.empty_like(x)
    taken: list[float] = []
    for _ in range(10):
        start = time.perf_counter()
        torch.mm(x, x, out=out)
        taken.append(time.perf_counter() - start)
    return 2 * size**3 / min(taken)


def measure(case: Case, rounds: int) -> dict[str, object]:
    """Time both in alternation; microseconds are per network and step."""
    ours, compilation = consilience_seconds(case)
    variants = [(threads, fused) for threads in (1, 2) for fused in (False, True)]
    times: list[float] = []
    torch_times: dict[tuple[int, bool], list[float]] = {variant: [] for variant in variants}
    peak = 0.0
    for _ in range(rounds):
        peak = max(peak, product_rate())
        times.append(ours())
        for threads, fused in variants:
            torch_times[threads, fused].append(torch_seconds(case, threads, fused=fused))
    ours_us = statistics.median(times) / case.networks / case.steps * 1e6
    row: dict[str, object] = {
        "network": case.name,
        "consilience_us": round(ours_us, 2),
        "peak_gflops": round(peak / 1e9, 1),
        "peak_share": round(case.operations / (ours_us * 1e-6) / peak, 3),
    }
    for name, fused in (("plain", False), ("fused", True)):
        best = min(statistics.median(torch_times[threads, fused]) for threads in (1, 2)) / case.steps * 1e6
        row |= {f"{name}_us": round(best), f"{name}_ratio": round(best / ours_us, 1)}
    return row | {"compile_s": round(compilation, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    devices = train.devices()
    print(f"{os.cpu_count()} cores, {len(devices)} JAX devices, torch {torch.__version__}, jax {jax.__version__}\n")
    print("| network | PyTorch | PyTorch, fused Adam | Consilience | ratios | share of peak | compilation |")
    print("|---|---|---|---|---|---|---|")
    results: list[dict[str, object]] = []
    for case in CASES:
        row = measure(case, arguments.rounds)
        results.append(row)
        print(
            f"| {row['network']} | {row['plain_us']} µs | {row['fused_us']} µs | {row['consilience_us']} µs "
            f"| **{row['plain_ratio']}×**, {row['fused_ratio']}× "
            f"| {100 * float(str(row['peak_share'])):.0f} % of {row['peak_gflops']} GFLOP/s | {row['compile_s']} s |",
            flush=True,
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()

"""How near `theory.predict` comes to the alignment of ridge regressions trained on real data.

Each split of a data set into pool and held-out rows is treated as a user's: the pool is given to `predict`; then
members are trained on fresh random subsets of the pool, the same inputs for all and noise of their own on the
targets, and the correlation of their outputs is measured on the held-out rows. Classes are one-hot targets. Shown
are means over splits and subsets: measured alignment with the standard error of the difference, and the errors
(predicted − measured) of `predict` and of the formulas for Gaussian inputs. Inputs are standardised column by column,
as studies do ("columns"), or centred and divided by one number ("common").

    OPENBLAS_NUM_THREADS=1 python benchmarks/predict.py [--quick] [--ridge 1e-3 0] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from consilience.data import SOURCES
from consilience.theory import Prediction, predict

SNR = (0.25, 1.0, 4.0, np.inf)
SIZES = (20, 50, 100, 200, 300, 500, 1000, 2000, 4000, 8000)
MEMBERS = 6
ALLOWED = 0.04

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Case:
    """A data set, how its inputs are scaled, and how often it is split and subsets are drawn."""

    name: str
    pool: int = 1
    scale: str = "columns"
    splits: int = 1
    subsets: int = 8


CASES = (
    Case("diabetes", splits=40, subsets=4),
    Case("digits", splits=96, subsets=2),
    Case("digits", scale="common", splits=12, subsets=3),
    Case("fashion-mnist", pool=2, splits=3, subsets=8),
    Case("fashion-mnist", pool=2, scale="common", splits=3, subsets=6),
)


def load(case: Case) -> tuple[Floats, Floats]:
    """All inputs, images pooled, and all targets."""
    table = SOURCES[case.name]().load()
    x, y = table.inputs, table.targets
    if case.pool > 1:
        rows, columns = table.image_shape
        x = x.reshape(-1, rows // case.pool, case.pool, columns // case.pool, case.pool).mean(axis=(2, 4))
        x = x.reshape(len(x), -1)
    targets = np.eye(len(table.classes))[y] if table.task == "classification" else y
    return x, (targets - targets.mean(axis=0)) / targets.std(axis=0).mean()


def scaled(x: Floats, pool: NDArray[np.intp], scale: str) -> Floats:
    """Inputs with statistics of the pool."""
    x = x - x[pool].mean(axis=0)
    spread = x[pool].std(axis=0)
    if scale == "common":
        return x / np.sqrt(np.mean(spread**2))
    return np.where(spread > 1e-12, x / np.where(spread > 1e-12, spread, 1.0), 0.0)


def fit(x: Floats, y: Floats, ridge: float) -> Floats:
    """Ridge regression, or the minimum-norm solution."""
    n, d = x.shape
    if ridge == 0:
        return np.linalg.lstsq(x, y, rcond=float(np.finfo(np.float32).eps))[0]
    if n <= d:
        return x.T @ np.linalg.solve(x @ x.T + n * ridge * np.eye(n), y)
    return np.linalg.solve(x.T @ x + n * ridge * np.eye(d), x.T @ y)


def measured(x: Floats, y: Floats, probe: Floats, n: int, ridge: float, rng: np.random.Generator) -> Floats:
    """Mean correlation over pairs of members (S,) for one subset of n rows."""
    rows = rng.choice(len(x), n, replace=False)
    clean, k = y[rows], y.shape[1]
    unit = np.sqrt(np.mean(y.var(axis=0)))
    noise = unit * rng.standard_normal((n, MEMBERS * k))
    maps = fit(x[rows], np.concatenate([clean, noise], axis=1), ridge)  # linear in the targets
    outputs = probe @ maps
    outputs -= outputs.mean(axis=0)
    parts = outputs.reshape(len(probe), MEMBERS + 1, k)
    found: list[float] = []
    for snr in SNR:
        members = parts[:, :1] + parts[:, 1:] / np.sqrt(snr)  # (m, members, k)
        flat = members.transpose(1, 0, 2).reshape(MEMBERS, -1)
        found.append(float(np.corrcoef(flat)[np.triu_indices(MEMBERS, 1)].mean()))
    return np.array(found)


def run(case: Case, ridge: float, quick: bool) -> dict[str, object]:
    """Every size the pool holds: means over splits (S, N)."""
    x, y = load(case)
    n_probe = min(1000, len(x) // 5)
    sizes = [n for n in SIZES if n <= len(x) - 2 * n_probe]
    splits = max(1, case.splits // 8) if quick else case.splits
    truth, ours, gaussian = ([np.zeros((0, 0))] * 0 for _ in range(3))
    for seed in range(splits):
        rng = np.random.default_rng([seed, 7])
        order = rng.permutation(len(x))
        pool, probe = order[n_probe:], order[:n_probe]
        inputs = scaled(x, pool, case.scale)
        found: Prediction = predict(inputs[pool], y[pool], SNR, sizes, ridge, n_probe=n_probe, groups=0, seed=seed)
        each = [
            np.mean(
                [measured(inputs[pool], y[pool], inputs[probe], n, ridge, rng) for _ in range(case.subsets)], axis=0
            )
            for n in sizes
        ]
        truth.append(np.array(each).T)
        ours.append(found.alignment)
        gaussian.append(found.gaussian.alignment)
    means = [np.mean(values, axis=0) for values in (truth, ours, gaussian)]
    deviation = np.std(np.array(ours) - truth, axis=0, ddof=1) if splits > 1 else np.full(means[0].shape, np.nan)
    return {
        "case": f"{case.name}, {case.scale}, ridge {ridge:g}",
        "sizes": sizes,
        "measured": means[0],
        "error": means[1] - means[0],
        "gaussian": means[2] - means[0],
        "standard_error": deviation / np.sqrt(splits),
        "scatter": deviation,
    }


def show(result: dict[str, object], seconds: float) -> None:
    print(f"\n## {result['case']} ({seconds:.0f} s)\n")
    print("| n | " + " | ".join(f"SNR {snr:g}: measured, predict, Gaussian" for snr in SNR[:-1]) + " |")
    print("|---|" + "---|" * (len(SNR) - 1))
    for j, n in enumerate(result["sizes"]):
        cells = [
            f"{result['measured'][i, j]:.3f} ± {result['standard_error'][i, j]:.3f}, {result['error'][i, j]:+.3f}, "
            f"{result['gaussian'][i, j]:+.3f}"
            for i in range(len(SNR) - 1)
        ]
        print(f"| {n} | " + " | ".join(cells) + " |")
    worst, gaussian = np.abs(result["error"]).max(), np.abs(result["gaussian"]).max()
    outside = int(np.sum(np.abs(result["error"]) > ALLOWED))
    print(
        f"\nlargest error {worst:.3f} (Gaussian formulas {gaussian:.3f}); {outside} of {result['error'].size} beyond "
        f"{ALLOWED}; scatter of one split up to {np.nanmax(result['scatter']):.3f}; SNR inf: at most "
        f"{np.abs(result['error'][-1]).max():.1e}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer splits")
    parser.add_argument("--ridge", type=float, nargs="+", default=[1e-3, 0.0])
    parser.add_argument("--only", help="cases whose name contains this")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    results: list[dict[str, object]] = []
    for case in CASES:
        if arguments.only and arguments.only not in f"{case.name} {case.scale}":
            continue
        for ridge in arguments.ridge:
            start = time.perf_counter()
            results.append(run(case, ridge, arguments.quick))
            show(results[-1], time.perf_counter() - start)
    if arguments.json:
        plain = [{k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in one.items()} for one in results]
        arguments.json.write_text(json.dumps(plain, indent=1))


if __name__ == "__main__":
    main()

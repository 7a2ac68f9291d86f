"""Theory against simulation: ensembles of ridge regressions on Gaussian inputs, over a grid of settings.

Every setting (spectrum of the inputs, outputs, misfit, sample size, ridge, shared or own inputs, SNR) is simulated
with its own draws, but for the SNR, whose levels scale one draw of noise. A simulated value is the mean over data
sets of the mean over pairs of members. Theory holds in a setting when it lies within

    3 standard errors of that mean + FLOOR + ORDER·(k + 1)/n

for k outputs and n samples: the theory is the first orders of a large-size expansion, what it leaves out is of
relative order (k + 1)/n, and the laws fitted to its fluctuations are good to FLOOR. For the risk, both are fractions
of it. Without ridge, settings with |n − rank| up to NEIGHBOURHOOD·rank are counted apart: there single data sets
decide, and the mean risk is that of rare ones.

    python benchmarks/theory.py [--csv docs/data/theory_grid.csv] [--repeats 30]
"""

from __future__ import annotations

import argparse
import csv
import itertools
import statistics
import time
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from consilience.theory import linear_network

Floats = NDArray[np.float64]

FLOOR = 0.01
ORDER = 0.1
NEIGHBOURHOOD = 0.1
QUANTITIES = ("output_correlation", "output_cka", "hidden_cka", "risk")

_INDEX = np.arange(1, 101.0)
SPECTRA: dict[str, Floats] = {
    "equal": np.ones(100),
    "i^-0.8": _INDEX**-0.8,
    "i^-1.5": _INDEX**-1.5,
    "i^-0.5, rank 60": np.where(_INDEX <= 60, _INDEX**-0.5, 0.0),
}
SNR = (0.25, 1.0, 4.0)
OUTPUTS = (1, 3, 10)
MISFIT = (0.0, 0.3)
RIDGE = (0.0, 0.02, 0.3)
RATIOS = (0.05, 0.1, 0.3, 0.7, 0.95, 1.0, 1.3, 3.0, 10.0)  # n over rank


class Setting(NamedTuple):
    """One simulated ensemble; its SNR levels share draws."""

    spectrum: str
    outputs: int
    misfit: float
    n: int
    ridge: float
    shared_inputs: bool

    @property
    def eigenvalues(self) -> Floats:
        return SPECTRA[self.spectrum]

    @property
    def near_threshold(self) -> bool:
        rank = int(np.sum(self.eigenvalues > 0))
        return self.ridge == 0 and abs(self.n - rank) <= NEIGHBOURHOOD * rank

    @property
    def seed(self) -> int:
        return zlib.crc32(repr(tuple(self)).encode())


class Row(NamedTuple):
    """One setting at one SNR and one quantity."""

    setting: Setting
    snr: float
    quantity: str
    simulated: float
    error: float
    theory: float

    @property
    def tolerance(self) -> float:
        allowance = FLOOR + ORDER * (self.setting.outputs + 1) / self.setting.n
        return 3 * self.error + allowance * (abs(self.simulated) if self.quantity == "risk" else 1.0)

    @property
    def holds(self) -> bool:
        return abs(self.theory - self.simulated) <= self.tolerance


def settings() -> Iterator[Setting]:
    """All combinations."""
    for name, k, misfit, ratio, ridge, shared in itertools.product(
        SPECTRA, OUTPUTS, MISFIT, RATIOS, RIDGE, (True, False)
    ):
        yield Setting(name, k, misfit, max(1, round(ratio * np.sum(SPECTRA[name] > 0))), ridge, shared)


def teacher(eigenvalues: Floats, outputs: int, variance: float) -> Floats:
    """Random coefficients (k, d), each output of the given variance."""
    beta = np.random.default_rng(outputs).standard_normal((outputs, len(eigenvalues)))
    return beta * np.sqrt(variance / np.sum(beta**2 * eigenvalues, axis=1, keepdims=True))


def compare(setting: Setting, *, repeats: int = 30, members: int = 4, snr: Iterable[float] = SNR) -> list[Row]:
    """Simulate one setting and set theory beside it."""
    values, levels = setting.eigenvalues, tuple(snr)
    beta = teacher(values, setting.outputs, 1 - setting.misfit)
    found = simulate(
        values,
        beta,
        setting.n,
        levels,
        misfit=setting.misfit,
        ridge=setting.ridge,
        shared_inputs=setting.shared_inputs,
        members=members,
        repeats=repeats,
        seed=setting.seed,
    )  # (snr, quantity, repeat)
    mean, error = found.mean(axis=-1), found.std(axis=-1, ddof=1) / np.sqrt(repeats)
    theory = predict(setting, [setting.n], levels)[..., 0]
    return [
        Row(setting, level, name, float(mean[i, j]), float(error[i, j]), float(theory[j, i]))
        for i, level in enumerate(levels)
        for j, name in enumerate(QUANTITIES)
    ]


def predict(setting: Setting, sizes: Iterable[int], snr: Iterable[float]) -> Floats:
    """What theory says at other sizes too, (quantity, snr, n); the risk is the excess over the misfit."""
    values = setting.eigenvalues
    found = linear_network(
        values,
        teacher(values, setting.outputs, 1 - setting.misfit),
        list(sizes),
        list(snr),
        misfit=setting.misfit,
        ridge=setting.ridge,
        shared_inputs=setting.shared_inputs,
    )
    return np.array([*found[:3], found.risk - setting.misfit])


def simulate(
    eigenvalues: Floats,
    beta: Floats,
    n: int,
    snr: Iterable[float],
    *,
    misfit: float = 0.0,
    ridge: float = 0.0,
    shared_inputs: bool = True,
    members: int = 4,
    repeats: int = 30,
    seed: int = 0,
) -> Floats:
    """Train ensembles in closed form: (snr, quantity, repeat), means over pairs of members.

    Hidden layers are those of small initialization, G = (WᵀW)^½; the risk is the excess over the misfit.
    """
    rng = np.random.default_rng(seed)
    kept = eigenvalues > 0
    root, beta = np.sqrt(eigenvalues[kept]), beta[:, kept]
    k, d = beta.shape
    sets = 1 if shared_inputs else members
    x = rng.standard_normal((repeats, sets, n, d)) * root
    noise = rng.standard_normal((repeats, members, k, n))
    common = np.sqrt(misfit) * rng.standard_normal((repeats, sets, k, n))
    signal = beta @ _transposed(x) + common
    inverse = _regularized_inverse(x, ridge)  # (repeats, sets, n, d)
    learned, disturbed = signal @ inverse, noise @ inverse
    return np.array([_describe(learned + disturbed / np.sqrt(level), beta, root) for level in snr])


def _transposed(x: Floats) -> Floats:
    return np.swapaxes(x, -1, -2)


def _regularized_inverse(x: Floats, ridge: float) -> Floats:
    """Kᵀ (..., n, d), from targets to weights."""
    n, d = x.shape[-2:]
    if n <= d:
        return np.linalg.solve(x @ _transposed(x) + n * ridge * np.eye(n), x)
    return _transposed(np.linalg.solve(_transposed(x) @ x + n * ridge * np.eye(d), _transposed(x)))


def _describe(weights: Floats, beta: Floats, root: Floats) -> Floats:
    """Quantities (4, repeats) of maps (repeats, members, k, d)."""
    outputs = weights * root
    value, vector = np.linalg.eigh(weights @ _transposed(weights))
    kept = value > 1e-12 * value[..., -1:]
    power = np.where(kept, np.where(kept, value, 1.0) ** -0.25, 0.0)
    hidden = (vector * power[..., None, :]) @ _transposed(vector) @ outputs
    one, two = np.triu_indices(weights.shape[1], 1)
    size = np.sum(outputs**2, axis=(-1, -2))
    overlap = np.sum(outputs[:, one] * outputs[:, two], axis=(-1, -2))
    correlation = overlap / np.sqrt(size[:, one] * size[:, two])
    risk = np.sum((outputs - beta * root) ** 2, axis=(-1, -2)) / len(beta)
    return np.array([x.mean(axis=1) for x in (correlation, _cka(outputs), _cka(hidden), risk)])


def _cka(features: Floats) -> Floats:
    """Linear CKA of pairs of members, (repeats, pairs), from square roots (repeats, members, k, d) of their Grams."""
    one, two = np.triu_indices(features.shape[1], 1)
    cross = np.sum((features[:, one] @ _transposed(features[:, two])) ** 2, axis=(-1, -2))
    own = np.sum((features @ _transposed(features)) ** 2, axis=(-1, -2))
    return cross / np.sqrt(own[:, one] * own[:, two])


def seconds(dimension: int = 784, outputs: int = 10) -> float:
    """Median time of the theory of a study: 4 SNR by 14 sample sizes."""
    values = np.arange(1, dimension + 1.0) ** -1
    beta = teacher(values, outputs, 1.0)
    sizes = np.unique(np.geomspace(10, 20_000, 14).astype(int))
    taken = []
    for _ in range(21):
        start = time.perf_counter()
        linear_network(values, beta, sizes, [0.25, 1, 4, np.inf])
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def report(rows: list[Row]) -> None:
    """Print the share of settings where theory holds, all and by factor."""
    print(
        f"\n{len(rows) // len(QUANTITIES)} settings: where theory holds, 95 % quantile and largest |theory − simulated|"
    )
    print(f"{'':30}" + "".join(f"{name:>26}" for name in QUANTITIES))
    far = [row for row in rows if not row.setting.near_threshold]
    _line("away from the threshold", far)
    _line("next to it, without ridge", [row for row in rows if row.setting.near_threshold])
    for field in ("spectrum", "outputs", "misfit", "n", "ridge", "shared_inputs"):
        for value in sorted({getattr(row.setting, field) for row in far}, key=str):
            _line(f"  {field} {value}", [row for row in far if getattr(row.setting, field) == value])
    for level in SNR:
        _line(f"  snr {level}", [row for row in far if row.snr == level])


def read(path: Path) -> list[Row]:
    """Rows of a file that `write` made, with the theory of this version, not of the one that wrote it."""
    groups: dict[Setting, dict[tuple[int, float], dict[str, str]]] = {}
    with path.open(newline="") as file:
        for line in csv.DictReader(file):
            numbers = int(line["outputs"]), float(line["misfit"]), 0, float(line["ridge"])
            group = Setting(line["spectrum"], *numbers, line["shared_inputs"] == "True")
            groups.setdefault(group, {})[int(line["n"]), float(line["snr"])] = line
    rows: list[Row] = []
    for group, lines in groups.items():
        sizes, levels = (sorted(set(axis)) for axis in zip(*lines, strict=True))
        theory = predict(group, sizes, levels)  # (quantity, snr, n)
        for (n, level), line in lines.items():
            for j, name in enumerate(QUANTITIES):
                measured = float(line[f"{name}_simulated"]), float(line[f"{name}_error"])
                expected = float(theory[j, levels.index(level), sizes.index(n)])
                rows.append(Row(group._replace(n=n), level, name, *measured, expected))
    return rows


def _line(label: str, rows: list[Row]) -> None:
    text = f"{label:30}"
    for name in QUANTITIES:
        # The mean risk is infinite within a sample of the threshold, whatever finitely many data sets show.
        mine = [row for row in rows if row.quantity == name and np.isfinite(row.theory)]
        share = np.mean([row.holds for row in mine])
        sizes = [abs(row.theory - row.simulated) / (row.simulated if name == "risk" else 1) for row in mine]
        text += f"{share:>12.1%} {np.quantile(sizes, 0.95):>6.3f} {max(sizes):>6.3f}"
    print(text)


def write(path: Path, rows: list[Row]) -> None:
    """One line for each setting and SNR."""
    path.parent.mkdir(exist_ok=True, parents=True)
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(
            [*Setting._fields, "snr", "near_threshold"]
            + [f"{name}_{part}" for name in QUANTITIES for part in ("simulated", "error", "theory")]
        )
        for start in range(0, len(rows), len(QUANTITIES)):
            group = rows[start : start + len(QUANTITIES)]
            numbers = [x for row in group for x in (f"{row.simulated:.4g}", f"{row.error:.2g}", f"{row.theory:.4g}")]
            table.writerow([*group[0].setting, group[0].snr, group[0].setting.near_threshold, *numbers])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--repeats", type=int, default=30)
    arguments = parser.parse_args()
    print(f"theory of a study (4 SNR, 14 n_train, 784 inputs, 10 outputs): {1e3 * seconds():.0f} ms")
    start = time.perf_counter()
    rows = [row for setting in settings() for row in compare(setting, repeats=arguments.repeats)]
    print(f"simulated in {time.perf_counter() - start:.0f} s")
    report(rows)
    if arguments.csv:
        write(arguments.csv, rows)


if __name__ == "__main__":
    main()

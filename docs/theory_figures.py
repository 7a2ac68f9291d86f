"""Draw the pictures of docs/theory.md: simulated ensembles as dots on lines of theory.

    python docs/theory_figures.py [minimum hidden ...]

takes a minute. The grid of settings is read from docs/data/theory_grid.csv, which `python benchmarks/theory.py --csv
docs/data/theory_grid.csv` writes.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from consilience.theory import alignment, isotropic, lazy_cka, linear_network

Floats = NDArray[np.float64]

HERE = Path(__file__).parent
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")  # distinguishable without colour vision
D = 100
LINE = np.unique(np.geomspace(3, 1000, 150).astype(int))
DOTS = np.array([3, 6, 12, 25, 50, 75, 92, 109, 130, 180, 300, 600, 1000])


def load_benchmark() -> Any:
    """The simulations, from benchmarks/theory.py."""
    spec = importlib.util.spec_from_file_location("benchmark_of_theory", HERE.parent / "benchmarks" / "theory.py")
    if spec is None or spec.loader is None:
        raise FileNotFoundError("benchmarks/theory.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


bench = load_benchmark()


def simulated(beta: Floats, values: Floats, sizes: Floats, snr: float, quantity: int, **options: Any) -> Floats:
    """Mean and standard error (2, n) of one quantity."""
    found = [
        bench.simulate(values, beta, int(n), [snr], **{"repeats": 20, "seed": int(n)} | options)[0, quantity]
        for n in sizes
    ]
    return np.array([[x.mean(), x.std(ddof=1) / np.sqrt(len(x))] for x in found]).T


def dots(ax: Axes, sizes: Floats, found: Floats, color: str, **style: Any) -> None:
    """Simulated means with two standard errors."""
    ax.errorbar(sizes, found[0], 2 * found[1], fmt="o", ms=4, lw=1, color=color, **style)


def dress(ax: Axes, title: str, ylabel: str = "", threshold: float | None = D) -> None:
    """Axes of a curve over n."""
    ax.set(xscale="log", xlabel="training samples n", ylabel=ylabel, ylim=(-0.03, 1.03))
    ax.set_title(title, fontsize=10)
    if threshold:
        ax.axvline(threshold, color="0.8", lw=1, zorder=0)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)


def draw_isotropic() -> plt.Figure:
    """Correlation of outputs and excess risk for equal eigenvalues."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
    values = np.ones(D)
    beta = bench.teacher(values, 1, 1.0)
    for snr, color in zip((0.5, 2.0, 8.0), COLORS, strict=False):
        for ax, quantity in ((left, 0), (right, 3)):
            dots(ax, DOTS, simulated(beta, values, DOTS, snr, quantity, repeats=40), color)
        theory = isotropic(LINE, D, snr)
        left.plot(LINE, theory.alignment, color=color, label=f"SNR {snr:g}")
        right.plot(LINE, theory.risk, color=color)
    dress(left, "Alignment of outputs: SNR / (SNR + d/|n−d|)", "output correlation")
    dress(right, "The same networks' excess risk", "in units of the target variance")
    right.set(yscale="log", ylim=(0.005, 60))
    left.legend(frameon=False)
    return figure


def draw_cosine() -> plt.Figure:
    """Squared cosine at finite size against the square of the correlation."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
    sizes = np.array([1, 2, 4, 8, 20, 50, 100, 150, 175, 190, 200, 210, 230, 270, 400, 1000])
    line = np.unique(np.r_[np.geomspace(1, 1000, 120).astype(int), 160:260])
    values = np.ones(200)
    beta = bench.teacher(values, 1, 1.0)
    for ax, snr, color in zip(axes, (0.5, 4.0), COLORS, strict=False):
        dots(ax, sizes, simulated(beta, values, sizes, snr, 1), color)
        theory = isotropic(line, 200, snr)
        ax.plot(line, theory.squared_cosine, color=color, label="E cos², finite size")
        ax.plot(line, theory.alignment**2, color="0.5", ls="--", label="ρ², the limit of large size")
        dress(ax, f"d = 200, SNR {snr:g}", "linear CKA of one output", 200)
        ax.legend(frameon=False, loc="upper center")
    return figure


def draw_hidden() -> plt.Figure:
    """Hidden CKA for several outputs, two spectra."""
    figure, axes = plt.subplots(1, 3, figsize=(12, 3.6), layout="constrained", sharey=True)
    cases = ((np.arange(1, D + 1.0) ** -0.8, 0.0), (np.arange(1, D + 1.0) ** -0.8, 0.02), (np.ones(D), 0.0))
    titles = ("λᵢ ∝ i^−0.8, no ridge", "λᵢ ∝ i^−0.8, ridge .02", "equal eigenvalues, own inputs")
    for ax, (values, ridge), title in zip(axes, cases, titles, strict=True):
        shared = ax is not axes[2]
        for k, color in zip((1, 3, 10), COLORS, strict=False):
            beta = bench.teacher(values, k, 1.0)
            options = {"ridge": ridge, "shared_inputs": shared}
            dots(ax, DOTS, simulated(beta, values, DOTS, 1.0, 2, **options), color)
            theory = linear_network(values, beta, LINE, 1.0, **options).hidden_cka
            ax.plot(LINE, theory, color=color, label=f"{k} output{'s' * (k > 1)}")
        dress(ax, title, "hidden CKA, SNR 1" if ax is axes[0] else "")
    axes[0].legend(frameon=False)
    return figure


def draw_minimum() -> plt.Figure:
    """What removes the minimum at the threshold."""
    figure, axes = plt.subplots(1, 4, figsize=(14, 3.5), layout="constrained")
    values = np.arange(1, D + 1.0) ** -1.5
    beta = bench.teacher(values, 1, 1.0)
    for ridge, color in zip((0.0, 1e-3, 2e-2), COLORS, strict=False):
        dots(axes[0], DOTS, simulated(beta, values, DOTS, 1.0, 0, ridge=ridge), color)
        theory = alignment(values, beta, LINE, snr=1.0, ridge=ridge).alignment
        axes[0].plot(LINE, theory, color=color, label=f"μ = {ridge:g}")
    dress(axes[0], "Ridge", "output correlation, SNR 1")
    for time, color in zip((np.inf, 1e3, 50.0), COLORS, strict=False):
        dots(axes[1], DOTS, stopped(values, beta, DOTS, time), color)
        theory = alignment(values, beta, LINE, snr=1.0, ridge=1 / time).alignment
        axes[1].plot(LINE, theory, color=color, label="to the end" if np.isinf(time) else f"time {time:g}")
    dress(axes[1], "Early stopping (lines: ridge 1/time)")
    equal = np.ones(D)
    teacher = bench.teacher(equal, 1, 1.0)
    for shared, color in ((True, COLORS[0]), (False, COLORS[1])):
        dots(axes[2], DOTS, simulated(teacher, equal, DOTS, 1.0, 0, shared_inputs=shared), color)
        theory = isotropic(LINE, D, 1.0, shared_inputs=shared).alignment
        axes[2].plot(LINE, theory, color=color, label="shared inputs" if shared else "inputs of their own")
    dress(axes[2], "Inputs, equal eigenvalues")
    draw_initialization(axes[3])
    for ax, place in zip(axes, ("upper left", "upper left", "upper left", "upper center"), strict=True):
        ax.legend(frameon=False, fontsize=8, loc=place)
    axes[3].set_ylim(-0.03, 1.35)
    axes[3].set_yticks(np.arange(0, 1.01, 0.2))
    return figure


def stopped(values: Floats, beta: Floats, sizes: Floats, time: float, repeats: int = 20) -> Floats:
    """Correlation of two members after gradient flow from zero for some time: mean and standard error (2, n)."""
    found = []
    for n in sizes:
        rng, rows = np.random.default_rng(int(n)), []
        for _ in range(repeats):
            x = rng.standard_normal((n, len(values))) * np.sqrt(values)
            left, s, right = np.linalg.svd(x, full_matrices=False)
            y = x @ beta.T + rng.standard_normal((n, 2))
            maps = (right.T * (-np.expm1(-(s**2) * time / n) / s)) @ left.T @ y * np.sqrt(values)[:, None]
            rows.append(maps[:, 0] @ maps[:, 1] / np.sqrt(np.prod(np.sum(maps**2, axis=0))))
        found.append((np.mean(rows), np.std(rows, ddof=1) / np.sqrt(repeats)))
    return np.array(found).T


def draw_initialization(ax: Axes) -> None:
    """Hidden CKA of descended networks: 30 inputs, 40 hidden units, 3 outputs."""
    sizes, line, values = np.array([5, 10, 20, 27, 34, 45, 80, 200]), np.arange(3, 201), np.ones(30)
    beta = bench.teacher(values, 3, 1.0)
    for scale, color in zip((0.01, 1.0, 4.0), COLORS, strict=False):
        dots(ax, sizes, descended(beta, sizes, scale), color, label=f"initial scale {scale:g}")
    ax.plot(line, linear_network(values, beta, line, 1.0).hidden_cka, color=COLORS[0])
    ax.axhline(float(lazy_cka(values, 40)), color=COLORS[2], ls="--", label="random layers")
    dress(ax, "Initialization (hidden CKA, d = 30)", threshold=30)


def descended(beta: Floats, sizes: Floats, scale: float, repeats: int = 12, members: int = 3) -> Floats:
    """Mean and standard error (2, n) of hidden CKA after gradient descent; initial weights differ between members."""
    found = []
    for n in sizes:
        values = []
        for repeat in range(repeats):
            rng = np.random.default_rng([int(n), repeat])
            x = rng.standard_normal((n, beta.shape[1]))
            grams = [descend(scale, x, x @ beta.T + rng.standard_normal((n, len(beta))), rng) for _ in range(members)]
            pairs = [(a, b) for i, a in enumerate(grams) for b in grams[:i]]
            values.append(np.mean([np.sum(a * b) / np.linalg.norm(a) / np.linalg.norm(b) for a, b in pairs]))
        found.append((np.mean(values), np.std(values, ddof=1) / np.sqrt(repeats)))
    return np.array(found).T


def descend(scale: float, x: Floats, y: Floats, rng: np.random.Generator, width: int = 40) -> Floats:
    """Gram of the hidden layer after full-batch gradient descent, initial weights scale · N(0, 1/fan-in)."""
    d, k = x.shape[1], y.shape[1]
    first, second = (
        scale * rng.standard_normal((width, d)) / d**0.5,
        scale * rng.standard_normal((k, width)) / width**0.5,
    )
    moment, target = x.T @ x / len(x), y.T @ x / len(x)
    rate = 0.2 / np.linalg.norm(moment, 2) / max(2.0, scale**2 * 3)
    for _ in range(30_000):
        pull = target - second @ first @ moment
        if np.sum(pull**2) < 1e-9:
            break
        first, second = first + rate * second.T @ pull, second + rate * pull @ first.T
    return first.T @ first


def draw_grid() -> plt.Figure:
    """All settings of the benchmark: simulated on predicted, and residuals."""
    rows = bench.read(HERE / "data" / "theory_grid.csv")
    names = {
        "output_correlation": "output correlation",
        "output_cka": "output CKA",
        "hidden_cka": "hidden CKA",
        "risk": "excess risk",
    }
    figure, axes = plt.subplots(2, 4, figsize=(14, 6), layout="constrained", height_ratios=(3, 1.3))
    for (name, title), above, below in zip(names.items(), *axes, strict=True):
        mine = [row for row in rows if row.quantity == name and np.isfinite(row.theory)]
        near = np.array([row.setting.near_threshold for row in mine])
        theory, found = (np.array([getattr(row, field) for row in mine]) for field in ("theory", "simulated"))
        holds = np.array([row.holds for row in mine])
        ends = (theory[~near].min(), theory[~near].max()) if name == "risk" else (0, 1)
        above.plot(ends, ends, color="0.6", lw=1)
        for chosen, color, label in (
            (near, "0.75", "next to the threshold"),
            (~near & holds, COLORS[0], "within tolerance"),
            (~near & ~holds, COLORS[1], "outside"),
        ):
            above.plot(theory[chosen], found[chosen], ".", ms=3, color=color, label=label, rasterized=True)
        above.set(xlabel="theory", ylabel="simulated" if name == "output_correlation" else "")
        above.set_title(f"{title}: {holds[~near].mean():.1%} of {np.sum(~near)} within tolerance", fontsize=9)
        residual = theory - found if name != "risk" else theory / found - 1
        below.hist(np.clip(residual[~near], -0.25, 0.25), np.linspace(-0.25, 0.25, 101), color=COLORS[0])
        below.set(xlabel="theory − simulated" + (", relative" if name == "risk" else ""), yscale="log")
        if name == "risk":
            above.set(xscale="log", yscale="log")
    axes[0, 0].legend(frameon=False, markerscale=3, fontsize=8)
    axes[1, 0].set_ylabel("settings")
    return figure


FIGURES: dict[str, Callable[[], plt.Figure]] = {
    "isotropic": draw_isotropic,
    "cosine": draw_cosine,
    "hidden": draw_hidden,
    "minimum": draw_minimum,
    "grid": draw_grid,
}


def main() -> None:
    """Draw every picture, or those named."""
    matplotlib.use("agg")
    for name, draw in FIGURES.items():
        if sys.argv[1:] and name not in sys.argv[1:]:
            continue
        figure = draw()
        figure.savefig(HERE / "img" / f"theory_{name}.png", dpi=130)
        plt.close(figure)


if __name__ == "__main__":
    main()

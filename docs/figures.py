"""Draw the pictures of the README and the documentation from runs of the built-in studies.

    python docs/figures.py RUNS

RUNS is a folder with run directories named like the built-in studies; studies that are not there are run first, which
takes some minutes.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import xarray as xr

from consilience.facts import Selection
from consilience.figures import plot_across, plot_alignment_curve, plot_along_axis, plot_errors
from consilience.study import Study

IMAGES = Path(__file__).parent / "img"
# study: layer, measure, further axes of the left panel
SHOWN: dict[str, tuple[str, str, dict[str, float | str]]] = {
    "fashion": ("hidden_1", "cka", {}),
    "demo": ("hidden_1", "cka", {}),
    "linear": ("output", "output_correlation", {"train.solver": "exact"}),
    "diabetes": ("output", "output_correlation", {}),
}


def draw(name: str, run: xr.Dataset) -> None:
    """Alignment on the left, train and test error on the right."""
    layer, measure, at = SHOWN[name]
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
    plot_alignment_curve(run, Selection(layer, measure, at), ax=left)
    plot_errors(run, at, ax=right)
    figure.savefig(IMAGES / f"{name}.png", dpi=150)
    plt.close(figure)


def draw_widths(run: xr.Dataset, left: plt.Axes, right: plt.Axes) -> None:
    """Minima that move with width, at two SNRs."""
    for ax, snr in ((left, 0.25), (right, 1.0)):
        plot_along_axis(run, "network.hidden", snr=snr, title="hidden units", ax=ax)


def draw_architectures(run: xr.Dataset, left: plt.Axes, right: plt.Axes) -> None:
    """The matrix of architectures with and without noise."""
    for ax, snr in ((left, 1.0), (right, np.inf)):
        plot_across(run, at={"snr": snr, "n_train": 1200}, ax=ax)


def draw_protocols(run: xr.Dataset, left: plt.Axes, right: plt.Axes) -> None:
    """Curves of each protocol, and the matrix of all at one size."""
    plot_along_axis(run, "train", snr=0.25, title="training", ax=left)
    plot_across(run, at={"snr": 0.25, "n_train": 640}, ax=right)


def draw_init(run: xr.Dataset, left: plt.Axes, right: plt.Axes) -> None:
    """Hidden layer and output, from small to large initialization."""
    plot_along_axis(run, "network.init_scale", snr=1.0, layer="hidden_1", measure="cka", title="init_scale", ax=left)
    measure = "output_correlation"
    plot_along_axis(run, "network.init_scale", snr=1.0, layer="output", measure=measure, title="init_scale", ax=right)


PANELS: dict[str, Callable[[xr.Dataset, plt.Axes, plt.Axes], None]] = {
    "widths": draw_widths,
    "architectures": draw_architectures,
    "protocols": draw_protocols,
    "init": draw_init,
}


def draw_panels(name: str, run: xr.Dataset) -> None:
    """Two panels that a study has to itself."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
    PANELS[name](run, left, right)
    figure.savefig(IMAGES / f"{name}.png", dpi=150)
    plt.close(figure)


def main() -> None:
    """Draw every picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path)
    runs = parser.parse_args().runs
    matplotlib.use("agg")
    IMAGES.mkdir(exist_ok=True)
    for name in SHOWN:
        draw(name, Study.load(name).run(runs / name))
    for name in PANELS:
        draw_panels(name, Study.load(name).run(runs / name))


if __name__ == "__main__":
    main()

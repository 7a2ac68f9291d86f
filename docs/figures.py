"""Draw the pictures of the README and the documentation from runs of the built-in studies.

    python docs/figures.py RUNS

RUNS is a folder with the run directories `fashion`, `linear`, `diabetes` and `demo`; studies that are not there are
run first, which takes some minutes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import xarray as xr

from consilience.facts import Selection
from consilience.figures import plot_alignment_curve, plot_errors
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


def main() -> None:
    """Draw every picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path)
    runs = parser.parse_args().runs
    matplotlib.use("agg")
    IMAGES.mkdir(exist_ok=True)
    for name in SHOWN:
        draw(name, Study.load(name).run(runs / name))


if __name__ == "__main__":
    main()

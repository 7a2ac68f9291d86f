"""What the figures share: colours, axes, legends. Nothing here touches Matplotlib's global settings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from consilience.errors import require
from consilience.facts import Selection, first_selection, is_distance, number_text

if TYPE_CHECKING:
    import xarray as xr

__all__ = [
    "DASHED",
    "GREY",
    "THEORY",
    "axes_or_new",
    "chosen",
    "log_n_axis",
    "score_label",
    "sequential_colours",
    "snr_colours",
    "snr_legend",
    "threshold_strip",
]

GREY = "#6b6b6b"

# What a line is, the same in every figure: measured lines are full.
DASHED, DOTTED = (0, (5, 2.2)), (0, (1, 1.6))
THEORY: dict[str, Any] = {"lw": 1.3, "ls": DOTTED}
"""Theory is dotted."""

# Viridis (van der Walt & Smith), whose lightness rises evenly and which stays ordered under every
# common form of colour blindness and in grey print.
_VIRIDIS = (
    (0.267, 0.005, 0.329), (0.283, 0.141, 0.458), (0.254, 0.265, 0.530), (0.207, 0.372, 0.553),
    (0.164, 0.471, 0.558), (0.128, 0.567, 0.551), (0.135, 0.659, 0.518), (0.267, 0.749, 0.441),
    (0.478, 0.821, 0.318), (0.741, 0.873, 0.150), (0.993, 0.906, 0.144),
)  # fmt: skip


def sequential_colours(n: int, *, start: float = 0.0, stop: float = 0.8) -> list[str]:
    """`n` hexadecimal colours from the part [start, stop] of viridis, dark to bright.

    The default leaves out the yellow end, which is too faint on white.

    >>> sequential_colours(3)
    ['#440154', '#2a788e', '#7ad151']
    """
    positions = np.linspace(start, stop, n) if n > 1 else np.array([(start + stop) / 2])
    channels = [
        np.interp(positions, np.linspace(0, 1, len(_VIRIDIS)), [colour[i] for colour in _VIRIDIS]) for i in range(3)
    ]
    return ["#" + "".join(f"{round(255 * float(c[i])):02x}" for c in channels) for i in range(n)]


def snr_colours(snr: Sequence[float]) -> dict[float, str]:
    """A colour for every SNR, dark at the lowest, infinity last."""
    ordered = sorted(float(value) for value in snr)
    return dict(zip(ordered, sequential_colours(len(ordered)), strict=True))


def chosen(ds: xr.Dataset, selection: Selection | None) -> Selection:
    """The selection asked for, or the headline at the first value of every further axis where it has a score."""
    return selection or first_selection(ds)


def score_label(ds: xr.Dataset, selection: Selection) -> str:
    """Axis label that says which way alignment runs."""
    if is_distance(ds, selection.measure):
        return f"{selection.measure} distance (lower = more aligned)"
    return f"alignment ({selection.measure})"


def axes_or_new(ax: Any, size: tuple[float, float] = (4.6, 3.2)) -> Any:
    """The axes given, or those of a new figure, with plain spines and small ticks."""
    if ax is None:
        pyplot = require("matplotlib.pyplot", extra="report", purpose="drawing a figure")
        ax = pyplot.subplots(figsize=size, dpi=150, layout="constrained")[1]
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_linewidth(0.7)
    ax.tick_params(labelsize=8, width=0.7, length=3, which="major")
    ax.tick_params(width=0.5, length=1.8, which="minor")
    ax.xaxis.label.set_size(9)
    ax.yaxis.label.set_size(9)
    return ax


def log_n_axis(ax: Any) -> None:
    """Logarithmic n_train along x, labelled with plain numbers; to be called when everything is drawn."""
    ax.set_xscale("log")
    ax.set_xlabel("training samples, n_train")
    low, high = ax.get_xlim()
    ax.xaxis.set_major_formatter(_plain_tick)
    # Less than a decade may hold no power of ten, the only place of major ticks.
    ax.xaxis.set_minor_formatter(_plain_tick if high < 10 * low else "")


def _plain_tick(value: float, _position: int | None) -> str:
    return number_text(value)


def snr_legend(ax: Any, colours: dict[float, str], extra: Sequence[tuple[str, dict[str, Any]]] = ()) -> None:
    """A frameless legend to the right: SNR in order, then lines of other meaning."""
    lines = require("matplotlib.lines", extra="report", purpose="drawing a figure")
    handles = [
        lines.Line2D([], [], color=colour, lw=1.6, label=f"SNR {number_text(snr)}")
        for snr, colour in reversed(colours.items())
    ]
    handles += [lines.Line2D([], [], label=label, **style) for label, style in extra]
    ax.legend(
        handles=handles, fontsize=7.5, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0),
        handlelength=1.6, borderaxespad=0.2,
    )  # fmt: skip


def threshold_strip(ax: Any, thresholds: Any, colours: dict[float, str]) -> None:
    """A bar above the axes for every SNR, over the n_train between which the interpolation threshold lies."""
    known = thresholds.dropna(subset=["last_fitted", "first_unfitted"])
    for rank, snr in enumerate(colours):
        for row in known[known["snr"] == snr].itertuples():
            ax.plot(
                [row.last_fitted, row.first_unfitted], [1.025 + 0.022 * rank] * 2, color=colours[snr], lw=2.2,
                solid_capstyle="butt", transform=ax.get_xaxis_transform(), clip_on=False,
            )  # fmt: skip
    if len(known):
        ax.annotate(
            "interpolation\nthreshold", (0, 1.025), xycoords="axes fraction", fontsize=6.5, color=GREY,
            va="bottom", linespacing=1.0,
        )  # fmt: skip

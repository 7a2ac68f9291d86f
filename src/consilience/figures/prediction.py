"""The curve of alignment predicted from data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from consilience.facts import number_text
from consilience.figures._style import axes_or_new, log_n_axis, snr_colours, snr_legend

if TYPE_CHECKING:
    from consilience.theory import Prediction

__all__ = ["plot_prediction", "prediction_data"]


def prediction_data(prediction: Prediction) -> pd.DataFrame:
    """One row for every SNR and n_train of a prediction: alignment, its interval, CKA and risk.

    Columns: `snr`, `snr_text`, `n_train`, `alignment`, `low`, `high` (NaN without intervals), `scatter`,
    `gaussian`, `output_cka`, `hidden_cka`, `risk`, `extrapolated`.
    """
    snr, sizes = np.atleast_1d(prediction.snr), np.atleast_1d(prediction.n_train)
    levels, n_train = np.meshgrid(snr, sizes, indexing="ij")
    nothing = np.full(levels.size, np.nan)
    return pd.DataFrame(
        {
            "snr": levels.ravel(),
            "snr_text": [number_text(value) for value in levels.ravel().tolist()],
            "n_train": n_train.ravel().astype(int),
            "alignment": prediction.alignment.ravel(),
            "low": nothing if prediction.low is None else prediction.low.alignment.ravel(),
            "high": nothing if prediction.high is None else prediction.high.alignment.ravel(),
            "scatter": prediction.scatter.ravel(),
            "gaussian": prediction.gaussian.alignment.ravel(),
            "output_cka": prediction.output_cka.ravel(),
            "hidden_cka": prediction.hidden_cka.ravel(),
            "risk": prediction.risk.ravel(),
            "extrapolated": np.tile(np.atleast_1d(prediction.extrapolated), len(snr)),
        }
    )


def plot_prediction(prediction: Prediction, *, ax: Any = None) -> Any:
    """Draw `prediction_data`: alignment against n_train, a line for each SNR, its interval as a band.

    Points beyond what the rows allow to compute are hollow.

    Parameters
    ----------
    prediction
        From `consilience.theory.predict`.
    ax
        Matplotlib axes to draw in; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    MissingDependencyError
        Without Matplotlib.
    """
    data = prediction_data(prediction).sort_values("n_train")
    colours = snr_colours(sorted(set(data["snr"])))
    ax = axes_or_new(ax)
    for snr, colour in colours.items():
        line = data[data["snr"] == snr]
        ax.fill_between(line["n_train"], line["low"], line["high"], color=colour, alpha=0.16, lw=0)
        ax.plot(line["n_train"], line["alignment"], color=colour, lw=1.5)
        for extrapolated, face in ((False, colour), (True, "white")):
            points = line[line["extrapolated"] == extrapolated]
            ax.plot(
                points["n_train"], points["alignment"], "o", ms=3.5, mew=0.8, color=colour, markerfacecolor=face
            )  # fmt: skip
    log_n_axis(ax)
    ax.set_ylim(-0.02, 1.02)
    ax.set_ylabel("predicted alignment (output correlation)")
    snr_legend(ax, colours)
    return ax

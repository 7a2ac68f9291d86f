"""The predicted curve: its numbers and what is drawn of them."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure

from consilience.figures._style import snr_colours
from consilience.figures.prediction import plot_prediction, prediction_data
from consilience.theory import predict

mpl.use("agg")

SNR, SIZES = [4.0, 0.5], [5, 20, 60, 400]


def of(**options):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((100, 8))
    return predict(x, x[:, 0], **({"snr": SNR, "n_train": SIZES, "groups": 3} | options))


@pytest.fixture(scope="module")
def prediction():
    return of()


def test_every_cell_is_a_row_with_its_own_numbers(prediction):
    data = prediction_data(prediction)
    assert len(data) == len(SNR) * len(SIZES)
    for i, snr in enumerate(SNR):
        for j, n in enumerate(SIZES):
            (row,) = data[(data["snr"] == snr) & (data["n_train"] == n)].to_dict("records")
            assert row["alignment"] == prediction.alignment[i, j]
            assert (row["low"], row["high"]) == (prediction.low.alignment[i, j], prediction.high.alignment[i, j])
            assert row["gaussian"] == prediction.gaussian.alignment[i, j]
            assert row["risk"] == prediction.risk[i, j]
            assert row["extrapolated"] == (n > 80)


@pytest.mark.parametrize(("snr", "n_train"), [(1.0, 10), ([1.0], 10), (1.0, [10, 20])])
def test_scalars_are_one_row_or_column(snr, n_train):
    assert len(prediction_data(of(snr=snr, n_train=n_train))) == np.size(snr) * np.size(n_train)


def test_without_intervals_there_are_none():
    data = prediction_data(of(groups=0))
    assert data[["low", "high"]].isna().all(axis=None)


def test_draws_a_line_and_a_band_for_each_snr_and_hollow_points_beyond_the_rows(prediction):
    ax = plot_prediction(prediction, ax=Figure(figsize=(4, 3)).subplots())
    ax.figure.canvas.draw()
    assert ax.get_xscale() == "log"
    assert len(ax.collections) == len(SNR)
    for i, snr in enumerate(SNR):
        colour = snr_colours(SNR)[snr]
        line, inside, beyond = (one for one in ax.lines if one.get_color() == colour)
        np.testing.assert_array_equal(line.get_xdata(), SIZES)
        np.testing.assert_array_equal(line.get_ydata(), prediction.alignment[i])
        assert (len(inside.get_xdata()), len(beyond.get_xdata())) == (3, 1)
        assert beyond.get_markerfacecolor() == "white"


def test_a_prediction_without_intervals_draws():
    ax = plot_prediction(of(groups=0), ax=Figure().subplots())
    ax.figure.canvas.draw()

"""Curves along a further axis, against the run they come from."""

from __future__ import annotations

import numpy as np
import pytest
from tests.fake_run import N_TRAIN, fake_run

from consilience.errors import ConsilienceError
from consilience.figures import along_axis_data, plot_along_axis

AXES = {"train.weight_decay": [0.0, 1e-3, 1e-2], "train.solver": ["adam", "sgd"]}


@pytest.fixture(scope="module")
def run():
    return fake_run(axes=AXES, theory=True)


@pytest.mark.parametrize("measure", ["cka", "procrustes"])
def test_rows_are_the_curves_of_each_value_and_mark_the_lowest_alignment(run, measure):
    data = along_axis_data(run, "train.weight_decay", measure=measure, layer="hidden1", at={"train.solver": "sgd"})
    assert set(data["snr"]) == {0.25}
    for value in AXES["train.weight_decay"]:
        at = {"train.weight_decay": value, "train.solver": "sgd", "snr": 0.25, "layer": "hidden1", "measure": measure}
        means = run["alignment"].sel(at).mean("pair").values
        line = data[data["train.weight_decay"] == value]
        np.testing.assert_allclose(line["mean"], means)
        lowest = np.argmax(means) if measure == "procrustes" else np.argmin(means)
        assert line[line["lowest"]]["n_train"].tolist() == [N_TRAIN[lowest]]
        assert set(line["last_fitted"]) == {800}
        assert set(line["n_parameters"]) == {3306}


def test_drawing_shows_a_line_a_ring_and_theory_for_every_value(run):
    ax = plot_along_axis(run, "train.weight_decay", layer="hidden1", measure="cka", title="decay")
    data = along_axis_data(run, "train.weight_decay", layer="hidden1", measure="cka")
    assert len(ax.containers) == 3
    first = ax.containers[0].lines[0]
    np.testing.assert_allclose(np.asarray(first.get_ydata(), float), data[data["train.weight_decay"] == 0.0]["mean"])
    rings = [line for line in ax.lines if line.get_markersize() == 8]
    assert [float(ring.get_xdata()[0]) for ring in rings] == data[data["lowest"]]["n_train"].tolist()
    assert ax.get_legend().get_title().get_text() == "decay"
    assert sum(line.get_linestyle() not in ("-", "None") for line in ax.lines) == 3


def test_unknown_axis_and_nothing_measured_are_errors(run):
    with pytest.raises(ConsilienceError, match=r"did you mean 'train.weight_decay'"):
        along_axis_data(run, "train.weight_decy")
    with pytest.raises(ConsilienceError, match="nothing was measured at SNR 1 by output_correlation at hidden1"):
        along_axis_data(run, "train.solver", snr=1.0, layer="hidden1", measure="output_correlation")

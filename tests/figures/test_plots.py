"""What is drawn: the right numbers on the right axes, and nothing left behind."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure
from tests.fake_run import fake_run

from consilience.errors import MissingDependencyError
from consilience.facts import Selection
from consilience.figures import (
    alignment_curve_data,
    errors_data,
    plot_alignment_curve,
    plot_errors,
    plot_generalization,
    plot_heat_map,
    plot_theory,
)
from consilience.figures._style import sequential_colours, snr_colours

mpl.use("agg")

CKA = Selection("hidden1", "cka")
PLOTS = [plot_alignment_curve, plot_errors, plot_generalization, plot_heat_map, plot_theory]
RUNS = {
    "plain": {},
    "theory": {"theory": True, "diverged": [(0, 5, 2)], "undone": [(2, 9)]},
    "axes": {"axes": {"train.solver": ["adam", "sgd"]}, "task": "regression"},
    "two members": {"members": 2},
    "one snr": {"snr": [np.inf]},
    "one size": {"n_train": [100]},
}


def axes():
    return Figure(figsize=(4, 3)).subplots()


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("plot", PLOTS, ids=lambda f: f.__name__)
def test_every_figure_draws_and_leaves_settings_alone(plot, run):
    before = dict(mpl.rcParams)
    ax = axes()
    assert plot(fake_run(**RUNS[run]), ax=ax) is ax
    ax.figure.canvas.draw()
    assert dict(mpl.rcParams) == before
    assert ax.get_xlabel() or (plot is plot_theory and run != "theory")


def test_alignment_curve_draws_its_data():
    ds = fake_run(theory=True)
    ax = plot_alignment_curve(ds, CKA, ax=axes())
    data, colours = alignment_curve_data(ds, CKA), snr_colours(ds["snr"].values)
    assert ax.get_xscale() == "log"
    for snr, colour in colours.items():
        rows = data[data["snr"] == snr]
        lines = [line for line in ax.lines if line.get_color() == colour]
        drawn = [tuple(line.get_ydata()) for line in lines]
        assert tuple(rows["mean"]) in drawn
        assert tuple(rows["predicted"]) in drawn
        bar = next(line for line in lines if len(line.get_xdata()) == 2)
        assert list(bar.get_xdata()) == ([1500, 3000] if np.isinf(snr) else [800, 1500])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [
        "SNR ∞", "SNR 4", "SNR 1", "SNR 0.25", "theory",
    ]  # fmt: skip


def test_test_and_training_error_share_the_axes():
    ds = fake_run(theory=True)
    ds["predicted_error"] = ds["predicted_error"] + 0.01
    ax = plot_errors(ds, ax=axes())
    data = errors_data(ds)
    assert ax.get_yscale() == "linear"
    for snr, colour in snr_colours(ds["snr"].values).items():
        rows = data[data["snr"] == snr]
        test, train = rows[rows["set"] == "test"], rows[rows["set"] == "train"]
        lines = {tuple(line.get_ydata()): line for line in ax.lines if line.get_color() == colour}
        assert lines[tuple(test["mean"])].get_linestyle() == "-"
        assert lines[tuple(train["mean"])].get_linestyle() == "--"
        assert lines[tuple(test["predicted"])].get_linestyle() == "--"
    assert [text.get_text() for text in ax.get_legend().get_texts()][4:] == ["test", "train", "theory (test)"]
    handles = ax.get_legend().get_lines()[4:]
    assert len({handle._unscaled_dash_pattern for handle in handles}) == 3


def test_errors_of_a_regression_are_logarithmic_with_a_floor():
    ds = fake_run(task="regression")
    ds["test_error"][{"n_train": 9}] = 1e-20
    ds["test_error"][{"n_train": 5}] *= 1e4
    ax = plot_errors(ds, ax=axes())
    ax.figure.canvas.draw()
    assert ax.get_yscale() == "log"
    heights = [y for line in ax.lines if len(line.get_xdata()) == 10 for y in line.get_ydata()]
    assert min(heights) == 1e-3
    assert max(heights) == pytest.approx(float(ds["test_error"].mean("member").max()))
    assert {"≤ 0.001", "1", "1000"} <= {text.get_text() for text in ax.get_yticklabels()}
    other = plot_generalization(ds, CKA, ax=axes())
    assert other.get_xscale() == "log"
    assert min(x for line in other.lines for x in line.get_xdata()) == 1e-3
    assert plot_generalization(fake_run(), CKA, ax=axes()).get_xscale() == "linear"


def test_sizes_are_plain_numbers():
    for plot in (plot_errors, plot_alignment_curve):
        ax = plot(fake_run(), ax=axes())
        ax.figure.canvas.draw()
        assert {"10", "1000", "10000"} <= {text.get_text() for text in ax.get_xticklabels()}
        narrow = plot(fake_run(n_train=[20, 50, 80]), ax=axes())
        narrow.figure.canvas.draw()
        assert {"20", "50"} <= {text.get_text() for text in narrow.get_xticklabels(minor=True)}


def test_distances_are_labelled_and_reversed():
    ds = fake_run()
    distance = Selection("hidden1", "procrustes")
    assert "lower = more aligned" in plot_alignment_curve(ds, distance, ax=axes()).get_ylabel()
    assert plot_heat_map(ds, distance, ax=axes()).images[0].get_cmap().name == "viridis_r"
    assert plot_heat_map(ds, CKA, ax=axes()).images[0].get_cmap().name == "viridis"


def test_heat_map_marks_the_threshold_between_its_columns():
    ax = plot_heat_map(fake_run(), CKA, ax=axes())
    assert [line.get_xdata()[0] for line in ax.lines] == [5.5, 5.5, 5.5, 6.5]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["0.25", "1", "4", "∞"]


def test_no_theory_is_said():
    ax = plot_theory(fake_run(), CKA, ax=axes())
    assert "no theory" in ax.texts[0].get_text()


def test_colours_are_those_of_viridis_and_grow_lighter():
    reference = mpl.colormaps["viridis"]
    ours = [mpl.colors.to_rgb(c) for c in sequential_colours(7, stop=1.0)]
    np.testing.assert_allclose(ours, reference(np.linspace(0, 1, 7))[:, :3], atol=0.02)
    luminance = [np.dot(mpl.colors.to_rgb(c), [0.2126, 0.7152, 0.0722]) for c in sequential_colours(9)]
    assert np.all(np.diff(luminance) > 0)
    assert list(snr_colours([np.inf, 1.0, 0.25])) == [0.25, 1.0, np.inf]


def test_matplotlib_missing_is_said(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.pyplot", None)
    with pytest.raises(MissingDependencyError, match=r"consilience\[report\]"):
        plot_errors(fake_run())

"""Runs with ``measure.steps`` and with members that stop: what they store, and what it equals."""

from __future__ import annotations

import numpy as np
import pytest
from tests.studies import DESCENT, EXACT, compiled_once, study

from consilience.errors import ConsilienceError
from consilience.figures import plot_trajectory, trajectory_data
from consilience.plan import Plan
from consilience.stats import pair_mean

__all__ = ["compiled_once"]

FEW, MANY = 5, 64
ON_THE_WAY = {"train_loss_at", "train_error_at", "test_loss_at", "test_error_at"}
# As many weights as it takes to fit four samples of two targets, and fewer than those of twenty.
SECOND = {"train": {"optimizer": "levenberg-marquardt", "batch": "full", "steps": 50}}


@pytest.fixture(scope="module")
def followed(tmp_path_factory):
    asked = study(DESCENT, {"measure.steps": 3}, axes={"train.steps": [FEW, MANY]})
    return asked.run(tmp_path_factory.mktemp("runs") / "followed")


@pytest.fixture(scope="module")
def second(tmp_path_factory):
    return study(DESCENT | SECOND).run(tmp_path_factory.mktemp("runs") / "second")


def test_steps_are_those_of_every_cell_and_the_rest_is_blank(followed):
    assert followed["step"].values.tolist() == [1, 2, FEW, 8, MANY]
    measured = np.isfinite(followed["trajectory"].sel(layer="output", measure="cka")).all(("snr", "n_train", "pair"))
    assert measured.sel({"train.steps": FEW}).values.tolist() == [True, True, True, False, False]
    assert measured.sel({"train.steps": MANY}).values.tolist() == [True, False, False, True, True]
    for name in ON_THE_WAY:
        assert (np.isfinite(followed[name]).any(("snr", "n_train", "member")) == measured).all()


def test_the_last_step_is_the_result_and_an_early_one_is_shared(followed):
    for steps in (FEW, MANY):
        cell = followed.sel({"train.steps": steps})
        np.testing.assert_array_equal(cell["trajectory"].sel(step=steps).values, cell["alignment"].values)
        for name in ON_THE_WAY:
            np.testing.assert_array_equal(cell[name].sel(step=steps), cell[name.removesuffix("_at")])
    # After one step networks trained for 5 and for 64 are the same.
    for name in (*ON_THE_WAY, "trajectory"):
        first = followed[name].sel(step=1)
        np.testing.assert_array_equal(first.sel({"train.steps": FEW}), first.sel({"train.steps": MANY}))
    later = followed["train_loss_at"].sel({"train.steps": MANY})
    assert (later.sel(step=MANY) < later.sel(step=1)).all()


def test_runs_without_steps_have_the_same_numbers(followed, tmp_path):
    plain = study(DESCENT).run(tmp_path / "plain")
    assert not {"trajectory", "step", "stopped_at"} & set(plain.variables)
    for name in plain.data_vars:
        found = followed[name]
        found = found.sel({"train.steps": MANY}) if "train.steps" in found.dims else found
        np.testing.assert_array_equal(found.values, plain[name].values, err_msg=str(name))


def test_trajectory_row_by_hand(followed):
    data = trajectory_data(followed)
    here = data[(data["layer"] == "hidden_1") & (data["measure"] == "cka") & (data["train.steps"] == MANY)]
    row = here[(here["snr"] == 2.0) & (here["n_train"] == 8) & (here["step"] == 8)]
    assert len(row) == 1
    cell = {"snr": 2.0, "n_train": 8, "train.steps": MANY, "step": 8}
    scores = followed["trajectory"].sel({**cell, "layer": "hidden_1", "measure": "cka"}).values
    expected = pair_mean(scores, followed["member_a"].values, followed["member_b"].values)
    found = row.iloc[0]
    assert (found["mean"], found["se"], found["low"]) == pytest.approx((expected.mean, expected.se, expected.low))
    assert found["test_error"] == pytest.approx(float(followed["test_error_at"].sel(cell).mean()))
    assert sorted(here["step"].unique()) == [1, 8, MANY]


def test_lines_of_the_figure_are_the_means(followed, second):
    ax = plot_trajectory(followed, n_train=8)
    for line, snr in zip(ax.lines, (0.5, 2.0, np.inf), strict=True):
        scores = followed["trajectory"].sel({"snr": snr, "n_train": 8, "train.steps": FEW})
        layer, measure = "output", "output_correlation"
        means = scores.sel(layer=layer, measure=measure).mean("pair").dropna("step")
        np.testing.assert_allclose(line.get_ydata(), means.values)
        assert line.get_xdata().tolist() == [1, 2, FEW]
    assert "n_train = 8" in ax.get_xlabel()
    with pytest.raises(ConsilienceError, match="n_train = 9: not in this run"):
        plot_trajectory(followed, n_train=9)
    with pytest.raises(ConsilienceError, match=r"measured after training only: set measure\.steps"):
        plot_trajectory(second)
    assert len(trajectory_data(second)) == 0


def test_converged_says_whether_the_measured_weights_fit(second):
    """Three samples in five dimensions are fitted by any targets; twenty only without noise."""
    fitted = second["converged"].all("member")
    assert fitted.sel(n_train=3).all()
    assert fitted.sel(snr=np.inf).all()
    assert not second["converged"].sel(snr=[0.5, 2.0], n_train=20).any()
    errors = second["train_error"]
    assert (errors.where(second["converged"], 0) <= 1e-6).all()
    assert (errors.where(~second["converged"], 1) > 1e-2).all()


def test_members_that_stop_say_where(second):
    stopped, kept = second["stopped_at"], second["kept_at"]
    assert ((stopped == kept) | ((stopped == -1) & (kept == 50))).all()
    assert (stopped > 0).any()
    assert (kept <= 50).all()


@pytest.mark.parametrize(
    ("base", "changes", "message"),
    [
        (DESCENT, {"measure.steps": 1}, "steps = 1: give a number of steps, 2 or more"),
        (DESCENT, {"measure.steps": []}, r"measure\.steps = \[\]: give the steps"),
        (DESCENT, {"measure.steps": [0, 5]}, r"measure\.steps = \[0, 5\]: give the steps to measure after, each 1"),
        (DESCENT, {"measure.steps": [5, 65]}, r"measure\.steps = \[5, 65\]: 65 lies beyond train\.steps = 64"),
        (EXACT, {"measure.steps": 5}, r"measure\.steps: train\.solver = 'exact' takes no steps"),
    ],
)
def test_steps_that_cannot_be_are_refused(base, changes, message):
    with pytest.raises(ConsilienceError, match=message):
        study(base, changes)


def test_steps_are_part_of_the_study():
    listed = study(DESCENT, {"measure.steps": [8, 1, 8]})
    assert listed.tables()["measure"]["steps"] == [1, 8]
    assert Plan(listed).steps.tolist() == [1, 8]
    assert "steps" not in study(DESCENT).tables()["measure"]
    assert len({study(DESCENT, {"measure.steps": n}).cells()[0].hash for n in (3, 4)}) == 2

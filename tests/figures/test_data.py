"""The numbers behind the figures, against the run they come from."""

from __future__ import annotations

import numpy as np
import pytest
from tests.fake_run import N_TRAIN, SNR, fake_run

from consilience.facts import Selection
from consilience.figures import (
    alignment_curve_data,
    errors_data,
    generalization_data,
    heat_map_data,
    theory_data,
    threshold_data,
)
from consilience.stats import member_mean, pair_mean

AXES = {"train.weight_decay": [0.0, 1e-3], "train.solver": ["adam", "sgd"]}
AT = {"train.weight_decay": 1e-3, "train.solver": "adam"}


def one(frame, **where):
    for key, value in where.items():
        frame = frame[frame[key] == value]
    assert len(frame) == 1
    return frame.iloc[0]


def test_alignment_curve_row_by_hand():
    ds = fake_run(axes=AXES, theory=True, diverged=[(1, 4, 3)])
    row = one(alignment_curve_data(ds, Selection("hidden2", "cka", AT)), snr=1.0, n_train=400)
    cell = {"snr": 1.0, "n_train": 400, "layer": "hidden2", "measure": "cka", **AT}
    pairs = ds["alignment"].sel(cell).values
    kept = pairs[np.isfinite(pairs)]
    expected = pair_mean(pairs, ds["member_a"].values, ds["member_b"].values)
    assert row["mean"] == pytest.approx(kept.mean())
    assert (row["se"], row["low"], row["high"]) == pytest.approx((expected.se, expected.low, expected.high))
    assert (row["pairs_low"], row["pairs_high"]) == pytest.approx(tuple(np.quantile(kept, [0.1, 0.9])))
    assert (row["n_members"], row["n_pairs"]) == (7, 21)
    assert row["train.solver"] == "adam"
    assert np.isnan(row["predicted"])
    first = one(alignment_curve_data(ds, Selection("hidden1", "cka", AT)), snr=1.0, n_train=400)
    cell["layer"] = "hidden1"
    assert first["predicted"] == pytest.approx(float(ds["predicted"].sel(cell)))


def test_every_selection_is_in_the_full_table_once():
    ds = fake_run(axes=AXES, undone=[(0, 0), (2, 9)])
    data = alignment_curve_data(ds)
    assert len(data) == 7 * 4 * (len(SNR) * len(N_TRAIN) - 2)
    keys = [*AXES, "layer", "measure", "snr", "n_train"]
    assert not data.duplicated(keys).any()
    assert set(data[data["measure"] == "procrustes"]["kind"]) == {"distance"}
    assert set(data["snr_text"]) == {"0.25", "1", "4", "∞"}
    np.testing.assert_allclose(data["mean"].between(data["low"], data["high"]), 1)


def test_heat_map_holds_the_measured_means():
    ds = fake_run(undone=[(2, 9)])
    data = heat_map_data(ds, Selection("hidden1", "cka"))
    table = data.pivot(index="snr", columns="n_train", values="mean").to_numpy()
    expected = ds["alignment"].sel(layer="hidden1", measure="cka").mean("pair").values
    np.testing.assert_allclose(table, expected)
    assert np.isnan(table[2, 9])


def test_errors_row_by_hand():
    ds = fake_run(theory=True, diverged=[(0, 6, 1)])
    data = errors_data(ds)
    for which in ("train", "test"):
        row = one(data, snr=0.25, n_train=1500, set=which)
        expected = member_mean(ds[f"{which}_error"].sel(snr=0.25, n_train=1500).values)
        assert (row["mean"], row["se"], row["low"]) == pytest.approx((expected.mean, expected.se, expected.low))
        assert row["n_members"] == 7
        assert row["fitted"] == 0
    assert np.isnan(one(data, snr=0.25, n_train=1500, set="train")["predicted"])
    predicted = one(data, snr=0.25, n_train=1500, set="test")["predicted"]
    assert predicted == pytest.approx(float(ds["predicted_error"].sel(snr=0.25, n_train=1500)))
    assert one(data, snr=0.25, n_train=800, set="train")["fitted"] == 1


def test_thresholds_outside_the_grid_are_nan():
    ds = fake_run()
    ds["converged"][{"snr": 0}] = False
    ds["converged"][{"snr": 1}] = True
    data = threshold_data(ds)
    assert data["snr_text"].tolist() == ["0.25", "1", "4", "∞"]
    np.testing.assert_array_equal(data["last_fitted"], [np.nan, 20000, 800, 1500])
    np.testing.assert_array_equal(data["first_unfitted"], [10, np.nan, 1500, 3000])
    empty = threshold_data(fake_run(snr=[1.0], n_train=[10], undone=[(0, 0)]))
    assert len(empty) == 0
    assert "last_fitted" in empty


def test_generalization_joins_the_right_cells():
    ds = fake_run(axes=AXES, undone=[(3, 0)])
    data = generalization_data(ds)
    assert len(data) == 7 * 4 * 39
    row = one(data, layer="hidden1", measure="procrustes", snr=4.0, n_train=200, **AT)
    assert row["test_error"] == pytest.approx(float(ds["test_error"].sel(snr=4.0, n_train=200, **AT).mean()))
    cell = ds["alignment"].sel(snr=4.0, n_train=200, layer="hidden1", measure="procrustes", **AT)
    assert row["mean"] == pytest.approx(float(cell.mean()))


def test_theory_speaks_only_where_it_does():
    data = theory_data(fake_run(theory=True, undone=[(0, 0)]))
    assert set(data["layer"]) == {"hidden1"}
    assert set(data["measure"]) == {"cka"}
    assert len(data) == 39
    assert len(theory_data(fake_run())) == 0

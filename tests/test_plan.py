from __future__ import annotations

import itertools
import json
import re

import numpy as np
import pytest
from tests.studies import DESCENT, EXACT, GRADIENT, INF, reread, study, tables

from consilience.errors import ConsilienceError
from consilience.plan import Plan, _merged
from consilience.registry import get_measure, measures
from consilience.study import Study

DEPTHS = {"network.hidden": [[4], [4, 3]]}


@pytest.fixture(scope="module")
def deep():
    """A plan over networks of different depths."""
    return Plan(study(GRADIENT, axes=DEPTHS))


@pytest.fixture(scope="module")
def template(deep):
    return deep.template()


# --- what the data do not allow ---


@pytest.mark.parametrize(
    ("base", "changes", "key", "remedy"),
    [
        (GRADIENT, {"noise.process": "label-gaussian"}, "noise.process = 'label-gaussian'", "regression"),
        (EXACT, {"noise.process": "label-flip"}, "noise.process = 'label-flip'", "classification"),
        (DESCENT, {"train.loss": "cross-entropy"}, "train.loss = 'cross-entropy'", "'squared-error'"),
        (GRADIENT, {"grid.n_train": [60, 1698]}, "grid.n_train = 1698", "1697"),
        (GRADIENT, {"data.pool": 3}, "pool = 3", "8×8"),
        (GRADIENT, {"data.pca": 65}, "pca = 65", "rank"),
        (EXACT, {"data.pool": 2}, "pool = 2", "images"),
        (EXACT, {"network.hidden": [1]}, "network.hidden = [1]", "rank 2"),
        (EXACT, {"noise.process": "input-blur"}, "'input-blur'", "choose another process or data"),
        (GRADIENT, {"noise.process": "input-blur", "grid.snr": [0.01]}, "grid.snr = 0.01", "ask for no less"),
        (GRADIENT, {"noise": {"process": "label-confusion", "matrix": [[0, 1], [1, 0]]}}, "matrix of 2", "10 classes"),
        (GRADIENT, {"noise.process": "none"}, "snr = 1", "[inf]"),
        (
            GRADIENT,
            {"network": {"kind": "linear", "hidden": [10]}, "train.solver": "exact"},
            "train.",
            "'squared-error'",
        ),
        (GRADIENT, {"data.n_probe": 11, "measure.measures": ["mutual_knn"]}, "data.n_probe = 11", "12"),
        (
            GRADIENT,
            {"noise.process": "input-gaussian", "grid.data.source": ["digits", "diabetes"]},
            "data.source",
            "two studies",
        ),
    ],
    ids=[
        "flip-only",
        "gaussian-only",
        "cross-entropy",
        "pool-size",
        "pool-factor",
        "pca",
        "no-images",
        "rank",
        "blur",
        "blur-snr",
        "matrix",
        "none",
        "exact",
        "probe",
        "tasks",
    ],
)
def test_what_the_data_do_not_allow_is_refused_before_training(base, changes, key, remedy):
    with pytest.raises(ConsilienceError) as caught:
        Plan(study(base, changes))
    assert key in str(caught.value)
    assert remedy in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("base", "changes", "measure", "said"),
    [
        (EXACT, {}, "accuracy_difference", ": accuracy_difference needs classes, and linear-teacher is regression"),
        (EXACT, {}, {"name": "rsa", "rdm": "crossnobis"}, "needs classes, and linear-teacher is regression"),
        (GRADIENT, {"data.n_probe": 11}, "mutual_knn", "mutual_knn needs 12 or more"),
    ],
)
def test_measures_of_pairs_are_checked_as_all_are(base, changes, measure, said):
    axes = {"train.weight_decay": [0, 1e-3]} if base is GRADIENT else {"train.ridge": [0, 1]}
    others = {"pairs": {"across": list(axes), "measures": ["cka", measure]}, "measure.measures": ["cka"]}
    for key, given in (("pairs.measures", others), ("measure.measures", {"measure.measures": ["cka", measure]})):
        with pytest.raises(ConsilienceError) as caught:
            Plan(study(base, {**changes, **given}, axes=axes))
        assert said in str(caught.value)
        assert key in str(caught.value)


ENOUGH = {"data.n_probe": 100, "grid.snr": [1.0], "grid.n_train": [20]}


@pytest.mark.parametrize("name", sorted(measures()))
def test_measures_that_need_classes_are_refused_for_regression_and_no_others(name):
    measure = get_measure(name)
    asked = {**ENOUGH, "measure.measures": [name]}
    assert Plan(study(GRADIENT, asked)).study.measure.measures == (measure,)
    if measure.needs_classes or measure.needs_targets:
        with pytest.raises(ConsilienceError, match=rf"measure\.measures: {name} needs classes, and linear-teacher is"):
            Plan(study(EXACT, asked))
    else:
        assert Plan(study(EXACT, asked)).study.measure.measures == (measure,)


def test_largest_training_set_that_the_pool_holds_is_allowed():
    assert Plan(study(GRADIENT, {"grid.n_train": [60, 1697]})).task == "classification"


def test_every_point_of_an_axis_is_checked_against_its_data():
    with pytest.raises(ConsilienceError, match=r"noise\.process = 'label-gaussian'"):
        Plan(study(GRADIENT, axes={"noise.process": ["label-flip", "label-gaussian"]}))


@pytest.mark.parametrize("base", [GRADIENT, EXACT], ids=["classification", "regression"])
def test_noise_on_inputs_fits_every_task(base):
    assert Plan(study(base, {"noise.process": "input-gaussian"})).pairs == ((0, 1), (0, 2), (1, 2))


# --- what each cell trains ---


def test_noise_level_of_a_cell_is_that_of_its_snr():
    plan = Plan(study(EXACT))
    for cell in plan.study.cells():
        assert plan.training(cell).level == pytest.approx(cell.coordinates["snr"] ** -0.5)  # Var(target) = 1
        assert plan.training(cell).n_train == cell.coordinates["n_train"]


def test_axes_reach_what_is_trained(deep):
    for cell in deep.study.cells():
        assert deep.training(cell).network.hidden == cell.coordinates["network.hidden"]


def test_points_that_differ_only_in_network_or_training_share_data():
    plan = Plan(study(GRADIENT, axes={**DEPTHS, "train.weight_decay": [0, 1e-3]}))
    assert len({id(plan.ensemble(cell)) for cell in plan.study.cells()}) == 1


@pytest.mark.parametrize("axis", [{"seed": [0, 1]}, {"data.pool": [1, 2]}, {"noise.shared": [["inputs"], []]}])
def test_points_that_differ_in_data_noise_or_seed_do_not_share(axis):
    plan = Plan(study(GRADIENT, axes=axis))
    (key,) = axis
    groups = {(str(cell.coordinates[key]), id(plan.ensemble(cell))) for cell in plan.study.cells()}
    assert len(groups) == len({ensemble for _, ensemble in groups}) == 2


def test_synthetic_pool_holds_a_part_for_each_member_that_does_not_share_inputs():
    own = Plan(study(EXACT, {"noise.shared": []}))
    shared = Plan(study(EXACT))
    assert own.ensemble(own.study.cells()[0]).splits.n_pool == 3 * 20
    assert shared.ensemble(shared.study.cells()[0]).splits.n_pool == 20
    drawn = Plan(study(EXACT, {"noise.shared": [], "noise.resample": "bootstrap"}))
    assert drawn.ensemble(drawn.study.cells()[0]).splits.n_pool == 20
    assert drawn.ensemble(drawn.study.cells()[0]).resample == "bootstrap"


# --- the template ---


def test_layers_are_the_union_over_depths_with_the_output_last(deep):
    assert deep.layers == ("hidden_1", "hidden_2", "output")


def test_layers_beyond_the_ninth_stay_in_order():
    plan = Plan(study(GRADIENT, axes={"network.hidden": [[2], [2] * 11]}))
    assert plan.layers == (*(f"hidden_{depth}" for depth in range(1, 12)), "output")


def test_template_has_the_documented_dimensions(template):
    cell = ("snr", "n_train", "network.hidden")
    assert {name: template[name].dims for name in template.data_vars} == {
        "predicted": (*cell, "layer", "measure"),
        "predicted_error": cell,
        "n_parameters": cell,
    }
    assert dict(template.sizes) == {
        "snr": 2,
        "n_train": 2,
        "network.hidden": 2,
        "layer": 3,
        "measure": 2,
        "pair": 3,
        "member": 3,
        "part": 5,
    }


def test_template_has_the_documented_coordinates(template):
    assert template["snr"].values.tolist() == [1.0, INF]
    assert template["n_train"].values.tolist() == [20, 60]
    assert template["layer"].values.tolist() == ["hidden_1", "hidden_2", "output"]
    assert template["measure"].values.tolist() == ["cka", "procrustes"]
    assert template["kind"].values.tolist() == ["similarity", "distance"]
    assert list(zip(template["member_a"].values, template["member_b"].values, strict=True)) == [(0, 1), (0, 2), (1, 2)]
    assert template["member"].values.tolist() == [0, 1, 2]


def test_template_has_numbers_where_numbers_are_promised(template):
    kinds = {"predicted": "f", "predicted_error": "f", "n_parameters": "i", "snr": "f", "n_train": "i", "member": "i"}
    assert {name: template[name].dtype.kind for name in kinds} == kinds


@pytest.mark.parametrize(
    ("axis", "values", "shown"),
    [
        ("train.weight_decay", [0, 1e-3], [0.0, 1e-3]),
        ("seed", [3, 4], [3, 4]),
        ("train.schedule", ["constant", "cosine"], ["constant", "cosine"]),
        ("network.hidden", [[4], [4, 3]], ["[4]", "[4, 3]"]),
        ("train.batch", [16, "full"], ["16", "full"]),
    ],
)
def test_axis_values_become_coordinates(axis, values, shown):
    assert Plan(study(GRADIENT, axes={axis: values})).template()[axis].values.tolist() == shown


def test_template_attributes_tell_study_and_data(deep, template):
    assert template.attrs["name"] == "gradient"
    assert json.loads(template.attrs["axes"]) == ["network.hidden"]
    assert template.attrs["task"] == "classification"
    data = json.loads(template.attrs["data"])
    wanted = {"n_features": 64, "n_outputs": 10, "n_test": 50, "n_probe": 50, "n_pool": 1797 - 100}
    assert {key: data[key] for key in wanted} == wanted
    assert data["source"] == "digits"
    assert len(data["classes"]) == 10
    assert json.loads(template.attrs["noise"])["process"] == "label-flip"
    assert set(json.loads(template.attrs["versions"])) >= {"python", "consilience", "jax", "numpy"}
    assert json.loads(template.attrs["hardware"])["cores"] >= 1
    assert reread(deep.study).toml() == template.attrs["study"]
    assert json.loads(template.attrs["optional"]) == ["alignment_by_part", "failure"]


def test_runs_with_linear_networks_have_their_regimes():
    for axes in ({}, {"network.kind": ["mlp", "linear"]}):
        optional = json.loads(Plan(study(DESCENT, axes=axes)).template().attrs["optional"])
        assert optional == ["alignment_by_part", "failure", "regime", "imbalance", "hidden_from_map", "hidden_kept"]


def mlp_parameters(*widths: int) -> int:
    return sum(fan_in * fan_out + fan_out for fan_in, fan_out in itertools.pairwise(widths))


def test_parameters_of_networks_of_different_depth_are_counted(template):
    wanted = [mlp_parameters(64, 4, 10), mlp_parameters(64, 4, 3, 10)]
    np.testing.assert_array_equal(template["n_parameters"].values, np.broadcast_to(wanted, (2, 2, 2)))


def test_a_linear_network_has_no_biases():
    assert set(Plan(study(EXACT)).template()["n_parameters"].values.ravel()) == {5 * 2 + 2 * 2}


def test_theory_is_predicted_only_at_the_points_it_speaks_about():
    kinds = [{"kind": "linear", "hidden": [2]}, {"kind": "mlp", "hidden": [2]}]
    one, other = (Plan(Study(**tables(DESCENT) | {"network": network})).template() for network in kinds)
    both = Plan(study(DESCENT, axes={"network.kind": ["linear", "mlp"]})).template()
    at = both.sel({"network.kind": "linear"})
    np.testing.assert_array_equal(at["predicted"].values, one["predicted"].values)
    assert np.isfinite(one["predicted"].sel(measure="cka")).all()
    assert np.isnan(both["predicted"].sel({"network.kind": "mlp"})).all()
    assert np.isnan(other["predicted_error"]).all()
    assert re.search(r"No theory is drawn.*'mlp'", both.attrs["theory"])


@pytest.mark.parametrize(
    ("orders", "merged"),
    [
        ([("hidden_1", "output"), ("hidden_1", "hidden_2", "output")], ("hidden_1", "hidden_2", "output")),
        ([("embedding", "block_1", "output")], ("embedding", "block_1", "output")),
        (
            [("stem", "block_1", "output"), ("conv_1", "hidden_1", "output"), ("stem", "block_1", "block_2", "output")],
            ("conv_1", "hidden_1", "stem", "block_1", "block_2", "output"),
        ),
    ],
)
def test_layers_of_all_networks_are_in_an_order_that_each_keeps(orders, merged):
    assert _merged(orders) == merged

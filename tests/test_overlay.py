from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.studies import DESCENT, EXACT, INF, study, tables

from consilience import theory
from consilience.data import prepare
from consilience.overlay import overlay
from consilience.plan import Plan
from consilience.study import Study

ESTIMATED = "estimated from the training pool"
SHAPE = (3, 3)  # snr by n_train of EXACT


def splits_of(of: Study):
    plan = Plan(of)
    return plan.ensemble(plan.study.cells()[0]).splits


def drawn(of: Study):
    return overlay(of, splits_of(of))


# --- when theory speaks ---


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"network": {"kind": "mlp", "hidden": [2]}}, "'mlp'"),
        ({"noise.process": "input-gaussian"}, "'input-gaussian'"),
        ({"train.weight_decay": 1e-3}, "weight decay"),
        ({"network.hidden": [1]}, "cannot represent every map to 2 outputs"),
    ],
)
def test_where_theory_does_not_apply_it_says_why(changes, reason):
    found = drawn(study(DESCENT, changes))
    assert found.alignment == {}
    assert found.error.shape == SHAPE
    assert np.isnan(found.error).all()
    assert found.sentences[0].startswith("No theory is drawn: ")
    assert reason in found.sentences[0]


def test_theory_of_a_linear_network_on_a_classification_says_why():
    changes = {"data": {"source": "wine"}, "noise.process": "label-flip", "train.loss": "squared-error"}
    found = drawn(study(DESCENT, changes))
    assert found.alignment == {}
    assert "'label-flip'" in " ".join(found.sentences)


@pytest.mark.parametrize(
    ("base", "changes", "said"),
    [
        (EXACT, {}, "minimum-norm least-squares solution, with the teacher's own"),
        (EXACT, {"train.ridge": 0.1}, "ridge solution"),
        (DESCENT, {}, "Gradient training reaches it"),
        (DESCENT, {"data": {"source": "diabetes"}}, ESTIMATED),
        (DESCENT, {"data.pca": 3}, ESTIMATED),
    ],
)
def test_sentence_tells_which_theory_it_is(base, changes, said):
    assert said in " ".join(drawn(study(base, changes)).sentences)


def test_sentence_does_not_tell_of_gradient_training_where_there_is_none():
    assert "Gradient" not in " ".join(drawn(study(EXACT)).sentences)


# --- what it predicts ---


@pytest.mark.parametrize("shared", [["inputs"], []])
@pytest.mark.parametrize("ridge", [0.0, 0.1])
def test_predictions_are_those_of_the_closed_form_at_the_study_s_grid(shared, ridge):
    of = study(EXACT, {"data.misfit": 0.3, "noise.shared": shared, "train.ridge": ridge})
    truth = of.data.source.truth(seed=of.seed)
    wanted = theory.linear_network(
        truth.eigenvalues,
        truth.beta,
        [3, 8, 20],
        [0.5, 2.0, INF],
        misfit=0.3,
        ridge=ridge,
        shared_inputs=bool(shared),
    )
    found = drawn(of)
    assert set(found.alignment) == {("output", "output_correlation"), ("output", "cka"), ("hidden_1", "cka")}
    np.testing.assert_array_equal(found.alignment["output", "output_correlation"], wanted.output_correlation)
    np.testing.assert_array_equal(found.alignment["output", "cka"], wanted.output_cka)
    np.testing.assert_array_equal(found.alignment["hidden_1", "cka"], wanted.hidden_cka)
    np.testing.assert_array_equal(found.error, wanted.risk)


def test_infinite_risk_is_no_prediction():
    """At n = d the risk diverges; NaN keeps it off the chart."""
    found = drawn(study(EXACT, {"grid.n_train": [4, 5, 6]}))
    at_threshold = found.error[:-1, 1]
    assert np.isnan(at_threshold).all()
    assert np.isfinite(found.error[:-1, [0, 2]]).all()


@pytest.mark.parametrize(
    ("measure", "predicted"),
    [
        ("cka", True),
        ({"name": "cka", "estimator": "biased"}, True),
        ({"name": "cka", "kernel": "rbf"}, False),
        ("procrustes", False),
        ("output_correlation", True),
    ],
)
def test_only_measures_that_theory_knows_are_predicted(measure, predicted):
    of = study(EXACT, {"measure.measures": [measure]})
    labels = {label for _, label in drawn(of).alignment}
    assert labels == ({of.measure.measures[0].label} if predicted else set())


def test_predictions_land_in_their_cells_and_layers():
    of = study(EXACT, axes={"train.ridge": [0.0, 0.1]})
    template = Plan(of).template()
    for ridge in (0.0, 0.1):
        point = study(EXACT, {"train.ridge": ridge})
        wanted = drawn(point)
        at = template.sel({"train.ridge": ridge})
        np.testing.assert_array_equal(at["predicted_error"].values, wanted.error)
        for layer in ("hidden_1", "output"):
            for label in template["measure"].values:
                found = at["predicted"].sel(layer=layer, measure=label).values
                nothing = np.full(SHAPE, np.nan)
                np.testing.assert_array_equal(found, wanted.alignment.get((layer, label), nothing))


# --- the estimated truth ---

POOL, FEATURES, MISFIT = 40_000, 6, 0.25


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    """A study of samples that a known linear teacher wrote to a file, and the study of the teacher itself."""
    teacher = {"source": "linear-teacher", "n_features": FEATURES, "n_outputs": 2, "misfit": MISFIT}
    known = Study(**tables(EXACT) | {"data": teacher})
    table = known.data.source.sample(POOL, seed=0)
    path = tmp_path_factory.mktemp("data") / "samples.npz"
    np.savez(path, X=table.inputs, a=table.targets[:, 0], b=table.targets[:, 1])
    data = {"source": "file", "path": str(path), "target": ["a", "b"], "n_test": 50, "n_probe": 50}
    return Study(**tables(EXACT) | {"data": data}), known


def test_estimated_theory_is_near_that_of_the_known_truth(taught):
    """Sampling error of an estimate from N samples is about 1/√N; alignment is a smooth function of it, steepest
    near n = d, where its slope in what is estimated is a few units."""
    of_file, known = taught
    allowed = 5 / np.sqrt(POOL)
    found, wanted = drawn(of_file), drawn(known)
    assert ESTIMATED in " ".join(found.sentences)
    assert found.alignment.keys() == wanted.alignment.keys()
    for key, values in wanted.alignment.items():
        np.testing.assert_allclose(found.alignment[key], values, atol=allowed)
    np.testing.assert_allclose(found.error, wanted.error, rtol=allowed)


def test_theory_stops_where_members_own_inputs_begin_to_overlap():
    """A real pool holds members × n samples up to n = 110 for three members; beyond, neither case of theory holds."""
    base = tables(EXACT) | {"data": {"source": "diabetes", "n_probe": 50, "n_test": 60}}
    of = study(base, {"noise.shared": [], "grid.n_train": [30, 110, 111, 300], "network.hidden": [1]})
    found = drawn(of)
    assert np.isfinite(found.error[:, :2]).all()
    assert np.isnan(found.error[:, 2:]).all()
    assert "overlap" in " ".join(found.sentences)


def test_estimated_misfit_keeps_what_outputs_have_in_common(monkeypatch):
    """One output without misfit and one with much are not two outputs with half of it each."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4000, 3))
    y = np.stack([x[:, 0], 0.6 * x[:, 1] + 0.8 * rng.standard_normal(4000)], axis=1)
    of = study(EXACT)
    splits = replace(splits_of(of), train_x=x.astype(np.float32), train_y=y.astype(np.float32), truth=None)
    given = []
    original = theory.linear_network
    monkeypatch.setattr(theory, "linear_network", lambda *a, **k: given.append(k["misfit"]) or original(*a, **k))
    overlay(of, splits)
    standard_error = 4 * 0.64 * np.sqrt(2 / 4000)
    np.testing.assert_allclose(given[0], np.diag([0, 0.64]), atol=standard_error)


def test_estimated_signal_and_misfit_add_up_to_the_variance_of_the_targets():
    """Nothing is learned from one sample in 40 dimensions: the error is the clean targets' variance, which is 1.

    In pools of 80 samples the residual variance scatters by √(2 / 40), its mean over 20 pools by √(2 / 800).
    """
    of = study(EXACT, {"data.n_features": 40, "data.misfit": 0.9, "grid.n_train": [1], "grid.snr": [INF]})
    errors = []
    for seed in range(20):
        splits = prepare(of.data.source, n_train=80, n_probe=4, n_test=4, seed=seed)
        errors.append(float(overlay(of, replace(splits, truth=None)).error[0, 0]))
    known = float(overlay(of, splits).error[0, 0])
    assert known == pytest.approx(1, abs=0.05)
    assert np.mean(errors) == pytest.approx(known, rel=4 * np.sqrt(2 / 800))

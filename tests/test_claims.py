"""Verdicts on runs whose truth is known."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace

import numpy as np
import pytest
from tests.fake_run import fake_run
from tests.simulated_run import N_TRAIN, SNR, THRESHOLD, TRUTHS, dipping, simulate, simulated_curves, variants

from consilience import claims
from consilience.claims import CLAIMS, Quantity, Verdict, across, evaluate, generalization, prediction, size, snr
from consilience.errors import ConsilienceError, UnknownNameError

BUILT_IN = ("C1", "C2", "C3", "C5")
AXES = {"train.solver": ["adam", "sgd"]}


def one(truth, name, *, members=8, seed=0):
    [verdict] = evaluate(simulate(truth, members=members, seed=seed), [name])
    return verdict


@pytest.fixture
def registered(monkeypatch):
    """Claims registered in a test are gone after it."""
    monkeypatch.setattr(CLAIMS, "_entries", dict(CLAIMS))


# --- rates: a small part of benchmarks/claims.py ---

RUNS = 60
BOUND = 0.05 + 4 * (0.05 * 0.95 / RUNS) ** 0.5
"""5 % and four standard errors of the simulation."""
JUDGES = {"C1": snr.judge, "C2": size.judge, "C3": generalization.judge, "C5": prediction.judge}


def judged(truth, names, *, members, runs=RUNS):
    """Outcomes of each claim, over runs."""
    found = {name: [] for name in names}
    for seed in range(runs):
        curves = simulated_curves(truth, members=members, seed=seed)
        for name in names:
            found[name].append(JUDGES[name](curves)[0])
    return {name: np.array(verdicts) for name, verdicts in found.items()}


@pytest.mark.parametrize("name", list(TRUTHS))
def test_judges_are_those_of_the_verdicts(name):
    drawn, curves = (make(TRUTHS[name], members=8, seed=3) for make in (simulate, simulated_curves))
    for verdict in evaluate(drawn, BUILT_IN):
        if not verdict.reason:
            assert (verdict.verdict, verdict.p) == JUDGES[verdict.claim](curves)


@pytest.mark.parametrize("scatter", ["effects", "independent", "vectors"])
def test_no_effect_is_seldom_called_one(scatter):
    for name, verdicts in judged(variants(TRUTHS["nothing"])[scatter], ("C1", "C2", "C3"), members=4).items():
        assert np.mean(verdicts != "inconclusive") < BOUND, name


@pytest.mark.parametrize("scatter", ["effects", "independent"])
def test_theory_off_by_the_limit_is_seldom_judged(scatter):
    verdicts = judged(variants(TRUTHS["off by the limit"])[scatter], ("C5",), members=8, runs=200)["C5"]
    assert np.mean(verdicts == "supported") < 0.05 + 4 * (0.05 * 0.95 / 200) ** 0.5


def test_what_is_claimed_is_supported():
    for name, verdicts in judged(variants(TRUTHS["as claimed"])["independent"], BUILT_IN, members=16).items():
        assert np.mean(verdicts == "supported") > 1 - BOUND, name
        assert "contradicted" not in verdicts


def test_the_reverse_is_contradicted():
    for name, verdicts in judged(TRUTHS["reversed"], BUILT_IN, members=32, runs=RUNS // 2).items():
        assert "supported" not in verdicts
        assert np.mean(verdicts == "contradicted") > 0.95 - 4 * (0.05 * 0.95 / (RUNS // 2)) ** 0.5, name


def test_a_dip_elsewhere_contradicts():
    found = judged(TRUTHS["dip elsewhere"], ("C2", "C3"), members=16, runs=RUNS // 2)
    assert "supported" not in found["C2"]
    assert np.mean(found["C2"] == "contradicted") > 0.95 - 4 * (0.05 * 0.95 / (RUNS // 2)) ** 0.5
    assert np.mean(found["C3"] == "supported") < BOUND


# --- C1 ---


def test_c1_says_how_much_and_holds_the_truth():
    verdict = one(TRUTHS["as claimed"], "C1")
    w = np.array([-0.866, -0.134, 0.134, 0.866])
    truth = w @ dipping().mean(1)
    assert verdict.effect.low < truth < verdict.effect.high
    assert f"{verdict.effect.value:.3f} ({verdict.effect.low:.3f} to {verdict.effect.high:.3f})" in verdict.sentence
    assert len(verdict.cells) == 32
    assert verdict.p < 1e-3


def test_c1_is_contradicted_by_one_clear_fall_and_names_it():
    truth = dipping()
    truth[2, 3] = 0.1  # far below its neighbours in SNR
    verdict = one(replace(TRUTHS["as claimed"], alignment=truth), "C1", members=16)
    assert verdict.verdict == "contradicted"
    assert "falls, most clearly from SNR 1 to 4 at n_train = 300" in verdict.sentence


def test_c1_speaks_of_a_fall_as_one():
    verdict = one(TRUTHS["reversed"], "C1", members=16)
    effect = verdict.effect
    assert effect.low < effect.value < effect.high < 0
    fall = f"falls from low to high SNR by {-effect.value:.3f} ({-effect.high:.3f} to {-effect.low:.3f})"
    assert fall in verdict.sentence


def test_distances_are_turned():
    ds = simulate(TRUTHS["as claimed"])
    distance = ds.assign(alignment=-ds["alignment"]).assign_coords(kind=("measure", ["distance"]))
    for a, b in zip(evaluate(ds, BUILT_IN[:3]), evaluate(distance, BUILT_IN[:3]), strict=True):
        assert (a.verdict, a.p) == (b.verdict, pytest.approx(b.p))
        assert a.effect.value == pytest.approx(b.effect.value)
        assert "minus the distance" in b.sentence or b.claim == "C3"


# --- C2 ---


def test_c2_finds_the_place_and_the_threshold():
    verdict = one(TRUTHS["as claimed"], "C2", members=16)
    places = {quantity.name: quantity for quantity in verdict.further}
    lowest = places["n_train of lowest alignment at SNR 0.25"]
    assert lowest.low <= 1000
    assert lowest.high >= 300
    threshold = places["interpolation threshold at SNR 0.25"]
    assert threshold.low <= THRESHOLD <= threshold.high
    assert places["parameters per output"].value == pytest.approx(330.6)
    assert set(verdict.cells) <= set(itertools.product(SNR, N_TRAIN))
    assert "near: fitting stops in" in verdict.sentence


def test_c2_thresholds_at_the_edges():
    ds = simulate(TRUTHS["as claimed"])
    never = evaluate(ds.assign(converged=ds["converged"] & False), ["C2"])[0]
    assert "fitting stops in up to 10" in never.sentence
    always = evaluate(ds.assign(converged=ds["converged"] | True), ["C2"])[0]
    assert "fitting stops in more than 30000" in always.sentence
    assert "supported" not in (never.verdict, always.verdict)


def test_c2_does_not_take_a_grid_too_coarse_to_tell_for_evidence():
    ds = simulate(TRUTHS["as claimed"], members=16)
    assert evaluate(ds, ["C2"])[0].verdict == "supported"
    # Of 30 to 10000, any place inside is near 600.
    [verdict] = evaluate(ds.isel(n_train=[1, 2, 3, 4, 5, 6]), ["C2"])
    assert verdict.p < 0.05
    assert verdict.verdict == "inconclusive"
    assert "this grid cannot tell" in verdict.sentence


def test_c2_of_a_linear_network_counts_inputs():
    ds = simulate(TRUTHS["as claimed"])
    ds.attrs["study"] += '[network]\nkind = "linear"\n'
    [verdict] = evaluate(ds, ["C2"])
    assert (verdict.further[-1].name, verdict.further[-1].value) == ("parameters per output", 196)


# --- C3 ---


def test_c3_shows_a_pair_that_is_opposed():
    ds = simulate(TRUTHS["as claimed"])
    [verdict] = evaluate(ds, ["C3"])
    (snr, better), (_, worse) = verdict.cells
    mean = ds["alignment"].mean("pair").squeeze()
    error = ds["test_error"].mean("member")
    difference = float(mean.sel(snr=snr, n_train=better) - mean.sel(snr=snr, n_train=worse))
    assert difference == pytest.approx(verdict.effect.value)
    assert difference > 0
    assert float(error.sel(snr=snr, n_train=better) - error.sel(snr=snr, n_train=worse)) == pytest.approx(
        verdict.further[0].value
    )
    correlation = verdict.further[1]
    assert -1 <= correlation.low <= correlation.value <= correlation.high <= 1


# --- C5 ---


def test_c5_without_theory_is_not_tested():
    verdict = one(TRUTHS["nothing"], "C5")
    assert verdict.verdict == "inconclusive"
    assert verdict.reason == "theory does not speak about this layer and measure here"
    assert np.isnan(verdict.p)


def test_c5_is_not_supported_by_a_constant_that_is_close():
    flat = replace(TRUTHS["nothing"], predicted=np.full((4, 8), 0.5))
    assert one(flat, "C5", members=16).verdict == "inconclusive"  # nothing varies: nothing is explained


# --- what cannot be tested ---


@pytest.mark.parametrize(
    ("options", "name", "reason"),
    [
        ({"snr": [1.0]}, "C1", "needs at least two SNR at the same n_train"),
        ({"n_train": [10, 100]}, "C2", "needs at least three n_train at the same SNR"),
        ({"n_train": [10]}, "C3", "needs at least two n_train with alignment and test error at the same SNR"),
        ({"members": 2}, "C1", "needs at least three members"),
        ({"members": 2}, "C2", "needs at least three members"),
        ({"members": 2}, "C3", "needs at least three members"),
        ({"members": 2, "theory": True}, "C5", "needs at least three members"),
    ],
)
def test_reasons(options, name, reason):
    [verdict] = evaluate(fake_run(**options), [name], layer="hidden1")
    assert verdict.verdict == "inconclusive"
    assert verdict.reason.startswith(reason)
    assert reason in verdict.sentence


@pytest.mark.parametrize("name", ["C1", "C2", "C3", "C5"])
@pytest.mark.parametrize("lacking", ["cells", "networks", "scores"])
def test_a_run_without_any_score_says_so(name, lacking):
    """And does not ask for a larger grid than it has."""
    cells = list(itertools.product(range(4), range(10)))
    lost = {
        "cells": {"undone": cells},
        "networks": {"diverged": [(*cell, member) for cell in cells for member in range(4)]},
        "scores": {},
    }
    ds = fake_run(members=4, theory=True, **lost[lacking])
    if lacking == "scores":
        ds["alignment"] = ds["alignment"] * np.nan
    [verdict] = evaluate(ds, [name], layer="hidden1")
    assert verdict.verdict == "inconclusive"
    assert verdict.sentence.startswith("Not tested: nothing was measured (no cell has a score")
    assert verdict.reason in verdict.sentence


@pytest.mark.parametrize(
    "options",
    [
        {"diverged": [(0, 5, m) for m in range(6)] + [(1, 2, 0), (2, 2, 1)]},
        {"diverged": [(0, j, m) for j in range(10) for m in range(7)]},
        {"undone": [(0, 0), (1, 3), (3, 9)]},
        {"snr": [np.inf]},
        {"task": "regression", "theory": True},
        {"members": 3, "n_train": [10, 20, 40]},
    ],
)
def test_gaps_in_a_run_are_no_obstacle(options):
    for verdict in evaluate(fake_run(**options)):
        assert verdict.verdict in ("supported", "contradicted", "inconclusive")
        assert verdict.sentence.endswith(".")
        assert not re.search(r"\bnan\b", verdict.sentence)


def test_equal_scores_are_no_evidence():
    ds = fake_run()
    rounding = 1e-12 * np.arange(ds["alignment"].size).reshape(ds["alignment"].shape)
    ds["alignment"] = (ds["alignment"].dims, 1 + rounding)
    assert {v.verdict for v in evaluate(ds, ["C1", "C2", "C3"])} == {"inconclusive"}


# --- registry ---


def test_the_order_of_cells_and_members_does_not_matter():
    ds = simulate(TRUTHS["as claimed"])
    shuffled = ds.isel(snr=[2, 0, 3, 1], n_train=[5, 0, 7, 2, 1, 4, 3, 6])
    for a, b in zip(evaluate(ds, BUILT_IN), evaluate(shuffled, BUILT_IN), strict=True):
        assert (a.verdict, a.sentence, a.cells) == (b.verdict, b.sentence, b.cells)
        assert a.p == pytest.approx(b.p, nan_ok=True)


def test_verdicts_know_their_place():
    ds = fake_run(axes=AXES)
    found = evaluate(ds, ["C1", "C2"], layer="hidden1", measure="procrustes")
    assert [(v.claim, v.at["train.solver"]) for v in found] == [(c, s) for s in ("adam", "sgd") for c in ("C1", "C2")]
    assert {(v.layer, v.measure) for v in found} == {("hidden1", "procrustes")}
    assert found[0].heading == "C1 supported: Alignment grows monotonically with SNR (train.solver = adam)"


def test_a_claim_of_the_user(registered):
    @claims.claim("X1", "Weight decay does something")
    def decay(dataset):
        assert dataset.sizes["train.solver"] == 2
        assert dataset.sizes["layer"] == 1
        return Verdict("supported", "It does.", p=0.01)

    @claims.register_claim
    class Other:
        id, title, each_combination = "X2", "Another", True

        @staticmethod
        def evaluate(dataset):
            assert "train.solver" not in dataset.dims
            return Verdict("inconclusive", "Who knows.")

    found = evaluate(fake_run(axes=AXES), ["X1", "X2"])
    assert [v.heading for v in found] == [
        "X2 inconclusive: Another (train.solver = adam)",
        "X2 inconclusive: Another (train.solver = sgd)",
        "X1 supported: Weight decay does something",
    ]
    assert "X1" in [v.claim for v in evaluate(fake_run(axes=AXES))]
    assert evaluate(fake_run(), ["X2"])[0].at == {}
    with pytest.raises(ValueError, match="registered already"):
        claims.claim("X1", "Again")(decay)


def test_unknown_names():
    with pytest.raises(UnknownNameError, match="C1"):
        evaluate(fake_run(), ["C9"])
    with pytest.raises(UnknownNameError, match="did you mean 'hidden1'"):
        evaluate(fake_run(), layer="hiden1")


def test_text():
    assert Quantity("rise", 0.5).text == "rise 0.500"
    assert Quantity("place", 80, 40, np.inf).text == "place 80 (40 to ∞)"
    assert claims.p_text(0.049) == "p = 0.049"


# --- C4 ---


def run_of(name, *, network, task, source, seed=0):
    ds = simulate(TRUTHS[name], members=16, seed=seed)
    ds.attrs["study"] += f'[network]\nkind = "{network}"\n'
    ds.attrs["data"] = ds.attrs["data"].replace('"source": "fashion-mnist"', f'"source": "{source}"')
    return ds.assign_attrs(task=task)


def test_c4_needs_every_kind_and_every_claim():
    good = {
        "a": run_of("as claimed", network="linear", task="regression", source="linear-teacher"),
        "b": run_of("as claimed", network="mlp", task="classification", source="digits", seed=1),
    }
    assert claims.kinds(good["a"]) == {"network": "linear", "task": "regression", "data": "synthetic"}
    verdict = across(good)
    assert verdict.verdict == "supported"
    assert verdict.p == max(v.p for ds in good.values() for v in evaluate(ds, ["C1", "C2", "C3"]))
    alone = across({"b": good["b"]})
    assert alone.verdict == "inconclusive"
    assert alone.reason == "needs a run with linear network, regression and synthetic data"
    bad = across({**good, "c": run_of("reversed", network="mlp", task="classification", source="digits")})
    assert bad.verdict == "contradicted"
    assert "C1 in c" in bad.sentence
    flat = across({**good, "d": run_of("nothing", network="mlp", task="classification", source="digits")})
    assert flat.verdict == "inconclusive"
    assert "C2 in d" in flat.sentence
    with pytest.raises(ConsilienceError, match="no run"):
        across({})
    with pytest.raises(ConsilienceError, match="not registered"):
        claims.kinds(run_of("nothing", network="mlp", task="classification", source="digitz"))


# --- probe inputs as a second factor ---


def test_scores_on_parts_of_the_probe_inputs_widen_intervals():
    ds = simulate(TRUTHS["as claimed"])
    shift = 0.1 * np.random.default_rng(0).standard_normal((4, 8, 1, 1, 5))
    parts = ds["alignment"].mean("pair").values[..., None] + shift
    wider = ds.assign(alignment_by_part=(("snr", "n_train", "layer", "measure", "part"), parts))
    plain, found = (evaluate(one, ["C1"])[0].effect for one in (ds, wider))
    assert found.value == plain.value
    assert found.high - found.low > 1.2 * (plain.high - plain.low)
    parts[1, 2] = np.nan  # not everywhere: left alone
    assert (
        evaluate(wider.assign(alignment_by_part=wider["alignment_by_part"].copy(data=parts)), ["C1"])[0].effect == plain
    )

"""Comparisons of members of cells that differ in an axis of the grid."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr
import zarr
from tests.studies import EXACT, assert_same_bits, compiled_once, python, reread, study, without_times  # noqa: F401

from consilience import train
from consilience._variants import axis_labels
from consilience.across import Across
from consilience.compare import pairwise
from consilience.errors import ConsilienceError
from consilience.facts import across_sentences, across_table, best_layers, layer_means, number_text, sentences
from consilience.figures import (
    across_data,
    across_layers_data,
    across_matrix_data,
    plot_across,
    plot_across_layers,
)
from consilience.plan import Plan
from consilience.report.charts import Variants, chart_specs
from consilience.report.content import chart_data, page_words
from consilience.report.write import render_report
from consilience.run import _n_across, compute, run, unfinished
from consilience.stats import pair_mean
from consilience.store import open_run

RIDGE = {"train.ridge": [0.0, 0.5]}
SIDES = ("variant_a", "layer_a", "network_a", "variant_b", "layer_b", "network_b")


def ridges(across=("train.ridge",), **pairs):
    return study(EXACT, {"pairs": {"across": list(across), **pairs}, "grid.n_train": [8, 20]}, axes=RIDGE)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return run(ridges(measures=["cka", "procrustes"]), tmp_path_factory.mktemp("across") / "run")


def test_blocks_within_a_variant_are_the_alignment_of_its_cell(finished, tmp_path):
    measures = ["cka", "procrustes"]
    for variant, ridge in enumerate(RIDGE["train.ridge"]):
        changes = {"train.ridge": ridge, "grid.n_train": [8, 20], "measure.measures": measures}
        alone = run(study(EXACT, changes), tmp_path / str(ridge))["alignment"]
        for rank, measure in enumerate(measures):
            within = finished["alignment_across"].isel(measure_across=rank, variant_a=variant, variant_b=variant)
            for layer in ("hidden_1", "output"):
                block = within.sel(layer_a=layer, layer_b=layer).transpose("snr", "n_train", "network_a", "network_b")
                pairs = block.values[..., alone["member_a"].values, alone["member_b"].values]
                wanted = alone.sel(layer=layer, measure=measure)
                np.testing.assert_allclose(pairs, wanted.values, atol=1e-9)


def test_scores_between_variants_are_those_of_their_representations():
    plan = Plan(ridges())
    (values,) = [
        values
        for place, values in compute(plan, plan.study.cells(), plan.across.groups)
        if getattr(place, "cells", None) and place.index == (1, 0)
    ]
    group = next(group for group in plan.across.groups if group.index == (1, 0))
    layers = []
    for cell in group.cells:
        ((_, trained),) = train.train(plan.ensemble(cell), [plan.training(cell)])
        layers.append(trained.layers)
    reps = [layers[v][name][m] for v in (0, 1) for name in plan.layers for m in range(3)]
    wanted = np.asarray(pairwise(reps, "cka")).reshape(2, 2, 3, 2, 2, 3)
    np.testing.assert_allclose(values["alignment_across"][0], wanted, atol=1e-12)


def test_directions_of_asymmetric_measures_are_kept(tmp_path):
    ds = run(ridges(measures=["information_imbalance"]), tmp_path / "run")
    scores = ds["alignment_across"].isel(measure_across=0, snr=0, n_train=0).transpose(*SIDES).values
    there = scores[0, 0, :, 1, 0, :]
    back = scores[1, 0, :, 0, 0, :].T
    assert not np.allclose(there, back)


@pytest.mark.parametrize(
    ("across", "variants", "groups"),
    [
        (["train.ridge"], ("0", "0.5"), 6),
        (["snr"], ("0.5", "2", "inf"), 4),
        (["n_train"], ("8", "20"), 6),
        (["n_train", "train.ridge"], ("n_train 8, train.ridge 0", "n_train 8, train.ridge 0.5",
                                      "n_train 20, train.ridge 0", "n_train 20, train.ridge 0.5"), 3),
    ],
)  # fmt: skip
def test_groups_are_the_cells_that_differ_in_nothing_else(across, variants, groups):
    found = Across.of(ridges(across))
    assert found.variants == variants
    assert len(found.groups) == groups
    names = ("snr", "n_train", "train.ridge")
    for group in found.groups:
        assert len(group.cells) == len(variants)
        for name in set(names) - set(across):
            assert len({cell.coordinates[name] for cell in group.cells}) == 1
    assert len({cell.index for group in found.groups for cell in group.cells}) == 12


def test_interrupted_run_has_the_same_bits(finished, tmp_path):
    class Stop(Exception):
        pass

    def stop(done, total):
        if done == 7:
            raise Stop

    folder = tmp_path / "run"
    asked = ridges(measures=["cka", "procrustes"])
    with pytest.raises(Stop):
        run(asked, folder, progress=stop)
    partial = open_run(folder)
    assert partial["done"].sum() == 7
    left = ~partial["done_across"]
    assert left.any()
    assert np.isnan(partial["alignment_across"].where(left)).all()
    assert_same_bits(without_times(run(asked, folder)), without_times(finished))


def test_a_run_that_lacks_but_a_comparison_is_not_finished(finished, tmp_path):
    """As one that is killed between its last cell and the comparison of the last group."""
    folder = tmp_path / "run"
    asked = ridges(measures=["cka", "procrustes"])
    run(asked, folder)
    zarr.open_group(folder / "results.zarr")["done_across"][0, 1] = False
    assert [cell.index for cell in unfinished(asked, folder)] == [(0, 1, 0), (0, 1, 1)]
    assert_same_bits(without_times(run(asked, folder)), without_times(finished))
    assert not unfinished(asked, folder)
    assert [session["cells"] for session in json.loads((folder / "provenance.json").read_text())] == [12, 0]


def test_memory_budget_trains_groups_in_turn(finished, tmp_path, monkeypatch):
    monkeypatch.setenv("CONSILIENCE_MEMORY_GIB", "0.00001")
    found = run(ridges(measures=["cka", "procrustes"]), tmp_path / "run")
    assert_same_bits(without_times(found), without_times(finished))


def test_kinds_of_networks_are_compared_layer_by_layer(tmp_path):
    network = [{"kind": "linear", "hidden": [2]}, {"kind": "linear", "hidden": [4], "label": "wide"}]
    asked = study(EXACT, {"grid.n_train": [20], "pairs": {"across": ["network"]}}, axes={"network": network})
    assert reread(asked) == asked
    ds = run(asked, tmp_path / "run")
    assert ds["variant_a"].values.tolist() == ["linear(hidden=[2])", "wide"]
    assert ds["network"].values.tolist() == ["linear(hidden=[2])", "wide"]
    assert np.isfinite(ds["alignment_across"]).all()


def test_estimate_counts_the_scores_of_groups_that_are_asked_for():
    plan = Plan(ridges(measures=["cka", "procrustes"]))
    cells = plan.study.cells()
    of_a_group = 12 * 13 / 2  # of 2 variants × 2 layers × 3 members
    assert _n_across(plan, cells) == 2 * 6 * of_a_group
    assert _n_across(plan, cells[:1]) == 2 * of_a_group
    assert _n_across(plan, []) == 0


# --- what is said of them ---


def test_layer_means_leave_out_pairs_of_one_member(finished):
    scores = finished["alignment_across"].isel(measure_across=0, snr=0, n_train=0).transpose(*SIDES).values
    means = layer_means(scores)
    by_hand = np.mean([scores[0, 1, i, 1, 0, j] for i in range(3) for j in range(3) if i != j])
    assert means[0, 1, 1, 0] == pytest.approx(by_hand)
    assert means.shape == (2, 2, 2, 2)


def test_best_layers_take_the_largest_similarity_and_the_smallest_distance(finished):
    found = best_layers(finished)
    assert len(found) == 2 * 3 * 2 * 3  # measures × snr × n_train × pairs of variants
    for one in found:
        rank = ["cka", "procrustes"].index(one.measure)
        at = {"snr": one.at["snr"], "n_train": one.at["n_train"]}
        means = layer_means(finished["alignment_across"].isel(measure_across=rank).sel(at).transpose(*SIDES).values)
        a, b = (["0", "0.5"].index(name) for name in (one.variant_a, one.variant_b))
        i, j = (["hidden_1", "output"].index(name) for name in (one.layer_a, one.layer_b))
        best = means[a, :, b, :].max() if one.measure == "cka" else means[a, :, b, :].min()
        assert means[a, i, b, j] == best
        if one.measure == "procrustes":
            assert np.isnan(one.share)
        elif a != b:
            assert one.ceiling == pytest.approx(np.sqrt(means[a, i, a, i] * means[b, j, b, j]))


def test_order_of_variants_does_not_matter_for_asymmetric_measures(tmp_path):
    found = []
    for name, ridges_in_order in {"there": [0.0, 0.5], "back": [0.5, 0.0]}.items():
        pairs = {"across": ["train.ridge"], "measures": ["information_imbalance"]}
        asked = study(EXACT, {"pairs": pairs, "grid.n_train": [8, 20]}, axes={"train.ridge": ridges_in_order})
        found.append(run(asked, tmp_path / name))
    there, back = ({_place_of(one): one for one in best_layers(ds)} for ds in found)
    assert there.keys() == back.keys()
    for place, one in there.items():
        layers = {one.variant_a: one.layer_a, one.variant_b: one.layer_b}
        other = back[place]
        assert {other.variant_a: other.layer_a, other.variant_b: other.layer_b} == layers
        numbers = (one.mean, one.se, one.ceiling)
        np.testing.assert_allclose((other.mean, other.se, other.ceiling), numbers, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(
        across_layers_data(found[0], "0", "0.5"), across_layers_data(found[0], "0.5", "0").T, rtol=1e-12
    )


def _place_of(one):
    return (*one.at.values(), frozenset({one.variant_a, one.variant_b}))


@pytest.mark.parametrize(
    ("within", "said"),
    [
        (
            [-0.1, -0.1],
            "agree by cka with 0.300 at their best layers, with no ceiling above zero to compare that with ",
        ),
        ([-0.1, 0.4], "members of one of them with 0.400 at the 1 of these where that is above zero "),
        ([0.4, 0.6], "members of one of them with 0.500 there "),
    ],
)
@pytest.mark.filterwarnings("error")
def test_sentences_say_where_there_is_no_ceiling(within, said):
    scores = np.full((2, 2, 1, 4, 2, 1, 4), 0.3)
    for place, value in enumerate(within):
        for variant in range(2):
            scores[place, variant, :, :, variant] = value
    (spoken,) = across_sentences(xr.concat([as_run(one) for one in scores], "snr", data_vars="minimal"))
    assert said in spoken
    assert spoken.endswith("(means over 2 places).")
    assert "nan" not in spoken


def test_matrix_has_every_pair_twice_and_light_text_on_dark_colours(finished):
    for measure in ("cka", "procrustes"):
        data = across_matrix_data(finished, measure=measure)
        assert list(dict.fromkeys(data["place"]))[-1] == "SNR = ∞, n = 20"
        for one in best_layers(finished):
            if one.measure != measure:
                continue
            entries = data[data["place"] == f"SNR = {number_text(one.at['snr'])}, n = {one.at['n_train']}"]
            assert len(entries) == 4
            for a, b in {(one.variant_a, one.variant_b), (one.variant_b, one.variant_a)}:
                (row,) = entries[(entries["variant_a"] == a) & (entries["variant_b"] == b)].itertuples()
                layers = (one.layer_a, one.layer_b) if a == one.variant_a else (one.layer_b, one.layer_a)
                assert (row.layer_a, row.layer_b) == layers
                assert row.mean == one.mean
    assert not across_matrix_data(finished)["place"].isna().any()


@pytest.mark.parametrize("measure", ["cka", "procrustes"])
def test_matrix_text_is_light_where_alignment_is_low(finished, measure):
    """Viridis is dark at its lower end; of distances, whose colours are reversed, at the upper."""
    for _, entries in across_matrix_data(finished, measure=measure).groupby("place"):
        ordered = entries.sort_values("mean", ascending=measure == "cka")["dark"].tolist()
        assert (ordered[0], ordered[-1]) == (True, False)


def test_runs_without_any_score_yet_have_an_empty_matrix_and_a_report(finished):
    nothing = finished.copy()
    nothing["alignment_across"] = nothing["alignment_across"] * np.nan
    assert len(across_matrix_data(nothing)) == 0
    html = render_report(nothing)
    assert "Alignment across variants" in html
    assert 'id="variants"' not in html


def test_places_that_round_to_one_number_stay_two(finished):
    close = finished.assign_coords(snr=[1.0, 1.0 + 1e-9, 4.0])
    data = across_matrix_data(close)
    assert data["place"].nunique() == 6
    assert len(plot_across(close, at={"snr": 1.0 + 1e-9}).texts) == 4


@pytest.mark.parametrize(
    ("at", "says"), [({"snrr": 1.0}, "no axis 'snrr'; did you mean 'snr'"), ({"snr": 3.0}, r"snr = 3.0 is not in this")]
)
def test_places_that_are_not_there_are_refused(finished, at, says):
    with pytest.raises(ConsilienceError, match=says):
        plot_across(finished, at=at)


def test_report_draws_the_matrix_of_variants(finished):
    import vl_convert

    data = chart_data(finished)["variants"]
    rows = [dict(zip(data, values, strict=True)) for values in zip(*data.values(), strict=True)]
    places = list(dict.fromkeys(data["place"]))
    specs = chart_specs(
        ["1", "4"], error_label="mse", n_train=[8, 20], theory=False, error_theory=False, error_floor=None,
        variants=Variants(["0", "0.5"], places, "cka", distance=False),
    )  # fmt: skip
    svg = vl_convert.vegalite_to_svg(specs["variants"] | {"datasets": {"variants": rows}})
    shown = [row for row in rows if row["place"] == places[-1]]
    assert svg.count('aria-roledescription="rect mark"') == len(shown) == 4
    assert all(f">{row['mean']:.2f}<" in svg for row in shown)
    assert svg.count("%<") == 2  # shares of the ceiling, between variants only
    html = render_report(finished)
    assert 'id="variants"' in html
    assert '"variants":{' in html


def test_share_needs_a_ceiling_clearly_above_zero():
    rng = np.random.default_rng(5)
    effects = rng.standard_normal((2, 1, 6))
    for within, clear in ((0.5, True), (0.01, False)):
        scores = np.full((2, 1, 6, 2, 1, 6), within) + 0.05 * (effects[:, :, :, None, None, None] + effects)
        (one,) = [one for one in best_layers(as_run(scores)) if one.variant_a != one.variant_b]
        assert np.isfinite(one.share) == clear


def test_standard_error_with_one_layer_is_the_jackknife_over_members():
    effects = np.random.default_rng(1).standard_normal(6)
    scores = 0.5 + 0.1 * (effects[:, None] + effects)
    (one,) = best_layers(as_run(scores[None, None, :, None, None, :]))
    a, b = np.triu_indices(6, 1)
    wanted = pair_mean(scores[a, b], a, b)
    assert (one.mean, one.se) == pytest.approx((float(wanted.mean), float(wanted.se)))


def test_choice_of_layers_is_paid_for():
    """Variants whose layers agree equally: the largest of nine noisy means is too large, the jackknife's less so."""
    rng = np.random.default_rng(0)
    naive, corrected = [], []
    for _ in range(60):
        members = rng.standard_normal((2, 3, 8))
        scores = 0.5 + 0.1 * (members[:, :, :, None, None, None] + members)
        ds = as_run(scores)
        (one,) = [one for one in best_layers(ds) if one.variant_a != one.variant_b]
        corrected.append(one.mean)
        naive.append(np.max(layer_means(scores)[0, :, 1, :]))
    bias, se = np.mean(naive) - 0.5, np.std(naive) / 60**0.5
    assert bias > 5 * se
    assert abs(np.mean(corrected) - 0.5) < 0.7 * bias


def as_run(scores):
    """A run of one group with these (V, L, M, V, L, M) scores."""
    v, length, m = scores.shape[:3]
    coordinates = {}
    for side in "ab":
        coordinates |= {
            f"variant_{side}": [f"v{i}" for i in range(v)],
            f"layer_{side}": [f"l{i}" for i in range(length)],
            f"network_{side}": np.arange(m),
        }
    return xr.Dataset(
        {
            "alignment_across": (("snr", "measure_across", *SIDES), scores[None, None]),
            "done_across": (("snr",), [True]),
            "note_across": (("snr",), [""]),
        },
        {"snr": [1.0], "measure_across": ["cka"], "kind_across": ("measure_across", ["similarity"]), **coordinates},
        {"across": json.dumps({"keys": ["network"], "axes": ["snr"]})},
    )


def test_table_sentences_and_page_speak_of_the_comparison(finished):
    table = across_table(finished)
    assert table.columns[:4] == ("snr", "n_train", "measure", "variant")
    assert len(table.rows) == len(best_layers(finished))
    spoken = across_sentences(finished)
    assert len(spoken) == 2
    assert spoken[0].startswith("0 and 0.5 agree by cka with ")
    assert set(spoken) <= set(sentences(finished))
    assert page_words(finished)["across"] == table


def test_figures_show_what_the_data_say(finished):
    at = {"snr": 0.5, "n_train": 8}
    data = across_data(finished)
    shown = plot_across(finished, at=at)
    row = data[(data["snr"] == 0.5) & (data["n_train"] == 8) & (data["measure"] == "cka") & (data["share"].notna())]
    matrix = shown.images[0].get_array()
    assert matrix[0, 1] == matrix[1, 0] == pytest.approx(float(row["mean"].iloc[0]))
    texts = [text.get_text() for text in shown.texts]
    assert f"{row['mean'].iloc[0]:.2f}\n{row['share'].iloc[0]:.0%}" in texts
    layers = across_layers_data(finished, "0", "0.5", at=at)
    assert layers.shape == (2, 2)
    np.testing.assert_array_equal(plot_across_layers(finished, "0", "0.5", at=at).images[0].get_array(), layers)
    with pytest.raises(ConsilienceError, match="no variant '1'"):
        across_layers_data(finished, "0", "1")


def test_run_without_pairs_says_so(tmp_path):
    ds = run(study(EXACT, {"grid.snr": [1.0], "grid.n_train": [8]}), tmp_path / "run")
    assert across_sentences(ds) == []
    assert page_words(ds)["across"] is None
    with pytest.raises(ConsilienceError, match=r"\[pairs\] across"):
        best_layers(ds)


# --- the study file ---


@pytest.mark.parametrize(
    ("changes", "axes", "said"),
    [
        ({"pairs": {"across": ["train.rigde"]}}, RIDGE, "did you mean 'train.ridge'"),
        ({"pairs": {"across": ["train.ridge"]}}, {"train.ridge": [0.5]}, "this axis has one value"),
        ({"pairs": {"across": ["train.ridge", "train.ridge"]}}, RIDGE, "named twice"),
        ({"pairs": {"measures": ["cka"]}}, RIDGE, "says nothing without pairs.across"),
        ({"pairs": {"across": ["train.ridge"], "measures": ["cka", {"name": "cka"}]}}, RIDGE, "cka occurs twice"),
        ({"pairs": {"acros": ["train.ridge"]}}, RIDGE, "acros"),
        ({}, {"network": [1, 2]}, "needs a list of [network] tables"),
        ({}, {"network": [{"kind": "linear", "hidden": [2]}, {"kind": "lineer"}]}, "did you mean 'linear'"),
    ],
)
def test_wrong_comparisons_are_one_error(changes, axes, said):
    with pytest.raises(ConsilienceError) as caught:
        study(EXACT, changes, axes=axes)
    assert said in str(caught.value)


@pytest.mark.parametrize("key", ["seed", "data.n_features"])
def test_cells_with_other_probe_inputs_cannot_be_compared(key):
    asked = study(EXACT, {"pairs": {"across": [key]}}, axes={key: [5, 6]})
    with pytest.raises(ConsilienceError, match="different probe inputs"):
        Plan(asked)


def test_variants_of_one_name_need_labels():
    assert axis_labels("train", [{"steps": 3}, {"steps": 4, "label": "long"}]) == ["steps=3", "long"]
    with pytest.raises(ConsilienceError, match="give each its own label"):
        axis_labels("train", [{"steps": 3}, {"steps": 4, "label": "steps=3"}])


def test_kind_of_network_is_an_axis_of_its_own():
    """Options that were set go on to another kind, those at their defaults do not."""
    asked = study(
        EXACT,
        {"train.solver": "gradient", "train.batch": "full", "train.steps": 3},
        axes={"network.kind": ["linear", "mlp"]},
    )
    networks = [asked.at({"network.kind": kind}).network for kind in ("linear", "mlp")]
    assert [network.name for network in networks] == ["linear", "mlp"]
    assert [tuple(network.hidden) for network in networks] == [(2,), (2,)]
    assert networks[1].init_scale == 1.0

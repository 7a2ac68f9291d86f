from __future__ import annotations

import io
import json
import re

import numpy as np
import pytest
from rich.console import Console
from rich.table import Table
from tests.fake_run import DIP_AT, N_TRAIN, SNR, expected_alignment, fake_run

from consilience.errors import ConsilienceError, UnknownNameError
from consilience.facts import (
    Selection,
    alignment_estimate,
    combinations,
    first_selection,
    headline,
    interpolation_threshold,
    lowest_alignment,
    regime_sentence,
    run_sentences,
    sampling_sentence,
    selection_sentences,
    selections,
    sentences,
    summary_table,
    unfinished_sentence,
)

CKA = Selection("hidden1", "cka")
AXES = {"train.weight_decay": [0.0, 1e-3], "train.solver": ["adam", "sgd"]}


def with_curve(curve, *, members=6, member_sd=0.0, seed=0):
    """A run with one SNR whose alignment at hidden1 by cka follows `curve` plus member effects."""
    ds = fake_run(snr=[1.0], n_train=[10 * 2**i for i in range(len(curve))], members=members)
    a, b = ds["member_a"].values, ds["member_b"].values
    u = member_sd * np.random.default_rng(seed).standard_normal((len(curve), members))
    ds["alignment"].loc[{"layer": "hidden1", "measure": "cka"}] = (np.asarray(curve)[:, None] + u[:, a] + u[:, b])[None]
    return ds


def test_headline_is_the_last_hidden_layer_of_the_first_measure():
    ds = fake_run()
    assert headline(ds) == ("hidden2", "cka")
    assert headline(ds.sel(layer=["output"])) == ("output", "cka")
    assert headline(ds.sel(measure=["output_correlation"])) == ("output", "output_correlation")


def test_networks_that_differ_in_their_layers_are_shown_at_one_that_all_have():
    ds = fake_run(axes=AXES)
    ds["alignment"].loc[{"layer": "hidden2", "train.solver": "sgd"}] = np.nan
    assert headline(ds) == ("hidden1", "cka")
    ds["alignment"].loc[{"layer": "hidden1", "train.solver": "adam"}] = np.nan
    assert headline(ds) == ("output", "cka")
    ds["alignment"].loc[{"layer": "output", "train.weight_decay": 0.0}] = np.nan
    assert headline(ds) == ("hidden2", "cka")  # no layer is everywhere


def test_what_has_no_score_is_never_shown_first():
    nowhere = fake_run()
    nowhere["alignment"].loc[{"measure": "cka"}] = np.nan
    assert headline(nowhere) == ("hidden2", "procrustes")
    outputs = fake_run().sel(measure=["output_correlation", "cka"])
    assert headline(outputs) == ("output", "output_correlation")
    reordered = outputs.sel(layer=["output", "hidden1"])  # the last layer is not the one with a score
    assert headline(reordered) == ("output", "output_correlation")
    late = fake_run(axes=AXES)
    late["alignment"][{"train.solver": 0}] = np.nan
    assert first_selection(late) == Selection("hidden2", "cka", {"train.weight_decay": 0.0, "train.solver": "sgd"})
    assert first_selection(late) in selections(late)
    empty = fake_run(undone=[(i, j) for i in range(4) for j in range(10)])
    assert first_selection(empty) == Selection("output", "cka")


def test_selections_are_those_with_scores():
    ds = fake_run(axes=AXES)
    assert combinations(ds)[1] == {"train.weight_decay": 0.0, "train.solver": "sgd"}
    found = selections(ds)
    assert len(found) == (3 * 2 + 1) * 4  # output_correlation at the output only
    assert {s.layer for s in found if s.measure == "output_correlation"} == {"output"}


@pytest.mark.parametrize("measure", ["cka", "procrustes"])
def test_the_known_dip_is_found_in_either_direction(measure):
    ds = fake_run(axes=AXES)
    found = lowest_alignment(ds, layer="hidden1", measure=measure)
    assert [low.snr for low in found] == list(SNR) * 4
    assert [low.at for low in found[::4]] == combinations(ds)
    for low in found[:2]:  # the two lowest SNR, first combination
        row = SNR.index(low.snr)
        truth = expected_alignment(np.array(SNR), np.array(N_TRAIN))[row]
        if measure == "procrustes":
            truth = -np.arccos(np.sqrt(truth))
        assert (low.n_train, low.first, low.last) == (DIP_AT, 10, 20000)
        assert low.interior
        assert low.clear
        assert abs(low.below_first - (truth[0] - truth[5])) < 4 * low.below_first_se
        assert abs(low.below_last - (truth[-1] - truth[5])) < 4 * low.below_last_se
        assert abs(low.score - np.abs(truth[5])) < 4 * low.se


def test_a_monotone_curve_has_no_dip():
    rising = lowest_alignment(with_curve([0.1, 0.2, 0.3, 0.4], member_sd=0.001), layer="hidden1")[0]
    assert (rising.interior, rising.clear, rising.n_train) == (False, False, 10)
    falling = lowest_alignment(with_curve([0.4, 0.3, 0.2], member_sd=0.001), layer="hidden1")[0]
    assert (falling.interior, falling.clear, falling.n_train) == (False, False, 40)


def test_rounding_is_not_taken_for_a_dip():
    ds = fake_run()
    scores = np.ones(ds["alignment"].shape)
    scores[:, 3] -= 1e-8  # at every pair alike: of no standard error at all
    ds["alignment"] = (ds["alignment"].dims, scores)
    assert not any(low.interior or low.clear for low in lowest_alignment(ds))


def test_ties_hold_what_cannot_be_told_from_the_lowest():
    exact = lowest_alignment(with_curve([0.9, 0.3, 0.3, 0.5, 0.8]), layer="hidden1")[0]
    assert (exact.n_train, exact.ties) == (20, (40,))
    noisy = lowest_alignment(with_curve([0.9, 0.30, 0.301, 0.5, 0.8], member_sd=0.02), layer="hidden1")[0]
    assert set(noisy.ties) <= {20, 40}
    assert len(noisy.ties) == 1


def test_two_members_give_no_verdict():
    ds = fake_run(members=2)
    low = lowest_alignment(ds)[0]
    assert low.interior
    assert low.clear is None
    assert low.ties == ()
    assert "±" not in " ".join(sentences(ds))
    assert any("no standard error" in s for s in sentences(ds))


def test_the_threshold_counts_half_of_the_members_or_all():
    ds = fake_run()
    found = {t.snr: t for t in interpolation_threshold(ds)}
    assert (found[1.0].last_fitted, found[1.0].first_unfitted) == (800, 1500)
    assert (found[np.inf].last_fitted, found[np.inf].first_unfitted) == (1500, 3000)
    ds["converged"].loc[{"snr": 1.0, "n_train": 800, "member": [0, 1, 2]}] = False
    assert {t.snr: t for t in interpolation_threshold(ds)}[1.0].last_fitted == 800
    every = {t.snr: t for t in interpolation_threshold(ds, share=1)}
    assert (every[1.0].last_fitted, every[1.0].first_unfitted) == (400, 800)
    ds["converged"].loc[{"snr": 1.0, "n_train": 800, "member": [3, 4]}] = False  # 3 of 8 left
    assert {t.snr: t for t in interpolation_threshold(ds)}[1.0].last_fitted == 400


def test_the_threshold_at_the_edges_and_with_gaps():
    ds = fake_run()
    ds["converged"][{"snr": 0}] = False
    ds["converged"][{"snr": 1}] = True
    ds["converged"][{"snr": 2, "n_train": 1}] = False
    nothing, everything, gap, _ = interpolation_threshold(ds)
    assert (nothing.last_fitted, nothing.first_unfitted) == (None, 10)
    assert (everything.last_fitted, everything.first_unfitted) == (20000, None)
    assert gap.gaps == (30,)
    spoken = " ".join(selection_sentences(ds, CKA))
    assert "fit their training set, lies below n_train = 10, the smallest measured, at SNR 0.25; " in spoken
    assert "beyond n_train = 20000, the largest measured, at SNR 1; " in spoken
    assert "between n_train = 800 and 1500 (though 30 is not fitted) at SNR 4; " in spoken


def test_diverged_members_do_not_move_the_threshold():
    ds = fake_run(diverged=[(1, 5, m) for m in range(6)])
    assert interpolation_threshold(ds)[1].last_fitted == DIP_AT
    assert interpolation_threshold(fake_run(diverged=[(1, 5, m) for m in range(8)]))[1].last_fitted == 400


def test_sentences_say_what_was_built():
    ds = fake_run(theory=True, diverged=[(0, 5, 2), (1, 1, 1)], undone=[(2, 9)])
    spoken = sentences(ds, layer="hidden1")
    assert spoken[0] == "This run is not finished: 1 of 40 cells is still to come and missing here."
    text = " ".join(spoken)
    low = lowest_alignment(ds, layer="hidden1")[0]
    assert (
        f"Lowest alignment along n_train: at SNR 0.25 {low.score:.3f} ± {low.se:.3f} at n_train = 800 ("
        f"{low.below_first:.3f} ± {low.below_first_se:.3f} below n_train = 10, {low.below_last:.3f} ± "
        f"{low.below_last_se:.3f} below 20000); "
    ) in text
    assert "lies between n_train = 800 and 1500 at SNR 0.25, 1 and 4; between n_train = 1500 and 3000 at SNR ∞" in text
    assert "2 of 312 trainings diverged, in 2 of 40 cells; they are left out" in text
    assert "clear" not in text.lower()  # what is evidence of what, the claims say
    quiet = " ".join(sentences(fake_run(task="regression")))
    assert not any(word in quiet for word in ("Theory", "diverged", "not finished", "nan"))


def test_one_is_singular():
    ds = fake_run(snr=[1.0], n_train=[10, 100], diverged=[(0, 0, 1)], undone=[(0, 1)], theory=True)
    spoken = " ".join(sentences(ds, layer="hidden1"))
    assert "1 of 2 cells is still to come" in spoken
    assert "1 of 8 trainings diverged, in 1 of 2 cells; it is left out" in spoken
    assert "Alignment was measured at n_train = 10 only: at SNR 1 0." in spoken
    assert unfinished_sentence(fake_run(undone=[(0, 0), (1, 1)])).startswith(
        "This run is not finished: 2 of 40 cells are"
    )
    assert unfinished_sentence(fake_run()) is None


def test_a_finished_run_at_one_combination_takes_five_sentences_at_most():
    ds = fake_run(theory=True, diverged=[(0, 5, 2)])
    for selection in selections(ds):
        spoken = [*selection_sentences(ds, selection), *run_sentences(ds)]
        assert 4 <= len(spoken) <= 5
        assert max(map(len, spoken)) < 500


def test_sentences_for_distances_and_axes():
    ds = fake_run(axes=AXES)
    spoken = sentences(ds, layer="hidden1", measure="procrustes")
    assert spoken[0].startswith("train.weight_decay = 0, train.solver = adam: Averaged")
    assert "distance (larger is less aligned)" in spoken[0]
    low = lowest_alignment(ds, layer="hidden1", measure="procrustes")[0]
    assert f"at SNR 0.25 distance {low.score:.3f} ± {low.se:.3f} at n_train = 800 (0." in spoken[1]
    assert sum("Averaged" in s for s in spoken) == 4


def test_the_lowest_at_an_end_is_said_to_be_there():
    ds = with_curve([0.1, 0.2, 0.3, 0.4], member_sd=0.001)
    spoken = " ".join(selection_sentences(ds, CKA))
    assert re.search(r"at SNR 1 0\.\d+ ± 0\.\d+ at n_train = 10, the smallest measured\.", spoken)


def test_a_dip_after_a_rise_is_clear_though_the_lowest_is_an_end():
    [low] = lowest_alignment(with_curve([0.1, 0.8, 0.3, 0.9], member_sd=1e-3), layer="hidden1")
    assert (low.interior, low.clear) == (False, True)


def test_noise_is_no_clear_dip():
    [low] = lowest_alignment(with_curve([0.5] * 6, member_sd=0.2, seed=1), layer="hidden1")
    assert (low.interior, low.clear) == (True, False)


def test_nothing_finished():
    ds = fake_run(undone=[(i, j) for i in range(4) for j in range(10)])
    assert lowest_alignment(ds) == []
    assert interpolation_threshold(ds) == []
    assert "40 of 40 cells are still to come" in sentences(ds)[0]
    assert sentences(ds)[1].startswith("No alignment has been measured")
    assert len(summary_table(ds).rows) == 4


def test_members_that_stopped_are_counted():
    ds = fake_run(undone=[(0, 0)])
    stopped = np.full(ds["diverged_at"].shape, -1)
    assert len(run_sentences(ds.assign(stopped_at=(ds["diverged_at"].dims, stopped)))) == 1
    stopped[1, 2, :3] = 64
    (found, _) = run_sentences(ds.assign(stopped_at=(ds["diverged_at"].dims, stopped)))
    assert found == "3 of 312 trainings stopped before the last step."


def test_inputs_that_are_not_shared_are_said_to_overlap_where_they_do():
    ds = fake_run(members=4)
    data = json.loads(ds.attrs["data"]) | {"n_pool": 4 * N_TRAIN[2]}
    noise = json.loads(ds.attrs["noise"]) | {"shared": [], "resample": "disjoint"}
    apart = ds.assign_attrs(data=json.dumps(data), noise=json.dumps(noise))
    (spoken,) = set(run_sentences(apart)) - set(run_sentences(ds))
    assert spoken.startswith(f"From n_train = {N_TRAIN[3]} on members share part of their training inputs")
    assert f"4 sets apart up to n_train = {N_TRAIN[2]}" in spoken
    bootstrap = noise | {"resample": "bootstrap"}
    assert run_sentences(apart.assign_attrs(noise=json.dumps(bootstrap))) == run_sentences(ds)


def test_run_sentences_are_silent_about_what_did_not_happen():
    assert len(run_sentences(fake_run())) == 1


def with_regimes(kinds, *, axes=None, n_train=(10, 30), kept=0.995):
    """A run whose networks have the regimes `kinds`, (snr, n_train, axes, member) or what broadcasts to it."""
    ds = fake_run(snr=[1.0, np.inf], n_train=n_train, members=3, axes=axes)
    dims = ds["train_error"].dims
    found = np.broadcast_to(np.asarray(kinds, dtype=np.dtypes.StringDType()), ds["train_error"].shape)
    agreement = {"small-initialization": 0.9997, "between": 0.9, "balanced": 0.97, "lazy": 0.3, "": np.nan}
    numbers = np.vectorize(agreement.__getitem__)(found.astype(object)).astype(float)
    start = np.where(found == "", np.nan, kept)
    return ds.assign(
        regime=(dims, found),
        hidden_from_map=(dims, numbers),
        hidden_kept=(dims, start),
        imbalance=(dims, np.where(found == "", np.nan, 0.25)),
    )


SMALL = "small-initialization"


def test_runs_without_linear_networks_say_nothing_of_their_regime():
    assert regime_sentence(fake_run()) is None
    assert regime_sentence(with_regimes("")) is None
    assert len(sentences(with_regimes(""))) == len(sentences(fake_run(snr=[1.0, np.inf], n_train=(10, 30), members=3)))


def test_the_regime_is_said_in_one_sentence():
    said = regime_sentence(with_regimes(SMALL))
    assert said == (
        "The theory of the hidden layer assumes small initialization, which holds for all 12 linear networks (CKA of "
        "the hidden layer with what the learned map implies is at least 1.000)."
    )
    assert said in sentences(with_regimes(SMALL))
    assert regime_sentence(with_regimes("lazy")) == (
        "The theory of the hidden layer assumes small initialization, which holds for none of 12 linear networks: 12 "
        "are lazy (the hidden layer stays as it was, mean CKA with where it began 0.99)."
    )


def test_networks_outside_the_regime_are_placed_and_explained():
    some = with_regimes(
        [[[SMALL, "between", ""], [SMALL] * 3], [["balanced", "lazy", SMALL], [SMALL] * 3]], kept=np.nan
    )
    assert regime_sentence(some) == (
        "The theory of the hidden layer assumes small initialization, which holds for 8 of 11 linear networks; of the "
        "others, at n_train = 10, 1 is lazy (the hidden layer stays as it was, their map uses little of it), 1 still "
        "holds part of the initial weights (mean CKA with what the map implies 0.90, .99 needed) and 1 is balanced, "
        "for which theory needs δ (half of it is 0.25 of the map's largest singular value)."
    )
    axes = {"train.solver": ["exact", "gradient"], "train.ridge": [0.0, 0.1]}
    solver = with_regimes(np.array([SMALL, "between"])[None, None, :, None, None], axes=axes)
    assert "of the others, at train.solver = gradient, 24 still hold part" in regime_sentence(solver)
    snr = with_regimes(np.array(["lazy", SMALL])[:, None, None])
    assert "of the others, at SNR 1, 6 are lazy" in regime_sentence(snr)
    many = np.full((1, 8, 1), "lazy", dtype=object)
    many[0, 0] = SMALL
    many = with_regimes(many, n_train=[10 * 2**i for i in range(8)])
    assert "of the others, at 7 of 8 values of n_train, 42 are lazy" in regime_sentence(many)
    kinds = with_regimes(np.array(["lazy", ""])[None, None, :, None, None], axes=axes)  # other networks are no place
    assert "holds for none of 24 linear networks: 24 are lazy" in regime_sentence(kinds)


def test_what_sampling_units_are_is_said():
    plain = fake_run()
    assert "given this draw of inputs" in sampling_sentence(plain)
    assert run_sentences(plain)[-1].endswith("all of them share.")
    shape = (*plain["alignment"].shape[:-1], 5)
    parts = np.random.default_rng(0).standard_normal(shape)
    dims = (*plain["alignment"].dims[:-1], "part")
    varied = plain.assign(alignment_by_part=(dims, parts))
    assert sampling_sentence(varied).startswith("Sampling units are members and probe inputs")
    assert run_sentences(varied)[-1].endswith("verdicts allow for other probe inputs too.")
    parts = parts.copy()
    parts[..., 0, :] = np.nan  # one measure has none
    some = plain.assign(alignment_by_part=(dims, parts))
    assert sampling_sentence(some).endswith("By some measures they allow for other probe inputs too.")
    assert run_sentences(some)[-1].endswith("all of them share.")


def test_summary_table_agrees_with_the_facts():
    ds = fake_run(axes={"train.solver": ["adam", "sgd"]}, diverged=[(0, 0, 1)])
    table = summary_table(ds, layer="hidden1")
    assert table.columns[:3] == ("SNR", "train.solver", "lowest n")
    assert len(table.rows) == 8
    assert all(len(row) == len(table.columns) for row in table.rows)
    first = dict(zip(table.columns, table.rows[0], strict=True))
    low = lowest_alignment(ds, layer="hidden1")[0]
    assert first["lowest n"] == str(low.n_train)
    assert first["score"] == f"{low.score:.2f}±{low.se:.2f}".replace("±0", "±")
    ends = alignment_estimate(ds, Selection("hidden1", "cka", {"train.solver": "adam"})).mean[0, [0, -1]]
    assert [first[key].split("±")[0] for key in ("at min n", "at max n")] == [f"{mean:.2f}" for mean in ends]
    assert (first["SNR"], first["train.solver"], first["diverged"]) == ("0.25", "adam", "1")
    assert (first["dip"], first["fits to"]) == ("clear", "800")
    assert table.rows[-1][0] == "∞"


@pytest.mark.parametrize("measure", ["cka", "procrustes"])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_summary_fits_into_a_terminal_of_eighty_columns(measure, sign):
    ds = fake_run(snr=[0.0625, 1.0, 4.0, np.inf], diverged=[(0, 0, 1)])
    ds["alignment"] = sign * ds["alignment"]
    found = summary_table(ds, measure=measure)
    table = Table(*found.columns, box=None, pad_edge=False)
    for row in found.rows:
        table.add_row(*row)
    out = io.StringIO()
    Console(file=out, width=80).print(table)
    lines = out.getvalue().splitlines()
    assert len(lines) == 1 + len(found.rows)
    assert "…" not in out.getvalue()
    assert all(cell in line for row, line in zip(found.rows, lines[1:], strict=True) for cell in row)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda ds: lowest_alignment(ds, layer="hiden1"), UnknownNameError, "did you mean 'hidden1'"),
        (lambda ds: lowest_alignment(ds, measure="ckka"), UnknownNameError, "did you mean 'cka'"),
        (lambda ds: interpolation_threshold(ds, share=0), ConsilienceError, "share is 0"),
        (lambda ds: selection_sentences(ds, CKA), ConsilienceError, "fixes the axes"),
        (
            lambda ds: selection_sentences(ds, Selection("hidden1", "cka", {"train.solver": "x"})),
            ConsilienceError,
            "no value 'x'",
        ),
    ],
)
def test_errors(call, error, words):
    with pytest.raises(error, match=words):
        call(fake_run(axes={"train.solver": ["adam", "sgd"]}))

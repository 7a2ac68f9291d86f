"""Studies whose networks a function of the user's trains."""

from __future__ import annotations

import json
import os
import sys
import threading
import time

import numpy as np
import psutil
import pytest
import tomlkit
from tests.studies import EXACT, assert_same_bits, reread, study, tables, without_times

from consilience.errors import ConsilienceError
from consilience.facts import run_sentences
from consilience.plan import Plan
from consilience.report.content import page_words
from consilience.run import compute, run
from consilience.store import open_run
from consilience.study import Study
from consilience.train import Workers

SMALL = tables(EXACT, {"grid.snr": [1.0, 4.0], "grid.n_train": [8, 20]}, without=["network", "train"])


def least_squares(training, *, ridge=0.0, fail=(), bad=None):
    """The ridge map, as a trainer of the simplest kind; `bad` names how the predictor of member 1 is spoilt."""
    if training.member in fail:
        raise RuntimeError(f"member {training.member} would\nnot train")
    gram = training.x.T @ training.x + ridge * len(training.x) * np.eye(training.x.shape[1])
    weights = np.linalg.pinv(gram) @ training.x.T @ training.y

    def layers(x):
        found = {"hidden_1": x @ weights, "output": x @ weights}
        return found if bad is None or training.member != 1 else BAD[bad][0](found)

    return layers


def with_trainer(**options):
    return Study(**SMALL, trainer={"function": least_squares, **options})


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return run(with_trainer(), tmp_path_factory.mktemp("own") / "run")


def test_least_squares_as_a_trainer_equals_the_exact_solver(finished, tmp_path):
    exact = run(study(EXACT, {"grid.snr": [1.0, 4.0], "grid.n_train": [8, 20]}), tmp_path / "exact")
    for name in ("train_error", "test_error", "train_loss", "test_loss"):
        np.testing.assert_allclose(finished[name], exact[name], rtol=2e-3, atol=1e-6, err_msg=name)
    at = {"layer": "output", "measure": ["output_correlation", "cka"]}
    np.testing.assert_allclose(finished["alignment"].sel(at), exact["alignment"].sel(at), atol=1e-4)
    np.testing.assert_array_equal(finished["converged"], exact["converged"])


def test_members_share_what_the_study_says_they_share():
    seen = {}

    def spy(training, *, which):
        seen.setdefault(which, {}).setdefault(training.member, []).append(training)
        return least_squares(training)

    for which, shared in (("own", ["inputs"]), ("same", ["inputs", "init"])):
        trainer = {"function": spy, "layers": ["hidden_1", "output"], "which": which}
        asked = Study(**{**SMALL, "noise": SMALL["noise"] | {"shared": shared}}, trainer=trainer)
        list(compute(plan := Plan(asked), plan.study.cells()))
    own, same = seen["own"], seen["same"]
    first, second = own[0][0], own[1][0]
    np.testing.assert_array_equal(first.x, second.x)
    assert not np.allclose(first.y, second.y), "noise is each member's own"
    assert first.seed != second.seed
    assert same[0][0].seed == same[1][0].seed
    assert len({training.seed for training in own[0]}) == 1, "a member starts alike in every cell"
    assert {training.x.shape for training in own[0]} == {(8, 5), (20, 5)}
    assert first.y.shape == (8, 2)
    assert (first.task, first.n_outputs, first.image_shape) == ("regression", 2, None)
    assert first.x.dtype == np.float32
    assert first.x.flags.writeable


def test_trainer_that_raises_costs_its_member_and_no_more(tmp_path):
    ds = run(with_trainer(fail=(1,), layers=["hidden_1", "output"]), tmp_path / "run")
    assert ds["done"].all()
    reasons = ds["failure"].values
    assert (reasons[..., [0, 2]] == "").all()
    assert len({str(reason) for reason in reasons[..., 1].ravel()}) == 1
    assert "RuntimeError: member 1 would not train (least_squares, line" in reasons[0, 0, 1]
    assert (ds["diverged_at"] == -1).all()
    assert np.isnan(ds["train_error"].values[..., 1]).all()
    assert np.isfinite(ds["train_error"].values[..., [0, 2]]).all()
    scores = ds["alignment"].sel(measure="cka").values
    with_one = (ds["member_a"] == 1) | (ds["member_b"] == 1)
    assert np.isnan(scores[..., with_one.values]).all()
    assert np.isfinite(scores[..., ~with_one.values]).all()
    words = page_words(ds)
    assert len(words["failures"]) == 4
    assert "would not train" in words["failures"][0][-1]
    assert any("4 of 12 trainings failed" in sentence for sentence in words["run_sentences"])
    assert not words["notes"]


def test_what_works_in_place_changes_nothing_but_its_own(tmp_path):
    """A trainer that scales its targets, and a predictor that centres its inputs, where they are."""

    def careless(training, *, weights):
        mean = training.x.mean(0)
        training.x[:] -= mean
        fitted = np.linalg.pinv(training.x) @ training.y
        training.y[:] *= weights["y"]

        def layers(x):
            x -= mean
            return {"output": x @ fitted}

        return layers

    def careful(training, *, weights):
        mean = training.x.mean(0)
        fitted = np.linalg.pinv(training.x - mean) @ training.y
        return lambda x: {"output": (x - mean) @ fitted}

    found = [
        run(Study(**SMALL, trainer={"function": one, "weights": {"y": 3.0}}), tmp_path / one.__name__)
        for one in (careless, careful)
    ]
    assert_same_bits(*map(without_times, found))


def test_trainer_that_leaves_prints_or_returns_one_number_a_row(tmp_path, capsys):
    def odd(training):
        print("epoch 1")  # noqa: T201
        if training.member == 1:
            sys.exit(3)
        weights = np.linalg.pinv(training.x) @ training.y[:, 0]
        return lambda x: {"hidden_1": x @ weights, "output": np.stack([x @ weights] * 2, axis=1)}

    ds = run(Study(**SMALL, trainer={"function": odd, "layers": ["hidden_1", "output"]}), tmp_path / "run")
    assert "SystemExit: 3" in str(ds["failure"].values[0, 0, 1])
    assert np.isfinite(ds["alignment"].sel(layer="hidden_1", measure="cka").values).any()
    printed = capsys.readouterr()
    assert "epoch" not in printed.out
    assert "epoch 1" in printed.err
    (spoken,) = [one for one in run_sentences(ds) if "4 of 12 trainings failed, in 4 of 4 cells (" in one]
    assert "SystemExit: 3 (odd, line" in spoken


BAD = {
    "no output": (lambda found: {"hidden_1": found["hidden_1"]}, "the last one called 'output'"),
    "no dictionary": (lambda found: found["output"], "it returned ndarray"),
    "no layer": (lambda found: {"output": found["output"]}, "no layer 'hidden_1'"),
    "three dimensions": (
        lambda found: found | {"hidden_1": np.zeros((len(found["output"]), 2, 2))},
        "return (50, width)",
    ),
    "too wide": (lambda found: found | {"output": np.zeros((len(found["output"]), 3))}, "has 3 columns: give 2"),
    "complex": (lambda found: found | {"hidden_1": found["hidden_1"] + 0j}, "holds complex"),
    "hidden is not finite": (
        lambda found: found | {"hidden_1": np.nan * found["hidden_1"]},
        "'hidden_1' is not finite",
    ),
    "other width": (lambda found: found | {"hidden_1": np.zeros((len(found["output"]), 7))}, "the first member's"),
    "not finite": (lambda found: {name: np.inf * value for name, value in found.items()}, "losses are not finite"),
}


@pytest.mark.parametrize("bad", BAD)
def test_what_a_predictor_may_not_return_is_that_members_failure(bad, tmp_path):
    said = BAD[bad][1]
    ds = run(with_trainer(bad=bad, layers=["hidden_1", "output"]), tmp_path / "run")
    reasons = ds["failure"].values
    assert (reasons[..., [0, 2]] == "").all()
    assert all(said in str(reason) for reason in reasons[..., 1].ravel()), reasons[0, 0, 1]


def test_all_members_failing_leaves_a_run_without_scores(tmp_path):
    ds = run(with_trainer(fail=(0, 1, 2), layers=["hidden_1", "output"]), tmp_path / "run")
    assert ds["done"].all()
    assert np.isnan(ds["alignment"]).all()
    assert (ds["failure"] != "").all()


def test_layers_are_found_by_training_one_member_unless_named():
    assert Plan(with_trainer()).layers == ("hidden_1", "output")
    with pytest.raises(ConsilienceError, match="no member could be trained at n_train = 8: RuntimeError"):
        Plan(with_trainer(fail=(0, 1, 2)))
    assert Plan(with_trainer(fail=(0,))).layers == ("hidden_1", "output")


def test_a_member_that_forgets_a_layer_is_told_so_though_the_study_names_none(tmp_path):
    ds = run(with_trainer(bad="no layer"), tmp_path / "run")
    assert (ds["diverged_at"] == -1).all()
    assert all("no layer 'hidden_1'; it has output" in str(reason) for reason in ds["failure"].values[..., 1].flat)


def test_an_option_is_set_from_outside_on_a_trainer_written_short(tmp_path):
    path = tmp_path / "study.toml"
    path.write_text(f'trainer = "{__name__}:least_squares"\n{tomlkit.dumps(SMALL)}')
    found = Study.load(path, **{"trainer.ridge": 0.5})
    assert json.loads(found.network.options) == {"ridge": 0.5}


def test_an_option_that_a_trainer_does_not_have_is_refused_before_it_is_called():
    with pytest.raises(
        ConsilienceError, match=r"trainer\.rigde = 3: not an option of least_squares; did you mean 'ridge'"
    ):
        Plan(with_trainer(rigde=3, layers=["output"]))


def test_resumed_run_has_the_same_bits(finished, tmp_path):
    folder = tmp_path / "run"

    class Stop(Exception):
        pass

    def stop(done, total):
        if done == 2:
            raise Stop

    with pytest.raises(Stop):
        run(with_trainer(), folder, progress=stop)
    assert open_run(folder)["done"].sum() == 2
    assert_same_bits(without_times(run(with_trainer(), folder)), without_times(finished))


ELSEWHERE = """
import os
import numpy as np

def train(training, *, dies=False):
    if training.member == 1:
        if dies:
            os._exit(1)  # without a word, as a process that is killed for its memory
        raise RuntimeError("would not train")
    weights = np.linalg.pinv(training.x) @ training.y
    return lambda x: {"hidden_1": x @ weights, "output": x @ weights}
"""


def module_of(tmp_path):
    """A name of its own for each test: folders stay on the path."""
    return f"elsewhere_{tmp_path.name}"


def elsewhere(tmp_path, monkeypatch, changes=(), **options):
    """A trainer in a module of the current directory, which other processes import for themselves."""
    module = module_of(tmp_path)
    (tmp_path / f"{module}.py").write_text(ELSEWHERE)
    monkeypatch.chdir(tmp_path)
    trainer = {"function": f"{module}:train", "layers": ["hidden_1", "output"], **options}
    return Study(**SMALL | dict(changes), trainer=trainer)


def test_processes_give_the_bits_of_one_and_the_reasons(tmp_path, monkeypatch):
    asked = elsewhere(tmp_path, monkeypatch)
    alone, together = (run(asked, tmp_path / str(workers), workers=workers) for workers in (1, 2))
    assert_same_bits(without_times(together), without_times(alone))
    np.testing.assert_array_equal(together["failure"], alone["failure"])
    assert "would not train" in str(together["failure"].values[0, 0, 1])


def test_function_that_cannot_be_imported_goes_to_other_processes(tmp_path):
    own = os.getpid()

    def local(training):
        return lambda x: {"output": np.full((len(x), 2), os.getpid() == own, np.float32)}

    asked = Study(**SMALL, trainer={"function": local, "layers": ["output"]})
    here, there = (by_workers(asked, count) for count in (1, 2))
    assert np.isfinite(there).all()
    assert not np.allclose(here, there)


def test_process_that_ends_without_a_word_costs_its_member_and_no_more(tmp_path, monkeypatch):
    small = {"grid": SMALL["grid"] | {"snr": [1.0]}}
    raises = run(elsewhere(tmp_path, monkeypatch, small), tmp_path / "raises")
    dies = run(elsewhere(tmp_path, monkeypatch, small, dies=True), tmp_path / "dies", workers=2)
    assert all(
        "its process ended without a word (exit code" in reason for reason in dies["failure"].values[..., 1].flat
    )
    assert (dies["failure"].values[..., [0, 2]] == "").all()
    np.testing.assert_array_equal(dies["test_loss"], raises["test_loss"])
    np.testing.assert_array_equal(dies["alignment"], raises["alignment"])


def by_workers(asked, count):
    """Test losses of all cells."""
    with Workers(count) as workers:
        return [values["test_loss"] for _, values in compute(Plan(asked), asked.cells(), workers=workers)]


def test_function_that_other_processes_cannot_have_is_an_error_that_says_so():
    lock = threading.Lock()

    def locked(training):
        with lock:
            return least_squares(training)

    asked = Study(**SMALL, trainer={"function": locked, "layers": ["hidden_1", "output"]})
    with pytest.raises(ConsilienceError, match=r"cannot be sent to other processes.*workers = 1"):
        by_workers(asked, 2)


def test_workers_are_at_most_two_items_each_ahead_and_end_with_their_context():
    drawn = []

    def items():
        for item in range(20):
            drawn.append(item)
            yield np.full(300_000, item)  # large enough to be passed as a file, if anything were

    def writes(item):
        item += 1  # arrays are the function's own
        return int(item[0]), os.getpid()

    with Workers(2) as workers:
        found = workers.map(writes, items(), died=len)
        first, process = next(found)
        time.sleep(0.3)
        assert (first, len(drawn)) == (1, 5)
        assert [value for value, _ in found] == list(range(2, 21))
        assert process != os.getpid()
    assert not psutil.pid_exists(process)


def test_workers_that_have_nothing_to_do_are_refused(tmp_path):
    with pytest.raises(ConsilienceError, match=r"workers = 2: .* this study has none"):
        run(study(EXACT), tmp_path / "run", workers=2)
    with pytest.raises(ConsilienceError, match="workers = 0: give 1 or more"):
        run(with_trainer(), tmp_path / "run", workers=0)
    assert not (tmp_path / "run").exists()


def test_options_of_a_trainer_are_an_axis_and_text_round_trips():
    asked = Study(**tables(SMALL, axes={"trainer.ridge": [0.0, 0.5]}), trainer={"function": least_squares})
    assert len(asked.cells()) == 8
    assert [json.loads(asked.at({"trainer.ridge": r}).network.options) for r in (0.0, 0.5)] == [
        {"ridge": 0.0},
        {"ridge": 0.5},
    ]
    again = reread(asked)
    assert again.tables() == asked.tables()
    assert again.trainer.reference == f"{__name__}:least_squares"


def test_trainer_is_imported_from_the_current_directory(tmp_path, monkeypatch):
    (tmp_path / "my_trainer_module.py").write_text("def train(training): raise KeyError('here')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    with pytest.raises(ConsilienceError, match="KeyError: 'here' \\(train, line 1\\)"):
        Plan(Study(**SMALL, trainer="my_trainer_module:train"))


WRONG = {
    "no.such.module:train": "cannot import 'no.such.module'",
    "tests.studies:nothing": "has no 'nothing'",
    "tests.studies:INF": "cannot be called",
}


@pytest.mark.parametrize(("reference", "said"), WRONG.items())
def test_trainer_that_cannot_be_found_is_said_before_anything_is_written(reference, said, tmp_path):
    with pytest.raises(ConsilienceError, match=said):
        run(Study(**SMALL, trainer=reference), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"trainer": 3}, "trainer = 3: give a function"),
        ({"trainer": "no colon"}, "trainer = 'no colon': give a function"),
        ({"trainer": {"function": "a:b", "layers": ["hidden"]}}, "the last is called 'output'"),
        ({"trainer": {"function": "a:b", "loss": print}}, "options are numbers, text, lists or tables"),
        ({"trainer": "a:b", "network": {"kind": "mlp"}}, "network: this study has a trainer of its own"),
        ({"trainer": "a:b", "train": {"steps": 3}}, "train: this study has a trainer of its own"),
    ],
)
def test_wrong_trainer_tables(changes, said):
    with pytest.raises(ConsilienceError, match=said):
        Study(**SMALL, **changes)

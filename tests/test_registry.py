from __future__ import annotations

import inspect
from dataclasses import dataclass
from importlib.metadata import EntryPoint

import numpy as np
import pytest

import consilience
from consilience import (
    ConsilienceError,
    Family,
    Invariance,
    Kind,
    Measure,
    UnknownNameError,
    get_measure,
    measures,
    register,
)
from consilience import registry as registry_module
from consilience._labels import snake_case
from consilience.measures.cka import CKA
from consilience.measures.mutual_knn import MutualKNN
from consilience.registry import as_function, per_instance


def test_the_built_in_measures_are_registered():
    assert {"cka", "procrustes", "mutual_knn", "information_imbalance", "output_correlation"} <= set(measures())


@pytest.mark.parametrize(
    ("written", "measure"),
    [
        ("cka", CKA()),
        ("cka()", CKA()),
        ("cka(estimator=biased)", CKA(estimator="biased")),
        (" cka ( kernel = rbf , bandwidth = 0.5 ) ", CKA(kernel="rbf", bandwidth=0.5)),
        ("cka(estimator='lange')", CKA(estimator="lange")),
        ("mutual_knn(k=5, metric=inner)", MutualKNN(k=5, metric="inner")),
        (CKA(estimator="biased"), CKA(estimator="biased")),
    ],
    ids=str,
)
def test_names_labels_and_measures_are_understood(written, measure):
    found = get_measure(written)
    assert found == measure
    assert get_measure(found.label) == found
    assert hash(found) == hash(measure)


def test_options_given_by_keyword_win_over_the_label():
    assert get_measure("mutual_knn(k=5)", k=3).label == "mutual_knn(k=3)"
    assert get_measure("mutual_knn", k=10).label == "mutual_knn"
    assert CKA(kernel="rbf", estimator="biased").options == {"kernel": "rbf", "bandwidth": 1.0, "estimator": "biased"}


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("ckaa", {}, "unknown measure 'ckaa': did you mean 'cka'"),
        ("mutual_nn", {}, "did you mean 'mutual_knn'"),
        ("zzz", {}, "valid names: accuracy_difference, "),
        ("cka", {"estimater": "biased"}, "no option 'estimater': did you mean 'estimator'"),
        ("cka", {"estimator": "biasd"}, "did you mean 'biased'"),
        ("cka", {"kernel": 3}, "no kernel 3: valid names: laplace, linear, rbf"),
        ("output_correlation", {"k": 3}, "takes no options"),
        ("mutual_knn", {"k": "many"}, "must be of type int"),
        ("mutual_knn", {"k": True}, "must be of type int"),
        ("cka", {"bandwidth": "wide"}, "must be of type float"),
        ("cka(biased)", {}, "option=value"),
        ("cka(", {}, "brackets closed"),
        (3, {}, "not as int"),
        (CKA(), {"kernel": "rbf"}, "came with the measure"),
    ],
)
def test_mistakes_are_named_and_the_nearest_valid_thing_offered(name, options, message):
    with pytest.raises(ConsilienceError, match=message.replace("(", r"\(")):
        get_measure(name, **options)


@pytest.mark.parametrize(
    "written", ["mutual_knn(k=5)", "cka(kernel=rbf, bandwidth=0.5)", "prediction_difference(order=inf)"]
)
def test_labels_are_read_back(written):
    measure = get_measure(written)
    assert get_measure(measure.label) == measure


def test_numbers_of_numpy_are_numbers():
    assert get_measure("mutual_knn", k=np.int64(4)) == get_measure("mutual_knn(k=4)")
    assert get_measure("cka", kernel="rbf", bandwidth=np.float32(0.5)).label == "cka(kernel=rbf, bandwidth=0.5)"


def test_every_alias_means_the_measure_that_declares_it():
    for name, measure in measures().items():
        for alias, options in measure.aliases.items():
            assert alias not in measures()
            assert get_measure(alias) == get_measure(name, **options)


def test_names_are_given_once(catalogue):
    taken = dataclass(frozen=True)(type("RvCoefficient", (Distance,), {"__annotations__": {}}))
    with pytest.raises(TypeError, match="rv_coefficient already names another measure"):
        register(taken)


def test_unknown_name_is_a_key_error_too():
    with pytest.raises(KeyError):
        measures()["nothing"]
    with pytest.raises(UnknownNameError):
        as_function("nothing")


def test_facts_may_depend_on_the_options():
    assert CKA.bounds == (-1.0, 1.0)
    assert CKA(estimator="biased").bounds == (0.0, 1.0)
    assert CKA().invariant_to(Invariance.PERMUTATION)
    assert not CKA(estimator="depcols").invariant_to(Invariance.ORTHOGONAL)
    assert not MutualKNN().invariant_to(Invariance.TRANSLATION)
    assert MutualKNN(metric="euclidean").invariant_to(Invariance.TRANSLATION)


def test_functions_have_the_options_in_their_signature():
    parameters = inspect.signature(consilience.cka).parameters
    assert list(parameters) == ["x", "y", "targets", "kernel", "bandwidth", "estimator"]
    assert parameters["estimator"].default == "debiased"


@pytest.mark.parametrize(
    ("name", "snake"),
    [("CKA", "cka"), ("MutualKNN", "mutual_knn"), ("KNNJaccard", "knn_jaccard"), ("Procrustes", "procrustes")],
)
def test_names_follow_from_class_names(name, snake):
    assert snake_case(name) == snake


@pytest.fixture
def catalogue(monkeypatch):
    """A copy of the registry that may be added to."""
    copy = type(registry_module._catalogue)("measure")
    for name, measure in measures().items():
        copy.register(name, measure)
    monkeypatch.setattr(registry_module, "_catalogue", copy)
    registry_module._load_entry_points.cache_clear()
    yield copy
    registry_module._load_entry_points.cache_clear()


class Distance(Measure):
    title = "Distance of means"
    reference = "none"
    family = Family.DESCRIPTIVE
    cost = "O(n d)"
    use = "In these tests."
    avoid = "Anywhere else."
    kind = Kind.DISTANCE
    bounds = per_instance(lambda self: (0.0, self.largest))
    symmetric = True
    invariances = frozenset({Invariance.PERMUTATION})
    largest: float = 10.0

    def prepare(self, x):
        return x.mean()

    def compare(self, a, b):
        return abs(a - b)


def test_one_class_is_all_it_takes(catalogue):
    measure = register(dataclass(frozen=True)(type("MeanGap", (Distance,), {"__annotations__": {}})))
    assert measures()["mean_gap"] is measure
    assert consilience.mean_gap(np.zeros((3, 2)), np.ones((3, 2))) == 1.0
    assert consilience.pairwise([np.zeros((3, 2)), np.ones((3, 2))], "mean_gap").tolist() == [[0, 1], [1, 0]]
    as_function.cache_clear()


def test_registration_asks_for_a_frozen_dataclass_with_defaults_and_facts(catalogue):
    with pytest.raises(TypeError, match="frozen dataclass"):
        register(type("Loose", (Distance,), {}))
    with pytest.raises(TypeError, match="defaults"):
        register(dataclass(frozen=True)(type("Asking", (Distance,), {"__annotations__": {"k": int}})))
    with pytest.raises(TypeError, match="title, reference"):
        register(dataclass(frozen=True)(type("Bare", (Measure,), {})))


def test_installed_packages_add_measures(catalogue, monkeypatch):
    point = EntryPoint("far", f"{__name__}:FromAfar", "consilience.measures")
    broken = EntryPoint("broken", "no_such_package.measures", "consilience.measures")
    made = dataclass(frozen=True)(type("FromAfar", (Distance,), {}))
    monkeypatch.setattr(EntryPoint, "load", lambda self: made if self is point else broken_load())

    def broken_load():
        raise ImportError("No module named 'no_such_package'")

    monkeypatch.setattr(registry_module, "entry_points", lambda group: [point, broken])
    with pytest.warns(UserWarning, match="broken.*no_such_package"):
        assert measures()["from_afar"] is made

"""A user's own noise process: found by name, its parameters are options, its mistakes are told."""

from __future__ import annotations

import math
import pickle
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tests.data.noisy import HERE, clean
from tests.studies import EXACT, reread, study

from consilience._custom import resolve
from consilience.data import PROCESSES, NoiseProcess, noise_keys
from consilience.data.noise.custom import process_of
from consilience.errors import ConsilienceError
from consilience.plan import Plan

LAPLACE, SALT = f"{HERE}:laplace", f"{HERE}:salt"


def make(function: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, **attributes: Any) -> type[NoiseProcess]:
    """The process of a function, in a module of its own so that each test meets a new name."""
    for attribute, value in attributes.items():
        setattr(function, attribute, value)
    module = ModuleType(f"own_{id(function)}")
    module.function = function
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return PROCESSES[f"{module.__name__}:function"]


def apply(process: NoiseProcess) -> Any:
    x, y = clean("regression")
    return process.apply(noise_keys(0, 0), jnp.arange(3), x[:3], y[:3], 0.5, n_classes=1)


def numpy_s(key: Any, x: Any, y: Any, level: Any) -> Any:
    return x, y + level * np.random.default_rng().standard_normal(y.shape)


def constant(key: Any, x: Any, y: Any, level: Any) -> Any:
    return x, y + level


def nothing(key: Any, x: Any, y: Any, level: Any) -> Any:
    return x, y


def branches(key: Any, x: Any, y: Any, level: Any) -> Any:
    return (x, y + jax.random.normal(key, y.shape)) if level > 1 else (x, y)


def not_a_number(key: Any, x: Any, y: Any, level: Any) -> Any:
    return x, y + level * jnp.log(jax.random.normal(key, y.shape))


def absent_class(key: Any, x: Any, y: Any, level: Any) -> Any:
    return x, y + (jax.random.uniform(key) < level)


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (not_a_number, r"returns NaN or infinity: .* \(tried on 2000 samples for 2 members at level 1\.41, "),
        (absent_class, r"returns labels that are no classes: return 0 … 4, integers"),
        (numpy_s, "gives two members the same noise"),
        (constant, "gives two members the same noise"),
        (nothing, "changes nothing"),
        (branches, r"raised TracerBoolConversionError: .*\(branches, line \d+\); it is compiled by JAX"),
    ],
)
def test_a_function_whose_noise_is_not_drawn_from_its_key_is_refused(function: Any, says: str) -> None:
    x, y = clean("classification" if function is absent_class else "regression")
    process = PROCESSES[process_of(function)]()
    with pytest.raises(ConsilienceError, match=says):
        process.fitted(x, y, n_classes=5, image_shape=None)


def flips(key: Any, x: Any, y: Any, level: Any) -> Any:
    """Labels moved on, with probability level"""
    return x, (y + (jax.random.uniform(key) < level)) % 5


def keeps_variance(key: Any, x: Any, y: Any, level: Any) -> Any:
    return x, jnp.sqrt(1 - level**2) * y + level * jax.random.normal(key, y.shape)


def from_one(snr: float) -> float:
    if snr < 1:
        raise ValueError(f"no SNR\nof {snr}")
    return 0.5 / snr


@pytest.mark.parametrize(("rows", "correlation"), [(20, 0.99), (2000, 0.0)])
@pytest.mark.parametrize(
    ("function", "level"),
    [
        (flips, lambda snr: 0.013),  # rare
        (flips, lambda snr: min(1.0, 1 / snr)),  # at SNR 1 and below all labels are moved, and alike
        (flips, from_one),
        (flips, {3.0: 0.2, 7.0: 0.1, math.inf: 0.0}.__getitem__),
        (flips, lambda snr: (1 - 2 / snr) ** 0.5),  # complex below 2
        (flips, lambda snr: 1 - np.sqrt(1 - 1 / np.float64(snr))),  # NaN below 1, with a warning
        (keeps_variance, lambda snr: 1 / snr**0.5),
    ],
)
def test_noise_of_any_strength_is_accepted(
    function: Any, level: Any, rows: int, correlation: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    def own(key: Any, x: Any, y: Any, level: Any) -> Any:
        return function(key, x, y, level)

    process = make(own, monkeypatch, level=level)(correlation=correlation)
    x, y = clean("regression" if function is keeps_variance else "classification")
    assert process.fitted(x[:rows], y[:rows], n_classes=5, image_shape=None) == ()


def test_members_that_share_their_noise_may_have_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def own(key: Any, x: Any, y: Any, level: Any) -> Any:
        return constant(key, x, y, level)

    assert make(own, monkeypatch)(correlation=1.0).fitted(*clean("regression"), n_classes=1, image_shape=None) == ()


@pytest.mark.parametrize(
    ("attribute", "own", "asked", "says"),
    [
        ("level", from_one, 0.5, r"level\(0\.5\) raised ValueError: no SNR of 0\.5 \(from_one, line \d+\); it must"),
        ("level", lambda snr: math.nan, 4.0, r"level\(4\) returned nan: return a finite number"),
        ("level", lambda snr: 1j, 4.0, r"level\(4\) returned 1j: return a finite number"),
        ("level", lambda snr: "strong", 4.0, r"level\(4\) returned 'strong': return a finite number"),
        ("level", lambda snr: 0.1, math.inf, r"level\(inf\) returned 0\.1: infinite SNR means no noise; return 0"),
        ("level", lambda snr: snr / (1 + snr), math.inf, r"level\(inf\) returned nan"),
        ("target_variance", lambda level: 1 / 0, 0.5, r"target_variance\(0\.5\) raised ZeroDivisionError: .*line \d+"),
        ("target_variance", lambda level: None, 0.5, r"target_variance\(0\.5\) returned None"),
    ],
)
def test_numbers_that_are_none_are_told(
    attribute: str, own: Any, asked: float, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def function(key: Any, x: Any, y: Any, level: Any) -> Any:
        return flips(key, x, y, level)

    process = make(function, monkeypatch, **{attribute: own})()
    with pytest.raises(ConsilienceError, match=says):
        getattr(process, attribute)(asked)


def test_a_level_is_asked_for_the_snr_of_the_grid_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def own(key: Any, x: Any, y: Any, level: Any) -> Any:
        return x, y + level * jax.random.normal(key, y.shape)

    make(own, monkeypatch, level=from_one)
    changes = {"noise": {"process": own}, "grid.n_train": [20]}
    assert Plan(study(EXACT, {**changes, "grid.snr": [1.0]})).template() is not None
    with pytest.raises(ConsilienceError, match=r"level\(0\.25\) raised ValueError"):
        Plan(study(EXACT, {**changes, "grid.snr": [0.25]}))


def test_a_function_is_a_process_until_it_is_defined_anew() -> None:
    def own(key: Any, x: Any, y: Any, level: Any, scale: float = 1.0) -> Any:
        return x, y + scale * level * jax.random.normal(key, y.shape)

    first = study(EXACT, {"noise": {"process": own, "scale": 2.0}})
    assert first.noise.process.scale == 2.0
    assert study(EXACT, {"noise": {"process": own, "scale": 2.0}}) == first

    def anew(key: Any, x: Any, y: Any, level: Any) -> Any:
        return x, y

    anew.__qualname__ = own.__qualname__
    assert type(study(EXACT, {"noise": {"process": anew}}).noise.process).function is anew


def test_facts_are_the_function_s() -> None:
    laplace, salt = PROCESSES[LAPLACE], PROCESSES[SALT]
    assert laplace.name == LAPLACE
    assert laplace.title == "Laplace noise on targets"
    assert (laplace.corrupts, salt.corrupts) == ("labels", "inputs")
    assert (laplace.tasks, salt.tasks) == ({"regression"}, {"regression", "classification"})
    assert laplace().level(4) == 0.5
    assert laplace().target_variance(0.5) == 1.25
    assert salt().target_variance(0.5) == 1
    p = salt().level(2.0)
    assert (1 - p) ** 2 / (1 - p + 4 * p - (1 - p) ** 2) == pytest.approx(2.0)
    assert LAPLACE not in list(PROCESSES)  # it can be looked up and is not listed
    assert PROCESSES[LAPLACE] is laplace


def test_options_are_the_parameters() -> None:
    process = PROCESSES[LAPLACE](scale=2.0, correlation=0.25)
    assert (process.scale, process.correlation) == (2.0, 0.25)
    _, y = clean("regression")
    once, twice = (apply(PROCESSES[LAPLACE](scale=scale))[1] - y[:3] for scale in (1.0, 2.0))
    assert jnp.allclose(2 * once, twice, atol=1e-5)
    assert process == PROCESSES[LAPLACE](scale=2.0, correlation=0.25)
    assert hash(process) == hash(PROCESSES[LAPLACE](scale=2.0, correlation=0.25)) != hash(PROCESSES[LAPLACE]())


def test_lists_become_hashable(monkeypatch: pytest.MonkeyPatch) -> None:
    def several(key, x, y, level, weights=(1.0, 2.0), *, table):
        return x, y

    process = make(several, monkeypatch)(table=[[1, 2], [3]])
    assert process.table == ((1, 2), (3,))
    assert process.weights == (1.0, 2.0)
    assert pickle.loads(pickle.dumps(process)) == process


def test_study_file_pickle_and_hash() -> None:
    original = study(EXACT, {"noise": {"process": LAPLACE, "scale": 0.5, "correlation": 0.5}})
    assert original.noise.process == PROCESSES[LAPLACE](scale=0.5, correlation=0.5)
    again = [
        reread(original),
        pickle.loads(pickle.dumps(original)),
        study(EXACT, {"noise": {"process": original.noise.process}}),
    ]
    for other in again:
        assert other == original
        assert [cell.hash for cell in other.cells()] == [cell.hash for cell in original.cells()]
    changed = study(EXACT, {"noise": {"process": LAPLACE, "scale": 0.75, "correlation": 0.5}})
    assert not {cell.hash for cell in changed.cells()} & {cell.hash for cell in original.cells()}


def test_it_may_be_an_axis_and_its_options_may() -> None:
    of = study(EXACT, axes={"noise.process": ["label-gaussian", LAPLACE]})
    assert [of.at({"noise.process": name}).noise.process.name for name in of.grid.axes["noise.process"]] == [
        "label-gaussian",
        LAPLACE,
    ]
    of = study(EXACT, {"noise": {"process": LAPLACE}}, axes={"noise.scale": [1.0, 2.0]})
    assert Plan(of).ensemble(of.cells()[1]).process.scale == 2.0


def test_no_theory_is_drawn_over_it() -> None:
    of = study(EXACT, {"noise": {"process": LAPLACE}, "grid.snr": [1.0], "grid.n_train": [20]})
    template = Plan(of).template()
    assert "No theory is drawn" in template.attrs["theory"]


@pytest.mark.parametrize(
    ("noise", "message"),
    [
        ({"process": "no.such.module:f"}, "cannot import 'no.such.module'"),
        ({"process": f"{HERE}:lapplace"}, "has no 'lapplace'"),
        ({"process": f"{HERE}:N"}, "is int and cannot be called"),
        ({"process": ":f"}, "write it as 'package.module:function'"),
        ({"process": f"{HERE}:clean"}, "it takes \\(key, x, y, level\\)"),
        ({"process": LAPLACE, "scael": 2}, "did you mean 'scale'"),
        ({"process": LAPLACE, "scale": "large"}, "scale"),
        ({"process": LAPLACE, "correlation": 2}, "correlation = 2"),
    ],
)
def test_mistakes_are_told(noise: dict[str, Any], message: str) -> None:
    with pytest.raises(ConsilienceError, match=message):
        study(EXACT, {"noise": noise})


def test_the_working_directory_is_importable(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "noise_of_mine.py").write_text("def f(): return 1\n")
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    monkeypatch.chdir(tmp_path)
    assert resolve("noise_of_mine:f", what="example")() == 1


@pytest.mark.parametrize(
    ("function", "attributes", "message"),
    [
        (lambda key, x, y, level: x, {}, "return \\(x, y\\)"),
        (lambda key, x, y, level: (x, y[:1]), {}, "returned y of shape \\(1,\\)"),
        (lambda key, x, y, level: (x, jnp.int32(y)), {}, "returned y of shape .* type int32"),
        (lambda key, x, y, level: (x + 1, y), {"corrupts": "labels"}, "returned another x"),
        (lambda key, x, y, level, *more: (x, y), {}, "it takes"),
        (lambda key, x, y, level, correlation=0: (x, y), {}, "'correlation' is an option of every process"),
        (lambda key, x, y, level: (x, y), {"corrupts": "both"}, "must be 'labels' or 'inputs'"),
        (lambda key, x, y, level: (x, y), {"tasks": ["ranking"]}, "must be"),
    ],
)
def test_functions_that_are_no_noise_are_refused(
    function: Any, attributes: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConsilienceError, match=message):
        apply(make(function, monkeypatch, **attributes)())


def test_members_and_samples_have_their_own_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    def keys(key, x, y, level):
        return x, y * 0 + jax.random.uniform(key)

    process = make(keys, monkeypatch)()
    drawn = {float(value) for value in apply(process)[1][:, 0]}
    assert len(drawn) == 3
    assert math.isclose(min(drawn), float(apply(process)[1][:, 0].min()))

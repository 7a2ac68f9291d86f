"""A user's own network: found, given its options, checked, trained, and written in a study."""

from __future__ import annotations

import pickle
from dataclasses import replace

import jax
import numpy as np
import pytest

from consilience.errors import ConsilienceError
from consilience.study import Study
from consilience.train import NETWORKS, Cell, Sizes, TrainOptions, count_parameters, layer_widths, train

MODULE = '''
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np


class Gated(eqx.Module):
    first: eqx.nn.Linear
    gate: eqx.nn.Linear
    last: eqx.nn.Linear
    activation: object  # a leaf that is no array
    mask: np.ndarray  # a constant

    def __call__(self, x):
        hidden = self.activation(jax.vmap(self.first)(x)) * jax.nn.sigmoid(jax.vmap(self.gate)(x)) * self.mask
        return {"output": jax.vmap(self.last)(hidden), "gated": hidden}


def gated(n_inputs, n_outputs, *, key, width=8, sides=(1, 1)):
    """Gated units."""
    keys = jax.random.split(key, 3)
    linear = eqx.nn.Linear
    return Gated(linear(n_inputs, width, key=keys[0]), linear(n_inputs, width, key=keys[1]),
                 linear(width, n_outputs, key=keys[2]), jnp.tanh, np.ones(width, np.float32))


class Broken(eqx.Module):
    weight: object
    how: str = eqx.field(static=True)

    def __call__(self, x):
        y = x @ self.weight
        return {"array": y, "no output": {"hidden": y}, "wide": {"output": jnp.hstack([y, y])},
                "deep": {"map": y[:, None], "output": y}, "none": None}[self.how]


def broken(n_inputs, n_outputs, *, key, how="array"):
    if how == "raises":
        raise ValueError("no such luck")
    if how == "list":
        return [1]
    if how == "integer":
        return Broken({"w": jnp.zeros((n_inputs, n_outputs)), "i": jnp.arange(3)}, "array")
    if how == "shape":
        return Broken(jnp.zeros((n_inputs + 1, n_outputs)), "array")
    return Broken(jnp.zeros((n_inputs, n_outputs)), how)


class Coupled(eqx.Module):
    weight: object

    def __call__(self, x):
        y = x @ self.weight
        return {"hidden": y - y.mean(0), "output": y}


def coupled(n_inputs, n_outputs, *, key):
    return Coupled(jax.random.normal(key, (n_inputs, n_outputs)))


def anything(n_inputs, n_outputs, *, key, **options):
    return None


number = 3
'''
SIZES = Sizes(5, 3)


@pytest.fixture(scope="module", autouse=True)
def in_a_folder_with_the_module(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    (folder / "own_networks_of_a_user.py").write_text(MODULE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield


def kind(name="gated"):
    return f"own_networks_of_a_user:{name}"


def test_options_are_the_functions_parameters():
    options = NETWORKS[kind()](width=4)
    assert (options.width, options.sides, options.init_scale) == (4, (1, 1), 1.0)
    assert layer_widths(options, SIZES) == {"gated": 4, "output": 3}
    assert list(layer_widths(options, SIZES)) == ["gated", "output"]
    assert count_parameters(options, SIZES) == 2 * (5 * 4 + 4) + 4 * 3 + 3
    assert options != NETWORKS[kind()](width=5)
    assert pickle.loads(pickle.dumps(options)) == options
    assert hash(NETWORKS[kind()](sides=[1, 2])) == hash(NETWORKS[kind()](sides=(1, 2)))


def test_rows_that_see_each_other_are_refused():
    NETWORKS[kind()]().check(SIZES)
    with pytest.raises(ConsilienceError, match="layer 'hidden' says of a row what depends on the others"):
        NETWORKS[kind("coupled")]().check(SIZES)


def test_it_trains_in_the_compiled_program(ensemble):
    study = ensemble("classification", members=3, n_max=24)
    options = TrainOptions(learning_rate=0.02, steps=400, batch="full")
    network = NETWORKS[kind()]()
    cells = [Cell(20, 0.0, replace(network, init_scale=scale), options) for scale in (1.0, 0.5)]
    found = dict(train(study, cells))
    assert study.spec(cells[0]) == study.spec(cells[1])
    for trained in found.values():
        assert np.all(trained.train_error == 0)
        assert trained.layers["gated"].shape == (3, 40, 8)
    assert not np.allclose(found[0].layers["gated"], found[1].layers["gated"])


def study(**network):
    return Study(
        data={"source": "digits"},
        noise={"process": "label-flip"},
        network={"kind": kind(), **network},
        grid={"snr": [1], "n_train": [50, 200], "members": 2, "network.width": [4, 6]},
    )


def test_a_study_keeps_it_through_tables_toml_and_pickle(tmp_path):
    one = study(sides=[2, 3], init_scale=0.5)
    assert one.tables()["network"] == {"kind": kind(), "init_scale": 0.5, "width": 8, "sides": [2, 3]}
    path = tmp_path / "study.toml"
    path.write_text(one.toml())
    for again in (Study(**one.tables()), Study.load(path), pickle.loads(pickle.dumps(one))):
        assert again == one
        assert [cell.hash for cell in again.cells()] == [cell.hash for cell in one.cells()]
    assert {one.at({"network.width": w}).network.width for w in (4, 6)} == {4, 6}
    assert len({cell.hash for cell in one.cells()}) == 4


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("raises", "raised ValueError: no such luck"),
        ("list", "returned list: return an equinox.Module"),
        ("integer", r"the module's weight\['i'\] is an array of int32"),
        ("array", "returned .*: return a dictionary of activations"),
        ("no output", r"returned layers \['hidden'\]"),
        ("wide", "output has 6 columns: these data have n_outputs = 3"),
        ("deep", r"layer 'map' is float32 \(3, 1, 3\)"),
        ("none", "returned NoneType"),
        ("shape", r"fails on inputs \(3, 5\)"),
    ],
)
def test_what_is_no_network_is_refused(how, says):
    with pytest.raises(ConsilienceError, match=rf"network.kind = '{kind('broken')}'.*{says}"):
        NETWORKS[kind("broken")](how=how).build(SIZES, key=jax.random.key(0))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("no_such_module_anywhere:f", "cannot import 'no_such_module_anywhere'"),
        (kind("absent"), "has no 'absent'"),
        (kind("number"), "number is int and cannot be called"),
        (kind("anything"), r"has parameters .*\*\*options.*each by name"),
        ("own_networks_of_a_user:", "package.module:function"),
    ],
)
def test_what_is_no_function_is_refused(name, says):
    with pytest.raises(ConsilienceError, match=says):
        NETWORKS[name]


def test_options_it_does_not_have_are_refused():
    with pytest.raises(ConsilienceError, match=r"widht = 3: not an option of .* did you mean 'width'"):
        study(widht=3)

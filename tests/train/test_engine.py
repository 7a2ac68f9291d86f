"""Cells to programs and back: rows independent of their company, one compilation, sharing, costs, devices."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import jax
import numpy as np
import pytest

from consilience.errors import ConsilienceError
from consilience.train import (
    Cell,
    Linear,
    TrainOptions,
    bytes_per_network,
    compile_program,
    count_parameters,
    devices,
    engine,
)

NEGLIGIBLE = 1e-30  # a learning rate that leaves every float32 weight as it was

# Gradient descent ends at the exact solution up to terms linear in the size of its initial weights (what they hold
# outside the span of the data) and, for the balance of the two layers, linear in the length of its steps.
INIT_SCALE, RATE = 1e-3, 0.05
OUTPUT_GAP, KERNEL_GAP = 3 * INIT_SCALE, 3 * INIT_SCALE + RATE / 20


def varied(cell):
    """Five cells that are rows of one program."""
    fast = replace(cell.options, learning_rate=2 * cell.options.learning_rate)
    return [
        cell,
        cell._replace(n_train=7),
        cell._replace(level=0.0, n_train=150),
        cell._replace(options=fast),
        cell._replace(network=replace(cell.network, init_scale=0.4), n_train=64),
    ]


@pytest.mark.parametrize("name", ["sgd", "heavy", "full heavy"])
def test_a_cell_alone_is_the_cell_among_others_in_any_order(name, case, trained, assert_same_bits):
    study, cell = case(name)
    cells = varied(cell)
    order = [3, 0, 4, 2, 1]
    expected = trained(study, cells)
    for index, found in zip(order, trained(study, [cells[index] for index in order]), strict=True):
        assert_same_bits(found, expected[index])
    for index in (1, 4):
        assert_same_bits(trained(study, [cells[index]])[0], expected[index])


def test_one_device_gives_the_bits_of_two(case, trained, assert_same_bits):
    """Full batch, input noise and unshared inputs at once; ensembles of any size, below, train on minibatches."""
    study, cell = case("full heavy")
    cells = varied(cell)
    for one, two in zip(trained(study, cells, devices=1), trained(study, cells, devices=2), strict=True):
        assert_same_bits(one, two)
    assert_same_bits(trained(study, cells[:1], devices=1)[0], trained(study, cells[:1], devices=2)[0])


@pytest.mark.parametrize(("members", "used"), [(3, 2), (5, 2), (8, 1)])
def test_a_member_is_the_same_in_an_ensemble_of_any_size_on_any_devices(members, used, case, trained, assert_same_bits):
    small, cell = case("sgd")
    large, _ = case("sgd", members=members)
    cells = varied(cell)
    for one, expected, found in zip(cells, trained(small, cells), trained(large, cells, devices=used), strict=True):
        assert found.train_loss.shape == (members,)
        assert_same_bits(jax.tree.map(lambda leaf: leaf[: small.members], found), expected)
        if one.level > 0:
            assert len(np.unique(found.train_loss)) == members


def test_rows_that_do_not_fill_a_call_have_the_bits_they_have_in_one(case, trained, assert_same_bits):
    study, cell = case("sgd", members=3)
    program = compile_program(study, study.spec(cell), devices=2)
    assert program.rows_per_call == 6
    found = jax.tree.map(lambda leaf: np.asarray(leaf)[: study.members], program(study.rows([cell])))
    assert_same_bits(found, trained(study, [cell])[0])


def test_cells_of_several_programs_find_their_way_back(case, trained, assert_same_bits):
    study, cell = case("sgd")
    exact = TrainOptions(solver="exact")
    cells = [cell._replace(options=exact), cell, cell._replace(n_train=20, options=exact), cell._replace(n_train=20)]
    cells[0] = cells[0]._replace(n_train=70)
    for one, found in zip(cells, trained(study, cells), strict=True):
        assert_same_bits(found, trained(study, [one])[0])


def test_no_cells_are_no_work(case, trained):
    assert trained(case("sgd")[0], []) == []


# Whether two members come out the same: (without noise, without noise and without learning).
SHARING = {
    "sgd": (True, True),  # inputs, initialization and batches
    "adam": (False, True),  # all but batches
    "full heavy": (False, True),  # initialization; a full batch leaves inputs to differ
    "full adam": (False, False),  # inputs; a full batch leaves initialization to differ
    "heavy": (False, False),  # nothing
}


@pytest.mark.parametrize("name", SHARING)
def test_members_share_what_the_ensemble_says_and_nothing_else(name, case, trained):
    study, cell = case(name)
    clean = cell._replace(level=0.0)
    still = clean._replace(options=replace(cell.options, learning_rate=NEGLIGIBLE))
    found = trained(study, [cell, clean, still])
    same = tuple(np.array_equal(*one.layers["output"]) for one in found)
    assert same == (False, *SHARING[name])  # noise is always a member's own


def test_a_grid_over_data_of_the_program_compiles_once(case, trained, monkeypatch):
    study, cell = case("heavy")
    constructed, compiled = [], []

    class Counted(engine.Program):
        def __init__(self, *args, **kwargs):
            constructed.append(args[0])
            super().__init__(*args, **kwargs)

    def listen(event, seconds, **details):
        compiled.append(event)

    monkeypatch.setattr(engine, "Program", Counted)
    axes = [
        [cell._replace(options=replace(cell.options, learning_rate=rate)) for rate in (0.01, 0.05)],
        [cell._replace(options=replace(cell.options, weight_decay=decay)) for decay in (1e-4, 0.2)],
        [cell._replace(network=replace(cell.network, init_scale=scale)) for scale in (0.1, 3.0)],
        [cell._replace(n_train=n) for n in (1, 64, 65, 150)],
        [cell._replace(level=level) for level in (0.0, 2.0)],
    ]
    grid = [one for axis in axes for one in axis]
    trained(study, [cell])  # whatever is compiled on first use anywhere
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        constructed.clear()
        trained(study, [cell])
        for_one_cell = len(compiled)
        found = trained(study, grid)
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert len(constructed) == 2  # one for each of the two calls
    assert 0 < len(compiled) == 2 * for_one_cell
    assert len({float(one.train_loss[0]) for one in found}) == len(grid)  # every value had its effect


def test_gradient_descent_from_small_weights_reaches_the_exact_solution(ensemble, splits, trained):
    data = splits("regression", n_pool=40, n_inputs=5, n_outputs=2)
    study = ensemble(splits=data)
    network = Linear(hidden=(6,), init_scale=INIT_SCALE)
    descent = TrainOptions(optimizer="sgd", learning_rate=RATE, steps=4096, batch="full")
    exact = TrainOptions(solver="exact")
    cells = [Cell(n_train, 0.3, network, options) for n_train in (3, 40) for options in (descent, exact)]
    assert all(np.linalg.cond(data.train_x[: one.n_train]) < 4 for one in cells)
    found = trained(study, cells)
    for reached, solved in (found[:2], found[2:]):
        outputs = [one.layers["output"] for one in (reached, solved)]
        kernels = [
            hidden @ np.swapaxes(hidden, 1, 2) for hidden in (one.layers["hidden_1"] for one in (reached, solved))
        ]
        np.testing.assert_allclose(*outputs, rtol=0, atol=OUTPUT_GAP * np.max(np.abs(outputs[1])))
        np.testing.assert_allclose(*kernels, rtol=0, atol=KERNEL_GAP * np.max(np.abs(kernels[1])))
        np.testing.assert_allclose(reached.train_loss, solved.train_loss, atol=OUTPUT_GAP)


def test_bytes_per_network_hold_at_least_what_is_the_networks_own(any_case):
    study, cell = any_case
    found = bytes_per_network(study, study.spec(cell))
    weights = count_parameters(cell.network, study.sizes("adam"))
    layers = len(study.splits.probe_x) * (sum(cell.network.hidden) + study.splits.n_outputs)
    assert isinstance(found, int)
    assert found > 4 * (2 * weights + layers + study.n_max)  # float32 weights, gradient, representations, labels


def test_bytes_per_network_follow_what_a_network_holds(case):
    study, cell = case("sgd")
    cell = cell._replace(n_train=1)

    def extra(other, **options):
        large = replace(cell.network, **options) if options else cell.network
        return bytes_per_network(other, other.spec(cell._replace(network=large))) - bytes_per_network(
            study, study.spec(cell)
        )

    assert extra(study, hidden=(1000,)) > 4 * 996 * (study.splits.d + study.splits.n_outputs)
    assert extra(replace(study, n_max=50)) == -4 * 100 * study.splits.n_outputs
    inputs = 4 * study.n_max * study.splits.d
    assert extra(replace(study, shared=frozenset())) == inputs
    noisy, same = case("full heavy")
    alone = replace(noisy, shared=frozenset({"inputs"}))  # noise makes inputs a member's own all the same
    assert bytes_per_network(noisy, noisy.spec(same)) == bytes_per_network(alone, alone.spec(same))


def test_devices_are_all_or_the_first_few():
    assert devices() == jax.devices()
    assert devices(1) == jax.devices()[:1]
    assert devices(len(jax.devices())) == jax.devices()


@pytest.mark.parametrize("beyond", [-1, 0, 1000])
def test_a_number_of_devices_that_is_not_there_is_refused(beyond):
    with pytest.raises(ConsilienceError, match=rf"devices = {beyond}: this process has {len(jax.devices())}"):
        devices(beyond)


def test_training_on_devices_that_are_not_there_is_refused(case, trained):
    study, cell = case("sgd")
    with pytest.raises(ConsilienceError, match="devices = 1000"):
        trained(study, [cell], devices=1000)


def test_devices_are_found_where_the_system_has_no_processor_affinity(monkeypatch):
    """macOS and Windows."""
    monkeypatch.delattr(os, "sched_getaffinity")
    assert devices() == jax.devices()


def test_settings_of_the_user_s_jax_do_not_change_results(tmp_path):
    """64-bit mode and another generator of random numbers are for the user's own programs."""
    script = tmp_path / "train.py"
    script.write_text(
        "from consilience import train\n"
        "from consilience.data import LinearTeacher, LabelGaussian, prepare\n"
        "splits = prepare(LinearTeacher(n_features=3), n_train=8, n_test=8, n_probe=8)\n"
        "ensemble = train.Ensemble(splits, LabelGaussian(), frozenset({'inputs'}), 2, 0, 8)\n"
        "cell = train.Cell(8, 0.5, train.Linear(hidden=(2,)), train.TrainOptions(steps=33, batch=4))\n"
        "[(_, found)] = train.train(ensemble, [cell])\n"
        "print(found.layers['output'].tobytes().hex())\n"
        # What is drawn outside of a program: the exact solver's training sets, and those of a trainer.
        "from consilience.data import Digits, LabelFlip\n"
        "splits = prepare(Digits(), n_train=64, pool=4)\n"
        "ensemble = train.Ensemble(splits, LabelFlip(), frozenset(), 2, 0, 64, resample='bootstrap')\n"
        "options = train.TrainOptions(solver='exact', loss='squared-error')\n"
        "[(_, found)] = train.train(ensemble, [train.Cell(64, 0.5, train.Linear(hidden=(10,)), options)])\n"
        "print(found.layers['output'].tobytes().hex())\n"
    )

    def output(**settings):
        environment = os.environ | settings
        found = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, timeout=120)
        assert found.returncode == 0, found.stderr
        return found.stdout

    assert output() == output(JAX_ENABLE_X64="1", JAX_DEFAULT_PRNG_IMPL="rbg")

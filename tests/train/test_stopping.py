"""Stopping at a loss, early stopping on held-out rows, and looks at networks on the way."""

from __future__ import annotations

from dataclasses import replace

import jax
import numpy as np
import pytest
from tests.train.test_program import FLOAT32_TRAINING, Reference

from consilience.errors import ConsilienceError
from consilience.train import MLP, Cell, TrainOptions, bytes_per_network, engine
from consilience.train.optimize import DRAWS

NETWORK = MLP((6,), activation="tanh")
PLAIN = TrainOptions(optimizer="sgd", learning_rate=0.1, steps=3 * DRAWS, batch=8)
ENDLESS = replace(PLAIN, steps=10**9, stop_loss=1.0)  # hours, unless it stops
HOLDING = replace(PLAIN, learning_rate=0.3, steps=20 * DRAWS + 5, validation=0.4, patience=3)
N, LEVEL = 20, 0.8
CHECKS = (DRAWS, 2 * DRAWS, 3 * DRAWS)


def at(trajectory, index):
    """What `Trained` says of the end, at one checkpoint."""
    return [
        getattr(trajectory, name)[:, index] for name in ("train_loss", "train_error", "test_loss", "test_error")
    ] + [trajectory.layers[name][:, index] for name in sorted(trajectory.layers)]


def end(found):
    losses = [found.train_loss, found.train_error, found.test_loss, found.test_error]
    return losses + [found.layers[name] for name in sorted(found.layers)]


@pytest.fixture
def followed(ensemble, trained):
    (found,) = trained(ensemble(), [Cell(N, LEVEL, NETWORK, PLAIN, CHECKS)])
    return found


def test_members_stop_at_the_first_check_below_the_loss_and_cost_no_more(ensemble, trained, followed, monkeypatch):
    """Bit for bit the network that was there; all targets are one program."""
    programs = []

    class Counted(engine.Program):
        def __init__(self, *args, **kwargs):
            programs.append(args[0])
            super().__init__(*args, **kwargs)

    monkeypatch.setattr(engine, "Program", Counted)
    losses = followed.trajectory.train_loss  # (members, checks)
    targets = [float(np.max(losses[:, i])) for i in range(3)]
    cells = [Cell(N, LEVEL, NETWORK, replace(ENDLESS, stop_loss=target)) for target in targets]
    found = trained(ensemble(), cells)
    assert len(programs) == 1
    seen = set()
    for target, one in zip(targets, found, strict=True):
        for member in range(2):
            check = int(np.argmax(losses[member] <= target))
            seen.add(check)
            assert one.stopped_at[member] == one.kept_at[member] == CHECKS[check]
            assert one.train_loss[member] <= target
            for stopped, passed in zip(end(one), at(followed.trajectory, check), strict=True):
                np.testing.assert_array_equal(stopped[member], passed[member])
    assert len(seen) > 1


def test_early_stopping_keeps_the_weights_best_on_held_out_rows(ensemble, trained, realization):
    """Against a float64 reference trained on the other rows for every number of steps there is a check after."""
    study = ensemble()
    cell = Cell(N, LEVEL, NETWORK, HOLDING, (1, HOLDING.steps - 1, HOLDING.steps))
    (found,) = trained(study, [cell])
    fitted = N - HOLDING.held_out(N)
    checks = [*range(DRAWS, HOLDING.steps, DRAWS), HOLDING.steps]
    assert fitted == 12
    for member in range(study.members):
        x, y = realization(study, cell, member)
        references = {}
        for steps in checks:
            options = replace(PLAIN, learning_rate=HOLDING.learning_rate, steps=steps)
            reference = Reference(study, cell._replace(n_train=fitted, options=options), member)
            network = reference.train(x[:fitted], y[:fitted])
            held = reference.loss(reference.forward(network, x[fitted:])[1][-1], y[fitted:])
            references[steps] = reference, network, held
        kept, stopped = _rule([references[steps][2] for steps in checks], checks)
        assert (found.kept_at[member], found.stopped_at[member]) == (kept, stopped)
        reference, network, _ = references[kept]
        output = reference.forward(network, study.splits.probe_x)[1][-1]
        tolerance = {"rtol": 5 * FLOAT32_TRAINING, "atol": 5 * FLOAT32_TRAINING}
        np.testing.assert_allclose(found.layers["output"][member], output, **tolerance)
        # Errors are over the rows trained on.
        loss = reference.loss(reference.forward(network, x[:fitted])[1][-1], y[:fitted])
        np.testing.assert_allclose(found.train_loss[member], loss, **tolerance)
        np.testing.assert_allclose(found.train_error[member], loss / (1 + LEVEL**2), **tolerance)
    assert np.all(found.kept_at < found.stopped_at)
    # After a member has stopped the way stays where it ended; before, it is the network in training.
    for index in (1, 2):
        for passed, last in zip(at(found.trajectory, index), end(found), strict=True):
            np.testing.assert_array_equal(passed, last)
    assert np.all(found.trajectory.train_loss[:, 0] > found.train_loss)


def _rule(held, checks):
    best, waited = 0, 0
    for i, loss in enumerate(held):
        best, waited = (i, 0) if i == 0 or loss < held[best] else (best, waited + 1)
        if waited == HOLDING.patience:
            return checks[best], checks[i]
    return checks[best], -1


def test_a_training_set_too_small_to_hold_out_of_is_refused(ensemble):
    with pytest.raises(ConsilienceError, match=r"validation = 0\.4: leaves nothing to train on of n_train = 1"):
        ensemble().spec(Cell(1, LEVEL, NETWORK, HOLDING))
    assert ensemble().spec(Cell(2, LEVEL, NETWORK, HOLDING)).options.validation


def test_shares_held_out_and_targets_are_data_of_one_program(ensemble):
    study = ensemble()
    cell = Cell(N, LEVEL, NETWORK, HOLDING)
    for options in (replace(HOLDING, validation=0.1), replace(HOLDING, learning_rate=1.0)):
        assert study.spec(cell._replace(options=options)) == study.spec(cell)
    stopping = replace(PLAIN, stop_loss=0.1)
    assert study.spec(cell._replace(options=stopping)) == study.spec(
        cell._replace(options=replace(stopping, stop_loss=2.0))
    )
    assert study.spec(cell._replace(options=stopping)) != study.spec(cell._replace(options=PLAIN))


def test_early_stopping_has_no_weights_to_keep_of_a_member_that_diverged(ensemble, trained):
    wild = replace(HOLDING, learning_rate=1e30)
    (found,) = trained(ensemble(), [Cell(N, LEVEL, NETWORK, wild, (1, HOLDING.steps - 1, HOLDING.steps))])
    assert found.diverged_at.tolist() == [1, 1]
    assert found.kept_at.tolist() == [0, 0]


def test_a_diverged_member_goes_no_further_and_has_not_stopped(ensemble, trained):
    wild = replace(ENDLESS, learning_rate=1e30, stop_loss=1e-9)
    (found,) = trained(ensemble(), [Cell(N, LEVEL, NETWORK, wild)])
    assert found.diverged_at.tolist() == [1, 1]
    assert found.stopped_at.tolist() == [-1, -1]
    holding = replace(wild, stop_loss=0.0, validation=0.2)
    (found,) = trained(ensemble(), [Cell(N, LEVEL, NETWORK, holding)])
    assert found.diverged_at.tolist() == [1, 1]
    assert found.stopped_at.tolist() == [-1, -1]


@pytest.mark.parametrize("name", ["heavy", "full adam"])
def test_looking_on_the_way_changes_no_bit_of_the_result(name, case, trained, assert_same_bits):
    """Checkpoints within a draw of batches, at its end, in the last; of networks that went no further."""
    study, cell = case(name)
    steps = cell.options.steps
    checkpoints = (1, 5, DRAWS, DRAWS + 1, steps)
    cells = [cell, cell._replace(n_train=7)]
    plain = trained(study, cells)
    looked = trained(study, [one._replace(checkpoints=checkpoints) for one in cells])
    for one, other in zip(plain, looked, strict=True):
        assert_same_bits(one, other._replace(trajectory=None))
        assert np.array_equal(other.trajectory.steps, [checkpoints] * study.members)
        for passed, last in zip(at(other.trajectory, len(checkpoints) - 1), end(one), strict=True):
            np.testing.assert_array_equal(passed, last)
        assert all(len(np.unique(losses)) == len(checkpoints) for losses in other.trajectory.test_loss)


def test_checkpoints_beyond_the_end_are_left_out_and_the_rest_take_memory(ensemble):
    study = ensemble()
    cell = Cell(N, LEVEL, NETWORK, PLAIN)
    followed = cell._replace(checkpoints=(1, 2, 10**6))
    assert study.spec(followed).checkpoints == (1, 2)
    more = bytes_per_network(study, study.spec(followed)) - bytes_per_network(study, study.spec(cell))
    assert more == 2 * 4 * 2 * len(study.splits.probe_x) * (6 + study.splits.n_outputs)
    assert jax.tree.leaves(study.spec(cell).checkpoints) == []

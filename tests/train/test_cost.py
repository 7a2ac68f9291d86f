"""Costs of training: extrapolated from few steps of the very program, and near what training takes."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from consilience.train import TrainOptions, compile_program, cost, training_cost


@pytest.fixture
def clock(monkeypatch):
    """A program that takes `start` and `step` for each step and block of rows, on a clock of its own."""
    now = [0.0]
    compiling, start, step = 3.0, 0.25, 0.001

    def compile_fake(ensemble, spec, *, n_cells=1, devices=None):
        now[0] += compiling

        def program(rows, *, limit):
            blocks = np.mean(np.ceil(rows.n_train / 64))
            now[0] += start + step * blocks * min(limit, spec.options.steps)
            return np.zeros(len(rows.n_train))

        program.rows_per_call = 4
        return program

    monkeypatch.setattr(cost, "compile_program", compile_fake)
    monkeypatch.setattr(cost, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    return compiling, start, step


@pytest.mark.parametrize("steps", [1, 32, 100, 10_000])
def test_a_cost_linear_in_steps_and_blocks_is_predicted_exactly(steps, case, clock):
    study, cell = case("sgd")
    compiling, start, step = clock
    cell = cell._replace(options=replace(cell.options, steps=steps))
    cells = [cell._replace(n_train=n) for n in (1, 64, 65, 150, 65)]  # blocks 1, 1, 2, 3, 2
    found = training_cost(study, cells)
    calls = math.ceil(len(cells) * study.members / 4)
    assert found.compiling == pytest.approx(compiling)
    # The mean of 1.8 blocks is rounded to 2.
    assert found.training == pytest.approx(calls * (start + 2 * step * steps), rel=1e-9)


def test_fewer_steps_are_fewer_steps_of_the_same_program(case, assert_same_bits, trained):
    """What the calibration runs is the program itself: no second one is compiled for it."""
    study, cell = case("sgd")
    short = cell._replace(options=replace(cell.options, steps=33))
    program = compile_program(study, study.spec(cell))
    rows = study.rows([cell] * (program.rows_per_call // study.members))
    limited = jax.tree.map(lambda leaf: np.asarray(leaf)[: study.members], program(rows, limit=33))
    assert_same_bits(limited, trained(study, [short])[0])
    whole = jax.tree.map(lambda leaf: np.asarray(leaf)[: study.members], program(rows))
    assert_same_bits(whole, trained(study, [cell])[0])


def test_the_cost_is_near_what_training_takes(case, trained):
    """Within a factor of 30, since tests may share the machine; `benchmarks/cost.py` has the factor on an idle one."""
    study, cell = case("sgd")
    cells = [cell._replace(options=replace(cell.options, steps=20_000))] * 4
    found = training_cost(study, cells)
    start = time.perf_counter()
    trained(study, cells)
    taken = time.perf_counter() - start
    assert taken / 30 < found.compiling + found.training < taken * 30


def test_the_exact_solver_is_timed_once_for_each_n_train(case, monkeypatch):
    study, cell = case("sgd")
    now = [0.0]

    def solving(ensemble, cells, *, devices=None):
        now[0] += 0.5 + 0.125 * len(cells)
        return iter(())

    monkeypatch.setattr(cost, "train", solving)
    monkeypatch.setattr(cost, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    exact = cell._replace(options=TrainOptions(solver="exact"))
    cells = [exact._replace(n_train=n, level=level) for n in (5, 10, 20) for level in (0.0, 0.1, 0.2, 0.3)]
    assert training_cost(study, cells) == (0.0, pytest.approx(3 * 0.5 + 12 * 0.125))

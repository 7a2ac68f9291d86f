"""What training takes on this machine: the very program is compiled, run for a few steps, and extrapolated."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import jax
import numpy as np

from consilience.train.devices import n_cores
from consilience.train.engine import Cell, Ensemble, compile_program, train
from consilience.train.optimize import DRAWS
from consilience.train.program import Program
from consilience.train.realize import BLOCK
from consilience.train.trainer import Foreign, training_sets

__all__ = ["Cost", "training_cost"]

_LONG_ENOUGH = 0.2  # seconds of a run whose time is taken


class Cost(NamedTuple):
    """Seconds to train cells of one program on all devices."""

    compiling: float
    training: float


def training_cost(ensemble: Ensemble, cells: Sequence[Cell], *, devices: int | None = None, workers: int = 1) -> Cost:
    """Measure what it takes to train `cells`, all of one program, with all devices at work.

    The program is compiled, kept on disk for the run itself (`consilience.train.cache`), and trains networks with the
    cells' mean number of blocks of training rows: for few steps, then for more until they take a fifth of a second,
    which tells what a step takes and what is needed without any. The exact solver is run for one n_train, a trainer of
    the user's own for one member, and as many at a time as there are `workers` and cores for them.
    """
    if isinstance(cells[0].network, Foreign):
        compiling, training = _foreign(ensemble, cells)
        return Cost(compiling, training / min(workers, n_cores(), ensemble.members * len(cells)))
    if cells[0].options.solver == "exact":
        return Cost(0.0, _exact(ensemble, cells, devices))
    spec = ensemble.spec(cells[0])
    program = compile_program(ensemble, spec, n_cells=len(cells), devices=devices)
    # Again: the run, too, will find it on disk, unless nothing is kept.
    compiling = _seconds(lambda: compile_program(ensemble, spec, n_cells=len(cells), devices=devices))
    blocks = np.mean([math.ceil(cell.n_train / BLOCK) for cell in cells])
    typical = cells[0]._replace(n_train=min(ensemble.n_max, round(blocks) * BLOCK))
    cells_per_call = program.rows_per_call // ensemble.members
    calls = math.ceil(len(cells) / cells_per_call)
    call = _seconds_per_call(program, ensemble, [typical] * cells_per_call, cells[0].options.steps)
    return Cost(compiling, calls * call)


def _seconds_per_call(program: Program, ensemble: Ensemble, cells: Sequence[Cell], steps: int) -> float:
    """Extrapolate from two numbers of steps, the larger one long enough to be timed well."""
    rows = ensemble.rows(cells)

    def seconds(limit: int) -> float:
        return min(_seconds(lambda: jax.block_until_ready(program(rows, limit=limit))) for _ in range(2))

    few = min(steps, DRAWS)
    least = seconds(few)
    many = min(steps, 4 * few)
    most = seconds(many)
    while many < steps and most < _LONG_ENOUGH:
        many = min(steps, 4 * many)
        most = seconds(many)
    if many == few:
        return least
    return most + max(0.0, most - least) / (many - few) * (steps - many)


def _foreign(ensemble: Ensemble, cells: Sequence[Cell]) -> Cost:
    """One member at the cells' mean n_train stands for all; what draws their training sets is compiled once."""
    mean = np.mean([cell.n_train for cell in cells])
    typical = min(cells, key=lambda cell: abs(cell.n_train - mean))
    alone = replace(ensemble, members=1)
    compiling = _seconds(lambda: next(training_sets(alone, alone.spec(typical), [typical])))
    return Cost(compiling, _seconds(lambda: list(train(alone, [typical]))) * ensemble.members * len(cells))


def _exact(ensemble: Ensemble, cells: Sequence[Cell], devices: int | None) -> float:
    """Cells of one n_train share a factorization: what it takes is told by solving one cell, and two."""
    mean = np.mean([cell.n_train for cell in cells])
    typical = min(cells, key=lambda cell: abs(cell.n_train - mean))

    def solve(count: int) -> float:
        return _seconds(lambda: list(train(ensemble, [typical] * count, devices=devices)))

    solve(1)  # the realization of noise is compiled
    one = min(solve(1) for _ in range(2))
    another = max(0.0, solve(2) - one)
    factorizations = len({cell.n_train for cell in cells})
    return factorizations * max(0.0, one - another) + len(cells) * another


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start

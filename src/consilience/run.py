"""Run a study: the cells a run directory misses are trained, measured and written, one by one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil
import xarray as xr
from threadpoolctl import threadpool_limits

from consilience import train
from consilience.plan import Plan
from consilience.provenance import hardware, versions
from consilience.store import RunStore, open_run
from consilience.study import Cell, Study
from consilience.values import cell_values, layer_scores

__all__ = ["Estimate", "Progress", "compute", "default_folder", "estimate", "run"]

Progress = Callable[[int, int], None]


def default_folder(study: Study) -> Path:
    """Return ``runs/<name>``."""
    return Path("runs") / study.name


def run(
    study: Study,
    out: str | Path | None = None,
    *,
    devices: int | None = None,
    progress: Progress | None = None,
    order: Callable[[list[Cell]], list[Cell]] | None = None,
) -> xr.Dataset:
    """Train and measure every cell that the run directory misses, and return the whole run.

    Parameters
    ----------
    out
        Run directory, ``runs/<name>`` by default; created, or resumed when it holds the same study.
    devices
        How many CPU cores or accelerators to train on; all by default. The results do not depend on it.
    progress
        Called as ``progress(cells done, cells in all)`` at the start and after each cell is on disk.
    order
        Reorders the missing cells before they are computed. The results do not depend on it.

    Returns
    -------
    xarray.Dataset
        As `consilience.open_run` reads it; `consilience.store` lists the variables.

    Raises
    ------
    ConsilienceError
        When the data do not allow the study, or `out` holds something else. Nothing is written then.
    """
    folder = default_folder(study) if out is None else Path(out)
    RunStore.check(folder, study)
    started, clock = datetime.now(UTC), time.perf_counter()
    train.devices(devices)  # before anything else starts JAX
    plan = Plan(study)
    template = plan.template()
    with RunStore(folder, study) as store:
        store.create(template)
        missing = store.missing()
        n_cells = len(study.cells())
        done = n_cells - len(missing)
        if progress:
            progress(done, n_cells)
        written = 0
        # BLAS rounds differently with every number of threads, and results must not depend on it.
        single = threadpool_limits(1, user_api="blas")
        try:
            for cell, values in compute(plan, order(missing) if order else missing, devices=devices):
                store.write(cell, values)
                written += 1
                if progress:
                    progress(done + written, n_cells)
        finally:
            single.restore_original_limits()
            if written:
                store.record(
                    {
                        "started": started.isoformat(timespec="seconds"),
                        "wall_seconds": round(time.perf_counter() - clock, 3),
                        "cells": written,
                        "seed": study.seed,
                        "versions": versions(),
                        "hardware": hardware(devices),
                    }
                )
    return open_run(folder)


def compute(plan: Plan, cells: Sequence[Cell], *, devices: int | None = None) -> Iterator[tuple[Cell, dict[str, Any]]]:
    """Train and measure cells; yield each with its values for `RunStore.write` as it is finished."""
    ensembles: dict[int, tuple[train.Ensemble, list[Cell]]] = {}
    for cell in cells:
        ensemble = plan.ensemble(cell)
        ensembles.setdefault(id(ensemble), (ensemble, []))[1].append(cell)
    for ensemble, members_of in ensembles.values():
        asked = [plan.training(cell) for cell in members_of]
        for index, trained in train.train(ensemble, asked, devices=devices):
            steps = asked[index].options.steps
            yield members_of[index], cell_values(plan, trained, ensemble.splits.probe_y, steps=steps)


class Estimate(NamedTuple):
    """What a run will take on this machine."""

    networks: int
    seconds: float
    memory_bytes: int


def estimate(plan: Plan, *, devices: int | None = None) -> Estimate:
    """Estimate time and memory of the whole study by training and measuring a little of it.

    Each program is compiled, and timed on a few steps at its mean n_train; the measures are timed on random
    representations of one cell's shape.
    """
    cells = plan.study.cells()
    programs: dict[Any, list[Cell]] = {}
    for cell in cells:
        ensemble = plan.ensemble(cell)
        programs.setdefault((id(ensemble), ensemble.spec(plan.training(cell))), []).append(cell)
    seconds, held = 0.0, 0
    for (_, spec), together in programs.items():
        ensemble = plan.ensemble(together[0])
        mean = np.mean([cell.coordinates["n_train"] for cell in together])
        typical = min(together, key=lambda cell: abs(cell.coordinates["n_train"] - mean))
        start = time.perf_counter()
        if spec.options.solver == "gradient":
            train.compile_program(ensemble, spec, n_cells=len(together), devices=devices)
        seconds += time.perf_counter() - start
        per_network = train.seconds_per_network(
            ensemble, plan.training(typical), n_cells=len(together), devices=devices
        )
        seconds += per_network * len(together) * ensemble.members
        looks = 1 + len(spec.checkpoints)
        seconds += looks * _seconds_measuring(plan, ensemble, typical) * len(together)
        arrays = (ensemble.splits.train_x, ensemble.splits.test_x, ensemble.splits.probe_x)
        networks = max(2 * len(train.devices(devices)), ensemble.members)
        held = max(held, 2 * sum(a.nbytes for a in arrays) + networks * train.bytes_per_network(ensemble, spec))
    return Estimate(len(cells) * plan.study.grid.members, seconds, held + psutil.Process().memory_info().rss)


def _seconds_measuring(plan: Plan, ensemble: train.Ensemble, cell: Cell) -> float:
    """Time the measures on random activations of the cell's shapes."""
    rng = np.random.default_rng(0)
    widths = train.layer_widths(plan.point(cell).network, *plan.sizes(cell))
    alive = np.ones(ensemble.members, bool)
    n_probe = len(ensemble.splits.probe_x)
    layers = {name: rng.standard_normal((ensemble.members, n_probe, width)) for name, width in widths.items()}
    start = time.perf_counter()
    for name, activations in layers.items():
        layer_scores(plan, name, activations, alive, ensemble.splits.probe_y)
    return time.perf_counter() - start

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
from consilience._array import memory_budget
from consilience.across import Across, Comparisons, Group, Represented
from consilience.errors import ConsilienceError
from consilience.plan import Plan
from consilience.provenance import hardware, versions
from consilience.store import RunStore, open_run
from consilience.study import Cell, Study
from consilience.train.spec import Spec
from consilience.values import cell_values, failures, layer_scores

__all__ = ["Estimate", "Progress", "check_workers", "compute", "default_folder", "estimate", "run", "unfinished"]

Progress = Callable[[int, int], None]


def check_workers(study: Study, workers: int) -> None:
    """Refuse workers that have nothing to do, or a number that is none."""
    train.Workers(workers)
    if workers > 1 and study.trainer is None:
        raise ConsilienceError(
            f"workers = {workers}: they call a trainer of the study's own, and this study has none; its networks are "
            f"trained in one program on all devices"
        )


def _programs(plan: Plan, cells: Sequence[Cell]) -> list[tuple[train.Ensemble, Spec, list[Cell]]]:
    """Cells by the program that trains them."""
    found: dict[Any, tuple[train.Ensemble, Spec, list[Cell]]] = {}
    for cell in cells:
        ensemble = plan.ensemble(cell)
        spec = ensemble.spec(plan.training(cell))
        found.setdefault((id(ensemble), spec), (ensemble, spec, []))[2].append(cell)
    return list(found.values())


def _check_memory(plan: Plan) -> None:
    """Refuse networks of which a single one takes more memory than there is; an accelerator is asked by trying."""
    if train.devices()[0].platform != "cpu":
        return
    there = psutil.virtual_memory().total
    for ensemble, spec, _ in _programs(plan, plan.study.cells()):
        taken = train.bytes_per_network(ensemble, spec)
        if taken > there:
            raise ConsilienceError(
                f"network: to train one of these networks takes about {taken / 2**30:,.0f} GiB, and this machine has "
                f"{there / 2**30:,.0f}; make it smaller"
            )


def default_folder(study: Study) -> Path:
    """Return ``runs/<name>``."""
    return Path("runs") / study.name


def run(
    study: Study,
    out: str | Path | None = None,
    *,
    devices: int | None = None,
    workers: int = 1,
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
    workers
        How many processes call the study's own trainer, if it has one. The results do not depend on it, as far as the
        trainer's do not.
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
    check_workers(study, workers)
    train.devices(devices)  # before anything else starts JAX
    plan = Plan(study)
    _check_memory(plan)
    template = plan.template()
    with RunStore(folder, study) as store:
        store.create(template)
        missing, groups = store.missing(), store.missing_groups(plan.across.groups)
        n_cells = len(study.cells())
        done = n_cells - len(missing)
        if progress:
            progress(done, n_cells)
        written = changed = 0
        ordered = order(missing) if order else missing
        # BLAS rounds differently with every number of threads, and results must not depend on it.
        single = threadpool_limits(1, user_api="blas")
        try:
            with train.Workers(workers) as processes:
                for place, values in compute(plan, ordered, groups, devices=devices, workers=processes):
                    store.write(place, values)
                    changed += 1
                    if isinstance(place, Cell):
                        written += 1
                        if progress:
                            progress(done + written, n_cells)
        finally:
            single.restore_original_limits()
            if changed:
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


def compute(
    plan: Plan,
    cells: Sequence[Cell],
    groups: Sequence[Group] = (),
    *,
    devices: int | None = None,
    workers: train.Workers | None = None,
) -> Iterator[tuple[Cell | Group, dict[str, Any]]]:
    """Train and measure cells, and compare groups of them; yield each with its values for `RunStore.write`.

    Cells of a group that are finished already are trained again, for their representations, and not yielded.
    """
    wanted = {cell.index for cell in cells}
    for batch in _batches(plan, cells, groups):
        comparisons = Comparisons(plan.across, groups, layers=plan.layers, members=plan.study.grid.members)
        for cell, trained in _trained(plan, batch, devices, workers):
            targets = plan.ensemble(cell).splits.probe_y
            if cell.index in wanted:
                values = cell_values(plan, trained, targets, steps=plan.training(cell).options.steps)
                yield cell, values
                failure = values["failure"]
            else:
                failure = failures(trained)
            finished = comparisons.add(cell, Represented(trained.layers, failure == ""), targets)
            if finished is not None:
                yield finished


def _trained(
    plan: Plan, cells: Sequence[Cell], devices: int | None, workers: train.Workers | None
) -> Iterator[tuple[Cell, train.Trained]]:
    """Train cells, those of one ensemble together."""
    ensembles: dict[int, tuple[train.Ensemble, list[Cell]]] = {}
    for cell in cells:
        ensemble = plan.ensemble(cell)
        ensembles.setdefault(id(ensemble), (ensemble, []))[1].append(cell)
    for ensemble, together in ensembles.values():
        asked = [plan.training(cell) for cell in together]
        for index, trained in train.train(ensemble, asked, devices=devices, workers=workers):
            yield together[index], trained


def _batches(plan: Plan, cells: Sequence[Cell], groups: Sequence[Group]) -> list[list[Cell]]:
    """Cells that are trained together: all of them, unless what groups hold until they are complete takes too much."""
    in_groups = {cell.index for group in groups for cell in group.cells}
    batches: list[list[Cell]] = [[cell for cell in cells if cell.index not in in_groups]]
    held = 0
    for group in groups:
        size = sum(_bytes_represented(plan, cell) for cell in group.cells)
        if batches[-1] and held + size > memory_budget():
            batches.append([])
            held = 0
        batches[-1] += group.cells
        held += size
    return [batch for batch in batches if batch]


def _bytes_represented(plan: Plan, cell: Cell) -> int:
    ensemble = plan.ensemble(cell)
    return 4 * ensemble.members * len(ensemble.splits.probe_x) * sum(plan.widths(cell).values())


class Estimate(NamedTuple):
    """What a run will take on this machine.

    Measuring runs beside training where there are cores for both, so `seconds` may be less than its parts.
    """

    networks: int
    seconds: float
    compiling: float
    training: float
    measuring: float
    memory_bytes: int


def unfinished(study: Study, folder: Path) -> list[Cell]:
    """Return the cells a run in `folder` still has to train: all where there is none, groups to compare as a whole."""
    if not (folder / "study.toml").is_file():
        return study.cells()
    ds = open_run(folder)
    left = {cell.index for cell in study.cells() if not ds["done"].values[cell.index]}
    if "done_across" in ds:
        groups = (group for group in Across.of(study).groups if not ds["done_across"].values[group.index])
        left |= {cell.index for group in groups for cell in group.cells}
    return [cell for cell in study.cells() if cell.index in left]


def estimate(
    plan: Plan, cells: Sequence[Cell] | None = None, *, devices: int | None = None, workers: int = 1
) -> Estimate:
    """Estimate time and memory of `cells`, all of the study by default, by training and measuring a little of it.

    Each program is compiled, which is kept for the run itself (`CONSILIENCE_CACHE`), and timed on a few steps; the
    measures are timed on random representations of one cell's shape. Preparing data and writing are left out.
    """
    check_workers(plan.study, workers)
    _check_memory(plan)
    asked = plan.study.cells() if cells is None else cells
    seconds = compiling = training = measuring = 0.0
    scores: list[float] = []  # seconds for one score
    held = 0
    for ensemble, spec, together in _programs(plan, asked):
        asks = [plan.training(cell) for cell in together]
        trains = train.training_cost(ensemble, asks, devices=devices, workers=workers)
        looks = 1 + len(spec.checkpoints)
        of_cell = _seconds_measuring(plan, ensemble, together[0])
        measures = looks * of_cell * len(together)
        scores.append(of_cell / (len(plan.pairs) * len(plan.widths(together[0])) * len(plan.study.measure.measures)))
        beside = spec.options.solver == "gradient"
        seconds += trains.compiling + _together(trains.training, measures, devices, beside=beside)
        compiling, training, measuring = compiling + trains.compiling, training + trains.training, measuring + measures
        arrays = (ensemble.splits.train_x, ensemble.splits.test_x, ensemble.splits.probe_x)
        networks = max(2 * len(train.devices(devices)), ensemble.members)
        held = max(held, 2 * sum(a.nbytes for a in arrays) + networks * train.bytes_per_network(ensemble, spec))
    comparing = _n_across(plan, asked) * float(np.mean(scores)) if scores else 0.0
    seconds, measuring = seconds + comparing, measuring + comparing
    memory = held + psutil.Process().memory_info().rss + (workers * train.WORKER_BYTES if workers > 1 else 0)
    return Estimate(len(asked) * plan.study.grid.members, seconds, compiling, training, measuring, memory)


def _n_across(plan: Plan, cells: Sequence[Cell]) -> float:
    """Return the number of scores across variants in the groups that the cells are of."""
    asked = {cell.index for cell in cells}
    groups = [group for group in plan.across.groups if any(cell.index in asked for cell in group.cells)]
    members = plan.study.grid.members
    sizes = (members * sum(len(plan.widths(cell)) for cell in group.cells) for group in groups)
    return len(plan.across.measures) * sum(size * (size + 1) / 2 for size in sizes)


def _together(training: float, measuring: float, devices: int | None, *, beside: bool) -> float:
    """Return the time of both: cells are measured on one core while the next ones are trained, on cores or not."""
    if not beside:
        return training + measuring
    used = train.devices(devices)
    busy = len(used) if used[0].platform == "cpu" else 0
    return max(training, measuring, (busy * training + measuring) / train.n_cores())


_MEASURED_MEMBERS = 6  # of an ensemble, to time its measures
_LONG_ENOUGH = 0.5  # seconds; what takes less is timed again


def _seconds_measuring(plan: Plan, ensemble: train.Ensemble, cell: Cell) -> float:
    """Time the measures on random activations of the cell's shapes, between a few members of large ensembles."""
    rng = np.random.default_rng(0)
    widths = plan.widths(cell)
    alive = np.arange(ensemble.members) < _MEASURED_MEMBERS
    n_probe = len(ensemble.splits.probe_x)
    shapes = {name: (ensemble.members, n_probe, width) for name, width in widths.items()}
    layers = {name: rng.standard_normal(shape, np.float32) for name, shape in shapes.items()}

    def seconds(members: Any) -> float:
        start = time.perf_counter()
        for name, activations in layers.items():
            layer_scores(plan, name, activations, members, ensemble.splits.probe_y)
        return time.perf_counter() - start

    with threadpool_limits(1, user_api="blas"):  # as in a run
        seconds(alive & (np.arange(ensemble.members) < 2))  # the first time imports what it needs
        taken = seconds(alive)
        if taken < _LONG_ENOUGH:
            taken = min(taken, seconds(alive), seconds(alive))
    measured = int(alive.sum())
    return taken * len(plan.pairs) / (measured * (measured - 1) / 2)

"""Train the cells of a grid: group them into programs, fill the programs' rows, hand back one cell at a time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import jax
import numpy as np

from consilience.data import NoiseProcess, Splits
from consilience.errors import ConsilienceError
from consilience.train.devices import Device
from consilience.train.devices import devices as all_devices
from consilience.train.exact import solve
from consilience.train.networks import Linear, NetworkOptions, count_parameters
from consilience.train.optimize import DRAWS
from consilience.train.options import TrainOptions
from consilience.train.program import Program
from consilience.train.second_order import PARAMETER_LIMIT, residual_sizes
from consilience.train.spec import Arrays, Rows, Spec, Trained

__all__ = ["Cell", "Ensemble", "bytes_per_network", "compile_program", "seconds_per_network", "train"]

# Memory one call may take for what differs between networks on an accelerator, as a share of the device's.
_DEVICE_SHARE = 0.25
_MAX_CHUNK = 1024


class Cell(NamedTuple):
    """One point of the grid as training sees it: `members` networks that differ by their noise."""

    n_train: int
    level: float  # of the noise process: its sd or flip probability
    network: NetworkOptions
    options: TrainOptions
    checkpoints: tuple[int, ...] = ()  # steps after which the networks are measured too; later ones are left out


@dataclass(frozen=True, eq=False)
class Ensemble:
    """What all cells have in common.

    Attributes
    ----------
    n_max
        Largest n_train of the whole grid, finished cells included: realizations are drawn for that many
        samples, so that a resumed run compiles the very same program.
    """

    splits: Splits
    process: NoiseProcess
    shared: frozenset[str]
    members: int
    seed: int
    n_max: int

    def __post_init__(self) -> None:
        n_pool = len(self.splits.train_x)
        if not 1 <= self.n_max <= n_pool:
            raise ConsilienceError(f"n_max = {self.n_max}: must lie between 1 and the size of the pool, {n_pool}")
        if "inputs" not in self.shared and n_pool < self.members:
            raise ConsilienceError(f"members = {self.members}: too many for inputs of their own from {n_pool} samples")
        if not 0 <= self.seed < 2**32:
            raise ConsilienceError(f"seed = {self.seed}: must lie between 0 and {2**32 - 1}")

    def spec(self, cell: Cell) -> Spec:
        """Return the program the cell belongs to: its options less those that are data of the program.

        Raises
        ------
        ConsilienceError
            When the cell asks for the exact solver where there is no closed form, for a second-order optimizer
            where it does not apply, or to hold out a share of a training set that is too small.
        """
        if not 1 <= cell.n_train <= self.n_max:
            raise ConsilienceError(f"n_train = {cell.n_train}: must lie between 1 and n_max = {self.n_max}")
        spec = Spec(
            network=replace(cell.network, init_scale=1.0),
            options=_shape(cell.options),
            process=self.process,
            shared=self.shared,
            members=self.members,
            classification=self.splits.task == "classification",
            n_inputs=self.splits.train_x.shape[1],
            n_outputs=self.splits.n_outputs,
            checkpoints=tuple(step for step in cell.checkpoints if step <= cell.options.steps),
        )
        if cell.options.held_out(cell.n_train) >= cell.n_train:
            raise ConsilienceError(
                f"train.validation = {cell.options.validation}: leaves nothing to train on of n_train = {cell.n_train}"
            )
        if spec.options.solver == "exact":
            _check_exact(spec)
        elif spec.options.optimizer == "levenberg-marquardt":
            _check_levenberg_marquardt(spec)
        return spec

    def rows(self, cells: Sequence[Cell]) -> Rows:
        """Return one row for each member of each cell."""
        fields = [
            Rows(
                n_train=cell.n_train,
                member=member,
                level=cell.level,
                target_variance=self.process.target_variance(cell.level),
                learning_rate=cell.options.learning_rate,
                weight_decay=cell.options.weight_decay,
                init_scale=cell.network.init_scale,
                stop_loss=cell.options.stop_loss,
                n_held=cell.options.held_out(cell.n_train),
            )
            for cell in cells
            for member in range(self.members)
        ]
        return Rows(*(np.array(column) for column in zip(*fields, strict=True)))


def train(ensemble: Ensemble, cells: Sequence[Cell], *, devices: int | None = None) -> Iterator[tuple[int, Trained]]:
    """Train all members of all cells; yield (index in `cells`, arrays with the member first) as cells finish.

    While one call's results are with the caller the next call is already training.
    """
    groups: dict[Spec, list[int]] = {}
    for index, cell in enumerate(cells):
        groups.setdefault(ensemble.spec(cell), []).append(index)
    for spec, indices in groups.items():
        run = _solve if spec.options.solver == "exact" else _descend
        yield from run(ensemble, spec, cells, indices, devices)


def _solve(
    ensemble: Ensemble, spec: Spec, cells: Sequence[Cell], indices: list[int], devices: int | None
) -> Iterator[tuple[int, Trained]]:
    """Closed form, all cells of one n_train together: they share the factorization."""
    del devices  # LAPACK has its own threads
    for n_train in dict.fromkeys(cells[index].n_train for index in indices):
        together = [index for index in indices if cells[index].n_train == n_train]
        solved = solve(
            spec, ensemble.rows([cells[i] for i in together]), ensemble.splits, seed=ensemble.seed, n_max=ensemble.n_max
        )
        yield from zip(together, _by_cell(solved, ensemble.members), strict=True)


def _shape(options: TrainOptions) -> TrainOptions:
    """What of the options shapes the program: those that are data of it only in whether there are any."""
    return replace(
        options,
        optimizer="adam" if options.optimizer == "adamw" else options.optimizer,  # one update, two names
        learning_rate=1.0,
        weight_decay=float(options.weight_decay > 0),
        stop_loss=float(options.stop_loss > 0),
        validation=0.5 if options.validation else 0.0,
        patience=options.patience if options.validation else 1,
    )


def _check_levenberg_marquardt(spec: Spec) -> None:
    if spec.cross_entropy:
        raise ConsilienceError(
            "train.optimizer = 'levenberg-marquardt': minimises squared errors; set train.loss = 'squared-error', or "
            "use 'lbfgs'"
        )
    parameters = count_parameters(spec.network, spec.n_inputs, spec.n_outputs)
    if parameters > PARAMETER_LIMIT:
        raise ConsilienceError(
            f"train.optimizer = 'levenberg-marquardt': the network has {parameters:,} parameters, and an iteration "
            f"takes their cube; up to {PARAMETER_LIMIT:,} are allowed: use a smaller network, or 'lbfgs'"
        )


def _check_exact(spec: Spec) -> None:
    if not isinstance(spec.network, Linear):
        raise ConsilienceError("train.solver = 'exact': only network.kind = 'linear' has a closed form; use 'gradient'")
    if spec.cross_entropy:
        raise ConsilienceError(
            "train.solver = 'exact': cross-entropy has no closed form; set train.loss = 'squared-error'"
        )
    # Centred one-hot targets add up to zero, which takes one off the rank of the map.
    needed = min(spec.n_inputs, spec.n_outputs - spec.classification)
    if spec.network.hidden[0] < needed:
        raise ConsilienceError(
            f"network.hidden = {list(spec.network.hidden)}: the exact solution has rank {needed}; make the hidden "
            f"layer at least that wide, or use train.solver = 'gradient'"
        )


def _descend(
    ensemble: Ensemble, spec: Spec, cells: Sequence[Cell], indices: list[int], devices: int | None
) -> Iterator[tuple[int, Trained]]:
    """Gradient training: calls of equal size, the last one filled up with repetitions."""
    program = compile_program(ensemble, spec, n_cells=len(indices), devices=devices)
    cells_per_call = program.rows_per_call // ensemble.members
    pending: tuple[list[int], Trained] | None = None
    for start in range(0, len(indices), cells_per_call):
        now = indices[start : start + cells_per_call]
        filled = (now * cells_per_call)[:cells_per_call]
        started = program(ensemble.rows([cells[index] for index in filled]))
        if pending is not None:
            yield from _finished(ensemble, *pending)
        pending = now, started
    if pending is not None:
        yield from _finished(ensemble, *pending)


def _finished(ensemble: Ensemble, indices: list[int], trained: Trained) -> Iterator[tuple[int, Trained]]:
    host = jax.tree.map(np.asarray, trained)
    yield from zip(indices, _by_cell(host, ensemble.members), strict=False)  # repetitions are dropped


def _by_cell(trained: Trained, members: int) -> list[Trained]:
    n_cells = len(trained.train_loss) // members
    return [jax.tree.map(lambda array, i=i: array[i * members : (i + 1) * members], trained) for i in range(n_cells)]


def compile_program(ensemble: Ensemble, spec: Spec, *, n_cells: int = 1, devices: int | None = None) -> Program:
    """Compile the program of `spec` and choose how many networks, whole cells of them, one call trains.

    Parameters
    ----------
    n_cells
        How many cells there are to train: an accelerator takes as many in one call as its memory allows.
    """
    used = all_devices(devices)
    chunk = None if used[0].platform == "cpu" else _chunk(ensemble, spec, used[0])
    # At least two rows a device: XLA removes a loop of one trip and may then fuse, and round, differently.
    least = len(used) * max(2, min(chunk or 2, n_cells * ensemble.members // len(used)))
    whole = math.lcm(ensemble.members, len(used))
    return Program(
        spec,
        Arrays.of(ensemble.splits, ensemble.seed),
        n_max=ensemble.n_max,
        rows_per_call=whole * math.ceil(least / whole),
        devices=used,
        chunk=chunk,
    )


def _chunk(ensemble: Ensemble, spec: Spec, device: Device) -> int:
    """Return how many networks to vectorise over on an accelerator, from its memory."""
    limit = (device.memory_stats() or {}).get("bytes_limit", 8 * 2**30)
    return max(1, min(_MAX_CHUNK, int(_DEVICE_SHARE * limit / bytes_per_network(ensemble, spec))))


def bytes_per_network(ensemble: Ensemble, spec: Spec) -> int:
    """Return what one network in training holds beside the shared data.

    Weights, gradient, two optimizer moments, of linear networks the initial weights too, the best weights so far
    where rows are held out; the matrices of a second-order optimizer; its noisy training set; activations of a batch
    and, once for each checkpoint and for the end, of the probe set, for which the number of inputs and the widths
    stand.
    """
    copies = 4 + isinstance(spec.network, Linear) + bool(spec.options.validation)
    n_parameters = count_parameters(spec.network, spec.n_inputs, spec.n_outputs)
    parameters = copies * n_parameters + _curvature(ensemble, spec, n_parameters)
    own_inputs = spec.process.corrupts == "inputs" or "inputs" not in spec.shared
    noisy = ensemble.n_max * (spec.n_outputs + own_inputs * spec.n_inputs)
    width = sum(spec.network.hidden) + spec.n_outputs
    batch = 64 if spec.options.batch == "full" else int(spec.options.batch)
    looks = 1 + len(spec.checkpoints)
    activations = looks * len(ensemble.splits.probe_x) * width + DRAWS * batch + 3 * batch * (width + spec.n_inputs)
    return 4 * (parameters + noisy + activations)


def _curvature(ensemble: Ensemble, spec: Spec, n_parameters: int) -> int:
    """Numbers a second-order optimizer holds: 2 × 10 past steps; or Jacobian, Gram matrix and its factor."""
    if spec.options.optimizer == "lbfgs":
        return 20 * n_parameters
    if spec.options.optimizer != "levenberg-marquardt":
        return 0
    residuals = max(residual_sizes(n_parameters, spec.n_outputs, ensemble.n_max), default=0)
    if residuals >= ensemble.n_max * spec.n_outputs:
        return residuals * (n_parameters + 3 * residuals)
    return 3 * n_parameters**2 + residuals * n_parameters


def seconds_per_network(ensemble: Ensemble, cell: Cell, *, n_cells: int = 1, devices: int | None = None) -> float:
    """Measure, on this machine, the time one network takes, all devices at work.

    Trains the cell's members for a few steps, twice as long the second time, and extrapolates: a few seconds
    with compilation. The exact solver is run as it is.
    """
    if cell.options.solver == "exact":
        return _seconds(lambda: list(train(ensemble, [cell], devices=devices))) / ensemble.members
    steps = min(cell.options.steps, 4 if cell.options.second_order else 4 * DRAWS)
    taken: list[float] = []
    for count in (steps, 2 * steps):
        short = cell._replace(options=replace(cell.options, steps=count, warmup=min(cell.options.warmup, count - 1)))
        program = compile_program(ensemble, ensemble.spec(short), n_cells=n_cells, devices=devices)
        rows = ensemble.rows([short] * (program.rows_per_call // ensemble.members))
        jax.block_until_ready(program(rows))
        best = min(_seconds(lambda p=program, r=rows: jax.block_until_ready(p(r))) for _ in range(3))
        taken.append(best / program.rows_per_call)
    per_step = max(0.0, taken[1] - taken[0]) / steps
    return taken[0] + per_step * (cell.options.steps - steps)


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start

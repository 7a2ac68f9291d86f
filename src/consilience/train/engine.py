"""Train the cells of a grid: group them into programs, fill the programs' rows, hand back one cell at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np

from consilience.data import NoiseProcess, Splits
from consilience.errors import ConsilienceError
from consilience.train.devices import Device
from consilience.train.devices import devices as all_devices
from consilience.train.exact import solve
from consilience.train.networks import Linear, NetworkOptions, Sizes, count_parameters, layer_widths
from consilience.train.optimize import DRAWS
from consilience.train.options import TrainOptions
from consilience.train.program import Program
from consilience.train.second_order import PARAMETER_LIMIT, residual_sizes
from consilience.train.spec import Arrays, Resample, Rows, Spec, Trained
from consilience.train.trainer import Foreign, call_trainer
from consilience.train.workers import Workers

__all__ = ["Cell", "Ensemble", "bytes_per_network", "compile_program", "train"]

# Memory one call may take for what differs between networks on an accelerator, as a share of the device's.
_DEVICE_SHARE = 0.25
_MAX_CHUNK = 1024

Result = TypeVar("Result")


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
    resample
        Where members do not share inputs: "disjoint" parts of the pool, or "bootstrap" samples of its first rows.
    """

    splits: Splits
    process: NoiseProcess
    shared: frozenset[str]
    members: int
    seed: int
    n_max: int
    resample: Resample = "disjoint"

    def __post_init__(self) -> None:
        n_pool = len(self.splits.train_x)
        if not 1 <= self.n_max <= n_pool:
            raise ConsilienceError(f"n_max = {self.n_max}: must lie between 1 and the size of the pool, {n_pool}")
        if "inputs" not in self.shared and self.resample == "disjoint" and n_pool < self.members:
            raise ConsilienceError(f"members = {self.members}: too many for inputs of their own from {n_pool} samples")
        if not 0 <= self.seed < 2**32:
            raise ConsilienceError(f"seed = {self.seed}: must lie between 0 and {2**32 - 1}")

    @cached_property
    def noise(self) -> tuple[Any, ...]:
        """What the noise process needs of the training pool.

        Raises
        ------
        ConsilienceError
            When the process does not suit the data.
        """
        splits = self.splits
        return self.process.fitted(
            splits.train_x, splits.train_y, n_classes=splits.n_outputs, image_shape=splits.image_shape
        )

    def sizes(self, optimizer: str) -> Sizes:
        """Return what the networks must fit: these data, and the optimizer."""
        splits = self.splits
        named = "adam" if optimizer == "adamw" else optimizer  # one update, two names
        return Sizes(splits.train_x.shape[1], splits.n_outputs, splits.image_shape, named)

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
            sizes=self.sizes(cell.options.optimizer),
            resample=self.resample,
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


def train(
    ensemble: Ensemble, cells: Sequence[Cell], *, devices: int | None = None, workers: Workers | None = None
) -> Iterator[tuple[int, Trained]]:
    """Train all members of all cells; yield (index in `cells`, arrays with the member first) as cells finish.

    `workers` call a trainer of the user's own, by default this process; networks described here train on `devices`.

    While one call's results are with the caller the next call is already training. Where memory does not suffice
    for a call, its cells are trained with half as many networks at once, and so on; members for which it does not
    suffice even alone are yielded as failed.
    """
    groups: dict[Spec, list[int]] = {}
    for index, cell in enumerate(cells):
        groups.setdefault(ensemble.spec(cell), []).append(index)
    for spec, indices in groups.items():
        if isinstance(spec.network, Foreign):
            yield from call_trainer(ensemble, spec, cells, indices, workers or Workers(1))
        elif spec.options.solver == "exact":
            yield from _solve(ensemble, spec, cells, indices)
        else:
            yield from _descend(ensemble, spec, cells, indices, devices)


def _solve(ensemble: Ensemble, spec: Spec, cells: Sequence[Cell], indices: list[int]) -> Iterator[tuple[int, Trained]]:
    """Closed form, all cells of one n_train together: they share the factorization."""
    for n_train in dict.fromkeys(cells[index].n_train for index in indices):
        together = [index for index in indices if cells[index].n_train == n_train]
        rows = ensemble.rows([cells[i] for i in together])
        solved = _unless_out_of_memory(
            lambda rows=rows: solve(
                spec, rows, ensemble.splits, seed=ensemble.seed, n_max=ensemble.n_max, noise=ensemble.noise
            )
        )
        if solved is None:
            yield from ((index, _lacking_memory(ensemble.members)) for index in together)
        else:
            yield from zip(together, _by_cell(solved, ensemble.members), strict=True)


def _shape(options: TrainOptions) -> TrainOptions:
    """What of the options shapes the program: those that are data of it only in whether there are any."""
    return replace(
        options,
        optimizer="adam" if options.optimizer == "adamw" else options.optimizer,  # as in `Ensemble.sizes`
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
    parameters = count_parameters(spec.network, spec.sizes)
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
    if not spec.network.described:
        raise ConsilienceError(
            "train.solver = 'exact': the closed form is that of one hidden layer in the standard parametrisation; give "
            "network.hidden one width, or use 'gradient'"
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
    """Gradient training: all cells, and those for which memory did not suffice again with half the networks at once."""
    at_once: int | None = None
    left = indices
    while left:
        layout = _layout(ensemble, spec, n_cells=len(left), devices=devices, at_once=at_once)
        lacking: list[int] = []
        for now, trained in _calls(ensemble, spec, layout, cells, left):
            if trained is None:
                lacking += now
            else:
                yield from zip(now, _by_cell(trained, ensemble.members), strict=False)  # repetitions are dropped
        if lacking and layout.at_once == 1:
            yield from ((index, _lacking_memory(ensemble.members)) for index in lacking)
            return
        left, at_once = lacking, layout.at_once // 2


def _lacking_memory(members: int) -> Trained:
    """What is recorded of a cell for which memory did not suffice even with one network at a time."""
    nothing = np.full(members, np.nan)
    failed = np.full(members, "out of memory, with one network at a time", dtype=object)
    return Trained({}, nothing, nothing, nothing, nothing, np.full(members, -1, np.int32), failed=failed)


def _calls(
    ensemble: Ensemble, spec: Spec, layout: _Layout, cells: Sequence[Cell], indices: list[int]
) -> Iterator[tuple[list[int], Trained | None]]:
    """Yield the cells of each call and what it gave, None where memory did not suffice.

    Calls are of equal size, the last one filled up with repetitions.
    """
    program = _unless_out_of_memory(lambda: _compile(ensemble, spec, layout))
    if program is None:
        yield indices, None
        return
    cells_per_call = layout.rows_per_call // ensemble.members
    pending: tuple[list[int], Trained | None] | None = None
    for start in range(0, len(indices), cells_per_call):
        now = indices[start : start + cells_per_call]
        filled = (now * cells_per_call)[:cells_per_call]
        started = _unless_out_of_memory(lambda filled=filled: program(ensemble.rows([cells[i] for i in filled])))
        if pending is not None:
            yield pending[0], _on_host(pending[1])
        pending = now, started
    if pending is not None:
        yield pending[0], _on_host(pending[1])


def _on_host(trained: Trained | None) -> Trained | None:
    """Wait for the arrays; a device that lacks memory may say so only then."""
    return None if trained is None else _unless_out_of_memory(lambda: jax.tree.map(np.asarray, trained))


def _unless_out_of_memory(work: Callable[[], Result]) -> Result | None:
    """Return what `work` returns, None when memory did not suffice."""
    try:
        return work()
    except MemoryError:
        return None
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return None


def _by_cell(trained: Trained, members: int) -> list[Trained]:
    n_cells = len(trained.train_loss) // members
    return [jax.tree.map(lambda array, i=i: array[i * members : (i + 1) * members], trained) for i in range(n_cells)]


class _Layout(NamedTuple):
    """How the networks of one call lie on the devices."""

    devices: list[Device]
    chunk: int | None  # networks a device vectorises over; None: one after another
    rows_per_call: int

    @property
    def at_once(self) -> int:
        """Networks in training at the same time."""
        return len(self.devices) * (self.chunk or 1)


def compile_program(ensemble: Ensemble, spec: Spec, *, n_cells: int = 1, devices: int | None = None) -> Program:
    """Compile the program of `spec` and choose how many networks one call trains.

    Parameters
    ----------
    n_cells
        How many cells there are to train: an accelerator takes as many in one call as its memory allows.
    """
    return _compile(ensemble, spec, _layout(ensemble, spec, n_cells=n_cells, devices=devices))


def _compile(ensemble: Ensemble, spec: Spec, layout: _Layout) -> Program:
    return Program(
        spec, Arrays.of(ensemble.splits, ensemble.seed, ensemble.noise), n_max=ensemble.n_max, **layout._asdict()
    )


def _layout(
    ensemble: Ensemble, spec: Spec, *, n_cells: int, devices: int | None, at_once: int | None = None
) -> _Layout:
    """Lay out cells over the devices, no more than `at_once` networks in training at the same time."""
    used = all_devices(devices)[:at_once]
    if used[0].platform == "cpu":
        return _Layout(used, None, _rows_per_call(ensemble.members, n_cells, len(used)))
    chunk = _chunk(ensemble, spec, used[0])
    if at_once is not None:
        chunk = min(chunk, max(1, at_once // len(used)))
    rows = _rows_per_call(ensemble.members, n_cells, len(used), chunk)
    passes = math.ceil(rows / len(used) / chunk)
    return _Layout(used, math.ceil(rows / len(used) / passes), rows)  # passes of equal size


def _rows_per_call(members: int, n_cells: int, n_devices: int, chunk: int = 2) -> int:
    """Return a number that whole cells fill and devices share evenly, about `chunk` a device where there are so many.

    Rather than a call most of which would be repetitions, few cells on many devices leave some rows idle.

    >>> _rows_per_call(8, 40, 2), _rows_per_call(7, 1000, 64), _rows_per_call(7, 10, 64)
    (8, 448, 128)
    """
    # At least two rows a device: XLA removes a loop of one trip and may then fuse, and round, differently.
    wanted = n_devices * max(2, min(chunk, n_cells * members // n_devices))
    whole = math.lcm(members, n_devices)
    rows = whole * max(1, wanted // whole) if chunk > 2 else whole * math.ceil(wanted / whole)
    enough = n_devices * max(2, math.ceil(n_cells * members / n_devices))
    return enough if 2 * enough <= rows else rows


def _chunk(ensemble: Ensemble, spec: Spec, device: Device) -> int:
    """Return how many networks to vectorise over on an accelerator, from its memory."""
    limit = (device.memory_stats() or {}).get("bytes_limit", 8 * 2**30)
    return max(1, min(_MAX_CHUNK, int(_DEVICE_SHARE * limit / bytes_per_network(ensemble, spec))))


def bytes_per_network(ensemble: Ensemble, spec: Spec) -> int:
    """Return what one network in training holds beside the shared data.

    Weights, gradient, two optimizer moments, of linear networks the initial weights too, the best weights so far
    where rows are held out; the matrices of a second-order optimizer; its noisy training set; what passes through the
    network, a batch and back or as many probe inputs as it takes at once; and the layers of all probe inputs, once for
    each checkpoint and for the end, as they are computed and as they are handed back.
    """
    copies = 4 + (isinstance(spec.network, Linear) and spec.network.described) + bool(spec.options.validation)
    foreign = isinstance(spec.network, Foreign)
    n_parameters = 0 if foreign else count_parameters(spec.network, spec.sizes)
    kept = 0 if foreign else sum(layer_widths(spec.network, spec.sizes).values())
    parameters = copies * n_parameters + _curvature(ensemble, spec, n_parameters)
    own_inputs = spec.process.corrupts == "inputs" or "inputs" not in spec.shared
    noisy = ensemble.n_max * (spec.n_outputs + own_inputs * spec.n_inputs)
    most, made = spec.network.passing(spec.sizes)
    batch = 64 if spec.options.batch == "full" else int(spec.options.batch)
    n_probe, looks = len(ensemble.splits.probe_x), 1 + len(spec.checkpoints)
    passing = max(most * min(n_probe, spec.network.rows_at_once or n_probe), batch * (2 * made + spec.n_inputs))
    return 4 * (parameters + noisy + DRAWS * batch + passing + 2 * looks * n_probe * kept)


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

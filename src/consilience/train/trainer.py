"""Networks that a function of the user's trains: PyTorch, scikit-learn, anything.

One call of the function per member: it gets the member's noisy training set and returns a predictor, a function from
inputs to every layer's activations by name. Everything after that is as for networks trained here.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from consilience._catalogue import suggestion
from consilience._custom import place_of, resolve
from consilience.errors import ConsilienceError
from consilience.train.losses import errors, losses
from consilience.train.networks import Network, NetworkOptions, Passing, Sizes
from consilience.train.realize import realized
from consilience.train.spec import Arrays, Spec, Trained
from consilience.train.workers import Workers

if TYPE_CHECKING:
    from consilience.train.engine import Cell, Ensemble

__all__ = ["Foreign", "Predictor", "TrainingSet", "call_trainer", "layers_of_trainer", "training_sets"]

Predictor = Callable[[NDArray[np.float32]], Mapping[str, Any]]
_LOSSES = ("train_loss", "train_error", "test_loss", "test_error")
_NOTHING = np.zeros((0, 0), np.float32)


class TrainingSet(NamedTuple):
    """What a trainer gets: one member's training set, noise included, and what it is part of.

    ``x`` (n_train, d) float32, standardised; ``y`` (n_train,) int32 classes 0 … n_outputs − 1, or (n_train, n_outputs)
    float32 standardised values; ``task`` "classification" or "regression"; ``seed`` of everything random: the same for
    all members where the study shares "init", else each its own; ``image_shape`` (rows, columns[, channels]) of images.
    """

    x: NDArray[np.float32]
    y: NDArray[Any]
    task: str
    n_outputs: int
    image_shape: tuple[int, ...] | None
    seed: int
    member: int


@dataclass(frozen=True)
class Foreign(NetworkOptions):
    """Stands in a study for the networks that a trainer makes: nothing is known of them before.

    Attributes
    ----------
    function
        The trainer, or where to import it from.
    layers
        Names of what its predictors return, in order; None: not known before one member is trained.
    options
        Keyword arguments of the trainer, as JSON: tables and lists cannot be part of the key of a program.
    """

    name: ClassVar[str] = "trainer"

    function: str | Callable[..., Any] = ""
    layers: tuple[str, ...] | None = None
    options: str = "{}"

    def passing(self, sizes: Sizes) -> Passing:
        """Nothing is held on a device."""
        del sizes
        return Passing(0, 0)

    def build(self, *_: object, **__: object) -> Network:
        """Refuse: the trainer builds these networks."""
        raise ConsilienceError("networks of a trainer are built by the trainer; there is nothing to compile or count")

    def found(self) -> Foreign:
        """Return the same with the function itself, not where to find it."""
        function = resolve(self.function, what="trainer") if isinstance(self.function, str) else self.function
        return replace(self, function=function)

    def check(self, sizes: Sizes) -> None:
        """Refuse a function that cannot be imported, and options it does not have, where its signature tells."""
        del sizes
        function: Any = self.found().function
        try:
            parameters = list(inspect.signature(function).parameters.values())[1:]
        except (TypeError, ValueError):  # a function in C has none
            return
        if any(one.kind is one.VAR_KEYWORD for one in parameters):
            return
        known = [one.name for one in parameters if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)]
        for option, value in json.loads(self.options).items():
            if option not in known:
                of = f"not an option of {function.__qualname__}; {suggestion(option, known)}"
                raise ConsilienceError(f"trainer.{option} = {value!r}: {of}")

    def train(self, training: TrainingSet) -> Predictor:
        """Call the trainer, with arrays that it may write to."""
        function: Any = self.found().function
        own = training._replace(x=training.x.copy(), y=training.y.copy())
        return function(own, **json.loads(self.options))


class _Predicted(NamedTuple):
    """What the network of one member says of the probe, training and test inputs, or why there is none."""

    layers: dict[str, NDArray[np.float32]]
    train: NDArray[np.float32]
    test: NDArray[np.float32]
    failed: str


class _Outcome(NamedTuple):
    """One member: what its network does, or why there is none."""

    layers: dict[str, NDArray[np.float32]]
    numbers: dict[str, float]
    failed: str


def layers_of_trainer(ensemble: Ensemble, cell: Cell, network: Foreign) -> dict[str, int]:
    """Return the width of every layer by name, "output" last, by training members of a cell until one succeeds.

    Raises
    ------
    ConsilienceError
        With the trainer's own words, when every member fails.
    """
    outcome = _Outcome({}, {}, "the ensemble has no member")
    with contextlib.closing(_outcomes(ensemble, ensemble.spec(cell), network, [cell], Workers(1))) as outcomes:
        for outcome in outcomes:
            if not outcome.failed:
                return {name: activations.shape[1] for name, activations in outcome.layers.items()}
    raise ConsilienceError(f"trainer: no member could be trained at n_train = {cell.n_train}: {outcome.failed}")


def call_trainer(
    ensemble: Ensemble, spec: Spec, cells: Sequence[Cell], indices: list[int], workers: Workers
) -> Iterator[tuple[int, Trained]]:
    """Train every member of the cells, one call each; a member whose call fails is recorded with the reason."""
    network = spec.network
    assert isinstance(network, Foreign)
    asked = [cells[index] for index in indices]
    with contextlib.closing(_outcomes(ensemble, spec, network, asked, workers)) as outcomes:
        for index in indices:
            yield index, _stacked(list(islice(outcomes, ensemble.members)))


def _outcomes(
    ensemble: Ensemble, spec: Spec, network: Foreign, cells: Sequence[Cell], workers: Workers
) -> Generator[_Outcome]:
    """Train the members of all cells in their order."""
    splits = ensemble.splits
    predict = partial(_predicted, network.found(), splits.probe_x, splits.test_x, spec.n_outputs)
    targets: deque[tuple[NDArray[Any], float]] = deque()  # of members that are being trained

    def asked() -> Iterator[TrainingSet]:
        for training, variance in training_sets(ensemble, spec, cells):
            targets.append((training.y, variance))
            yield training

    for predicted in workers.map(predict, asked(), died=_failed):
        yield _outcome(ensemble, spec, predicted, *targets.popleft())


def training_sets(ensemble: Ensemble, spec: Spec, cells: Sequence[Cell]) -> Iterator[tuple[TrainingSet, float]]:
    """Draw the noisy training set of every member of every cell, with the variance of its targets."""
    splits = ensemble.splits
    data = Arrays.of(splits, ensemble.seed, ensemble.noise)
    for cell in cells:
        variance = ensemble.process.target_variance(cell.level)
        for member in range(ensemble.members):
            x, y = realized(spec, member, cell.level, cell.n_train, data, n_max=ensemble.n_max)
            seed = _seed(ensemble, member)
            yield TrainingSet(x, y, splits.task, spec.n_outputs, splits.image_shape, seed, member), variance


def _seed(ensemble: Ensemble, member: int) -> int:
    """A 31-bit number, which every library takes as a seed."""
    own = () if "init" in ensemble.shared else (member,)
    return int(np.random.SeedSequence((ensemble.seed, *own)).generate_state(1)[0] >> 1)


def _predicted(network: Foreign, probe: Any, test: Any, n_outputs: int, training: TrainingSet) -> _Predicted:
    """Train one member; in whatever process, and without JAX."""
    try:
        # What it prints is not what this program prints.
        with contextlib.redirect_stdout(sys.stderr):
            predictor = network.train(training)
            layers = _checked(predictor, probe, network.layers, n_outputs)
            trained, tested = (_checked(predictor, x, network.layers, n_outputs)["output"] for x in (training.x, test))
        return _Predicted(layers, trained, tested, "")
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a user's function raises is that member's failure
        return _failed(_reason(error))


def _failed(reason: str) -> _Predicted:
    return _Predicted({}, _NOTHING, _NOTHING, reason)


def _outcome(
    ensemble: Ensemble, spec: Spec, predicted: _Predicted, train_y: NDArray[Any], target_variance: float
) -> _Outcome:
    """Losses and errors of one member."""
    if predicted.failed:
        return _Outcome({}, dict.fromkeys(_LOSSES, np.nan), predicted.failed)
    sets = {
        "train": (predicted.train, train_y, target_variance),
        "test": (predicted.test, ensemble.splits.test_y, 1.0),
    }
    numbers: dict[str, float] = {}
    for name, (output, y, variance) in sets.items():
        numbers[f"{name}_loss"] = float(losses(spec, jnp.asarray(output), jnp.asarray(y)).mean())
        numbers[f"{name}_error"] = float(errors(spec, jnp.asarray(output), jnp.asarray(y), variance).mean())
    return _Outcome(predicted.layers, numbers, "")


def _reason(error: BaseException) -> str:
    """One line: what was raised, and where in the user's code."""
    said = " ".join(str(error).split())
    if isinstance(error, ConsilienceError):
        return said
    return f"{type(error).__name__}: {said} ({place_of(error, __file__)})"


def _checked(
    predictor: Predictor, x: NDArray[np.float32], names: tuple[str, ...] | None, n_outputs: int
) -> dict[str, NDArray[np.float32]]:
    """Every layer as (n, width) float32, in the order of `names`, "output" last."""
    if not callable(predictor):
        raise ConsilienceError(
            f"the trainer returned a {type(predictor).__name__}: return a function from inputs (n, d) to "
            f"a dictionary of layers"
        )
    layers: Any = predictor(x.copy())  # of its own: a predictor that standardises in place changes no other member's
    if not isinstance(layers, Mapping) or "output" not in layers:
        raise ConsilienceError(
            "the trainer's predictor must return a dictionary of layers by name, the last one called 'output'; it "
            f"returned {', '.join(map(repr, layers)) if isinstance(layers, Mapping) else type(layers).__name__}"
        )
    order = names or (*(name for name in layers if name != "output"), "output")
    missing = [name for name in order if name not in layers]
    if missing:
        raise ConsilienceError(f"the trainer's predictor returned no layer {missing[0]!r}; it has {', '.join(layers)}")
    found = {name: _as_numbers(name, layers[name]) for name in order}
    found = {name: values[:, None] if values.ndim == 1 else values for name, values in found.items()}
    for name, activations in found.items():
        if activations.ndim != 2 or len(activations) != len(x):
            raise ConsilienceError(
                f"layer {name!r} of the trainer's predictor has shape {activations.shape} for {len(x)} inputs: return "
                f"({len(x)}, width), maps and sequences flattened or averaged"
            )
    if found["output"].shape[1] != n_outputs:
        raise ConsilienceError(
            f"layer 'output' of the trainer's predictor has {found['output'].shape[1]} columns: give {n_outputs}, one "
            f"for each class (logits) or target"
        )
    return found


def _as_numbers(name: str, layer: Any) -> NDArray[np.float32]:
    array = np.asarray(layer)
    if array.dtype.kind in "cOSUMm":
        raise ConsilienceError(f"layer {name!r} of the trainer's predictor holds {array.dtype}: give real numbers")
    return array.astype(np.float32)


def _stacked(outcomes: Sequence[_Outcome]) -> Trained:
    """All members of a cell; layers of members that failed are NaN."""
    first = next((one.layers for one in outcomes if not one.failed), {})
    shapes = {name: activations.shape for name, activations in first.items()}
    checked = [_of_shapes(one, shapes) for one in outcomes]
    layers = {
        name: np.stack([one.layers.get(name, np.full(shape, np.nan, np.float32)) for one in checked])
        for name, shape in shapes.items()
    }
    numbers = {name: np.array([one.numbers[name] for one in checked]) for name in _LOSSES}
    failed = np.array([one.failed for one in checked], dtype=object)
    diverged_at: Any = np.full(len(checked), -1, np.int32)
    train_loss, train_error, test_loss, test_error = (numbers[name] for name in _LOSSES)
    return Trained(layers, train_loss, train_error, test_loss, test_error, diverged_at, failed=failed)


def _of_shapes(outcome: _Outcome, shapes: Mapping[str, tuple[int, ...]]) -> _Outcome:
    """The outcome, a failure where it cannot be set beside the first member's."""
    if outcome.failed:
        return outcome
    reason = "" if all(map(np.isfinite, outcome.numbers.values())) else "its losses are not finite"
    for name, activations in outcome.layers.items():
        if not reason and not np.isfinite(activations).all():
            reason = f"its layer {name!r} is not finite"
        if activations.shape != shapes.get(name):
            reason = f"its layer {name!r} has shape {activations.shape}, the first member's {shapes.get(name)}"
    return outcome if not reason else _Outcome({}, dict.fromkeys(_LOSSES, np.nan), reason)

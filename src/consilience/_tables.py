"""The tables of a study file, each validated where it is read.

Four of them hold the options of a registered thing, chosen by a tag: ``[data] source``, ``[noise] process``,
``[network] kind`` and the names in ``[measure]``. What else such a table may contain is defined where the thing
is defined, so a new source or network needs nothing here.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    field_validator,
    model_validator,
)

from consilience._catalogue import Catalogue, suggestion
from consilience._variants import WHOLE, frozen, thawed
from consilience.data import PROCESSES, SOURCES, NoiseProcess, Source
from consilience.data.noise.custom import process_of
from consilience.errors import ConsilienceError
from consilience.registry import Measure, get_measure

__all__ = ["Data", "Grid", "Measures", "Noise", "Pairs", "Raw", "Table", "Trainer", "tagged"]

Raw = dict[str, Any]


class Table(BaseModel):
    """Base of all tables: immutable, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


def tagged(raw: Any, *, tag: str, catalogue: Catalogue[Any], common: Sequence[str] = ()) -> Raw:
    """Turn ``{tag: name, option: …, common: …}`` into ``{tag: the registered thing with its options, common: …}``."""
    if not isinstance(raw, Mapping):
        raise ValueError(f"give a table with the key {tag!r}; {suggestion('', catalogue)}")
    table: Raw = dict(raw)
    name = table.pop(tag, None)
    rest = {key: table.pop(key) for key in common if key in table}
    if isinstance(name, tuple(catalogue.values())) or catalogue.holds(name):
        return {tag: name, **rest, **table}
    if not isinstance(name, str) or name not in catalogue:
        said = f"unknown {catalogue.kind}" if isinstance(name, str) else f"give the name of a {catalogue.kind}"
        near = suggestion(name if isinstance(name, str) else "", catalogue)
        raise ConsilienceError(f"{tag} = {name!r}: {said}; {near}")
    kind: Any = catalogue[name]
    valid = [field.name for field in fields(kind)]
    for key, value in table.items():
        if key not in valid:
            hint = suggestion(key, [*valid, *common, tag])
            raise ConsilienceError(f"{key} = {value!r}: not an option of {name!r}; {hint}")
    return {tag: TypeAdapter(kind).validate_python(table), **rest}


class Data(Table):
    """The ``[data]`` table: a source with its options, and how its rows are prepared and split."""

    source: Source
    pool: int = Field(default=1, ge=1)
    pca: int | None = Field(default=None, ge=1)
    n_probe: int | None = Field(default=None, ge=4)
    n_test: int | None = Field(default=None, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _read(cls, raw: Any) -> Raw:
        return tagged(raw, tag="source", catalogue=SOURCES, common=("pool", "pca", "n_probe", "n_test"))

    def raw(self) -> Raw:
        """Return the table as written in TOML."""
        common = {"pool": self.pool, "pca": self.pca, "n_probe": self.n_probe, "n_test": self.n_test}
        return {"source": self.source.name, **asdict(self.source), **common}


class Noise(Table):
    """The ``[noise]`` table: the process, what the members of an ensemble share, and how inputs differ if they do."""

    process: NoiseProcess
    shared: tuple[Literal["inputs", "init", "batches"], ...] = ("inputs",)
    resample: Literal["disjoint", "bootstrap"] = "disjoint"

    @model_validator(mode="before")
    @classmethod
    def _read(cls, raw: Any) -> Raw:
        if isinstance(raw, Mapping) and inspect.isfunction(raw.get("process")):
            raw = {**raw, "process": process_of(raw["process"])}
        return tagged(raw, tag="process", catalogue=PROCESSES, common=("shared", "resample"))

    @field_validator("shared")
    @classmethod
    def _in_order(cls, shared: tuple[str, ...]) -> tuple[str, ...]:
        """One spelling for one meaning: order and repetition do not matter."""
        return tuple(sorted(set(shared)))

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.resample == "bootstrap" and "inputs" in self.shared:
            raise ConsilienceError(
                "resample = 'bootstrap': members share their inputs and none are resampled; take 'inputs' out of shared"
            )
        return self

    def raw(self) -> Raw:
        """Return the table as written in TOML."""
        common = {"shared": list(self.shared), "resample": self.resample}
        return {"process": self.process.name, **asdict(self.process), **common}


def _distinct(values: Any) -> Any:
    """Refuse an empty list, and one with a value twice; leave other types to the field."""
    if isinstance(values, list | tuple):
        if not values:
            raise ValueError("the list is empty; give at least one value")
        if any(value in values[:i] for i, value in enumerate(values)):
            raise ValueError("a value occurs twice; give each once")
    return values


def _number(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("must be a number")
    return value


Number = Annotated[float, BeforeValidator(_number)]
_AXIS_TABLES = ("data", "noise", "network", "train", "trainer")


_MOST_MEMBERS = 2000  # two million pairs


class Grid(Table):
    """The ``[grid]`` table: SNR × n_train × any further dotted keys, and the members trained at each cell."""

    snr: Annotated[tuple[Number, ...], BeforeValidator(_distinct)]
    n_train: Annotated[tuple[int, ...], BeforeValidator(_distinct)]
    members: int = Field(default=8, ge=2, le=_MOST_MEMBERS)
    axes: Mapping[str, Annotated[tuple[Any, ...], BeforeValidator(_distinct)]] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _read(cls, raw: Any) -> Raw:
        """Keys beside snr, n_train and members are axes: dotted, quoted or as nested tables."""
        if not isinstance(raw, Mapping):
            raise ValueError("give a table with snr, n_train and members")
        table = dict(raw)
        own = {key: table.pop(key) for key in ("snr", "n_train", "members") if key in table}
        axes: Raw = {}
        for key, values in [*_flatten(table.pop("axes", {})), *_flatten(table)]:
            if key in axes:
                raise ConsilienceError(f"{key} = {values!r}: this axis is given twice; give it once")
            _check_axis(key, values)
            axes[key] = tuple(frozen(value) for value in values)
        _check_apart(axes)
        return {**own, "axes": axes}

    @model_validator(mode="after")
    def _check(self) -> Self:
        for snr in self.snr:
            if not snr > 0:
                raise ConsilienceError(
                    f"snr = {snr}: a signal-to-noise ratio is positive; inf means no noise, 0.1 means much"
                )
        for n_train in self.n_train:
            if n_train < 1:
                raise ConsilienceError(f"n_train = {n_train}: at least one training sample is needed")
        object.__setattr__(self, "snr", tuple(sorted(self.snr)))
        object.__setattr__(self, "n_train", tuple(sorted(self.n_train)))
        object.__setattr__(self, "axes", MappingProxyType(dict(self.axes)))
        return self

    def raw(self) -> Raw:
        """Return the table as written in TOML."""
        own = {"snr": list(self.snr), "n_train": list(self.n_train), "members": self.members}
        return own | {key: thawed(values) for key, values in self.axes.items()}


def _flatten(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _check_axis(key: str, values: Any) -> None:
    """Refuse what cannot be a further axis of the grid; whether its values are valid is seen when they are set."""
    table = key.partition(".")[0]
    if key in WHOLE:
        if not (isinstance(values, list | tuple) and all(isinstance(value, Mapping) for value in values)):
            raise ConsilienceError(f"{key} = {values!r}: as an axis of the grid it needs a list of [{key}] tables")
        return
    if key == "trainer":
        raise ConsilienceError(
            f"trainer = {values!r}: not an axis of the grid; its function and its options vary one by one, as in "
            f'"trainer.function" = ["module:one", "module:other"]'
        )
    if "." not in key and key != "seed":
        hint = suggestion(key, ["snr", "n_train", "members", "seed", *WHOLE])
        raise ConsilienceError(
            f"{key} = {values!r}: not an option of the grid ({hint}); a further axis is a dotted key with a list of "
            f'values, like "train.weight_decay" = [0, 1e-4]'
        )
    if key != "seed" and table not in _AXIS_TABLES:
        raise ConsilienceError(f"{key} = {values!r}: cannot be an axis of the grid; {suggestion(table, _AXIS_TABLES)}")
    if not isinstance(values, list | tuple):
        raise ConsilienceError(f"{key} = {values!r}: an axis of the grid needs a list of values")


def _check_apart(axes: Mapping[str, Sequence[Any]]) -> None:
    """Refuse an axis over a key that alternatives of its whole table set too: one of them would go by a false name."""
    for key, values in axes.items():
        table, _, option = key.partition(".")
        if option and any(option in alternative for alternative in axes.get(table, ())):
            raise ConsilienceError(
                f"{key} = {thawed(values)!r}: an alternative of [[grid.{table}]] sets {option} too, and no "
                f"cell can have both; take {option} out of those tables, or leave this axis out"
            )


def _measure(raw: Any) -> Measure:
    if isinstance(raw, Measure):
        return raw
    if isinstance(raw, str):
        return get_measure(raw)
    options = dict(raw) if isinstance(raw, Mapping) else {}
    name = options.pop("name", None)
    if not isinstance(name, str):
        raise ValueError("give a measure's name, or a table with its name and options")
    return get_measure(name, **options)


def _distinct_measures(measures: tuple[Measure, ...]) -> tuple[Measure, ...]:
    labels = [measure.label for measure in measures]
    for label in labels:
        if labels.count(label) > 1:
            raise ValueError(f"{label} occurs twice; give each measure once")
    return measures


Chosen = Annotated[tuple[Annotated[Measure, BeforeValidator(_measure)], ...], AfterValidator(_distinct_measures)]


class Trainer(Table):
    """The ``[trainer]`` table: a function that trains networks of the user's own, and its options.

    ``trainer = "package.module:function"`` is short for a table with nothing but the function. `layers` names what its
    predictors return, in order; by default one member is trained to find out.
    """

    function: str | Callable[..., Any]
    layers: tuple[str, ...] | None = None
    options: Mapping[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _read(cls, raw: Any) -> Raw:
        table = dict(raw) if isinstance(raw, Mapping) else {"function": raw}
        own = {key: table.pop(key) for key in ("function", "layers") if key in table}
        function = own.get("function")
        if not (callable(function) or (isinstance(function, str) and ":" in function)):
            raise ConsilienceError(
                f"trainer = {function!r}: give a function, or where to import it from as 'package.module:function'"
            )
        if "output" not in own.get("layers", ("output",)):
            raise ConsilienceError(f"trainer.layers = {own['layers']!r}: the last is called 'output'; list it too")
        return {**own, "options": table.pop("options", table)}

    @model_validator(mode="after")
    def _freeze(self) -> Self:
        for key, value in self.options.items():
            try:
                json.dumps(thawed(value))
            except TypeError:
                raise ConsilienceError(
                    f"trainer.{key} = {value!r}: options are numbers, text, lists or tables, as they are kept with the "
                    f"run as text; give a name that the trainer looks up"
                ) from None
        object.__setattr__(self, "options", frozen(self.options))
        return self

    @property
    def reference(self) -> str:
        """The function as ``module:name``."""
        function = self.function
        return function if isinstance(function, str) else f"{function.__module__}:{function.__qualname__}"

    def raw(self) -> Raw:
        """Return the table as written in TOML."""
        layers = {} if self.layers is None else {"layers": list(self.layers)}
        return {"function": self.reference, **layers, **thawed(self.options)}


def _texts(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class Pairs(Table):
    """The ``[pairs]`` table: axes of the grid across which members are compared too.

    Members of cells that differ in nothing but these axes are compared, every layer with every layer, by `measures`;
    by default the first of ``[measure]`` that speaks about hidden layers.
    """

    across: Annotated[tuple[str, ...], BeforeValidator(_texts)] = ()
    measures: Chosen = ()

    def raw(self) -> Raw:
        """Return the table as written in TOML."""
        chosen = {"measures": [_measure_raw(measure) for measure in self.measures]} if self.measures else {}
        return {"across": list(self.across), **chosen} if self.across else {}


class Measures(Table):
    """The ``[measure]`` table: names, or tables of a name and options, of registered measures; steps of training."""

    measures: Chosen = Field(default_factory=lambda: tuple(map(_measure, _DEFAULT_MEASURES)), min_length=1)
    steps: int | tuple[int, ...] | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if isinstance(self.steps, int) and self.steps < 2:
            raise ConsilienceError(
                f"measure.steps = {self.steps}: give a number of steps, 2 or more, or a list of them"
            )
        if isinstance(self.steps, tuple):
            if not self.steps or min(self.steps) < 1:
                raise ConsilienceError(
                    f"measure.steps = {list(self.steps)}: give the steps to measure after, each 1 or more"
                )
            object.__setattr__(self, "steps", tuple(sorted(set(self.steps))))
        return self

    def checkpoints(self, steps: int) -> tuple[int, ...]:
        """Return the steps of a training of that many after which networks are measured; none without `steps`.

        >>> Measures(steps=5).checkpoints(1000), Measures(steps=[10, 1]).checkpoints(1000), Measures().checkpoints(9)
        ((1, 6, 32, 178, 1000), (1, 10), ())
        """
        if isinstance(self.steps, int):
            return tuple(np.unique(np.geomspace(1, steps, self.steps).round().astype(int)).tolist())
        return self.steps or ()

    def raw(self) -> Raw:
        """Return the table as written in TOML; options at their defaults are left out."""
        measures: Raw = {"measures": [_measure_raw(measure) for measure in self.measures]}
        if self.steps is None:
            return measures
        return measures | {"steps": list(self.steps) if isinstance(self.steps, tuple) else self.steps}


_DEFAULT_MEASURES = ("cka", "procrustes", "mutual_knn", "information_imbalance")


def _measure_raw(measure: Measure) -> str | Raw:
    options = measure.changed_options
    return {"name": measure.name, **options} if options else measure.name

"""The frozen specification of a study, and the grid of cells it spans."""

from __future__ import annotations

import hashlib
import itertools
import json
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

import tomlkit
from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator

from consilience._catalogue import suggestion
from consilience._custom import reference
from consilience._messages import one_line
from consilience._tables import Data, Grid, Measures, Noise, Pairs, Raw, Table, Trainer, tagged
from consilience._variants import TAGS, WHOLE, key_of, merged, thawed
from consilience.errors import ConsilienceError
from consilience.train import NETWORKS, Foreign, Linear, NetworkOptions, TrainOptions

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["Cell", "Study", "built_in_studies"]


@dataclass(frozen=True)
class Cell:
    """One point of the grid."""

    index: tuple[int, ...]  # position on snr, n_train, *axes
    coordinates: dict[str, Any]  # "snr", "n_train" and each further axis
    hash: str  # of everything the cell's result depends on


def _network(raw: Any) -> Any:
    return tagged(raw, tag="kind", catalogue=NETWORKS)["kind"] if isinstance(raw, Mapping) else raw


def _first(grid: Mapping[str, Any], table: str) -> Raw | None:
    """Return the first alternative of an axis over a whole table, or over its kind, if it is one by itself."""
    tag = TAGS[table]
    whole, kinds = (grid.get(key) for key in (table, f"{table}.{tag}"))
    if isinstance(whole, list | tuple) and whole and isinstance(whole[0], Mapping) and tag in whole[0]:
        return merged(table, {}, whole[0])
    return {tag: kinds[0]} if isinstance(kinds, list | tuple) and kinds else None


def _foreign(trainer: Trainer) -> Foreign:
    """Return what stands for the networks of a trainer."""
    if callable(trainer.function):
        reference(trainer.function)
    options = json.dumps(thawed(trainer.options), sort_keys=True)
    return Foreign(function=trainer.function, layers=trainer.layers, options=options)


class Study(Table):
    """A frozen study: data × noise × network × training over a grid, and the measures of alignment.

    ``Study(**tables)`` takes the tables of the TOML file as dictionaries; `load` reads a file or a built-in
    study. Every value is checked here, before anything is computed or written.

    Raises
    ------
    ConsilienceError
        One line naming the key, the value received and what to give instead.

    Examples
    --------
    >>> study = Study(
    ...     name="two by two", data={"source": "digits"}, noise={"process": "label-flip"},
    ...     network={"kind": "mlp", "hidden": [8]}, train={"steps": 100},
    ...     grid={"snr": [1, float("inf")], "n_train": [50, 200], "members": 4})
    >>> len(study.cells()), study.n_networks
    (4, 16)
    """

    name: str = Field(default="study", min_length=1)
    seed: int = Field(default=0, ge=0, lt=2**32)
    data: Data
    noise: Noise
    network: Annotated[NetworkOptions, BeforeValidator(_network)]
    trainer: Trainer | None = None
    train: TrainOptions = Field(default_factory=TrainOptions)
    grid: Grid
    measure: Measures = Field(default_factory=Measures)
    pairs: Pairs = Field(default_factory=Pairs)

    def __init__(self, **tables: Any) -> None:
        try:
            super().__init__(**tables)
        except ValidationError as error:
            raise ConsilienceError(one_line(error, valid=_keys_beside)) from None

    @classmethod
    def load(cls, path_or_name: str | Path, **overrides: Any) -> Study:
        """Read a TOML file or the built-in study of that name.

        Parameters
        ----------
        path_or_name
            A path (with a suffix or a separator), or a name of `built_in_studies`.
        overrides
            Values for dotted keys, replacing those of the file: ``**{"grid.members": 16}``.
        """
        return cls(**_override(_read_toml(path_or_name), overrides))

    @field_validator("name")
    @classmethod
    def _is_a_file_name(cls, name: str) -> str:
        if name.startswith(".") or {"/", "\\"} & set(name):
            raise ValueError("must hold no / and not begin with a dot: it names the run directory")
        return name

    @model_validator(mode="before")
    @classmethod
    def _first_of_the_grid(cls, raw: Any) -> Any:
        """A table that is left out is the first of its alternatives in the grid, where these say all there is."""
        grid = raw.get("grid") if isinstance(raw, Mapping) else None
        if not isinstance(grid, Mapping):
            return raw
        firsts = {table: _first(grid, table) for table in ("noise", "network") if raw.get(table) is None}
        return {**{table: first for table, first in firsts.items() if first}, **raw}

    @model_validator(mode="before")
    @classmethod
    def _networks_of_a_trainer(cls, raw: Any) -> Any:
        """A study has either networks described here or a trainer of the user's own."""
        if not isinstance(raw, Mapping) or raw.get("trainer") is None:
            return raw
        for table in ("network", "train"):
            if table in raw and not isinstance(raw[table], Foreign):
                raise ConsilienceError(
                    f"{table}: this study has a trainer of its own, which knows nothing of [{table}]; give its options "
                    f"in [trainer]"
                )
        trainer = Trainer.model_validate(raw["trainer"])
        return {**raw, "trainer": trainer, "network": _foreign(trainer)}

    @model_validator(mode="after")
    def _check(self) -> Self:
        self._check_training()
        self._check_pairs()
        for values in self._axis_points():
            if values:
                self.at(values)
        return self

    def _check_pairs(self) -> None:
        """Refuse comparisons across what is no axis of the grid."""
        axes = {"snr": self.grid.snr, "n_train": self.grid.n_train, **self.grid.axes}
        for key in self.pairs.across:
            if key not in axes:
                raise ConsilienceError(f"pairs.across = {key!r}: not an axis of this grid; {suggestion(key, axes)}")
            if len(axes[key]) < 2:
                raise ConsilienceError(f"pairs.across = {key!r}: this axis has one value; give it two or more")
        if len(set(self.pairs.across)) < len(self.pairs.across):
            raise ConsilienceError(f"pairs.across = {list(self.pairs.across)}: an axis is named twice; name it once")
        if self.pairs.measures and not self.pairs.across:
            raise ConsilienceError("pairs.measures: says nothing without pairs.across; name an axis of the grid there")

    def _check_training(self) -> None:
        """Refuse options of training that contradict each other or the network."""
        if isinstance(self.network, Foreign):
            if self.measure.steps is not None:
                raise ConsilienceError("measure.steps: what a trainer does on the way is not seen here; remove it")
            return
        batch = self.train.batch if self.train.solver == "gradient" else "full"
        # Rows are drawn with replacement, so the default serves small sets too; another number there is a slip.
        if batch not in ("full", TrainOptions.batch) and batch > max(self.grid.n_train):
            raise ConsilienceError(
                f"train.batch = {batch}: larger than every n_train (up to {max(self.grid.n_train)}); "
                f"lower it, or set batch = 'full'"
            )
        if self.train.solver == "exact":
            if not isinstance(self.network, Linear):
                raise ConsilienceError(
                    "train.solver = 'exact': only network.kind = 'linear' has a closed form; use 'gradient'"
                )
            if self.train.loss == "cross-entropy":
                raise ConsilienceError(
                    "train.loss = 'cross-entropy': the exact solver minimises the squared error; set 'squared-error'"
                )
        self._check_steps()

    def _check_steps(self) -> None:
        """Refuse steps on the way where there is none, or beyond its end."""
        asked = self.measure.steps
        if asked is not None and self.train.solver == "exact":
            raise ConsilienceError("measure.steps: train.solver = 'exact' takes no steps; remove it, or use 'gradient'")
        if isinstance(asked, tuple) and max(asked) > self.train.steps:
            raise ConsilienceError(
                f"measure.steps = {list(asked)}: {max(asked)} lies beyond train.steps = {self.train.steps}"
            )

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as tables: what a study holds is read-only, which pickle cannot restore."""
        return _from_tables, (self.tables(),)

    def _axis_points(self) -> Iterator[Raw]:
        for values in itertools.product(*self.grid.axes.values()):
            yield dict(zip(self.grid.axes, values, strict=True))

    @property
    def n_networks(self) -> int:
        """Number of networks the whole study trains."""
        return len(self.cells()) * self.grid.members

    def at(self, axes: Mapping[str, Any]) -> Study:
        """Return the study without further axes, their keys set to these values."""
        tables = self.tables()
        tables.pop("pairs", None)
        if self.trainer is not None:
            tables["trainer"]["function"] = self.trainer.function
        for key in self.grid.axes:
            del tables["grid"][key]
        return Study(**_set(tables, axes))

    def cells(self) -> list[Cell]:
        """Return the cells of the grid in order: the last axis varies fastest."""
        points = {key_of(values): self.at(values) for values in self._axis_points()}
        sizes = [
            range(len(self.grid.snr)),
            range(len(self.grid.n_train)),
            *(range(len(v)) for v in self.grid.axes.values()),
        ]
        found: list[Cell] = []
        for index in itertools.product(*sizes):
            snr, n_train = self.grid.snr[index[0]], self.grid.n_train[index[1]]
            axes = {key: values[i] for (key, values), i in zip(self.grid.axes.items(), index[2:], strict=True)}
            digest = _hash(points[key_of(axes)], snr, n_train)
            found.append(Cell(index, {"snr": snr, "n_train": n_train, **axes}, digest))
        return found

    def tables(self) -> Raw:
        """Return the study as nested dictionaries, every option resolved; `Study(**tables)` is the inverse."""
        if self.trainer is not None:
            networks: Raw = {"trainer": self.trainer.raw()}
        else:
            networks = {"network": {"kind": self.network.name, **asdict(self.network)}, "train": asdict(self.train)}
        tables: Raw = {
            "name": self.name,
            "seed": self.seed,
            "data": self.data.raw(),
            "noise": self.noise.raw(),
            **networks,
            "grid": self.grid.raw(),
            "measure": self.measure.raw(),
        }
        pairs = self.pairs.raw()
        return _plain(tables | ({"pairs": pairs} if pairs else {}))

    def toml(self) -> str:
        """Return the resolved study as TOML text."""
        return tomlkit.dumps(self.tables())

    def run(self, out: str | Path | None = None, **options: Any) -> xr.Dataset:
        """Train and measure every cell not finished yet in `out`; see `consilience.run.run`."""
        from consilience.run import run

        return run(self, out, **options)


def _from_tables(tables: Raw) -> Study:
    return Study(**tables)


def _hash(study: Study, snr: float, n_train: int) -> str:
    """Hash what a cell's numbers depend on: all but the study's name and the other values of the grid.

    The largest n_train counts: it sets how many samples a synthetic source generates.
    """
    tables = study.tables()
    del tables["name"]
    tables.pop("pairs", None)
    tables["grid"] = {
        "members": study.grid.members,
        "snr": snr,
        "n_train": n_train,
        "n_max": max(study.grid.n_train),
    }
    text = json.dumps(tables, sort_keys=True, default=list)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _keys_beside(location: tuple[int | str, ...]) -> list[str]:
    """Return the valid keys of the table that the location lies in."""
    table = location[0] if len(location) > 1 else None
    if table == "train":
        return [field.name for field in fields(TrainOptions)]
    tables = {"data": Data, "noise": Noise, "grid": Grid, "measure": Measures, "pairs": Pairs, "trainer": Trainer}
    return list(tables.get(str(table), Study).model_fields)


def _plain(value: Any) -> Any:
    """Turn options into what TOML can write: lists for tuples, text for paths, nothing for what is not set."""
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items() if item is not None}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _override(tables: Mapping[str, Any], overrides: Mapping[str, Any]) -> Raw:
    """Return the tables with dotted keys replaced."""
    result: Raw = {key: dict(value) if isinstance(value, Mapping) else value for key, value in tables.items()}
    for dotted, value in overrides.items():
        table, _, key = dotted.partition(".")
        if key and table == "trainer" and not isinstance(result.get(table, {}), dict):
            result[table] = {"function": result[table]}  # written short
        if not key:
            result[table] = value
        elif isinstance(result.setdefault(table, {}), dict):
            result[table][key] = value
        else:
            raise ConsilienceError(f"{dotted} = {value!r}: {table} is a single value and not a table; set it as such")
    return result


def _set(tables: Raw, axes: Mapping[str, Any]) -> Raw:
    """Return the tables with one value of every further axis, whatever their order: of a key, or of a whole table.

    What replaces most comes first: a kind, which drops options that were not set; then whole tables, which may name a
    kind and stand alone (no alternative does beside an axis over the kind itself); then single options of either.
    """
    for key in sorted(axes, key=_turn):
        table, _, option = key.partition(".")
        value = axes[key]
        if key in WHOLE:
            tables[key] = merged(key, tables.get(key, {}), value)
        elif not _is_kind(key):
            tables = _override(tables, {key: thawed(value)})
        elif (given := tables.get(table, {})).get(option) != value:
            tables[table] = {option: value, **_carried(given, table)}
    return tables


def _turn(key: str) -> int:
    return 0 if _is_kind(key) else 1 if key in WHOLE else 2


def _is_kind(key: str) -> bool:
    table, _, option = key.partition(".")
    return option != "" and TAGS.get(table) == option


def _carried(options: Raw, table: str) -> Raw:
    """Return the options that go on to another kind of thing: those that were set, not those at their defaults."""
    kind = NETWORKS.get(options.get("kind", "")) if table == "network" else None
    defaults = {} if kind is None else {field.name: _plain(field.default) for field in fields(kind)}
    return {key: value for key, value in options.items() if key != TAGS[table] and defaults.get(key, ...) != value}


def built_in_studies() -> dict[str, Path]:
    """Return the name and file of every study that comes with the package."""
    folder = Path(str(files("consilience") / "studies"))
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def _read_toml(path_or_name: str | Path) -> Raw:
    path = built_in_studies().get(str(path_or_name), Path(path_or_name))
    if not path.is_file():
        raise ConsilienceError(
            f"study {str(path_or_name)!r}: neither a file nor a built-in study; "
            f"{suggestion(str(path_or_name), built_in_studies())}"
        )
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConsilienceError(f"study file {path}: not valid TOML: {error}") from None

"""How measures are registered and found by name, with everything that writing one takes."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping
from dataclasses import MISSING, is_dataclass
from functools import cache
from importlib.metadata import entry_points
from typing import Any, TypeVar, cast

from consilience._array import Array
from consilience._catalogue import Catalogue, suggestion
from consilience._declarations import DegenerateWarning, Family, Invariance, Kind, per_instance
from consilience._labels import parse_label
from consilience._measure import Descriptor, Measure, options_of
from consilience._moments import Moments
from consilience.errors import ConsilienceError, UnknownNameError

__all__ = [
    "DegenerateWarning",
    "Descriptor",
    "Family",
    "Invariance",
    "Kind",
    "Measure",
    "Moments",
    "as_function",
    "get_measure",
    "measures",
    "per_instance",
    "register",
]

M = TypeVar("M", bound="type[Measure]")

_FACTS = (
    "title",
    "reference",
    "family",
    "kind",
    "bounds",
    "symmetric",
    "invariances",
    "cost",
    "use",
    "avoid",
)

_catalogue: Catalogue[type[Measure]] = Catalogue("measure")
_aliases: dict[str, tuple[str, Mapping[str, Any]]] = {}


def register(measure: M) -> M:
    """Class decorator: put `measure` in the registry under its name (`MutualKNN` becomes ``mutual_knn``).

    Raises
    ------
    TypeError
        If the class is not a frozen dataclass with defaults for every option, declares too few facts, or takes a name
        or alias that is taken.
    """
    missing = [fact for fact in _FACTS if inspect.getattr_static(measure, fact, None) is None]
    if missing:
        raise TypeError(f"{measure.__name__} must declare {', '.join(missing)} as class attributes")
    frozen = is_dataclass(measure) and cast(Any, measure).__dataclass_params__.frozen
    if not frozen or any(field.default is MISSING for field in options_of(measure)):
        raise TypeError(f"{measure.__name__} must be a frozen dataclass whose options all have defaults")
    taken = ({measure.name} & _aliases.keys()) | (measure.aliases.keys() & (_catalogue.keys() | _aliases.keys()))
    if taken and _catalogue.get(measure.name) is not measure:
        raise TypeError(f"{measure.__name__}: {', '.join(sorted(taken))} already names another measure")
    _catalogue.register(measure.name, measure)
    _aliases.update({alias: (measure.name, options) for alias, options in measure.aliases.items()})
    return measure


def measures() -> Mapping[str, type[Measure]]:
    """Every measure by name, including those that installed packages add.

    >>> measures()["cka"].title
    'Centered kernel alignment'
    """
    _load_entry_points()
    return _catalogue


def get_measure(name: str | Measure, **options: Any) -> Measure:
    """Return the measure called `name`, with `options`; an alias, a label or a measure itself is accepted too.

    >>> get_measure("cka", estimator="biased").label
    'cka(estimator=biased)'
    >>> get_measure("mutual_knn(k=5)")
    MutualKNN(k=5, metric='cosine', adjusted=False)
    >>> get_measure("rv_coefficient").label
    'cka(estimator=biased)'
    >>> get_measure("cca_mean_of_everything", k=1)
    Traceback (most recent call last):
    consilience.errors.UnknownNameError: unknown measure 'cca_mean_of_everything': valid names: ...

    Raises
    ------
    UnknownNameError
        If no measure has that name, or the measure no such option; the message lists the closest.
    ConsilienceError
        If an option has a value it cannot have.
    """
    if isinstance(name, Measure):
        if options:
            raise ConsilienceError(
                f"options {sorted(options)} came with the measure {name.label}, which has its own: pass a name instead."
            )
        return name
    if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # what users pass is not checked
        raise ConsilienceError(f"a measure is given by name, label or as a Measure, not as {type(name).__name__}.")
    base, written = parse_label(name)
    everything = measures()  # loads installed packages, and their aliases with them
    base, meant = (base, {}) if base in everything else _aliases.get(base, (base, {}))
    measure = everything[base]
    options = {**meant, **written, **options}
    allowed = {field.name for field in options_of(measure)}
    for option in options:
        if option not in allowed:
            hint = suggestion(option, allowed) if allowed else "it takes no options"
            raise UnknownNameError(f"measure {base!r} has no option {option!r}: {hint}")
    return measure(**options)


@cache
def as_function(name: str) -> Callable[..., Array]:
    """Return the measure `name` as ``f(x, y, targets=None, **options)``, documented as the measure is."""
    measure = measures()[name]

    def function(*representations: Any, targets: Any = None, **options: Any) -> Array:
        return get_measure(name, **options)(*representations, targets=targets)

    kind, default = inspect.Parameter, inspect.Parameter.empty
    positional = [kind("x", kind.POSITIONAL_ONLY)]
    if measure.compare_set is not Measure.compare_set:
        positional.append(kind("others", kind.VAR_POSITIONAL))
    else:
        default = None if issubclass(measure, Descriptor) else default
        positional.append(kind("y", kind.POSITIONAL_ONLY, default=default))
    keywords = [kind("targets", kind.KEYWORD_ONLY, default=None)]
    keywords += [kind(field.name, kind.KEYWORD_ONLY, default=field.default) for field in options_of(measure)]
    function.__name__ = function.__qualname__ = name
    function.__doc__ = measure.__doc__
    cast(Any, function).__signature__ = inspect.Signature([*positional, *keywords])
    return function


@cache
def _load_entry_points() -> None:
    """Load what installed packages offer in the group ``consilience.measures``: a measure, or a module of them."""
    for point in entry_points(group="consilience.measures"):
        try:
            found = point.load()
        except ImportError as error:  # a package that does not fit must not take the others away
            warnings.warn(f"measure {point.name!r} of {point.value} cannot be loaded: {error}", stacklevel=3)
            continue
        if isinstance(found, type) and issubclass(found, Measure) and found.name not in _catalogue:
            register(found)

"""What a measure is, the facts it declares, and how measures are found by name."""

from __future__ import annotations

import inspect
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import StrEnum
from functools import cache
from importlib.metadata import entry_points
from typing import Any, TypeVar, cast

from consilience._array import Array, as_representations, is_traced, namespace
from consilience._catalogue import Catalogue, suggestion
from consilience._labels import check_options, parse_label, snake_case
from consilience.errors import ConsilienceError, UnknownNameError

__all__ = [
    "DegenerateWarning",
    "Invariance",
    "Kind",
    "Measure",
    "as_function",
    "get_measure",
    "measures",
    "per_instance",
    "register",
]

T = TypeVar("T")
M = TypeVar("M", bound="type[Measure]")

_FACTS = ("title", "reference", "kind", "bounds", "symmetric", "invariances")


class DegenerateWarning(UserWarning):
    """A score is NaN because a representation has nothing to compare; the message names it and says why."""


class Kind(StrEnum):
    """Whether a larger score means more alike or less alike."""

    SIMILARITY = "similarity"
    DISTANCE = "distance"


class Invariance(StrEnum):
    """A transformation of the features of one representation that leaves a score as it is."""

    PERMUTATION = "permutation"
    ORTHOGONAL = "orthogonal"
    ISOTROPIC_SCALING = "isotropic scaling"
    INVERTIBLE_LINEAR = "invertible linear"
    TRANSLATION = "translation"

    @property
    def implied(self) -> frozenset[Invariance]:
        """This invariance and those that follow from it.

        >>> sorted(member.name for member in Invariance.ORTHOGONAL.implied)
        ['ORTHOGONAL', 'PERMUTATION']
        """
        if self is Invariance.ORTHOGONAL:
            return frozenset({self, Invariance.PERMUTATION})
        if self is Invariance.INVERTIBLE_LINEAR:
            return frozenset(Invariance) - {Invariance.TRANSLATION}
        return frozenset({self})


class _PerInstance:
    """A fact computed from the options; read from the class, it is the fact of the default options."""

    def __init__(self, compute: Callable[[Any], Any]) -> None:
        self.compute = compute

    def __get__(self, instance: Measure | None, owner: type[Measure]) -> Any:
        return self.compute(owner() if instance is None else instance)


def per_instance(compute: Callable[[Any], T]) -> T:
    """Declare a fact that depends on the options: ``bounds = per_instance(lambda self: ...)``."""
    return cast(T, _PerInstance(compute))


class Measure(ABC):
    """A similarity or distance between two representations of the same samples.

    A subclass is a frozen dataclass. Its options are its fields, its facts are class attributes, its mathematics
    is two pure functions: `prepare`, once per representation, and `compare`, once per pair.

    Facts
    -----
    title : str
        The name in words.
    reference : str
        Key of the publication that defines it.
    kind : Kind
        Similarity or distance.
    bounds : tuple of float
        The smallest and largest value a score can take.
    symmetric : bool
        Whether ``measure(x, y) == measure(y, x)``.
    invariances : frozenset of Invariance
        What may be done to the features of either representation without changing the score.
    differentiable : bool
        Whether gradients with respect to the representations exist almost everywhere and are useful.
    outputs_only : bool
        Whether features are compared one by one, so that it makes sense for outputs but not for hidden layers.
    """

    name: str
    title: str
    reference: str
    kind: Kind
    bounds: tuple[float, float]
    symmetric: bool
    invariances: frozenset[Invariance]
    differentiable: bool = False
    outputs_only: bool = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "name" not in cls.__dict__:
            cls.name = snake_case(cls.__name__)

    def __post_init__(self) -> None:
        check_options(type(self), self.name, self.options)

    @abstractmethod
    def prepare(self, x: Array, /) -> Any:
        """Everything `compare` needs to know of one representation `x`, a checked floating-point (n, d) array."""

    @abstractmethod
    def compare(self, a: Any, b: Any, /) -> Array:
        """Return the score of two prepared representations, a 0-d array."""

    def compare_all(self, states: Sequence[Any], /) -> Array:
        """Scores of all pairs, (M, M). Override where pairs share work or are one matrix product."""
        size = len(states)
        cells: list[list[Array]] = [[None] * size for _ in range(size)]
        for i in range(size):
            for j in range(i if self.symmetric else 0, size):
                cells[i][j] = self.compare(states[i], states[j])
                if self.symmetric:
                    cells[j][i] = cells[i][j]
        xp = namespace(cells[0][0])
        return xp.stack([xp.stack(row) for row in cells])

    def degenerate(self, state: Any, /) -> str | None:
        """Why the prepared representation `state` has no score with anything, or None. Needs known values."""
        del state
        return None

    @property
    def min_samples(self) -> int:
        """Return the fewest rows for which the score is defined."""
        return 2

    def self_score(self, n: int) -> float | None:
        """Return the score of any `n` samples with themselves; None if that depends on the samples."""
        del n
        return self.bounds[1] if self.kind is Kind.SIMILARITY else self.bounds[0]

    def invariant_to(self, invariance: Invariance) -> bool:
        """Whether `invariance` is declared or follows from one that is."""
        return any(invariance in declared.implied for declared in self.invariances)

    @property
    def options(self) -> dict[str, Any]:
        """Every option and its value."""
        return {field.name: getattr(self, field.name) for field in _options(type(self))}

    @property
    def changed_options(self) -> dict[str, Any]:
        """The options that differ from their defaults."""
        defaults = {field.name: field.default for field in _options(type(self))}
        return {name: value for name, value in self.options.items() if value != defaults[name]}

    @property
    def label(self) -> str:
        """The name, with the options that differ from their defaults: ``cka``, ``cka(estimator=biased)``.

        ``get_measure(measure.label) == measure``.
        """
        changed = [f"{name}={value}" for name, value in self.changed_options.items()]
        return f"{self.name}({', '.join(changed)})" if changed else self.name

    def __call__(self, x: Any, y: Any, /) -> Array:
        """Score two representations of the same samples: (n, p) and (n, q) arrays.

        Returns
        -------
        0-d array of the caller's library. NaN, with a `DegenerateWarning` that says why, if a representation has
        nothing to compare (for example, if no feature varies).

        Raises
        ------
        ConsilienceError
            If the arrays are not two-dimensional, finite and of equal length, library and device.
        """
        x, y = as_representations((x, y), ("x", "y"), min_samples=self.min_samples, needed_by=f"measure {self.label}")
        a, b = self.prepare(x), self.prepare(y)
        if not is_traced(x) and not is_traced(y):
            for name, state in (("x", a), ("y", b)):
                reason = self.degenerate(state)
                if reason:
                    warnings.warn(f"{self.label} is NaN: in {name}, {reason}", DegenerateWarning, stacklevel=2)
                    return namespace(x).asarray(float("nan"), dtype=x.dtype)
        return self.compare(a, b)


_catalogue: Catalogue[type[Measure]] = Catalogue("measure")


def register(measure: M) -> M:
    """Class decorator: put `measure` in the registry under its name (`MutualKNN` becomes ``mutual_knn``).

    Raises
    ------
    TypeError
        If the class is not a frozen dataclass with defaults for every option, or declares too few facts.
    """
    missing = [fact for fact in _FACTS if inspect.getattr_static(measure, fact, None) is None]
    if missing:
        raise TypeError(f"{measure.__name__} must declare {', '.join(missing)} as class attributes")
    frozen = is_dataclass(measure) and cast(Any, measure).__dataclass_params__.frozen
    if not frozen or any(field.default is MISSING for field in _options(measure)):
        raise TypeError(f"{measure.__name__} must be a frozen dataclass whose options all have defaults")
    _catalogue.register(measure.name, measure)
    return measure


def measures() -> Mapping[str, type[Measure]]:
    """Every measure by name, including those that installed packages add.

    >>> measures()["cka"].title
    'Centered kernel alignment'
    """
    _load_entry_points()
    return _catalogue


def get_measure(name: str | Measure, **options: Any) -> Measure:
    """Return the measure called `name`, with `options`; a label or a measure itself is accepted too.

    >>> get_measure("cka", estimator="biased").label
    'cka(estimator=biased)'
    >>> get_measure("mutual_knn(k=5)")
    MutualKNN(k=5, metric='cosine')
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
    base, written = parse_label(name)
    measure = measures()[base]
    options = {**written, **options}
    allowed = {field.name for field in _options(measure)}
    for option in options:
        if option not in allowed:
            hint = suggestion(option, allowed) if allowed else "it takes no options"
            raise UnknownNameError(f"measure {base!r} has no option {option!r}: {hint}")
    return measure(**options)


@cache
def as_function(name: str) -> Callable[..., Array]:
    """Return the measure `name` as ``f(x, y, **options)``, documented as the measure is."""
    measure = measures()[name]

    def function(x: Any, y: Any, /, **options: Any) -> Array:
        return get_measure(name, **options)(x, y)

    positional = [inspect.Parameter(arg, inspect.Parameter.POSITIONAL_ONLY) for arg in ("x", "y")]
    keywords = [
        inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default)
        for field in _options(measure)
    ]
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


def _options(measure: type[Measure]) -> tuple[Field[Any], ...]:
    return fields(cast(Any, measure))

"""What a measure is: the base classes that every measure, ours or another package's, is built on."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import Field, fields
from types import MappingProxyType
from typing import Any, ClassVar, cast

from consilience._array import Array, as_representations, as_targets, is_traced, namespace
from consilience._declarations import DegenerateWarning, Family, Invariance, Kind
from consilience._labels import check_options, snake_case
from consilience._moments import Moments
from consilience._resampling import Resampled
from consilience.errors import ConsilienceError

__all__ = ["Descriptor", "Measure", "options_of"]


class Measure(Resampled, ABC):
    """A similarity or distance between two representations of the same samples.

    A subclass is a frozen dataclass. Its options are its fields, its facts are class attributes, its mathematics
    is two pure functions: `prepare`, once per representation, and `compare`, once per pair.

    Facts
    -----
    title : str
        The name in words.
    reference : str
        Key of the publication that defines it.
    family : Family
        What it looks at.
    kind : Kind
        Similarity or distance.
    bounds : tuple of float
        The smallest and largest value a score can take.
    symmetric : bool
        Whether ``measure(x, y) == measure(y, x)``.
    invariances : frozenset of Invariance
        What may be done to the features of either representation without changing the score.
    cost : str
        Time and memory for one pair, in n samples and p, q features: ``O(n p q)``.
    use, avoid : str
        One sentence each: when it is the right measure, and when it is not.
    differentiable : bool
        Whether gradients with respect to the representations exist almost everywhere and are useful.
    outputs_only : bool
        Whether features are compared one by one, so that it makes sense for outputs but not for hidden layers.
    needs_classes : bool
        Whether outputs are read as classes or as distributions over them, so that those of regression mean nothing.
    needs_targets : bool
        Whether it cannot be computed without the true class of every sample.
    defined_for_constants : bool
        Whether representations in which nothing varies have a score.
    aliases : mapping of str to mapping
        Other names in use, each with the options that it stands for.

    Facts that depend on the options are declared with `per_instance`.
    """

    name: str
    title: str
    reference: str
    family: Family
    kind: Kind
    bounds: tuple[float, float]
    symmetric: bool
    invariances: frozenset[Invariance]
    cost: str
    use: str
    avoid: str
    differentiable: bool = False
    outputs_only: bool = False
    needs_classes: bool = False
    needs_targets: bool = False
    defined_for_constants: bool = False
    aliases: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType({})

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "name" not in cls.__dict__:
            cls.name = snake_case(cls.__name__)

    def __post_init__(self) -> None:
        check_options(type(self), self.name, self.options)

    @abstractmethod
    def prepare(self, x: Array, /) -> Any:
        """Everything `compare` needs to know of one representation `x`, a checked floating-point (n, d) array."""

    def prepare_with_targets(self, x: Array, targets: Array, /) -> Any:
        """Do as `prepare`, knowing the class of every sample, integers (n,). By default they change nothing."""
        del targets
        return self.prepare(x)

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

    def compare_set(self, states: Sequence[Any], /) -> Array:
        """Score one representation, the first, against all others at once; only some measures have this."""
        if len(states) == 2:
            return self.compare(*states)
        raise ConsilienceError(
            f"measure {self.label} compares two representations and received {len(states)}: "
            "use pairwise for all pairs of many."
        )

    def degenerate(self, state: Any, /) -> str | None:
        """Why the prepared representation `state` has no score with anything, or None. Needs known values."""
        del state
        return None

    def caveat(self, a: Any, b: Any, /) -> str | None:
        """Why the score of this pair says nothing about the data although it has a value, or None."""
        del a, b
        return None

    def check_input(self, x: Array, name: str, /) -> None:
        """Raise `ConsilienceError` if `x`, called `name`, is no input for this measure (not probabilities, say)."""
        del x, name

    def from_moments(self, *folds: Moments) -> Array:
        """Score from second moments alone, one `Moments` per fold; what `consilience.Stream` calls."""
        del folds
        raise ConsilienceError(
            f"measure {self.label} depends on more than second moments and cannot be streamed: "
            "call it on arrays; `consilience measures NAME` says which measures can."
        )

    @property
    def streams(self) -> bool:
        """Whether `consilience.Stream` can accumulate it, batch by batch."""
        return type(self).from_moments is not Measure.from_moments

    @property
    def folds(self) -> int:
        """Return into how many folds (row i goes to fold i mod folds) `from_moments` wants the samples split."""
        return 1

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
        return {field.name: getattr(self, field.name) for field in options_of(type(self))}

    @property
    def changed_options(self) -> dict[str, Any]:
        """The options that differ from their defaults."""
        defaults = {field.name: field.default for field in options_of(type(self))}
        return {name: value for name, value in self.options.items() if value != defaults[name]}

    @property
    def label(self) -> str:
        """The name, with the options that differ from their defaults: ``cka``, ``cka(estimator=biased)``.

        ``get_measure(measure.label) == measure``.
        """
        changed = [f"{name}={value}" for name, value in self.changed_options.items()]
        return f"{self.name}({', '.join(changed)})" if changed else self.name

    def checked(
        self, values: Sequence[Any], names: Sequence[str], targets: Any = None
    ) -> tuple[list[Array], Array | None]:
        """Return `values` as floating-point arrays and `targets` as integers, checked for this measure.

        Raises
        ------
        ConsilienceError
            If the arrays are not two-dimensional, finite and of equal length, library and device; if targets are
            needed and absent, or are not one integer for each sample; if squares would overflow and features cannot be
            scaled without changing the score.
        """
        arrays = as_representations(values, names, min_samples=self.min_samples, needed_by=f"measure {self.label}")
        for x, name in zip(arrays, names, strict=True):
            self.check_input(x, name)
            free = self.invariant_to(Invariance.ISOTROPIC_SCALING) or isinstance(self, Descriptor)
            if not (free or self.outputs_only):  # those take no squares in the units of the features
                _check_squares(x, name, self.label)
        if targets is not None:
            return arrays, as_targets(targets, like=arrays[0])
        if self.needs_targets:
            raise ConsilienceError(
                f"measure {self.label} needs the true class of every sample: pass targets=, integers of shape "
                f"({arrays[0].shape[0]},)."
            )
        return arrays, None

    def state(self, x: Array, targets: Array | None = None) -> Any:
        """`x` prepared, with or without targets."""
        return self.prepare(x) if targets is None else self.prepare_with_targets(x, targets)

    def __call__(self, x: Any, /, *others: Any, targets: Any = None) -> Array:
        """Score two representations of the same samples: (n, p) and (n, q) arrays.

        Parameters
        ----------
        x, y : (n, p) and (n, q) arrays
            A measure of sets takes any number of further ones.
        targets : (n,) integers, optional
            True class of every sample, for measures that need it.

        Returns
        -------
        0-d array of the caller's library. NaN, with a `DegenerateWarning` that says why, if a representation has
        nothing to compare (for example, if no feature varies).

        Raises
        ------
        ConsilienceError
            See `checked`.
        """
        names = ["x", "y", *(f"representation {i}" for i in range(3, len(others) + 2))][: len(others) + 1]
        if not others:
            raise ConsilienceError(f"measure {self.label} compares representations: pass two, x and y.")
        arrays, targets = self.checked((x, *others), names, targets)
        states = [self.state(each, targets) for each in arrays]
        if not any(is_traced(each) for each in arrays):
            for name, state in zip(names, states, strict=True):
                reason = self.degenerate(state)
                if reason:
                    warnings.warn(f"{self.label} is NaN: in {name}, {reason}", DegenerateWarning, stacklevel=2)
                    return namespace(arrays[0]).asarray(float("nan"), dtype=arrays[0].dtype)
            caveat = self.caveat(states[0], states[1])
            if caveat:
                warnings.warn(f"{self.label}: {caveat}", DegenerateWarning, stacklevel=2)
        return self.compare_set(states)


class Descriptor(Measure):
    """A number that describes one representation; as a measure of two, the distance between their numbers.

    A subclass defines `describe`; ``measure(x)`` is that number and ``measure(x, y)`` is ``|f(x) - f(y)|``.
    """

    kind = Kind.DISTANCE
    family = Family.DESCRIPTIVE
    symmetric = True
    bounds = (0.0, float("inf"))

    @abstractmethod
    def describe(self, x: Array, /) -> Array:
        """Return the number, a 0-d array, for `x` (n, d)."""

    def prepare(self, x: Array, /) -> Array:
        """Describe."""
        return self.describe(x)

    def compare(self, a: Array, b: Array, /) -> Array:
        """Absolute difference."""
        return namespace(a).abs(a - b)

    def compare_all(self, states: Sequence[Array], /) -> Array:
        """Absolute differences of all numbers."""
        xp = namespace(states[0])
        numbers = xp.stack(list(states))
        return xp.abs(numbers[:, None] - numbers[None, :])

    def __call__(self, x: Any, /, *others: Any, targets: Any = None) -> Array:
        """Return the number that describes `x` (n, p) or, given `y` too, by how much the two numbers differ."""
        if others:
            return super().__call__(x, *others, targets=targets)
        (x,), targets = self.checked((x,), ("x",), targets)
        found = self.state(x, targets)
        reason = None if is_traced(x) else self.degenerate(found)
        if reason:
            warnings.warn(f"{self.label} is NaN: in x, {reason}", DegenerateWarning, stacklevel=2)
            return namespace(x).asarray(float("nan"), dtype=x.dtype)
        return found


def _check_squares(x: Array, name: str, label: str) -> None:
    """Refuse features whose squares, added up, would overflow."""
    if is_traced(x):
        return
    xp = namespace(x)
    largest, most = float(xp.max(xp.abs(x))), 1e150 if x.dtype == xp.float64 else 1e18
    if largest > most:
        raise ConsilienceError(
            f"{name} holds magnitudes up to {largest:.3g}, of which {label} takes squares: above {most:g} these "
            "overflow. The score is in units of the features: divide all representations by one number first."
        )


def options_of(measure: type[Measure]) -> tuple[Field[Any], ...]:
    """Return the fields of the dataclass that `measure` is."""
    return fields(cast(Any, measure))

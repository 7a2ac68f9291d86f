"""What every measure must satisfy, tested on generic data: the facts it declares and those it does not.

Each check takes a measure and raises `AssertionError` with what it found. Checks against an array library are skipped
where that library is not installed.
"""

from __future__ import annotations

import inspect
import itertools
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from typing import Any, Literal, TypeAlias, cast, get_args, get_origin, get_type_hints

import numpy as np

from consilience._array import to_numpy
from consilience.compare import pairwise
from consilience.errors import ConsilienceError
from consilience.registry import DegenerateWarning, Family, Invariance, Kind, Measure
from consilience.stream import Stream
from consilience.testing import libraries

__all__ = ["MEASURE_CHECKS", "check_measure", "generic_pair", "variants"]

Matrix: TypeAlias = "np.ndarray[Any, np.dtype[np.floating[Any]]]"

_ROUNDING = 1e-9  # agreement of two float64 computations of one score
_MOST_VARIANTS = 24
_CHANGED = 1e-4  # a score that moves by more than this is not invariant


def check_measure(measure: Measure) -> None:
    """Run every check of `MEASURE_CHECKS` on `measure`.

    >>> from consilience import get_measure
    >>> check_measure(get_measure("output_correlation"))

    Raises
    ------
    AssertionError
        At the first property that does not hold.
    """
    for check in MEASURE_CHECKS:
        check(measure)


def variants(measure: type[Measure]) -> list[Measure]:
    """Return the measure with every combination of values of its choice and yes/no options that it accepts.

    Where there are more than 24, every value is met with the defaults of all other options instead.

    Examples
    --------
    >>> from consilience import measures
    >>> [variant.label for variant in variants(measures()["procrustes"])[:2]]
    ['procrustes', 'procrustes(form=euclidean)']
    """
    hints = get_type_hints(measure)
    choices: dict[str, tuple[Any, ...]] = {}
    for field in fields(cast(Any, measure)):
        hint = hints[field.name]
        if get_origin(hint) is Literal:
            choices[field.name] = (field.default, *(arg for arg in get_args(hint) if arg != field.default))
        elif hint is bool:
            choices[field.name] = (field.default, not field.default)
    combinations = [dict(zip(choices, values, strict=True)) for values in itertools.product(*choices.values())]
    if len(combinations) > _MOST_VARIANTS:
        combinations = [{}] + [{name: value} for name, values in choices.items() for value in values[1:]]
    found: list[Measure] = []
    for options in combinations:
        try:
            found.append(measure(**options))
        except ConsilienceError:  # a combination that the measure rules out
            continue
    return found


def generic_pair(measure: Measure, *, n: int = 40, seed: int = 0) -> tuple[Matrix, Matrix]:
    """Two related representations of `n` samples without symmetry, centring or special scale, (n, 5) and (n, 7).

    A measure of outputs gets two of equal width, one of probabilities gets probabilities, one of rates no sign.
    """
    rng = np.random.default_rng(seed)
    widths = (5, 5) if measure.outputs_only else (5, 7)
    latent = rng.standard_normal((n, 4)) ** 3
    x, y = (
        latent @ rng.standard_normal((4, width)) + 0.5 * rng.standard_normal((n, width)) + rng.standard_normal(width)
        for width in widths
    )
    if measure.options.get("inputs") == "probabilities":
        x, y = (np.exp(z - z.max(axis=1, keepdims=True)) for z in (x, y))
        x, y = (z / z.sum(axis=1, keepdims=True) for z in (x, y))
    if not _admitted(measure, (x, y)):  # counts and rates have no sign
        x, y = np.abs(x), np.abs(y)
    return x, y


def generic_targets(n: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """True classes of `n` samples, in no order: five, or as many fewer as divide the samples equally."""
    classes = next((count for count in (5, 4, 3, 2) if n % count == 0 and n >= 2 * count), 5)
    return np.random.default_rng(11).permutation(np.arange(n) % classes)


def check_facts(measure: Measure) -> None:
    """Facts have the right types, the label finds the measure, and the docstring says what a reader needs."""
    for fact in ("title", "reference", "cost", "use", "avoid"):
        assert getattr(measure, fact), f"{fact} is empty"
    assert isinstance(measure.family, Family), f"family is {measure.family!r}"
    assert isinstance(measure.kind, Kind), f"kind is {measure.kind!r}"
    low, high = measure.bounds
    assert low < high, f"bounds are {measure.bounds}"
    assert all(isinstance(item, Invariance) for item in measure.invariances), "invariances are not Invariance"
    text = inspect.getdoc(type(measure)) or ""
    for needed, why in (
        ("(n, ", "shapes"),
        (">>>", "a doctest"),
        ("References", "a reference"),
        ("::", "a formula"),
    ):
        assert needed in text, f"the docstring of {measure.name} lacks {why} ({needed!r})"


def check_invariances(measure: Measure) -> None:
    """Declared invariances hold for either argument; undeclared ones fail for at least one."""
    x, y = generic_pair(measure)
    reference = _value(measure, x, y)
    for invariance in Invariance:
        pairs = [(_transformed(x, invariance, seed), y) for seed in range(3)]
        pairs += [(x, _transformed(y, invariance, seed)) for seed in range(3)]
        pairs = [pair for pair in pairs if _admitted(measure, pair)]
        if not pairs:  # what is left is no input for this measure: probabilities that do not sum to one
            continue
        moved = [abs(_value(measure, *pair) - reference) for pair in pairs]
        if measure.invariant_to(invariance):
            assert max(moved) < _ROUNDING * max(1.0, abs(reference)), (
                f"{measure.label} is declared invariant to {invariance.value} and moves by {max(moved):.2g}"
            )
        else:
            assert max(moved) > _CHANGED, (
                f"{measure.label} is not declared invariant to {invariance.value} but moves by {max(moved):.2g} only"
            )


def check_symmetry(measure: Measure) -> None:
    """Swapping the arguments changes the score if, and only if, the measure is declared not symmetric."""
    pairs = [generic_pair(measure, seed=seed) for seed in range(3)]
    difference = max(abs(_value(measure, x, y) - _value(measure, y, x)) for x, y in pairs)
    if measure.symmetric:
        assert difference < _ROUNDING, f"{measure.label} is declared symmetric and differs by {difference:.2g}"
    else:
        assert difference > _CHANGED, f"{measure.label} is declared asymmetric and differs by {difference:.2g}"


def check_bounds(measure: Measure) -> None:
    """Scores of related, unrelated and opposite representations are inside the bounds and are finite."""
    low, high = measure.bounds
    slack = _ROUNDING
    for x, y in _assorted_pairs(measure):
        if not _admitted(measure, (x, y)):
            continue
        if any(measure.degenerate(_state(measure, rep)) for rep in (x, y)):
            continue  # NaN with a reason is an answer too
        value = _value(measure, x, y)
        assert math.isfinite(value), f"{measure.label} is {value} without a reason"
        assert low - slack <= value <= high + slack, f"{measure.label} is {value}, outside {measure.bounds}"


def check_identical(measure: Measure) -> None:
    """A representation with itself has the score that the measure says, which nothing beats."""
    x, y = generic_pair(measure)
    expected = measure.self_score(x.shape[0])
    if expected is None:
        return
    value = _value(measure, x, x)
    assert abs(value - expected) < _ROUNDING, f"{measure.label} of identical inputs is {value}, not {expected}"
    other = _value(measure, x, y)
    better = other > expected + _ROUNDING if measure.kind is Kind.SIMILARITY else other < expected - _ROUNDING
    assert not better, f"{measure.label}: different inputs score {other}, identical ones {expected}"


def check_pure(measure: Measure) -> None:
    """The same inputs give the same bits, and are not written to."""
    x, y = generic_pair(measure)
    before = x.copy(), y.copy()
    first, second = _value(measure, x, y), _value(measure, x, y)
    assert first == second, f"{measure.label} gave {first} and then {second}"
    assert np.array_equal(before[0], x), f"{measure.label} changed its first argument"
    assert np.array_equal(before[1], y), f"{measure.label} changed its second argument"


def check_pairwise(measure: Measure) -> None:
    """All pairs at once are the pairs one by one, diagonal included."""
    x, y = generic_pair(measure)
    reps = [x, y, *generic_pair(measure, seed=1)]
    together = to_numpy(pairwise(reps, measure, targets=_targets(measure, x)))
    alone = np.array([[_value(measure, a, b) for b in reps] for a in reps])
    gap = float(np.max(np.abs(together - alone)))
    assert gap < _ROUNDING * max(1.0, float(np.max(np.abs(alone)))), f"pairwise {measure.label} is off by {gap:.2g}"


def check_precision(measure: Measure) -> None:
    """float32 inputs are computed in float64; a large common offset costs a translation-invariant measure nothing."""
    x, y = (rep.astype(np.float32) for rep in generic_pair(measure))
    if not _admitted(measure, (x, y)):  # probabilities in single precision do not sum to one
        return
    exact = _value(measure, x.astype(np.float64), y.astype(np.float64))
    assert abs(_value(measure, x, y) - exact) < _ROUNDING, f"{measure.label} loses precision on float32 input"
    if not measure.invariant_to(Invariance.TRANSLATION):
        return
    x, y = x + np.float32(1e4), y - np.float32(1e4)
    shifted = _value(measure, x, y)
    exact = _value(measure, x.astype(np.float64) - 1e4, y.astype(np.float64) + 1e4)
    gap = abs(shifted - exact)
    assert gap < 1e-8 * max(1.0, abs(exact)), f"{measure.label} moves by {gap:.2g} under an offset of 1e4"


def check_scale(measure: Measure) -> None:
    """Features of size 1e-90 or 1e90 neither vanish nor overflow in a measure invariant to scale."""
    if not measure.invariant_to(Invariance.ISOTROPIC_SCALING):
        return
    x, y = generic_pair(measure)
    reference = _value(measure, x, y)
    for scale in (1e-90, 1e90):
        gap = abs(_value(measure, x * scale, y) - reference)
        assert gap < _ROUNDING, f"{measure.label} moves by {gap:.2g} when features are {scale:g} times as large"


def check_degenerate(measure: Measure) -> None:
    """A constant representation gives NaN and a warning with a reason; it does not take other pairs away."""
    x, y = generic_pair(measure)
    constant = np.full(x.shape, 1 / x.shape[1])
    targets = _targets(measure, x)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        value = float(measure(x, constant, targets=targets))
        matrix = to_numpy(pairwise([x, constant, y], measure, targets=targets, names=["first", "dead", "last"]))
    if measure.defined_for_constants:
        assert math.isfinite(value), f"{measure.label} of a constant representation is {value}"
        assert not caught, f"{measure.label} of a constant representation warns: {caught[0].message}"
        return
    assert math.isnan(value), f"{measure.label} of a constant representation is {value}, not NaN"
    messages = [str(item.message) for item in caught if item.category is DegenerateWarning]
    assert len(messages) == 2, f"{measure.label} gave {len(messages)} DegenerateWarning, not one for each of two calls"
    assert "dead" in messages[1], f"the warning does not name the representation: {messages[1]}"
    others = [item for item in caught if item.category is not DegenerateWarning]
    assert not others, f"{measure.label} warned of something else: {others[0].message}"
    dead = np.concatenate([matrix[1], matrix[:, 1]])
    assert np.isnan(dead).all(), "pairs of the constant representation are not all NaN"
    kept = matrix[np.ix_([0, 2], [0, 2])]
    assert abs(kept[0, 1] - _value(measure, x, y)) < _ROUNDING, "a constant representation changes other pairs"


def check_libraries(measure: Measure) -> None:
    """Every installed array library gives NumPy's score, as a 0-d array of its own, jitted where it can be."""
    x, y = generic_pair(measure)
    libraries.check_agreement(measure, x, y, _value(measure, x, y), _targets(measure, x))


def check_stream(measure: Measure) -> None:
    """A measure that streams gives the same score batch by batch, however the samples are cut."""
    if not measure.streams:
        return
    x, y = (rep + 100 * measure.invariant_to(Invariance.TRANSLATION) for rep in generic_pair(measure))
    expected = _value(measure, x, y)
    for batch in (1, 7, 40):
        stream = Stream(measure)
        for start in range(0, x.shape[0], batch):
            stream.update(x[start : start + batch], y[start : start + batch])
        gap = abs(float(stream.result()) - expected)
        assert gap < 1e-8 * max(1.0, abs(expected)), f"{measure.label} in batches of {batch} is off by {gap:.2g}"


def check_gradients(measure: Measure) -> None:
    """Gradients of a differentiable measure are finite and agree with finite differences."""
    if measure.differentiable:
        x, y = generic_pair(measure, n=12)
        libraries.check_gradient(measure, x, y)


Check: TypeAlias = Callable[[Measure], None]

MEASURE_CHECKS: tuple[Check, ...] = (
    check_facts,
    check_invariances,
    check_symmetry,
    check_bounds,
    check_identical,
    check_pure,
    check_pairwise,
    check_precision,
    check_scale,
    check_degenerate,
    check_stream,
    check_libraries,
    check_gradients,
)


def _value(measure: Measure, x: Matrix, y: Matrix) -> float:
    return float(measure(x, y, targets=_targets(measure, x)))


def _targets(measure: Measure, x: Matrix) -> np.ndarray[Any, np.dtype[np.int64]] | None:
    return generic_targets(x.shape[0]) if measure.needs_targets else None


def _state(measure: Measure, x: Matrix) -> Any:
    return measure.state(x, _targets(measure, x))


def _admitted(measure: Measure, reps: Sequence[Matrix]) -> bool:
    try:
        for rep in reps:
            measure.check_input(rep, "x")
    except ConsilienceError:
        return False
    return True


def _transformed(x: Matrix, invariance: Invariance, seed: int) -> Matrix:
    rng = np.random.default_rng([seed, x.shape[1]])
    d = x.shape[1]
    if invariance is Invariance.PERMUTATION:
        return x[:, np.roll(rng.permutation(d), 1) if seed else np.arange(d)[::-1]]
    if invariance is Invariance.ORTHOGONAL:
        return x @ np.linalg.qr(rng.standard_normal((d, d)))[0]
    if invariance is Invariance.ISOTROPIC_SCALING:
        return x * (0.3, 2.5, 7.0)[seed]
    if invariance is Invariance.INVERTIBLE_LINEAR:
        return x @ (rng.standard_normal((d, d)) + np.diag(np.linspace(0.5, 4, d)))
    return x + 3 * rng.standard_normal(d)


def _assorted_pairs(measure: Measure) -> Iterator[tuple[Matrix, Matrix]]:
    for seed in range(3):
        x, y = generic_pair(measure, seed=seed)
        yield x, y
        yield x, -x
        yield x, x + 1e-9 * np.random.default_rng(seed).standard_normal(x.shape)
        n = max(measure.min_samples + 1, 6)
        rng = np.random.default_rng([seed, 1])
        width = (60, 60) if measure.outputs_only else (60, 90)
        yield rng.standard_normal((n, width[0])), rng.standard_normal((n, width[1]))

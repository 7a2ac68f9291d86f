"""Compare two representations, all pairs of many, or the layers of two networks."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Unpack

from consilience._array import Array, arange, as_representations, is_traced, namespace
from consilience._uncertainty import Scores, Wanted, of_many, of_pair
from consilience.errors import ConsilienceError, UnknownNameError
from consilience.preprocessing import Preprocessing, PreprocessingOptions
from consilience.registry import DegenerateWarning, Kind, Measure, get_measure

if TYPE_CHECKING:
    from consilience.stats import Interval, PermutationTest

__all__ = ["Comparison", "Score", "Scores", "compare", "layerwise", "pairwise"]


@dataclass(frozen=True)
class Score:
    """One measure of one pair: its value and, if that is NaN or says nothing about the data, the reason.

    `interval` and `test` are there if they were asked for and there is a value.
    """

    measure: Measure
    value: float
    reason: str | None = None
    interval: Interval | None = None
    test: PermutationTest | None = None

    @property
    def label(self) -> str:
        """Name of the measure with the options that differ from their defaults."""
        return self.measure.label

    @property
    def kind(self) -> Kind:
        """Similarity or distance."""
        return self.measure.kind

    def __float__(self) -> float:
        return self.value

    def __str__(self) -> str:
        parts = [f"{self.value:>8.4f}"]
        if self.interval is not None:
            parts.append(f"[{self.interval.low:.4f}, {self.interval.high:.4f}]")
        if self.test is not None:
            parts.append(f"chance {self.test.null_mean:.4f}, p = {self.test.p:.2g}")
        return "  ".join([*parts, self.reason or self.kind.value])


@dataclass(frozen=True)
class Comparison:
    """Scores of one pair of representations of `n_samples` samples, in the order asked for, by label.

    `preprocessing` is what was done to both before.
    """

    scores: tuple[Score, ...]
    n_samples: int
    preprocessing: Preprocessing = field(default_factory=Preprocessing)

    def __getitem__(self, label: str) -> Score:
        for score in self.scores:
            if score.label == label:
                return score
        raise UnknownNameError(
            f"no score {label!r} in this comparison, which has {', '.join(s.label for s in self.scores)}."
        )

    def __iter__(self) -> Iterator[Score]:
        return iter(self.scores)

    def __len__(self) -> int:
        return len(self.scores)

    def __str__(self) -> str:
        width = max((len(score.label) for score in self.scores), default=0)
        lines = [f"{score.label:<{width}}  {score}" for score in self.scores]
        steps = self.preprocessing.label
        return "\n".join([*lines, f"after {steps}"] if steps else lines)


def compare(
    x: Any,
    y: Any,
    measures: Sequence[str | Measure] | str | Measure = ("cka",),
    *,
    targets: Any = None,
    interval: bool = False,
    null: int = 0,
    seed: int = 0,
    **preprocessing: Unpack[PreprocessingOptions],
) -> Comparison:
    """Score two representations of the same samples by several measures.

    Parameters
    ----------
    x, y : (n, p) and (n, q) arrays
        Row i of both is sample i. Maps (n, c, h, w) need ``spatial=``, sequences (n, tokens, d) ``tokens=``.
    measures : sequence of str or Measure
        Names, labels such as ``cka(estimator=biased)``, or measures.
    targets : (n,) integers, optional
        True class of every sample, for measures that need it.
    interval : bool
        Whether to add a 95 % interval over the choice of samples, by `stats.interval`.
    null : int
        Permutations of a test against chance, by `stats.permutation_test`; none by default.
    seed : int
        Of the permutations, and of groups of samples where intervals leave out groups.
    **preprocessing
        What is done to all before, in this order: ``spatial``, ``tokens``, ``clip``, ``center``, ``l2``; see
        `Preprocessing`. Intervals and tests take what comes out as given.

    Notes
    -----
    Intervals and tests are computed in NumPy, on the host, whatever library the arrays are of.

    Raises
    ------
    ConsilienceError
        If the arrays do not fit each other or a measure. A representation that has nothing to compare is no
        error: the score is NaN and has a reason.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(0).standard_normal((100, 3))
    >>> print(compare(x, x[:, :2], ["cka", "procrustes"]))
    cka           0.8600  similarity
    procrustes    0.5714  distance
    >>> print(compare(x, x[:, :2], interval=True, null=999))
    cka    0.8600  [0.7631, 0.9191]  chance 0.0000, p = 0.001  similarity
    >>> compare(x, np.ones((100, 2)))["cka"].reason
    'in y, every feature is constant'
    """
    chosen = _resolve(measures)
    steps = Preprocessing.of(preprocessing)
    x, y = as_representations((steps(x, "x"), steps(y, "y")), ("x", "y"))
    wanted = Wanted(interval, null, seed)
    return Comparison(tuple(_score(measure, x, y, targets, wanted) for measure in chosen), int(x.shape[0]), steps)


def pairwise(
    representations: Sequence[Any],
    measure: str | Measure = "cka",
    *,
    targets: Any = None,
    names: Sequence[str] | None = None,
    interval: bool = False,
    null: int = 0,
    seed: int = 0,
    **preprocessing: Unpack[PreprocessingOptions],
) -> Any:
    """Scores of all pairs of representations of the same samples.

    Parameters
    ----------
    representations : sequence of M arrays (n, p_k)
    measure : str or Measure
    targets : (n,) integers, optional
        True class of every sample, for measures that need it.
    names : sequence of str, optional
        What messages call the representations; by default ``representation 0``, ``representation 1``, …
    interval : bool
        Whether to add a 95 % interval over the choice of samples to every score, by `stats.interval`.
    null : int
        Permutations of a test of every score against chance, by `stats.permutation_test`; none by default.
    seed : int
        Of the permutations, which are the same for all pairs, and of groups of samples that intervals leave out.
    **preprocessing
        What is done to all before, in this order: ``spatial``, ``tokens``, ``clip``, ``center``, ``l2``; see
        `Preprocessing`.

    Returns
    -------
    (M, M) array of the caller's library, float64 where it has that: entry (i, j) is ``measure(x_i, x_j)``. Rows and
    columns of a representation that has nothing to compare are NaN, with a `DegenerateWarning` that names it.

    With `interval` or `null` a `Scores` instead, ``(scores, low, high, p)``: NumPy arrays (M, M). p are those of single
    tests: `stats.adjust` corrects for their number.

    Raises
    ------
    ConsilienceError
        If there is no representation, or one does not fit the others or the measure.

    Examples
    --------
    >>> import numpy as np
    >>> z = np.random.default_rng(0).standard_normal((500, 4))
    >>> noisy = [z + np.random.default_rng(seed).standard_normal((500, 4)) for seed in (1, 2)]
    >>> np.round(pairwise([z, *noisy]), 2)
    array([[1.  , 0.5 , 0.49],
           [0.5 , 1.  , 0.25],
           [0.49, 0.25, 1.  ]])
    >>> pairwise([z, *noisy], null=199).p
    array([[  nan, 0.005, 0.005],
           [0.005,   nan, 0.005],
           [0.005, 0.005,   nan]])
    """
    wanted = Wanted(interval, null, seed)
    (measure,) = _resolve(measure)
    reps, names = _named(representations, names, "representation")
    reps = _preprocessed(reps, names, preprocessing)
    arrays, targets = measure.checked(reps, names, targets)
    states = [measure.state(x, targets) for x in arrays]
    kept = _usable(measure, arrays, states, names)
    _warn_of_caveat(measure, arrays, _distinct(measure, [states[i] for i in kept]))
    size = len(states)
    scores = measure.compare_all([states[i] for i in kept]) if kept else None
    if len(kept) < size:
        scores = _with_nan(scores, kept, kept, (size, size), arrays[0])
    if wanted.nothing:
        return scores
    places = ((i, j, i, j) for i in range(size) for j in range(size))
    return of_many(measure, arrays, targets, scores, places, wanted)


def layerwise(
    layers_a: Mapping[str, Any] | Sequence[Any],
    layers_b: Mapping[str, Any] | Sequence[Any],
    measure: str | Measure = "cka",
    *,
    targets: Any = None,
    interval: bool = False,
    null: int = 0,
    seed: int = 0,
    **preprocessing: Unpack[PreprocessingOptions],
) -> Any:
    """Scores of every layer of one network with every layer of another, on the same samples.

    Parameters
    ----------
    layers_a, layers_b : mapping of names to arrays (n, p_k), or sequence of such arrays
    measure : str or Measure
    targets : (n,) integers, optional
        True class of every sample, for measures that need it.
    interval : bool
        Whether to add a 95 % interval over the choice of samples to every score, by `stats.interval`.
    null : int
        Permutations of a test of every score against chance, by `stats.permutation_test`; none by default.
    seed : int
        Of the permutations, which are the same for all pairs, and of groups of samples that intervals leave out.
    **preprocessing
        What is done to all before, in this order: ``spatial``, ``tokens``, ``clip``, ``center``, ``l2``; see
        `Preprocessing`.

    Returns
    -------
    (L_a, L_b) array of the caller's library; NaN with a warning for layers that have nothing to compare. With
    `interval` or `null` a `Scores` instead, as `pairwise` gives; to test the best pair of layers, use
    `stats.layer_max_test`.

    Raises
    ------
    ConsilienceError
        As `pairwise`.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(0).standard_normal((50, 3))
    >>> layers = {"input": x, "hidden": np.tanh(3 * x)}
    >>> np.round(layerwise(layers, {"input": x}), 2)
    array([[1. ],
           [0.8]])
    """
    wanted = Wanted(interval, null, seed)
    (measure,) = _resolve(measure)
    reps_a, names_a = _named(layers_a, None, "layers_a")
    reps_b, names_b = _named(layers_b, None, "layers_b")
    names = [*names_a, *names_b]
    reps = _preprocessed([*reps_a, *reps_b], names, preprocessing)
    arrays, targets = measure.checked(reps, names, targets)
    states = [measure.state(x, targets) for x in arrays]
    kept = _usable(measure, arrays, states, names)
    split = len(reps_a)
    rows, columns = [i for i in kept if i < split], [i for i in kept if i >= split]
    _warn_of_caveat(measure, arrays, [(states[i], states[j]) for i in rows for j in columns])
    scores = _cross(measure, [states[i] for i in rows], [states[i] for i in columns])
    shape = (split, len(reps_b))
    if len(kept) < len(states):
        scores = _with_nan(scores, rows, [i - split for i in columns], shape, arrays[0])
    if wanted.nothing:
        return scores
    places = ((i, j, i, split + j) for i in range(shape[0]) for j in range(shape[1]))
    return of_many(measure, arrays, targets, scores, places, wanted)


def _resolve(measures: Sequence[str | Measure] | str | Measure) -> list[Measure]:
    if isinstance(measures, (str, Measure)):
        measures = [measures]
    return [get_measure(measure) for measure in measures]


def _named(
    representations: Mapping[str, Any] | Sequence[Any], names: Sequence[str] | None, word: str
) -> tuple[list[Any], list[str]]:
    if isinstance(representations, Mapping):
        return list(representations.values()), [f"{word} {name!r}" for name in representations]
    found = list(representations)
    if not found:
        raise ConsilienceError(f"no {word} was given: pass at least one (n, d) array.")
    if names is None:
        names = [f"{word} {i}" for i in range(len(found))]
    if len(names) != len(found):
        raise ConsilienceError(f"{len(names)} names were given for {len(found)} representations: give one each.")
    return found, list(names)


def _preprocessed(reps: Sequence[Any], names: Sequence[str], options: PreprocessingOptions) -> list[Array]:
    if not options:
        return list(reps)
    steps = Preprocessing.of(options)
    return [steps(x, name) for x, name in zip(reps, names, strict=True)]


def _score(measure: Measure, x: Array, y: Array, targets: Any, wanted: Wanted) -> Score:
    names = ("x", "y")
    (x, y), targets = measure.checked((x, y), names, targets)
    a, b = states = [measure.state(each, targets) for each in (x, y)]
    for name, state in zip(names, states, strict=True):
        reason = measure.degenerate(state)
        if reason:
            return Score(measure, float("nan"), f"in {name}, {reason}")
    value, caveat = float(measure.compare(a, b)), measure.caveat(a, b)
    if wanted.nothing:
        return Score(measure, value, caveat)
    return Score(measure, value, caveat, *of_pair(measure, x, y, targets, wanted))


def _usable(measure: Measure, arrays: Sequence[Array], states: Sequence[Any], names: Sequence[str]) -> list[int]:
    """Indices of the representations that can be scored; warn of the others."""
    if any(is_traced(x) for x in arrays):
        return list(range(len(states)))
    kept: list[int] = []
    for i, (state, name) in enumerate(zip(states, names, strict=True)):
        reason = measure.degenerate(state)
        if reason is None:
            kept.append(i)
        else:
            warnings.warn(f"{measure.label} is NaN: in {name}, {reason}", DegenerateWarning, stacklevel=3)
    return kept


def _distinct(measure: Measure, states: Sequence[Any]) -> list[tuple[Any, Any]]:
    """Pairs of different representations, in both orders where these differ."""
    size = range(len(states))
    return [(states[i], states[j]) for i in size for j in size if i < j or (i > j and not measure.symmetric)]


def _warn_of_caveat(measure: Measure, arrays: Sequence[Array], pairs: Sequence[tuple[Any, Any]]) -> None:
    """One warning for all pairs whose scores say nothing about the data."""
    if type(measure).caveat is Measure.caveat or any(is_traced(x) for x in arrays):
        return
    found = [caveat for a, b in pairs if (caveat := measure.caveat(a, b))]
    if found:
        message = f"{measure.label}, {len(found)} of {len(pairs)} pairs: {found[0]}"
        warnings.warn(message, DegenerateWarning, stacklevel=3)


def _cross(measure: Measure, a: Sequence[Any], b: Sequence[Any]) -> Array:
    if not a or not b:
        return None
    if type(measure).compare_all is not Measure.compare_all:
        return measure.compare_all([*a, *b])[: len(a), len(a) :]
    rows = [[measure.compare(left, right) for right in b] for left in a]
    xp = namespace(rows[0][0])
    return xp.stack([xp.stack(row) for row in rows])


def _with_nan(
    scores: Array | None, rows: Sequence[int], columns: Sequence[int], shape: tuple[int, int], like: Array
) -> Array:
    """Spread `scores` (rows, columns) over `shape`, NaN elsewhere."""
    xp = namespace(like)
    nan = xp.zeros_like(like[:1, :1]) + float("nan")
    full = xp.broadcast_to(nan, shape)
    if scores is None:
        return full
    for axis, kept in ((0, rows), (1, columns)):
        slots = arange(shape[axis], like=like)
        hit = slots[:, None] == xp.stack([slots[i] for i in kept])[None, :]  # (shape[axis], kept)
        source = xp.argmax(xp.astype(hit, slots.dtype), axis=1)
        scores = xp.take(scores, source, axis=axis)
        seen = xp.any(hit, axis=1)
        scores = xp.where(seen[:, None] if axis == 0 else seen[None, :], scores, nan)
    return scores

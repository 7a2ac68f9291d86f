"""A noise process of a user's own, from a Python function."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from consilience._custom import hashable, options_class, place_of, reference, resolve
from consilience.data.noise.base import NoiseKeys, NoiseProcess, amplitude, noise_keys, sample_keys
from consilience.data.source import CLASSIFICATION, REGRESSION, Task
from consilience.errors import ConsilienceError, require

if TYPE_CHECKING:
    from jax import Array

__all__ = ["CustomNoise", "custom_process", "process_of"]

_GIVEN = 4  # parameters that are no options: key, x, y, level
# How a function is tried: on so many noisy samples at least, as wrong labels may be rare, at the first of these SNRs at
# which it makes noise; which ones a study asks for is not known here, and a `level` need not speak of all.
_DRAWS = 2000
_TRIED = (0.5, 1.0, 4.0, 0.1, 100.0)
_ANY_LEVEL = 0.5  # where it speaks of none of them: strong as a probability and as a standard deviation


class _Found(NamedTuple):
    """What a function does at one level."""

    finite: bool  # no NaN and no infinity
    classes: bool  # labels are classes there are
    changes: bool
    differs: bool  # between members, or all are to share their noise


@dataclass(frozen=True)
class CustomNoise(NoiseProcess):
    """A function ``f(key, x, y, level, **options) -> (x, y)`` as a noise process, named "package.module:function".

    The function corrupts **one sample**: `key` is a JAX random key, that of this sample in this member; `x` (d,) the
    standardised input; `y` a class number, 0-d integer, or standardised targets (k,); `level` the strength, 0-d. It
    must be made of JAX operations, draw what is random from `key`, and return both, in the shapes it got. Being asked
    sample by sample, its noise depends on seed, member and sample alone, as that of every process does; `correlation`
    works as for the others.

    ::

        def laplace(key, x, y, level, scale=1.0):
            "Laplace noise on targets"
            return x, y + level * scale * jax.random.laplace(key, y.shape) / 2**0.5

        laplace.corrupts = "labels"

    ``process = "my.module:laplace"`` with ``scale = 2.0`` in ``[noise]`` uses it; its parameters after `level` are the
    options of the study file. Attributes of the function say more, all optional:

    - `level(snr)`: strength at an SNR, 0 at infinity; it may raise at SNRs that cannot be had. Default: 1/√SNR, right
      for noise of standard deviation `level` added to standardised values that all vary; that the realised SNR is the
      asked one is the function's responsibility.
    - `corrupts`: "labels" where the function returns `x` itself, which saves memory and time. Default: "inputs"
      (labels may change too).
    - `tasks`: ("classification",) or ("regression",). Default: both.
    - `target_variance(level)`: variance of the noisy targets. Default: 1.
    - `definition`: its SNR in words.
    """

    function: ClassVar[Callable[..., Any]]

    def __post_init__(self) -> None:
        super().__post_init__()
        for option in self._options():
            object.__setattr__(self, option, hashable(getattr(self, option)))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by the function's name: the class was made here and cannot be imported."""
        return _rebuild, (self.name, {one.name: getattr(self, one.name) for one in fields(self)})

    def _options(self) -> list[str]:
        return [one.name for one in fields(self) if one.name != "correlation"]

    def level(self, snr: float) -> float:
        """The function's own `level`, or 1/√SNR.

        Raises
        ------
        ConsilienceError
            When `level` raises, gives no finite number, or at infinite SNR one that is not 0.
        """
        if getattr(type(self).function, "level", None) is None:
            return amplitude(snr)
        level = self._number("level", snr)
        if snr == np.inf and level != 0:
            raise ConsilienceError(
                f"noise process {self.name!r}: level(inf) returned {level:g}: infinite SNR means no noise; return 0"
            )
        return level

    def target_variance(self, level: float) -> float:
        """The function's own `target_variance`, or 1.

        Raises
        ------
        ConsilienceError
            When `target_variance` raises, or gives no finite number.
        """
        own = getattr(type(self).function, "target_variance", None)
        return 1.0 if own is None else self._number("target_variance", level)

    def _number(self, what: str, argument: float) -> float:
        """What a function that is an attribute of the user's says of a number."""
        asked = f"noise process {self.name!r}: {what}({argument:g})"
        try:
            returned = getattr(type(self).function, what)(argument)
        except Exception as error:  # whatever a user's function raises
            said = " ".join(str(error).split())
            raise ConsilienceError(
                f"{asked} raised {type(error).__name__}: {said} ({place_of(error, __file__)}); it must return a number "
                f"for every SNR of the grid"
            ) from error
        try:
            number = float(returned)
        except (TypeError, ValueError):
            number = np.nan
        if not np.isfinite(number):
            raise ConsilienceError(f"{asked} returned {returned!r}: return a finite number")
        return number

    def fitted(
        self, x: NDArray[Any], y: NDArray[Any], *, n_classes: int, image_shape: tuple[int, ...] | None
    ) -> tuple[NDArray[Any], ...]:
        """Try the function: what its noise depends on cannot be read off it.

        Raises
        ------
        ConsilienceError
            When at no level tried it makes noise: it returns what is no number or no class, changes nothing, or gives
            members the same noise; and what `apply` raises.
        """
        levels = self._levels()
        rows, members = min(len(x), _DRAWS), max(2, -(-_DRAWS // len(x)))
        trial = self._trial(x[:rows], y[:rows], members=members, n_classes=n_classes, image_shape=image_shape)
        found: list[_Found] = []
        for level in levels:
            found.append(trial(level))
            if all(found[-1]):
                return ()
        where = (
            f"tried on {rows} samples for {members} members at level {', '.join(f'{level:.3g}' for level in levels)}"
        )
        raise ConsilienceError(f"noise process {self.name!r} {_why_none(found, n_classes)} ({where})")

    def _levels(self) -> list[float]:
        """Levels at which a trial is likely to change something."""
        levels: list[float] = []
        with np.errstate(all="ignore"):
            for snr in _TRIED:
                with contextlib.suppress(ConsilienceError):  # the study may ask for others
                    levels.append(self.level(snr))
        return levels or [_ANY_LEVEL]

    def _trial(
        self, x: NDArray[Any], y: NDArray[Any], *, members: int, n_classes: int, image_shape: tuple[int, ...] | None
    ) -> Callable[[float], _Found]:
        """Return what says what the function does at a level."""
        jax = require("jax", extra="study", purpose="drawing noise")
        jnp = jax.numpy
        # Noise that members are to share would hide whether a function gives them their own.
        own = replace(self, correlation=0.0)
        shares = self.correlation == 1

        @jax.jit  # as in a run: `level` has no value yet, and what NumPy draws is drawn once
        def trial(level: Array, x: Array, y: Array) -> tuple[Array, ...]:
            def noisy(member: Array) -> tuple[Array, Array]:
                keys, ids = noise_keys(0, member), jnp.arange(len(x))
                return own.apply(keys, ids, x, y, level, n_classes=n_classes, image_shape=image_shape)

            parts = jax.lax.map(noisy, jnp.arange(members, dtype=jnp.uint32))
            labels = parts[1]
            classes = labels.dtype.kind != "i" or jnp.all((labels >= 0) & (labels < n_classes))
            finite = jnp.array([jnp.isfinite(part).all() for part in parts]).all()
            changes = jnp.array([(part != clean).any() for part, clean in zip(parts, (x, y), strict=True)]).any()
            differs = jnp.array([(part != part[0]).any() for part in parts]).any()
            return finite, jnp.asarray(classes), changes, differs | shares

        return lambda level: _Found(*map(bool, trial(np.float32(level), x, y)))

    def apply(
        self,
        keys: NoiseKeys,
        ids: Array,
        x: Array,
        y: Array,
        level: float | Array,
        *,
        n_classes: int,
        image_shape: tuple[int, ...] | None = None,
        state: tuple[Any, ...] = (),
    ) -> tuple[Array, Array]:
        """Call the function for every sample."""
        del n_classes, image_shape, state
        jax = require("jax", extra="study", purpose="drawing noise")
        options = {option: getattr(self, option) for option in self._options()}

        def one(key: Array, x: Array, y: Array) -> tuple[Array, Array]:
            return self._checked(x, y, self._call(key, x, y, level, **options))

        noisy_x, noisy_y = jax.vmap(one)(sample_keys(keys, ids, self.correlation), x, y)
        return (x if self.corrupts == "labels" else noisy_x), noisy_y

    def _call(self, *arguments: Any, **options: Any) -> Any:
        try:
            return type(self).function(*arguments, **options)
        except Exception as error:  # whatever a user's function raises
            said = next(iter(str(error).strip().splitlines()), "")  # JAX goes on for a page
            raise ConsilienceError(
                f"noise process {self.name!r} raised {type(error).__name__}: {said} ({place_of(error, __file__)}); it "
                f"is compiled by JAX: made of its operations, without `if` on values"
            ) from error

    def _checked(self, x: Array, y: Array, returned: Any) -> tuple[Array, Array]:
        """Refuse what is not a noisy sample; shapes are known while tracing, so this costs nothing."""
        jnp = require("jax.numpy", extra="study", purpose="drawing noise")
        if not isinstance(returned, tuple | list) or len(cast(Any, returned)) != 2:
            raise ConsilienceError(f"noise process {self.name!r} returned {type(returned).__name__}: return (x, y)")
        if self.corrupts == "labels" and returned[0] is not x:
            raise ConsilienceError(
                f"noise process {self.name!r} says corrupts = 'labels' and returned another x: return x itself, or say "
                "'inputs'"
            )
        for what, clean, noisy in zip("xy", (x, y), map(jnp.asarray, returned), strict=True):
            if noisy.shape != clean.shape or noisy.dtype.kind != clean.dtype.kind:
                raise ConsilienceError(
                    f"noise process {self.name!r} returned {what} of shape {noisy.shape} and type {noisy.dtype} for "
                    f"one of shape {clean.shape} and type {clean.dtype}: keep both"
                )
        return jnp.asarray(returned[0], x.dtype), jnp.asarray(returned[1], y.dtype)


@functools.cache
def custom_process(name: str) -> type[NoiseProcess]:
    """Return the noise process of the function "package.module:function"; its options are the function's parameters.

    Raises
    ------
    ConsilienceError
        When the function cannot be found or its parameters are not (key, x, y, level, options …).
    """
    function = resolve(name, what="noise process")
    parameters = list(inspect.signature(function).parameters.values())
    variable = [one for one in parameters if one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD)]
    if len(parameters) < _GIVEN or variable or any(one.name == "correlation" for one in parameters):
        raise ConsilienceError(
            f"noise process {name!r} has parameters {inspect.signature(function)}: it takes (key, x, y, level) and "
            "then its options, each by name; 'correlation' is an option of every process"
        )
    document = (inspect.getdoc(function) or f"Noise by {name}").splitlines()[0]
    facts: dict[str, Any] = {
        "name": name,
        "title": document,
        "definition": getattr(function, "definition", "1 / level², as the function defines it"),
        "corrupts": getattr(function, "corrupts", "inputs"),
        "tasks": frozenset[Task](getattr(function, "tasks", CLASSIFICATION | REGRESSION)),
        "function": staticmethod(function),
        "__doc__": document,
    }
    if facts["corrupts"] not in ("labels", "inputs") or not facts["tasks"] <= CLASSIFICATION | REGRESSION:
        raise ConsilienceError(
            f"noise process {name!r}: its corrupts must be 'labels' or 'inputs', and its tasks among 'classification' "
            f"and 'regression', not {facts['corrupts']!r} and {sorted(facts['tasks'])}"
        )
    return options_class(name, CustomNoise, parameters[_GIVEN:], facts)


def _why_none(found: list[_Found], n_classes: int) -> str:
    """Why a function is no noise, from what it does at every level tried."""
    valid = [one for one in found if one.finite and one.classes]
    if not any(one.finite for one in found):
        return "returns NaN or infinity: return finite numbers, whatever the sample"
    if not valid:
        return f"returns labels that are no classes: return 0 … {n_classes - 1}, integers"
    if not any(one.changes for one in valid):
        return "changes nothing: return x or y with noise that is stronger where `level` is larger"
    return (
        "gives two members the same noise: all that is random must come from its key, by jax.random (NumPy's "
        "generators know nothing of it)"
    )


_NAMED: dict[str, Callable[..., Any]] = {}


def process_of(function: Callable[..., Any]) -> str:
    """Return the name of the process of a function given as such, as one of a notebook is, until it is defined anew."""
    name = reference(function)
    if _NAMED.get(name, function) is not function:
        custom_process.cache_clear()
    _NAMED[name] = function
    return name


def _rebuild(name: str, options: dict[str, Any]) -> NoiseProcess:
    made: Any = custom_process(name)
    return made(**options)

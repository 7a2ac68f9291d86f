"""A noise process of a user's own, from a Python function."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, cast

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
_FEW, _TRIED = 16, 0.5  # samples and SNR at which a function is tried


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

    - `level(snr)`: strength at an SNR, 0 at infinity. Default: 1/√SNR, right for noise of standard deviation `level`
      added to standardised values; that the realised SNR is the asked one is the function's responsibility.
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
        """The function's own `level`, or 1/√SNR."""
        own = getattr(type(self).function, "level", None)
        return amplitude(snr) if own is None else float(own(snr))

    def target_variance(self, level: float) -> float:
        """The function's own `target_variance`, or 1."""
        own = getattr(type(self).function, "target_variance", None)
        return 1.0 if own is None else float(own(level))

    def fitted(
        self, x: NDArray[Any], y: NDArray[Any], *, n_classes: int, image_shape: tuple[int, ...] | None
    ) -> tuple[NDArray[Any], ...]:
        """Try the function on a few samples: what its noise depends on cannot be read off it.

        Raises
        ------
        ConsilienceError
            When it changes nothing, or gives members the same noise; and what `apply` raises.
        """
        jax = require("jax", extra="study", purpose="drawing noise")
        few = min(len(x), _FEW)
        clean = jax.numpy.asarray(x[:few]), jax.numpy.asarray(y[:few])

        @jax.jit  # as in a run: `level` has no value yet, and what NumPy draws is drawn once
        def noisy(member: Array, level: Array) -> tuple[Array, Array]:
            ids = jax.numpy.arange(few)
            keys = noise_keys(0, member)
            return self.apply(keys, ids, *clean, level, n_classes=n_classes, image_shape=image_shape)

        level = np.float32(self.level(_TRIED))
        first, other = (_flat(noisy(np.uint32(member), level)) for member in (0, 1))
        wrong = {
            "changes nothing": np.array_equal(first, _flat(clean)),
            "gives two members the same noise": self.correlation < 1 and np.array_equal(first, other),
        }
        for what, found in wrong.items():
            if found:
                raise ConsilienceError(
                    f"noise process {self.name!r} {what} at SNR {_TRIED}: all that is random must come from its key, "
                    f"by jax.random (NumPy's generators know nothing of it)"
                )
        return ()

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


def _flat(parts: tuple[Any, Any]) -> NDArray[np.float64]:
    return np.concatenate([np.asarray(part, np.float64).ravel() for part in parts])


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

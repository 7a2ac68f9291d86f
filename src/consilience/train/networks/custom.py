"""A network of a user's own, from a Python function that makes an Equinox module."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from consilience._custom import hashable, options_class, resolve
from consilience.errors import ConsilienceError
from consilience.train.networks.base import Network, NetworkOptions, Sizes

__all__ = ["CustomNetwork", "custom_network"]

_GIVEN = 2  # parameters that are no options: n_inputs, n_outputs; and `key`, by name
_ROWS = 3  # of the batch that a network is checked on
_ROUNDING = 1e-3  # relative; products of one row and of three need not round alike


@dataclass(frozen=True, kw_only=True)
class CustomNetwork(NetworkOptions):
    """An Equinox module of a user's own, from the function named as ``kind = "package.module:function"``.

    The function is ``f(n_inputs, n_outputs, *, key, **options) -> equinox.Module``: `key` is a JAX random key, its
    other parameters are options of the ``[network]`` table, with their defaults, and may be axes of the grid. The
    module is called with a batch (batch, n_inputs) and returns a dictionary of activations by layer, each
    (batch, width), in order, among them "output" (batch, n_outputs).

    It runs in the compiled program like the built-in networks: its floating-point JAX arrays are trained, NumPy arrays
    are constants, and `init_scale` multiplies what is trained. What it does to a row must not depend on the other rows
    of the batch. Modules in the working directory are found. A study's record holds the name and options and not the
    code: after changing the function, take a new run directory.
    """

    function: ClassVar[Callable[..., Any]]
    rows_at_once: ClassVar[int | None] = None

    def __post_init__(self) -> None:
        self._check()
        for option in self._options():
            object.__setattr__(self, option, hashable(getattr(self, option)))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by the function's name: the class was made here and cannot be imported."""
        return _rebuild, (self.name, {one.name: getattr(self, one.name) for one in fields(self)})

    def build(self, sizes: Sizes, *, key: Array) -> Network:
        """Call the function, and see that what it makes is a network."""
        options = {option: getattr(self, option) for option in self._options()}
        try:
            module = type(self).function(sizes.n_inputs, sizes.n_outputs, key=key, **options)
        except ConsilienceError:
            raise
        except Exception as error:  # whatever a user's function raises is told as theirs
            raise self._refused(f"raised {type(error).__name__}: {' '.join(str(error).split())}") from error
        if not isinstance(module, eqx.Module):
            raise self._refused(f"returned {type(module).__name__}: return an equinox.Module")
        network = Own.of(module, self.name)
        self._try(network, sizes)
        return network

    def check(self, sizes: Sizes) -> None:
        """Refuse a module that lets rows see each other, by what it makes of one alone and among others."""
        network = eqx.filter_jit(lambda key: self.build(sizes, key=key))(jax.random.key(0))
        x = jax.random.normal(jax.random.key(1), (_ROWS, sizes.n_inputs))
        forward = eqx.filter_jit(lambda net, rows: net(rows))
        among, alone = forward(network, x), forward(network, x[:1])
        for name, layer in among.items():
            if not np.allclose(layer[:1], alone[name], rtol=_ROUNDING, atol=_ROUNDING * float(jnp.abs(layer).max())):
                raise self._refused(
                    f"made a module whose layer {name!r} says of a row what depends on the others in its batch, as "
                    f"batch normalisation does: training, losses and probe inputs come in batches of different sizes; "
                    f"normalise over the units of each row instead"
                )

    def _options(self) -> list[str]:
        return [one.name for one in fields(self) if one.name != "init_scale"]

    def _refused(self, why: str) -> ConsilienceError:
        return ConsilienceError(f"network.kind = {self.name!r}: the function {why}")

    def _try(self, network: Network, sizes: Sizes) -> None:
        """Refuse a module that cannot be called or whose layers are not what a study measures; computes nothing."""
        rows = jax.ShapeDtypeStruct((_ROWS, sizes.n_inputs), jnp.float32)
        shapes: dict[str, Any] = {}
        try:
            eqx.filter_eval_shape(lambda net, x: shapes.update(net(x)), network, rows)
        except ConsilienceError:
            raise
        except Exception as error:  # as above
            what = f"{type(error).__name__}: {' '.join(str(error).split())}"
            raise self._refused(f"made a module that fails on inputs {rows.shape}: {what}") from error
        for name, layer in shapes.items():
            if len(layer.shape) != 2 or layer.shape[0] != _ROWS or not jnp.issubdtype(layer.dtype, jnp.floating):
                raise self._refused(
                    f"made a module whose layer {name!r} is {layer.dtype} {layer.shape} for a batch of {_ROWS}: return "
                    f"floating-point activations (batch, width), a map or sequence averaged or flattened"
                )
        if shapes["output"].shape[1] != sizes.n_outputs:
            raise self._refused(
                f"made a module whose output has {shapes['output'].shape[1]} columns: these data have n_outputs = "
                f"{sizes.n_outputs}"
            )


class _Rest:
    """What of a module is not trained. Two are equal when they are the same, as one trace makes one."""

    def __init__(self, module: Any) -> None:
        self.module = module


class Own(Network):
    """A user's module as a network: its floating-point arrays, and all else set aside."""

    trained: Any
    rest: _Rest = eqx.field(static=True)
    name: str = eqx.field(static=True)

    @classmethod
    def of(cls, module: eqx.Module, name: str) -> Own:
        """Split a module.

        Raises
        ------
        ConsilienceError
            When it holds JAX arrays that cannot be trained: integers, booleans, random keys.
        """
        trained, rest = eqx.partition(module, _trainable)
        for path, leaf in jax.tree_util.tree_leaves_with_path(rest):
            if isinstance(leaf, jax.Array):
                where = jax.tree_util.keystr(path).lstrip(".")
                raise ConsilienceError(
                    f"network.kind = {name!r}: the module's {where} is an array of {leaf.dtype}, which gradients "
                    f"cannot train; make it a NumPy array or a static field"
                )
        if not jax.tree.leaves(trained):
            raise ConsilienceError(f"network.kind = {name!r}: the module has no floating-point array to train")
        return cls(trained, _Rest(rest), name)

    def __call__(self, x: Array) -> dict[str, Array]:
        """Return the module's layers, "output" last."""
        layers: Any = eqx.combine(self.trained, self.rest.module)(x)
        if not isinstance(layers, Mapping) or "output" not in layers:
            got = f"layers {list(cast(Any, layers))}" if isinstance(layers, Mapping) else type(layers).__name__
            raise ConsilienceError(
                f"network.kind = {self.name!r}: the module returned {got}: return a dictionary of activations by "
                f"layer, one of them 'output'"
            )
        named = {str(name): jnp.asarray(layer) for name, layer in cast(Any, layers).items()}
        return {name: layer for name, layer in named.items() if name != "output"} | {"output": named["output"]}


def _trainable(leaf: object) -> bool:
    # Equinox's own test counts NumPy arrays, which here are constants.
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jnp.floating)


@functools.cache
def custom_network(name: str) -> type[NetworkOptions]:
    """Return the network of the function "package.module:function"; its options are the function's parameters.

    Raises
    ------
    ConsilienceError
        When the function cannot be found or its parameters are not (n_inputs, n_outputs, *, key, options …).
    """
    function = resolve(name, what="network")
    parameters = list(inspect.signature(function).parameters.values())
    options = [one for one in parameters[_GIVEN:] if one.name != "key"]
    named = all(one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY) for one in options)
    own = any(one.name in ("init_scale", "kind") for one in options)
    given = all(one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD) for one in parameters[:_GIVEN])
    if len(options) != len(parameters) - _GIVEN - 1 or not named or not given or own:
        raise ConsilienceError(
            f"network {name!r} has parameters {inspect.signature(function)}: it takes (n_inputs, n_outputs, *, key) "
            "and its options, each by name; 'init_scale' is an option of every network"
        )
    document = (inspect.getdoc(function) or f"Network of {name}").splitlines()[0]
    facts = {"name": name, "function": staticmethod(function), "__doc__": document}
    return options_class(name, CustomNetwork, options, facts)


def _rebuild(name: str, options: dict[str, Any]) -> NetworkOptions:
    made: Any = custom_network(name)
    return made(**options)

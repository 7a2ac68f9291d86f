"""Agreement of a measure across the array libraries that are installed."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
from collections.abc import Callable, Generator
from typing import Any

import array_api_compat
import numpy as np

from consilience._array import to_numpy
from consilience.compare import pairwise
from consilience.registry import Measure

__all__ = ["LIBRARIES", "check_agreement", "check_gradient"]

LIBRARIES = ("torch", "jax", "array_api_strict")

_UNOPTIMIZED = "jax_disable_most_optimizations"
_FLOAT64 = 1e-9
# float32 throughout: JAX without jax_enable_x64
_FLOAT32 = 2e-3


def check_agreement(measure: Measure, x: Any, y: Any, expected: float, targets: Any = None) -> None:
    """Scores, and scores of all pairs, agree with `expected`, NumPy's, in every installed library.

    JAX compiles every operation by itself outside ``jax.jit``, which takes seconds: a score is computed so, and all
    pairs within ``jax.jit``, with default options only.
    """
    matrix = to_numpy(pairwise([x, y], measure, targets=targets))
    for library in filter(_installed, LIBRARIES):
        with _set_up(library):
            a, b = _converted(library, x), _converted(library, y)
            truth = None if targets is None else _converted(library, targets)
            if library == "jax" and measure.changed_options:
                _assert_close(measure, "jitted jax", to_numpy(_jitted(measure, targets)(a, b)), expected, _FLOAT64)
                continue
            score = measure(a, b, targets=truth)
            assert type(score) is type(a), f"{measure.label} of {library} arrays is a {type(score).__name__}"
            assert score.ndim == 0, f"{measure.label} has shape {tuple(score.shape)}, not ()"
            _assert_close(measure, library, to_numpy(score), expected, _FLOAT64)
            if library == "jax":
                single, scores = _jitted(measure, targets, pairs=True)(a, b)
                _assert_close(measure, "jitted jax", to_numpy(single), expected, _FLOAT64)
            else:
                scores = pairwise([a, b], measure, targets=truth)
            _assert_close(measure, f"pairwise {library}", to_numpy(scores), matrix, _FLOAT64)
        if library == "jax":
            with _set_up(library, double=False):
                single = _jitted(measure, targets)(_converted(library, x), _converted(library, y))
                _assert_close(measure, "float32 jax", to_numpy(single), expected, _FLOAT32)


def _jitted(measure: Measure, targets: Any, *, pairs: bool = False) -> Callable[..., Any]:
    """A score, or with `pairs` a score and all pairs, which have most of their computations in common."""

    def score(a: Any, b: Any) -> Any:
        single = measure(a, b, targets=targets)
        return (single, pairwise([a, b], measure, targets=targets)) if pairs else single

    return importlib.import_module("jax").jit(score)


def check_gradient(measure: Measure, x: Any, y: Any) -> None:
    """Gradients in JAX and PyTorch are finite and agree with a central difference of NumPy's scores."""
    direction = np.random.default_rng(3).standard_normal(x.shape)
    step = 1e-6
    slope = float(measure(x + step * direction, y) - measure(x - step * direction, y)) / (2 * step)
    for library, gradient in (("jax", _jax_gradient), ("torch", _torch_gradient)):
        if not _installed(library):
            continue
        with _set_up(library):
            found = gradient(measure, _converted(library, x), _converted(library, y))
        assert np.isfinite(found).all(), f"the gradient of {measure.label} in {library} is not finite"
        projected = float(np.sum(found * direction))
        assert abs(projected - slope) <= 1e-6 * max(1.0, abs(slope)), (
            f"the gradient of {measure.label} in {library} is {projected:.8g} where differences give {slope:.8g}"
        )
        assert abs(slope) > 1e-6, f"{measure.label} does not depend on its first argument"


def _jax_gradient(measure: Measure, x: Any, y: Any) -> np.ndarray[Any, Any]:
    jax = importlib.import_module("jax")
    return to_numpy(jax.jit(jax.grad(measure))(x, y))


def _torch_gradient(measure: Measure, x: Any, y: Any) -> np.ndarray[Any, Any]:
    x = x.clone().requires_grad_(True)
    measure(x, y).backward()
    return to_numpy(x.grad)


def _assert_close(measure: Measure, where: str, found: Any, expected: Any, tolerance: float) -> None:
    gap = float(np.max(np.abs(found - expected)))
    scale = max(1.0, float(np.max(np.abs(expected))))
    assert gap <= tolerance * scale, f"{measure.label} of {where} arrays is off by {gap:.2g}"


def _installed(library: str) -> bool:
    return importlib.util.find_spec(library) is not None


def _converted(library: str, x: Any) -> Any:
    module = importlib.import_module("jax.numpy" if library == "jax" else library)
    converted = module.asarray(x)
    assert array_api_compat.is_array_api_obj(converted)
    return converted


@contextlib.contextmanager
def _set_up(library: str, *, double: bool = True) -> Generator[None]:
    """JAX in double precision or single, compiling without optimization: what is compiled here is called once."""
    if library != "jax":
        yield
        return
    jax = importlib.import_module("jax")
    before = jax.config.values[_UNOPTIMIZED]  # a flag that is no attribute
    jax.config.update(_UNOPTIMIZED, True)
    try:
        with jax.enable_x64(double):
            yield
    finally:
        jax.config.update(_UNOPTIMIZED, before)

"""The only file that knows array libraries: NumPy, PyTorch, JAX, CuPy and anything that follows the array API.

A measure is written once, against ``namespace(x)``; what the standard leaves out (tracing, matrix products in full
precision, selection without a full sort) is here.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import array_api_compat
import numpy as np

from consilience.errors import ConsilienceError

__all__ = [
    "Array",
    "arange",
    "as_floating",
    "as_representations",
    "as_targets",
    "centred",
    "check_memory",
    "epsilon",
    "is_numpy",
    "is_traced",
    "k_smallest",
    "matmul",
    "memory_budget",
    "namespace",
    "on_host",
    "power_of_two",
    "row_blocks",
    "stop_gradient",
    "to_numpy",
    "true_per_row",
    "unit_scaled",
    "with_own",
    "within_one",
]

# Any array of any supported library: their types have no common base.
Array: TypeAlias = Any

_BLOCK_BYTES_CPU = 2**21  # a block that stays in cache
_BLOCK_BYTES_OTHER = 2**26  # accelerators and compiled code want few, large blocks
_FEWEST_ROWS = 128  # fewer starve the matrix product, which then costs more than leaving the cache


def namespace(*arrays: Array) -> Any:
    """Return the array-API namespace that `arrays` share."""
    return array_api_compat.array_namespace(*arrays)


def is_numpy(x: Array) -> bool:
    """Whether `x` belongs to NumPy itself."""
    return array_api_compat.is_numpy_array(x)


def is_traced(x: Array) -> bool:
    """Whether `x` stands for a value not known yet (inside ``jax.jit``, ``grad`` or ``vmap``)."""
    jax = sys.modules.get("jax")
    return jax is not None and isinstance(x, jax.core.Tracer)


def stop_gradient(x: Array) -> Array:
    """`x` as a constant to automatic differentiation."""
    if array_api_compat.is_jax_array(x):
        return sys.modules["jax"].lax.stop_gradient(x)
    return x.detach() if array_api_compat.is_torch_array(x) else x


def matmul(a: Array, b: Array) -> Array:
    """``a @ b`` in the full precision of its type: JAX would use fewer bits on an accelerator."""
    if array_api_compat.is_jax_array(a):
        return sys.modules["jax"].numpy.matmul(a, b, precision="highest")
    return a @ b


def epsilon(x: Array) -> float:
    """Return the spacing of floating-point numbers at one, for the type of `x`."""
    return float(namespace(x).finfo(x.dtype).eps)


def to_numpy(x: Array) -> np.ndarray[Any, Any]:
    """`x` in NumPy, from whatever library and device."""
    if array_api_compat.is_torch_array(x):
        return x.detach().cpu().numpy()
    if array_api_compat.is_cupy_array(x):
        return x.get()
    try:
        return np.asarray(x)
    except TypeError:  # a strict library offers nothing but the exchange protocol
        return np.from_dlpack(x)


def on_host(function: Callable[..., Any], *arrays: Array, shape: tuple[int, ...], like: Array) -> Array:
    """Call `function`, written for NumPy and SciPy, on `arrays` of any library; also inside ``jax.jit``.

    Its result has `shape` and comes back as a constant (no gradient) in the library, type and device of `like`.
    Call it once per measure and pair, with everything that cannot be done with array operations inside.
    """
    if is_numpy(like):
        return np.asarray(function(*arrays), dtype=like.dtype)
    if any(is_traced(x) for x in (*arrays, like)):
        return _called_back(function, arrays, shape, np.dtype(like.dtype))
    found = np.asarray(function(*(to_numpy(x) for x in arrays)))
    xp = namespace(like)
    return xp.asarray(found, dtype=like.dtype, device=array_api_compat.device(like))


def _called_back(
    function: Callable[..., Any], arrays: Sequence[Array], shape: tuple[int, ...], dtype: np.dtype[Any]
) -> Array:
    """`function` of traced JAX arrays.

    64-bit numbers travel as pairs of 32-bit words: the callback may run in a thread in which JAX's 64-bit mode is not
    on, and would be rounded there.
    """
    jax = sys.modules["jax"]
    types = [np.dtype(x.dtype) for x in arrays]
    wide = dtype.itemsize == 8

    def called(*values: Any) -> np.ndarray[Any, Any]:
        own = [
            np.ascontiguousarray(value).view(kind)[..., 0] if kind.itemsize == 8 else np.asarray(value)
            for value, kind in zip(values, types, strict=True)
        ]
        found = np.asarray(function(*own), dtype=dtype).reshape(shape)
        return np.ascontiguousarray(found[..., None]).view(np.uint32) if wide else found

    def words(x: Array) -> Array:
        return jax.lax.bitcast_convert_type(x, np.uint32) if x.dtype.itemsize == 8 else x

    result = jax.ShapeDtypeStruct((*shape, 2), np.uint32) if wide else jax.ShapeDtypeStruct(shape, dtype)
    constants = [words(jax.lax.stop_gradient(x)) for x in arrays]
    found = jax.pure_callback(called, result, *constants, vmap_method="sequential")
    return jax.lax.bitcast_convert_type(found, dtype) if wide else found


def memory_budget() -> float:
    """Bytes that work may hold beyond its inputs: 1 GiB, or ``CONSILIENCE_MEMORY_GIB``."""
    return float(os.environ.get("CONSILIENCE_MEMORY_GIB", "1")) * 2**30


def check_memory(needed: int, what: str) -> None:
    """Refuse work that would hold more than the budget (1 GiB, or ``CONSILIENCE_MEMORY_GIB``) beyond its inputs.

    Raises
    ------
    ConsilienceError
        If `needed` bytes are more; `what`, a noun phrase, begins the message.
    """
    budget = memory_budget()
    if needed > budget:
        raise ConsilienceError(
            f"{what} would take {needed / 2**30:.1f} GiB, more than the memory budget of {budget / 2**30:g} GiB: use "
            "fewer samples, or set the environment variable CONSILIENCE_MEMORY_GIB to what this machine can spare."
        )


def arange(n: int, *, like: Array) -> Array:
    """0 … n − 1, beside the array `like`."""
    xp = namespace(like)
    if array_api_compat.is_jax_array(like):  # JAX places arrays itself, and a traced one has no device
        return xp.arange(n)
    return xp.arange(n, device=array_api_compat.device(like))


def row_blocks(x: Array, *, arrays: int = 1) -> Iterator[tuple[int, int]]:
    """Row ranges ``(start, stop)`` such that `arrays` blocks of shape (stop - start, n) stay small (64 MiB at most)."""
    n = x.shape[0]
    most = max(1, _BLOCK_BYTES_OTHER // (8 * n * arrays))
    step = min(most, max(_FEWEST_ROWS, _BLOCK_BYTES_CPU // (8 * n * arrays))) if is_numpy(x) else most
    for start in range(0, n, step):
        yield start, min(start + step, n)


def with_own(block: Array, start: int, value: float) -> Array:
    """Rows ``start:start + m`` of an (n, n) array, `block` (m, n), with the diagonal set to `value`.

    A NumPy `block` is written to: pass one that nothing else holds.
    """
    m, n = block.shape
    if is_numpy(block):
        block[np.arange(m), np.arange(start, start + m)] = value
        return block
    xp = namespace(block)
    index = arange(n, like=block)
    own = index[start : start + m, None] == index[None, :]
    return xp.where(own, xp.full_like(block, value), block)


def true_per_row(mask: Array) -> Array:
    """Count the true entries in each row of a boolean (m, n) array."""
    if is_numpy(mask):
        # bytes are added eight at a time, as 64-bit words; 255 words cannot overflow a byte
        whole = mask.shape[1] - mask.shape[1] % 8
        words = np.ascontiguousarray(mask[:, :whole]).view(np.uint64)  # (m, n // 8)
        counts = mask[:, whole:].sum(axis=1, dtype=np.int64)
        for start in range(0, words.shape[1], 255):
            bytewise = np.add.reduce(words[:, start : start + 255], axis=1).view(np.uint8)
            counts += bytewise.reshape(-1, 8).sum(axis=1, dtype=np.int64)
        return counts
    xp = namespace(mask)
    return xp.sum(xp.astype(mask, xp.int64 if not array_api_compat.is_jax_array(mask) else xp.int32), axis=1)


def within_one(scores: Array) -> Array:
    """`scores` whose magnitude cannot exceed one, less what rounding adds to that; gradients stay as they are."""
    xp = namespace(scores)
    excess = xp.where(xp.abs(scores) > 1, scores - xp.sign(scores), xp.zeros_like(scores))
    return scores - stop_gradient(excess)


def k_smallest(values: Array, k: int) -> Array:
    """Column indices of the `k` smallest entries of each row of an (m, n) array, (m, k).

    JAX and strict libraries settle ties by index; with NumPy and PyTorch both the order inside a row and the choice
    among entries tied at the boundary are arbitrary.
    """
    if is_numpy(values):
        return _k_smallest_by_strands(values, k)
    if array_api_compat.is_torch_array(values):
        return sys.modules["torch"].topk(values, k, dim=1, largest=False, sorted=False).indices
    if array_api_compat.is_jax_array(values):
        return sys.modules["jax"].lax.top_k(-values, k)[1]
    return namespace(values).argsort(values, axis=1, stable=True)[:, :k]


def _k_smallest_by_strands(values: np.ndarray[Any, Any], k: int) -> np.ndarray[Any, Any]:
    """Look only into the `k` strands (every s-th column) whose smallest entries are the smallest.

    An entry of another strand has k entries, one in each of these, that are no larger. Minima cost one pass that runs
    at the speed of memory, where selection from all columns costs ten times that.
    """
    m, n = values.shape
    length = math.isqrt(n // k)
    if length < 4:
        return np.argpartition(values, k - 1, axis=1)[:, :k].copy()  # a view would keep all (m, n) indices
    strands = n // length
    whole = strands * length
    least = values[:, :whole].reshape(m, length, strands).min(axis=1)  # (m, strands)
    chosen = np.argpartition(least, k - 1, axis=1)[:, :k]
    columns = (chosen[:, :, None] + strands * np.arange(length)).reshape(m, -1)  # (m, k · length)
    columns = np.concatenate([columns, np.broadcast_to(np.arange(whole, n), (m, n - whole))], axis=1)
    best = np.argpartition(np.take_along_axis(values, columns, axis=1), k - 1, axis=1)[:, :k]
    return np.take_along_axis(columns, best, axis=1)


def centred(x: Array, *, unit: bool = False) -> Array:
    """`x` (n, d) less its column means; a column that is constant to rounding becomes exactly zero.

    Two passes: the second removes what rounding left of the mean, so that a large common offset costs nothing
    but the bits it took from the input itself. With `unit`, `unit_scaled` too.
    """
    if is_numpy(x):
        return _centred_in_place(x, unit)
    xp = namespace(x)
    centre = x - xp.mean(x, axis=0, keepdims=True)
    centre = centre - xp.mean(centre, axis=0, keepdims=True)
    size = xp.max(xp.abs(x), axis=0, keepdims=True)
    # asked this way round so that NaN, which a traced array may hold, stays NaN
    constant = xp.max(xp.abs(centre), axis=0, keepdims=True) <= 4 * epsilon(x) * size
    centre = xp.where(constant, xp.zeros_like(centre), centre)
    return unit_scaled(centre) if unit else centre


def _centred_in_place(x: np.ndarray[Any, Any], unit: bool) -> np.ndarray[Any, Any]:
    """Centre as `centred` does, with one new array instead of six."""
    centre = x - x.mean(axis=0)
    centre -= centre.mean(axis=0)
    size, spread = (np.maximum(each.max(axis=0), -each.min(axis=0)) for each in (x, centre))
    constant = spread <= 4 * epsilon(x) * size
    if constant.any():
        centre[:, constant] = 0.0
        spread = np.where(constant, 0.0, spread)
    if unit and spread.max() > 0:
        centre /= spread.max()
    return centre


def unit_scaled(x: Array) -> Array:
    """`x` divided by its largest magnitude, so that fourth powers neither overflow nor vanish; zeros stay zero."""
    xp = namespace(x)
    if is_numpy(x):
        scale = max(x.max(), -x.min())
        return x / (scale if scale > 0 else 1.0)
    scale = stop_gradient(xp.max(xp.abs(x)))
    return x / xp.where(scale > 0, scale, xp.ones_like(scale))


def power_of_two(size: Array) -> Array | float:
    """Return the largest power of two not above `size`, 0-d; one if `size` is zero. Dividing by it rounds nothing."""
    if not is_traced(size):
        known = float(size)
        return 2.0 ** (math.frexp(known)[1] - 1) if 0 < known < math.inf else 1.0
    jax = sys.modules["jax"]
    wide = size.dtype.itemsize == 8
    bits = jax.lax.bitcast_convert_type(size, np.uint64 if wide else np.uint32)
    exponent = bits & (np.uint64(0x7FF << 52) if wide else np.uint32(0xFF << 23))
    power = jax.lax.stop_gradient(jax.lax.bitcast_convert_type(exponent, size.dtype))
    return jax.numpy.where(power > 0, power, jax.numpy.ones_like(power))


def as_representations(
    values: Sequence[Any], names: Sequence[str], *, min_samples: int = 2, needed_by: str = "a measure"
) -> list[Array]:
    """Check `values` at the boundary and return them as floating-point arrays (n, d_k) of one library.

    Integers, booleans and half precision become float64 (float32 where the library or device has no float64:
    JAX without ``jax_enable_x64``, Apple GPUs).

    Raises
    ------
    ConsilienceError
        If an array is not two-dimensional or real, is empty, holds NaN or infinity, or if the arrays differ in
        number of rows, in library or in device.
    """
    arrays = [_as_array(value, name) for value, name in zip(values, names, strict=True)]
    _check_same_home(arrays, names)
    for x, name in zip(arrays, names, strict=True):
        _check_shape(x, name, min_samples, needed_by)
        if x.shape[0] != arrays[0].shape[0]:
            raise ConsilienceError(
                f"{names[0]} has {arrays[0].shape[0]} rows and {name} has {x.shape[0]}: a measure compares "
                "representations of the same samples, row by row; pass the same rows of both."
            )
    arrays = [_as_float(x, name) for x, name in zip(arrays, names, strict=True)]
    for x, name in zip(arrays, names, strict=True):
        _check_finite(x, name)
    return arrays


def as_targets(targets: Any, *, like: Array) -> Array:
    """Check the true classes of the samples of `like` (n, d): integers (n,), beside it.

    Raises
    ------
    ConsilienceError
        If they are not whole numbers, or not one for each sample.
    """
    values = _as_array(targets, "targets")
    if is_traced(values):
        return values
    values = to_numpy(values)
    if values.shape != (like.shape[0],):
        raise ConsilienceError(
            f"targets have shape {values.shape} where the representations have {like.shape[0]} rows: pass one class "
            f"for each sample, shape ({like.shape[0]},)."
        )
    if values.dtype.kind not in "biu" and not (values.dtype.kind == "f" and np.all(values == np.floor(values))):
        raise ConsilienceError(
            f"targets have data type {values.dtype}: classes are integers from 0; "
            "numpy.unique(targets, return_inverse=True)[1] numbers those that are called something else."
        )
    xp = namespace(like)
    values = values.astype(np.int64)
    if array_api_compat.is_jax_array(like):
        return xp.asarray(values)  # JAX places arrays itself and has its own widest integer
    return xp.asarray(values, device=array_api_compat.device(like))


def _as_array(value: Any, name: str) -> Array:
    if array_api_compat.is_array_api_obj(value):
        return value
    if value is None or isinstance(value, str | bytes | dict):
        raise ConsilienceError(f"{name} is a {type(value).__name__}: pass an (n, d) array.")
    try:
        return np.asarray(value)
    except ValueError as error:  # ragged nested lists
        raise ConsilienceError(f"{name} cannot be read as an array ({error}): pass an (n, d) array.") from error


def _check_same_home(arrays: Sequence[Array], names: Sequence[str]) -> None:
    libraries = [namespace(x).__name__.removeprefix("array_api_compat.") for x in arrays]
    homes = [str(array_api_compat.device(x)) if not is_traced(x) else "traced" for x in arrays]
    for library, home, name in zip(libraries, homes, names, strict=True):
        if library != libraries[0]:
            raise ConsilienceError(
                f"{names[0]} is an array of {libraries[0]} and {name} of {library}: convert them to one library."
            )
        if home != homes[0] and "traced" not in (home, homes[0]):
            raise ConsilienceError(f"{names[0]} is on device {homes[0]} and {name} on {home}: move both to one device.")


def _check_shape(x: Array, name: str, min_samples: int, needed_by: str) -> None:
    if x.ndim != 2:
        raise ConsilienceError(
            f"{name} has shape {tuple(x.shape)}; a representation is two-dimensional, (n_samples, n_features): "
            f"{_HINTS[min(x.ndim, 4)]}."
        )
    if x.shape[1] == 0:
        raise ConsilienceError(f"{name} has shape {tuple(x.shape)}: a representation needs a feature.")
    if x.shape[0] < min_samples:
        raise ConsilienceError(
            f"{name} has {x.shape[0]} rows; {needed_by} needs at least {min_samples}: pass more samples"
            + (", or options that need fewer." if min_samples > 5 else ".")
        )


_HINTS = (
    "pass one row for each sample",
    "x[:, None] makes one feature of it",
    "",
    "for sequences (n, tokens, d) choose tokens='mean', 'last', 'cls', 'flatten' or 'as_samples' in compare, pairwise, "
    "layerwise or preprocess",
    "for maps (n, channels, height, width) choose spatial='pool', 'flatten' or 'as_samples' in compare, pairwise, "
    "layerwise or preprocess",
)


def as_floating(value: Any, name: str) -> Array:
    """Return `value`, of any shape, as an array of the widest floating-point type of its library.

    Raises
    ------
    ConsilienceError
        If it is no array of real numbers.
    """
    return _as_float(_as_array(value, name), name)


def _as_float(x: Array, name: str) -> Array:
    xp = namespace(x)
    kind = str(x.dtype)
    real = "bfloat16" in kind or "float8" in kind  # extension types of NumPy that the standard does not know
    if not real and not xp.isdtype(x.dtype, ("bool", "integral", "real floating")):
        raise ConsilienceError(f"{name} has data type {kind}: a representation holds real numbers.")
    return xp.astype(x, _widest_float(x), copy=False)


def _widest_float(x: Array) -> Any:
    xp = namespace(x)
    if array_api_compat.is_jax_array(x):
        return xp.float64 if sys.modules["jax"].config.jax_enable_x64 else xp.float32
    if array_api_compat.is_torch_array(x) and x.device.type == "mps":
        return xp.float32
    return xp.float64


def _check_finite(x: Array, name: str) -> None:
    if is_traced(x):  # the values are not known: they cannot be looked at
        return
    xp = namespace(x)
    finite = xp.isfinite(x)
    if bool(xp.all(finite)):
        return
    row, column = (int(index) for index in np.argwhere(~to_numpy(finite))[0])
    raise ConsilienceError(
        f"{name} holds {float(x[row, column])} at row {row}, column {column}: a measure of an array with NaN or "
        "infinity means nothing; find where it comes from, or drop the row from every representation."
    )

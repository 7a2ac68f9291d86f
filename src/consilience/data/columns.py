"""Columns of a user's table made numeric, complete and finite, or an error that names the column."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from consilience.data.source import Task
from consilience.errors import ConsilienceError, require

__all__ = [
    "Encoded",
    "Impute",
    "column_array",
    "complete",
    "encode_classes",
    "encode_column",
    "encode_values",
    "infer_task",
]

Impute = Literal["none", "mean", "median"]
Floats = NDArray[np.float64]

# A text column with more different values than this is a name or a number in disguise, not a category.
_MAX_CATEGORIES = 1000
# A share above which a column of text is taken for what most of it is.
_MOSTLY = 0.5
# So many different texts are categories, however few rows there are.
_FEW_CATEGORIES = 20
# Whole numbers with at most this many different values are taken for classes.
_MAX_INTEGER_CLASSES = 20


class Encoded(NamedTuple):
    """One column of a table as numbers: `values` (n, c), NaN where missing, and the c names."""

    names: tuple[str, ...]
    values: Floats


def encode_column(column: Any, impute: Impute, where: str) -> Encoded:
    """Encode a pandas column: numbers and true/false as they are, text and categories one-hot.

    Missing text is an error, or with `impute` becomes the most frequent value.
    """
    pandas = require("pandas", extra="study", purpose="reading tables")
    name = str(column.name)
    category = isinstance(column.dtype, pandas.CategoricalDtype)
    kind = "category" if category else pandas.api.types.infer_dtype(column, skipna=True)
    if kind in ("integer", "floating", "mixed-integer-float", "boolean", "decimal", "empty"):
        values = pandas.to_numeric(column.astype("object")).to_numpy(dtype=np.float64, na_value=np.nan)
        return Encoded((name,), values[:, None])
    if kind not in ("string", "category"):
        raise ConsilienceError(
            f"column {name!r} of {where} holds {kind} values: turn it into numbers or text, or remove it"
        )
    missing = int(column.isna().sum())
    if missing and impute == "none":
        raise _missing_error({name: missing}, where)
    if missing == len(column):
        raise _empty_error(name, where)
    if not category:
        _check_text(column, name, where)
    # Decoded, so that unused and numeric categories are treated alike.
    text = column.astype("object").fillna(column.mode(dropna=True).iloc[0]).astype(str).to_numpy(dtype=str)
    levels, codes = np.unique(text, return_inverse=True)
    if len(levels) > _MAX_CATEGORIES:
        raise ConsilienceError(
            f"column {name!r} of {where} has {len(levels)} different texts, too many for a category "
            f"(limit {_MAX_CATEGORIES}): remove it, or turn it into numbers"
        )
    return Encoded(tuple(f"{name}={level}" for level in levels), np.eye(len(levels))[codes])


def _check_text(column: Any, name: str, where: str) -> None:
    """Refuse text that is numbers but for a few entries, or names rows instead of describing them."""
    pandas = require("pandas", extra="study", purpose="reading tables")
    text = column.dropna().astype(str)
    numeric = pandas.to_numeric(text, errors="coerce").notna()
    if numeric.mean() > _MOSTLY:
        others = text[~numeric]
        raise ConsilienceError(
            f"column {name!r} of {where} is text, though {int(numeric.sum())} of its {len(text)} values are numbers: "
            f"correct {others.iloc[0]!r} (row {others.index[0]}, from 0){' and others' if len(others) > 1 else ''}, or "
            f"leave it empty and set impute"
        )
    different = text.nunique()
    if different > max(_FEW_CATEGORIES, _MOSTLY * len(text)):
        raise ConsilienceError(
            f"column {name!r} of {where} has {different} different texts in {len(text)} rows: it names rows rather "
            f"than describes them; remove it, or turn it into numbers"
        )


def column_array(column: Any) -> NDArray[Any]:
    """Return a pandas column as an array in which every missing value, of whatever kind, is None."""
    present = column.notna()
    return column.to_numpy() if present.all() else column.astype("object").where(present, None).to_numpy()


def complete(inputs: Floats, names: tuple[str, ...], impute: Impute, where: str) -> Floats:
    """Return inputs (n, d) with missing values replaced.

    Raises
    ------
    ConsilienceError
        When a value is infinite, or missing with `impute` "none", or a column has no value at all.
    """
    infinite = np.isinf(inputs).sum(axis=0)
    if infinite.any():
        raise ConsilienceError(
            f"{where} has infinite values: {_counts(_nonzero(names, infinite))}; remove or replace them"
        )
    missing = np.isnan(inputs).sum(axis=0)
    if not missing.any():
        return inputs
    if impute == "none":
        raise _missing_error(_nonzero(names, missing), where)
    empty = [name for name, count in zip(names, missing, strict=True) if count == len(inputs)]
    if empty:
        raise _empty_error(empty[0], where)
    fill = np.nanmean(inputs, axis=0) if impute == "mean" else np.nanmedian(inputs, axis=0)
    return np.where(np.isnan(inputs), fill, inputs)


def infer_task(columns: Mapping[str, NDArray[Any]]) -> Task:
    """Classification for one column of text, true/false or few different whole numbers; else regression."""
    values = next(iter(columns.values()))
    if len(columns) > 1 or (values.ndim > 1 and values.shape[1] > 1):
        return "regression"
    numbers = _numbers(values)
    if numbers is None or values.dtype.kind == "b":
        return "classification"
    present = numbers[np.isfinite(numbers)]
    whole = bool(np.all(present == np.round(present)))
    return "classification" if whole and len(np.unique(present)) <= _MAX_INTEGER_CLASSES else "regression"


def encode_values(columns: Mapping[str, NDArray[Any]], where: str) -> Floats:
    """Return regression targets (n, k) from columns (n,) or (n, k')."""
    parts: list[Floats] = []
    for name, values in columns.items():
        numbers = _numbers(values)
        if numbers is None or numbers.ndim not in (1, 2):
            raise ConsilienceError(
                f"target {name!r} of {where} is {values.dtype} of shape {values.shape}; regression needs "
                "numbers of shape (n,) or (n, k)"
            )
        bad = int(np.sum(~np.isfinite(numbers)))
        if bad:
            raise ConsilienceError(
                f"target {name!r} of {where} has {bad} missing or infinite values: remove those rows"
            )
        parts.append(numbers.reshape(len(numbers), -1))
    if len({len(part) for part in parts}) > 1:
        sizes = ", ".join(f"{name!r} {len(part)}" for name, part in zip(columns, parts, strict=True))
        raise ConsilienceError(f"targets of {where} differ in their number of rows: {sizes}")
    return np.concatenate(parts, axis=1)


def encode_classes(columns: Mapping[str, NDArray[Any]], where: str) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return class numbers (n,) and names of the classes, in order of value."""
    name, values = next(iter(columns.items()))
    if len(columns) > 1 or values.size != len(values):
        raise ConsilienceError(
            f"target = {list(columns)} of {where}: classification has one target of shape (n,), "
            f"but these have {sum(value.size // max(len(value), 1) for value in columns.values())} columns"
        )
    values = values.reshape(-1)
    missing = int(np.sum(values != values)) + sum(value is None for value in values)
    if missing:
        raise ConsilienceError(f"target {name!r} of {where} has {missing} missing values: remove those rows")
    numbers = _numbers(values)
    labels = values.astype(str) if numbers is None or values.dtype.kind == "b" else numbers
    levels, codes = np.unique(labels, return_inverse=True)
    if not 2 <= len(levels) <= max(2, len(labels) // 2):
        raise ConsilienceError(
            f"target {name!r} of {where} has {len(levels)} different values in {len(labels)} rows: "
            "these are not classes; set task = 'regression' if they are measurements"
        )
    return codes.astype(np.int64), tuple(_class_name(level) for level in levels)


def _class_name(level: Any) -> str:
    """``3`` and not ``3.0``: numbers were read as floats."""
    whole = isinstance(level, float) and level.is_integer()  # NumPy's float64 is a float
    return str(int(level)) if whole else str(level)


def _numbers(values: NDArray[Any]) -> Floats | None:
    """Return the values as float64, or None where they are not numbers."""
    if values.dtype.kind in "biuf":
        return values.astype(np.float64)
    present = [value for value in values.reshape(-1) if value is not None and value == value]
    if values.dtype.kind != "O" or not all(isinstance(value, int | float | np.number) for value in present):
        return None
    return np.array([np.nan if value is None or value != value else value for value in values], np.float64)


def _nonzero(names: tuple[str, ...], counts: NDArray[Any]) -> dict[str, int]:
    return {name: int(count) for name, count in zip(names, counts, strict=True) if count}


def _counts(counts: Mapping[str, int]) -> str:
    """``'age' (3), 'height' (1)``: the first ten."""
    shown = ", ".join(f"{name!r} ({count})" for name, count in list(counts.items())[:10])
    return shown + (f" and {len(counts) - 10} more columns" if len(counts) > 10 else "")


def _empty_error(name: str, where: str) -> ConsilienceError:
    return ConsilienceError(f"column {name!r} of {where} has no values, nothing to impute from: remove it")


def _missing_error(counts: Mapping[str, int], where: str) -> ConsilienceError:
    return ConsilienceError(
        f"{where} has missing values: {_counts(counts)}; set impute = 'mean' or 'median', or remove the rows"
    )

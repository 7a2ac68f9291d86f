"""The user's own samples: NPZ, CSV and Parquet files."""

from __future__ import annotations

import contextlib
import hashlib
import zipfile
from collections import Counter
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from consilience._catalogue import suggestion
from consilience.data.columns import (
    Impute,
    column_array,
    complete,
    encode_classes,
    encode_column,
    encode_values,
    infer_task,
)
from consilience.data.source import CLASSIFICATION, REGRESSION, RealSource, Table, Task, register_source
from consilience.errors import ConsilienceError, require

__all__ = ["File"]


@register_source
@dataclass(frozen=True)
class File(RealSource):
    """Samples from a file: one row each, inputs and target side by side.

    In CSV and Parquet files every column that is not a target is an input; text and categorical columns are
    one-hot encoded, true/false becomes 1/0. An NPZ file has its inputs as array ``X``, (n, d), or for
    images (n, rows, columns) or (n, rows, columns, channels), and `target` names the array(s) of targets.

    Parameters
    ----------
    path
        The file; its ending says what it is.
    target
        Name of the target column or array, or several for a regression with several outputs.
    task
        What the target is. Left out: classification for text, true/false, and whole numbers with at most 20
        different values; regression otherwise.
    impute
        What replaces missing inputs: nothing ("none": they are an error), or the "mean" or "median" of the
        column over the whole file; for text the most frequent value. Missing targets are always an error.

    Examples
    --------
    >>> import numpy as np, tempfile
    >>> path = Path(tempfile.mkdtemp()) / "two.npz"
    >>> np.savez(path, X=np.eye(4), y=np.array(["a", "b", "a", "b"]))
    >>> table = File(path).load()
    >>> table.task, table.classes, table.targets
    ('classification', ('a', 'b'), array([0, 1, 0, 1]))
    """

    name: ClassVar[str] = "file"
    title: ClassVar[str] = "Your own samples: an NPZ, CSV or Parquet file"
    tasks: ClassVar[frozenset[Task]] = CLASSIFICATION | REGRESSION

    path: str | Path
    target: str | tuple[str, ...] = "y"
    task: Task | None = None
    impute: Impute = "none"

    def __post_init__(self) -> None:
        if Path(self.path).suffix.lower() not in _READERS:
            raise ConsilienceError(f"path = {str(self.path)!r}: must end in {', '.join(_READERS)}")
        if not self.target:
            raise ConsilienceError(f"target = {self.target!r}: name at least one column or array")
        twice = [] if isinstance(self.target, str) else _repeated(self.target)
        if twice:
            raise ConsilienceError(f"target = {list(self.target)}: names {twice[0]!r} more than once; name each once")
        if self.task not in (None, "classification", "regression"):
            raise ConsilienceError(f"task = {self.task!r}: choose 'classification' or 'regression'")
        if self.impute not in ("none", "mean", "median"):
            raise ConsilienceError(f"impute = {self.impute!r}: choose 'none', 'mean' or 'median'")

    def load(self) -> Table:
        """Return every row of the file.

        Raises
        ------
        ConsilienceError
            When the file cannot be read, a target is not in it, or a value is missing or infinite.
        """
        path = Path(self.path).expanduser()
        if not path.is_file():
            raise ConsilienceError(f"path = {str(self.path)!r}: no such file (looked in {Path.cwd()})")
        names = (self.target,) if isinstance(self.target, str) else tuple(self.target)
        inputs, feature_names, image_shape, columns = _READERS[path.suffix.lower()](path, names, self.impute)
        task = self.task or infer_task(columns)
        where = path.name
        classes: tuple[str, ...] = ()
        if task == "classification":
            targets, classes = encode_classes(columns, where)
        else:
            targets = encode_values(columns, where)
        if len(targets) != len(inputs):
            raise ConsilienceError(f"{where} has {len(inputs)} rows of inputs but {len(targets)} of targets")
        return Table(
            inputs=complete(inputs, feature_names, self.impute, where),
            targets=targets,
            task=task,
            classes=classes,
            image_shape=image_shape,
            feature_names=feature_names,
            origin=f"{path.name}, sha256 {hashlib.sha256(path.read_bytes()).hexdigest()}",
        )


def _repeated(names: Iterable[str]) -> list[str]:
    """Names that occur more than once."""
    return [name for name, count in Counter(names).items() if count > 1]


_MOST_CHANNELS = 4  # of an image

# Inputs (n, d), their names, image shape, and the target columns by name.
_Read = tuple[NDArray[np.float64], tuple[str, ...], tuple[int, ...] | None, dict[str, NDArray[Any]]]


def _check_targets(names: tuple[str, ...], present: list[str], path: Path, kind: str) -> None:
    """Refuse targets that are not in the file."""
    for name in names:
        if name not in present:
            raise ConsilienceError(
                f"target = {name!r}: {path.name} has no {kind} of this name; {suggestion(name, present)}"
            )


def _read_npz(path: Path, targets: tuple[str, ...], impute: Impute) -> _Read:
    """Read arrays ``X`` and `targets`."""
    del impute
    arrays = _load_arrays(path)
    _check_targets(targets, list(arrays), path, "array")
    if "X" not in arrays or "X" in targets:
        raise ConsilienceError(
            f"{path} needs its inputs as an array named 'X' that is not a target; it has: {', '.join(arrays)}"
        )
    x = arrays["X"]
    if x.ndim not in (2, 3, 4) or x.dtype.kind not in "biuf" or 0 in x.shape:
        raise ConsilienceError(
            f"{path}: X is {x.dtype} of shape {x.shape}; it must be numbers (n, d), (n, rows, columns) or "
            f"(n, rows, columns, channels)"
        )
    if x.ndim == 4 and x.shape[1] <= _MOST_CHANNELS < x.shape[3]:
        raise ConsilienceError(
            f"{path}: X of shape {x.shape} would be images of {x.shape[1]} rows with {x.shape[3]} channels; channels "
            f"come last: save X.transpose(0, 2, 3, 1)"
        )
    image_shape = tuple(int(size) for size in x.shape[1:]) if x.ndim > 2 else None
    inputs = x.reshape(len(x), -1).astype(np.float64)
    names = tuple(f"X[:, {j}]" for j in range(inputs.shape[1]))
    return inputs, names, image_shape, {name: arrays[name] for name in targets}


def _load_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Read every array of an NPZ file; arrays of Python objects are refused, since reading them runs code."""
    if not zipfile.is_zipfile(path):
        raise ConsilienceError(f"{path} is not an NPZ file: save named arrays with numpy.savez")
    try:
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    except (zipfile.BadZipFile, EOFError, OSError, ValueError) as error:
        raise ConsilienceError(f"{path} cannot be read as NPZ: {error}") from error


def _is_parquet(path: Path) -> bool:
    return path.suffix.lower() == ".parquet"


@contextlib.contextmanager
def _readable(path: Path) -> Generator[None]:
    """Say of which file it is that pandas or pyarrow cannot read it."""
    try:
        yield
    except (ValueError, OSError) as error:  # pandas' and pyarrow's own errors are subclasses
        raise ConsilienceError(f"{path} cannot be read as {path.suffix}: {error}") from error


def _column_names(path: Path) -> list[str]:
    """Return the names as the file has them, where there are any: pandas renames the second of two alike."""
    if _is_parquet(path):
        parquet = require("pyarrow.parquet", extra="study", purpose=f"reading {path.suffix} files")
        return list(parquet.read_schema(path).names)
    pandas = require("pandas", extra="study", purpose=f"reading {path.suffix} files")
    first = pandas.read_csv(path, header=None, nrows=1, dtype=str, keep_default_na=False)
    return [name for name in first.iloc[0] if name]


def _read_frame(path: Path, targets: tuple[str, ...], impute: Impute) -> _Read:
    """Read a table with pandas and encode its inputs."""
    pandas = require("pandas", extra="study", purpose=f"reading {path.suffix} files")
    with _readable(path):
        present = _column_names(path)
    twice = _repeated(present)
    if twice:
        raise ConsilienceError(
            f"{path} has {present.count(twice[0])} columns named {twice[0]!r}: rename them, or remove all but one"
        )
    with _readable(path):
        frame = pandas.read_parquet(path) if _is_parquet(path) else pandas.read_csv(path)
    frame.columns = [str(name) for name in frame.columns]
    _check_targets(targets, list(frame.columns), path, "column")
    features = [name for name in frame.columns if name not in targets]
    if not features or not len(frame):
        raise ConsilienceError(f"{path} has {len(frame)} rows and {len(features)} columns besides the target")
    encoded = [encode_column(frame[name], impute, path.name) for name in features]
    names = tuple(name for part in encoded for name in part.names)
    columns = {name: column_array(frame[name]) for name in targets}
    return np.concatenate([part.values for part in encoded], axis=1), names, None, columns


_READERS = {".npz": _read_npz, ".csv": _read_frame, ".parquet": _read_frame}

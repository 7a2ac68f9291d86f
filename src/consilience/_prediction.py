"""From the name of a data set to a prediction about it: what the command `predict` calls and prints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from consilience.data import SOURCES, File, RealSource, SyntheticSource, prepare
from consilience.errors import ConsilienceError
from consilience.theory import Prediction, predict

if TYPE_CHECKING:
    from consilience.data import Source, Splits

__all__ = ["columns", "facts", "predict_data", "rows"]

_FILES = (".npz", ".csv", ".parquet")
_SPARE = 1.5  # rows drawn from a synthetic source for each of the largest training set: some are held out
_FEWEST, _SIZES = 10, 10

columns = ("SNR", "n_train", "alignment", "95 % interval", "output CKA", "hidden CKA", "risk")


def predict_data(
    data: str,
    *,
    target: Sequence[str] = ("y",),
    snr: Sequence[float],
    n_train: Sequence[int] | None = None,
    ridge: float = 0.0,
    pool: int = 1,
    seed: int = 0,
) -> Prediction:
    """Predict about a file or a built-in source, on the scale studies train on.

    Parameters
    ----------
    data
        A CSV, Parquet or NPZ file, or the name of a source (see `consilience.data.SOURCES`).
    target
        Columns or arrays of a file that are targets.
    n_train
        Training-set sizes; ten of them, up to four fifths of the rows, where none are given.
    pool
        Images: average blocks of `pool` × `pool` pixels.

    Raises
    ------
    ConsilienceError
        When there is no such data, or they are not what `theory.predict` takes.
    """
    splits = _load(_source(data, target), n_train, pool, seed)
    sizes = _sizes(splits.n_pool) if not n_train else list(n_train)
    x = np.asarray(splits.train_x, np.float64)
    return predict(x, splits.train_y, list(snr), sizes, ridge, seed=seed)


def _source(data: str, target: Sequence[str]) -> Source:
    if Path(data).suffix.lower() in _FILES:
        return File(data, target[0] if len(target) == 1 else tuple(target))
    if data == File.name:
        raise ConsilienceError(f"{data!r} is no data: give the path of a {', '.join(_FILES)} file")
    return SOURCES[data]()


def _load(source: Source, n_train: Sequence[int] | None, pool: int, seed: int) -> Splits:
    """All rows but two, which a test and a probe set must have."""
    if isinstance(source, SyntheticSource):
        n = int(np.ceil(_SPARE * max(n_train or (1000,))))
        return prepare(source, n_train=n, n_probe=1, n_test=1, pool=pool, seed=seed)
    assert isinstance(source, RealSource)
    return prepare(source, n_train=1, n_probe=1, n_test=1, pool=pool, seed=seed)


def _sizes(rows: int) -> list[int]:
    """Sizes in equal ratios up to the largest that rows allow to compute."""
    largest = max(1, rows - max(2, rows // 5))
    return sorted({round(float(n)) for n in np.geomspace(min(_FEWEST, largest), largest, _SIZES)})


def _by_cell(prediction: Prediction) -> list[dict[str, Any]]:
    """One dictionary for every SNR and n_train."""
    low, high = prediction.low, prediction.high
    assert low is not None
    assert high is not None
    found: list[dict[str, Any]] = []
    for i, snr in enumerate(np.atleast_1d(prediction.snr).tolist()):
        for j, n in enumerate(np.atleast_1d(prediction.n_train).tolist()):
            cell: dict[str, Any] = {"snr": snr, "n_train": int(n)}
            for name in ("alignment", "output_cka", "hidden_cka", "risk"):
                cell[name] = float(getattr(prediction, name)[i, j])
                cell[f"{name}_low"], cell[f"{name}_high"] = (float(getattr(end, name)[i, j]) for end in (low, high))
            cell["scatter"] = float(prediction.scatter[i, j])
            cell["gaussian"] = float(prediction.gaussian.alignment[i, j])
            cell["extrapolated"] = bool(prediction.extrapolated[j])
            found.append(cell)
    return found


def rows(prediction: Prediction) -> list[tuple[str, ...]]:
    """Rows of a table under `columns`."""
    return [
        (
            f"{cell['snr']:g}",
            f"{cell['n_train']}{' *' if cell['extrapolated'] else ''}",
            f"{cell['alignment']:.3f}",
            f"{cell['alignment_low']:.3f} … {cell['alignment_high']:.3f}",
            f"{cell['output_cka']:.3f}",
            f"{cell['hidden_cka']:.3f}",
            f"{cell['risk']:.3g}",
        )
        for cell in _by_cell(prediction)
    ]


def facts(prediction: Prediction) -> dict[str, Any]:
    """Everything, for JSON."""
    found = prediction.estimate
    return {
        "rows": found.rows,
        "rank": found.rank,
        "ridge": prediction.ridge,
        "misfit": float(np.trace(found.misfit) / len(found.misfit) / found.variance),
        "misfit_error": prediction.misfit_error / found.variance,
        "level": prediction.level,
        "predictions": _by_cell(prediction),
        "warnings": list(prediction.warnings),
    }

"""Training pool, test set and probe set of a study, standardised and ready for JAX."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consilience.data.source import LinearTruth, RealSource, Source, SyntheticSource, Table, Task
from consilience.errors import ConsilienceError

__all__ = ["Splits", "prepare"]

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]

_MAX_HELD_OUT = 1000  # rows of the test and of the probe set, where the user does not say
_BLOCK = 8192  # rows whose mean and variance are summed at once


@dataclass(frozen=True, eq=False)
class Splits:
    """Disjoint sets of samples, drawn once by seed and shared by every cell of a study.

    Attributes
    ----------
    train_x, train_y
        The training pool: (n_pool, d) float32, and (n_pool,) int32 class numbers or (n_pool, k) float32
        values. A training set of n_train samples is its first n_train rows, so smaller sets are nested in
        larger ones; the row number is the sample id that noise depends on.
    test_x, test_y
        Clean samples for the test error.
    probe_x
        (n_probe, d) fresh clean inputs on which representations are compared.
    n_outputs
        Classes, or targets k.
    image_shape
        (rows, columns), or (rows, columns, channels), while the inputs are still images.
    truth
        The targets' best linear map, where it is known on exactly this scale.
    probe_y
        Clean targets of the probe set, for measures that need the true classes.
    """

    train_x: Floats32
    train_y: NDArray[Any]
    test_x: Floats32
    test_y: NDArray[Any]
    probe_x: Floats32
    n_outputs: int
    task: Task
    classes: tuple[str, ...]
    image_shape: tuple[int, ...] | None
    feature_names: tuple[str, ...]
    origin: str
    truth: LinearTruth | None
    probe_y: NDArray[Any] | None = None

    @property
    def d(self) -> int:
        """Number of inputs of a network."""
        return self.train_x.shape[1]

    @property
    def n_pool(self) -> int:
        """Rows of the training pool: the largest possible n_train."""
        return self.train_x.shape[0]


def prepare(
    source: Source,
    *,
    n_train: int | Sequence[int],
    n_probe: int | None = None,
    n_test: int | None = None,
    n_pool: int | None = None,
    pool: int = 1,
    pca: int | None = None,
    seed: int = 0,
) -> Splits:
    """Load a source, split it by seed, and put it on the standard scale.

    Real data: the rows are permuted once by `seed`; the first become the test set, the next the probe set,
    all others the training pool. Inputs are pooled, then each column gets mean 0 and variance 1 over the
    training pool (a column that is constant there becomes 0 everywhere), and so does each regression target.

    Synthetic data: the source draws exactly as many samples as are needed. They come standardised by their
    population (see `SyntheticSource`) and are not standardised again.

    Parameters
    ----------
    source
        One of `SOURCES`, or your own.
    n_train
        Size, or sizes, of the training sets the pool must hold.
    n_probe, n_test
        Rows of the probe and test set. Default: 1000, or for real data a fifth of the rows if that is less.
    n_pool
        Rows a synthetic source draws for the training pool. Default: the largest `n_train`; give more where
        members are to draw different inputs from it.
    pool
        Images: average blocks of `pool` × `pool` pixels.
    pca
        Keep this many principal components of the standardised training pool, not whitened, all divided by
        one number so that their mean variance is 1.
    seed
        Decides the split, and everything about synthetic data.

    Raises
    ------
    ConsilienceError
        When there are too few rows, or `pool` or `pca` do not suit the data.

    Examples
    --------
    >>> from consilience.data import Digits
    >>> splits = prepare(Digits(), n_train=[100, 1000], pool=2)
    >>> splits.train_x.shape, splits.test_x.shape, splits.probe_x.shape, splits.n_outputs
    ((1079, 16), (359, 16), (359, 16), 10)
    """
    largest = _largest(n_train)
    for field, value in {
        "n_probe": n_probe,
        "n_test": n_test,
        "n_pool": n_pool,
        "pca": pca,
        "pool": pool,
    }.items():
        if value is not None and value < 1:
            raise ConsilienceError(f"{field} = {value}: must be 1 or more")
    if seed < 0:
        raise ConsilienceError(f"seed = {seed}: must be 0 or more")
    if isinstance(source, SyntheticSource):
        n_test, n_probe = n_test or _MAX_HELD_OUT, n_probe or _MAX_HELD_OUT
        wanted = max(largest, n_pool or 0)
        table = source.sample(n_test + n_probe + wanted, seed=seed)
        order = np.arange(len(table.inputs))  # already in random order
    elif isinstance(source, RealSource):
        if n_pool is not None:
            raise ConsilienceError(f"n_pool = {n_pool}: only for synthetic data, whose pool has any size; leave it out")
        table = source.load()
        n = len(table.inputs)
        n_test, n_probe = (min(_MAX_HELD_OUT, n // 5) if size is None else size for size in (n_test, n_probe))
        _check_rows(source.name, n, largest, n_test, n_probe)
        order = np.random.default_rng(seed).permutation(n)
    else:
        raise ConsilienceError(f"source = {source!r}: must be a RealSource or a SyntheticSource")
    parts = _Parts(*np.split(order, [n_test, n_test + n_probe]))
    table = _pooled(table, pool)
    if isinstance(source, RealSource):
        table = _standardised(table, parts.train, source.name)
    if pca is not None:
        table = _projected(table, parts.train, pca)
    return _split(table, parts)


@dataclass(frozen=True)
class _Parts:
    """Row numbers of each set."""

    test: NDArray[np.intp]
    probe: NDArray[np.intp]
    train: NDArray[np.intp]


def _largest(n_train: int | Sequence[int]) -> int:
    """Return the largest training set asked for."""
    sizes = [n_train] if isinstance(n_train, int | np.integer) else list(n_train)
    if not sizes or min(sizes) < 1:
        raise ConsilienceError(f"n_train = {n_train}: every training set needs at least 1 sample")
    return max(sizes)


def _check_rows(name: str, n: int, largest: int, n_test: int, n_probe: int) -> None:
    """Refuse sizes that do not fit in n rows."""
    split = f"{name} has {n} rows: {n_test} test, {n_probe} probe"
    rest = n - n_test - n_probe
    if min(n_test, n_probe, rest) < 1:
        raise ConsilienceError(f"{split} leaves {rest} to train on; every set needs at least 1")
    if largest > rest:
        raise ConsilienceError(
            f"grid.n_train = {largest} is beyond the training pool of {rest} rows ({split}); "
            "lower it, or n_test and n_probe"
        )


def _pooled(table: Table, factor: int) -> Table:
    """Average blocks of factor × factor pixels."""
    if factor == 1:
        return table
    if table.image_shape is None:
        raise ConsilienceError(f"pool = {factor}: these data are not images ({table.origin}); leave it out")
    rows, columns, *channels = table.image_shape
    if rows % factor or columns % factor:
        raise ConsilienceError(f"pool = {factor}: does not divide images of {rows}×{columns}")
    images = table.inputs.reshape(-1, *table.image_shape)
    # One slice for each place in a block: several times faster than a mean over two strided axes.
    shape = (rows // factor, columns // factor, *channels)
    mean = np.zeros((len(images), *shape))
    for i, j in np.ndindex(factor, factor):
        mean += images[:, i::factor, j::factor]
    mean /= factor**2
    return replace(
        table,
        inputs=mean.reshape(len(images), -1),
        image_shape=shape,
        feature_names=tuple(f"block {','.join(map(str, place))}" for place in np.ndindex(*shape)),
    )


def _standardised(table: Table, train: NDArray[np.intp], name: str) -> Table:
    """Return the table with inputs, and regression targets, standardised by the training pool."""
    table = replace(table, inputs=_standardise(table.inputs, train), truth=None)
    if table.task == "classification":
        return table
    targets = _standardise(table.targets, train)
    constant = np.flatnonzero(~targets.any(axis=0))
    if len(constant):
        raise ConsilienceError(
            f"target {constant[0]} of {name} (counted from 0): has one value in all {len(train)} rows of the training "
            f"pool, so there is nothing to learn; leave it out, or give more rows"
        )
    return replace(table, targets=targets)


def _standardise(x: Floats, train: NDArray[np.intp]) -> Floats:
    """(x − mean) / sd, with statistics of rows `train`; 0 in columns that are constant there."""
    # In blocks: the pool of a large data set is not copied.
    blocks = np.array_split(train, -(-len(train) // _BLOCK))
    mean = sum(x[rows].sum(axis=0) for rows in blocks) / len(train)  # (d,)
    sd = np.sqrt(sum(((x[rows] - mean) ** 2).sum(axis=0) for rows in blocks) / len(train))
    # Rounding of the mean leaves a constant column with a spread of some ulp of its size.
    varies = sd > 1e-12 * np.abs(mean)
    standard = x - mean
    standard /= np.where(varies, sd, 1.0)
    standard[:, ~varies] = 0.0
    return standard


def _projected(table: Table, train: NDArray[np.intp], k: int) -> Table:
    """Project on the k leading principal components of the training pool, at mean variance 1."""
    pool = table.inputs[train]
    n, d = pool.shape
    mean = pool.mean(axis=0)
    pool = pool - mean
    if d <= n:
        variances, vectors = np.linalg.eigh(pool.T @ pool / n)  # ascending
        variances, components = variances[::-1], vectors[:, ::-1].T
    else:
        _, singular, components = np.linalg.svd(pool, full_matrices=False)
        variances = singular**2 / n
    rank = int(np.sum(variances > variances[0] * max(n, d) * np.finfo(np.float64).eps))
    if k > rank:
        raise ConsilienceError(f"pca = {k}: the training pool, {n} rows by {d} columns, has rank {rank}")
    components = components[:k]
    # The sign of a component is arbitrary: make its largest entry positive.
    largest = components[np.arange(k), np.argmax(np.abs(components), axis=1)]
    components = components * np.sign(largest)[:, None] / np.sqrt(variances[:k].mean())
    return replace(
        table,
        inputs=(table.inputs - mean) @ components.T,
        image_shape=None,
        feature_names=tuple(f"component {i}" for i in range(k)),
        truth=None,
    )


def _split(table: Table, parts: _Parts) -> Splits:
    """Cut the table into its sets, in the types JAX trains on."""
    classification = table.task == "classification"
    x = table.inputs.astype(np.float32)
    y = table.targets.astype(np.int32 if classification else np.float32)
    return Splits(
        train_x=x[parts.train],
        train_y=y[parts.train],
        test_x=x[parts.test],
        test_y=y[parts.test],
        probe_x=x[parts.probe],
        n_outputs=len(table.classes) if classification else y.shape[1],
        task=table.task,
        classes=table.classes,
        image_shape=table.image_shape,
        feature_names=table.feature_names,
        origin=table.origin,
        truth=table.truth,
        probe_y=y[parts.probe],
    )

"""What a noise process is, the catalogue of all, and the random numbers they are made of."""

from __future__ import annotations

import abc
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from consilience._catalogue import Catalogue
from consilience.data.source import Task
from consilience.errors import ConsilienceError, require

if TYPE_CHECKING:
    from jax import Array

__all__ = [
    "PROCESSES",
    "Corrupts",
    "NoiseKeys",
    "NoiseProcess",
    "amplitude",
    "member_key",
    "noise_keys",
    "normals",
    "refuse_labels",
    "register_process",
    "sample_keys",
]

# Keeps the noise apart from other random streams (initialization, batches) that start from the same seed.
_STREAM = 0x6E6F6973
_SEEDS = 2**32
_LAST = _SEEDS - 1  # no member and no sample has this number: the draws all members share, and who uses them

Corrupts = Literal["labels", "inputs"]


class NoiseKeys(NamedTuple):
    """Random keys of one member's noise: `own`, and `shared` by all members of the study."""

    own: Array
    shared: Array


def member_key(seed: int | Array, member: int | np.uint32 | Array) -> Array:
    """Key of the noise of one member of the study with this seed; traceable, so members can be mapped over.

    Raises
    ------
    ConsilienceError
        When a Python `seed` lies outside 0 … 2³² − 1: the generator would silently drop its upper bits.

    >>> import jax
    >>> keys = jax.vmap(member_key, (None, 0))(0, jax.numpy.arange(8))
    >>> keys.shape
    (8,)
    """
    if isinstance(seed, int | np.integer) and not 0 <= seed < _SEEDS:
        raise ConsilienceError(f"seed = {seed}: must lie between 0 and {_SEEDS - 1}")
    random = require("jax.random", extra="study", purpose="drawing noise")
    return random.fold_in(random.fold_in(random.key(seed, impl="threefry2x32"), _STREAM), member)


def noise_keys(seed: int | Array, member: int | Array) -> NoiseKeys:
    """Return what `NoiseProcess.apply` draws from: the member's own key and the one all members share.

    >>> bool(noise_keys(0, 1).shared == noise_keys(0, 2).shared)
    True
    """
    return NoiseKeys(member_key(seed, member), member_key(seed, np.uint32(_LAST)))


@dataclass(frozen=True, kw_only=True)
class NoiseProcess(abc.ABC):
    """How labels or inputs of the training set are corrupted.

    With z the clean values that a process corrupts (standardised targets, one-hot labels, standardised inputs), z′ the
    noisy ones, both centred, and a = E⟨z′, z⟩ / E|z|² the slope of noisy on clean, every process has ::

        SNR = a² E|z|² / E|z′ − a z|² = ρ² / (1 − ρ²),    ρ = corr(z′, z)

    over the training pool (balanced classes): the variance kept over the rest.

    Attributes
    ----------
    name, title
        What a study file calls it; one line for tables.
    definition
        Its signal-to-noise ratio in words.
    corrupts
        "labels" or "inputs".
    tasks
        Tasks whose data it can corrupt.
    correlation
        r from 0 to 1: correlation of the noise of two members on the same sample, given the sample. Gaussian noise is
        √r ε_shared + √(1−r) ε_own. Any other noise of a sample is, with probability √r for each sample and member,
        the draw that all members share: for every function f of the noise Cov(f_m, f_n) = √r √r Var f, and each
        member's noise is what it is at r = 0.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    name: ClassVar[str]
    title: ClassVar[str]
    definition: ClassVar[str]
    corrupts: ClassVar[Corrupts]
    tasks: ClassVar[frozenset[Task]]

    correlation: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.correlation <= 1:
            raise ConsilienceError(f"correlation = {self.correlation}: must lie between 0 and 1")

    @abc.abstractmethod
    def level(self, snr: float) -> float:
        """Strength of the noise at this SNR: a standard deviation σ, or a probability p. Infinity gives 0."""

    def target_variance(self, level: float) -> float:
        """Variance of a noisy regression target whose clean variance is 1; override where targets are corrupted."""
        del level
        return 1.0

    def fitted(
        self, x: NDArray[Any], y: NDArray[Any], *, n_classes: int, image_shape: tuple[int, ...] | None
    ) -> tuple[NDArray[Any], ...]:
        """Return what `apply` needs of the whole clean training pool, as small arrays; most processes need nothing.

        A pure function of its arguments. Override it, too, to refuse data the process does not suit.

        Parameters
        ----------
        x, y
            The pool: inputs (n_pool, d); class numbers (n_pool,) or standardised values (n_pool, k).
        n_classes, image_shape
            As in `apply`.
        """
        del x, y, n_classes, image_shape
        return ()

    def largest_level(self, state: tuple[NDArray[Any], ...]) -> float:
        """Return the level that cannot be exceeded on the data `state` was fitted to."""
        del state
        return math.inf

    @abc.abstractmethod
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
        """Corrupt samples; pure JAX, every argument but `n_classes` and `image_shape` may be traced.

        Parameters
        ----------
        keys
            From `noise_keys`.
        ids
            (n,) integers: which samples of the training pool these are.
        x, y
            Inputs (n, d); class numbers (n,) or standardised values (n, k).
        level
            From `level`.
        n_classes
            Number of classes; not used by processes that leave classes alone.
        image_shape
            (rows, columns), or (rows, columns, channels), where inputs are images.
        state
            From `fitted`, of the training pool.
        """


def _own(name: str) -> type[NoiseProcess]:
    from consilience.data.noise.custom import custom_process

    return custom_process(name)


PROCESSES: Catalogue[type[NoiseProcess]] = Catalogue("noise process", own=_own)
"""Every noise process by the name a study file calls it; also any of your own as "package.module:function"."""

ProcessType = TypeVar("ProcessType", bound=type[NoiseProcess])


def register_process(cls: ProcessType) -> ProcessType:
    """Class decorator: list the process in `PROCESSES` under its `name`."""
    PROCESSES.register(cls.name, cls)
    return cls


def amplitude(snr: float) -> float:
    """σ = 1/√SNR."""
    if not snr > 0:
        raise ConsilienceError(f"snr = {snr}: this noise needs a number above 0 (inf for no noise)")
    return 1 / math.sqrt(snr)


def normals(keys: NoiseKeys, ids: Array, like: Array, correlation: float) -> Array:
    """Return one standard normal for every value of every sample, correlated between members."""
    jax = require("jax", extra="study", purpose="drawing noise")

    def drawn(key: Array) -> Array:
        def draw(i: Array) -> Array:
            return jax.random.normal(jax.random.fold_in(key, i), like.shape[1:], like.dtype)

        return jax.vmap(draw)(ids)

    if correlation == 0:
        return drawn(keys.own)
    if correlation == 1:
        return drawn(keys.shared)
    return math.sqrt(correlation) * drawn(keys.shared) + math.sqrt(1 - correlation) * drawn(keys.own)


def sample_keys(keys: NoiseKeys, ids: Array, correlation: float) -> Array:
    """Return the keys (n,) that samples' noise is drawn from: the member's own, with probability √r the shared one."""
    jax = require("jax", extra="study", purpose="drawing noise")
    random = jax.random

    def of(key: Array) -> Array:
        return jax.vmap(lambda i: random.fold_in(key, i))(ids)

    if correlation == 0:
        return of(keys.own)
    choice = of(random.fold_in(keys.own, np.uint32(_LAST)))
    shared = jax.vmap(random.uniform)(choice) < math.sqrt(correlation)  # (n,)
    return jax.numpy.where(shared, of(keys.shared), of(keys.own))


def refuse_labels(name: str, y: Array, *, integer: bool) -> None:
    """A process met labels of the other task: dtypes are known while tracing, so this costs nothing."""
    if (y.dtype.kind in "iu") != integer:
        wanted = "integer class numbers (n,)" if integer else "real values (n, k)"
        raise ConsilienceError(
            f"noise process {name!r} corrupts {wanted} but y is {y.dtype} of shape {tuple(y.shape)}: "
            "choose a process for this task"
        )

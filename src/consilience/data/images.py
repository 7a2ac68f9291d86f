"""MNIST and Fashion-MNIST from their IDX files, or from OpenML."""

from __future__ import annotations

import gzip
import http.client
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from consilience.data.source import CLASSIFICATION, RealSource, Table, Task, register_source
from consilience.errors import ConsilienceError, require

__all__ = ["MNIST", "FashionMNIST", "read_idx"]

_PARTS = ("train", "t10k")
_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_idx(path: Path) -> NDArray[Any]:
    """Read one IDX file, compressed with gzip or not.

    IDX: two zero bytes, a code for the type, the number of dimensions, each dimension as a big-endian 32-bit
    integer, then the values (Y. LeCun, MNIST web page).

    Raises
    ------
    ConsilienceError
        When the file is not IDX, or is cut short.
    """
    raw = path.read_bytes()
    if raw[:2] == b"\x1f\x8b":
        try:
            raw = gzip.decompress(raw)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise ConsilienceError(f"{path} is a damaged gzip file ({error}): fetch it again") from error
    if len(raw) < 4 or raw[:2] != b"\0\0" or raw[2] not in _TYPES:
        raise ConsilienceError(f"{path} is not an IDX file: it starts with {raw[:4]!r}")
    start = 4 + 4 * raw[3]
    if len(raw) < start:
        raise ConsilienceError(f"{path} is cut short: {len(raw)} bytes do not hold an IDX header of {start}")
    shape = tuple(int(size) for size in np.frombuffer(raw, ">i4", raw[3], offset=4))
    dtype = np.dtype(_TYPES[raw[2]])
    expected = start + dtype.itemsize * int(np.prod(shape))
    if len(raw) != expected:
        raise ConsilienceError(
            f"{path} has {len(raw)} bytes but its header says {shape}, which takes {expected}: fetch it again"
        )
    return np.frombuffer(raw, dtype, offset=start).reshape(shape)


def _find(folder: Path, stem: str) -> Path | None:
    """Return the file of this part under any of its usual names."""
    names = (stem, stem.replace("-idx", ".idx"))
    candidates = (folder / (name + end) for name in names for end in ("", ".gz"))
    return next((path for path in candidates if path.is_file()), None)


def _read_folder(folder: Path) -> tuple[NDArray[Any], NDArray[Any]] | None:
    """Return images (n, rows, columns) and labels (n,) of both parts; None where a file is absent."""
    images = [_find(folder, f"{part}-images-idx3-ubyte") for part in _PARTS]
    labels = [_find(folder, f"{part}-labels-idx1-ubyte") for part in _PARTS]
    paths = [path for path in (*images, *labels) if path is not None]
    if len(paths) < 2 * len(_PARTS):
        return None
    arrays = [read_idx(path) for path in paths]
    x, y = np.concatenate(arrays[: len(_PARTS)]), np.concatenate(arrays[len(_PARTS) :])
    if x.ndim != 3 or y.shape != x.shape[:1]:
        raise ConsilienceError(f"{folder}: images {x.shape} and labels {y.shape} do not belong together")
    return x, y


@dataclass(frozen=True)
class _IDXImages(RealSource):
    """Images and labels in the four files of the MNIST web page."""

    tasks: ClassVar[frozenset[Task]] = CLASSIFICATION
    class_names: ClassVar[tuple[str, ...]]
    openml: ClassVar[str]
    known_folder: ClassVar[str | None]
    package: ClassVar[str | None]

    folder: str | Path | None = None

    def load(self) -> Table:
        """Return the 60,000 training and 10,000 test images together; intensities lie in [0, 1]."""
        images, labels, origin = self._read()
        rows, columns = int(images.shape[1]), int(images.shape[2])
        return Table(
            inputs=images.reshape(len(images), -1) / np.float64(255),
            targets=labels.astype(np.int64),
            task="classification",
            classes=self.class_names,
            image_shape=(rows, columns),
            feature_names=tuple(f"pixel {i},{j}" for i, j in np.ndindex(rows, columns)),
            origin=origin,
        )

    def _read(self) -> tuple[NDArray[Any], NDArray[Any], str]:
        """Return the images, labels and origin from the first place that has them."""
        # A folder the user names is where the data must be: other data in its place would be a surprise.
        folder = self.folder or self.known_folder
        found = _read_folder(Path(folder).expanduser()) if folder else None
        if found:
            return *found, f"IDX files in {folder}"
        if self.folder:
            raise ConsilienceError(f"folder = {str(self.folder)!r}: {self._advice()}")
        datasets = require("sklearn.datasets", extra="study", purpose=f"fetching {self.name!r} from OpenML")
        try:
            bunch = datasets.fetch_openml(self.openml, version=1, as_frame=False, n_retries=1)
        except (OSError, http.client.HTTPException, ValueError) as error:
            # OSError: no network; ValueError: scikit-learn's OpenMLError, or a bad checksum.
            raise ConsilienceError(f"{self.name} was not found. {self._advice()} (OpenML: {error})") from error
        images = np.asarray(bunch.data).reshape(-1, 28, 28)
        return images, np.asarray(bunch.target).astype(np.int64), f"OpenML {self.openml}, version 1"

    def _advice(self) -> str:
        stems = (f"{part}-{what}-ubyte" for part in _PARTS for what in ("images-idx3", "labels-idx1"))
        known = f"put them in {self.known_folder} ({self.package}); " if self.known_folder else ""
        return (
            f"Its files are {', '.join(stems)}, each as it is or with .gz. "
            f"Give the folder that has them as `folder`; {known}"
            f"or leave `folder` out where OpenML can be reached, which has it as {self.openml!r}."
        )


@register_source
@dataclass(frozen=True)
class MNIST(_IDXImages):
    """MNIST: 70,000 images of handwritten digits, 28×28, 10 classes (LeCun, Cortes & Burges).

    Looks in `folder` for the IDX files, and without `folder` asks OpenML. The two parts of the original
    are pooled, since `prepare` makes its own split.

    >>> MNIST().folder is None
    True
    """

    name: ClassVar[str] = "mnist"
    title: ClassVar[str] = "Handwritten digits, 70,000 images of 28×28, 10 classes"
    class_names: ClassVar[tuple[str, ...]] = tuple("0123456789")
    openml: ClassVar[str] = "mnist_784"
    known_folder: ClassVar[str | None] = None
    package: ClassVar[str | None] = None


@register_source
@dataclass(frozen=True)
class FashionMNIST(_IDXImages):
    """Fashion-MNIST: 70,000 images of clothes, 28×28, 10 classes (Xiao, Rasul & Vollgraf, arXiv 1708.07747).

    Looks in `folder` for the IDX files; without `folder` in /usr/share/datasets/fashion-mnist, where Debian's
    package dataset-fashion-mnist puts them, then asks OpenML. The two parts of the original are pooled,
    since `prepare` makes its own split.

    >>> FashionMNIST.class_names[9]
    'ankle boot'
    """

    name: ClassVar[str] = "fashion-mnist"
    title: ClassVar[str] = "Clothes, 70,000 images of 28×28, 10 classes"
    class_names: ClassVar[tuple[str, ...]] = (
        *("T-shirt/top", "trouser", "pullover", "dress", "coat"),
        *("sandal", "shirt", "sneaker", "bag", "ankle boot"),
    )
    openml: ClassVar[str] = "Fashion-MNIST"
    known_folder: ClassVar[str | None] = "/usr/share/datasets/fashion-mnist"
    package: ClassVar[str | None] = "where Debian's package dataset-fashion-mnist puts them"

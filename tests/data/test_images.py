"""IDX files: read exactly, found in every usual place, and clear errors where they are not."""

from __future__ import annotations

import gzip
import struct
import urllib.error
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import sklearn.datasets

from consilience.data import MNIST, FashionMNIST, prepare
from consilience.data.images import read_idx
from consilience.errors import ConsilienceError

DEBIAN = Path("/usr/share/datasets/fashion-mnist")


def idx(array: np.ndarray) -> bytes:
    code = {"uint8": 0x08, "int32": 0x0C, "float32": 0x0D}[array.dtype.name]
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


def write_set(folder: Path, *, dotted: bool = False, compressed: bool = False) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    images = [rng.integers(256, size=(n, 4, 6), dtype=np.uint8) for n in (20, 10)]
    labels = [rng.integers(10, size=n, dtype=np.uint8) for n in (20, 10)]
    for part, x, y in zip(("train", "t10k"), images, labels, strict=True):
        for stem, array in ((f"{part}-images-idx3-ubyte", x), (f"{part}-labels-idx1-ubyte", y)):
            name = stem.replace("-idx", ".idx") if dotted else stem
            raw = idx(array)
            (folder / (name + ".gz" * compressed)).write_bytes(gzip.compress(raw) if compressed else raw)
    return np.concatenate(images), np.concatenate(labels)


@pytest.mark.parametrize("dtype", ["uint8", "int32", "float32"])
@pytest.mark.parametrize("compressed", [False, True])
def test_idx_round_trip(tmp_path: Path, dtype: str, compressed: bool) -> None:
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    path = tmp_path / "a"
    path.write_bytes(gzip.compress(idx(array)) if compressed else idx(array))
    np.testing.assert_array_equal(read_idx(path), array)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"PNG file", "not an IDX file"),
        (b"", "not an IDX file"),
        (b"\0\0\x08\x03\0", "cut short"),
        (idx(np.zeros((3, 3), np.uint8))[:-1], r"has 20 bytes but its header says \(3, 3\), which takes 21"),
        (gzip.compress(idx(np.zeros((99, 99), np.uint8)), mtime=0)[:-9], "damaged gzip"),
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, raw: bytes, message: str) -> None:
    path = tmp_path / "a"
    path.write_bytes(raw)
    with pytest.raises(ConsilienceError, match=message):
        read_idx(path)


@pytest.mark.parametrize("dotted", [False, True])
@pytest.mark.parametrize("compressed", [False, True])
def test_folder_is_found_under_every_usual_name(tmp_path: Path, dotted: bool, compressed: bool) -> None:
    images, labels = write_set(tmp_path, dotted=dotted, compressed=compressed)
    table = MNIST(folder=tmp_path).load()
    np.testing.assert_allclose(table.inputs, images.reshape(30, 24) / 255)
    np.testing.assert_array_equal(table.targets, labels)
    assert table.image_shape == (4, 6)
    assert len(table.feature_names) == 24
    assert str(tmp_path) in table.origin


def test_a_named_folder_without_the_files_is_an_error_that_says_all_ways(tmp_path: Path) -> None:
    (tmp_path / "train-images-idx3-ubyte").write_bytes(b"")
    with pytest.raises(ConsilienceError) as error:
        FashionMNIST(folder=tmp_path).load()
    message = str(error.value)
    for part in (f"folder = '{tmp_path}'", "t10k-labels-idx1-ubyte", str(DEBIAN), "Debian", "OpenML"):
        assert part in message


def unreachable(*args: object, **kwargs: object) -> None:
    raise urllib.error.URLError("no route to host")


def test_nothing_anywhere_is_one_error_that_says_all_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sklearn.datasets, "fetch_openml", unreachable)
    monkeypatch.setattr(FashionMNIST, "known_folder", "/nowhere")
    with pytest.raises(ConsilienceError, match="no route to host") as error:
        FashionMNIST().load()
    for part in ("`folder`", "/nowhere", "OpenML can be reached"):
        assert part in str(error.value)
    with pytest.raises(ConsilienceError, match="mnist_784") as error:
        MNIST().load()
    assert "Debian" not in str(error.value)


def test_other_failures_of_openml_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fault(*args: object, **kwargs: object) -> None:
        raise TypeError("a fault of the program")

    monkeypatch.setattr(sklearn.datasets, "fetch_openml", fault)
    with pytest.raises(TypeError):
        MNIST().load()


def test_openml_is_asked_last(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    rng = np.random.default_rng(0)
    pixels = rng.integers(256, size=(30, 784))

    def fetch(name: str, **options: object) -> SimpleNamespace:
        asked.append(name)
        return SimpleNamespace(data=pixels, target=np.array([str(i % 10) for i in range(30)], dtype=object))

    monkeypatch.setattr(sklearn.datasets, "fetch_openml", fetch)
    table = MNIST().load()
    assert asked == ["mnist_784"]
    np.testing.assert_allclose(table.inputs, pixels / 255)
    np.testing.assert_array_equal(table.targets, np.arange(30) % 10)
    assert "OpenML" in table.origin


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="Debian package dataset-fashion-mnist is not installed")
def test_fashion_mnist_of_debian() -> None:
    images, labels = (read_idx(DEBIAN / f"train-{what}-ubyte.gz") for what in ("images-idx3", "labels-idx1"))
    # Facts of the original: mean intensity of the training images .2860, and the first is an ankle boot.
    assert images.shape == (60_000, 28, 28)
    assert images.mean() / 255 == pytest.approx(0.2860, abs=5e-5)
    assert FashionMNIST.class_names[labels[0]] == "ankle boot"

    splits = prepare(FashionMNIST(), n_train=20_000, pool=2)
    assert splits.train_x.shape == (68_000, 196)
    assert splits.image_shape == (14, 14)
    np.testing.assert_allclose(splits.train_x.var(axis=0, dtype=np.float64), 1, atol=1e-4)
    y = np.concatenate([splits.train_y, splits.test_y])
    assert len(y) == 69_000
    assert np.all((np.bincount(y) <= 7000) & (np.bincount(y) > 6800))  # 7000 of each, less the probe set

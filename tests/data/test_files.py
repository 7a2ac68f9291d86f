"""The user's own files: encoded right, and every flaw named by file, column and count."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet
import pytest

from consilience.data import File, prepare
from consilience.data.columns import encode_column
from consilience.errors import ConsilienceError

FRAME = pd.DataFrame(
    {
        "age": [1.0, 2.0, 3.0, 6.0],
        "city": ["b", "a", "b", "c"],
        "smoker": [True, False, False, True],
        "count": [3, 1, 4, 1],
        "y": ["yes", "no", "yes", "no"],
    }
)


def save(frame: pd.DataFrame, path: Path) -> Path:
    if path.suffix == ".csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_parquet(path)
    return path


@pytest.fixture(params=[".csv", ".parquet"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / f"table{request.param}"


def test_columns_are_encoded(path: Path) -> None:
    table = File(save(FRAME, path)).load()
    assert table.feature_names == ("age", "city=a", "city=b", "city=c", "smoker", "count")
    expected = [[1, 0, 1, 0, 1, 3], [2, 1, 0, 0, 0, 1], [3, 0, 1, 0, 0, 4], [6, 0, 0, 1, 1, 1]]
    np.testing.assert_array_equal(table.inputs, expected)
    assert table.inputs.dtype == np.float64
    assert (table.task, table.classes) == ("classification", ("no", "yes"))
    np.testing.assert_array_equal(table.targets, [1, 0, 1, 0])
    assert hashlib.sha256(path.read_bytes()).hexdigest() in table.origin


def test_categories_of_pandas_are_one_hot_even_if_numbers() -> None:
    column = pd.Series(pd.Categorical([10, 7, 10, 7], categories=[7, 10, 99]), name="code")
    encoded = encode_column(column, "none", "table")
    assert encoded.names == ("code=10", "code=7")
    np.testing.assert_array_equal(encoded.values, [[1, 0], [0, 1], [1, 0], [0, 1]])


@pytest.mark.parametrize(
    ("values", "task"),
    [
        (["a", "b"] * 15, "classification"),
        ([True, False] * 15, "classification"),
        ([3, 5, 9] * 10, "classification"),
        ([3.0, 5.0, 9.0] * 10, "classification"),
        (list(range(30)), "regression"),
        ([0.5, 1.5, 2.0] * 10, "regression"),
    ],
)
def test_task_is_inferred(path: Path, values: list[Any], task: str) -> None:
    assert File(save(pd.DataFrame({"x": np.arange(30.0), "y": values}), path)).load().task == task


def test_task_can_be_given(path: Path) -> None:
    save(pd.DataFrame({"x": np.arange(30.0), "y": [3, 5, 9] * 10}), path)
    assert File(path).load().classes == ("3", "5", "9")
    table = File(path, task="regression").load()
    np.testing.assert_array_equal(table.targets[:3], [[3], [5], [9]])
    assert table.classes == ()


def test_several_targets_are_a_regression(path: Path) -> None:
    table = File(save(FRAME, path), target=("count", "age")).load()
    np.testing.assert_array_equal(table.targets, FRAME[["count", "age"]].to_numpy())
    assert table.feature_names == ("city=a", "city=b", "city=c", "smoker", "y=no", "y=yes")


def test_classification_has_one_target(path: Path) -> None:
    with pytest.raises(ConsilienceError, match="classification has one target"):
        File(save(FRAME, path), target=("y", "city"), task="classification").load()


def holes() -> pd.DataFrame:
    frame = FRAME.copy()
    frame["age"] = [1.0, None, None, 6.0]
    frame["flag"] = pd.Series([True, None, False, True], dtype="boolean")
    return frame


def test_missing_inputs_are_an_error_with_column_and_count(path: Path) -> None:
    with pytest.raises(ConsilienceError, match=r"missing values: 'age' \(2\), 'flag' \(1\); set impute"):
        File(save(holes(), path)).load()


@pytest.mark.parametrize(("impute", "age", "flag"), [("mean", 3.5, 2 / 3), ("median", 3.5, 1.0)])
def test_imputing(path: Path, impute: Any, age: float, flag: float) -> None:
    table = File(save(holes(), path), impute=impute).load()
    np.testing.assert_allclose(table.inputs[:, 0], [1, age, age, 6])
    np.testing.assert_allclose(table.inputs[:, -1], [1, flag, 0, 1])


def test_mean_and_median_differ(path: Path) -> None:
    frame = FRAME.assign(age=[1.0, 2.0, 6.0, None])
    filled = [File(save(frame, path), impute=impute).load().inputs[3, 0] for impute in ("mean", "median")]
    assert filled == [3.0, 2.0]


def test_missing_text(path: Path) -> None:
    frame = FRAME.assign(city=["b", None, "b", "c"])
    with pytest.raises(ConsilienceError, match=r"'city' \(1\)"):
        File(save(frame, path)).load()
    table = File(path, impute="mean").load()
    assert table.feature_names[1:3] == ("city=b", "city=c")
    np.testing.assert_array_equal(table.inputs[:, 1], [1, 1, 1, 0])


def test_missing_targets_are_never_imputed(path: Path) -> None:
    for values, task in (([1.5, None, 2, 3], "regression"), (["a", None, "b", "a"], "classification")):
        frame = FRAME.assign(y=values)
        with pytest.raises(ConsilienceError, match=r"target 'y' of table\S+ has 1 missing"):
            File(save(frame, path), impute="mean", task=task).load()  # type: ignore[arg-type]


@pytest.mark.parametrize("impute", ["none", "mean"])
def test_infinite_inputs_are_an_error(path: Path, impute: Any) -> None:
    frame = FRAME.assign(age=[1.0, np.inf, -np.inf, 2])
    with pytest.raises(ConsilienceError, match=r"infinite values: 'age' \(2\)"):
        File(save(frame, path), impute=impute).load()


def test_a_column_without_values_cannot_be_imputed(path: Path) -> None:
    with pytest.raises(ConsilienceError, match=r"column 'age' of table.* has no values"):
        File(save(FRAME.assign(age=[None] * 4), path), impute="mean").load()


def test_a_target_not_in_the_file_suggests_the_nearest(path: Path) -> None:
    with pytest.raises(ConsilienceError, match=r"target = 'cty': .* no column of this name; did you mean 'city'"):
        File(save(FRAME, path), target="cty").load()


def test_names_in_disguise_and_dates_are_refused(tmp_path: Path) -> None:
    n = 1200
    frame = pd.DataFrame({"name": [f"person {i}" for i in range(n)], "y": np.arange(n) % 2})
    with pytest.raises(ConsilienceError, match=r"column 'name' .* 1200 different texts"):
        File(save(frame, tmp_path / "a.csv")).load()
    frame = pd.DataFrame({"when": pd.date_range("2020-01-01", periods=4), "y": [0, 1, 0, 1]})
    with pytest.raises(ConsilienceError, match=r"column 'when' .* holds datetime64 values"):
        File(save(frame, tmp_path / "a.parquet")).load()


def test_numbers_with_a_slip_and_names_of_rows_are_no_categories(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    frame = pd.DataFrame({"bmi": ["21.5"] * 39 + ["?"], "sex": ["f", "m"] * 20, "y": np.arange(40) / 7})
    frame.to_csv(path, index=False)
    with pytest.raises(
        ConsilienceError, match=r"'bmi' of a.csv is text, though 39 of its 40 .* '\?' \(row 39, from 0\)"
    ):
        File(path).load()
    frame.assign(bmi=[f"P{i:04}" for i in range(40)]).to_csv(path, index=False)
    with pytest.raises(ConsilienceError, match=r"'bmi' of a.csv has 40 different texts in 40 rows"):
        File(path).load()
    frame.assign(bmi=["a", "b", "c", "9"] * 10).to_csv(path, index=False)
    assert File(path).load().inputs.shape == (40, 6)


@pytest.mark.parametrize("names", ["aacy", "acyy", "aaay"])
def test_columns_of_one_name_are_refused(path: Path, names: str) -> None:
    """Which of them is the target, or may be removed, only the user knows."""
    columns = [np.arange(4), np.ones(4), np.arange(4) / 2, np.array([0, 1, 0, 1])]
    if path.suffix == ".csv":
        pd.DataFrame(np.column_stack(columns), columns=list(names)).to_csv(path, index=False)
    else:
        pyarrow.parquet.write_table(pyarrow.table(columns, names=list(names)), path)
    count, name = max((names.count(name), name) for name in names)
    with pytest.raises(ConsilienceError, match=rf"table\S+ has {count} columns named '{name}': rename them"):
        File(path).load()


def test_columns_without_a_name_are_no_columns_of_one_name(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(',,a.1,a,"NA",y\n1,2,3,4,5,0\n2,3,4,5,6,1\n1,1,4,5,6,0\n2,3,5,5,6,1\n')
    table = File(tmp_path / "a.csv").load()
    assert table.feature_names == ("Unnamed: 0", "Unnamed: 1", "a.1", "a", "NA")


def test_continuous_values_are_not_classes(path: Path) -> None:
    frame = pd.DataFrame({"x": np.arange(9.0), "y": np.arange(9) / 7})
    with pytest.raises(ConsilienceError, match="9 different values in 9 rows: these are not classes"):
        File(save(frame, path), task="classification").load()


def test_npz(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    x, y, z = np.arange(60.0).reshape(20, 3), np.arange(20) / 7, np.arange(40.0).reshape(20, 2) / 3
    np.savez(path, X=x, y=y, z=z)
    table = File(path).load()
    np.testing.assert_array_equal(table.inputs, x)
    np.testing.assert_array_equal(table.targets, y[:, None])
    np.testing.assert_array_equal(File(path, target="z").load().targets, z)
    np.testing.assert_array_equal(File(path, target=("y", "z")).load().targets, np.column_stack([y, z]))


def test_npz_images_can_be_pooled(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, X=np.random.default_rng(0).random((40, 4, 4), np.float32), y=np.arange(40) % 2)
    assert File(path).load().image_shape == (4, 4)
    assert prepare(File(path), n_train=10, pool=2).train_x.shape == (24, 4)


def test_npz_of_colour_images(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    x = np.random.default_rng(0).random((40, 4, 6, 3))
    np.savez(path, X=x, y=np.arange(40) % 2)
    table = File(path).load()
    assert table.image_shape == (4, 6, 3)
    np.testing.assert_array_equal(table.inputs.reshape(x.shape), x)
    splits = prepare(File(path), n_train=10, pool=2)
    assert splits.image_shape == (2, 3, 3)
    assert splits.feature_names[4] == "block 0,1,1"
    pool = np.random.default_rng(0).permutation(40)[16:]
    means = x.reshape(40, 2, 2, 3, 2, 3).mean(axis=(2, 4)).reshape(40, -1)[pool]  # blocks of each channel
    np.testing.assert_allclose(splits.train_x, (means - means.mean(0)) / means.std(0), atol=1e-5)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"X": np.ones((4, 3, 8, 8)), "y": np.arange(4)}, r"channels come last: save X\.transpose\(0, 2, 3, 1\)"),
        ({"x": np.ones((4, 2)), "y": np.arange(4)}, "needs its inputs as an array named 'X'.* it has: x, y"),
        ({"X": np.ones((4, 2)), "labels": np.arange(4)}, "target = 'y': .* no array of this name"),
        ({"X": np.ones(4), "y": np.arange(4)}, r"X is float64 of shape \(4,\)"),
        ({"X": np.array([["a"]]), "y": np.arange(1)}, "X is <U1"),
        ({"X": np.array([[1.0], [np.nan]]), "y": np.arange(2)}, r"missing values: 'X\[:, 0\]' \(1\)"),
        ({"X": np.ones((4, 2)), "y": np.arange(5) / 3}, "has 4 rows of inputs but 5 of targets"),
        ({"X": np.ones((4, 2)), "y": np.array([1.5, np.inf, 0, 1])}, "target 'y' .* 1 missing or infinite"),
        ({"X": np.array([[{}]], dtype=object), "y": np.arange(1)}, "cannot be read as NPZ"),
    ],
)
def test_flawed_npz_files_are_refused(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, **arrays)
    with pytest.raises(ConsilienceError, match=message):
        File(path).load()


@pytest.mark.parametrize(
    ("name", "raw", "message"),
    [
        ("a.npz", b"no zip", "not an NPZ file"),
        ("a.csv", b"", "cannot be read as .csv"),
        ("a.parquet", b"PAR1 no", "cannot be read as .parquet"),
        ("a.csv", b"x,y\n", "has 0 rows"),
        ("a.csv", b"y\n1\n2\n", "0 columns besides the target"),
    ],
)
def test_unreadable_files_are_refused(tmp_path: Path, name: str, raw: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(raw)
    with pytest.raises(ConsilienceError, match=message):
        File(path).load()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"path": "a.xlsx"}, r"^path = 'a.xlsx': must end in .npz, .csv, .parquet"),
        ({"path": "a.csv", "target": ()}, r"^target = "),
        ({"path": "a.csv", "target": ("y", "z", "y")}, r"^target = \['y', 'z', 'y'\]: names 'y' more than once"),
        ({"path": "a.csv", "task": "ranking"}, r"^task = 'ranking'"),
        ({"path": "a.csv", "impute": "zero"}, r"^impute = 'zero'"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConsilienceError, match=message):
        File(**options)


def test_an_absent_file_is_named() -> None:
    with pytest.raises(ConsilienceError, match=r"path = '/nowhere/a.csv': no such file"):
        File("/nowhere/a.csv").load()

"""The command `predict`: the numbers of Python, its table, its figure, its errors."""

from __future__ import annotations

import json

import numpy as np
import pytest

from consilience._prediction import predict_data
from consilience.cli import main

OPTIONS = ("--snr", "0.5", "inf", "--n-train", "5", "60", "--ridge", "0.01")


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((150, 6))
    columns = np.column_stack([x, x[:, 0] - x[:, 1], x[:, 2]])
    file = tmp_path_factory.mktemp("data") / "samples.csv"
    header = ",".join([f"x{i}" for i in range(6)] + ["a", "b"])
    np.savetxt(file, columns, delimiter=",", header=header, comments="")
    return str(file)


def printed(capsys, *arguments):
    main(list(arguments))
    return capsys.readouterr().out


def failure(capsys, *arguments):
    with pytest.raises(SystemExit) as caught:
        main(list(arguments))
    captured = capsys.readouterr()
    assert caught.value.code == 2
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err


def test_json_has_the_numbers_of_python(capsys, path):
    found = json.loads(printed(capsys, "predict", path, "--target", "a", "b", *OPTIONS, "--json"))
    wanted = predict_data(path, target=("a", "b"), snr=[0.5, np.inf], n_train=[5, 60], ridge=0.01)
    cells = [(cell["snr"], cell["n_train"]) for cell in found["predictions"]]
    assert cells == [(0.5, 5), (0.5, 60), ("inf", 5), ("inf", 60)]
    np.testing.assert_array_equal([cell["alignment"] for cell in found["predictions"]], wanted.alignment.ravel())
    np.testing.assert_array_equal([cell["risk_high"] for cell in found["predictions"]], wanted.high.risk.ravel())
    assert found["rows"] == 148
    assert found["misfit"] == pytest.approx(0, abs=1e-6)
    assert found["warnings"] == list(wanted.warnings)
    assert found["figure"] is None


def test_table_has_a_row_for_each_cell_and_the_warnings(capsys, path):
    text = printed(capsys, "predict", path, "--target", "a", *OPTIONS, "--n-train", "500")
    lines = text.splitlines()
    assert "alignment" in lines[0]
    assert sum(line.lstrip().startswith(("0.5", "inf")) for line in lines) == 6
    assert "500 *" in text
    assert "is beyond what 148 rows allow" in text


def test_figure_is_drawn(capsys, path, tmp_path):
    for ending in ("png", "svg", "pdf"):
        figure = tmp_path / f"curve.{ending}"
        printed(capsys, "predict", path, "--target", "a", *OPTIONS, "--figure", str(figure))
        assert figure.stat().st_size > 2000


def test_a_built_in_source_and_sizes_of_its_own(capsys):
    found = json.loads(printed(capsys, "predict", "wine", "--snr", "1", "--json"))
    sizes = [cell["n_train"] for cell in found["predictions"]]
    assert len(sizes) == 10
    assert (sizes[0], sizes[-1]) == (10, 141)


def test_a_teacher_is_drawn_as_large_as_needed(capsys):
    found = json.loads(printed(capsys, "predict", "linear-teacher", "--snr", "1", "--n-train", "60", "--json"))
    assert not found["predictions"][0]["extrapolated"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("digit",), "digits"),
        (("nowhere.csv",), "no such file"),
        (("file",), ".csv"),
        (("wine", "--snr", "0"), "snr"),
        (("wine", "--n-train", "0"), "n_train"),
        (("wine", "--ridge", "-1"), "ridge"),
        (("wine", "--pool", "2"), "not images"),
        (("wine", "--figure", "x.gif"), "x.gif: give a file that ends in .png"),
        (("wine", "--figure", "nowhere/x.png"), "no folder nowhere"),
    ],
)
def test_errors_are_one_line(capsys, arguments, said):
    assert said in failure(capsys, "predict", *arguments)


def test_unknown_target_lists_columns(capsys, path):
    assert "no column of this name" in failure(capsys, "predict", path, "--target", "c")

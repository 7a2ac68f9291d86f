from __future__ import annotations

import inspect
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.studies import DESCENT, EXACT, assert_same_bits, contents, study, study_file

import consilience
from consilience.claims import evaluate
from consilience.cli import main
from consilience.run import run
from consilience.store import open_run
from consilience.study import Study, built_in_studies

COMMAND = shutil.which("consilience", path=str(Path(sys.executable).parent))
NETWORKS = 3 * 3 * 3  # snr × n_train × members of EXACT


@pytest.fixture
def path(tmp_path):
    return study_file(tmp_path / "study.toml", EXACT)


@pytest.fixture
def out(tmp_path):
    return tmp_path / "run"


def strict_json(text: str):
    """Parse JSON as the standard has it: without NaN and Infinity."""

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


def printed(capsys, *arguments: object) -> str:
    main([str(argument) for argument in arguments])
    return capsys.readouterr().out


def failure(capsys, *arguments: object, code: int = 2) -> str:
    """The one line that a wrong command prints."""
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    assert caught.value.code == code
    assert captured.out == ""
    assert captured.err.startswith("consilience: ")
    assert captured.err.count("\n") == 1
    return captured.err


# --- run ---


def test_run_writes_the_run_of_python_and_its_report(capsys, path, out, tmp_path):
    text = printed(capsys, "run", path, "--out", out)
    assert_same_bits(open_run(out), run(Study.load(path), tmp_path / "python"))
    assert str(out) in text
    assert (out / "report.html").stat().st_size > 10_000
    assert Study.load(out / "study.toml") == Study.load(path)


def test_second_run_computes_nothing(capsys, path, out, monkeypatch):
    printed(capsys, "run", path, "--out", out)
    before = contents(out / "results.zarr")
    monkeypatch.setattr("consilience.train.train", None)
    printed(capsys, "run", path, "--out", out)
    assert contents(out / "results.zarr") == before


def test_run_goes_to_runs_by_default(capsys, path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    printed(capsys, "run", "study.toml")
    assert (tmp_path / "runs" / "exact" / "report.html").is_file()


def test_run_as_json(capsys, path, out):
    found = strict_json(printed(capsys, "run", path, "--out", out, "--json"))
    assert found["run"] == str(out)
    assert found["report"] == str(out / "report.html")
    assert found["facts"]
    assert all(found["table"])


def test_run_prints_the_verdicts_with_effects_and_intervals(capsys, path, out):
    text = " ".join(printed(capsys, "run", path, "--out", out).split())
    for verdict in evaluate(open_run(out)):
        assert verdict.heading in text
        assert verdict.sentence in text
    assert re.search(r"C1 \w+: Alignment grows", text)
    assert re.search(r"(?:rises|falls) from low to high SNR by \d\.\d+ \(-?\d\.\d+ to", text)
    again = printed(capsys, "run", path, "--out", out, "--json")
    found = strict_json(again)["verdicts"]
    assert [verdict["claim"] for verdict in found] == [verdict.claim for verdict in evaluate(open_run(out))]
    assert {"verdict", "effect", "p", "cells", "sentence", "further", "reason"} <= set(found[0])
    assert printed(capsys, "run", path, "--out", out, "--json") == again


def test_run_without_the_report_extra_keeps_the_results(capsys, path, out, monkeypatch):
    monkeypatch.setitem(sys.modules, "altair", None)
    monkeypatch.setitem(sys.modules, "jinja2", None)
    main(["run", str(path), "--out", str(out)])
    captured = capsys.readouterr()
    assert open_run(out)["done"].all()
    assert "consilience[report]" in captured.err
    assert str(out) in captured.out


@pytest.mark.parametrize(
    ("tokens", "changes"),
    [
        (["--grid.members", "2"], {"grid.members": 2}),
        (["--grid.members=2", "--seed=7"], {"grid.members": 2, "seed": 7}),
        (["--grid.snr", "[0.5, inf]"], {"grid.snr": [0.5, float("inf")]}),
        (["--network.hidden", "[3]", "--name", "other"], {"network.hidden": [3], "name": "other"}),
        (["--measure.measures", "['cka']"], {"measure.measures": ["cka"]}),
        (["--data.covariance", "power-law"], {"data.covariance": "power-law"}),
        (["--train.ridge", "1e-3"], {"train.ridge": 1e-3}),
    ],
)
def test_overrides_reach_the_study(path, out, monkeypatch, tokens, changes):
    class Reached(BaseException):
        pass

    def reached(asked, *_, **__):
        raise Reached(asked)

    monkeypatch.setattr("consilience.run.run", reached)
    with pytest.raises(Reached) as caught:
        main(["run", str(path), *tokens, "--out", str(out)])
    assert caught.value.args == (study(EXACT, changes),)


def test_override_may_add_an_axis(capsys, path, out):
    printed(capsys, "run", path, "--grid.train.ridge", "[0, 0.1]", "--out", out)
    assert open_run(out).sizes["train.ridge"] == 2


def test_built_in_study_runs_with_overrides(capsys, out):
    small = ["--grid.n_train", "[5]", "--grid.snr", "[1]", "--grid.members", "2", "--data.n_probe", "50"]
    exact = ["--grid.train.solver", "['exact']", "--train.optimizer", "adam", "--train.momentum", "0"]
    printed(capsys, "run", "linear", *small, *exact, "--out", out)
    assert open_run(out).attrs["name"] == "linear"


# --- dry run ---


def test_dry_run_tells_the_plan_and_writes_nothing(capsys, path, out, tmp_path):
    before = contents(tmp_path)
    text = printed(capsys, "run", path, "--out", out, "--dry-run")
    assert contents(tmp_path) == before
    assert not out.exists()
    assert re.search(rf"networks\s+{NETWORKS}\b", text)
    assert re.search(r"n_train\s+3, 8, 20", text)
    assert re.search(r"snr\s+0\.5, 2, inf", text)
    assert re.search(rf"parameters\s+{5 * 2 + 2 * 2}\b", text)
    assert "hidden_1, output" in text


def test_dry_run_as_json(capsys, path, out):
    found = strict_json(printed(capsys, "run", path, "--out", out, "--dry-run", "--json"))
    assert found["networks"] == NETWORKS
    assert found["n_train"] == [3, 8, 20]
    assert found["seconds"] >= 0
    assert found["memory_mib"] > 0
    assert not out.exists()


def test_dry_run_shows_further_axes(capsys, path, out):
    text = printed(capsys, "run", path, "--grid.train.ridge", "[0, 0.1]", "--out", out, "--dry-run")
    assert re.search(r"train\.ridge\s+0, 0\.1", text)
    assert re.search(rf"networks\s+{2 * NETWORKS}\b", text)


def test_dry_run_leaves_a_run_as_it_is(capsys, path, out):
    printed(capsys, "run", path, "--out", out)
    before = contents(out)
    printed(capsys, "run", path, "--out", out, "--dry-run")
    assert contents(out) == before


# --- report, studies, measures ---


@pytest.fixture
def finished(path, out):
    run(Study.load(path), out)
    return out


def test_report_is_written_into_the_run(capsys, finished):
    assert printed(capsys, "report", finished).strip() == str(finished / "report.html")
    assert "<html" in (finished / "report.html").read_text(encoding="utf-8")[:500]


def test_report_is_written_where_asked(capsys, finished, tmp_path):
    found = strict_json(printed(capsys, "report", finished, "--out", tmp_path / "a.html", "--json"))
    assert found == {"report": str(tmp_path / "a.html")}
    assert (tmp_path / "a.html").is_file()
    assert not (finished / "report.html").exists()


def test_report_of_an_unfinished_run(capsys, path, out):
    def stop(done, total):
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(Study.load(path), out, progress=stop)
    printed(capsys, "report", out)
    assert (out / "report.html").is_file()


def test_studies_lists_every_built_in_study(capsys):
    text = printed(capsys, "studies")
    found = strict_json(printed(capsys, "studies", "--json"))
    assert [row["name"] for row in found] == list(built_in_studies())
    for row in found:
        assert row["name"] in text
        assert row["about"]
        assert row["networks"] == Study.load(row["file"]).n_networks


def test_measures_lists_every_measure(capsys):
    text = printed(capsys, "measures")
    found = strict_json(printed(capsys, "measures", "--json"))
    assert [row["name"] for row in found] == list(consilience.measures())
    assert all(row["name"] in text for row in found)
    (cka,) = [row for row in found if row["name"] == "cka"]
    assert cka["kind"] == "similarity"
    assert cka["symmetric"] is True
    assert "orthogonal" in " ".join(cka["invariances"])


@pytest.mark.parametrize("name", list(consilience.measures()))
def test_one_measure_is_told_in_full(capsys, name):
    measure = consilience.get_measure(name)
    text = printed(capsys, "measures", name)
    assert text.startswith(inspect.getdoc(measure))
    for told in (measure.use, measure.avoid, measure.cost, *measure.aliases):
        assert told in text
    facts = strict_json(printed(capsys, "measures", name, "--json"))
    assert facts["name"] == name
    assert facts["options"] == measure.options
    assert facts["streams"] is measure.streams


# --- errors ---

WRONG = [
    (["run", "diabtes"], "did you mean 'diabetes'"),
    (["run"], "STUDY"),
    (["rnu", "demo"], "rnu"),
    (["run", "demo", "--grid.member", "3"], "did you mean 'members'"),
    (["run", "demo", "--grid.members", "1"], "grid.members = 1"),
    (["run", "demo", "--grid.snr", "0"], "grid.snr = 0"),
    (["run", "demo", "--grid.members"], "needs a value"),
    (["run", "demo", "--grid.members", "--seed", "3"], "--grid.members"),
    (["run", "demo", "extra"], "'extra'"),
    (["run", "demo", "--train.optimizer", "adm"], "'adm'"),
    (["run", "demo", "--name.first", "3"], "name"),
    (["run", "demo", "--devices", "99"], "devices = 99"),
    (["run", "demo", "--devices", "two"], "two"),
    (["run", "demo", "--devices", "99", "--dry-run"], "devices = 99"),
    (["run", "demo", "--grid.n_train", "[5000]"], "5000"),
    (["run", "demo", "--grid.n_train", "[5000]", "--dry-run"], "5000"),
    (["report", "nowhere"], "nowhere"),
    (["measures", "ckaa"], "did you mean 'cka'"),
    (["studies", "--jsn"], "--jsn"),
]


@pytest.mark.parametrize(("arguments", "said"), WRONG, ids=[" ".join(arguments) for arguments, _ in WRONG])
def test_wrong_command_is_one_line_and_writes_nothing(capsys, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    assert said in failure(capsys, *arguments)
    assert os.listdir(tmp_path) == []


def test_directory_of_another_study_is_refused_on_one_line(capsys, finished, path):
    before = contents(finished)
    for further in ([], ["--dry-run"]):
        said = failure(capsys, "run", path, "--seed", "1", "--out", finished, *further)
        assert "seed = 0 there, 1 here" in said
    assert contents(finished) == before


def test_out_that_is_a_file_is_refused(capsys, path, tmp_path):
    (tmp_path / "file").write_text("text", encoding="utf-8")
    assert "is a file" in failure(capsys, "run", path, "--out", tmp_path / "file")


def test_interrupted_command_says_how_to_go_on(capsys, path, out, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("consilience.train.train", interrupted)
    assert "the same command goes on" in failure(capsys, "run", path, "--out", out, "--json", code=130)


# --- the installed command ---


def command(*arguments: object, **options) -> subprocess.CompletedProcess[str]:
    assert COMMAND, "the command `consilience` is not installed beside this Python"
    return subprocess.run([COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=120, **options)


def test_installed_command_goes_on_with_a_run(path, finished):
    before = contents(finished / "results.zarr")
    found = command("run", path, "--out", finished, "--json")
    assert found.returncode == 0, found.stderr
    assert strict_json(found.stdout)["run"] == str(finished)
    assert contents(finished / "results.zarr") == before


def test_installed_command_reports_an_error_on_one_line(tmp_path):
    found = command("run", "dmo", cwd=tmp_path)
    assert (found.returncode, found.stdout) == (2, "")
    assert found.stderr == ("consilience: study 'dmo': neither a file nor a built-in study; did you mean 'demo'?\n")
    assert os.listdir(tmp_path) == []


def test_a_run_without_a_single_network_fails(capsys, tmp_path, out):
    path = study_file(tmp_path / "study.toml", DESCENT, {"train.learning_rate": 1e30})
    with pytest.raises(SystemExit) as caught:
        main(["run", str(path), "--out", str(out)])
    assert caught.value.code == 1
    printed = capsys.readouterr()
    assert "diverged" in printed.out
    assert printed.err == "consilience: none of the networks could be trained; the results say why\n"


def test_a_reader_that_leaves_early_is_no_error():
    process = subprocess.Popen([COMMAND, "measures", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    assert process.wait(timeout=120) == 1
    assert process.stderr.read() == b""


def test_control_c_keeps_finished_cells_and_shows_no_traceback(tmp_path, out):
    many = {"grid.snr": [0.1 * 1.2**i for i in range(30)], "grid.n_train": list(range(3, 15))}
    path = study_file(tmp_path / "study.toml", EXACT, many)
    arguments = [COMMAND, "run", str(path), "--out", str(out)]
    process = subprocess.Popen(
        arguments,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell starts what it runs in the background with the signal ignored, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while process.poll() is None and not (out / "results.zarr" / "done" / "c").exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert stdout == ""
    assert "Traceback" not in stderr
    assert "\nconsilience: interrupted" in f"\n{stderr}"
    assert 0 < open_run(out)["done"].sum() < open_run(out)["done"].size


def test_version_is_told():
    assert command("--version").stdout.strip() == "0.1.0"


def test_help_tells_of_every_command():
    text = command("--help").stdout
    assert all(name in text for name in ("run", "report", "studies", "measures"))

"""What is in the file, without a browser."""

from __future__ import annotations

import json
import re
from functools import cache
from html.parser import HTMLParser

import numpy as np
import pytest
from tests.fake_run import SNR, STUDY, fake_run, with_trajectory

from consilience.claims import evaluate
from consilience.errors import ConsilienceError, MissingDependencyError
from consilience.facts import Selection, headline, selection_sentences, selections
from consilience.report import write_report
from consilience.report.charts import chart_specs
from consilience.report.content import chart_data, page_words

AXES = {"train.weight_decay": [0.0, 1e-3], "train.solver": ["adam", "sgd"]}
EVIL = "</script><b>evil</b><!--"


class Page(HTMLParser):
    """Tags, attributes, and the text of every script and of everything else."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.scripts, self.text = [], {}, ""
        self._script = None
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.text += " " if tag in ("td", "th", "li") else ""
        if tag == "script":
            self._script = dict(attrs).get("id", f"script-{len(self.scripts)}")
            self.scripts[self._script] = ""

    def handle_endtag(self, tag):
        if tag == "script":
            self._script = None

    def handle_data(self, data):
        if self._script is None:
            self.text += data
        else:
            self.scripts[self._script] += data


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    ds = fake_run(axes=AXES, theory=True, diverged=[(0, 3, 2)], undone=[(2, 9)])
    path = write_report(ds, tmp_path_factory.mktemp("report") / "report.html")
    return ds, Page(path.read_text(encoding="utf-8"))


def test_every_section_is_there(page):
    _, parsed = page
    for words in (
        "Verdicts", "What is seen", "Alignment and size of the training set", "Errors", "Alignment and generalization",
        "Theory", "The study", "Data", "Noise", "Versions", "Hardware", "Failures", "SNR is", "seed",
    ):  # fmt: skip
        assert words in parsed.text
    assert STUDY in parsed.text
    ids = {attrs.get("id") for _, attrs in parsed.tags}
    charts = {"alignment", "heat", "errors", "generalization", "theory"}
    assert charts <= ids
    assert set(json.loads(parsed.scripts["chart-specs"])) == charts


def test_the_words_of_the_headline_are_in_the_page_without_a_script(page):
    ds, parsed = page
    flat = " ".join(parsed.text.split())
    for sentence in selection_sentences(ds, selections(ds)[chart_data(ds)["first"]]):
        assert sentence in flat


def test_the_page_opens_with_the_verdicts(page):
    ds, parsed = page
    flat = " ".join(parsed.text.split())
    assert flat.index("Verdicts") < flat.index("What is seen")
    found = evaluate(ds)
    first = [verdict for verdict in found if verdict.at == found[0].at]
    assert [verdict.claim for verdict in first][:4] == ["C1", "C2", "C3", "C5"]
    for verdict in first:
        assert f"{verdict.claim} {verdict.verdict} {verdict.title}" in flat
        assert verdict.sentence in flat
    data = json.loads(parsed.scripts["run-data"])
    for item in data["selections"]:
        assert [verdict["claim"] for verdict in item["verdicts"]][:4] == ["C1", "C2", "C3", "C5"]


def test_nothing_is_fetched(page):
    _, parsed = page
    assert not [t for t, attrs in parsed.tags if attrs.get("src") or t in ("iframe", "img", "object")]
    assert [a["href"] for t, a in parsed.tags if t == "link"] == ["data:,"]
    policy = next(a["content"] for t, a in parsed.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")


def test_failures_and_unfinished_cells_are_listed(page):
    _, parsed = page
    flat = " ".join(parsed.text.split())
    assert "4 trainings gave no network" in flat  # one per combination of the axes
    assert "0.25 200 0 adam 2 120 diverged" in flat
    assert "SNR = 4, n_train = 20000, train.weight_decay = 0.001, train.solver = sgd" in flat


def test_the_data_of_the_page_are_those_of_the_run(page):
    ds, parsed = page
    data = json.loads(parsed.scripts["run-data"])
    assert data["snr"] == ["0.25", "1", "4", "∞"]
    assert len(data["selections"]) == 7 * 4
    item = data["selections"][data["first"]]
    assert item["choice"] == ["hidden2", "cka", "0", "adam"]
    cell = {"layer": "hidden2", "measure": "cka", "train.weight_decay": 0.0, "train.solver": "adam"}
    mean = ds["alignment"].sel(cell).mean("pair")
    columns = item["alignment"]
    for text, n, value in zip(columns["snr_text"], columns["n_train"], columns["mean"], strict=True):
        snr = np.inf if text == "∞" else float(text)
        assert value == pytest.approx(float(mean.sel(snr=snr, n_train=n)), rel=1e-4)
    assert len(columns["mean"]) == 39
    assert set(columns["predicted"]) == {None}
    assert [s["choice"] for s in data["selections"] if s["theory"]["mean"]] == [
        ["hidden1", "cka", a, b] for a in ("0", "0.001") for b in ("adam", "sgd")
    ]
    assert {s["distance"] for s in data["selections"] if s["choice"][1] == "procrustes"} == {True}
    place = data["places"][item["place"]]
    assert place["thresholds"]["last_fitted"] == [800, 800, 800, 1500]
    assert place["thresholds"]["rank"] == [0, 1, 2, 3]


def test_text_of_the_user_cannot_leave_its_place(tmp_path):
    ds = fake_run(axes={f"train.{EVIL}": [f"{EVIL}a", "b"]}, name=EVIL, study=f'name = "{EVIL}"\n')
    ds = ds.assign_coords(layer=[f"{EVIL}1", "hidden2", "output"], measure=["cka", f"{EVIL}2", "output_correlation"])
    ds.attrs["noise"] = json.dumps({"process": EVIL, "definition": EVIL})
    html = write_report(ds, tmp_path / "r.html").read_text(encoding="utf-8")
    parsed = Page(html)
    assert not [t for t, _ in parsed.tags if t == "b"]
    assert "<b>evil" not in html
    assert len(parsed.scripts) == 4
    choices = json.loads(parsed.scripts["run-data"])["selections"][0]["choice"]
    assert choices == [f"{EVIL}1", "cka", f"{EVIL}a"]
    assert f'name = "{EVIL}"' in parsed.text


def test_distances_and_infinity_are_labelled():
    ds = fake_run()
    data = chart_data(ds)
    labels = {item["choice"][1]: item["score"] for item in data["selections"]}
    assert labels["procrustes"] == "procrustes distance (lower = more aligned)"
    assert labels["cka"] == "alignment (cka)"
    assert "Infinity" not in json.dumps(data)
    assert "NaN" not in json.dumps(data)


@pytest.mark.parametrize(
    "options",
    [
        {"members": 2},
        {"snr": [np.inf]},
        {"n_train": [100]},
        {"task": "regression"},
        {"undone": [(i, j) for i in range(4) for j in range(10)]},
        {"diverged": [(i, j, m) for i in range(4) for j in range(10) for m in range(8)]},
    ],
)
def test_degenerate_runs_are_reported(options, tmp_path):
    ds = fake_run(**options)
    html = write_report(ds, tmp_path / "r.html").read_text(encoding="utf-8")
    words = Page(html).text
    assert not re.search(r"\bnan\b", words)
    assert headline(ds)[0]
    lost = len(options.get("diverged", ()))
    assert (f"{lost} trainings diverged" in words) == (lost > 0)
    if lost:
        assert "The first 200 are listed" in words
    if len(options.get("undone", ())) == 40:
        assert "No alignment has been measured" in words


def test_theory_chart_only_when_theory_speaks(tmp_path):
    html = write_report(fake_run(), tmp_path / "r.html").read_text(encoding="utf-8")
    parsed = Page(html)
    assert "theory" not in json.loads(parsed.scripts["chart-specs"])
    assert "none: the network is not linear" in parsed.text


@cache
def specs(**options):
    known = {"error_label": "fraction", "theory": True, "error_theory": True, "error_floor": None}
    return chart_specs(["1", "∞"], n_train=[10, 20], **{**known, **options})


@pytest.mark.parametrize("error_floor", [None, 1e-3])
def test_specs_compile_to_vega(error_floor):
    import vl_convert

    for spec in specs(error_floor=error_floor).values():
        vega = vl_convert.vegalite_to_vega(spec)
        assert {"focus", "score", "distance"} <= {signal["name"] for signal in vega["signals"]}


def test_alignment_during_training_is_drawn_where_it_was_measured(tmp_path):
    ds = with_trajectory(fake_run(undone=[(1, 2)]))
    parsed = Page(write_report(ds, tmp_path / "r.html").read_text(encoding="utf-8"))
    assert "During training" in parsed.text
    spec = json.loads(parsed.scripts["chart-specs"])["trajectory"]
    lowest = ds["alignment"].sel(layer="hidden2", measure="cka").mean("pair").min("snr").idxmin("n_train")
    (size,) = [param for param in spec["params"] if param["name"] == "size"]
    assert size["value"] == int(lowest)
    assert size["bind"]["options"] == ds["n_train"].values.tolist()
    data = chart_data(ds)
    rows = data["selections"][data["first"]]["trajectory"]
    row = [
        rows["snr_text"][i] == "4" and rows["n_train"][i] == 30 and rows["step"][i] == 10
        for i in range(len(rows["step"]))
    ]
    where = {"snr": 4.0, "n_train": 30, "step": 10}
    score = ds["trajectory"].sel({**where, "layer": "hidden2", "measure": "cka"}).mean()
    assert rows["mean"][row.index(True)] == pytest.approx(float(score), rel=1e-4)
    assert rows["test_error"][row.index(True)] == pytest.approx(float(ds["test_error_at"].sel(where).mean()), rel=1e-4)
    assert len(rows["step"]) == 3 * (ds.sizes["snr"] * ds.sizes["n_train"] - 1)
    plain = Page(write_report(fake_run(), tmp_path / "r.html").read_text(encoding="utf-8"))
    assert "During training" not in plain.text
    assert "trajectory" not in json.loads(plain.scripts["chart-specs"])


def test_the_chart_of_training_draws_the_rows_of_its_size():
    import vl_convert

    ds = with_trajectory(fake_run())
    spec, data = specs(trajectory_at=800)["trajectory"], chart_data(ds)
    columns = data["selections"][data["first"]]["trajectory"]
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    svg = vl_convert.vegalite_to_svg(spec | {"datasets": {"trajectory": rows}})
    shown = [row for row in rows if row["n_train"] == 800]
    assert len(shown) == ds.sizes["snr"] * ds.sizes["step"]
    assert svg.count('aria-roledescription="circle"') == len(shown)


def lines_of(spec):
    return {layer["encoding"]["y"]["field"]: layer for layer in spec["layer"] if layer["mark"]["type"] == "line"}


def test_training_and_test_error_share_a_chart():
    chart = specs()["errors"]
    lines = lines_of(chart)
    assert list(lines) == ["test_drawn", "train_drawn", "predicted_drawn"]
    scales = [line["encoding"]["strokeDash"]["scale"] for line in lines.values()]
    assert scales[0]["domain"] == ["test", "training", "theory (test)"]
    full, dashed, dotted = scales[0]["range"]
    assert full[1] == 0
    assert dashed[1] > 0
    assert dotted[0] < dashed[0]
    assert {line["encoding"]["y"]["scale"].get("type") for line in lines.values()} == {None}
    assert "predicted_drawn" not in lines_of(specs(error_theory=False)["errors"])


def test_errors_of_a_regression_are_on_a_logarithmic_axis_with_a_floor():
    charts = specs(error_floor=1e-3)
    encodings = [line["encoding"]["y"] for line in lines_of(charts["errors"]).values()]
    encodings.append(charts["generalization"]["layer"][0]["encoding"]["x"])
    for encoding in encodings:
        assert encoding["scale"]["type"] == "log"
        assert encoding["axis"]["values"][0] == 1e-3
    calculated = [step.get("calculate") for layer in charts["errors"]["layer"] for step in layer.get("transform", [])]
    assert "isValid(datum.test) ? max(datum.test, 0.001) : null" in calculated


def test_the_floor_is_in_the_captions_of_regressions_alone(tmp_path):
    for task in ("regression", "classification"):
        words = Page(write_report(fake_run(task=task), tmp_path / f"{task}.html").read_text(encoding="utf-8")).text
        assert words.count("values below 0.001 are drawn at 0.001") == (2 if task == "regression" else 0)


def test_a_row_of_errors_by_hand():
    ds = fake_run(theory=True, undone=[(1, 2)], diverged=[(0, 6, 1)])
    table = chart_data(ds)["places"][0]["errors"]
    assert len(table["test"]) == 39 + 1  # theory speaks about the unfinished cell too
    row = {name: column[6] for name, column in table.items()}
    cell = {"snr": 0.25, "n_train": 1500}
    assert (row["snr_text"], row["n_train"], row["n_members"]) == ("0.25", 1500, 7)
    for which in ("train", "test"):
        of_members = ds[f"{which}_error"].sel(cell).dropna("member")
        assert row[which] == pytest.approx(float(of_members.mean()), rel=1e-4)
        assert row[f"{which}_se"] == pytest.approx(float(of_members.std(ddof=1)) / 7**0.5, rel=1e-4)
    assert row["predicted"] == pytest.approx(float(ds["predicted_error"].sel(cell)), rel=1e-4)
    assert row["test_low"] < row["test"] < row["test_high"]
    missing = {name: column[12] for name, column in table.items()}
    assert (missing["snr_text"], missing["n_train"], missing["test"], missing["train"]) == ("1", 100, None, None)


def test_unfinished_cells_of_an_axis_of_names_are_listed(tmp_path):
    ds = fake_run(undone=[(0, 1)], axes={"network.kind": ["mlp", "linear"]})
    text = Page(write_report(ds, tmp_path / "r.html").read_text(encoding="utf-8")).text
    assert "network.kind = mlp" in text


def test_an_unfinished_run_says_so_at_the_top(page, tmp_path):
    _, parsed = page
    said = "This run is not finished: 4 of 160 cells are still to come and missing here."
    assert parsed.text.index(said) < parsed.text.index("What is seen")
    finished = Page(write_report(fake_run(), tmp_path / "r.html").read_text(encoding="utf-8"))
    assert "not finished" not in finished.text


def test_the_choice_shown_first_has_scores():
    ds = fake_run(axes=AXES).sel(measure=["output_correlation", "cka"])
    ds["alignment"][{"train.solver": 0}] = np.nan
    data = chart_data(ds)
    assert data["selections"][data["first"]]["choice"] == ["output", "output_correlation", "0", "sgd"]
    assert all(any(item["alignment"]["mean"]) for item in data["selections"])
    assert ["hidden1", "output_correlation"] not in [item["choice"][:2] for item in data["selections"]]


def test_the_file_appears_complete_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    path.write_text("old")
    assert write_report(fake_run(), path) == path
    assert path.read_text(encoding="utf-8").rstrip().endswith("</html>")
    assert 0.8e6 < path.stat().st_size < 1.5e6
    path.write_text("old")

    def broken(*_):
        raise OSError("disk full")

    monkeypatch.setattr("consilience.report.write.os.replace", broken)
    with pytest.raises(OSError, match="disk full"):
        write_report(fake_run(), path)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_where_it_cannot_be_written_is_said(tmp_path):
    with pytest.raises(ConsilienceError, match="no directory"):
        write_report(fake_run(), tmp_path / "missing" / "r.html")
    with pytest.raises(ConsilienceError, match="is a directory"):
        write_report(fake_run(), tmp_path)


@pytest.mark.parametrize("module", ["jinja2", "altair", "vl_convert"])
def test_missing_packages_are_named(module, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(MissingDependencyError, match=rf"{module}.*consilience\[report\]"):
        write_report(fake_run(), tmp_path / "r.html")


def test_page_words_name_every_snr_of_the_table():
    words = page_words(fake_run())
    assert [row[0] for row in words["table"].rows] == ["0.25", "1", "4", "∞"]
    assert "3,306 parameters in each of 40 cells: 4 SNR × 10 sizes of training set. C" in words["lead"]
    one = page_words(fake_run(snr=[1.0], n_train=[10], axes={"train.solver": ["adam"]}))["lead"]
    assert "in the only cell: 1 SNR × 1 size of training set × 1 value of train.solver." in one
    assert len(SNR) == 4
    assert Selection(*headline(fake_run())) in selections(fake_run())

"""What is in the file, without a browser."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from tests.fake_run import SNR, STUDY, fake_run

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
        "What is seen", "Alignment and size of the training set", "Errors", "Alignment and generalization",
        "Theory", "The study", "Data", "Noise", "Versions", "Hardware", "Failures", "SNR is", "seed",
    ):  # fmt: skip
        assert words in parsed.text
    assert STUDY in parsed.text
    ids = {attrs.get("id") for _, attrs in parsed.tags}
    charts = {"alignment", "heat", "test_error", "train_error", "generalization", "theory"}
    assert charts <= ids
    assert set(json.loads(parsed.scripts["chart-specs"])) == charts


def test_the_words_of_the_headline_are_in_the_page_without_a_script(page):
    ds, parsed = page
    flat = " ".join(parsed.text.split())
    for sentence in selection_sentences(ds, selections(ds)[chart_data(ds)["first"]]):
        assert sentence in flat


def test_nothing_is_fetched(page):
    _, parsed = page
    assert not [t for t, attrs in parsed.tags if attrs.get("src") or t in ("iframe", "img", "object")]
    assert [a["href"] for t, a in parsed.tags if t == "link"] == ["data:,"]
    policy = next(a["content"] for t, a in parsed.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")


def test_failures_and_unfinished_cells_are_listed(page):
    _, parsed = page
    flat = " ".join(parsed.text.split())
    assert "4 trainings diverged" in flat  # one per combination of the axes
    assert "0.25 200 0 adam 2 120" in flat
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


def test_specs_compile_to_vega():
    import vl_convert

    specs = chart_specs(["1", "∞"], n_train=[10, 20], error_label="misclassified fraction", theory=True)
    for spec in specs.values():
        vega = vl_convert.vegalite_to_vega(spec)
        assert {"focus", "score", "distance"} <= {signal["name"] for signal in vega["signals"]}


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
    assert "3,306 parameters in each of 40 cells: 4 SNR × 10 sizes" in words["lead"]
    assert len(SNR) == 4
    assert Selection(*headline(fake_run())) in selections(fake_run())

"""The report in a real browser: it is drawn, it answers, and it asks nothing of the network."""

from __future__ import annotations

import os
import shutil

import pytest
from tests.fake_run import fake_run

from consilience.report import write_report

pytestmark = pytest.mark.browser

ARGUMENTS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
CHARTS = ("alignment", "heat", "errors", "generalization")


@pytest.fixture(scope="module")
def browser():
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        missing = "no Chromium on the path"
        if os.environ.get("CONSILIENCE_REQUIRE_BROWSER") == "1":
            pytest.fail(missing)
        pytest.skip(missing)
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=found, args=list(ARGUMENTS))
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    ds = fake_run(
        theory=True, diverged=[(0, 3, 2)], undone=[(2, 9)], axes={"train.weight_decay": [0.0, 1e-3]},
        name="a </script><b id='evil'>name</b>",
    )  # fmt: skip
    return write_report(ds, tmp_path_factory.mktemp("browser") / "report.html")


@pytest.fixture
def page(browser, report, request):
    opened = browser.new_page(**getattr(request, "param", {"viewport": {"width": 1280, "height": 900}}))
    said, asked = [], []
    opened.on("console", lambda message: said.append(message.text))
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.on("request", lambda asked_for: asked.append(asked_for.url))
    opened.goto(report.as_uri())
    opened.wait_for_selector("html[data-ready]", state="attached", timeout=20_000)
    yield opened
    assert said == []
    assert asked == [report.as_uri()]
    opened.close()


def marks(page, chart):
    """Paths that are drawn: with an outline of some length, inside the chart."""
    return page.eval_on_selector_all(
        f"#{chart} svg g.mark-line path, #{chart} svg g.mark-symbol path, #{chart} svg g.mark-rect path",
        "paths => paths.filter(p => (p.getAttribute('d') || '').length > 5).length",
    )


def paths(page, chart):
    return page.eval_on_selector_all(f"#{chart} svg path", "all => all.map(p => p.getAttribute('d')).join()")


@pytest.mark.parametrize(
    "page",
    [
        {"viewport": {"width": 1280, "height": 900}},
        {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark"},
    ],
    indirect=True,
    ids=["desktop", "phone"],
)
def test_every_chart_is_drawn_and_fits_the_page(page):
    for chart in CHARTS:
        assert marks(page, chart) >= 39, chart
    width = page.viewport_size["width"]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    boxes = page.eval_on_selector_all(
        ".chart svg", "all => all.map(s => s.getBoundingClientRect()).filter(b => b.width).map(b => [b.left, b.right])"
    )
    assert len(boxes) == len(CHARTS)  # theory does not speak about the headline layer
    assert all(left >= 0 and right <= width for left, right in boxes)
    assert page.locator("#evil").count() == 0
    assert "</script>" in page.locator("h1").inner_text()


def test_hovering_shows_numbers_and_brings_the_snr_forward(page):
    point = page.locator("#alignment svg g.mark-symbol path").first
    point.scroll_into_view_if_needed()
    point.hover(force=True)
    tooltip = page.locator("#vg-tooltip-element")
    tooltip.wait_for(state="visible", timeout=5000)
    words = tooltip.inner_text()
    assert "n_train" in words
    assert "± standard error" in words
    assert "null" not in words
    faded = page.locator("#generalization svg g.mark-symbol path[opacity='0.12']")
    faded.first.wait_for(state="attached", timeout=5000)
    assert 0 < faded.count() < page.locator("#generalization svg g.mark-symbol path").count()


def test_selectors_change_charts_words_and_labels(page):
    before = paths(page, "alignment"), page.locator("#seen").inner_text()
    page.select_option("select[data-choice='1']", "procrustes")
    page.wait_for_function("document.querySelector('#alignment').textContent.includes('lower = more aligned')")
    assert paths(page, "alignment") != before[0]
    assert "distance (larger is less aligned)" in page.locator("#seen").inner_text()
    page.select_option("select[data-choice='1']", "cka")
    page.wait_for_function("document.querySelector('#alignment').textContent.includes('alignment (cka)')")
    assert (paths(page, "alignment"), page.locator("#seen").inner_text()) == before
    page.select_option("select[data-choice='2']", "0.001")
    page.wait_for_function("old => document.querySelector('#seen').innerText !== old", arg=before[1])
    assert paths(page, "alignment") != before[0]


def test_theory_appears_where_it_speaks(page):
    assert page.locator("#theory-figure").is_hidden()
    page.select_option("select[data-choice='0']", "hidden1")
    page.wait_for_selector("#theory svg g.mark-symbol path", state="visible")
    assert marks(page, "theory") >= 39
    dotted = page.locator("#alignment svg g.mark-line path[stroke-dasharray]")
    assert dotted.count() == 4
    page.select_option("select[data-choice='1']", "procrustes")
    page.wait_for_selector("#no-theory", state="visible")


def options(page, index):
    return page.locator(f"select[data-choice='{index}'] option").all_inner_texts()


def test_a_measure_of_the_output_alone_moves_the_layer_with_it(page):
    # hidden layers have no score by this measure, so that combination is not on offer
    assert options(page, 1) == ["cka", "procrustes", "output_correlation → output"]
    page.select_option("select[data-choice='1']", "output_correlation")
    page.wait_for_function("document.querySelector('#seen').innerText.includes('output_correlation')")
    assert page.locator("select[data-choice='0']").input_value() == "output"
    assert options(page, 0) == ["hidden1 → cka", "hidden2 → cka", "output"]
    page.select_option("select[data-choice='0']", "hidden1")
    page.wait_for_function("document.querySelector('#seen').innerText.includes('at hidden1 by cka')")
    assert options(page, 0) == ["hidden1", "hidden2", "output"]
    assert page.locator("select[data-choice='1']").input_value() == "cka"


def strokes(page, chart):
    """Dashes of the lines of a chart, and how many lines have them."""
    found = page.eval_on_selector_all(
        f"#{chart} svg g.mark-line path", "all => all.map(p => p.getAttribute('stroke-dasharray') || '1,0')"
    )
    return {dash: found.count(dash) for dash in found}


def test_the_errors_are_in_one_chart(page):
    # full: test; dashed: training; dotted: theory; a line of each for every SNR
    assert sorted(strokes(page, "errors").values()) == [4, 4, 4]
    assert "theory (test)" in page.locator("#errors svg").text_content()
    point = page.locator("#errors svg g.role-mark.mark-symbol path").last
    point.scroll_into_view_if_needed()
    point.hover(force=True)
    tooltip = page.locator("#vg-tooltip-element")
    tooltip.wait_for(state="visible", timeout=5000)
    words = tooltip.inner_text()
    assert "test error" in words
    assert "training error" in words
    assert words.count("± standard error") == 2
    page.wait_for_selector("#errors svg g.mark-line path[opacity='0.12']", state="attached")
    assert page.locator("#errors svg g.mark-line path[opacity='0.12']").count() == 9


def test_sizes_are_plain_numbers(page):
    for chart in ("alignment", "errors"):
        labels = page.locator(f"#{chart} svg g.role-axis-label text").all_text_contents()
        assert {"10", "20000"} <= set(labels)
        assert not [label for label in labels if label.endswith("k")]


@pytest.mark.parametrize(("peak", "ticks"), [(1e4, {"1", "10", "100", "1000"}), (1, {"0.1", "1"})])
def test_errors_of_a_regression_are_drawn_down_to_the_floor(browser, tmp_path, peak, ticks):
    ds = fake_run(task="regression")
    ds["test_error"][{"n_train": 5}] *= peak
    opened = browser.new_page(viewport={"width": 900, "height": 900})
    opened.goto(write_report(ds, tmp_path / "r.html").as_uri())
    opened.wait_for_selector("html[data-ready]", state="attached", timeout=20_000)
    for chart in ("errors", "generalization"):
        labels = opened.locator(f"#{chart} svg g.role-axis-label text").all_text_contents()
        assert ticks <= set(labels)
        assert ("≤ 0.001" in labels) == (chart == "errors")  # training errors are zero, test errors are not
    assert opened.eval_on_selector_all(
        "#errors svg path, #generalization svg path",
        "all => all.every(p => !/NaN|Infinity/.test(p.getAttribute('d')))",
    )
    opened.close()


def test_a_chip_holds_one_snr_in_focus(page):
    chip = page.locator("button[data-snr='∞']")
    chip.click()
    assert chip.get_attribute("aria-pressed") == "true"
    faded = page.locator("#alignment svg g.mark-line path[opacity='0.12']")
    faded.first.wait_for(state="attached", timeout=5000)
    assert faded.count() == 3
    chip.click()
    assert chip.get_attribute("aria-pressed") == "false"
    page.wait_for_function(
        "document.querySelectorAll(\"#alignment svg g.mark-line path[opacity='0.12']\").length === 0"
    )

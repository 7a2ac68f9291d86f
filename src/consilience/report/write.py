"""Render the page and put it in place in one step."""

from __future__ import annotations

import json
import os
import secrets
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from consilience.errors import ConsilienceError, require
from consilience.facts import first_selection
from consilience.figures._style import sequential_colours
from consilience.figures.across import is_distance_across
from consilience.figures.errors import ERROR_FLOOR, error_label, log_errors
from consilience.figures.trajectory import has_trajectories, trajectory_size
from consilience.report.charts import Variants, chart_specs
from consilience.report.content import chart_data, page_words, snr_texts

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["render_report", "write_report"]


def write_report(ds: xr.Dataset, path: str | os.PathLike[str]) -> Path:
    """Write the report of a run as one HTML file of about 1 MB plus the data, and return its path.

    The file holds its data, its charts and the programs that draw them; it asks nothing of the network.
    It appears under its name only when complete.

    Parameters
    ----------
    ds
        A run.
    path
        Where to write; an existing file is replaced.

    Raises
    ------
    MissingDependencyError
        Without Altair, Jinja2 or vl-convert: ``pip install 'consilience[report]'``.
    ConsilienceError
        When the directory of `path` does not exist, or `path` is a directory.
    """
    target = Path(path)
    if not target.parent.is_dir():
        raise ConsilienceError(f"cannot write the report to {target}: {target.parent} is no directory, create it first")
    if target.is_dir():
        raise ConsilienceError(f"cannot write the report to {target}: it is a directory, give the name of a file")
    html = render_report(ds)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        temporary.write_text(html, encoding="utf-8")
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    return target


def render_report(ds: xr.Dataset) -> str:
    """The report as text; see `write_report`."""
    jinja2 = require("jinja2", extra="report", purpose="the report")
    convert = require("vl_convert", extra="report", purpose="the report")
    data, words = chart_data(ds), page_words(ds)
    theory = any(item["theory"]["snr_text"] for item in data["selections"])
    error_theory = any(value is not None for place in data["places"] for value in place["errors"]["predicted"])
    specs = chart_specs(
        data["snr"],
        error_label=error_label(ds),
        n_train=sorted(ds["n_train"].values.tolist()),
        theory=theory,
        error_theory=error_theory,
        error_floor=ERROR_FLOOR if log_errors(ds) else None,
        trajectory_at=trajectory_size(ds, first_selection(ds)) if has_trajectories(ds) else None,
        variants=_variants(ds, data["variants"]),
    )
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(_resource("page.html"))
    markup = jinja2.utils.markupsafe.Markup
    return template.render(
        **words,
        choices=["layer", "measure", *data["axes"]],
        snr=snr_texts(ds),
        theory=theory,
        trajectories=has_trajectories(ds),
        variants="variants" in specs,
        error_theory=error_theory,
        error_floor=f"{ERROR_FLOOR:g}" if log_errors(ds) else "",
        first=data["selections"][data["first"]],
        style=markup(_palette(len(data["snr"])) + _resource("page.css")),
        bundle=markup(_bundle(convert)),
        script=markup(_resource("page.js")),
        chart_json=markup(_json_for_html(data)),
        specs=markup(_json_for_html(specs)),
    )


def _variants(ds: xr.Dataset, data: dict[str, list[Any]] | None) -> Variants | None:
    """What the matrix of variants shows, of a run that compares any at all."""
    if data is None or not data["place"]:
        return None
    measure = str(ds["measure_across"].values[0])
    names = [str(name) for name in ds["variant_a"].values]
    return Variants(names, list(dict.fromkeys(data["place"])), measure, is_distance_across(ds, measure))


def _resource(name: str) -> str:
    return resources.files("consilience.report").joinpath(name).read_text(encoding="utf-8")


@cache
def _bundle(convert: Any) -> str:
    """Vega, Vega-Lite and Vega-Embed as one script, kept out of the page's own names."""
    script = str(convert.javascript_bundle())
    return "(() => {" + script.replace("</script", "<\\/script").replace("<!--", "<\\!--") + "})();"


def _json_for_html(value: Any) -> str:
    """JSON that no text in it can end or open a tag of the page."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _palette(n: int) -> str:
    """CSS variables for the colours of the SNRs: the dark end on light pages, the bright end on dark ones."""

    def rules(start: float, stop: float) -> str:
        return "".join(f"--snr-{i}:{colour};" for i, colour in enumerate(sequential_colours(n, start=start, stop=stop)))

    light, dark = rules(0.0, 0.8), rules(0.38, 1.0)
    return f":root{{{light}}}\n@media screen and (prefers-color-scheme: dark){{:root{{{dark}}}}}\n"

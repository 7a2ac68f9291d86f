"""The page of all measures, made from the registry: `mkdocs build` calls it, and `python docs/catalogue.py` prints it.

What a measure says of itself is all there is here; a measure added anywhere, in an installed package too, appears.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from consilience import Descriptor, Family, Invariance, Measure, get_measure, measures

MARKER = "<!-- all measures -->"
RENDERING = ("show_root_heading: false", "show_root_toc_entry: false", "members: false", "heading_level: 4")
# As the survey of Klabunde et al. abbreviates them.
GROUPS = {
    "PT": Invariance.PERMUTATION,
    "OT": Invariance.ORTHOGONAL,
    "IS": Invariance.ISOTROPIC_SCALING,
    "ILT": Invariance.INVERTIBLE_LINEAR,
    "TR": Invariance.TRANSLATION,
}
Pair = tuple[str, Any, Any]


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Fill the marker in a page; MkDocs calls it with every page."""
    return markdown.replace(MARKER, page()) if MARKER in markdown else markdown


def page() -> str:
    """Return the whole catalogue, in Markdown."""
    parts = ["## At a glance", overview(), "## One example, every measure", worked_example()]
    for family in Family:
        members = [get_measure(name) for name, found in measures().items() if found().family is family]
        if members:
            parts.append(f"## {family.value[:1].upper() + family.value[1:]}")
            parts += [section(measure) for measure in members]
    return "\n\n".join(parts)


def overview() -> str:
    """One row a measure."""
    rows = [
        [
            f"[`{measure.name}`](#{measure.name.replace('_', '-')})",
            measure.kind.value,
            bounds(measure),
            "yes" if measure.symmetric else "no",
            *("✓" if measure.invariant_to(group) else "" for group in GROUPS.values()),
            measure.cost,
        ]
        for measure in by_family()
    ]
    legend = ", ".join(f"**{short}** {group.value}" for short, group in GROUPS.items())
    columns = ["measure", "kind", "range", "symmetric", *GROUPS, "cost"]
    return f"✓: unchanged by transformations of the features: {legend}.\n\n{table(columns, rows)}"


def section(measure: Measure) -> str:
    """Everything about one measure: its facts, and its docstring with formula, options and references."""
    cls = type(measure)
    aliases = ", ".join(f"`{alias}` = `{get_measure(alias).label}`" for alias in cls.aliases)
    facts = [
        f"**Use.** {measure.use}",
        f"**Avoid.** {measure.avoid}",
        f"*{measure.kind.value.capitalize()}*, range {bounds(measure)}, "
        f"{'symmetric' if measure.symmetric else 'not symmetric'}; "
        f"invariant under {', '.join(sorted(i.value for i in measure.invariances)) or 'none of the usual groups'}; "
        f"{measure.cost}."
        + (" Differentiable." if measure.differentiable else "")
        + (" Can be [streamed](measures.md)." if measure.streams else "")
        + (" Compares outputs, feature by feature." if measure.outputs_only else "")
        + (" They are read as classes." if measure.needs_classes else "")
        + (" Needs the true classes, `targets=`." if measure.needs_targets else "")
        + (" One argument gives the number itself." if isinstance(measure, Descriptor) else ""),
    ]
    if aliases:
        facts.append(f"Other names: {aliases}.")
    options = "    options:\n" + "\n".join(f"      {option}" for option in RENDERING)
    heading = f"### `{measure.name}` {{ #{measure.name.replace('_', '-')} }}"
    reference = f"::: {cls.__module__}.{cls.__qualname__}\n{options}"
    return "\n\n".join([heading, *facts, reference])


def worked_example() -> str:
    """Scores of the same pairs by every measure."""
    hidden, outputs = list(hidden_pairs()), list(output_pairs())
    targets = classes()
    parts = [EXPLANATION]
    for of_outputs, pairs in ((False, hidden), (True, outputs)):
        chosen = [measure for measure in by_family() if measure.outputs_only is of_outputs]
        rows = [[f"`{measure.name}`", *(cell(measure, x, y, targets) for _, x, y in pairs)] for measure in chosen]
        parts.append(table(["x compared with", *(name for name, _, _ in pairs)], rows))
    return "\n\n".join(parts)


EXPLANATION = """\
`x` has 200 samples and 10 features whose variance falls from 9 to 0.1. It is compared with itself; with a copy that is
rotated, doubled and shifted; with an invertible linear map of it; with itself plus noise of as much variance in
every direction of its own; with its first five features; and with an unrelated draw. Read along a row to see what
a measure takes to be the same, and in the last column what it gives for nothing in common.

Measures of outputs see the scores of five classes: the same; twice as large (the same classes, more confident);
with noise of equal variance; with two classes exchanged; unrelated ones."""


def hidden_pairs() -> Iterator[Pair]:
    """Yield names and pairs of hidden representations."""
    rng = np.random.default_rng(0)
    scale = np.linspace(3, 0.3, 10)
    x = rng.standard_normal((200, 10)) * scale
    rotation = np.linalg.qr(rng.standard_normal((10, 10)))[0]
    yield "itself", x, x
    yield "rotated, scaled, shifted", x, 2 * x @ rotation + 3
    yield "linear map", x, x @ (rng.standard_normal((10, 10)) / scale[:, None])
    yield "noise, SNR 1", x, x + rng.standard_normal((200, 10)) * scale
    yield "half the features", x, x[:, :5]
    yield "unrelated", x, rng.standard_normal((200, 10)) * scale


def output_pairs() -> Iterator[Pair]:
    """Yield names and pairs of class scores."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((200, 5)) + 2 * np.eye(5)[classes()]
    yield "itself", x, x
    yield "twice as large", x, 2 * x
    yield "noise, SNR 1", x, x + x.std() * rng.standard_normal((200, 5))
    yield "two classes exchanged", x, x[:, [1, 0, 2, 3, 4]]
    yield "unrelated", x, rng.standard_normal((200, 5)) * x.std()


def classes() -> Any:
    """Return the true classes of the 200 samples."""
    return np.random.default_rng(2).integers(0, 5, 200)


def cell(measure: Measure, x: Any, y: Any, targets: Any) -> str:
    """One score to two digits, a dash where there is none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NaN and its reason belong to the measure's own section
        value = float(measure(x, y, targets=targets if measure.needs_targets else None))
    if not np.isfinite(value):
        return "–"
    return f"{value:.2f}".replace("-0.00", "0.00") if abs(value) < 1000 else f"{value:.3g}"


def by_family() -> list[Measure]:
    """Every measure, family by family."""
    order = list(Family)
    found = [get_measure(name) for name in measures()]
    return sorted(found, key=lambda measure: order.index(measure.family))


def bounds(measure: Measure) -> str:
    """Range of a measure's scores."""
    low, high = (f"{value:.3g}".replace("inf", "∞").replace("-", "−") for value in measure.bounds)
    return f"{low} … {high}"


def table(columns: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


if __name__ == "__main__":
    sys.stdout.write(page())

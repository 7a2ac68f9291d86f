"""The charts of the report: Vega-Lite specifications whose data the page supplies by name.

Colours are CSS variables, so that one specification serves the light page, the dark page and print.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from consilience.errors import require

__all__ = ["Variants", "chart_specs"]

# Charts bend to the width of the page; phones get the same height.
HEIGHT = 300
INK, MUTED, RULE = "var(--ink)", "var(--muted)", "var(--rule)"
# Test error is full, training error dashed, theory dotted in every chart.
FULL, TRAIN_DASH, THEORY_DASH = [1.0, 0.0], [6.0, 4.0], [1.6, 3.4]
# Field, name, dashes and width of the lines of errors.
_ERROR_LINES = (
    ("test", "test", FULL, 2.0),
    ("train", "training", TRAIN_DASH, 1.6),
    ("predicted", "theory (test)", THEORY_DASH, 1.8),
)
# Ticks of a logarithmic axis of errors; those outside its range are left out.
DECADES = [10.0**k for k in range(-3, 10)]
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


class Variants(NamedTuple):
    """What the matrix of variants shows: their names, the places they are compared at, and by which measure."""

    names: list[str]
    places: list[str]
    measure: str
    distance: bool


def chart_specs(
    snr_texts: Sequence[str],
    *,
    error_label: str,
    n_train: Sequence[int],
    theory: bool,
    error_theory: bool,
    error_floor: float | None,
    trajectory_at: int | None = None,
    variants: Variants | None = None,
) -> dict[str, dict[str, Any]]:
    """Vega-Lite specifications by name of the chart.

    Parameters
    ----------
    snr_texts
        SNR as text, lowest first; their colours are the CSS variables ``--snr-0``, ``--snr-1``, …
    error_label
        What an error counts.
    n_train
        The sizes measured, which the axes mark.
    theory
        Whether to draw the chart of theory against measurement.
    error_theory
        Whether theory speaks about test errors.
    error_floor
        None for linear axes of errors; else their axes are logarithmic and smaller errors are drawn at it.
    trajectory_at
        The n_train whose alignment during training is shown first; None for runs without trajectories.
    variants
        What the matrix of variants shows; None for runs that compare none.

    Returns
    -------
    dict
        ``alignment``, ``heat``, ``errors``, ``generalization``, and ``theory``, ``trajectory`` and ``variants`` when
        asked. Each reads one or two named data sets: those, and ``thresholds``; and the
        parameters ``focus`` (SNR as text, or null), ``score`` (the axis title of the measure) and ``distance``
        (whether larger is less aligned).
    """
    alt = require("altair", extra="report", purpose="the report")
    draw = _Charts(alt, list(snr_texts), list(n_train), error_label, error_floor)
    charts = {
        "alignment": draw.alignment(),
        "heat": draw.heat(),
        "errors": draw.errors(theory=error_theory),
        "generalization": draw.generalization(),
    }
    if theory:
        charts["theory"] = draw.theory()
    if trajectory_at is not None:
        charts["trajectory"] = draw.trajectory(trajectory_at)
    if variants is not None:
        charts["variants"] = draw.variants(variants)
    return {name: json.loads(chart.to_json()) for name, chart in charts.items()}


# Plain numbers as long as they are short: 1280, not 1.28k.
_SIZE_LABEL = "format(datum.value, datum.value < 100000 ? 'd' : '~s')"


class _Charts:
    """What the charts share: scales, highlighting, tooltips."""

    def __init__(
        self, alt: Any, snr_texts: list[str], n_train: list[int], error_label: str, error_floor: float | None
    ) -> None:
        self.alt, self.snr, self.n_train = alt, snr_texts, n_train
        self.error_label, self.error_floor = error_label, error_floor
        self.colour = alt.Color(
            "snr_text:N",
            scale=alt.Scale(domain=snr_texts, range=[f"var(--snr-{i})" for i in range(len(snr_texts))]),
            legend=None,
        )
        self.n = alt.X(
            "n_train:Q",
            scale=alt.Scale(type="log", nice=False, padding=12),
            axis=alt.Axis(title="training samples, n_train", labelExpr=_SIZE_LABEL, values=n_train, grid=False),
        )

    def alignment(self) -> Any:
        alt, base = self.alt, self._base("alignment")
        y = self._y("mean")
        band = base.mark_area().encode(
            self.n, self._y("pairs_low"), alt.Y2("pairs_high:Q"), self.colour,
            opacity=self._fade(0.16, 0.03),
        )  # fmt: skip
        line = base.mark_line(strokeWidth=2).encode(self.n, y, self.colour, opacity=self._fade())
        dotted = (
            base.transform_filter("isValid(datum.predicted)")
            .mark_line(strokeWidth=1.8, strokeDash=THEORY_DASH)
            .encode(self.n, self._y("predicted"), self.colour, opacity=self._fade())
        )
        points = self._points(base, self.n, y, [*_SCORE, ("theory", "predicted", ".3f"), *_COUNTS])
        layers = alt.layer(band, line, self._interval(base, self.n), dotted, points, self._thresholds())
        return self._finish(layers, "score")

    def heat(self) -> Any:
        alt, base = self.alt, self._base("alignment")
        colour = alt.Color(
            "mean:Q",
            scale=alt.Scale(scheme="viridis", reverse=alt.expr("distance"), zero=False),
            legend=alt.Legend(title=None, orient="right", gradientThickness=10, gradientLength=150, format=".2~f"),
        )
        cells = (
            base.transform_filter("isValid(datum.mean)")
            .mark_rect(cornerRadius=2)
            .encode(
                alt.X(
                    "n_train:O",
                    axis=alt.Axis(title="training samples, n_train", labelAngle=-45 if len(self.n_train) > 6 else 0),
                ),
                alt.Y("snr_text:N", sort=self.snr[::-1], axis=alt.Axis(title="SNR")),
                colour,
                tooltip=self._tooltip([*_SCORE, *_COUNTS]),
            )
        )
        return self._finish(cells, "score", height=max(120, 44 * len(self.snr)))

    def errors(self, *, theory: bool) -> Any:
        alt, base = self.alt, self._floored("errors", "test", "test_low", "test_high", "train", "predicted")
        kinds = _ERROR_LINES if theory else _ERROR_LINES[:2]
        dash = alt.StrokeDash(
            "kind:N",
            scale=alt.Scale(domain=[label for _, label, _, _ in kinds], range=[dashes for _, _, dashes, _ in kinds]),
            legend=alt.Legend(title=None, orient="bottom", symbolType="stroke", symbolSize=500),
        )
        band = base.mark_area().encode(
            self.n, self._error_y("test_low"), alt.Y2("test_high_drawn:Q"), self.colour, opacity=self._fade(0.14, 0.02)
        )
        lines = [
            base.transform_calculate(kind=f"'{label}'")
            .mark_line(strokeWidth=width)
            .encode(self.n, self._error_y(field), self.colour, dash, opacity=self._fade())
            for field, label, _, width in kinds
        ]
        number = self._error_format()
        shown = [
            ("test error", "test", number), ("± standard error", "test_se", number), ("theory", "predicted", number),
            ("training error", "train", number), ("± standard error ", "train_se", number),
            ("members that fit", "fitted", ".0%"), ("members", "n_members", "d"),
        ]  # fmt: skip
        points = [
            self._points(base, self.n, self._error_y(field), shown, valid=field, size=size)
            for field, size in (("train", 16), ("test", 42))
        ]
        return self._finish(alt.layer(band, *lines, *points, self._thresholds()), f"error ({self.error_label})")

    def generalization(self) -> Any:
        alt, base = self.alt, self._floored("generalization", "test_error")
        axis = self._error_axis(title=f"test error ({self.error_label})", grid=False)
        x = alt.X("test_error_drawn:Q", scale=self._error_scale(zero=False, padding=12), axis=axis)
        y = self._y("mean", offset=12)
        path = base.mark_line(strokeWidth=1.2).encode(x, y, self.colour, order="n_train:Q", opacity=self._fade(0.6))
        size = alt.Size("n_train:Q", scale=alt.Scale(type="log", range=[20, 220]), legend=None)
        number = self._error_format()
        shown = [*_SCORE, ("test error", "test_error", number), ("± standard error ", "test_error_se", number)]
        points = self._points(base, x, y, shown).encode(size=size)
        return self._finish(alt.layer(path, points), "score")

    def theory(self) -> Any:
        alt, base = self.alt, self._base("theory")
        x = alt.X("predicted:Q", scale=alt.Scale(zero=False, padding=12), axis=alt.Axis(title="predicted", grid=False))
        y = self._y("mean")
        diagonal = (
            base.transform_calculate(both="datum.predicted")
            .mark_line(strokeWidth=1, color=MUTED)
            .encode(x, self._y("both"))
        )
        points = self._points(base, x, y, [*_SCORE, ("predicted", "predicted", ".3f")])
        return self._finish(alt.layer(diagonal, self._interval(base, x), points), "measured", height=320)

    def trajectory(self, first: int) -> Any:
        alt = self.alt
        size = alt.param(
            name="size", value=first, bind=alt.binding_select(options=self.n_train, name="training samples, n_train ")
        )
        base = self._base("trajectory").transform_filter("datum.n_train == size")
        x = alt.X(
            "step:Q",
            scale=alt.Scale(type="log", nice=False, padding=12),
            axis=alt.Axis(title="training step", labelExpr=_SIZE_LABEL, grid=False),
        )
        y = self._y("mean")
        band = base.mark_area().encode(x, self._y("low"), alt.Y2("high:Q"), self.colour, opacity=self._fade(0.16, 0.03))
        line = base.mark_line(strokeWidth=2).encode(x, y, self.colour, opacity=self._fade())
        number = self._error_format()
        shown = [
            ("step", "step", "d"), *_SCORE, ("training error", "train_error", number),
            ("test error", "test_error", number), *_COUNTS,
        ]  # fmt: skip
        layers = alt.layer(band, line, self._points(base, x, y, shown)).add_params(size)
        return self._finish(layers, "score")

    def variants(self, shown: Variants) -> Any:
        alt = self.alt
        choice = alt.param(
            name="place", value=shown.places[-1], bind=alt.binding_select(options=shown.places, name="at ")
        )
        base = self._base("variants").transform_filter("datum.place == place")
        axis = alt.Axis(title=None, labelAngle=-30, labelLimit=140)
        x, y = (
            alt.X("variant_b:N", sort=shown.names, axis=axis),
            alt.Y("variant_a:N", sort=shown.names, axis=alt.Axis(title=None, labelLimit=140)),
        )
        scale = alt.Scale(scheme="viridis", reverse=shown.distance, zero=False)
        fields = [
            ("score", "mean", ".3f"), ("± standard error", "se", ".3f"), ("ceiling", "ceiling", ".3f"),
            ("share of it", "share", ".0%"),
        ]  # fmt: skip
        tooltip = [
            *(alt.Tooltip(f"variant_{side}:N", title=title) for side, title in (("a", "variant"), ("b", "and"))),
            *(alt.Tooltip(f"layer_{side}:N", title=title) for side, title in (("a", "layer"), ("b", "and its layer"))),
            *(alt.Tooltip(f"{name}:Q", title=title, format=spec) for title, name, spec in fields),
        ]
        cells = base.mark_rect(cornerRadius=2).encode(
            x, y, alt.Color("mean:Q", scale=scale, legend=None), tooltip=tooltip
        )
        light = alt.condition("datum.dark", alt.value("white"), alt.value("black"))
        scores = base.mark_text(dy=-7, fontSize=13).encode(x, y, text=alt.Text("mean:Q", format=".2f"), color=light)
        shares = (
            base.transform_filter("isValid(datum.share)")
            .mark_text(dy=9, fontSize=11)
            .encode(x, y, text=alt.Text("share:Q", format=".0%"), color=light)
        )
        layers = alt.layer(cells, scores, shares).add_params(choice)
        return self._finish(layers, f"{shown.measure}, best layers", height=max(160, 56 * len(shown.names)))

    def _interval(self, base: Any, x: Any) -> Any:
        """A bar from the lower to the upper end of the interval of the mean."""
        bar = base.transform_filter("isValid(datum.low)").mark_rule(strokeWidth=1.2)
        return bar.encode(x, self._y("low"), self.alt.Y2("high:Q"), self.colour, opacity=self._fade(0.7))

    def _base(self, data: str) -> Any:
        return self.alt.Chart(self.alt.NamedData(name=data))

    def _y(self, field: str, *, offset: float = 0) -> Any:
        axis = self.alt.Axis(title=None, tickCount=5, offset=offset)
        return self.alt.Y(f"{field}:Q", scale=self.alt.Scale(zero=False, padding=8), axis=axis)

    def _floored(self, data: str, *fields: str) -> Any:
        """Data whose errors are there twice: as measured, for the numbers shown, and ``…_drawn``."""
        floor = -1 if self.error_floor is None else self.error_floor
        drawn = {f"{name}_drawn": f"isValid(datum.{name}) ? max(datum.{name}, {floor}) : null" for name in fields}
        return self._base(data).transform_calculate(**drawn)

    def _error_y(self, field: str) -> Any:
        return self.alt.Y(
            f"{field}_drawn:Q", scale=self._error_scale(zero=True, padding=8), axis=self._error_axis(title=None)
        )

    def _error_scale(self, **linear: Any) -> Any:
        # A logarithmic axis ends at powers of ten, so that it has two labels at least.
        return self.alt.Scale(**linear) if self.error_floor is None else self.alt.Scale(type="log", nice=True)

    def _error_axis(self, **options: Any) -> Any:
        if self.error_floor is None:
            return self.alt.Axis(tickCount=6, **options)
        label = f"(datum.value <= {self.error_floor} ? '≤ ' : '') + format(datum.value, '~f')"
        return self.alt.Axis(values=DECADES, labelExpr=label, **options)

    def _error_format(self) -> str:
        return ".3f" if self.error_floor is None else ".4~g"

    def _points(
        self, base: Any, x: Any, y: Any, shown: list[tuple[str, str, str]], *, valid: str = "mean", size: int = 42
    ) -> Any:
        """Dots with a wide invisible rim, so that a finger or a mouse need not be exact."""
        return (
            base.transform_filter(f"isValid(datum.{valid})")
            .mark_circle(size=size, stroke="transparent", strokeWidth=12, opacity=1)
            .encode(x, y, self.colour, opacity=self._fade(), tooltip=self._tooltip(shown))
        )

    def _fade(self, full: float = 1.0, faint: float = 0.12) -> Any:
        """Full for the SNR in focus, or for all when none is."""
        test = "focus === null || focus === datum.snr_text"
        return self.alt.condition(test, self.alt.value(full), self.alt.value(faint))

    def _tooltip(self, shown: list[tuple[str, str, str]]) -> list[Any]:
        cell = [self.alt.Tooltip("snr_text:N", title="SNR"), self.alt.Tooltip("n_train:Q", title="n_train", format="d")]
        return cell + [self.alt.Tooltip(f"{name}:Q", title=title, format=spec) for title, name, spec in shown]

    def _thresholds(self) -> Any:
        """A bar above the plot for every SNR, over the n_train between which the threshold lies."""
        alt = self.alt
        return (
            alt.Chart(alt.NamedData(name="thresholds"))
            .mark_rule(strokeWidth=4, y=alt.expr("-8 - 6 * datum.rank"))
            .encode(
                alt.X("last_fitted:Q"),
                alt.X2("first_unfitted:Q"),
                self.colour,
                opacity=self._fade(),
                tooltip=[
                    alt.Tooltip("snr_text:N", title="SNR"),
                    alt.Tooltip("last_fitted:Q", title="fitted up to n_train", format="d"),
                    alt.Tooltip("first_unfitted:Q", title="no longer at", format="d"),
                ],
            )
        )

    def _finish(self, chart: Any, title: str, *, height: int = HEIGHT) -> Any:
        """Parameters, size and typography; `title` is the text above the y axis, ``score`` a parameter."""
        alt = self.alt
        text: Any = {"score": alt.expr("score"), "measured": alt.expr("'measured ' + score")}.get(title, title)
        return (
            chart.add_params(
                alt.param(name="focus", value=None),
                alt.param(name="score", value=""),
                alt.param(name="distance", value=False),
            )
            .properties(
                width="container",
                height=height,
                title=alt.TitleParams(text=text, anchor="start", frame="group", offset=14),
                autosize=alt.AutoSizeParams(type="fit-x", contains="padding"),
            )
            .configure(font=FONT, background="transparent", padding=4)
            .configure_view(stroke=None)
            .configure_title(color=INK, fontSize=13, fontWeight="normal")
            .configure_axis(
                labelColor=MUTED, titleColor=INK, titleFontWeight="normal", titleFontSize=13, labelFontSize=12,
                domainColor=RULE, tickColor=RULE, gridColor=RULE, gridOpacity=0.6, titlePadding=10, labelOverlap=True,
            )
            .configure_axisY(minExtent=34, domain=False, ticks=False)
            .configure_legend(labelColor=MUTED, labelFontSize=12, symbolStrokeColor=MUTED)
        )  # fmt: skip


_SCORE = [
    ("score", "mean", ".3f"),
    ("± standard error", "se", ".3f"),
    ("95 % from", "low", ".3f"),
    ("to", "high", ".3f"),
]
_COUNTS = [("members", "n_members", "d"), ("pairs", "n_pairs", "d")]

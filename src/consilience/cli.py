"""The command line: parse, call, print."""

from __future__ import annotations

import json
import math
import os
import sys
import time
import tomllib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import cyclopts
from cyclopts import Parameter
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Column, Table
from rich.text import Text

from consilience._about import description_of, facts_of
from consilience.errors import ConsilienceError, require
from consilience.registry import measures

if TYPE_CHECKING:
    import xarray as xr

    from consilience.plan import Plan
    from consilience.run import Estimate

__all__ = ["main"]

app = cyclopts.App(
    name="consilience",
    help="How far neural networks agree in what they represent, and what makes them agree.",
    result_action="return_value",
    suppress_keyboard_interrupt=False,  # `main` says what an interruption leaves
)
_FIGURES = (".png", ".pdf", ".svg")
_PIPED_WIDTH = 160  # where output goes to a file nothing needs to be cut
AsJSON = Annotated[bool, Parameter(name="--json", negative=(), help="Print JSON to standard output.")]
Overrides = Annotated[
    str,
    Parameter(
        name="overrides",
        allow_leading_hyphen=True,
        help="Values for any dotted key of the study: --grid.members 16 --grid.snr '[0.5, inf]'.",
    ),
]


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the command `consilience`; a user's error is one line and exit code 2."""
    try:
        app(arguments, exit_on_error=False, print_error=False)
        sys.stdout.flush()  # a reader that has gone is seen here, not when Python shuts down
    except (ConsilienceError, cyclopts.CycloptsError) as error:
        print(f"consilience: {' '.join(str(error).split())}", file=sys.stderr)
        raise SystemExit(2) from None
    except BrokenPipeError:  # as in `consilience … | head`: who reads has what they wanted
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except OSError as error:  # a full disk, a folder that cannot be written: the system's own words say which
        print(f"consilience: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("consilience: interrupted; finished cells are kept, the same command goes on", file=sys.stderr)
        raise SystemExit(130) from None


@app.command
def run(
    study: str,
    /,
    *overrides: Overrides,
    out: Path | None = None,
    dry_run: Annotated[bool, Parameter(negative=())] = False,
    devices: int | None = None,
    workers: int = 1,
    json: AsJSON = False,
) -> None:
    """Train and measure a study, or go on with it, and write its report.

    Parameters
    ----------
    study
        A TOML file, or the name of a built-in study (see `consilience studies`).
    out
        Run directory; runs/<name> by default. Finished cells in it are not computed again.
    dry_run
        Print the grid, the number of networks, parameter counts and estimates of time and memory of what the run
        directory misses; write nothing.
    devices
        CPU cores or accelerators to train on; all by default.
    workers
        Processes that call the study's own trainer, if it has one.
    """
    _require_study()
    import psutil

    from consilience.plan import Plan
    from consilience.run import check_workers, default_folder, estimate, unfinished
    from consilience.run import run as run_study
    from consilience.store import RunStore
    from consilience.study import Study
    from consilience.train import devices as find_devices

    loaded = Study.load(study, **_parse_overrides(overrides))
    folder = default_folder(loaded) if out is None else out
    if dry_run:
        RunStore.check(folder, loaded)
        check_workers(loaded, workers)
        find_devices(devices)
        plan = Plan(loaded)
        starting = time.time() - psutil.Process().create_time()
        found = estimate(plan, unfinished(loaded, folder), devices=devices, workers=workers)
        _print_plan(plan, found, starting, as_json=json)
        return
    with _Bar(loaded.grid.members, quiet=json) as bar:
        dataset = run_study(loaded, folder, devices=devices, workers=workers, progress=bar)
    report_path = _write_report(dataset, folder)
    _print_results(dataset, folder, report_path, as_json=json)
    if (dataset["failure"] != "").all():
        print("consilience: none of the networks could be trained; the results say why", file=sys.stderr)
        raise SystemExit(1)


@app.command
def report(run: Path, /, *, out: Path | None = None, json: AsJSON = False) -> None:
    """Write the report of a run, finished or not, as one HTML file.

    Parameters
    ----------
    run
        A run directory.
    out
        The file to write; report.html in the run directory by default.
    """
    _require_study()
    from consilience.report import write_report
    from consilience.store import open_run

    path = write_report(open_run(run), run / "report.html" if out is None else out)
    print(_json({"report": str(path)}) if json else path)


@app.command
def predict(
    data: str,
    /,
    *,
    target: Annotated[list[str], Parameter(consume_multiple=True, negative=())] = ["y"],  # noqa: B006
    snr: Annotated[list[float], Parameter(consume_multiple=True, negative=())] = [0.25, 1, 4],  # noqa: B006
    n_train: Annotated[list[int] | None, Parameter(consume_multiple=True, negative=())] = None,
    ridge: float = 0.0,
    pool: int = 1,
    seed: int = 0,
    figure: Path | None = None,
    json: AsJSON = False,
) -> None:
    """Predict the alignment of linear networks from data, before any is trained.

    Parameters
    ----------
    data
        A CSV, Parquet or NPZ file, or a built-in source such as digits. Inputs are standardised as in a study.
    target
        Columns, or arrays of an NPZ file, that are targets.
    snr
        Signal-to-noise ratios: --snr 0.25 1 inf.
    n_train
        Training-set sizes: --n-train 20 100 500. By default ten, up to four fifths of the rows.
    ridge
        Penalty: members minimise ‖XW − Y‖²/n + ridge‖W‖²; 0 is the minimum-norm interpolator.
    pool
        Images: average blocks of this many pixels squared.
    figure
        Draw the curve to this PNG, PDF or SVG file.
    """
    _require_study()
    from consilience._prediction import columns, facts, predict_data, rows

    if figure is not None:
        _check_figure(figure)
    found = predict_data(data, target=target, snr=snr, n_train=n_train, ridge=ridge, pool=pool, seed=seed)
    if figure is not None:
        from consilience.figures.prediction import plot_prediction

        plot_prediction(found).figure.savefig(figure)
    if json:
        print(_json({**facts(found), "figure": figure and str(figure)}))
        return
    table = Table(*columns, box=None, pad_edge=False)
    for row in rows(found):
        table.add_row(*row)
    console = _console()
    console.print(table)
    for sentence in found.warnings:
        console.print(f"• {sentence}", highlight=False)


@app.command
def studies(*, json: AsJSON = False) -> None:
    """List the built-in studies."""
    _require_study()
    from consilience.study import Study, built_in_studies

    rows = [
        (name, _first_comment(path), Study.load(path).n_networks, str(path))
        for name, path in built_in_studies().items()
    ]
    if json:
        print(_json([dict(zip(("name", "about", "networks", "file"), row, strict=True)) for row in rows]))
        return
    table = Table("study", "about", "networks", box=None, pad_edge=False)
    for name, about, networks, _ in rows:
        table.add_row(name, about, str(networks))
    Console().print(table)


@app.command(name="measures")
def list_measures(name: str | None = None, /, *, json: AsJSON = False) -> None:
    """List the measures, or tell everything about one.

    Parameters
    ----------
    name
        A measure.
    """
    if name is not None:
        print(_json(facts_of(name)) if json else description_of(name))
        return
    rows = [facts_of(each) for each in measures()]
    if json:
        print(_json(rows))
        return
    groups = {"PT": "permutation", "OT": "orthogonal", "IS": "isotropic scaling", "ILT": "invertible linear"}
    groups["TR"] = "translation"
    name_column = Column("measure", no_wrap=True, overflow="ignore")
    table = Table(name_column, "family", "kind", "range", *groups, box=None, pad_edge=False)
    for row in sorted(rows, key=lambda row: row["family"]):
        low, high = row["bounds"]
        marks = ["✓" if group in row["unchanged_by"] else "·" for group in groups.values()]
        table.add_row(row["name"], row["family"], row["kind"], f"{low:.3g} … {high:.3g}", *marks)
    console = _console()
    console.print(table)
    legend = ", ".join(f"{short} {group}" for short, group in groups.items())
    console.print(f"\n✓ unchanged by transformations of the features: {legend}", highlight=False)


def _console() -> Console:
    """Return where to print: as wide as the terminal, and wider where output goes to a file."""
    console = Console()
    return console if console.is_terminal else Console(width=_PIPED_WIDTH)


def _json(value: object) -> str:
    return json.dumps(_finite(value), indent=2, default=str, allow_nan=False)


def _finite(value: Any) -> Any:
    """Write numbers JSON does not have, such as an infinite SNR, as text."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _require_study() -> None:
    """Fail with the extra to install before a chain of imports does with less to say."""
    for module in ("jax", "equinox", "optax", "pydantic", "xarray", "zarr", "sklearn", "filelock", "psutil"):
        require(module, extra="study", purpose="running a study")


def _parse_overrides(tokens: Sequence[str]) -> dict[str, Any]:
    """Turn ``--grid.members 16 --seed=3`` into a dictionary; values are TOML, anything else is text."""
    found: dict[str, Any] = {}
    rest = list(tokens)
    while rest:
        token = rest.pop(0)
        if not token.startswith("--"):
            raise ConsilienceError(f"{token!r}: expected an option that begins with --, such as --grid.members 16")
        key, equals, value = token.removeprefix("--").partition("=")
        if not equals:
            if not rest or rest[0].startswith("--"):
                raise ConsilienceError(f"--{key}: needs a value, as in --{key} 16")
            value = rest.pop(0)
        found[key] = _toml_value(value)
    return found


def _check_figure(path: Path) -> None:
    """Refuse a file that could not be written before anything is computed for it."""
    if path.suffix.lower() not in _FIGURES:
        raise ConsilienceError(f"--figure {path}: give a file that ends in {', '.join(_FIGURES)}")
    if not path.parent.is_dir():
        raise ConsilienceError(f"--figure {path}: there is no folder {path.parent}; make it first")


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _first_comment(path: Path) -> str:
    lines = path.read_text(encoding="utf-8").splitlines()
    comment: list[str] = []
    for line in lines:
        if not line.startswith("#"):
            break
        comment.append(line.removeprefix("#").strip())
    return " ".join(comment)


class _Rate(ProgressColumn):
    """Networks per second since the run began."""

    def __init__(self, members: int) -> None:
        super().__init__()
        self.members = members

    def render(self, task: Task) -> Text:
        """Return e.g. ``12.3 networks/s``."""
        rate = self.members * (task.speed or 0.0)
        return Text(f"{rate:.1f} networks/s" if rate else "compiling")


class _Bar:
    """Progress of a run on standard error."""

    def __init__(self, members: int, *, quiet: bool) -> None:
        console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("cells"),
            BarColumn(),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            _Rate(members),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=console,
            disable=quiet or not console.is_terminal,
            speed_estimate_period=600,
        )
        self._task: Any = None

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def __call__(self, done: int, total: int) -> None:
        if self._task is None:
            self._progress.start()
            self._task = self._progress.add_task("cells", total=total, completed=done)
        self._progress.update(self._task, completed=done)


def _write_report(dataset: xr.Dataset, folder: Path) -> Path | None:
    """Write the report, or say what to install: the results themselves do not depend on it."""
    try:
        from consilience.report import write_report

        return write_report(dataset, folder / "report.html")
    except ImportError as error:
        print(f"consilience: the run is complete, but has no report: {error}", file=sys.stderr)
        return None


def _print_plan(plan: Plan, estimate: Estimate, starting: float, *, as_json: bool) -> None:
    template = plan.template()
    study = plan.study
    data = json.loads(template.attrs["data"])
    parameters = sorted({int(n) for n in template["n_parameters"].values.ravel()})
    facts = {
        "name": study.name,
        "data": f"{data['source']}: {data['n_features']} inputs, {data['n_outputs']} outputs, "
        f"pool of {data['n_pool']}, {data['n_test']} test and {data['n_probe']} probe samples",
        "snr": list(study.grid.snr),
        "n_train": list(study.grid.n_train),
        **{key: list(values) for key, values in study.grid.axes.items()},
        "members": study.grid.members,
        "networks": estimate.networks,
        "parameters": parameters if any(parameters) else "known to the trainer alone",
        "layers": list(plan.layers),
        "measures": [measure.label for measure in study.measure.measures],
        "seconds": round(starting + estimate.seconds, 1),
        "of them": f"starting {starting:.1f}, compiling {estimate.compiling:.1f}, training {estimate.training:.1f}, "
        f"measuring {estimate.measuring:.1f}",
        "memory_mib": round(estimate.memory_bytes / 2**20),
    }
    if as_json:
        print(_json(facts))
        return
    table = Table(show_header=False, box=None, pad_edge=False)
    for key, value in facts.items():
        shown = (
            ", ".join(f"{v:g}" if isinstance(v, float) else str(v) for v in value) if isinstance(value, list) else value
        )
        table.add_row(key, str(shown))
    Console().print(table)


def _print_results(dataset: xr.Dataset, folder: Path, report_path: Path | None, *, as_json: bool) -> None:
    from consilience.claims import evaluate
    from consilience.facts import interpolation_threshold, lowest_alignment, sentences, summary_table

    summary, verdicts = summary_table(dataset), evaluate(dataset)
    if as_json:
        rows = [dict(zip(summary.columns, row, strict=True)) for row in summary.rows]
        found: dict[str, Any] = {"run": str(folder), "report": report_path and str(report_path), "title": summary.title}
        found["verdicts"] = [asdict(verdict) for verdict in verdicts]
        found["lowest"] = [asdict(low) for low in lowest_alignment(dataset)]
        found["thresholds"] = [asdict(threshold) for threshold in interpolation_threshold(dataset)]
        print(_json({**found, "table": rows, "facts": sentences(dataset)}))
        return
    console = _console()
    table = Table(*summary.columns, title=summary.title, box=None, title_justify="left", pad_edge=False)
    for row in summary.rows:
        table.add_row(*row)
    console.print(table)
    for verdict in verdicts:
        console.print(f"\n[bold]{escape(verdict.heading)}[/bold]\n{escape(verdict.sentence)}", highlight=False)
    console.print()
    for sentence in sentences(dataset):
        console.print(f"• {sentence}", highlight=False)
    console.print(f"\nresults  {folder}\nreport   {report_path or 'none'}", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()

"""What the report shows, as plain values: the run's data for the charts and the words around them."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from consilience.claims import Verdict, evaluate
from consilience.facts import (
    across_keys,
    across_sentences,
    across_table,
    combinations,
    extra_axes,
    first_selection,
    is_distance,
    number_text,
    regime_sentence,
    run_sentences,
    sampling_sentence,
    selection_sentences,
    selections,
    summary_table,
    unfinished_sentence,
)
from consilience.facts.language import counted
from consilience.figures import (
    across_matrix_data,
    alignment_curve_data,
    errors_data,
    generalization_data,
    theory_data,
    threshold_data,
    trajectory_data,
)
from consilience.figures._style import score_label

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["chart_data", "page_words", "snr_texts"]

_SHOWN_FAILURES = 200
_LOST_MEMBER = re.compile(r"member \d+ (diverged|failed): ")
_LABELS = {
    "n_features": "features", "n_outputs": "outputs", "n_pool": "rows to train on", "n_test": "rows to test on",
    "n_probe": "probe inputs", "memory_gib": "memory (GiB)", "definition": "SNR is",
}  # fmt: skip


def snr_texts(ds: xr.Dataset) -> list[str]:
    """SNR as text, lowest first."""
    return [number_text(value) for value in np.sort(ds["snr"].values).tolist()]


def chart_data(ds: xr.Dataset) -> dict[str, Any]:
    """Everything the page's script needs: the choices, and the rows of every chart for every choice.

    Tables are columns of numbers rounded to five digits, null where there is none.
    """
    order = snr_texts(ds)
    shown = selections(ds) or [first_selection(ds)]
    first = first_selection(ds)
    places = combinations(ds)
    judged = {
        pair: evaluate(ds, layer=pair[0], measure=pair[1]) for pair in {(item.layer, item.measure) for item in shown}
    }
    return {
        "snr": order,
        "axes": list(extra_axes(ds)),
        "first": shown.index(first),
        "selections": [
            {
                "choice": [item.layer, item.measure, *(number_text(value) for value in item.at.values())],
                "place": places.index(dict(item.at)),
                "score": score_label(ds, item),
                "distance": is_distance(ds, item.measure),
                "verdicts": [
                    _verdict(one) for one in judged[item.layer, item.measure] if one.at in ({}, dict(item.at))
                ],
                "sentences": selection_sentences(ds, item),
                "alignment": _columns(alignment_curve_data(ds, item), _ALIGNMENT),
                "generalization": _columns(generalization_data(ds, item), _GENERALIZATION),
                "theory": _columns(theory_data(ds, item), _ALIGNMENT),
                "trajectory": _columns(trajectory_data(ds, item), _TRAJECTORY),
            }
            for item in shown
        ],
        "places": [_place(ds, at, order) for at in places],
        "variants": _columns(across_matrix_data(ds), _VARIANTS) if across_keys(ds) else None,
    }


def _verdict(one: Verdict) -> dict[str, str]:
    """A verdict as the page shows it; the place along further axes is what the page is set to."""
    return {"claim": one.claim, "verdict": one.verdict, "title": one.title, "sentence": one.sentence}


_ALIGNMENT = (
    "snr_text", "n_train", "mean", "se", "low", "high", "pairs_low", "pairs_high", "predicted", "n_members", "n_pairs",
)  # fmt: skip
_GENERALIZATION = ("snr_text", "n_train", "mean", "se", "test_error", "test_error_se")
_TRAJECTORY = (
    "snr_text", "n_train", "step", "mean", "se", "low", "high", "n_members", "n_pairs", "train_error", "test_error",
)  # fmt: skip
_VARIANTS = (
    "place", "variant_a", "variant_b", "layer_a", "layer_b", "mean", "se", "ceiling", "share", "dark",
)  # fmt: skip
_ERRORS = (
    "snr_text", "n_train", "test", "test_se", "test_low", "test_high", "train", "train_se", "predicted", "fitted",
    "n_members",
)  # fmt: skip


def _place(ds: xr.Dataset, at: Mapping[str, float | str], order: list[str]) -> dict[str, Any]:
    """What depends on the further axes only."""
    thresholds = threshold_data(ds, at)
    known = thresholds.dropna(subset=["last_fitted", "first_unfitted"])
    ranked = known.assign(rank=[order.index(text) for text in known["snr_text"]])
    return {
        "errors": _columns(_errors(ds, at), _ERRORS),
        "thresholds": _columns(ranked, ("snr_text", "last_fitted", "first_unfitted", "rank")),
    }


def _errors(ds: xr.Dataset, at: Mapping[str, float | str]) -> pd.DataFrame:
    """Training and test error of a cell in one row."""
    data = errors_data(ds, at).drop(columns=list(at))
    test, train = (data[data["set"] == which].drop(columns="set") for which in ("test", "train"))
    test = test.rename(columns={"mean": "test", "se": "test_se", "low": "test_low", "high": "test_high"})
    train = train.rename(columns={"mean": "train", "se": "train_se"})
    keys = ["snr_text", "n_train"]
    return test.merge(train[[*keys, "train", "train_se"]], on=keys, how="left")


def _columns(frame: pd.DataFrame, names: tuple[str, ...]) -> dict[str, list[Any]]:
    if len(frame) == 0:
        return {name: [] for name in names}
    return {name: [_plain(value) for value in frame[name].tolist()] for name in names}


def _plain(value: Any) -> Any:
    """A value as JSON has it: five digits, null for what is not a number."""
    if isinstance(value, float):
        return float(f"{value:.5g}") if math.isfinite(value) else None
    return value


def page_words(ds: xr.Dataset) -> dict[str, Any]:
    """The words and tables of the page, ready for the template."""
    attrs, table = ds.attrs, summary_table(ds)
    failures = _failures(ds)
    return {
        "name": attrs["name"],
        "lead": _lead(ds),
        "not_finished": unfinished_sentence(ds),
        "run_sentences": run_sentences(ds),
        "table": table,
        "across": across_table(ds) if across_keys(ds) else None,
        "across_sentences": across_sentences(ds),
        "sampling": sampling_sentence(ds),
        "theory_notes": [note for note in (attrs["theory"], regime_sentence(ds)) if note],
        "study": attrs["study"],
        "data": _described(json.loads(attrs["data"])),
        "noise": _described(json.loads(attrs["noise"])),
        "versions": _described(json.loads(attrs["versions"])),
        "hardware": _described(json.loads(attrs["hardware"])),
        "provenance": _described(
            {
                "seed": str(attrs["seed"]),
                "created": attrs["created"],
                "wall time": str(timedelta(seconds=round(float(attrs["wall_seconds"])))),
                "alignment": attrs["alignment_convention"],
            }
        ),
        "failure_columns": ("SNR", "n_train", *extra_axes(ds), "member", "step", "why"),
        "failures": failures[:_SHOWN_FAILURES],
        "n_failures": len(failures),
        "notes": _notes(ds),
        "unfinished": _unfinished(ds),
    }


def _lead(ds: xr.Dataset) -> str:
    """One line under the title: what was run."""
    parameters = ds["n_parameters"].values[ds["done"].values]
    size = ""
    if parameters.any():  # 0: those of a trainer, which nothing here counts
        low, high = int(parameters.min()), int(parameters.max())
        size = f" with {low:,}" + (f" to {high:,}" if high > low else "") + " parameters"
    cells = ds["done"].size
    where = f"in each of {cells} cells" if cells > 1 else "in the only cell"
    sizes = counted(ds.sizes["n_train"], "size")
    return (
        f"{counted(ds.sizes['member'], 'network')}{size} {where}: {ds.sizes['snr']} SNR × {sizes} of training set"
        + "".join(f" × {counted(ds.sizes[name], 'value')} of {name}" for name in extra_axes(ds))
        + f". {str(ds.attrs['task']).capitalize()}."
    )


def _described(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Names and values as people read them; what is empty is left out."""
    pairs = ((_LABELS.get(name, name.replace("_", " ")), _text(value)) for name, value in values.items())
    return [(name, text) for name, text in pairs if text]


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_text(item)}" for name, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_text(item) for item in value)
    if isinstance(value, int | float):
        return f"{value:,}" if isinstance(value, int) else f"{value:,.6g}"
    return str(value)


def _failures(ds: xr.Dataset) -> list[tuple[str, ...]]:
    """A row for every member without a network: where, which member, at which step if it diverged, and why."""
    names = ("snr", "n_train", *extra_axes(ds), "member")
    steps: Any = ds["diverged_at"].transpose(*names).values
    # Runs written before reasons were kept know of divergence alone.
    reasons: Any = ds["failure"].transpose(*names).values if "failure" in ds else np.where(steps >= 0, "diverged", "")
    return [
        (
            *(number_text(ds[name].values.tolist()[i]) for name, i in zip(names, index, strict=True)),
            str(steps[index]) if steps[index] >= 0 else "–",
            str(reasons[index]),
        )
        for index in zip(*np.nonzero((steps >= 0) | (reasons != "")), strict=True)
    ]


def _notes(ds: xr.Dataset) -> list[tuple[str, int]]:
    """Every reason for a missing score that is not a lost member, with the number of cells it was given in."""
    names = ("note", "note_across") if across_keys(ds) else ("note",)
    notes = [note for name in names for note in ds[name].values.ravel().tolist()]
    lines = [line for note in notes for line in dict.fromkeys(note.splitlines())]
    return list(Counter(line for line in lines if not _LOST_MEMBER.match(line)).items())


def _unfinished(ds: xr.Dataset) -> list[str]:
    """The cells that are not done, as text."""
    names = ("snr", "n_train", *extra_axes(ds))
    done: Any = ds["done"].transpose(*names)
    return [
        ", ".join(
            f"{'SNR' if name == 'snr' else name} = {number_text(ds[name].values.tolist()[i])}"
            for name, i in zip(names, index, strict=True)
        )
        for index in zip(*np.nonzero(~done.values), strict=True)
    ]

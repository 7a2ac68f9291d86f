"""C4: the claims about one run, over several."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from consilience._catalogue import suggestion
from consilience.claims.registry import evaluate
from consilience.claims.verdict import LEVEL, Verdict, p_text
from consilience.errors import ConsilienceError
from consilience.facts.curves import selection_text
from consilience.facts.language import joined
from consilience.stats import adjust

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["KINDS", "across", "kinds"]

KINDS = {
    "network": ("linear", "nonlinear"),
    "task": ("regression", "classification"),
    "data": ("synthetic", "real"),
}
"""What the runs must cover."""


def across(runs: Mapping[str, xr.Dataset], names: tuple[str, ...] = ("C1", "C2", "C3"), *, title: str = "") -> Verdict:
    """Judge whether claims hold in every kind of network, task and data (C4).

    Supported: `runs` cover every kind of `KINDS`, and every claim is supported in every run. All of them must be,
    so p is the largest of theirs and needs no correction. Contradicted: some claim is contradicted in some run, after
    Holm's correction for all of them. Otherwise inconclusive; `reason` says which kinds are missing.

    Parameters
    ----------
    runs
        Runs by name. Combinations of further axes count as runs of their own.
    names
        Claims that must hold.
    title
        What is claimed; by default that of C4.

    Raises
    ------
    ConsilienceError
        Without a run.
    """
    given: Any = runs
    if not isinstance(given, Mapping):
        raise ConsilienceError(f"runs is a {type(given).__name__}: give a dictionary of runs by name")
    if not runs:
        raise ConsilienceError("no run is given: C4 compares several")
    found = [
        (f"{verdict.claim} in {_named(name, verdict)}", verdict)
        for name, run in runs.items()
        for verdict in evaluate(run, names)
    ]
    title = title or "The same holds in linear and nonlinear networks, regression and classification, any data"
    against = adjust([one.p if one.verdict == "contradicted" else 1.0 for _, one in found])
    refuted = [name for (name, _), p in zip(found, against, strict=True) if p < 1 - LEVEL]
    undecided = [name for name, one in found if one.verdict != "supported" and name not in refuted]
    missing = _missing(runs)
    supported = sum(one.verdict == "supported" for _, one in found)
    counted = f"{supported} of {len(found)} verdicts are supported"
    if refuted:
        p = float(np.min(against))
        return Verdict(
            "contradicted", f"{counted}; {joined(refuted)} {_is(refuted)} contradicted ({p_text(p)}).", p=p,
            claim="C4", title=title,
        )  # fmt: skip
    p = float(np.max([np.nan_to_num(one.p, nan=1.0) for _, one in found]))
    reason = f"needs a run with {joined(missing)}" if missing else ""
    if undecided or missing:
        rest = [f"{joined(undecided)} {_is(undecided)} not"] if undecided else []
        rest += [reason] if reason else []
        return Verdict("inconclusive", f"{'; '.join([counted, *rest])}.", p=p, reason=reason, claim="C4", title=title)
    return Verdict("supported", f"{counted} ({p_text(p)}).", p=p, claim="C4", title=title)


def _named(name: str, verdict: Verdict) -> str:
    return f"{name} ({selection_text(verdict.at)})" if verdict.at else name


def _is(items: list[str]) -> str:
    return "is" if len(items) == 1 else "are"


def _missing(runs: Mapping[str, xr.Dataset]) -> list[str]:
    there = {(what, one) for run in runs.values() for what, one in kinds(run).items()}
    needed = [(what, one) for what, both in KINDS.items() for one in both]
    return [f"{one} {what}" if what != "task" else one for what, one in needed if (what, one) not in there]


def kinds(run: xr.Dataset) -> dict[str, str]:
    """Which of `KINDS` a run is."""
    from consilience.data import SOURCES, SyntheticSource

    network = tomllib.loads(run.attrs["study"]).get("network", {}).get("kind")
    source = json.loads(run.attrs["data"])["source"]
    known = SOURCES.get(source)
    if known is None:
        raise ConsilienceError(f"data source {source!r} of a run is not registered: {suggestion(source, SOURCES)}")
    return {
        "network": "linear" if network == "linear" else "nonlinear",
        "task": str(run.attrs["task"]),
        "data": "synthetic" if issubclass(known, SyntheticSource) else "real",
    }

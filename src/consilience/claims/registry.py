"""The claims there are, the user's own among them, and their evaluation in a run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from consilience._catalogue import Catalogue
from consilience.claims.verdict import Verdict
from consilience.facts.curves import Selection, check_selection, combinations, headline

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["CLAIMS", "Claim", "claim", "evaluate", "register_claim"]


@runtime_checkable
class Claim(Protocol):
    """Anything with an id, a title and a judgement.

    `evaluate` receives a run narrowed to one layer and one measure. With an attribute ``each_combination = True`` it
    is asked once for every combination of the further axes, and receives a run without them.
    """

    @property
    def id(self) -> str:
        """Short name, such as ``C1``."""
        ...

    @property
    def title(self) -> str:
        """What is claimed, in a few words."""
        ...

    def evaluate(self, dataset: xr.Dataset, /) -> Verdict:
        """Judge a run."""
        ...


CLAIMS: Catalogue[Claim] = Catalogue("claim")
"""Every claim by its id."""

Judge = Callable[["xr.Dataset"], Verdict]


@dataclass(frozen=True)
class _FunctionClaim:
    id: str
    title: str
    judge: Judge
    each_combination: bool

    def evaluate(self, dataset: xr.Dataset, /) -> Verdict:
        return self.judge(dataset)


def register_claim(one: Claim) -> Claim:
    """List a claim in `CLAIMS` under its id, so that every run is asked about it."""
    return CLAIMS.register(one.id, one)


def claim(id: str, title: str, *, each_combination: bool = False) -> Callable[[Judge], Judge]:
    """Register a function of a run as a claim.

    Parameters
    ----------
    id, title
        Name and statement.
    each_combination
        Ask about every combination of the further axes on its own.

    Examples
    --------
    ::

        @claim("finished", "Every cell is finished")
        def finished(dataset):
            share = float(dataset["done"].mean())
            return Verdict("supported" if share == 1 else "inconclusive", f"{share:.0%} of the cells are finished.")
    """

    def add(judge: Judge) -> Judge:
        register_claim(_FunctionClaim(id, title, judge, each_combination))
        return judge

    return add


def evaluate(
    dataset: xr.Dataset,
    names: Iterable[str] | None = None,
    *,
    layer: str | None = None,
    measure: str | None = None,
) -> list[Verdict]:
    """Judge claims in a run.

    Parameters
    ----------
    dataset
        A run, finished or not.
    names
        Ids of `CLAIMS`; all by default.
    layer, measure
        Where; by default what `consilience.facts.headline` gives.

    Returns
    -------
    list of Verdict
        In the order of the combinations of the further axes, then of the claims. Nothing is drawn at random: the
        same run gives the same verdicts.

    Raises
    ------
    UnknownNameError
        For an unknown claim, layer or measure.
    """
    default_layer, default_measure = headline(dataset)
    layer, measure = layer or default_layer, measure or default_measure
    places = combinations(dataset)
    check_selection(dataset, Selection(layer, measure, places[0]))
    narrowed = dataset.sel(layer=[layer], measure=[measure])
    asked = [CLAIMS[name] for name in (CLAIMS if names is None else names)]
    found: list[Verdict] = []
    for at in places:
        here = narrowed.sel(at, drop=True).assign_attrs(axes="[]")
        found += [
            _named(one, one.evaluate(here), layer, measure, at) for one in asked if at == {} or _each_combination(one)
        ]
    if places != [{}]:
        found += [
            _named(one, one.evaluate(narrowed), layer, measure, {}) for one in asked if not _each_combination(one)
        ]
    return found


def _each_combination(one: Claim) -> bool:
    return bool(getattr(one, "each_combination", False))


def _named(one: Claim, verdict: Verdict, layer: str, measure: str, at: dict[str, float | str]) -> Verdict:
    return dataclasses.replace(verdict, claim=one.id, title=one.title, layer=layer, measure=measure, at=at)

"""What a claim says about a run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from consilience.facts.curves import AxisValue, number_text, selection_text

__all__ = ["LEVEL", "Outcome", "Quantity", "Verdict", "interval_text", "p_text"]

Outcome = Literal["supported", "contradicted", "inconclusive"]
LEVEL = 0.95
"""Coverage of the intervals; a verdict other than inconclusive is wrong in at most 5 % of runs."""


@dataclass(frozen=True)
class Quantity:
    """A number with its interval."""

    name: str
    value: float
    low: float = float("nan")
    """Ends of the interval; NaN where there is none."""
    high: float = float("nan")

    @property
    def text(self) -> str:
        """``name value (low to high)``.

        >>> Quantity("rise", 0.321, 0.27, 0.368).text
        'rise 0.321 (0.270 to 0.368)'
        """
        return f"{self.name} {interval_text(self.value, self.low, self.high)}"


@dataclass(frozen=True)
class Verdict:
    """The outcome of one claim in one run, with the numbers it rests on."""

    verdict: Outcome
    """"supported" or "contradicted" on evidence, else "inconclusive"."""
    sentence: str
    """One plain sentence or two, with the numbers."""
    effect: Quantity | None = None
    """What the verdict turns on; None when the claim cannot be tested."""
    p: float = float("nan")
    """Of the opposite of what the verdict says; when inconclusive, of the opposite of the claim. Corrected for every
    choice that was made, and for both directions where both are looked for. NaN when the claim cannot be tested."""
    cells: tuple[tuple[float, int], ...] = ()
    """(SNR, n_train) of the cells the verdict rests on."""
    further: tuple[Quantity, ...] = ()
    reason: str = ""
    """Why the claim cannot be tested in this run; empty when it can."""
    claim: str = ""
    """Its id. This and what follows is filled in by `consilience.claims.evaluate`."""
    title: str = ""
    layer: str = ""
    measure: str = ""
    at: Mapping[str, AxisValue] = field(default_factory=dict[str, AxisValue])
    """Values of the further axes of the grid."""

    @property
    def heading(self) -> str:
        """One line: ``C1 supported: Alignment grows monotonically with SNR``, and where along further axes."""
        where = f" ({selection_text(self.at)})" if self.at else ""
        return f"{self.claim} {self.verdict}: {self.title}{where}"

    @classmethod
    def untested(cls, reason: str) -> Verdict:
        """A claim this run cannot speak about; `reason` goes on from "it" or names what is needed."""
        return cls("inconclusive", f"Not tested: {reason}.", reason=reason)


def interval_text(value: float, low: float, high: float) -> str:
    """A number with its interval, or alone.

    >>> interval_text(0.3214, 0.27, 0.368), interval_text(800, 400, float("inf")), interval_text(0.5, float("nan"), 1)
    ('0.321 (0.270 to 0.368)', '800 (400 to ∞)', '0.500')
    """
    whole = all(float(x).is_integer() or math.isinf(x) for x in (value, low, high)) and abs(value) > 1
    shown = [number_text(x) if whole or math.isinf(x) else f"{x:.3f}" for x in (value, low, high)]
    return shown[0] if math.isnan(low) or math.isnan(high) else f"{shown[0]} ({shown[1]} to {shown[2]})"


def p_text(p: float) -> str:
    """A p-value in words.

    >>> p_text(0.012), p_text(1e-7), p_text(0.3)
    ('p = 0.012', 'p < 0.001', 'p = 0.3')
    """
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"

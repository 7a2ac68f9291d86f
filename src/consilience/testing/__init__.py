"""Conformance checks for measures, ours and third-party ones: `check_measure` runs them all."""

from __future__ import annotations

from consilience.testing.measures import MEASURE_CHECKS, check_measure, generic_pair, variants

__all__ = ["MEASURE_CHECKS", "check_measure", "generic_pair", "variants"]

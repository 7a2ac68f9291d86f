"""The report of a run: one HTML file that needs nothing else, online or off."""

from __future__ import annotations

from consilience.report.write import write_report

__all__ = ["write_report"]

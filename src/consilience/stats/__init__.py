"""Statistics: arrays in, NamedTuple out."""

from __future__ import annotations

from consilience.stats.members import Estimate, member_mean, pair_mean

__all__ = ["Estimate", "member_mean", "pair_mean"]

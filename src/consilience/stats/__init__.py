"""Statistics: arrays in, NamedTuple out."""

from __future__ import annotations

from consilience.stats.members import Estimate, member_mean, pair_mean
from consilience.stats.multiple import adjust
from consilience.stats.nonmonotonic import Bracket, Dip, fall_then_rise, lowest_candidates, median_bracket
from consilience.stats.replicates import Effect, Replicates, contrast, jackknife, member_replicates, pair_replicates
from consilience.stats.trends import Trend, ordered_trend, ordered_weights, partial_rank_correlation

__all__ = [
    "Bracket",
    "Dip",
    "Effect",
    "Estimate",
    "Replicates",
    "Trend",
    "adjust",
    "contrast",
    "fall_then_rise",
    "jackknife",
    "lowest_candidates",
    "median_bracket",
    "member_mean",
    "member_replicates",
    "ordered_trend",
    "ordered_weights",
    "pair_mean",
    "pair_replicates",
    "partial_rank_correlation",
]

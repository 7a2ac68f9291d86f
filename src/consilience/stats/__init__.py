"""Statistics: arrays in, NamedTuple out."""

from __future__ import annotations

from consilience.stats.ceiling import Ceiling, noise_ceiling
from consilience.stats.interval import Interval, interval
from consilience.stats.layers import LayerTest, layer_max_test
from consilience.stats.members import Estimate, member_mean, pair_mean
from consilience.stats.multiple import adjust
from consilience.stats.nonmonotonic import Bracket, Dip, fall_then_rise, lowest_candidates, median_bracket
from consilience.stats.permutation import PermutationTest, permutation_test
from consilience.stats.replicates import (
    Effect,
    Replicates,
    contrast,
    jackknife,
    member_replicates,
    p_not_both,
    pair_replicates,
)
from consilience.stats.sampling import CrossValidated, Enough, Stability, cross_validated, enough, stability
from consilience.stats.trends import Trend, ordered_trend, ordered_weights, partial_rank_correlation

__all__ = [
    "Bracket",
    "Ceiling",
    "CrossValidated",
    "Dip",
    "Effect",
    "Enough",
    "Estimate",
    "Interval",
    "LayerTest",
    "PermutationTest",
    "Replicates",
    "Stability",
    "Trend",
    "adjust",
    "contrast",
    "cross_validated",
    "enough",
    "fall_then_rise",
    "interval",
    "jackknife",
    "layer_max_test",
    "lowest_candidates",
    "median_bracket",
    "member_mean",
    "member_replicates",
    "noise_ceiling",
    "ordered_trend",
    "ordered_weights",
    "p_not_both",
    "pair_mean",
    "pair_replicates",
    "partial_rank_correlation",
    "permutation_test",
    "stability",
]

"""What is seen in a run, as numbers and in plain words: pure functions over its Dataset.

Alignment is always spoken of in one direction: for a distance the *largest* value is the lowest alignment.
"""

from __future__ import annotations

from consilience.facts.across import BestLayers, across_keys, across_sentences, across_table, best_layers, layer_means
from consilience.facts.curves import (
    Selection,
    alignment_estimate,
    cell_replicates,
    combinations,
    extra_axes,
    first_selection,
    headline,
    is_distance,
    number_text,
    selection_text,
    selections,
)
from consilience.facts.lowest import Lowest, lowest_alignment
from consilience.facts.regimes import regime_sentence
from consilience.facts.table import Table, summary_table
from consilience.facts.threshold import Threshold, interpolation_threshold
from consilience.facts.words import (
    run_sentences,
    sampling_sentence,
    selection_sentences,
    sentences,
    unfinished_sentence,
)

__all__ = [
    "BestLayers",
    "Lowest",
    "Selection",
    "Table",
    "Threshold",
    "across_keys",
    "across_sentences",
    "across_table",
    "alignment_estimate",
    "best_layers",
    "cell_replicates",
    "combinations",
    "extra_axes",
    "first_selection",
    "headline",
    "interpolation_threshold",
    "is_distance",
    "layer_means",
    "lowest_alignment",
    "number_text",
    "regime_sentence",
    "run_sentences",
    "sampling_sentence",
    "selection_sentences",
    "selection_text",
    "selections",
    "sentences",
    "summary_table",
    "unfinished_sentence",
]

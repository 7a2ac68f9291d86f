"""Claims about a run, each judged from its numbers: supported, contradicted or inconclusive.

``evaluate(run)`` judges them all. What a verdict is about: the networks of an ensemble that differ by noise,
initialization and batches, given the one draw of training and probe inputs of that run. Another draw of inputs may
move curves by more than the intervals say; a study with several seeds shows by how much.
"""

from __future__ import annotations

from consilience.claims.across import KINDS, across, kinds
from consilience.claims.registry import CLAIMS, Claim, claim, evaluate, register_claim
from consilience.claims.verdict import LEVEL, Outcome, Quantity, Verdict, p_text

# In this order, which is that of the verdicts: importing a file registers its claim.
from consilience.claims.snr import grows_with_snr  # isort: skip
from consilience.claims.size import dips_at_the_threshold  # isort: skip
from consilience.claims.generalization import alignment_is_not_generalization  # isort: skip
from consilience.claims.prediction import theory_predicts  # isort: skip

__all__ = [
    "CLAIMS",
    "KINDS",
    "LEVEL",
    "Claim",
    "Outcome",
    "Quantity",
    "Verdict",
    "across",
    "alignment_is_not_generalization",
    "claim",
    "dips_at_the_threshold",
    "evaluate",
    "grows_with_snr",
    "kinds",
    "p_text",
    "register_claim",
    "theory_predicts",
]

"""What a measure says of itself, for people and for programs."""

from __future__ import annotations

import inspect
from typing import Any

from consilience.registry import Invariance, get_measure

__all__ = ["description_of", "facts_of"]


def facts_of(name: str) -> dict[str, Any]:
    """Return everything that the measure `name` declares."""
    measure = get_measure(name)
    return {
        "name": measure.name,
        "title": measure.title,
        "family": measure.family.value,
        "kind": measure.kind.value,
        "bounds": measure.bounds,
        "symmetric": measure.symmetric,
        "invariances": sorted(invariance.value for invariance in measure.invariances),
        "unchanged_by": [invariance.value for invariance in Invariance if measure.invariant_to(invariance)],
        "options": measure.options,
        "aliases": sorted(measure.aliases),
        "cost": measure.cost,
        "use": measure.use,
        "avoid": measure.avoid,
        "differentiable": measure.differentiable,
        "streams": measure.streams,
        "outputs_only": measure.outputs_only,
        "needs_classes": measure.needs_classes,
        "needs_targets": measure.needs_targets,
        "min_samples": measure.min_samples,
        "reference": measure.reference,
    }


def description_of(name: str) -> str:
    """Return everything about the measure `name`, to read: its documentation, then what it declares."""
    facts = facts_of(name)
    low, high = facts["bounds"]
    shown: dict[str, str] = {
        "use": facts["use"],
        "avoid": facts["avoid"],
        "kind": facts["kind"] + ("" if facts["symmetric"] else ", not symmetric"),
        "range": f"{low:.3g} … {high:.3g}",
        "invariant under": ", ".join(facts["invariances"]) or "none of the usual groups",
        "cost": facts["cost"],
        "needs": f"at least {facts['min_samples']} samples"
        + (", outputs of equal width" if facts["outputs_only"] else "")
        + (" that mean classes" if facts["needs_classes"] else "")
        + (", the true classes (targets=)" if facts["needs_targets"] else ""),
        "differentiable": "yes" if facts["differentiable"] else "no",
        "streams": "yes" if facts["streams"] else "no",
        "other names": ", ".join(f"{alias} = {get_measure(alias).label}" for alias in facts["aliases"]) or "none",
    }
    documentation = inspect.getdoc(type(get_measure(name))) or ""
    return "\n".join([documentation, "", *(f"{key:<15}  {value}" for key, value in shown.items())])

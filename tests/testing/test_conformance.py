"""Every registered measure, in every variant, passes every conformance check; wrong measures do not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from consilience import Family, Invariance, Kind, Measure, get_measure, measures
from consilience.testing import MEASURE_CHECKS, check_measure, generic_pair, variants
from consilience.testing.libraries import LIBRARIES, check_agreement

VARIANTS = [variant for measure in measures().values() for variant in variants(measure)]


@pytest.mark.parametrize("check", MEASURE_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("measure", VARIANTS, ids=lambda measure: measure.label)
def test_measure_conforms(measure, check):
    check(measure)


@dataclass(frozen=True)
class Plain(Measure):
    """Frobenius correlation.

    Σ xᵢⱼyᵢⱼ for x and y, both (n, d), centred and of unit norm::

        <x, y>

    References
    ----------
    None.

    >>> Plain().label
    'plain'
    """

    title = "Plain"
    reference = "none"
    family = Family.FUNCTIONAL
    cost = "O(n d)"
    use = "In these tests."
    avoid = "Anywhere else."
    kind = Kind.SIMILARITY
    bounds = (-1.0, 1.0)
    symmetric = True
    outputs_only = True
    differentiable = True
    invariances = frozenset({Invariance.TRANSLATION, Invariance.ISOTROPIC_SCALING})

    def prepare(self, x):
        x = x - x.mean(0)
        x = x / max(np.abs(x).max(), 1e-300)
        return x / max(np.sqrt((x * x).sum()), 1e-300)

    def compare(self, a, b):
        return (a * b).sum()

    def degenerate(self, state):
        return None if np.abs(state - state[0]).max() > 1e-12 else "every output is constant"


def failing(**changes):
    return type("Changed", (Plain,), {"__doc__": Plain.__doc__, **changes})()


def checks_failed_by(measure):
    failed = set()
    for check in MEASURE_CHECKS:
        if check.__name__ in ("check_libraries", "check_gradients"):
            continue  # this measure is written for NumPy alone
        try:
            check(measure)
        except AssertionError:
            failed.add(check.__name__)
    return failed


def writes_to_its_input(self, x):
    state = Plain.prepare(self, x)
    x += 1
    return state


def without_centring(self, x):
    return x / np.sqrt((x * x).sum())


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, set()),
        ({"title": ""}, {"check_facts"}),
        ({"__doc__": "Nothing."}, {"check_facts"}),
        ({"invariances": frozenset({Invariance.TRANSLATION})}, {"check_invariances"}),
        ({"invariances": Plain.invariances | {Invariance.PERMUTATION}}, {"check_invariances"}),
        ({"symmetric": False}, {"check_symmetry"}),
        ({"compare": lambda self, a, b: (a * b).sum() * a[0, 0] * 9}, {"check_symmetry", "check_identical"}),
        ({"bounds": (0.0, 1.0)}, {"check_bounds"}),
        ({"compare": lambda self, a, b: 0.9 * (a * b).sum()}, {"check_identical"}),
        ({"kind": Kind.DISTANCE}, {"check_identical"}),
        ({"compare": lambda self, a, b: (a * b).sum() + np.random.default_rng().random()}, {"check_pure"}),
        ({"prepare": writes_to_its_input}, {"check_pure"}),
        ({"compare_all": lambda self, states: np.eye(len(states))}, {"check_pairwise", "check_degenerate"}),
        ({"prepare": without_centring}, {"check_invariances", "check_precision"}),
        (
            {"prepare": lambda self, x: Plain.prepare(self, (x.astype(np.float32) * np.float32(0.3)).astype(float))},
            {"check_precision"},
        ),
        ({"degenerate": lambda self, state: None}, {"check_degenerate"}),
    ],
    # Named by what is expected, sorted: functions and sets print differently in each test process.
    ids=lambda value: ",".join(sorted(value)) or "nothing",
)
def test_wrong_measures_are_caught(changes, expected):
    measure = failing(**changes)
    failed = checks_failed_by(measure)
    assert failed >= expected
    if not expected:
        assert not failed


def test_check_measure_runs_everything():
    check_measure(get_measure("output_correlation"))
    with pytest.raises(AssertionError):
        check_measure(failing(symmetric=False))


@pytest.mark.parametrize("library", [name for name in LIBRARIES if name != "jax"])
def test_a_measure_that_leaves_its_library_is_caught(library):
    x, y = generic_pair(Plain())
    leaves = type("Leaves", (Plain,), {"__call__": lambda self, x, y, targets=None: np.asarray(0.5)})()
    with pytest.raises(AssertionError, match="ndarray"):
        check_agreement(leaves, x, y, 0.5)


def test_variants_are_all_combinations_a_measure_accepts():
    labels = [variant.label for variant in variants(measures()["cka"])]
    assert len(labels) == len(set(labels)) == 3 * 4 - 2  # depcols has the linear kernel only
    assert all(get_measure(label).label == label for label in labels)

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.optimize import linprog

from consilience import (
    ConsilienceError,
    DegenerateWarning,
    Invariance,
    Kind,
    UnknownNameError,
    get_measure,
    pairwise,
)
from consilience.measures._transport import transport_edges, transport_plan
from consilience.measures.correlation_matching import CorrelationMatching
from consilience.measures.soft_matching import SoftMatching
from consilience.measures.subspace_match import SubspaceMatch
from consilience.testing import check_measure

RNG = np.random.default_rng


def related(n=60, p=4, q=6, seed=0, noise=1.0):
    rng = RNG(seed)
    x = rng.standard_normal((n, p)) + 3
    return x, x @ rng.standard_normal((p, q)) + noise * rng.standard_normal((n, q))


def correlations(x, y):
    return np.array([[np.corrcoef(a, b)[0, 1] for b in y.T] for a in x.T])


def whole_program(gain):
    """Largest mean gain over all plans, from the linear program with every edge."""
    p, q = gain.shape
    rows = sp.vstack([sp.kron(sp.eye(p), np.ones((1, q))), sp.kron(np.ones((1, p)), sp.eye(q))]).tocsr()
    masses = np.concatenate([np.full(p, 1 / p), np.full(q, 1 / q)])
    return -linprog(-gain.ravel(), A_eq=rows, b_eq=masses, method="highs").fun


# --- correlation matching


@pytest.mark.parametrize(("p", "q"), [(3, 5), (5, 3), (4, 4)])
def test_hard_matching_is_the_best_of_all_matchings(p, q):
    x, y = related(p=p, q=q)
    r = correlations(x, y)
    r = r if p <= q else r.T
    k = min(p, q)
    best = max(sum(r[i, m[i]] for i in range(k)) / k for m in itertools.permutations(range(max(p, q)), k))
    assert CorrelationMatching()(x, y) == pytest.approx(best, abs=1e-13)


def test_soft_matching_of_correlations_averages_the_best_partners_of_both_sides():
    x, y = related()
    r = correlations(x, y)
    expected = (np.mean([max(row) for row in r]) + np.mean([max(column) for column in r.T])) / 2
    assert CorrelationMatching(matching="soft")(x, y) == pytest.approx(expected, abs=1e-13)


def test_correlations_are_signed():
    x = RNG(0).standard_normal((50, 1))
    for matching in ("hard", "soft"):
        assert CorrelationMatching(matching=matching)(x, -x) == pytest.approx(-1, abs=1e-14)


def test_a_constant_feature_is_left_out():
    x, _ = related(p=4)
    dead = np.concatenate([x[:, :3], np.full((len(x), 1), 7.3)], axis=1)
    assert CorrelationMatching()(x[:, :3], dead) == pytest.approx(1, abs=1e-13)
    assert CorrelationMatching(matching="soft")(x[:, :3], dead) == pytest.approx(1, abs=1e-13)
    assert CorrelationMatching()(dead, dead) == pytest.approx(1, abs=1e-13)
    with pytest.warns(DegenerateWarning, match="in y, every feature is constant"):
        assert np.isnan(CorrelationMatching()(x, np.ones_like(x)))


def test_features_of_any_scale_count_alike():
    x, y = related()
    scaled = x * 10.0 ** np.arange(-80, 80, 40)
    assert CorrelationMatching()(scaled, y) == pytest.approx(CorrelationMatching()(x, y), abs=1e-12)


# --- transport


@pytest.mark.parametrize(("p", "q"), [(1, 1), (1, 5), (3, 5), (4, 8), (12, 10), (30, 31), (7, 7)])
def test_transport_is_as_good_as_the_whole_linear_program(p, q):
    for seed in range(3):
        gain = RNG([p, q, seed]).standard_normal((p, q))
        plan = transport_plan(gain)
        assert np.allclose(plan.sum(1), 1 / p, atol=1e-15)
        assert np.allclose(plan.sum(0), 1 / q, atol=1e-15)
        assert (plan >= 0).all()
        assert (plan * gain).sum() == pytest.approx(whole_program(gain), abs=1e-12)


def test_edges_are_generated_until_none_is_worth_more():
    rng = RNG(0)
    hub = rng.standard_normal((40, 61)) + 50 * (np.arange(61) < 6)  # all rows want the same columns first
    for gain in (hub, np.outer(rng.standard_normal(50), rng.standard_normal(63)), np.zeros((20, 30))):
        plan = transport_plan(gain)
        assert (plan * gain).sum() == pytest.approx(whole_program(gain), abs=1e-10)


@pytest.mark.parametrize(("p", "q"), [(4, 4), (9, 12), (20, 33)])
def test_a_plan_has_fewer_edges_than_features(p, q):
    gain = RNG(1).standard_normal((p, q))
    rows, columns, mass = transport_edges(gain)
    assert len(mass) == p + q - 1
    assert (mass * gain[rows.astype(int), columns.astype(int)]).sum() == pytest.approx(
        (transport_plan(gain) * gain).sum()
    )


@pytest.mark.parametrize(("p", "q"), [(4, 6), (5, 5), (3, 1), (10, 13)])
def test_soft_matching_is_the_linear_program_of_its_definition(p, q):
    x, y = related(p=p, q=q)
    assert SoftMatching()(x, y) == pytest.approx(whole_program(correlations(x, y)), abs=1e-12)
    a, b = x - x.mean(0), y - y.mean(0)
    cost = ((a[:, :, None] - b[:, None, :]) ** 2).sum(0)
    assert SoftMatching(form="distance")(x, y) == pytest.approx(np.sqrt(-whole_program(-cost)), abs=1e-10)


def test_equal_widths_match_one_to_one():
    x, y = related(p=5, q=5)
    assert SoftMatching()(x, y) == pytest.approx(CorrelationMatching()(x, y), abs=1e-13)


def test_repeated_features_change_nothing():
    x, y = related(p=3, q=4)
    thrice = np.repeat(x, 3, axis=1)
    assert SoftMatching()(thrice, x) == pytest.approx(1, abs=1e-13)
    assert SoftMatching(form="distance")(thrice, x) == 0
    assert SoftMatching()(thrice, y) == pytest.approx(SoftMatching()(x, y), abs=1e-12)


def test_correlation_is_the_distance_between_unit_features():
    x, y = related()
    a, b = ((z - z.mean(0)) / np.linalg.norm(z - z.mean(0), axis=0) for z in (x, y))
    distance = SoftMatching(form="distance")(a, b)
    assert distance == pytest.approx(np.sqrt(2 - 2 * SoftMatching()(x, y)), abs=1e-12)


def test_distance_satisfies_the_triangle_inequality_and_resolves_small_differences():
    reps = [related(p=p, q=q, seed=p)[1] for p, q in ((3, 4), (4, 6), (5, 7), (2, 9))]
    d = pairwise(reps, "soft_matching_distance")
    for i, j, k in itertools.permutations(range(4), 3):
        assert d[i, k] <= d[i, j] + d[j, k] + 1e-12
    x = reps[0]
    change = 1e-9 * RNG(0).standard_normal(x.shape)
    expected = np.sqrt(((change - change.mean(0)) ** 2).sum() / x.shape[1])
    assert SoftMatching(form="distance")(x, x + change) == pytest.approx(expected, rel=1e-5)


def test_forms_declare_what_they_are():
    assert SoftMatching().kind is Kind.SIMILARITY
    assert SoftMatching(form="distance").kind is Kind.DISTANCE
    assert not SoftMatching(form="distance").invariant_to(Invariance.ISOTROPIC_SCALING)


# --- subspace match


def distance(feature, spanning):
    coefficients = np.linalg.lstsq(spanning, feature, rcond=None)[0]
    return np.linalg.norm(feature - spanning @ coefficients) / np.linalg.norm(feature)


def largest_match(x, y, epsilon):
    """The largest of all pairs of sets that match, tried one by one."""
    best = 0
    sets_x, sets_y = (
        [s for k in range(1, z.shape[1] + 1) for s in itertools.combinations(range(z.shape[1]), k)] for z in (x, y)
    )
    for a, b in itertools.product(sets_x, sets_y):
        if len(a) + len(b) <= best:
            continue
        one, other = x[:, list(a)], y[:, list(b)]
        if all(distance(f, other) <= epsilon for f in one.T) and all(distance(f, one) <= epsilon for f in other.T):
            best = len(a) + len(b)
    return best / (x.shape[1] + y.shape[1])


@pytest.mark.parametrize("center", [False, True])
def test_maximum_match_is_the_largest_of_all_matches(center):
    found = []
    for seed, epsilon in itertools.product(range(3), (0.1, 0.2, 0.3, 0.6, 0.8)):
        rng = RNG(seed)
        x = rng.standard_normal((12, 4)) + 0.5
        y = np.concatenate([x[:, :2] @ rng.standard_normal((2, 2)), rng.standard_normal((12, 2))], axis=1)
        y += 0.15 * rng.standard_normal(y.shape)
        a, b = (z - z.mean(0) if center else z for z in (x, y))
        score = float(SubspaceMatch(epsilon=epsilon, center=center)(x, y))
        assert score == pytest.approx(largest_match(a, b, epsilon), abs=1e-15)
        found.append(score)
    assert len(set(found)) > 2


def test_features_that_the_others_span_match_and_others_do_not():
    rng = RNG(0)
    x = rng.standard_normal((50, 5))
    y = np.concatenate([x[:, :3] @ rng.standard_normal((3, 4)), rng.standard_normal((50, 1))], axis=1)
    assert SubspaceMatch(epsilon=0)(x, y) == (3 + 4) / 10
    assert SubspaceMatch(epsilon=0)(x, rng.standard_normal((50, 5))) == 0
    assert SubspaceMatch(epsilon=0)(x, x @ rng.standard_normal((5, 9))) == 1


def test_the_mean_is_a_common_direction_unless_it_is_removed():
    x, y = RNG(0).standard_normal((50, 3)) + 10, RNG(1).standard_normal((50, 3)) + 10
    assert SubspaceMatch()(x, y) == 1
    assert SubspaceMatch(center=True)(x, y) == 0


def test_few_samples_are_flagged():
    x, y = RNG(0).standard_normal((8, 10)), RNG(1).standard_normal((8, 9))
    with pytest.warns(DegenerateWarning, match="use more samples"):
        assert SubspaceMatch()(x, y) == 1
    measure = SubspaceMatch(center=True)
    assert measure.caveat(measure.prepare(x[:, :6]), measure.prepare(y)) is None
    assert measure.caveat(measure.prepare(x[:, :8]), measure.prepare(y)) is not None


# --- options


@pytest.mark.parametrize("epsilon", [-0.1, 1.0, float("nan")])
def test_epsilon_is_checked(epsilon):
    with pytest.raises(ConsilienceError, match="epsilon of subspace_match"):
        SubspaceMatch(epsilon=epsilon)


def test_choices_are_checked():
    with pytest.raises(UnknownNameError):
        CorrelationMatching(matching="sotf")
    with pytest.raises(UnknownNameError):
        SoftMatching(form="metric")


def test_aliases():
    assert get_measure("soft_correlation_match").label == "correlation_matching(matching=soft)"
    assert get_measure("max_matching_similarity").label == "subspace_match"


@pytest.mark.filterwarnings("ignore::consilience.DegenerateWarning")
def test_other_thresholds_conform():
    check_measure(get_measure("subspace_match", epsilon=0.2, center=True))


@pytest.mark.parametrize(
    "measure", [CorrelationMatching(), CorrelationMatching(matching="soft"), SoftMatching(), SoftMatching("distance")]
)
def test_dead_units_do_not_take_from_the_score(measure):
    x = np.maximum(RNG(0).standard_normal((100, 20)), 0)
    y = np.maximum(RNG(1).standard_normal((100, 12)), 0)
    without = measure(x[:, 5:], y[:, 3:])
    x[:, :5], y[:, :3] = 0, 4
    assert float(measure(x, x.copy())) == pytest.approx(measure.self_score(100), abs=1e-12)
    if measure.kind is Kind.SIMILARITY:
        assert float(measure(x, y)) == pytest.approx(float(without), abs=1e-12)
        assert float(measure(-x, y)) == pytest.approx(float(measure(-x[:, 5:], y[:, 3:])), abs=1e-12)


def test_a_zero_feature_lies_in_every_span_but_that_of_nothing():
    x = np.eye(20)[:, :7].copy()
    x[:, 0] = 0
    y = np.eye(20)[:, 7:14]
    assert float(SubspaceMatch()(x, y)) == 0
    assert float(SubspaceMatch()(x, x[:, 1:])) == 1
